//! A broker elsewhere that topics go through: what is published here goes to it, and what anybody publishes comes from it.

use std::sync::Arc;

use tokio::sync::mpsc;

#[cfg(test)]
pub(crate) mod contract;

use super::Commit;
use crate::domain::StoreError;
use crate::domain::publication::{Publication, QoS};
use crate::domain::topic::TopicFilter;

/// The best quality of service that publications have beyond this node. What clients publish with 2 is theirs once, as always;
/// from there on it may come twice when the connection to the broker breaks.
pub const BROKER_QOS: QoS = QoS::AtLeastOnce;

/// One node's way to a broker. Publications come from it one by one, in its order, each once however many filters match
/// (whoever makes the broker's side says where they arrive).
pub trait TopicBroker: Send + Sync + 'static {
    /// Hands a publication over, after all that were before. Of quality of service 1 and 2, `Ok` of the answer says that the
    /// broker has it; of 0, that it is on its way.
    ///
    /// # Errors
    /// [`StoreError::Overloaded`], here, if as much waits as may. In the answer [`StoreError::Unavailable`] if the broker was
    /// away for too long; it may have the publication then, or not. [`StoreError::Failed`] if it refused.
    fn publish(&self, publication: Arc<Publication>) -> Result<Commit<()>, StoreError>;

    /// From when this is answered, what is published to topics of this filter arrives, until [`TopicBroker::unsubscribe`].
    /// Counted: who subscribes as the second waits until the first one's subscription stands, and each must end its own, also
    /// if the answer is an error.
    ///
    /// # Errors
    /// [`StoreError::Full`], here, if there are as many subscriptions as may be: there is nothing to end then.
    fn subscribe(&self, filter: &TopicFilter) -> Result<Commit<()>, StoreError>;

    /// Ends what one [`TopicBroker::subscribe`] began.
    fn unsubscribe(&self, filter: &TopicFilter);

    /// The retained messages of topics that the filter matches, each topic's once, as the broker sends them. The channel is
    /// closed when no more come.
    fn retained(&self, filter: &TopicFilter) -> mpsc::Receiver<Publication>;
}
