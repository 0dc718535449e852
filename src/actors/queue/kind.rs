//! What differs between an operator's queue and a session's: the form in which messages go out.

use bytes::Bytes;

use crate::domain::QueueError;

/// A message in the form in which it goes out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outward {
    /// The text that the client gets.
    pub body: Bytes,
    /// The envelope counter it is sealed under, to be stored with the message's state.
    pub counter: Option<u64>,
}

/// What a kind of queue does with its messages on their way out.
pub trait Kind: Unpin + 'static {
    /// The envelope counters to make durable before the next messages go out: `None` if there are enough, or if a
    /// mark that was asked for before is still on its way.
    ///
    /// # Errors
    /// [`QueueError::UnsupportedOperation`] when there are no counters left for good.
    fn wants_mark(&mut self) -> Result<Option<u64>, QueueError>;

    /// The mark that was asked for is on disk, or not.
    fn mark_done(&mut self, durable: bool);

    /// Whether a mark that was asked for is on its way to disk.
    fn awaits_mark(&self) -> bool;

    /// Seals a message, under the counter it had before if it has gone out before. `None` if a counter must be made
    /// durable first: [`Kind::wants_mark`] asks for it then.
    fn seal(&mut self, body: &Bytes, counter: Option<u64>) -> Option<Outward>;
}

/// An operator's queue: messages go out as they came.
#[derive(Debug, Default)]
pub struct Plain;

impl Kind for Plain {
    fn wants_mark(&mut self) -> Result<Option<u64>, QueueError> {
        Ok(None)
    }

    fn mark_done(&mut self, _durable: bool) {}

    fn awaits_mark(&self) -> bool {
        false
    }

    fn seal(&mut self, body: &Bytes, counter: Option<u64>) -> Option<Outward> {
        Some(Outward {
            body: body.clone(),
            counter,
        })
    }
}
