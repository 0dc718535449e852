//! Seals messages for a session and opens them again (SEMANTICS 5).
//!
//! A client receives text, never raw JSON: what it reads is an *envelope*, in one of two formats that
//! are fixed when the session is created ([`Envelope`]):
//!
//! | format | text | integrity |
//! |---|---|---|
//! | v1, the default | `{counter}\|{base64(AES-256-CTR)}` | none: whoever writes to the queue can flip bits |
//! | v2, `envelope=gcm` | `v2\|{seq}\|{base64(AES-256-GCM ciphertext‖tag)}` | of the message, its place and its session |
//!
//! In reading order: [`AesKey`] is the session's secret, [`SessionCipher`] seals and opens with it,
//! [`CounterLease`] and [`LeasePlan`] hand out the numbers that no two messages may share, and
//! [`ascii_json`] brings a message into the only spelling that every old client decodes alike.
//!
//! Nothing here does I/O: who stores the high-water mark of the leases, and when, is said on
//! [`LeasePlan`].

mod ascii;
mod cipher;
mod gcm;
mod key;
mod lease;

pub use ascii::ascii_json;
pub use cipher::{Envelope, OpenError, SessionCipher};
pub use key::{AesKey, InvalidKey};
pub use lease::{
    COUNTER_LIMIT, CounterLease, Exhausted, FIRST_COUNTER, LEASE_BLOCKS, LeasePlan, MAX_COUNTER,
};
