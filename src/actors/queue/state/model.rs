//! The state against a small model of what SQS promises, over random histories with reloads from the rows that the
//! changes produced.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::actors::queue::dedup::{Dedup, Key};
use crate::actors::queue::double::Rows;
use crate::domain::message::QueueSource;
use crate::domain::queue::DedupScope;
use crate::domain::{AccountId, QueueNo};

const QUEUE: QueueNo = QueueNo(1_000_001);
const DEAD: QueueNo = QueueNo(1_000_002);
const ACCOUNT: AccountId = AccountId(7);
const RETENTION: Duration = Duration::from_secs(60);
const MAX_RECEIVES: u32 = 3;

/// A step of a history. Messages are named by their place among those handed out so far.
#[derive(Debug, Clone)]
enum Step {
    Send { group: u8, dedup: u8, delay: u64 },
    Broadcast { account: Option<i64> },
    Receive { max: usize, visibility: u64 },
    Delete { nth: usize },
    Hide { nth: usize, timeout: u64 },
    GiveBack { nth: usize },
    Wait { secs: u64 },
    Purge,
    Reload,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..3_u8, any::<u8>(), prop_oneof![3 => Just(0), 1 => 1..10_u64])
            .prop_map(|(group, dedup, delay)| Step::Send { group, dedup: dedup % 40, delay }),
        2 => prop_oneof![Just(None), Just(Some(7)), Just(Some(8))]
            .prop_map(|account| Step::Broadcast { account }),
        6 => (1..5_usize, prop_oneof![1 => Just(0), 5 => 1..20_u64])
            .prop_map(|(max, visibility)| Step::Receive { max, visibility }),
        4 => (0..8_usize).prop_map(|nth| Step::Delete { nth }),
        2 => (0..8_usize, 0..20_u64).prop_map(|(nth, timeout)| Step::Hide { nth, timeout }),
        1 => (0..8_usize).prop_map(|nth| Step::GiveBack { nth }),
        3 => (0..25_u64).prop_map(|secs| Step::Wait { secs }),
        1 => Just(Step::Purge),
        2 => Just(Step::Reload),
    ];
    proptest::collection::vec(step, 1..120)
}

/// A message as the model sees it.
#[derive(Debug, Clone)]
struct Known {
    group: Option<String>,
    visible_at: u64,
    expires: u64,
    received: u32,
    receipt: u64,
}

/// The model: a list of messages, and rules that look at all of it.
#[derive(Debug, Default)]
struct Model {
    fifo: bool,
    redrive: bool,
    now: u64,
    messages: BTreeMap<Seq, Known>,
    dedups: Vec<(String, u64)>,
    dead: usize,
}

impl Model {
    fn is_hidden(&self, message: &Known) -> bool {
        message.visible_at > self.now
    }

    fn expire(&mut self) {
        let now = self.now;
        self.messages.retain(|_, message| message.expires > now);
    }

    /// What a receive gives, and what goes to the dead letters.
    fn receive(&self, max: usize) -> (Vec<Seq>, Vec<Seq>) {
        let (mut hand, mut dead) = (Vec::new(), Vec::new());
        let mut blocked: Vec<&Option<String>> = Vec::new();
        if self.fifo {
            let in_flight = |message: &&Known| self.is_hidden(message) && message.received > 0;
            blocked = self
                .messages
                .values()
                .filter(in_flight)
                .map(|m| &m.group)
                .collect();
        }
        let mut order: Vec<_> = self.messages.iter().collect();
        if self.fifo {
            // Group after group, as their first messages come.
            let first = |group: &Option<String>| {
                self.messages
                    .iter()
                    .find(|(_, m)| m.group == *group)
                    .map(|(seq, _)| *seq)
            };
            order.sort_by_key(|(seq, message)| (first(&message.group), **seq));
        }
        for (seq, message) in order {
            if hand.len() >= max {
                break;
            }
            if self.fifo && blocked.contains(&&message.group) {
                continue;
            }
            let is_dead = self.redrive && message.received >= MAX_RECEIVES;
            if self.is_hidden(message) || is_dead {
                blocked.push(&message.group);
            }
            if !self.is_hidden(message) {
                if is_dead {
                    dead.push(*seq)
                } else {
                    hand.push(*seq)
                }
            }
        }
        (hand, dead)
    }

    fn counts(&self) -> QueueCounts {
        let count = |wanted: fn(&Known) -> bool, hidden: bool| {
            self.messages
                .values()
                .filter(|message| self.is_hidden(message) == hidden && wanted(message))
                .count() as u64
        };
        QueueCounts {
            visible: count(|_| true, false),
            in_flight: count(|message| message.received > 0, true),
            delayed: count(|message| message.received == 0, true),
        }
    }
}

/// The state, the rows it has written, and the model, kept in step.
struct Bench {
    rows: Rows,
    state: State,
    dedup: Dedup,
    model: Model,
    handed: Vec<(Seq, u64)>,
    receipts: u64,
}

impl Bench {
    fn new(fifo: bool, redrive: bool) -> Self {
        let rows = Rows::default();
        let now = 1_000;
        let state = State::new(
            fifo,
            rows.load(source(), Timestamp::from_secs(now)),
            Timestamp::from_secs(now),
        );
        Self {
            rows,
            state,
            dedup: Dedup::default(),
            model: Model {
                fifo,
                redrive,
                now,
                ..Model::default()
            },
            handed: Vec::new(),
            receipts: 0,
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_secs(self.model.now)
    }

    fn message(&self, group: Option<&str>, dedup: Option<&str>, delay: u64) -> NewMessage {
        NewMessage {
            id: Uuid::new_v4(),
            body: Bytes::from_static(b"body"),
            seal: false,
            sent: self.now(),
            expires: self.now().plus(RETENTION),
            visible_at: self.now().plus(Duration::from_secs(delay)),
            sender: "me".into(),
            attributes: Arc::new([]),
            group: group.map(Into::into),
            dedup: dedup.map(Into::into),
            trace_header: None,
            dead_letter_source: None,
        }
    }

    fn know(&mut self, seq: Seq, message: &NewMessage) {
        let known = Known {
            group: message.group.as_deref().map(Into::into),
            visible_at: message.visible_at.secs(),
            expires: message.expires.secs(),
            received: 0,
            receipt: 0,
        };
        self.model.messages.insert(seq, known);
    }

    fn send(&mut self, group: u8, dedup: u8, delay: u64) {
        let (group, dedup) = (format!("g{group}"), format!("d{dedup}"));
        if !self.model.fifo {
            let message = self.message(None, None, delay);
            let (seqs, _) = self.rows.apply(QUEUE, vec![Change::Send(message.clone())]);
            self.know(seqs[0], &message);
            return;
        }
        let now = self.now();
        let key = Key::new(
            DedupScope::Queue,
            dedup.as_str().into(),
            Some(group.as_str().into()),
        );
        let repeats = self.dedup.first(&key, now).is_some();
        let known = |(id, sent): &(String, u64)| *id == dedup && sent + 300 > self.model.now;
        assert_eq!(repeats, self.model.dedups.iter().any(known), "{dedup}");
        if !repeats {
            let message = self.message(Some(&group), Some(&dedup), delay);
            self.dedup.note(key.clone(), message.id, now);
            let (seqs, _) = self.rows.apply(QUEUE, vec![Change::Send(message.clone())]);
            self.dedup.settle(&key, message.id, Some(seqs[0]));
            self.model.dedups.push((dedup, self.model.now));
            self.know(seqs[0], &message);
        }
    }

    fn broadcast(&mut self, account: Option<i64>) {
        if self.model.fifo {
            return;
        }
        let message = self.message(None, None, 0);
        let origin = account.map_or(Origin::Everyone, |account| {
            Origin::Account(AccountId(account))
        });
        let seq = self.rows.broadcast(origin, message.clone());
        if account.is_none_or(|account| account == ACCOUNT.0) {
            self.know(seq, &message);
        }
    }

    fn receive(&mut self, max: usize, visibility: u64) {
        let redrive = self.model.redrive.then_some(MAX_RECEIVES);
        let picked = self.state.pick(max, redrive);
        let (hand, dead) = self.model.receive(max);
        assert_eq!((&picked.hand, &picked.dead), (&hand, &dead));
        for seq in dead {
            let mut changes = self.state.depart(seq, false);
            let entry = self.state.get(seq).unwrap();
            changes.push(Change::Move {
                seq,
                origin: entry.origin,
                to: DEAD,
                expires: entry.message.expires,
                dead_letter_source: None,
            });
            self.rows.apply(QUEUE, changes);
            self.state.left(seq);
            self.model.messages.remove(&seq);
            self.model.dead += 1;
        }
        let now = self.now();
        for seq in &hand {
            self.receipts += 1;
            let how = HandOut {
                now,
                visible_at: now.plus(Duration::from_secs(visibility)),
                receipt: self.receipts,
                counter: None,
            };
            self.state.hand_out(*seq, how);
            let known = self.model.messages.get_mut(seq).unwrap();
            known.received += 1;
            known.receipt = self.receipts;
            known.visible_at = self.model.now + visibility;
            self.handed.push((*seq, self.receipts));
        }
        let changes = self.state.record(&hand);
        self.rows.apply(QUEUE, changes);
    }

    /// The nth newest hand-out, and how the model sees it.
    fn handle(&self, nth: usize) -> Option<(Seq, u64, Standing)> {
        let (seq, receipt) = *self.handed.iter().rev().nth(nth)?;
        let standing = match self.model.messages.get(&seq) {
            None => Standing::Gone,
            Some(message) if message.receipt != receipt => Standing::Newer,
            Some(message) if self.model.is_hidden(message) => Standing::InFlight,
            Some(_) => Standing::Visible,
        };
        assert_eq!(self.state.standing(seq, receipt), standing);
        Some((seq, receipt, standing))
    }

    fn delete(&mut self, nth: usize) {
        if let Some((seq, _, standing)) = self.handle(nth)
            && standing != Standing::Gone
        {
            let changes = self.state.erase(&[seq]);
            self.rows.apply(QUEUE, changes);
            self.state.left(seq);
            self.model.messages.remove(&seq);
        }
    }

    fn hide(&mut self, nth: usize, timeout: u64) {
        if let Some((seq, _, Standing::InFlight)) = self.handle(nth) {
            assert!(
                self.state
                    .hide(seq, self.now(), Duration::from_secs(timeout))
            );
            let changes = self.state.record(&[seq]);
            self.rows.apply(QUEUE, changes);
            self.model.messages.get_mut(&seq).unwrap().visible_at = self.model.now + timeout;
        }
    }

    fn give_back(&mut self, nth: usize) {
        if let Some((seq, receipt, Standing::InFlight)) = self.handle(nth) {
            assert!(self.state.give_back(seq, receipt, self.now()));
            let changes = self.state.record(&[seq]);
            self.rows.apply(QUEUE, changes);
            let known = self.model.messages.get_mut(&seq).unwrap();
            known.received -= 1;
            known.visible_at = self.model.now;
        }
    }

    fn purge(&mut self) {
        let all = self.state.all();
        let changes = self.state.erase(&all);
        self.rows.apply(QUEUE, changes);
        for seq in all {
            self.state.left(seq);
        }
        self.model.messages.clear();
    }

    fn reload(&mut self) {
        let loaded = self.rows.load(source(), self.now());
        self.dedup = Dedup::new(DedupScope::Queue, loaded.remembered.clone());
        self.state = State::new(self.model.fifo, loaded, self.now());
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Send {
                group,
                dedup,
                delay,
            } => self.send(group, dedup, delay),
            Step::Broadcast { account } => self.broadcast(account),
            Step::Receive { max, visibility } => self.receive(max, visibility),
            Step::Delete { nth } => self.delete(nth),
            Step::Hide { nth, timeout } => self.hide(nth, timeout),
            Step::GiveBack { nth } => self.give_back(nth),
            Step::Wait { secs } => self.model.now += secs,
            Step::Purge => self.purge(),
            Step::Reload => self.reload(),
        }
        let newer = self.rows.newer(source(), self.state.seen(), self.now());
        self.state.absorb(newer, self.now());
        self.state.advance(self.now());
        self.model.expire();
        assert_eq!(self.state.counts(), self.model.counts());
        assert_eq!(self.state.len(), self.model.messages.len());
    }
}

fn source() -> QueueSource {
    QueueSource {
        queue: QUEUE,
        account: Some(ACCOUNT),
    }
}

fn run(fifo: bool, redrive: bool, steps: Vec<Step>) {
    let mut bench = Bench::new(fifo, redrive);
    for step in steps {
        bench.step(step);
    }
    // Whatever happened, a fresh start finds the same messages, and the dead letters are where they belong.
    bench.step(Step::Reload);
    let dead = QueueSource {
        queue: DEAD,
        account: None,
    };
    let dead = bench.rows.load(dead, Timestamp(0)).messages;
    assert_eq!(dead.len(), bench.model.dead);
    for letter in dead {
        assert_eq!(
            letter.state.map(|state| state.receive_count),
            Some(MAX_RECEIVES)
        );
    }
}

proptest! {
    #[test]
    fn a_standard_queue_does_what_the_model_does(steps in steps(), redrive: bool) {
        run(false, redrive, steps);
    }

    #[test]
    fn a_fifo_queue_does_what_the_model_does(steps in steps(), redrive: bool) {
        run(true, redrive, steps);
    }
}

#[test]
fn an_untouched_broadcast_costs_no_row_and_the_first_touch_covers_all() {
    let mut bench = Bench::new(false, false);
    for _ in 0..3 {
        bench.step(Step::Broadcast { account: None });
    }
    let first = bench.state.pick(1, None).hand[0];
    let how = HandOut {
        now: bench.now(),
        visible_at: bench.now().plus(RETENTION),
        receipt: 1,
        counter: None,
    };
    bench.state.hand_out(first, how);
    let changes = bench.state.record(&[first]);
    let states = changes
        .iter()
        .filter(|change| matches!(change, Change::State { .. }))
        .count();
    let cursors = changes
        .iter()
        .filter(|change| matches!(change, Change::Cursor(seq) if *seq == bench.state.seen()));
    assert_eq!((states, cursors.count(), changes.len()), (3, 1, 4));
    // From then on each has its own row.
    assert_eq!(bench.state.erase(&[first]).len(), 1);
}

#[test]
fn nothing_stays_invisible_for_more_than_twelve_hours() {
    let mut bench = Bench::new(false, false);
    let message = NewMessage {
        expires: bench.now().plus(4 * MAX_IN_FLIGHT),
        ..bench.message(None, None, 0)
    };
    let (seqs, _) = bench.rows.apply(QUEUE, vec![Change::Send(message.clone())]);
    bench.know(seqs[0], &message);
    bench.step(Step::Wait { secs: 0 });
    bench.step(Step::Receive {
        max: 1,
        visibility: 0,
    });
    bench.step(Step::Receive {
        max: 1,
        visibility: 1000,
    });
    let (seq, _) = bench.handed[0];
    let later = bench.now().plus(Duration::from_secs(600));
    let mut check = |timeout, expect| {
        assert_eq!(
            bench.state.hide(seq, later, Duration::from_secs(timeout)),
            expect,
            "{timeout}"
        );
    };
    check(43_200, false);
    check(42_601, false);
    check(42_600, true);
    check(0, true);
}
