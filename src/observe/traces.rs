//! What becomes of single messages, for whoever looks after the server: each step from the acceptance to the
//! acknowledgement, in memory and bounded.
//!
//! Nothing is noted unless somebody asked for it lately ([`Traces::watch`]): until then a message costs one look at a
//! number. So this may be asked on the way of every message.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use uuid::Uuid;

use crate::config::limits::console as limits;
use crate::domain::queue::Transport;
use crate::domain::{MessageId, SessionKey, Target, Timestamp, UserId};

/// How long after its beginning steps of a message are noted, at least.
const LIFE: Duration = Duration::from_secs(300);

/// One step of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// When.
    pub at: Timestamp,
    /// What.
    pub what: What,
}

/// What happened to a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// It was taken in: read, and handed to the store.
    Accepted {
        /// For whom it is.
        to: Destination,
        /// How long it is.
        bytes: usize,
    },
    /// It is on disk in the queues of so many sessions, and its sender is told.
    Stored {
        /// So many.
        sessions: u64,
        /// Sessions that do not get it because their queue is full.
        refused: usize,
        /// Whether history keeps it.
        kept: bool,
    },
    /// It is with those who subscribe to its topic, as far as that was promised.
    Published {
        /// Connections that subscribed when it was published.
        connected: usize,
        /// Sessions without a connection that did.
        away: usize,
    },
    /// It was not taken; the text says why.
    Refused(String),
    /// A client has it.
    HandedOut {
        /// Whose.
        session: SessionKey,
        /// How it was fetched.
        via: Transport,
        /// How often it was handed out, this time included.
        count: u32,
    },
    /// A client had gone before it saw the message: it waits again.
    Returned {
        /// Whose.
        session: SessionKey,
    },
    /// A client has acknowledged it, and it is gone from the session's queue, on disk.
    Acknowledged {
        /// Whose.
        session: SessionKey,
        /// How: by `DeleteMessage` or PUBACK.
        via: Transport,
    },
    /// Its user has read it.
    Read {
        /// Which.
        user: UserId,
    },
}

/// For whom a message is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// Sessions.
    Sessions(Target),
    /// Whoever subscribes to a topic.
    Topic(String),
}

/// A message that is followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// Its id.
    pub message: MessageId,
    /// What happened, in the order in which it was noted.
    pub steps: Vec<Step>,
    /// Steps that were left out because there were too many.
    pub left_out: usize,
    /// The id that it has in queues.
    in_queues: Option<Uuid>,
}

/// Messages to this target are followed until then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watch {
    /// Which: those that may reach a session of this target.
    pub target: Target,
    /// Until when.
    pub until: Timestamp,
}

/// There are as many watches as there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} targets are watched already, no more are possible at a time")]
pub struct TooManyWatches(pub usize);

/// The messages that are followed. See the module.
#[derive(Debug)]
pub struct Traces {
    most: usize,
    /// From then on nobody watches, in microseconds.
    watched_until: AtomicU64,
    /// From then on no steps are noted.
    noted_until: AtomicU64,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    watches: Vec<Watch>,
    /// Oldest first; the number of the first is `first`.
    traces: VecDeque<Trace>,
    first: u64,
    by_message: HashMap<MessageId, u64>,
    by_queue_id: HashMap<Uuid, u64>,
    /// How many began in which second.
    began: (u64, usize),
}

/// A message that was found to be followed.
#[derive(Debug, Clone)]
pub struct Followed {
    traces: Arc<Traces>,
    message: MessageId,
}

impl Traces {
    /// At most so many messages are followed; of more, the oldest is forgotten.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most: most.max(1),
            watched_until: AtomicU64::new(0),
            noted_until: AtomicU64::new(0),
            kept: Mutex::default(),
        })
    }

    /// How many messages are followed at most.
    pub fn most(&self) -> usize {
        self.most
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().expect("nobody panics while holding it")
    }

    /// Follows messages to this target that come from now on, for a time; asked again, for longer.
    ///
    /// # Errors
    /// [`TooManyWatches`].
    pub fn watch(
        &self,
        target: Target,
        time: Duration,
        now: Timestamp,
    ) -> Result<(), TooManyWatches> {
        let mut kept = self.kept();
        kept.watches.retain(|watch| watch.until > now);
        let until = now.plus(time);
        let known = kept.watches.iter().position(|watch| watch.target == target);
        if let Some(known) = known {
            let watch = &mut kept.watches[known];
            watch.until = watch.until.max(until);
        } else if kept.watches.len() < limits::WATCHES {
            kept.watches.push(Watch { target, until });
        } else {
            return Err(TooManyWatches(limits::WATCHES));
        }
        self.watched_until
            .fetch_max(until.micros(), Ordering::Relaxed);
        Ok(())
    }

    /// What is watched now.
    pub fn watches(&self, now: Timestamp) -> Vec<Watch> {
        let mut kept = self.kept();
        kept.watches.retain(|watch| watch.until > now);
        kept.watches.clone()
    }

    /// Follows one message that is about to come, whatever is watched.
    pub fn announce(self: &Arc<Self>, message: &MessageId, now: Timestamp) -> Followed {
        let mut kept = self.kept();
        if !kept.by_message.contains_key(message) {
            self.begin(&mut kept, message, now);
        }
        self.noted_until
            .fetch_max(now.plus(LIFE).micros(), Ordering::Relaxed);
        self.followed(message)
    }

    /// A message for sessions is taken in: whether it is followed.
    pub fn accept(
        self: &Arc<Self>,
        message: &MessageId,
        target: &Target,
        bytes: usize,
        now: Timestamp,
    ) -> Option<Followed> {
        let is_watched = now.micros() < self.watched_until.load(Ordering::Relaxed);
        if !is_watched && !self.is_noting(now) {
            return None;
        }
        let mut kept = self.kept();
        if !kept.by_message.contains_key(message) {
            let wanted = |watch: &Watch| watch.until > now && may_meet(&watch.target, target);
            if !kept.watches.iter().any(wanted) || !kept.has_time(now) {
                return None;
            }
            self.begin(&mut kept, message, now);
        }
        let to = Destination::Sessions(target.clone());
        let number = kept.by_message[message];
        kept.note(
            number,
            Step {
                at: now,
                what: What::Accepted { to, bytes },
            },
        );
        Some(self.followed(message))
    }

    fn followed(self: &Arc<Self>, message: &MessageId) -> Followed {
        Followed {
            traces: self.clone(),
            message: message.clone(),
        }
    }

    fn begin(&self, kept: &mut Kept, message: &MessageId, now: Timestamp) {
        if kept.traces.len() >= self.most {
            kept.forget_oldest();
        }
        let number = kept.first + kept.traces.len() as u64;
        kept.by_message.insert(message.clone(), number);
        kept.traces.push_back(Trace {
            message: message.clone(),
            steps: Vec::new(),
            left_out: 0,
            in_queues: None,
        });
        self.noted_until
            .fetch_max(now.plus(LIFE).micros(), Ordering::Relaxed);
        metrics::counter!("fanfare_traces_total").increment(1);
    }

    /// Whether steps are noted at all. If not, whoever asks need not look for what to say.
    pub fn is_noting(&self, now: Timestamp) -> bool {
        now.micros() < self.noted_until.load(Ordering::Relaxed)
    }

    /// A step of the message that has this id in queues, if it is followed.
    pub fn note_in_queue(&self, id: Uuid, at: Timestamp, what: impl FnOnce() -> What) {
        let mut kept = self.kept();
        if let Some(number) = kept.by_queue_id.get(&id).copied() {
            kept.note(number, Step { at, what: what() });
        }
    }

    /// A step of a message, if it is followed.
    pub fn note(&self, message: &MessageId, at: Timestamp, what: What) {
        let mut kept = self.kept();
        if let Some(number) = kept.by_message.get(message).copied() {
            kept.note(number, Step { at, what });
        }
    }

    /// What is known of a message.
    pub fn get(&self, message: &MessageId) -> Option<Trace> {
        let mut kept = self.kept();
        let number = kept.by_message.get(message).copied()?;
        kept.trace(number).cloned()
    }

    /// The newest messages, newest first.
    pub fn newest(&self, limit: usize) -> Vec<Trace> {
        self.kept()
            .traces
            .iter()
            .rev()
            .take(limit)
            .cloned()
            .collect()
    }
}

impl Followed {
    /// The message has this id in queues.
    pub fn is_in_queues_as(&self, id: Uuid) {
        let mut kept = self.traces.kept();
        let Some(number) = kept.by_message.get(&self.message).copied() else {
            return;
        };
        let Some(trace) = kept.trace(number) else {
            return;
        };
        // A message that was sent twice under one id: what is done with the newer is shown.
        if let Some(older) = trace.in_queues.replace(id) {
            kept.by_queue_id.remove(&older);
        }
        kept.by_queue_id.insert(id, number);
    }

    /// A step.
    pub fn note(&self, at: Timestamp, what: What) {
        self.traces.note(&self.message, at, what);
    }
}

impl Kept {
    fn trace(&mut self, number: u64) -> Option<&mut Trace> {
        let index = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.traces.get_mut(index)
    }

    fn note(&mut self, number: u64, step: Step) {
        let Some(trace) = self.trace(number) else {
            return;
        };
        if trace.steps.len() >= limits::STEPS {
            trace.left_out += 1;
            metrics::counter!("fanfare_traces_left_out_total", "reason" => "steps").increment(1);
            return;
        }
        trace.steps.push(step);
    }

    fn forget_oldest(&mut self) {
        if let Some(oldest) = self.traces.pop_front() {
            self.first += 1;
            self.by_message.remove(&oldest.message);
            if let Some(id) = oldest.in_queues {
                self.by_queue_id.remove(&id);
            }
        }
    }

    /// Whether another may begin in this second: following must not be what a busy server is busy with.
    fn has_time(&mut self, now: Timestamp) -> bool {
        if self.began.0 != now.secs() {
            self.began = (now.secs(), 0);
        }
        if self.began.1 >= limits::PER_SECOND {
            metrics::counter!("fanfare_traces_left_out_total", "reason" => "rate").increment(1);
            return false;
        }
        self.began.1 += 1;
        true
    }
}

/// Whether a message to `target` may reach somebody who is meant by `watched`.
fn may_meet(watched: &Target, target: &Target) -> bool {
    fn agree<T: PartialEq>(one: Option<&T>, other: Option<&T>) -> bool {
        one.zip(other).is_none_or(|(one, other)| one == other)
    }
    agree(watched.account.as_ref(), target.account.as_ref())
        && agree(watched.user.as_ref(), target.user.as_ref())
        && agree(watched.session.as_ref(), target.session.as_ref())
}

#[cfg(test)]
mod tests;
