//! The pure core: ids, targets, messages, queue attributes, history rules. No I/O, no actors, no serde.

pub mod error;
pub mod history;
pub mod ids;
pub mod message;
pub mod policy;
pub mod publication;
pub mod queue;
pub mod room;
pub mod session;
pub mod target;
pub mod time;
pub mod topic;

pub use error::{QueueError, StoreError};
pub use ids::{
    AccountId, IdentityId, MessageId, QueueName, QueueNo, Seq, SessionId, SessionKey, UserId,
};
pub use target::Target;
pub use time::{Clock, Timestamp};
