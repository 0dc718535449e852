//! Room for records that were read and are not relayed yet, shared by all shards of a node.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::limits::aws::READ_BYTES;

/// Bytes that one permit stands for.
const GRAIN: u64 = 1024;

/// Room for so many bytes.
#[derive(Debug, Clone)]
pub struct Room(Arc<Semaphore>);

/// Room that is taken; it is free again when this is dropped.
#[derive(Debug)]
pub struct Taken(OwnedSemaphorePermit);

impl Room {
    /// Room for so many bytes, which are at least those of one read.
    pub fn new(bytes: u64) -> Self {
        let permits = usize::try_from(bytes.max(READ_BYTES) / GRAIN).unwrap_or(usize::MAX);
        Self(Arc::new(Semaphore::new(
            permits.min(Semaphore::MAX_PERMITS),
        )))
    }

    /// Waits for room for as much as one read may bring.
    pub async fn take(&self) -> Taken {
        let permits = u32::try_from(READ_BYTES / GRAIN).expect("a read is small");
        let taken = self.0.clone().acquire_many_owned(permits).await;
        metrics::gauge!("fanfare_stream_held_bytes").increment(READ_BYTES as f64);
        Taken(taken.expect("nobody closes it"))
    }
}

impl Taken {
    /// Gives back what is not needed for so many bytes.
    pub fn shrink_to(&mut self, bytes: u64) {
        let needed = usize::try_from(bytes.div_ceil(GRAIN)).unwrap_or(usize::MAX);
        let surplus = self.0.num_permits().saturating_sub(needed);
        if let Some(surplus) = self.0.split(surplus) {
            drop(Self(surplus));
        }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let bytes = self.0.num_permits() as u64 * GRAIN;
        metrics::gauge!("fanfare_stream_held_bytes").decrement(bytes as f64);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn reading_waits_for_what_is_not_relayed_yet() {
        let room = Room::new(2 * READ_BYTES);
        let mut first = room.take().now_or_never().expect("there is room");
        let second = room.take().now_or_never().expect("there is room");
        assert!(room.take().now_or_never().is_none());
        first.shrink_to(GRAIN + 1);
        assert!(room.take().now_or_never().is_none(), "two grains are taken");
        drop(second);
        let third = room.take().now_or_never().expect("there is room");
        assert!(room.take().now_or_never().is_none());
        first.shrink_to(0);
        assert!(room.take().now_or_never().is_some());
        drop(third);
    }

    #[test]
    fn there_is_always_room_for_one_read() {
        assert!(Room::new(1).take().now_or_never().is_some());
    }
}
