//! A queue seen by whoever looks after the server: how long clients waited, what is in it, and what becomes of messages
//! that are followed. None of it changes the queue.

use uuid::Uuid;

use super::actor::QueueActor;
use super::kind::Kind;
use super::messages::{MessageView, QueueView, Received, Whereabouts};
use super::state::Place;
use super::waiters::Waiter;
use crate::config::limits::console::SHOWN_BYTES;
use crate::domain::queue::Transport;
use crate::domain::{QueueError, Seq, Timestamp};
use crate::observe::traces::What;

impl<K: Kind> QueueActor<K> {
    /// Measures the way of a message that is about to be handed out to a client that was waiting for it.
    pub(super) fn measure(&self, seq: Seq, waiter: &Waiter, now: Timestamp) {
        let Some(entry) = self.state.get(seq) else {
            return;
        };
        // What is delayed is due later than it was sent.
        let due = entry.message.sent.max(entry.message.visible_at);
        if entry.state.receive_count == 0 && due >= waiter.since {
            metrics::histogram!("fanfare_delivery_seconds").record(now.since(due).as_secs_f64());
        }
    }

    /// A client gets these messages.
    pub(super) fn show_handed_out(&self, received: &[Received], via: Transport, now: Timestamp) {
        let traces = &self.directory.traces;
        let Some(session) = self.record.owner.as_ref().filter(|_| traces.is_noting(now)) else {
            return;
        };
        for message in received {
            traces.note_in_queue(message.message_id, now, || What::HandedOut {
                session: session.clone(),
                via,
                count: message.receive_count,
            });
        }
    }

    /// A client has gone before it saw these messages.
    pub(super) fn show_returned(&self, returned: &[Seq], now: Timestamp) {
        let followed = self.followed(returned);
        let Some(session) = &self.record.owner else {
            return;
        };
        for id in followed {
            let session = session.clone();
            let what = || What::Returned { session };
            self.directory.traces.note_in_queue(id, now, what);
        }
    }

    /// The ids of those of the messages that may be followed: none, as long as nobody follows any.
    pub(super) fn followed(&self, seqs: &[Seq]) -> Vec<Uuid> {
        if !self.directory.traces.is_noting(self.now()) {
            return Vec::new();
        }
        let ids = seqs.iter().filter_map(|seq| self.state.get(*seq));
        ids.map(|entry| entry.message.id).collect()
    }

    /// A client has acknowledged these messages, and they are gone from disk.
    pub(super) fn show_acknowledged(&self, followed: &[Uuid], via: Transport) {
        let Some(session) = &self.record.owner else {
            return;
        };
        for id in followed {
            let session = session.clone();
            let what = || What::Acknowledged { session, via };
            self.directory.traces.note_in_queue(*id, self.now(), what);
        }
    }

    /// What there is, with the first `max` messages.
    pub(super) fn look_at(&self, max: usize) -> Result<QueueView, QueueError> {
        let mut first = Vec::new();
        for (seq, entry) in self.state.iter().take(max) {
            let (message, state) = (&entry.message, &entry.state);
            let body = self.body(seq)?.unwrap_or_default();
            first.push(MessageView {
                message_id: message.id,
                sent: message.sent,
                expires: message.expires,
                whereabouts: match entry.place {
                    Place::Ready => Whereabouts::Visible,
                    Place::Hidden if state.receive_count > 0 => {
                        Whereabouts::InFlight(state.visible_at)
                    }
                    Place::Hidden => Whereabouts::Delayed(state.visible_at),
                    Place::Leaving => Whereabouts::Leaving,
                },
                receive_count: state.receive_count,
                beginning: body.slice(..body.len().min(SHOWN_BYTES)),
                bytes: body.len(),
            });
        }
        Ok(QueueView {
            counts: self.state.counts(),
            waiting: self.waiters.len(),
            first,
        })
    }
}
