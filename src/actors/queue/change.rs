//! Everything that changes a queue but receives: each answer comes when the change is on disk.

use std::sync::Arc;
use std::time::Duration;

use actix::Context;
use futures_util::FutureExt as _;
use futures_util::future::join_all;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::actor::{PURGE_REST, QueueActor, SharedCommit};
use super::ask::Reply;
use super::dedup::Key;
use super::directory::Ended;
use super::handle::Handle;
use super::kind::Kind;
use super::messages::{ChangeVisibility, Delete, Outgoing, PerEntry, Send, Sent};
use super::state::Standing;
use crate::backends::{Change, Commit};
use crate::config::limits;
use crate::domain::message::NewMessage;
use crate::domain::queue::QueueRecord;
use crate::domain::{QueueError, Seq, StoreError, Timestamp};

/// What becomes of one entry of a send.
enum Entry {
    /// Stored, as the n-th of this send's commit.
    New(usize, Uuid),
    /// A message of the same deduplication id is on disk.
    Repeats(Uuid, Seq),
    /// A message of the same deduplication id is on its way to disk, as the n-th of a commit.
    Awaits(SharedCommit, usize, Uuid),
    /// Refused.
    Refused(QueueError),
}

/// A send while it is being looked through.
#[derive(Default)]
struct Accepted {
    changes: Vec<Change>,
    /// Deduplication ids in use from now on.
    keys: Vec<(Key, Uuid, usize)>,
}

impl<K: Kind> QueueActor<K> {
    /// `SendMessage(Batch)`.
    pub(super) fn send(
        &mut self,
        request: &Send,
        reply: Reply<PerEntry<Sent>>,
        ctx: &mut Context<Self>,
    ) {
        if let Err(error) = self.check_busy() {
            let _ = reply.send(Err(error));
            return;
        }
        let now = self.now();
        let mut accepted = Accepted::default();
        let verdicts: Vec<_> = request
            .entries
            .iter()
            .map(|entry| self.accept(entry, now, &mut accepted))
            .collect();
        let Accepted { changes, keys } = accepted;
        let count = changes.len();
        let commit: Commit<Vec<Seq>> = if changes.is_empty() {
            std::future::ready(Ok(Vec::new())).boxed()
        } else {
            self.directory.store.commit(self.record.no, changes)
        };
        let commit = commit.shared();
        for (_, id, place) in &keys {
            self.pending.insert(*id, (commit.clone(), *place));
        }
        let entries: Vec<_> = verdicts
            .into_iter()
            .map(|verdict| self.entry(verdict))
            .collect();
        self.sending += count;
        let fifo = self.record.attributes.fifo;
        let all = async move {
            let own = commit.await;
            let results = join_all(entries.into_iter().map(|entry| sent(entry, &own, fifo))).await;
            (own, results)
        };
        self.await_commit(all, ctx, move |actor, (own, results), _| {
            actor.sending -= count;
            actor.behind |= count > 0;
            for (key, id, place) in &keys {
                let seq = own.as_ref().ok().map(|seqs| seqs[*place]);
                actor.pending.remove(id);
                actor.dedup.settle(key, *id, seq);
            }
            // Whoever sent may have gone away; the messages stay.
            let _ = reply.send(Ok(results));
        });
    }

    /// Looks at one entry: the message that it repeats, by id, or the place it has among what is to be stored.
    fn accept(
        &mut self,
        entry: &Outgoing,
        now: Timestamp,
        accepted: &mut Accepted,
    ) -> Result<Verdict, QueueError> {
        let key = self.dedup_key(entry)?;
        if let Some(key) = &key
            && let Some(first) = self.dedup.first(key, now)
        {
            return Ok(Verdict::Repeats(first.message, first.seq));
        }
        let more = self.sending + accepted.changes.len();
        if self.state.len() + more >= self.directory.config.max_messages {
            return Err(QueueError::QueueFull);
        }
        let (id, place) = (Uuid::new_v4(), accepted.changes.len());
        let attributes = &self.record.attributes;
        let delay = entry.delay.unwrap_or(attributes.delay);
        let message = NewMessage {
            id,
            body: entry.body.clone(),
            seal: false,
            sent: now,
            expires: now.plus(attributes.retention),
            visible_at: now.plus(if attributes.fifo {
                attributes.delay
            } else {
                delay
            }),
            sender: entry.sender.clone(),
            attributes: entry.attributes.clone(),
            group: entry.group.clone(),
            dedup: key.as_ref().map(Key::dedup),
            trace_header: entry.trace_header.clone(),
            dead_letter_source: None,
        };
        accepted.changes.push(Change::Send(message));
        if let Some(key) = key {
            self.dedup.note(key.clone(), id, now);
            accepted.keys.push((key, id, place));
        }
        Ok(Verdict::New(place, id))
    }

    /// Checks what FIFO asks for; the deduplication id, given or derived, if it is FIFO.
    fn dedup_key(&self, entry: &Outgoing) -> Result<Option<Key>, QueueError> {
        let attributes = &self.record.attributes;
        if !attributes.fifo {
            return match &entry.dedup {
                None => Ok(None),
                Some(dedup) => Err(not_for_this_type(dedup, "MessageDeduplicationId")),
            };
        }
        if entry.group.is_none() {
            let text = "The request must contain the parameter MessageGroupId.";
            return Err(QueueError::MissingParameter(text.into()));
        }
        if let Some(delay) = entry.delay.filter(|delay| !delay.is_zero()) {
            return Err(not_for_this_type(delay.as_secs(), "DelaySeconds"));
        }
        let dedup = match &entry.dedup {
            Some(dedup) => dedup.clone(),
            None if attributes.content_based_deduplication => {
                hex::encode(Sha256::digest(&entry.body)).into()
            }
            None => {
                let text = "The queue should either have ContentBasedDeduplication enabled or \
                            MessageDeduplicationId provided explicitly";
                return Err(QueueError::InvalidParameter(text.into()));
            }
        };
        let group = entry.group.clone();
        Ok(Some(Key::new(attributes.dedup_scope, dedup, group)))
    }

    fn entry(&self, verdict: Result<Verdict, QueueError>) -> Entry {
        match verdict {
            Err(error) => Entry::Refused(error),
            Ok(Verdict::New(place, id)) => Entry::New(place, id),
            Ok(Verdict::Repeats(id, Some(seq))) => Entry::Repeats(id, seq),
            Ok(Verdict::Repeats(id, None)) => {
                let (commit, place) = &self.pending[&id];
                Entry::Awaits(commit.clone(), *place, id)
            }
        }
    }

    /// `DeleteMessage(Batch)`.
    pub(super) fn delete(
        &mut self,
        request: &Delete,
        reply: Reply<PerEntry<()>>,
        ctx: &mut Context<Self>,
    ) {
        if let Err(error) = self.check_busy() {
            let _ = reply.send(Err(error));
            return;
        }
        let mut gone = Vec::new();
        let found: PerEntry<()> = request
            .handles
            .iter()
            .map(|handle| self.deletable(handle).map(|seq| gone.extend(seq)))
            .collect();
        gone.sort_unstable();
        gone.dedup();
        if gone.is_empty() {
            let _ = reply.send(Ok(found));
            return;
        }
        // What another request deletes already is waited for, not deleted twice: commits end in order.
        let (others, gone): (Vec<Seq>, Vec<Seq>) = gone
            .into_iter()
            .partition(|seq| self.state.is_leaving(*seq));
        metrics::counter!("fanfare_queue_messages_deleted_total").increment(gone.len() as u64);
        let (followed, via) = (self.followed(&gone), request.via);
        let changes = self.state.erase(&gone);
        self.commit(changes, ctx, move |actor, result, _| {
            let results = match result {
                Ok(_) => {
                    actor.show_acknowledged(&followed, via);
                    actor.left(&gone);
                    match others.iter().any(|seq| actor.state.contains(*seq)) {
                        true => refused(found, &StoreError::Overloaded),
                        false => found,
                    }
                }
                Err(error) => {
                    actor.stay(&gone);
                    refused(found, &error)
                }
            };
            let _ = reply.send(Ok(results));
        });
    }

    /// The message to delete for a handle; `None` if it is gone already.
    fn deletable(&self, text: &str) -> Result<Option<Seq>, QueueError> {
        let handle = Handle::decode(self.record.no, text)?;
        match self.state.standing(handle.seq, handle.receipt) {
            Standing::Gone => Ok(None),
            // Another delete may still be waiting for the disk: this one waits as well.
            Standing::Leaving | Standing::InFlight => Ok(Some(handle.seq)),
            Standing::Newer | Standing::Visible if self.record.attributes.fifo => {
                Err(QueueError::ReceiptHandleExpired(text.into()))
            }
            // Whoever deletes has dealt with the message, however late.
            Standing::Newer | Standing::Visible => Ok(Some(handle.seq)),
        }
    }

    /// `ChangeMessageVisibility(Batch)`.
    pub(super) fn change_visibility(
        &mut self,
        request: &ChangeVisibility,
        reply: Reply<PerEntry<()>>,
        ctx: &mut Context<Self>,
    ) {
        if let Err(error) = self.check_busy() {
            let _ = reply.send(Err(error));
            return;
        }
        let mut changed = Vec::new();
        let found: PerEntry<()> = request
            .entries
            .iter()
            .map(|(handle, timeout)| self.hide(handle, *timeout).map(|seq| changed.push(seq)))
            .collect();
        if changed.is_empty() {
            let _ = reply.send(Ok(found));
            return;
        }
        let changes = self.state.record(&changed);
        self.commit(changes, ctx, move |_, result, _| {
            let results = match result {
                Ok(_) => found,
                Err(error) => refused(found, &error),
            };
            let _ = reply.send(Ok(results));
        });
    }

    fn hide(&mut self, text: &str, timeout: Duration) -> Result<Seq, QueueError> {
        let handle = Handle::decode(self.record.no, text)?;
        let fifo = self.record.attributes.fifo;
        match self.state.standing(handle.seq, handle.receipt) {
            Standing::InFlight => {}
            Standing::Newer | Standing::Visible if fifo => {
                return Err(QueueError::ReceiptHandleExpired(text.into()));
            }
            Standing::Visible => return Err(QueueError::MessageNotInflight),
            // An older handle must not touch what another consumer holds now.
            Standing::Gone | Standing::Leaving | Standing::Newer => {
                return Err(QueueError::InvalidParameter(format!(
                    "Value {text} for parameter ReceiptHandle is invalid. Reason: Message does not exist or is \
                     not available for visibility timeout change."
                )));
            }
        }
        if self.state.hide(handle.seq, self.now(), timeout) {
            Ok(handle.seq)
        } else {
            Err(QueueError::InvalidParameter(format!(
                "Value {} for parameter VisibilityTimeout is invalid. Reason: Total VisibilityTimeout for the \
                 message is beyond the limit [43200 seconds]",
                timeout.as_secs()
            )))
        }
    }

    /// `PurgeQueue`: deletes what is there now, in flight or not.
    pub(super) fn purge(&mut self, reply: Reply<()>, ctx: &mut Context<Self>) {
        let now = self.now();
        let recent = self.purged.is_some_and(|at| now.since(at) < PURGE_REST);
        let allowed = if recent {
            let name = self.record.name.as_str().into();
            Err(QueueError::PurgeInProgress(name))
        } else {
            self.check_busy()
        };
        if let Err(error) = allowed {
            let _ = reply.send(Err(error));
            return;
        }
        self.purged = Some(now);
        let gone = self.state.all();
        metrics::counter!("fanfare_queue_messages_purged_total").increment(gone.len() as u64);
        let mut changes = self.state.erase(&gone);
        let (store, no) = (self.directory.store.clone(), self.record.no);
        let parts = async move {
            while !changes.is_empty() {
                let rest = changes.split_off(changes.len().min(limits::PURGE_CHANGES));
                store.commit(no, changes).await?;
                changes = rest;
            }
            Ok::<_, StoreError>(())
        };
        self.await_commit(parts, ctx, move |actor, result, ctx| match result {
            Ok(()) => {
                actor.left(&gone);
                let _ = reply.send(Ok(()));
            }
            Err(error) => {
                // Some parts may be on disk: what is there has to be read anew.
                let _ = reply.send(Err(error.into()));
                actor.end(Ended::Stale, ctx);
            }
        });
    }

    /// One step of a move task: the first messages that are visible go elsewhere, as if newly sent.
    pub(super) fn move_out(
        &mut self,
        max: usize,
        to: Option<&QueueRecord>,
        reply: Reply<usize>,
        ctx: &mut Context<Self>,
    ) {
        let picked = self.state.pick(max, None).hand;
        // All destinations are known before anything changes.
        let destinations: Result<Vec<_>, _> = picked
            .iter()
            .map(|seq| match to {
                Some(to) => Ok(to.clone()),
                None => self.origin_queue(*seq),
            })
            .collect();
        let destinations = match destinations {
            Ok(destinations) => destinations,
            Err(error) => {
                let _ = reply.send(Err(error));
                return;
            }
        };
        if picked.is_empty() {
            let _ = reply.send(Ok(0));
            return;
        }
        let mut changes = Vec::new();
        for (seq, to) in picked.iter().zip(&destinations) {
            changes.extend(self.moves(&[*seq], to, None, true));
        }
        self.commit(changes, ctx, move |actor, result, _| {
            let answer = match result {
                Ok(_) => {
                    actor.left(&picked);
                    Ok(picked.len())
                }
                Err(error) => {
                    actor.stay(&picked);
                    Err(error.into())
                }
            };
            let _ = reply.send(answer);
        });
    }

    /// The queue that a dead letter came from.
    fn origin_queue(&self, seq: Seq) -> Result<QueueRecord, QueueError> {
        let source = self
            .state
            .get(seq)
            .and_then(|entry| entry.message.dead_letter_source.clone());
        let queue = match &source {
            Some(arn) => self.directory.by_arn(arn)?,
            None => None,
        };
        queue.ok_or_else(|| QueueError::ResourceNotFound("CouldNotDetermineMessageSource".into()))
    }

    /// Takes messages out and moves them to another queue.
    pub(super) fn moves(
        &mut self,
        seqs: &[Seq],
        to: &QueueRecord,
        dead_letter_source: Option<&Arc<str>>,
        anew: bool,
    ) -> Vec<Change> {
        let now = self.now();
        let mut changes = Vec::new();
        for seq in seqs {
            let Some(entry) = self.state.get(*seq) else {
                continue;
            };
            // A dead letter of a standard queue goes on aging; one of a FIFO queue, and what is moved back, starts anew.
            let from = if anew || to.attributes.fifo {
                now
            } else {
                entry.message.sent
            };
            let (origin, expires) = (entry.origin, from.plus(to.attributes.retention));
            changes.extend(self.state.depart(*seq, anew));
            changes.push(Change::Move {
                seq: *seq,
                origin,
                to: to.no,
                expires,
                dead_letter_source: dead_letter_source.cloned(),
            });
        }
        changes
    }

    /// Messages that were leaving are gone from disk.
    pub(super) fn left(&mut self, seqs: &[Seq]) {
        for seq in seqs {
            let freed = self.state.left(*seq);
            self.release(freed);
        }
    }

    /// Messages that were leaving are still there.
    pub(super) fn stay(&mut self, seqs: &[Seq]) {
        let now = self.now();
        for seq in seqs {
            self.state.stay(*seq, now);
        }
    }
}

/// What [`QueueActor::accept`] found.
enum Verdict {
    New(usize, Uuid),
    Repeats(Uuid, Option<Seq>),
}

/// What one entry of a send is answered, once its commit is on disk.
async fn sent(
    entry: Entry,
    own: &Result<Vec<Seq>, StoreError>,
    fifo: bool,
) -> Result<Sent, QueueError> {
    let at = |result: Result<Vec<Seq>, StoreError>, place: usize| Ok(result?[place]);
    let (message_id, seq) = match entry {
        Entry::Refused(error) => return Err(error),
        Entry::New(place, id) => (id, at(own.clone(), place)),
        Entry::Repeats(id, seq) => (id, Ok(seq)),
        Entry::Awaits(commit, place, id) => (id, at(commit.await, place)),
    };
    seq.map(|seq| Sent {
        message_id,
        sequence_number: fifo.then_some(seq.0),
    })
}

/// The entries that were to be stored are refused; the others keep their own answer.
fn refused(found: PerEntry<()>, error: &StoreError) -> PerEntry<()> {
    found
        .into_iter()
        .map(|entry| entry.and_then(|()| Err(error.clone().into())))
        .collect()
}

fn not_for_this_type(value: impl std::fmt::Display, parameter: &str) -> QueueError {
    QueueError::InvalidParameter(format!(
        "Value {value} for parameter {parameter} is invalid. Reason: The request include parameter that is not \
         valid for this queue type."
    ))
}
