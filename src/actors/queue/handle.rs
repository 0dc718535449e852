//! Receipt handles: opaque text that names one hand-out of one message.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::domain::message::Origin;
use crate::domain::{AccountId, QueueError, QueueNo, Seq};

/// What a receipt handle says.
///
/// It needs no signature: whoever may use the queue may delete its messages anyway, and a handle of
/// another queue is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Handle {
    /// The queue that handed the message out.
    pub(super) queue: QueueNo,
    /// The message.
    pub(super) seq: Seq,
    /// Where it is stored.
    pub(super) origin: Origin,
    /// Random, new with each hand-out.
    pub(super) receipt: u64,
}

/// First byte of a handle, so that a later form can be told apart.
const FORM: u8 = 1;

const BYTES: usize = 34;

impl Handle {
    /// The text that clients get.
    pub(super) fn encode(&self) -> String {
        let (kind, account) = match self.origin {
            Origin::Own => (0, 0),
            Origin::Everyone => (1, 0),
            Origin::Account(account) => (2, account.0),
        };
        let mut bytes = Vec::with_capacity(BYTES);
        bytes.extend([FORM, kind]);
        bytes.extend(self.queue.0.to_be_bytes());
        bytes.extend(self.seq.0.to_be_bytes());
        bytes.extend(account.to_be_bytes());
        bytes.extend(self.receipt.to_be_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads a handle of `queue`.
    ///
    /// # Errors
    /// [`QueueError::ReceiptHandleIsInvalid`] if it is malformed or another queue's.
    pub(super) fn decode(queue: QueueNo, text: &str) -> Result<Self, QueueError> {
        Self::parse(text)
            .filter(|handle| handle.queue == queue)
            .ok_or_else(|| QueueError::ReceiptHandleIsInvalid(text.into()))
    }

    fn parse(text: &str) -> Option<Self> {
        // Longer text is not decoded at all: what a client sends must not cost memory.
        if text.len() > 2 * BYTES {
            return None;
        }
        let bytes: [u8; BYTES] = URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?;
        let number = |at: usize| {
            let mut part = [0; 8];
            part.copy_from_slice(&bytes[at..at + 8]);
            u64::from_be_bytes(part)
        };
        let account = number(18);
        let origin = match (bytes[0], bytes[1]) {
            (FORM, 0) if account == 0 => Origin::Own,
            (FORM, 1) if account == 0 => Origin::Everyone,
            (FORM, 2) => Origin::Account(AccountId(account.cast_signed())),
            _ => return None,
        };
        Some(Self {
            queue: QueueNo(number(2)),
            seq: Seq(number(10)),
            origin,
            receipt: number(26),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn origins() -> impl Strategy<Value = Origin> {
        prop_oneof![
            Just(Origin::Own),
            Just(Origin::Everyone),
            any::<i64>().prop_map(|account| Origin::Account(AccountId(account))),
        ]
    }

    proptest! {
        #[test]
        fn decodes_what_it_encodes(queue: u64, seq: u64, receipt: u64, origin in origins()) {
            let handle = Handle { queue: QueueNo(queue), seq: Seq(seq), origin, receipt };
            let text = handle.encode();
            prop_assert!(text.len() <= 1024);
            prop_assert_eq!(Handle::decode(QueueNo(queue), &text).unwrap(), handle);
            let foreign = Handle::decode(QueueNo(queue ^ 1), &text);
            prop_assert_eq!(foreign, Err(QueueError::ReceiptHandleIsInvalid(text)));
        }

        #[test]
        fn any_text_is_answered(text in "\\PC{0,80}") {
            let _ = Handle::decode(QueueNo(1), &text);
        }
    }

    #[test]
    fn refuses_what_is_malformed() {
        let good = Handle {
            queue: QueueNo(7),
            seq: Seq(8),
            origin: Origin::Own,
            receipt: 9,
        }
        .encode();
        let check = |text: &str| {
            let expect = Err(QueueError::ReceiptHandleIsInvalid(text.into()));
            assert_eq!(Handle::decode(QueueNo(7), text), expect, "{text}");
        };
        check("");
        check("handle");
        check(&good[1..]);
        check(&format!("{good}A"));
        check(&format!("{good}="));
        check(&good.replacen("AQ", "Ag", 1)); // another form
        check(&"A".repeat(46));
        check(&"A".repeat(5000));
    }
}
