//! Receives: which messages go to whom, and in what form.

use std::sync::atomic::Ordering;
use std::time::Duration;

use actix::Context;

use super::actor::QueueActor;
use super::handle::Handle;
use super::kind::{Kind, Outward};
use super::messages::{Receive, Received};
use super::state::{HandOut, Standing};
use super::waiters::Waiter;
use crate::backends::Change;
use crate::domain::queue::QueueRecord;
use crate::domain::{QueueError, Seq, StoreError, Timestamp};

/// What came of trying to serve a receive.
enum Served {
    /// These messages, chosen and sealed.
    With(Vec<(Seq, Outward)>),
    /// There is nothing for it now.
    Nothing,
}

impl<K: Kind> QueueActor<K> {
    /// A receive has come: it is served by [`QueueActor::serve`] in its turn, now or later.
    pub(super) fn receive(&mut self, waiter: Waiter, ctx: &mut Context<Self>) {
        if let Some(again) = self.replay(&waiter.request, ctx) {
            self.deliver(waiter, again, ctx);
            return;
        }
        if self.waiters.len() >= self.directory.config.max_waiting {
            self.waiters.drop_closed();
        }
        if self.waiters.len() >= self.directory.config.max_waiting {
            let _ = waiter.reply.send(Err(QueueError::Throttled));
        } else {
            self.waiters.push(waiter);
        }
    }

    /// Serves the waiting receives in their order, answers those whose time is over, and sets the timer.
    pub(super) fn serve(&mut self, ctx: &mut Context<Self>) {
        if self.has_ended() || (!self.waiters.is_empty() && !self.catch_up(ctx)) {
            return;
        }
        let now = self.now();
        let freed = self.state.advance(now);
        self.release(freed);
        if !self.waiters.is_empty() {
            self.top_up(ctx);
        }
        while let Some(id) = self.waiters.first() {
            let request = self.waiters.get(id).request.clone();
            let answer = match self.choose(&request, ctx) {
                Ok(Served::Nothing) => break,
                Ok(Served::With(messages)) => Ok(messages),
                Err(error) => Err(error),
            };
            let waiter = self.waiters.take(id).expect("it is the first in line");
            match answer {
                Ok(messages) => self.hand_out(waiter, messages, now, ctx),
                Err(error) => drop(waiter.reply.send(Err(error))),
            }
        }
        let held_up = self.give_up(now);
        self.arm(held_up, ctx);
    }

    /// Asks for envelope counters ahead of need.
    fn top_up(&mut self, ctx: &mut Context<Self>) {
        match self.kind.wants_mark() {
            Ok(None) => {}
            Ok(Some(mark)) => {
                let lease = vec![Change::Lease(mark)];
                self.commit(lease, ctx, |actor, result, _| {
                    actor.kind.mark_done(result.is_ok());
                    if let Err(error) = result {
                        actor.refuse_all(&error.into());
                    }
                });
            }
            Err(error) => self.refuse_all(&error),
        }
    }

    fn refuse_all(&mut self, error: &QueueError) {
        while let Some(waiter) = self.waiters.take_any() {
            let _ = waiter.reply.send(Err(error.clone()));
        }
    }

    /// Answers the receives whose time is over; `true` if they must wait for something on its way to disk.
    fn give_up(&mut self, now: Timestamp) -> bool {
        let draining = self.directory.draining.load(Ordering::Acquire);
        // Dead letters are to be in their queue when the receive that found them answers; and a first short poll must
        // not come back empty only because counters for the messages that are there are being leased.
        let leasing = self.kind.awaits_mark() && self.state.any_ready();
        if !draining && (self.burying > 0 || leasing) {
            return true;
        }
        let full = !self.record.attributes.fifo
            && self.state.held() >= self.directory.config.max_in_flight;
        loop {
            let over = if draining {
                self.waiters.take_any()
            } else {
                self.waiters.take_due(now)
            };
            let Some(waiter) = over else {
                return false;
            };
            let answer = if full && !waiter.long && !draining {
                Err(QueueError::OverLimit)
            } else {
                Ok(Vec::new())
            };
            let _ = waiter.reply.send(answer);
        }
    }

    /// Chooses messages for a receive and seals them; nothing is marked yet.
    fn choose(&mut self, request: &Receive, ctx: &mut Context<Self>) -> Result<Served, QueueError> {
        loop {
            let room = (self.directory.config.max_in_flight).saturating_sub(self.state.held());
            let max = request.max.min(room);
            let dead_letters = self.dead_letter_queue()?;
            let max_receives = dead_letters.as_ref().map(|(_, max)| *max);
            let picked = self.state.pick(max, max_receives);
            if let Some((queue, _)) = dead_letters
                && !picked.dead.is_empty()
            {
                self.bury(&picked.dead, &queue, ctx);
            }
            let mut chosen = Vec::with_capacity(picked.hand.len());
            let mut gone = false;
            for seq in picked.hand {
                let Some(body) = self.body(seq)? else {
                    // Swept from disk the moment it expired.
                    let freed = self.state.remove(seq);
                    self.release(freed);
                    gone = true;
                    continue;
                };
                let Some(outward) = self.seal(seq, &body) else {
                    break;
                };
                chosen.push((seq, outward));
            }
            if !chosen.is_empty() {
                return Ok(Served::With(chosen));
            }
            if !gone {
                self.top_up(ctx);
                return Ok(Served::Nothing);
            }
        }
    }

    fn seal(&mut self, seq: Seq, body: &bytes::Bytes) -> Option<Outward> {
        let entry = self.state.get(seq)?;
        if entry.message.seal {
            self.kind.seal(body, entry.state.counter)
        } else {
            Some(Outward {
                body: body.clone(),
                counter: None,
            })
        }
    }

    pub(super) fn body(&self, seq: Seq) -> Result<Option<bytes::Bytes>, StoreError> {
        let Some(entry) = self.state.get(seq) else {
            return Ok(None);
        };
        if entry.message.body.is_empty() {
            let origin = entry.origin;
            self.directory.store.body(self.record.no, seq, origin)
        } else {
            Ok(Some(entry.message.body.clone()))
        }
    }

    fn hand_out(
        &mut self,
        waiter: Waiter,
        messages: Vec<(Seq, Outward)>,
        now: Timestamp,
        ctx: &mut Context<Self>,
    ) {
        let visible_at = now.plus(self.visibility(&waiter.request));
        let mut handed = Vec::with_capacity(messages.len());
        let mut received = Vec::with_capacity(messages.len());
        for (seq, outward) in messages {
            self.measure(seq, &waiter, now);
            let how = HandOut {
                now,
                visible_at,
                receipt: getrandom::u64().expect("the system gives random numbers"),
                counter: outward.counter,
            };
            self.state.hand_out(seq, how);
            handed.push((seq, how.receipt));
            received.extend(self.received(seq, outward.body));
        }
        let seqs: Vec<_> = handed.iter().map(|(seq, _)| *seq).collect();
        let changes = self.state.record(&seqs);
        self.commit_lazily(changes, ctx);
        if let Some(attempt) = &waiter.request.attempt {
            self.attempts.note(attempt.clone(), handed, now);
        }
        metrics::counter!("fanfare_queue_messages_received_total").increment(received.len() as u64);
        self.show_handed_out(&received, waiter.request.via, now);
        self.deliver(waiter, received, ctx);
    }

    /// Answers; if the client has gone away in this very moment, takes everything back.
    fn deliver(&mut self, waiter: Waiter, received: Vec<Received>, ctx: &mut Context<Self>) {
        if let Err(Ok(unseen)) = waiter.reply.send(Ok(received)) {
            let handles: Vec<_> = unseen.into_iter().map(|message| message.handle).collect();
            self.give_back(&handles, ctx);
        }
    }

    /// Takes back what a receiver never saw.
    pub(super) fn give_back(&mut self, handles: &[String], ctx: &mut Context<Self>) {
        let now = self.now();
        let mut back = Vec::new();
        for handle in handles {
            if let Ok(handle) = Handle::decode(self.record.no, handle)
                && self.state.give_back(handle.seq, handle.receipt, now)
            {
                back.push(handle.seq);
            }
        }
        self.show_returned(&back, now);
        let changes = self.state.record(&back);
        self.commit_lazily(changes, ctx);
    }

    /// What a repeated `ReceiveRequestAttemptId` gets: the same messages and handles, if all are still in flight.
    fn replay(&mut self, request: &Receive, ctx: &mut Context<Self>) -> Option<Vec<Received>> {
        let now = self.now();
        let id = request.attempt.as_deref()?;
        let attempt = self.attempts.get(id, now)?;
        let in_flight =
            |(seq, receipt): &(Seq, u64)| self.state.standing(*seq, *receipt) == Standing::InFlight;
        if !attempt.handed.iter().all(in_flight) {
            return None;
        }
        let mut again = Vec::with_capacity(attempt.handed.len());
        for (seq, _) in &attempt.handed {
            let body = self.body(*seq).ok().flatten()?;
            let outward = self.seal(*seq, &body)?;
            again.extend(self.received(*seq, outward.body));
        }
        let seqs: Vec<_> = attempt.handed.iter().map(|(seq, _)| *seq).collect();
        for seq in &seqs {
            // Near the 12 h limit the time that is left stays as it is.
            self.state.hide(*seq, now, self.visibility(request));
        }
        let changes = self.state.record(&seqs);
        self.commit_lazily(changes, ctx);
        Some(again)
    }

    fn visibility(&self, request: &Receive) -> Duration {
        let own = self.record.attributes.visibility_timeout;
        request.visibility.unwrap_or(own)
    }

    /// A message as a receiver sees it, after it was handed out.
    fn received(&self, seq: Seq, body: bytes::Bytes) -> Option<Received> {
        let entry = self.state.get(seq)?;
        let (message, state) = (&entry.message, &entry.state);
        let handle = Handle {
            queue: self.record.no,
            seq,
            origin: entry.origin,
            receipt: state.receipt,
        };
        Some(Received {
            message_id: message.id,
            handle: handle.encode(),
            body,
            attributes: message.attributes.clone(),
            sender: message.sender.clone(),
            sent: message.sent,
            first_received: state.first_received.unwrap_or(message.sent),
            receive_count: state.receive_count,
            sequence_number: self.record.attributes.fifo.then_some(seq.0),
            group: message.group.clone(),
            dedup: message.dedup.clone(),
            trace_header: message.trace_header.clone(),
            dead_letter_source: message.dead_letter_source.clone(),
        })
    }

    /// Where messages go that were received too often, and how often that is. A dead-letter queue that does not exist
    /// is as none: the messages stay.
    fn dead_letter_queue(&self) -> Result<Option<(QueueRecord, u32)>, StoreError> {
        let Some(redrive) = &self.record.attributes.redrive else {
            return Ok(None);
        };
        if !self.state.any_ready() {
            return Ok(None);
        }
        let queue = self.directory.by_arn(&redrive.dead_letter_target_arn)?;
        Ok(queue.map(|queue| (queue, redrive.max_receive_count)))
    }

    /// Moves messages to the dead-letter queue.
    fn bury(&mut self, dead: &[Seq], queue: &QueueRecord, ctx: &mut Context<Self>) {
        let source = Some(self.directory.arn(&self.record.name).into());
        let changes = self.moves(dead, queue, source.as_ref(), false);
        let dead = dead.to_vec();
        self.burying += 1;
        metrics::counter!("fanfare_queue_dead_letters_total").increment(dead.len() as u64);
        self.commit(changes, ctx, move |actor, result, _| {
            actor.burying -= 1;
            match result {
                Ok(_) => actor.left(&dead),
                // They are found again when they are next to be handed out, not at once: the store needs a rest.
                Err(error) => {
                    tracing::warn!(%error, "dead letters stay where they are");
                    actor.refuse_all(&error.into());
                    actor.stay(&dead);
                }
            }
        });
    }
}
