//! The broker to measure: its address, its transport, and how a client is let in.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::{Context as _, bail};
use aws_credential_types::Credentials;
use hyper::Uri;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

use super::packet::Version;
use crate::auth::presign;
use crate::cli::dial::server_name;
use crate::cli::trust::TrustArgs;

/// Where a broker listens, and how clients connect to it.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) address: SocketAddr,
    pub(super) version: Version,
    pub(super) login: Option<(String, String)>,
    /// As it was given, without secrets.
    pub(super) url: String,
    /// For WebSocket: what is upgraded.
    upgrade: Option<Upgrade>,
    /// In TLS: how, and whose certificate the broker must show.
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

#[derive(Clone, Debug)]
struct Upgrade {
    /// As in the `Host` header.
    authority: String,
    path_and_query: String,
    /// If the URL is to be presigned: by whom, and for which region.
    keys: Option<(Credentials, String)>,
}

impl Target {
    /// Reads `mqtt://host[:port]` or `ws://host[:port][/path]`, or the same in TLS: `mqtts`, `wss`. The default ports are
    /// 1883, 80, 8883 and 443.
    ///
    /// # Errors
    /// It is no such URL, the host has no address, or nobody can be trusted.
    pub(super) fn new(
        url: &str,
        version: Version,
        login: Option<(String, String)>,
        trust: &TrustArgs,
    ) -> anyhow::Result<Self> {
        let uri: Uri = url.parse().with_context(|| format!("{url} is no URL"))?;
        let authority = uri
            .authority()
            .with_context(|| format!("{url} names no host"))?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let upgrade = || {
            Some(Upgrade {
                authority: authority.to_string(),
                path_and_query: path.to_owned(),
                keys: None,
            })
        };
        let (port, upgrade, secure) = match (uri.scheme_str(), path) {
            (Some("mqtt" | "tcp"), "/") => (1883, None, false),
            (Some("mqtts"), "/") => (8883, None, true),
            (Some("mqtt" | "mqtts" | "tcp"), _) => bail!("{url}: MQTT over TCP has no path"),
            (Some("ws"), _) => (80, upgrade(), false),
            (Some("wss"), _) => (443, upgrade(), true),
            _ => bail!(
                "{url}: only mqtt://host:port and ws://host:port/mqtt can be measured, and mqtts:// and wss://"
            ),
        };
        if authority.as_str().contains('@') {
            bail!("name the user with --username; a URL is shown in reports");
        }
        let host = authority.host().trim_matches(['[', ']']);
        let mut addresses = (host, authority.port_u16().unwrap_or(port))
            .to_socket_addrs()
            .with_context(|| format!("{url}: its host has no address"))?;
        let tls = match secure {
            true => Some((trust.config()?, server_name(host)?)),
            false => None,
        };
        Ok(Self {
            tls,
            address: addresses
                .next()
                .with_context(|| format!("{url}: its host has no address"))?,
            version,
            login,
            url: url.split('?').next().unwrap_or_default().to_owned(),
            upgrade,
        })
    }

    /// The same broker, with every URL presigned by `keys`.
    ///
    /// # Errors
    /// There is no URL over TCP.
    pub(super) fn presigned(mut self, keys: Credentials, region: &str) -> anyhow::Result<Self> {
        let Some(upgrade) = &mut self.upgrade else {
            bail!("--presign needs a ws:// URL; over TCP there are --username and a password");
        };
        upgrade.keys = Some((keys, region.to_owned()));
        Ok(self)
    }

    /// TLS for one connection; nothing without it.
    ///
    /// # Errors
    /// The configuration is none.
    pub(super) fn session(&self) -> io::Result<Option<ClientConnection>> {
        let Some((config, name)) = &self.tls else {
            return Ok(None);
        };
        let session = ClientConnection::new(config.clone(), name.clone());
        session.map(Some).map_err(io::Error::other)
    }

    pub(super) fn is_websocket(&self) -> bool {
        self.upgrade.is_some()
    }

    /// What a client sends first over WebSocket; nothing over TCP.
    ///
    /// # Errors
    /// The URL can not be signed.
    pub(super) fn handshake(&self) -> anyhow::Result<Option<String>> {
        let Some(upgrade) = &self.upgrade else {
            return Ok(None);
        };
        let authority = &upgrade.authority;
        let path = match &upgrade.keys {
            None => upgrade.path_and_query.clone(),
            Some((keys, region)) => {
                let origin = format!("ws://{authority}");
                let url = format!("{origin}{}", upgrade.path_and_query);
                presign(&url, keys, region, SystemTime::now())?.split_off(origin.len())
            }
        };
        // The key need not be fresh: the answer to it is not looked at.
        Ok(Some(format!(
            "GET {path} HTTP/1.1\r\nHost: {authority}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Protocol: mqtt\r\n\r\n"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nobody() -> TrustArgs {
        TrustArgs {
            cacert: Some("/nowhere.pem".into()),
        }
    }

    #[test]
    fn a_url_names_transport_and_address() {
        let check = |url: &str, expect: Option<(&str, bool)>| {
            let target = Target::new(url, Version::V311, None, &nobody()).ok();
            let found = target.map(|target| (target.address.to_string(), target.is_websocket()));
            let expect = expect.map(|(address, websocket)| (address.to_owned(), websocket));
            assert_eq!(found, expect, "{url}");
        };
        check("mqtt://127.0.0.1:7", Some(("127.0.0.1:7", false)));
        check("tcp://127.0.0.1", Some(("127.0.0.1:1883", false)));
        check("ws://[::1]:81/mqtt", Some(("[::1]:81", true)));
        check("ws://127.0.0.1", Some(("127.0.0.1:80", true)));
        check("mqtt://127.0.0.1/path", None);
        check("http://127.0.0.1", None);
        // Its certificates can not be read.
        check("mqtts://127.0.0.1", None);
        check("mqtt://user:secret@127.0.0.1", None);
        check("127.0.0.1:1883", None);
    }

    #[test]
    fn a_websocket_is_asked_for_with_or_without_a_signature() {
        let target =
            Target::new("ws://127.0.0.1:81/mqtt?a=b", Version::V311, None, &nobody()).unwrap();
        assert_eq!(target.url, "ws://127.0.0.1:81/mqtt");
        let plain = target.handshake().unwrap().unwrap();
        assert!(plain.starts_with("GET /mqtt?a=b HTTP/1.1\r\nHost: 127.0.0.1:81\r\n"));

        let target = Target::new("ws://127.0.0.1:81/mqtt", Version::V311, None, &nobody()).unwrap();
        let keys = Credentials::new("a", "s", None, None, "test");
        let signed = target.presigned(keys.clone(), "r").unwrap().handshake();
        let signed = signed.unwrap().unwrap();
        assert!(signed.starts_with("GET /mqtt?X-Amz-"), "{signed}");
        assert!(signed.contains("X-Amz-Signature="), "{signed}");

        let target = Target::new("mqtt://127.0.0.1:81", Version::V311, None, &nobody()).unwrap();
        assert_eq!(target.handshake().unwrap(), None);
        assert!(target.presigned(keys, "r").is_err());
    }
}
