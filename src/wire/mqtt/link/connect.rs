//! CONNECT and CONNACK: who the client is, whether it may connect, and with which session.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytestring::ByteString;
use uuid::Uuid;

use crate::actors::topic::{self, ConnectError, Connected, WindowLimits};
use crate::auth::{Connection, LoginError, Principal, Recheck};
use crate::domain::StoreError;
use crate::domain::policy::ConnectAttribute;
use crate::domain::publication::{ClientId, Publisher, Will};

use super::super::codec::{
    ConnAck, Connect, Decoder, Encoder, Extras, Packet, ReasonCode, Sender, Version,
};
use super::super::profile::{self, Profile};
use super::super::transport::Close;
use super::acks::Exchanges;
use super::aliases::Aliases;
use super::{Link, Mqtt, Open, Phase, topic::Leaving};

/// Why a client is not connected.
struct Refused {
    reason: ReasonCode,
    why: String,
}

impl Refused {
    fn new(reason: ReasonCode, why: impl Into<String>) -> Self {
        Self {
            reason,
            why: why.into(),
        }
    }
}

/// Session Expiry Interval: `None` is for ever.
pub(super) fn expiry(seconds: u32) -> Option<Duration> {
    (seconds != u32::MAX).then(|| Duration::from_secs(seconds.into()))
}

impl Link {
    pub(super) fn on_connect(&self, packet: Connect) {
        let mut phase = self.phase.borrow_mut();
        // The decoder takes one CONNECT only.
        let Phase::Waiting(admitted) = &mut *phase else {
            return;
        };
        let admitted = admitted.take();
        *phase = Phase::Connecting;
        drop(phase);
        self.busy.set(true);
        let link = self.me();
        actix::spawn(async move {
            let encoder = encoder(&packet);
            match link.decide(packet, admitted).await {
                Ok(()) => link.unbusy(),
                Err(refused) => link.refuse(encoder, refused.reason, &refused.why),
            }
        });
    }

    /// Says that the client is not connected, and closes.
    pub(super) fn refuse(&self, encoder: Encoder, reason: ReasonCode, why: &str) {
        metrics::counter!("fanfare_mqtt_refused_total", "reason" => "connect").increment(1);
        tracing::info!(peer = ?self.outbox.peer(), ?reason, why, "a client was not connected");
        if !self.is_closed() {
            let mut connack = ConnAck {
                reason,
                ..ConnAck::default()
            };
            connack.extras = Extras::reason(ByteString::from(why));
            self.send_with(&encoder, &Packet::ConnAck(Box::new(connack)));
        }
        self.leave(Leaving::lost("CLIENT_ERROR"));
        self.outbox.close(super::close(reason));
    }

    async fn decide(
        self: &Rc<Self>,
        mut packet: Connect,
        admitted: Option<Arc<Principal>>,
    ) -> Result<(), Refused> {
        if let Some(deviation) = self.deviates(profile::connect(&packet)) {
            return Err(Refused::new(deviation.reason, deviation.what));
        }
        if packet.auth_method.is_some() {
            let why = "there is no extended authentication";
            return Err(Refused::new(ReasonCode::BadAuthenticationMethod, why));
        }
        let assigned = self.name(&mut packet)?;
        let principal = self.authenticate(&packet, admitted).await?;
        let principal_version = self.mqtt.authenticator.version(&principal);
        let id = ClientId((&*packet.client_id).into());
        let (expiry, window) = (self.session_expiry(&packet), self.window(&packet));
        let is_persistent = expiry != Some(Duration::ZERO);
        let access = principal.access(Connection {
            client_id: Some(id.as_str()),
            source_ip: self.source(),
            attributes: &attributes(is_persistent, packet.will.is_some()),
        });
        let connected = self.mqtt.topics.connect(topic::Connect {
            will: packet.will.take().map(|will| of(will, &id, &principal)),
            id,
            principal: principal.name.clone(),
            access,
            clean_start: packet.clean_start,
            expiry,
            window,
            source: self.source(),
            link: self.clone(),
        });
        let connected = connected.await.map_err(refused)?;
        if self.is_closed() {
            // The client went away meanwhile; dropping what it got is its end.
            return Ok(());
        }
        self.start(&packet, connected, principal, principal_version, assigned);
        Ok(())
    }

    /// The client is connected.
    fn start(
        self: &Rc<Self>,
        packet: &Connect,
        connected: Connected,
        principal: Arc<Principal>,
        principal_version: u64,
        assigned: bool,
    ) {
        let settings = &self.mqtt.settings;
        let keep_alive = self.keep_alive(packet);
        let aliases = match settings.profile {
            Profile::Open => settings.max_topic_aliases,
            Profile::Aws => profile::TOPIC_ALIASES.min(settings.max_topic_aliases),
        };
        let unreleased = connected.packet_ids;
        let exchanges = (!unreleased.is_empty()).then(|| Exchanges {
            unreleased: unreleased.into_iter().collect(),
            ..Exchanges::default()
        });
        let open = Open {
            encoder: encoder(packet),
            attached: Rc::new(connected.attached),
            outgoing: connected.outgoing,
            principal,
            principal_version,
            since: self.mqtt.clock.wall(),
            keep_alive_s: packet.keep_alive_s,
            patience_ms: self.patience_ms(keep_alive),
            aliases: Aliases::new(aliases, packet.topic_alias_maximum.min(aliases)),
            exchanges: exchanges.map(Box::new),
            held: None,
        };
        self.outbox.set_alarm(None);
        self.decoder.set(Decoder::connected(
            Sender::Client,
            packet.version,
            settings.max_packet_bytes,
        ));
        let connack = self.connack(packet, connected.present, keep_alive, aliases, assigned);
        self.send_with(&open.encoder, &Packet::ConnAck(Box::new(connack)));
        self.phase.replace(Phase::Open(Box::new(open)));
        metrics::counter!("fanfare_mqtt_connects_total").increment(1);
        self.pump();
    }

    fn connack(
        &self,
        packet: &Connect,
        present: bool,
        keep_alive: u16,
        aliases: u16,
        assigned: bool,
    ) -> ConnAck {
        let settings = &self.mqtt.settings;
        let is_aws = settings.profile == Profile::Aws;
        let expiry = self.session_expiry(packet);
        let seconds = expiry.map_or(u32::MAX, |expiry| {
            u32::try_from(expiry.as_secs()).unwrap_or(u32::MAX)
        });
        ConnAck {
            session_present: present,
            session_expiry_s: (seconds != packet.session_expiry_s).then_some(seconds),
            receive_maximum: std::num::NonZeroU16::new(settings.max_in_flight),
            maximum_qos: is_aws.then_some(crate::domain::publication::QoS::AtLeastOnce),
            maximum_packet_bytes: u32::try_from(settings.max_packet_bytes)
                .ok()
                .and_then(std::num::NonZeroU32::new),
            assigned_client_id: assigned.then(|| packet.client_id.clone()),
            topic_alias_maximum: (aliases > 0).then_some(aliases),
            subscription_ids_available: is_aws.then_some(false),
            shared_available: (!settings.shared_subscriptions).then_some(false),
            server_keep_alive_s: (keep_alive != packet.keep_alive_s).then_some(keep_alive),
            ..ConnAck::default()
        }
    }

    /// Checks the client id, or makes one up. `true`: it was made up.
    fn name(&self, packet: &mut Connect) -> Result<bool, Refused> {
        if packet.client_id.is_empty() {
            packet.client_id = format!("fanfare-{}", Uuid::new_v4().simple()).into();
            return Ok(true);
        }
        let id = &packet.client_id;
        // Wildcards and levels would mean something else where the id becomes part of a topic (RELIABILITY M4, M5).
        let is_good = id.len() <= self.mqtt.settings.max_client_id_bytes
            && !id.starts_with('$')
            && !id.contains(['#', '+', '/', '*', '?'])
            && !id.chars().any(char::is_control);
        if !is_good {
            let why = "the client id is too long, begins with $ or has one of # + / * ?";
            return Err(Refused::new(ReasonCode::ClientIdentifierNotValid, why));
        }
        Ok(false)
    }

    async fn authenticate(
        &self,
        packet: &Connect,
        admitted: Option<Arc<Principal>>,
    ) -> Result<Arc<Principal>, Refused> {
        // A signed URL says who it is; user names of AWS's SDKs are statistics.
        if let Some(admitted) = admitted {
            return match self.mqtt.authenticator.recheck(&admitted) {
                Recheck::Same => Ok(admitted),
                Recheck::Changed(changed) => Ok(changed),
                Recheck::Revoked(why) => {
                    Err(Refused::new(ReasonCode::NotAuthorized, why.to_string()))
                }
            };
        }
        if let Some(password) = &packet.password {
            let username = packet.username.as_deref().unwrap_or_default();
            let known = self
                .mqtt
                .authenticator
                .login(username, password.expose(), self.source());
            return known.await.map(Arc::new).map_err(|error| {
                let reason = match error {
                    LoginError::Refused => ReasonCode::BadUserNameOrPassword,
                    LoginError::Throttled(_) => ReasonCode::ConnectionRateExceeded,
                    LoginError::Busy => ReasonCode::ServerBusy,
                };
                Refused::new(reason, error.to_string())
            });
        }
        self.mqtt.authenticator.anonymous().ok_or_else(|| {
            let why =
                "there is no anonymous access: sign the URL, or give a user name and a password";
            Refused::new(ReasonCode::NotAuthorized, why)
        })
    }

    /// Where the connection comes from.
    pub(super) fn source(&self) -> Option<IpAddr> {
        self.outbox.peer().map(|peer| peer.ip())
    }

    fn session_expiry(&self, packet: &Connect) -> Option<Duration> {
        self.mqtt.bounded(expiry(packet.session_expiry_s))
    }

    fn window(&self, packet: &Connect) -> WindowLimits {
        let settings = &self.mqtt.settings;
        WindowLimits {
            in_flight: packet.receive_maximum.get().min(settings.max_in_flight),
            waiting: bound(settings.max_waiting),
            waiting_bytes: bound(settings.max_waiting_bytes),
        }
    }

    /// The keep alive that holds, in seconds: the client's unless the server's bounds say otherwise. A client of 3.1.1 can
    /// not be told, and keeps its own.
    fn keep_alive(&self, packet: &Connect) -> u16 {
        let asked = packet.keep_alive_s;
        let most = u16::try_from(self.mqtt.settings.max_keep_alive.as_secs()).unwrap_or(u16::MAX);
        match (packet.version, self.mqtt.settings.profile) {
            (Version::V311, Profile::Open) => asked,
            (_, Profile::Aws) => {
                let (least, most) = profile::KEEP_ALIVE_S;
                if asked == 0 {
                    most
                } else {
                    asked.clamp(least, most)
                }
            }
            (Version::V5, Profile::Open) if asked == 0 || asked > most => most,
            (Version::V5, Profile::Open) => asked,
        }
    }

    /// How long nothing may be heard: one and a half times the keep alive (`[MQTT-3.1.2-22]`), but over WebSocket not less
    /// than browsers need, whose timers sleep in hidden tabs; there the transport's pings find out who is gone.
    fn patience_ms(&self, keep_alive: u16) -> Option<NonZeroU32> {
        const HIDDEN_TAB_MS: u32 = 90_000;
        let patience = NonZeroU32::new(u32::from(keep_alive) * 1500)?;
        Some(match NonZeroU32::new(HIDDEN_TAB_MS) {
            Some(least) if self.is_websocket => patience.max(least),
            _ => patience,
        })
    }

    /// The time for CONNECT is over.
    pub(super) fn connect_timed_out(&self) {
        if matches!(*self.phase.borrow(), Phase::Waiting(_) | Phase::Connecting) {
            metrics::counter!("fanfare_mqtt_refused_total", "reason" => "connect timeout")
                .increment(1);
            self.leave(Leaving::lost("CONNECT_TIMEOUT"));
            self.outbox.close(Close::Policy);
        }
    }
}

/// A bound that is less than four thousand million, as the configuration's are.
fn bound(most: usize) -> u32 {
    u32::try_from(most).unwrap_or(u32::MAX)
}

impl Mqtt {
    /// A session's life within bounds.
    pub(super) fn bounded(&self, expiry: Option<Duration>) -> Option<Duration> {
        let mut most = self.settings.max_session_expiry;
        if self.settings.profile == Profile::Aws {
            most = most.min(profile::SESSION_EXPIRY);
        }
        Some(expiry.map_or(most, |expiry| expiry.min(most)))
    }
}

/// How a client wants to be written to.
fn encoder(packet: &Connect) -> Encoder {
    Encoder {
        max_bytes: packet
            .maximum_packet_bytes
            .map_or(usize::MAX, |most| most.get() as usize),
        problem_information: packet.request_problem_information,
        ..Encoder::plain(packet.version)
    }
}

/// What policies may ask about a connection.
pub(super) fn attributes(is_persistent: bool, has_will: bool) -> Vec<ConnectAttribute> {
    let persistent = is_persistent.then_some(ConnectAttribute::PersistentConnect);
    let will = has_will.then_some(ConnectAttribute::LastWill);
    persistent.into_iter().chain(will).collect()
}

fn of(mut will: Will, id: &ClientId, principal: &Principal) -> Will {
    will.publication.publisher = Some(Publisher {
        client: Some(id.clone()),
        principal: principal.name.clone(),
    });
    will
}

fn refused(error: ConnectError) -> Refused {
    let reason = match &error {
        ConnectError::NotAllowed(_) | ConnectError::WillNotAllowed(_) => ReasonCode::NotAuthorized,
        ConnectError::WillTopicReserved => ReasonCode::TopicNameInvalid,
        ConnectError::NotYours => ReasonCode::ClientIdentifierNotValid,
        ConnectError::TooManySessions => ReasonCode::QuotaExceeded,
        ConnectError::Store(error) => store_reason(error),
    };
    Refused::new(reason, error.to_string())
}

/// What a client is told of the store's trouble.
pub(super) fn store_reason(error: &StoreError) -> ReasonCode {
    match error {
        StoreError::Full(_) => ReasonCode::QuotaExceeded,
        StoreError::Overloaded | StoreError::Unavailable(_) => ReasonCode::ServerBusy,
        StoreError::Failed(_) | StoreError::Corrupt(_) => ReasonCode::UnspecifiedError,
    }
}

/// The same where only what PUBACK, PUBREC and SUBACK have can be said (MQTT 5.0 sections 3.4.2.1, 3.5.2.1 and 3.9.3): none of
/// them has `Server busy`.
pub(super) fn kept_reason(error: &StoreError) -> ReasonCode {
    match error {
        StoreError::Full(_) | StoreError::Overloaded => ReasonCode::QuotaExceeded,
        StoreError::Unavailable(_) => ReasonCode::ImplementationSpecificError,
        StoreError::Failed(_) | StoreError::Corrupt(_) => ReasonCode::UnspecifiedError,
    }
}
