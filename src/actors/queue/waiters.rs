//! Receives that wait for a message: served first come, first served; each gives up at its deadline.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::ask::Reply;
use super::messages::{Receive, Received};
use crate::domain::Timestamp;

/// A receive that was not answered yet.
#[derive(Debug)]
pub(super) struct Waiter {
    /// What was asked.
    pub(super) request: Arc<Receive>,
    /// Answered with nothing from then on.
    pub(super) deadline: Timestamp,
    /// Whether it wanted to wait at all.
    pub(super) long: bool,
    /// When it came.
    pub(super) since: Timestamp,
    /// Closed once the client has gone away.
    pub(super) reply: Reply<Vec<Received>>,
}

/// The waiting receives of one queue.
#[derive(Debug)]
pub(super) struct Waiters {
    waiters: BTreeMap<u64, Waiter>,
    deadlines: BTreeSet<(Timestamp, u64)>,
    next: u64,
    /// How many wait on all queues, for draining.
    everywhere: Arc<AtomicUsize>,
}

impl Waiters {
    /// None yet.
    pub(super) fn new(everywhere: Arc<AtomicUsize>) -> Self {
        Self {
            waiters: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            next: 0,
            everywhere,
        }
    }

    /// Adds one at the end of the line.
    pub(super) fn push(&mut self, waiter: Waiter) {
        let id = self.next;
        self.next += 1;
        self.deadlines.insert((waiter.deadline, id));
        self.waiters.insert(id, waiter);
        self.everywhere.fetch_add(1, Ordering::Relaxed);
        metrics::gauge!("fanfare_queue_waiting_polls").increment(1.0);
    }

    /// The first in line whose client is still there.
    pub(super) fn first(&mut self) -> Option<u64> {
        loop {
            let (id, waiter) = self.waiters.first_key_value()?;
            let id = *id;
            if !waiter.reply.is_closed() {
                return Some(id);
            }
            self.take(id);
        }
    }

    /// One of them.
    pub(super) fn get(&self, id: u64) -> &Waiter {
        &self.waiters[&id]
    }

    /// Takes one out of the line to answer it.
    pub(super) fn take(&mut self, id: u64) -> Option<Waiter> {
        let waiter = self.waiters.remove(&id)?;
        self.deadlines.remove(&(waiter.deadline, id));
        self.everywhere.fetch_sub(1, Ordering::Relaxed);
        metrics::gauge!("fanfare_queue_waiting_polls").decrement(1.0);
        Some(waiter)
    }

    /// Takes out one whose deadline has come.
    pub(super) fn take_due(&mut self, now: Timestamp) -> Option<Waiter> {
        let (deadline, id) = self.deadlines.first().copied()?;
        if deadline > now { None } else { self.take(id) }
    }

    /// Takes out any one.
    pub(super) fn take_any(&mut self) -> Option<Waiter> {
        let id = *self.waiters.first_key_value()?.0;
        self.take(id)
    }

    /// Drops those whose clients have gone away.
    pub(super) fn drop_closed(&mut self) {
        let closed: Vec<_> = self
            .waiters
            .iter()
            .filter(|(_, waiter)| waiter.reply.is_closed())
            .map(|(id, _)| *id)
            .collect();
        for id in closed {
            self.take(id);
        }
    }

    /// The nearest deadline.
    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.waiters.len()
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.waiters.is_empty()
    }
}

impl Drop for Waiters {
    /// However the actor ends, nobody counts as waiting there any more.
    fn drop(&mut self) {
        while self.take_any().is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::oneshot;

    use super::*;
    use crate::domain::queue::Transport;

    type Answer = oneshot::Receiver<Result<Vec<Received>, crate::domain::QueueError>>;

    fn add(waiters: &mut Waiters, deadline: u64) -> Answer {
        let (reply, answer) = oneshot::channel();
        waiters.push(Waiter {
            request: Arc::new(Receive {
                max: 1,
                wait: Some(Duration::from_secs(1)),
                visibility: None,
                attempt: None,
                via: Transport::Sqs,
            }),
            deadline: Timestamp(deadline),
            long: true,
            since: Timestamp(0),
            reply,
        });
        answer
    }

    #[test]
    fn first_come_first_served_and_the_gone_are_skipped() {
        let everywhere = Arc::new(AtomicUsize::new(0));
        let mut waiters = Waiters::new(everywhere.clone());
        let gone = add(&mut waiters, 5);
        let _first = add(&mut waiters, 9);
        let _second = add(&mut waiters, 7);
        drop(gone);
        let first = waiters.first().unwrap();
        assert_eq!(waiters.get(first).deadline, Timestamp(9));
        assert_eq!((waiters.len(), everywhere.load(Ordering::Relaxed)), (2, 2));
        assert_eq!(waiters.next_deadline(), Some(Timestamp(7)));
        assert!(waiters.take_due(Timestamp(6)).is_none());
        assert_eq!(
            waiters.take_due(Timestamp(7)).unwrap().deadline,
            Timestamp(7)
        );
        drop(waiters);
        assert_eq!(everywhere.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn those_who_left_make_room() {
        let mut waiters = Waiters::new(Arc::default());
        drop(add(&mut waiters, 5));
        let _stays = add(&mut waiters, 6);
        waiters.drop_closed();
        assert_eq!(
            (waiters.len(), waiters.next_deadline()),
            (1, Some(Timestamp(6)))
        );
    }
}
