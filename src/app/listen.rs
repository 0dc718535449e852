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
    /// HTTP in TLS.
    pub https: Option<SocketAddr>,
    /// MQTT in TLS.
    pub mqtts: Option<SocketAddr>,
}

/// Binds what is served in TLS, and keeps the certificate up to date.
pub(super) fn tls(settings: &Settings) -> Result<(Vec<Listener>, Addresses), StartError> {
    let mut addresses = Addresses::default();
    let Some(tls) = &settings.tls else {
        return Ok((Vec::new(), addresses));
    };
    let certificate = Certificate::load(tls.files.clone())?;
    let mut listeners = Vec::new();
    if let Some(wanted) = tls.http_listen {
        let (socket, address) = bind(wanted)?;
        addresses.https = Some(address);
        listeners.push(Listener::http(socket).tls(certificate.for_http()));
    }
    if let Some(wanted) = tls.mqtt_listen {
        let (socket, address) = bind(wanted)?;
        addresses.mqtts = Some(address);
        listeners.push(Listener::links(socket).tls(certificate.for_mqtt()));
    }
    actix::spawn(Arc::clone(&certificate).watch());
    Ok((listeners, addresses))
}

/// Listens, and says on which port.
pub(super) fn bind(wanted: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let refused = |error| StartError::Listen(wanted, error);
    let socket = TcpListener::bind(wanted).map_err(refused)?;
    let address = socket.local_addr().map_err(refused)?;
    Ok((socket, address))
}
