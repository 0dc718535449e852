//! What a node whose topics go through a broker keeps of them: nothing. No session outlives its connection, nothing is
//! retained here, and no room has a history. It stands where the embedded backend has its store.

use futures_util::FutureExt as _;

use crate::backends::Commit;
use crate::backends::rooms::{Head, RoomStore, Said};
use crate::backends::topics::{DurablePublish, Placed, Queued, TopicStore};
use crate::domain::publication::{ClientNo, ClientRecord, Ordinal, Publication};
use crate::domain::topic::TopicName;
use crate::domain::{StoreError, Timestamp};

/// See the module.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nothing;

/// What whoever wants something kept is told.
fn refused<T: Send + 'static>() -> Commit<T> {
    let text = "nothing of topics is kept at this node";
    async move { Err(StoreError::Failed(text.into())) }.boxed()
}

/// There is nothing to be changed.
fn unchanged() -> Commit<()> {
    async { Ok(()) }.boxed()
}

impl TopicStore for Nothing {
    fn clients(&self, _: &mut dyn FnMut(ClientRecord)) -> Result<(), StoreError> {
        Ok(())
    }

    fn retained(
        &self,
        _: Timestamp,
        _: &mut dyn FnMut(Publication, Timestamp),
    ) -> Result<(), StoreError> {
        Ok(())
    }

    fn open(&self, _: ClientRecord) -> Commit<ClientNo> {
        refused()
    }

    fn save(&self, _: ClientRecord) -> Commit<()> {
        unchanged()
    }

    fn close(&self, _: ClientNo) -> Commit<()> {
        unchanged()
    }

    fn publish(&self, _: DurablePublish) -> Commit<Placed> {
        refused()
    }

    fn queued(
        &self,
        _: ClientNo,
        _: Option<Ordinal>,
        _: usize,
        _: Timestamp,
    ) -> Result<Vec<Queued>, StoreError> {
        Ok(Vec::new())
    }

    fn depth(&self, _: ClientNo) -> Result<u64, StoreError> {
        Ok(0)
    }

    fn sent(&self, _: ClientNo, _: Ordinal) {}

    fn received(&self, _: ClientNo, _: Ordinal) -> Commit<()> {
        unchanged()
    }

    fn done(&self, _: ClientNo, _: Vec<Ordinal>) {}

    fn packet_ids(&self, _: ClientNo) -> Result<Vec<u16>, StoreError> {
        Ok(Vec::new())
    }

    fn release(&self, _: ClientNo, _: u16) -> Commit<()> {
        unchanged()
    }
}

impl RoomStore for Nothing {
    fn head(&self, _: &TopicName) -> Result<Option<Head>, StoreError> {
        Ok(None)
    }

    fn said(&self, _: &TopicName, _: u64, _: usize, _: Timestamp) -> Result<Vec<Said>, StoreError> {
        Ok(Vec::new())
    }
}
