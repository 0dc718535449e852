//! Clients as others see them, who need not be connected: whether a client is there, what it subscribes to, the end of its
//! connection, and a message for it alone. This is what AWS IoT's data plane offers over HTTP.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::Topics;
use super::attached::WillFate;
use super::clients::Seat;
use super::durable::Durable;
use super::fan::{About, Closing, Delivery, Fan, Receipt};
use super::messages::{Ask, Deliver, End, ListSubscriptions};
use super::publish::is_reserved;
use super::shard::{Key, Shard};
use crate::domain::policy::{Access, Action, Decision};
use crate::domain::publication::{ClientId, Publication, QoS, Subscription};
use crate::domain::{StoreError, Timestamp};

/// What is known of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientView {
    /// The connection; `None` if there is none, but a session that outlives it.
    pub connection: Option<About>,
    /// Whether the session ends with the connection.
    pub clean: bool,
    /// How long the session outlives the connection; `None`: for ever.
    pub expiry: Option<Duration>,
    /// Since when there is no connection.
    pub disconnected: Option<Timestamp>,
    /// Why the last connection ended, as lifecycle events say it; `None` if that was before the process began.
    pub reason: Option<&'static str>,
}

/// A message for one client alone.
#[derive(Debug)]
pub struct Direct {
    /// What; its quality of service is set by `confirm`.
    pub publication: Publication,
    /// With quality of service 1, how long the client's acknowledgement is waited for; `None`: quality of service 0.
    pub confirm: Option<Duration>,
}

/// Why nothing was done for, or to, a client.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// The caller's policy says no.
    #[error("not authorized: {0}")]
    NotAllowed(Decision),
    /// There is no connection and no session with this client id, or not the one that would be needed.
    #[error("the client is not there")]
    NotThere,
    /// Only the server sends there.
    #[error("the topic is reserved")]
    Reserved,
    /// The client's own policy says no.
    #[error("the client may not receive this topic: {0}")]
    MayNotReceive(Decision),
    /// The client has not acknowledged the message in time. It may have it all the same.
    #[error("the client has not confirmed the message")]
    NotConfirmed,
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Says that one message has arrived, once. Dropped without it: that it will not.
#[derive(Debug)]
pub struct Confirmation(RefCell<Option<oneshot::Sender<()>>>);

impl Confirmation {
    pub(super) fn new(tell: oneshot::Sender<()>) -> Self {
        Self(RefCell::new(Some(tell)))
    }

    pub(super) fn arrived(&self) {
        if let Some(tell) = self.0.take() {
            // An error: nobody waits any more.
            let _ = tell.send(());
        }
    }
}

impl Topics {
    /// What is known of a client.
    ///
    /// # Errors
    /// [`RemoteError::NotAllowed`], [`RemoteError::NotThere`].
    pub async fn client(&self, access: &Access, id: &ClientId) -> Result<ClientView, RemoteError> {
        may(access, Action::GetConnection, id)?;
        let connection = match self.inner.clients.get(id) {
            // An error: that worker has ended, and its connections with it.
            Some(seat) => seat.shard.address.send(Ask(seat.key)).await.ok().flatten(),
            None => None,
        };
        match (connection, self.living(id)) {
            (None, None) => Err(RemoteError::NotThere),
            (connection, None) => Ok(ClientView {
                connection,
                clean: true,
                expiry: Some(Duration::ZERO),
                disconnected: None,
                reason: None,
            }),
            (connection, Some(durable)) => {
                let state = durable.state();
                Ok(ClientView {
                    disconnected: state.record.disconnected,
                    reason: state.ended.filter(|_| connection.is_none()),
                    connection,
                    clean: false,
                    expiry: state.record.expiry,
                })
            }
        }
    }

    /// What a client subscribes to, in order of filter, connected or not.
    ///
    /// # Errors
    /// [`RemoteError::NotAllowed`], [`RemoteError::NotThere`].
    pub async fn subscriptions(
        &self,
        access: &Access,
        id: &ClientId,
    ) -> Result<Vec<Subscription>, RemoteError> {
        may(access, Action::ListSubscriptions, id)?;
        let live = match self.inner.clients.get(id) {
            Some(seat) => {
                let asked = seat.shard.address.send(ListSubscriptions(seat.key));
                asked.await.ok().flatten()
            }
            None => None,
        };
        let kept = || {
            let durable = self.living(id)?;
            let state = durable.state();
            Some(state.record.subscriptions.clone())
        };
        let mut found = live.or_else(kept).ok_or(RemoteError::NotThere)?;
        found.sort_by(|one, other| one.filter.as_str().cmp(other.filter.as_str()));
        Ok(found)
    }

    /// Ends a client's connection, and with `forget` its session. When this answers, that is so on disk, too.
    ///
    /// # Errors
    /// [`RemoteError::NotThere`] if there is neither a connection nor, with `forget`, a session; others as they say.
    pub async fn disconnect(
        &self,
        access: &Access,
        id: &ClientId,
        will: WillFate,
        forget: bool,
    ) -> Result<(), RemoteError> {
        may(access, Action::DeleteConnection, id)?;
        let _turn = self.inner.clients.turn(id).await;
        let seat = self.inner.clients.get(id);
        let was_connected = seat.is_some();
        if let Some(Seat { shard, key, .. }) = seat {
            let why = Closing::Administrative(will);
            // An error: that worker has ended, and its connections with it.
            let _ = shard.address.send(End { which: key, why }).await;
            self.inner.clients.leave(id, &shard, key);
        }
        match self.living(id).filter(|_| forget) {
            Some(durable) => {
                if will == WillFate::Discard {
                    self.inner.deadlines.cancel(id);
                }
                self.close_session(&durable).await?;
            }
            None if !was_connected => return Err(RemoteError::NotThere),
            None => {}
        }
        Ok(())
    }

    /// Sends a message to one connected client, which need not subscribe to its topic but must be allowed to receive it.
    ///
    /// # Errors
    /// [`RemoteError`]. After [`RemoteError::NotConfirmed`] the client may have the message.
    pub async fn send_direct(
        &self,
        access: &Access,
        id: &ClientId,
        direct: Direct,
    ) -> Result<(), RemoteError> {
        may(access, Action::SendDirectMessage, id)?;
        let Direct {
            mut publication,
            confirm,
        } = direct;
        if is_reserved(&publication.topic) {
            return Err(RemoteError::Reserved);
        }
        publication.qos = confirm.map_or(QoS::AtMostOnce, |_| QoS::AtLeastOnce);
        let seat = self.inner.clients.get(id).ok_or(RemoteError::NotThere)?;
        let (tell, told) = oneshot::channel();
        let deliver = Deliver {
            to: seat.key,
            publication: Arc::new(publication),
            confirm: confirm.map(|_| tell),
        };
        let delivered = seat.shard.address.send(deliver).await.ok().flatten();
        let decision = delivered.ok_or(RemoteError::NotThere)?;
        if !decision.is_allowed() {
            return Err(RemoteError::MayNotReceive(decision));
        }
        let Some(within) = confirm else { return Ok(()) };
        match tokio::time::timeout(within, told).await {
            Ok(Ok(())) => Ok(()),
            // The time is over, or the connection is.
            Ok(Err(_)) | Err(_) => Err(RemoteError::NotConfirmed),
        }
    }

    /// The durable session of a client, unless its time is over.
    fn living(&self, id: &ClientId) -> Option<Arc<Durable>> {
        let durable = self.inner.durables.get(id)?;
        let ends = durable.state().ends();
        ends.is_none_or(|ends| ends > self.now()).then_some(durable)
    }
}

impl Shard {
    /// What a connection can tell of itself.
    pub(super) fn about(&self, key: Key) -> Option<About> {
        self.receiver(key)?.0.about()
    }

    /// What a connection subscribes to.
    pub(super) fn listed(&self, key: Key) -> Option<Vec<Subscription>> {
        self.receiver(key)?;
        Some(self.subscriptions(key))
    }

    /// Hands one connection a message that it need not subscribe to, if it may receive it.
    pub(super) fn deliver(&self, deliver: Deliver) -> Option<Decision> {
        let Deliver {
            to,
            publication,
            confirm,
        } = deliver;
        let (link, access) = self.receiver(to)?;
        let decision = access.decide(Action::Receive, publication.topic.as_str());
        if decision.is_allowed() {
            let confirm = confirm.map(Confirmation::new);
            link.deliver(&Delivery {
                qos: publication.qos,
                fan: Fan::new(publication),
                retain: false,
                ids: Rc::default(),
                ordinal: None,
                receipt: confirm.map(|confirm| Rc::new(Receipt::Direct(confirm))),
            });
        }
        Some(decision)
    }
}

fn may(access: &Access, action: Action, id: &ClientId) -> Result<(), RemoteError> {
    let decision = access.decide(action, id.as_str());
    if decision.is_allowed() {
        return Ok(());
    }
    Err(RemoteError::NotAllowed(decision))
}
