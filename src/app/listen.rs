//! What the program listens on.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use super::{Settings, StartError};
use crate::wire::front::{Certificate, CertificateFiles, Listener};

/// Where connections in TLS are taken, and with which certificate.
#[derive(Debug, Clone)]
pub struct TlsSettings {
    /// The certificate.
    pub files: CertificateFiles,
    /// HTTP, if anywhere.
    pub http_listen: Option<SocketAddr>,
    /// MQTT, if anywhere.
    pub mqtt_listen: Option<SocketAddr>,
}

/// Bound addresses, by what is served there.
#[derive(Debug, Clone, Copy, Default)]
pub struct Addresses {
    /// MQTT over TCP.
    pub mqtt: Option<SocketAddr>,
    /// HTTP in TLS.
    pub https: Option<SocketAddr>,
    /// MQTT in TLS.
    pub mqtts: Option<SocketAddr>,
}

/// Binds everything, and keeps the certificate up to date if there is one.
pub(super) fn all(
    settings: &Settings,
) -> Result<(Vec<Listener>, SocketAddr, Addresses), StartError> {
    let (socket, http) = bind(settings.http_listen)?;
    let mut listeners = vec![Listener::http(socket)];
    let mut others = Addresses::default();
    if let Some(mqtt) = &settings.mqtt {
        let (socket, address) = bind(mqtt.listen)?;
        others.mqtt = Some(address);
        listeners.push(Listener::links(socket));
    }
    if let Some(tls) = &settings.tls {
        let certificate = Certificate::load(tls.files.clone())?;
        if let Some(wanted) = tls.http_listen {
            let (socket, address) = bind(wanted)?;
            others.https = Some(address);
            listeners.push(Listener::http(socket).tls(certificate.for_http()));
        }
        if let Some(wanted) = tls.mqtt_listen {
            let (socket, address) = bind(wanted)?;
            others.mqtts = Some(address);
            listeners.push(Listener::links(socket).tls(certificate.for_mqtt()));
        }
        actix::spawn(Arc::clone(&certificate).watch());
    }
    Ok((listeners, http, others))
}

/// Listens, and says on which port.
fn bind(wanted: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let refused = |error| StartError::Listen(wanted, error);
    let socket = TcpListener::bind(wanted).map_err(refused)?;
    let address = socket.local_addr().map_err(refused)?;
    Ok((socket, address))
}
