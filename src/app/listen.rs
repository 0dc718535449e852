//! What the program listens on.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

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

/// Everything that is listened on.
pub(super) struct Listening {
    pub(super) listeners: Vec<Listener>,
    pub(super) http: SocketAddr,
    pub(super) others: Addresses,
    pub(super) sockets: Sockets,
}

/// How long the server's accepting thread may take to pause. Who connects meanwhile is not refused, but cut off after it.
const PAUSING: Duration = Duration::from_millis(20);

/// The listening sockets, beside the server that accepts on them: a server that has paused leaves them open, and whoever
/// connects then would wait for nothing.
pub(super) struct Sockets(Vec<TcpListener>);

impl Sockets {
    /// From now on connections are refused. The server must have paused.
    pub(super) async fn shut(&self) {
        // It says that it has before its accepting thread knows. A socket that is shut while that still accepts is a failure
        // to it, which it logs as one.
        tokio::time::sleep(PAUSING).await;
        for socket in &self.0 {
            if let Err(error) = rustix::net::shutdown(socket, rustix::net::Shutdown::Both) {
                tracing::debug!(%error, "a listener stays open until the end");
            }
        }
    }

    /// Listens, and says on which port.
    fn bind(&mut self, wanted: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
        let refused = |error| StartError::Listen(wanted, error);
        let socket = TcpListener::bind(wanted).map_err(refused)?;
        let address = socket.local_addr().map_err(refused)?;
        self.0.push(socket.try_clone().map_err(refused)?);
        Ok((socket, address))
    }
}

/// Binds everything, and keeps the certificate up to date if there is one.
pub(super) fn all(settings: &Settings) -> Result<Listening, StartError> {
    let mut sockets = Sockets(Vec::new());
    let (socket, http) = sockets.bind(settings.http_listen)?;
    let mut listeners = vec![Listener::http(socket)];
    let mut others = Addresses::default();
    if let Some(mqtt) = &settings.mqtt {
        let (socket, address) = sockets.bind(mqtt.listen)?;
        others.mqtt = Some(address);
        listeners.push(Listener::links(socket));
    }
    if let Some(tls) = &settings.tls {
        let certificate = Certificate::load(tls.files.clone())?;
        if let Some(wanted) = tls.http_listen {
            let (socket, address) = sockets.bind(wanted)?;
            others.https = Some(address);
            listeners.push(Listener::http(socket).tls(certificate.for_http()));
        }
        if let Some(wanted) = tls.mqtt_listen {
            let (socket, address) = sockets.bind(wanted)?;
            others.mqtts = Some(address);
            listeners.push(Listener::links(socket).tls(certificate.for_mqtt()));
        }
        actix::spawn(Arc::clone(&certificate).watch());
    }
    Ok(Listening {
        listeners,
        http,
        others,
        sockets,
    })
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[actix::test]
    async fn a_shut_socket_refuses() {
        let mut sockets = Sockets(Vec::new());
        let (_open_still, address) = sockets.bind(([127, 0, 0, 1], 0).into()).unwrap();
        assert!(TcpStream::connect(address).is_ok());
        sockets.shut().await;
        assert!(TcpStream::connect(address).is_err());
    }
}
