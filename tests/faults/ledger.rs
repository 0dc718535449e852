//! What the server has promised, and when.
//!
//! Moments are positions in the log of the power-cut recorder, so that the ledger can say what held
//! at any cut; where nothing is recorded they are all 0. An action is noted before its request goes
//! out and again when its answer is in. Between the two it may or may not have happened.

use std::collections::{BTreeMap, HashMap};

/// A position in the recorder's log.
pub type Moment = u64;
/// A queue by its path, which stays the same when the port changes.
pub type Queue = String;
pub type User = u64;
/// The number in a message.
pub type Number = u64;

/// When something was asked for and when it was promised.
#[derive(Debug, Clone, Copy)]
struct Act {
    began: Moment,
    done: Option<Moment>,
}

impl Act {
    fn may_have_happened(&self, cut: Moment) -> bool {
        self.began <= cut
    }

    fn has_happened(&self, cut: Moment) -> bool {
        self.done.is_some_and(|done| done <= cut)
    }

    /// The act as the world after a cut knows it: `None` if it was never asked for.
    fn as_of(self, cut: Moment) -> Option<Self> {
        let done = self.has_happened(cut).then_some(0);
        self.may_have_happened(cut)
            .then_some(Self { began: 0, done })
    }
}

#[derive(Debug, Clone)]
struct Message {
    queues: Vec<Queue>,
    users: Vec<User>,
    sent: Act,
}

/// What must be true of a thing after a cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Promised: must be there.
    There,
    /// Never asked for, or promised to be gone: must not be there.
    Absent,
    /// Asked for without an answer: both are right.
    Either,
}

/// The ledger of one history.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    messages: BTreeMap<Number, Message>,
    deletes: HashMap<(Queue, Number), Act>,
    receipts: HashMap<(User, Number), Act>,
    envelopes: HashMap<Queue, Vec<Envelope>>,
    next: Number,
}

/// A range of counter blocks that was seen to encrypt a message.
#[derive(Debug, Clone, Copy)]
struct Envelope {
    first: u64,
    blocks: u64,
    number: Number,
    seen: Moment,
}

impl Ledger {
    /// A message goes out now. Returns its number.
    pub fn send(&mut self, now: Moment, queues: Vec<Queue>, users: Vec<User>) -> Number {
        let number = self.next;
        self.next += 1;
        let sent = Act {
            began: now,
            done: None,
        };
        self.messages.insert(
            number,
            Message {
                queues,
                users,
                sent,
            },
        );
        number
    }

    /// The server has promised to keep it.
    pub fn sent(&mut self, now: Moment, number: Number) {
        if let Some(message) = self.messages.get_mut(&number) {
            message.sent.done = Some(now);
        }
    }

    /// A message is about to be deleted from a queue.
    pub fn delete(&mut self, now: Moment, queue: &str, number: Number) {
        begin(&mut self.deletes, (queue.to_owned(), number), now);
    }

    /// The server has promised that it is gone.
    pub fn deleted(&mut self, now: Moment, queue: &str, number: Number) {
        end(&mut self.deletes, (queue.to_owned(), number), now);
    }

    /// A message is about to be marked as read.
    pub fn receipt(&mut self, now: Moment, user: User, number: Number) {
        begin(&mut self.receipts, (user, number), now);
    }

    /// The server has promised that it is read.
    pub fn receipted(&mut self, now: Moment, user: User, number: Number) {
        end(&mut self.receipts, (user, number), now);
    }

    /// An envelope was received.
    ///
    /// # Errors
    /// Says which two messages share a counter block.
    pub fn envelope(
        &mut self,
        now: Moment,
        queue: &str,
        first: u64,
        blocks: u64,
        number: Number,
    ) -> Result<(), String> {
        let seen = self.envelopes.entry(queue.to_owned()).or_default();
        for other in seen.iter() {
            let apart = first + blocks <= other.first || other.first + other.blocks <= first;
            if !apart && other.number != number {
                let (begin, end) = (other.first, other.first + other.blocks);
                return Err(format!(
                    "{queue}: message {number} repeats counter {first} (+{blocks}): message {} had {begin}..{end}",
                    other.number
                ));
            }
        }
        if !seen
            .iter()
            .any(|other| other.first == first && other.blocks == blocks)
        {
            seen.push(Envelope {
                first,
                blocks,
                number,
                seen: now,
            });
        }
        Ok(())
    }

    /// How many messages were promised.
    pub fn promised(&self) -> usize {
        self.messages
            .values()
            .filter(|message| message.sent.done.is_some())
            .count()
    }

    /// How many deletions were promised.
    pub fn promised_deletes(&self) -> usize {
        self.deletes
            .values()
            .filter(|act| act.done.is_some())
            .count()
    }

    /// How many receipts were promised.
    pub fn promised_receipts(&self) -> usize {
        self.receipts
            .values()
            .filter(|act| act.done.is_some())
            .count()
    }

    /// What must be in a queue.
    pub fn in_queue(&self, queue: &str) -> BTreeMap<Number, Expect> {
        let here = |message: &Message| message.queues.iter().any(|name| name == queue);
        let found = self.messages.iter().filter(|(_, message)| here(message));
        found
            .map(|(number, message)| (*number, self.expect(queue, *number, message)))
            .collect()
    }

    fn expect(&self, queue: &str, number: Number, message: &Message) -> Expect {
        match self.deletes.get(&(queue.to_owned(), number)) {
            Some(act) if act.done.is_some() => Expect::Absent,
            Some(_) => Expect::Either,
            None if message.sent.done.is_some() => Expect::There,
            None => Expect::Either,
        }
    }

    /// What must be in a user's history, and whether it must be read.
    pub fn in_history(&self, user: User) -> BTreeMap<Number, (Expect, Expect)> {
        let found = self
            .messages
            .iter()
            .filter(|(_, message)| message.users.contains(&user));
        let found = found.map(|(number, message)| {
            let there = if message.sent.done.is_some() {
                Expect::There
            } else {
                Expect::Either
            };
            let read = match self.receipts.get(&(user, *number)) {
                Some(act) if act.done.is_some() => Expect::There,
                Some(_) => Expect::Either,
                None => Expect::Absent,
            };
            (*number, (there, read))
        });
        found.collect()
    }

    /// Some promised messages of a user, newest first.
    pub fn newest_of(&self, user: User, count: usize) -> Vec<Number> {
        let promised =
            |message: &Message| message.sent.done.is_some() && message.users.contains(&user);
        let found = self
            .messages
            .iter()
            .rev()
            .filter(|(_, message)| promised(message));
        found.take(count).map(|(number, _)| *number).collect()
    }

    /// The ledger of a world in which the power failed at `cut`: what came later never happened.
    pub fn as_of(&self, cut: Moment) -> Self {
        let mut world = self.clone();
        world.messages.retain(|_, message| {
            let sent = message.sent.as_of(cut);
            message.sent = sent.unwrap_or(message.sent);
            sent.is_some()
        });
        world.deletes.retain(|_, act| keep(act, cut));
        world.receipts.retain(|_, act| keep(act, cut));
        for envelopes in world.envelopes.values_mut() {
            envelopes.retain(|envelope| envelope.seen <= cut);
            envelopes.iter_mut().for_each(|envelope| envelope.seen = 0);
        }
        world
    }
}

fn keep(act: &mut Act, cut: Moment) -> bool {
    let then = act.as_of(cut);
    *act = then.unwrap_or(*act);
    then.is_some()
}

fn begin<K: std::hash::Hash + Eq>(acts: &mut HashMap<K, Act>, key: K, now: Moment) {
    acts.entry(key).or_insert(Act {
        began: now,
        done: None,
    });
}

fn end<K: std::hash::Hash + Eq>(acts: &mut HashMap<K, Act>, key: K, now: Moment) {
    if let Some(act) = acts.get_mut(&key) {
        act.done.get_or_insert(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUEUE: &str = "/1/q";

    fn ledger() -> Ledger {
        let mut ledger = Ledger::default();
        let number = ledger.send(10, vec![QUEUE.to_owned()], vec![7]);
        ledger.sent(20, number);
        ledger.delete(30, QUEUE, number);
        ledger.deleted(40, QUEUE, number);
        ledger
    }

    fn check(cut: Moment, expect: Option<Expect>) {
        assert_eq!(
            ledger().as_of(cut).in_queue(QUEUE).get(&0).copied(),
            expect,
            "cut at {cut}"
        );
    }

    #[test]
    fn a_cut_keeps_what_was_promised_before_it() {
        check(9, None);
        check(10, Some(Expect::Either));
        check(20, Some(Expect::There));
        check(30, Some(Expect::Either));
        check(40, Some(Expect::Absent));
    }

    #[test]
    fn two_messages_must_not_share_a_block_and_a_redelivery_may() {
        let mut ledger = Ledger::default();
        ledger.envelope(0, QUEUE, 100, 5, 1).unwrap();
        ledger.envelope(0, QUEUE, 100, 5, 1).unwrap();
        ledger.envelope(0, QUEUE, 105, 1, 2).unwrap();
        ledger.envelope(0, QUEUE, 99, 2, 3).unwrap_err();
        ledger.envelope(0, QUEUE, 104, 1, 3).unwrap_err();
        ledger.envelope(0, "/1/other", 104, 1, 3).unwrap();
    }
}
