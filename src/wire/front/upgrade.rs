//! Connections that become another protocol's: WebSocket upgrades at one path, and listeners of their own.
//!
//! An upgrade passes the same checks as any request, and is then decided by the wire it is for, before the 101 is
//! written. From then on the socket is the wire's: it is taken out of actix-http, which would keep two buffers of 8 KiB
//! for it, and out of actix-server, which would wait for it at the end.

use std::sync::Arc;
use std::time::Duration;

use actix_codec::{AsyncRead, AsyncWrite, Framed};
use actix_http::ws::{self, HandshakeError};
use actix_http::{Request, Response, h1};
use actix_web::HttpResponse;
use actix_web::body::to_bytes;
use actix_web::dev::Payload;
use actix_web::http::header::{self, HeaderMap, HeaderValue};
use actix_web::http::{ConnectionType, Method};
use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::wire::{Inbound, Refusal};

use super::target::Counts;
use super::{Door, Socket, rest};

/// How long a refused client may take to read the refusal and hang up.
const LINGER: Duration = Duration::from_secs(1);

/// Starts the protocol on a socket whose 101 was written, with the bytes that came right after the request.
pub type Start = Box<dyn FnOnce(Socket, Bytes)>;

/// A wire that has connections of its own. Everything happens on the worker thread that accepted the connection, and
/// nothing may hold it up: what lasts is spawned.
pub trait Links: Send + Sync + 'static {
    /// Decides on an upgrade, before the 101 is written; who may connect is bound into the [`Start`].
    ///
    /// # Errors
    /// [`Refusal`], answered as an HTTP response.
    fn admit(&self, inbound: Inbound) -> LocalBoxFuture<'static, Result<Start, Refusal>>;

    /// Takes a connection that was accepted on a listener of the wire's own, TLS done.
    fn accept(&self, socket: Socket);
}

/// Which pages may open a WebSocket (RELIABILITY W1).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Origins {
    /// All. A page proves nothing by its origin, and cookies are not looked at.
    #[default]
    Any,
    /// These, such as `https://game.example`.
    These(Vec<String>),
}

impl Origins {
    /// From a setting: `*`, or origins with spaces between them.
    pub fn of(text: &str) -> Self {
        match text.trim() {
            "*" => Self::Any,
            some => Self::These(some.split_whitespace().map(str::to_owned).collect()),
        }
    }

    fn allow(&self, headers: &HeaderMap) -> bool {
        let Some(origin) = headers.get(header::ORIGIN) else {
            // Only browsers send cookies unasked, and they name the origin, too.
            return !headers.contains_key(header::COOKIE);
        };
        match self {
            Self::Any => true,
            Self::These(these) => these
                .iter()
                .any(|one| origin.as_bytes().eq_ignore_ascii_case(one.as_bytes())),
        }
    }
}

/// A wire's place in the door.
pub(super) struct Mounted {
    pub(super) path: &'static str,
    pub(super) links: Arc<dyn Links>,
    protocols: &'static [&'static str],
    origins: Origins,
    counts: Counts,
}

impl Door {
    /// Lets WebSockets in at `path`, which asks for an upgrade otherwise. Of the subprotocols that a client offers the first
    /// that is among `protocols` is taken; a client need not offer one.
    #[must_use]
    pub fn links(
        mut self,
        wire: &'static str,
        path: &'static str,
        protocols: &'static [&'static str],
        origins: Origins,
        links: Arc<dyn Links>,
    ) -> Self {
        self.links = Some(Mounted {
            path,
            links,
            protocols,
            origins,
            counts: Counts::new(wire, path),
        });
        self
    }

    /// Answers a request for a WebSocket, and hands the connection on if it becomes one.
    pub(super) async fn upgrade<Io>(
        &self,
        mut request: Request,
        framed: Framed<Io, h1::Codec>,
        scheme: &'static str,
    ) where
        Io: AsyncRead + AsyncWrite + Unpin + Into<Socket>,
    {
        let ticket = self.traffic.enter();
        let switch =
            ws::handshake(request.head()).map(|mut response| response.finish().drop_body());
        let inbound = Inbound::of_upgrade(&mut request, scheme);
        let request_id = inbound.request_id;
        match self.decide(inbound, switch).await {
            Ok((switch, start)) => {
                if let Ok(framed) = h1::SendResponse::new(framed, switch).await {
                    let parts = framed.into_parts();
                    start(parts.io.into(), parts.read_buf.freeze());
                }
            }
            Err(mut refused) => {
                refused
                    .head_mut()
                    .set_connection_type(ConnectionType::Close);
                let refused = ticket.answer(Self::sign(refused, request_id));
                send_and_hang_up(framed, refused).await;
            }
        }
    }

    async fn decide(
        &self,
        inbound: Inbound,
        switch: Result<Response<()>, HandshakeError>,
    ) -> Result<(Response<()>, Start), HttpResponse> {
        if inbound.method != Method::GET {
            let text = "Only a GET request can ask for an upgrade.";
            return Err(rest::refuse(&Refusal::Malformed(text.to_owned())));
        }
        let Some(mounted) = self
            .links
            .as_ref()
            .filter(|links| links.path == inbound.raw_path)
        else {
            return Err(self.answer(inbound, &mut Payload::None).await);
        };
        let decided = self.decide_mounted(mounted, inbound, switch).await;
        decided.map_err(|refusal| {
            let refused = rest::refuse(&refusal);
            mounted.counts.count(refused.status());
            refused
        })
    }

    async fn decide_mounted(
        &self,
        mounted: &Mounted,
        inbound: Inbound,
        switch: Result<Response<()>, HandshakeError>,
    ) -> Result<(Response<()>, Start), Refusal> {
        if !self.headers_fit(&inbound.headers) {
            return Err(Refusal::HeadersTooLarge);
        }
        let limit_bytes = self.limits.rest_query_bytes;
        if inbound.raw_query.len() > limit_bytes {
            return Err(Refusal::QueryTooLong { limit_bytes });
        }
        if !mounted.origins.allow(&inbound.headers) {
            return Err(Refusal::AccessDenied);
        }
        let mut switch = switch.map_err(|error| match error {
            HandshakeError::UnsupportedVersion | HandshakeError::NoVersionHeader => {
                Refusal::UpgradeRequired
            }
            other => Refusal::Malformed(format!("This is no WebSocket handshake: {other}.")),
        })?;
        if let Some(protocol) = chosen(&inbound.headers, mounted.protocols) {
            let protocol = HeaderValue::from_static(protocol);
            switch
                .headers_mut()
                .insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
        }
        let start = mounted.links.admit(inbound).await?;
        mounted.counts.count(switch.status());
        Ok((switch, start))
    }
}

/// The first subprotocol offered that is known.
fn chosen(headers: &HeaderMap, known: &[&'static str]) -> Option<&'static str> {
    let offers = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL);
    let mut offered = offers
        .filter_map(|offer| offer.to_str().ok())
        .flat_map(|offer| offer.split(','));
    offered.find_map(|offer| known.iter().copied().find(|known| *known == offer.trim()))
}

/// Closes so that the answer arrives: closing with bytes unread would reset the connection.
async fn send_and_hang_up<Io>(framed: Framed<Io, h1::Codec>, refused: HttpResponse)
where
    Io: AsyncRead + AsyncWrite + Unpin,
{
    let (refused, body) = Response::from(refused).into_parts();
    // Refusals have their whole body at hand.
    let Ok(body) = to_bytes(body).await else {
        return;
    };
    let Ok(framed) = h1::SendResponse::new(framed, refused.set_body(body)).await else {
        return;
    };
    let mut io = framed.into_parts().io;
    let read_out = async {
        let _ = io.shutdown().await;
        let mut scratch = [0; 1024];
        while io.read(&mut scratch).await.is_ok_and(|read| read > 0) {}
    };
    let _ = tokio::time::timeout(LINGER, read_out).await;
}
