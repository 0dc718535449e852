//! A client connects: its client id becomes this connection's, and its session is taken up or made.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::attached::Attached;
use super::clients::{Seat, Turn};
use super::durable::Durable;
use super::fan::{Closing, Link};
use super::messages::End;
use super::outgoing::Outgoing;
use super::window::WindowLimits;
use super::{Topics, lifecycle};
use crate::domain::StoreError;
use crate::domain::policy::{Access, Action, Decision};
use crate::domain::publication::{ClientId, ClientNo, ClientRecord, Will};

/// What a client connects with.
pub struct Connect {
    /// The client's name.
    pub id: ClientId,
    /// To whom the session belongs.
    pub principal: Arc<str>,
    /// What the client may do.
    pub access: Access,
    /// Whether an earlier session is to be forgotten.
    pub clean_start: bool,
    /// How long the session outlives the connection: zero: not at all, `None`: for ever.
    pub expiry: Option<Duration>,
    /// To be published if the connection ends without goodbye.
    pub will: Option<Will>,
    /// Bounds of what is in flight.
    pub window: WindowLimits,
    /// The other side's address.
    pub source: Option<IpAddr>,
    /// The connection.
    pub link: Rc<dyn Link>,
}

/// A connection that may begin.
pub struct Connected {
    /// The connection's hold on the topics.
    pub attached: Attached,
    /// What the client is still to get with quality of service 1 and 2.
    pub outgoing: Outgoing,
    /// Session Present: whether an earlier session goes on.
    pub present: bool,
    /// QoS 2: packet ids of messages that were taken and not yet released.
    pub packet_ids: Vec<u16>,
}

/// Why a client may not connect.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Its policy says no.
    #[error("not authorized to connect with this client id: {0}")]
    NotAllowed(Decision),
    /// Its will could not be published.
    #[error("not authorized to publish the will to its topic: {0}")]
    WillNotAllowed(Decision),
    /// The will's topic is the server's.
    #[error("the will's topic is reserved")]
    WillTopicReserved,
    /// The client id, or the session of this name, is another principal's.
    #[error("the client id belongs to another principal")]
    NotYours,
    /// There are as many durable sessions as there may be.
    #[error("too many durable sessions")]
    TooManySessions,
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Topics {
    /// Gives the client id to this connection. Another connection that has it is ended first, if it is the same
    /// principal's. When this answers, a session that outlives the connection is on disk.
    ///
    /// # Errors
    /// [`ConnectError`]; whoever had the client id keeps it.
    pub async fn connect(&self, connect: Connect) -> Result<Connected, ConnectError> {
        check(&connect)?;
        let turn = self.inner.clients.turn(&connect.id).await;
        self.take_over(&connect).await?;
        let durable = self.session_of(&connect.id);
        if let Some(durable) = &durable
            && durable.owner != connect.principal
        {
            return Err(ConnectError::NotYours);
        }
        let pending_will = self.inner.deadlines.cancel(&connect.id);
        let goes_on = durable.filter(|_| !connect.clean_start);
        if let (None, Some(will)) = (&goes_on, pending_will) {
            // The old session ends here, and its will is due with it (MQTT 5.0 section 3.1.2.5).
            self.publish_will(will);
        }
        let present = goes_on.is_some();
        let durable = match goes_on {
            Some(durable) => Some(self.take_up(durable, &connect).await?),
            None => self.begin(&connect).await?,
        };
        let packet_ids = match &durable {
            Some(durable) if present => self.store().packet_ids(durable.no)?,
            _ => Vec::new(),
        };
        Ok(self.seat(connect, durable, present, packet_ids, &turn))
    }

    /// Ends the connection that has the client id now.
    async fn take_over(&self, connect: &Connect) -> Result<(), ConnectError> {
        let Some(seat) = self.inner.clients.get(&connect.id) else {
            return Ok(());
        };
        if seat.owner != connect.principal {
            return Err(ConnectError::NotYours);
        }
        metrics::counter!("fanfare_mqtt_take_overs_total").increment(1);
        let end = End {
            which: seat.key,
            why: Closing::TakenOver,
        };
        // An error: that worker has ended, and its connections with it.
        let _ = seat.shard.address().send(end).await;
        self.inner.clients.leave(&connect.id, &seat.shard, seat.key);
        Ok(())
    }

    /// The durable session of this name, unless its time is over.
    fn session_of(&self, id: &ClientId) -> Option<Arc<Durable>> {
        let durable = self.inner.durables.get(id)?;
        let ends = durable.state().ends();
        if ends.is_some_and(|ends| ends <= self.now()) {
            self.end_session(&durable);
            return None;
        }
        Some(durable)
    }

    /// An earlier session goes on.
    async fn take_up(
        &self,
        durable: Arc<Durable>,
        connect: &Connect,
    ) -> Result<Arc<Durable>, ConnectError> {
        let record = {
            let mut state = durable.state();
            state.access = Some(connect.access.clone());
            state.record.disconnected = None;
            state.record.expiry = connect.expiry;
            state.record.will = connect.will.clone();
            state.record.clone()
        };
        self.store().save(record).await?;
        Ok(durable)
    }

    /// A new session; an earlier one of this name is gone.
    async fn begin(&self, connect: &Connect) -> Result<Option<Arc<Durable>>, ConnectError> {
        if let Some(old) = self.inner.durables.get(&connect.id) {
            self.end_session(&old);
        }
        if connect.expiry == Some(Duration::ZERO) {
            return Ok(None);
        }
        if self.inner.durables.len() >= self.inner.settings.max_durable_sessions {
            metrics::counter!("fanfare_mqtt_refused_total", "reason" => "durable sessions")
                .increment(1);
            return Err(ConnectError::TooManySessions);
        }
        let mut record = ClientRecord {
            no: ClientNo(0),
            id: connect.id.clone(),
            owner: connect.principal.clone(),
            expiry: connect.expiry,
            disconnected: None,
            subscriptions: Vec::new(),
            will: connect.will.clone(),
        };
        record.no = self.store().open(record.clone()).await?;
        let access = Some(connect.access.clone());
        Ok(Some(self.inner.durables.add(record, access, None)))
    }

    /// Puts the connection where publications find it.
    fn seat(
        &self,
        connect: Connect,
        durable: Option<Arc<Durable>>,
        present: bool,
        packet_ids: Vec<u16>,
        _turn: &Turn<'_>,
    ) -> Connected {
        let shard = self.here();
        let handle = self.handle_of(&shard);
        let subscriber = shard.attach(connect.id.clone(), connect.link, connect.access, durable);
        let seat = Seat {
            shard: handle.clone(),
            key: subscriber.key,
            owner: connect.principal.clone(),
        };
        self.inner.clients.sit(connect.id, seat);
        if let Some(durable) = &subscriber.durable {
            durable.state().attached = Some((handle, subscriber.key));
        }
        let outgoing = Outgoing::new(self.clone(), subscriber.clone(), connect.window);
        let attached = Attached::new(
            self.clone(),
            shard,
            subscriber,
            connect.principal,
            connect.will,
        );
        attached.take_up_subscriptions();
        self.announce(&attached, lifecycle::Event::Connected(connect.source));
        Connected {
            attached,
            outgoing,
            present,
            packet_ids,
        }
    }
}

fn check(connect: &Connect) -> Result<(), ConnectError> {
    let decision = connect.access.decide(Action::Connect, connect.id.as_str());
    if !decision.is_allowed() {
        return Err(ConnectError::NotAllowed(decision));
    }
    let Some(will) = &connect.will else {
        return Ok(());
    };
    let publication = &will.publication;
    if super::publish::is_reserved(&publication.topic) {
        return Err(ConnectError::WillTopicReserved);
    }
    let decision = super::publish::decide(&connect.access, publication);
    if !decision.is_allowed() {
        return Err(ConnectError::WillNotAllowed(decision));
    }
    Ok(())
}
