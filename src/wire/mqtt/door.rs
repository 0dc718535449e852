//! How connections come to the MQTT wire: as WebSockets through the front door, and on listeners of their own.

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;

use crate::auth::Unauthenticated;
use crate::auth::sigv4;
use crate::wire::front::{Links, Socket, Start};
use crate::wire::{Inbound, Refusal};

use super::link::{Link, Mqtt, Reader};
use super::transports::Transports;

/// The path that WebSockets are opened at.
pub const PATH: &str = "/mqtt";

/// Subprotocols: MQTT's own, and the one that AWS's SDKs ask for with 3.1.1.
pub const PROTOCOLS: &[&str] = &["mqtt", "mqttv3.1"];

/// See the module.
pub struct MqttDoor {
    mqtt: Arc<Mqtt>,
    transports: Transports,
}

impl MqttDoor {
    /// Connections on these transports.
    pub fn new(mqtt: Arc<Mqtt>, transports: Transports) -> Self {
        Self { mqtt, transports }
    }
}

impl Links for MqttDoor {
    fn admit(&self, inbound: Inbound) -> LocalBoxFuture<'static, Result<Start, Refusal>> {
        let (mqtt, transports) = (self.mqtt.clone(), self.transports.clone());
        admit(mqtt, transports, inbound).boxed_local()
    }

    fn accept(&self, socket: Socket) {
        let mqtt = self.mqtt.clone();
        self.transports.tcp(socket, |outbox| {
            Reader(Link::new(mqtt, outbox, false, None))
        });
    }
}

/// Old SDKs understand an HTTP error only (CLIENTS 1), so a signature that does not hold is one. Without any, CONNECT's
/// user name and password decide.
async fn admit(
    mqtt: Arc<Mqtt>,
    transports: Transports,
    inbound: Inbound,
) -> Result<Start, Refusal> {
    if !transports.has_room() {
        return Err(Refusal::Unavailable);
    }
    let request = sigv4::Request {
        method: inbound.method.as_str(),
        raw_path: &inbound.raw_path,
        raw_query: &inbound.raw_query,
        headers: &inbound.headers,
        authority: None,
        body: b"",
    };
    let admitted = match mqtt.authenticator.admit_upgrade(&request).await {
        Ok(admitted) => admitted,
        Err(Unauthenticated::Refused(error)) => return Err(Refusal::Auth(error)),
        Err(Unauthenticated::Store(error)) => {
            tracing::error!(%error, "the session registry does not answer");
            return Err(Refusal::Unavailable);
        }
    };
    Ok(Box::new(move |socket, first| {
        transports.websocket(socket, first, |outbox| {
            Reader(Link::new(mqtt, outbox, true, admitted.map(Arc::new)))
        });
    }))
}
