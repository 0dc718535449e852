//! Where a server is, and a connection to it that speaks HTTP/1.1, plain or in TLS.

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http_body_util::Full;
use hyper::Uri;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::client::CallError;
use super::trust::TrustArgs;

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    /// As in the `Host` header.
    authority: String,
    host: String,
    port: u16,
    secure: bool,
}

impl Address {
    /// Reads `http://host[:port]` or the same with `https`. Also clap's value parser.
    ///
    /// # Errors
    /// It is something else.
    pub(super) fn parse(text: &str) -> anyhow::Result<Self> {
        let uri: Uri = text.parse().context("not a URL")?;
        let path = uri.path_and_query().map(|path| path.as_str());
        let (secure, port) = match uri.scheme_str() {
            Some("http") => (false, 80),
            Some("https") => (true, 443),
            _ => bail!("must start with http:// or https://: {text}"),
        };
        if !matches!(path, None | Some("/")) {
            bail!("only a host and a port, without a path: {text}");
        }
        let authority = uri.authority().context("no host")?;
        if authority.as_str().contains('@') {
            bail!("no user name and no password: requests are signed");
        }
        Ok(Self {
            authority: authority.to_string(),
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port: authority.port_u16().unwrap_or(port),
            secure,
        })
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.secure { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority)
    }
}

/// A server, and whom to trust on the way to it.
#[derive(Clone)]
pub(super) struct Endpoint {
    address: Address,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Endpoint {
    /// A server at this address.
    ///
    /// # Errors
    /// Nobody can be trusted, or the host is none.
    pub(super) fn new(address: Address, trust: &TrustArgs) -> anyhow::Result<Self> {
        let tls = match address.secure {
            false => None,
            true => {
                let name = server_name(&address.host)?;
                Some((TlsConnector::from(trust.config()?), name))
            }
        };
        Ok(Self { address, tls })
    }

    /// As in the `Host` header.
    pub(super) fn authority(&self) -> &str {
        &self.address.authority
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// [`CallError::Unreachable`]: nobody listens, or who does is not trusted.
    pub(super) async fn connect(&self) -> anyhow::Result<SendRequest<Full<Bytes>>> {
        let unreachable = |error: std::io::Error| CallError::Unreachable {
            endpoint: self.to_string(),
            reason: error.to_string(),
        };
        let Address { host, port, .. } = &self.address;
        let stream = TcpStream::connect((host.as_str(), *port)).await;
        let stream = stream.map_err(unreachable)?;
        stream.set_nodelay(true)?;
        let stream: Box<dyn Stream> = match &self.tls {
            None => Box::new(stream),
            Some((connector, name)) => {
                let connected = connector.connect(name.clone(), stream).await;
                Box::new(connected.map_err(unreachable)?)
            }
        };
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // Ends by itself when the sender is dropped or the server closes; what went wrong, the caller is told.
        tokio::spawn(async move {
            let _ = connection.await;
        });
        sender.ready().await?;
        Ok(sender)
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.address.fmt(f)
    }
}

/// Whose certificate a server must show.
///
/// # Errors
/// It is no host.
pub(super) fn server_name(host: &str) -> anyhow::Result<ServerName<'static>> {
    let name = ServerName::try_from(host.to_owned());
    name.with_context(|| format!("{host:?} is no name that a certificate can have"))
}

/// Plain or in TLS.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_scheme_a_host_and_a_port() {
        let check = |text: &str, expect: Option<(&str, u16)>| {
            let address = Address::parse(text).ok();
            let found = address
                .as_ref()
                .map(|address| (address.host.as_str(), address.port));
            assert_eq!(found, expect, "{text}");
        };
        check("http://127.0.0.1:8080", Some(("127.0.0.1", 8080)));
        check("http://localhost/", Some(("localhost", 80)));
        check("http://[::1]:81", Some(("::1", 81)));
        check("https://localhost", Some(("localhost", 443)));
        check("https://localhost:8443/", Some(("localhost", 8443)));
        check("http://localhost/path", None);
        check("http://user:secret@localhost", None);
        check("ftp://localhost", None);
        check("localhost:8080", None);
        check("", None);
        let shown = Address::parse("https://localhost:8443/").unwrap();
        assert_eq!(shown.to_string(), "https://localhost:8443");
    }
}
