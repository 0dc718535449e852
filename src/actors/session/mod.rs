//! The session actor: a queue actor whose messages go out in the session's envelope (SEMANTICS 5).
//!
//! A counter is used only below a mark that is on disk. The mark is asked for when the first receive comes
//! and renewed well before it is reached, so that a waiting poll is woken without waiting for the disk.

use std::sync::Arc;

use bytes::Bytes;

use crate::actors::queue::{Kind, Outward, QueueActor, Sealers};
use crate::backends::SessionRegistry;
use crate::domain::QueueError;
use crate::domain::session::{EnvelopeVersion, Session};
use crate::envelope::{
    AesKey, CounterLease, Envelope, LEASE_BLOCKS, LeasePlan, SessionCipher, ascii_json,
};

/// One per active session.
pub type SessionActor = QueueActor<SessionKind>;

/// Fewer counters than this are left: ask for the next, 256 KiB of messages ahead.
const LOW: u64 = LEASE_BLOCKS / 4;

/// A session's queue: messages are sealed when they are handed out.
#[derive(Debug)]
pub struct SessionKind {
    cipher: SessionCipher,
    /// Counters below this may have been used by this process or an earlier one.
    mark: u64,
    lease: CounterLease,
    /// Follows `lease`: taken before that runs out.
    spare: Option<CounterLease>,
    /// Its mark is on the way to disk.
    plan: Option<LeasePlan>,
    /// What the last message would have needed.
    shortfall: u64,
}

impl SessionKind {
    /// For a session whose queue has this durable counter mark, if it ever had one.
    pub fn new(session: &Session, mark: Option<u64>) -> Self {
        let format = match session.envelope {
            EnvelopeVersion::V1 => Envelope::V1,
            EnvelopeVersion::V2 => Envelope::V2 {
                session_id: session.key.session.as_str().into(),
            },
        };
        Self {
            cipher: SessionCipher::new(&AesKey::from_bytes(session.aes_key), format),
            mark: mark.unwrap_or(0),
            lease: CounterLease::default(),
            spare: None,
            plan: None,
            shortfall: 1,
        }
    }

    fn reserve(&mut self, blocks: u64) -> Option<u64> {
        if let Some(counter) = self.lease.reserve(blocks) {
            return Some(counter);
        }
        self.lease = self.spare.take()?;
        self.lease.reserve(blocks)
    }
}

impl Kind for SessionKind {
    fn wants_mark(&mut self) -> Result<Option<u64>, QueueError> {
        let ahead = self.spare.as_ref().unwrap_or(&self.lease);
        let enough = !ahead.needs_more(self.shortfall.max(LOW));
        if self.plan.is_some() || enough {
            return Ok(None);
        }
        let plan = LeasePlan::after(self.mark, self.shortfall)
            .map_err(|exhausted| QueueError::UnsupportedOperation(exhausted.to_string()))?;
        // Even if the write fails it may have reached the disk: the next plan follows this one.
        self.mark = plan.high_water();
        self.plan = Some(plan);
        Ok(Some(self.mark))
    }

    fn mark_done(&mut self, durable: bool) {
        if let Some(plan) = self.plan.take()
            && durable
        {
            self.spare = Some(plan.made_durable());
        }
    }

    fn awaits_mark(&self) -> bool {
        self.plan.is_some()
    }

    fn seal(&mut self, body: &Bytes, counter: Option<u64>) -> Option<Outward> {
        let json = String::from_utf8_lossy(body);
        let json = ascii_json(json);
        let counter = match counter {
            Some(counter) => counter,
            None => {
                let blocks = self.cipher.blocks(json.len());
                let Some(counter) = self.reserve(blocks) else {
                    self.shortfall = blocks;
                    return None;
                };
                self.shortfall = 1;
                counter
            }
        };
        Some(Outward {
            body: self.cipher.seal(counter, json.as_bytes()).into(),
            counter: Some(counter),
        })
    }
}

/// Finds the session that owns a queue, for [`Queues`](crate::actors::queue::Queues) to start its actor.
pub fn sealers(registry: Arc<dyn SessionRegistry>) -> Sealers {
    Arc::new(move |queue, mark| {
        let Some(owner) = &queue.owner else {
            return Ok(None);
        };
        let session = registry.get(owner)?;
        match session.filter(|session| session.queue == queue.no) {
            Some(session) => Ok(Some(SessionKind::new(&session, mark))),
            // The session was destroyed while its queue was looked up.
            None => Err(QueueError::DoesNotExist),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        AccountId, IdentityId, QueueName, QueueNo, SessionId, SessionKey, Timestamp,
        session::Credentials,
    };
    use crate::envelope::FIRST_COUNTER;

    fn session(envelope: EnvelopeVersion) -> Session {
        Session {
            key: SessionKey {
                account: AccountId(1),
                session: SessionId::parse("s").unwrap(),
            },
            user: None,
            queue: QueueNo(1),
            queue_name: QueueName::parse("q").unwrap(),
            queue_url: None,
            aes_key: [7; 32],
            envelope,
            credentials: Credentials {
                access_key: "ASIA".into(),
                secret_key: "s".into(),
                session_token: "t".into(),
                expires: Timestamp(0),
            },
            identity: IdentityId::parse("r:0").unwrap(),
            created: Timestamp(0),
            ttl: Timestamp(0),
            retention: std::time::Duration::from_secs(60),
            topics: Vec::new(),
            transport: crate::domain::session::Transport::default(),
        }
    }

    fn leased(kind: &mut SessionKind) -> u64 {
        let mark = kind.wants_mark().unwrap().expect("a mark is wanted");
        kind.mark_done(true);
        mark
    }

    #[test]
    fn nothing_goes_out_before_its_counters_are_durable() {
        let mut kind = SessionKind::new(&session(EnvelopeVersion::V1), None);
        let body = Bytes::from_static(b"{\"a\":1}");
        assert_eq!(kind.seal(&body, None), None);
        assert_eq!(
            kind.wants_mark().unwrap(),
            Some(FIRST_COUNTER + LEASE_BLOCKS)
        );
        assert_eq!(kind.wants_mark().unwrap(), None, "one is on its way");
        assert_eq!(kind.seal(&body, None), None);
        kind.mark_done(false);
        assert_eq!(kind.seal(&body, None), None);
        // What may be on disk although the write failed is not planned again.
        assert_eq!(leased(&mut kind), FIRST_COUNTER + 2 * LEASE_BLOCKS);
        let sealed = kind.seal(&body, None).unwrap();
        assert_eq!(sealed.counter, Some(FIRST_COUNTER + LEASE_BLOCKS));
    }

    #[test]
    fn a_redelivery_is_the_same_byte_for_byte() {
        for version in [EnvelopeVersion::V1, EnvelopeVersion::V2] {
            let mut kind = SessionKind::new(&session(version), Some(FIRST_COUNTER + 5));
            let body = Bytes::from("{\"a\":\"é\"}");
            leased(&mut kind);
            let first = kind.seal(&body, None).unwrap();
            let other = kind.seal(&body, None).unwrap();
            assert_ne!(first, other);
            assert_eq!(kind.seal(&body, first.counter).unwrap(), first);
            let text = std::str::from_utf8(&first.body).unwrap();
            assert_eq!(kind.cipher.open(text).unwrap(), b"{\"a\":\"\\u00e9\"}");
        }
    }

    #[test]
    fn counters_are_renewed_ahead_and_never_overlap() {
        let mut kind = SessionKind::new(&session(EnvelopeVersion::V1), None);
        let body = Bytes::from(vec![b' '; 16 * 1000]);
        let mut next = 0;
        for round in 0..1000 {
            if kind.wants_mark().unwrap().is_some() {
                kind.mark_done(true);
            }
            let counter = kind
                .seal(&body, None)
                .expect("renewed ahead")
                .counter
                .unwrap();
            assert!(counter >= next, "round {round}");
            next = counter + 1000;
            assert!(next <= kind.mark);
        }
    }

    #[test]
    fn a_message_longer_than_a_lease_goes_out() {
        let mut kind = SessionKind::new(&session(EnvelopeVersion::V1), None);
        leased(&mut kind);
        let body = Bytes::from(vec![b' '; 16 * (LEASE_BLOCKS as usize + 1)]);
        assert_eq!(kind.seal(&body, None), None);
        leased(&mut kind);
        assert!(kind.seal(&body, None).is_some());
    }
}
