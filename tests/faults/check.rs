//! Compares what a server has with what the ledger says it promised.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::client::Unknown;
use super::ledger::{Expect, Number, Queue, User};
use super::load::{LOAD_VISIBILITY_SECONDS, Run, Session};

/// Hides what a check has received until it is over.
const VISIBILITY_SECONDS: u32 = 120;
/// A message may be hidden by the load that ran before; a promised one must show up after that.
const PATIENCE: Duration = Duration::from_secs(LOAD_VISIBILITY_SECONDS as u64 + 3);

/// What a check does with the messages it has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// Deletes them, and so keeps the queues short and adds promises to the ledger.
    Delete,
    /// Leaves them, hidden for two minutes.
    Leave,
}

impl Run {
    /// Checks everything. Returns the promises that were broken.
    pub async fn check_all(&self, seen: Seen) -> Vec<String> {
        let mut broken = Vec::new();
        for session in &self.world.sessions {
            broken.extend(self.check_queue(Some(session), seen).await);
        }
        broken.extend(self.check_queue(None, seen).await);
        for user in self.world.users() {
            broken.extend(self.check_history(user).await);
        }
        broken.append(&mut self.broken.borrow_mut());
        broken
    }

    /// Drains one queue and compares, waiting for what is promised and still hidden.
    pub async fn check_queue(&self, session: Option<&Session>, seen: Seen) -> Vec<String> {
        let queue: &Queue = session.map_or(&self.world.plain_queue, |session| &session.queue);
        let expect = self.ledger.borrow().in_queue(queue);
        let received = match self.drain(session, &expect, seen).await {
            Ok(received) => received,
            Err(Unknown(reason)) => return vec![format!("{queue}: cannot be drained: {reason}")],
        };
        let mut broken = compare(queue, &expect, &received.keys().copied().collect());
        broken.extend(twice(queue, &received));
        broken
    }

    /// Drains what can be seen of a queue at once and says what should not be there. What is
    /// missing may be hidden by the load that ran before; only a thorough check can tell.
    pub async fn glance_at_queue(&self, session: &Session) -> Vec<String> {
        let mut expect = self.ledger.borrow().in_queue(&session.queue);
        for there in expect
            .values_mut()
            .filter(|expect| **expect == Expect::There)
        {
            *there = Expect::Either;
        }
        match self.drain(Some(session), &expect, Seen::Delete).await {
            Ok(received) => compare(&session.queue, &expect, &received.keys().copied().collect()),
            Err(Unknown(reason)) => vec![format!("{}: {reason}", session.queue)],
        }
    }

    async fn drain(
        &self,
        session: Option<&Session>,
        expect: &BTreeMap<Number, Expect>,
        seen: Seen,
    ) -> Result<BTreeMap<Number, usize>, Unknown> {
        let mut missing: BTreeSet<Number> = promised(expect).collect();
        let mut received = BTreeMap::new();
        let begun = Instant::now();
        let mut wait = 0;
        loop {
            let deliveries = self.receive(session, VISIBILITY_SECONDS, wait).await?;
            let is_empty = deliveries.is_empty();
            for delivery in &deliveries {
                missing.remove(&delivery.number);
                *received.entry(delivery.number).or_insert(0) += 1;
            }
            if seen == Seen::Delete && !is_empty {
                self.delete_all(session, &deliveries).await?;
            }
            if is_empty && (missing.is_empty() || begun.elapsed() > PATIENCE) {
                return Ok(received);
            }
            wait = u32::from(is_empty);
        }
    }

    /// Reads one user's history and compares: messages, receipts, and the unread count.
    pub async fn check_history(&self, user: User) -> Vec<String> {
        let name = format!("history of {user}");
        let (entries, unread) = match self.history(user).await {
            Ok(found) => found,
            Err(Unknown(reason)) => return vec![format!("{name}: cannot be read: {reason}")],
        };
        let expect = self.ledger.borrow().in_history(user);
        let there = expect
            .iter()
            .map(|(number, (there, _))| (*number, *there))
            .collect();
        let mut broken = compare(&name, &there, &entries.keys().copied().collect());
        for (number, is_read) in &entries {
            match expect.get(number).map(|(_, read)| read) {
                Some(Expect::There) if !is_read => {
                    broken.push(format!("{name}: the receipt of {number} is lost"));
                }
                Some(Expect::Absent) if *is_read => {
                    broken.push(format!("{name}: {number} is read, and nobody read it"));
                }
                _ => {}
            }
        }
        let counted = entries.values().filter(|is_read| !**is_read).count() as u64;
        if unread != counted {
            broken.push(format!(
                "{name}: unread says {unread}, the entries say {counted}"
            ));
        }
        broken
    }

    async fn history(&self, user: User) -> Result<(BTreeMap<Number, bool>, u64), Unknown> {
        let mut entries = BTreeMap::new();
        let mut token = String::new();
        loop {
            let path = format!("/messages/user/{user}?limit=1000{token}");
            let answer = self.client.get(&path).await?;
            if !answer.is_success() {
                return Err(Unknown(format!("{path}: {answer:?}")));
            }
            for entry in answer.body["messages"].as_array().into_iter().flatten() {
                let number = entry["messageId"]
                    .as_str()
                    .and_then(|id| id.strip_prefix("m-"));
                let number = number
                    .and_then(|number| number.parse().ok())
                    .unwrap_or(Number::MAX);
                if entries.insert(number, entry["is_read"] == 1).is_some() {
                    return Err(Unknown(format!("message {number} is listed twice")));
                }
            }
            let Value::String(next) = &answer.body["nextToken"] else {
                break;
            };
            let next =
                percent_encoding::utf8_percent_encode(next, percent_encoding::NON_ALPHANUMERIC);
            token = format!("&nextToken={next}");
        }
        let answer = self
            .client
            .get(&format!("/messages/unread/user/{user}"))
            .await?;
        let unread = answer.body["unread"].as_u64();
        unread
            .map(|unread| (entries, unread))
            .ok_or_else(|| Unknown(format!("{answer:?}")))
    }
}

fn twice(queue: &str, received: &BTreeMap<Number, usize>) -> Vec<String> {
    let repeated = received.iter().filter(|(_, times)| **times > 1);
    let text =
        |(number, times)| format!("{queue}: message {number} came {times} times while hidden");
    repeated.map(text).collect()
}

fn promised(expect: &BTreeMap<Number, Expect>) -> impl Iterator<Item = Number> {
    let there = expect
        .iter()
        .filter(|(_, expect)| **expect == Expect::There);
    there.map(|(number, _)| *number)
}

fn compare(
    place: &str,
    expect: &BTreeMap<Number, Expect>,
    found: &BTreeSet<Number>,
) -> Vec<String> {
    let lost = promised(expect).filter(|number| !found.contains(number));
    let lost: Vec<Number> = lost.collect();
    let mut broken = Vec::new();
    if !lost.is_empty() {
        broken.push(format!(
            "{place}: {} promised messages are lost: {lost:?}",
            lost.len()
        ));
    }
    for number in found {
        match expect.get(number) {
            None => broken.push(format!("{place}: message {number} comes from nowhere")),
            Some(Expect::Absent) => {
                broken.push(format!("{place}: message {number} was deleted and is back"));
            }
            Some(Expect::There | Expect::Either) => {}
        }
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(expect: &[(Number, Expect)], found: &[Number], broken: usize) {
        let expect = expect.iter().copied().collect();
        let found = found.iter().copied().collect();
        assert_eq!(compare("here", &expect, &found).len(), broken);
    }

    #[test]
    fn each_kind_of_broken_promise_is_named() {
        let expect = [(1, Expect::There), (2, Expect::Absent), (3, Expect::Either)];
        check(&expect, &[1], 0);
        check(&expect, &[1, 3], 0);
        check(&expect, &[], 1);
        check(&expect, &[1, 2], 1);
        check(&expect, &[1, 4], 1);
    }
}
