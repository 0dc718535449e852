//! The server around the door: its listeners, worker threads and time limits.
//!
//! actix-web's own server does not let a connection go, so this one is put together from the same parts.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix_codec::{AsyncRead, AsyncWrite, Framed};
use actix_http::body::BoxBody;
use actix_http::{HttpServiceBuilder, Request, Response, TlsAcceptorConfig, h1};
use actix_server::{GracefulShutdownSignal, Server, ServerBuilder};
use actix_service::{Service, ServiceFactory, ServiceFactoryExt as _, fn_service, map_config};
use actix_tls::accept::rustls_0_23::{Acceptor, TlsStream};
use actix_web::App;
use actix_web::dev::{AppConfig, ServiceRequest, ServiceResponse};
use rustls::ServerConfig;
use tokio::net::TcpStream;

use super::{Door, Socket};

/// How long a closed connection may take to go.
const DISCONNECT: Duration = Duration::from_secs(1);

/// How to serve.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// Threads; each has an event loop of its own.
    pub workers: usize,
    /// HTTP connections per worker; more wait in the backlog.
    pub connections_per_worker: usize,
    /// How long an idle connection is kept.
    pub keep_alive: Duration,
    /// How long a request's head may take to arrive; beyond: 408.
    pub head_patience: Duration,
    /// How long a TLS handshake may take; beyond, the connection is closed.
    pub handshake_patience: Duration,
    /// How long [`actix_web::dev::ServerHandle::stop`] waits for requests in progress.
    pub shutdown_patience: Duration,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            workers: std::thread::available_parallelism().map_or(2, usize::from),
            connections_per_worker: 25_000,
            keep_alive: Duration::from_secs(75),
            head_patience: Duration::from_secs(5),
            handshake_patience: Duration::from_secs(5),
            shutdown_patience: Duration::from_secs(20),
        }
    }
}

/// Something to listen on.
pub struct Listener {
    socket: TcpListener,
    serves: Serves,
    tls: Option<Arc<ServerConfig>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Serves {
    Http,
    Links,
}

impl Listener {
    /// HTTP/1.1 and HTTP/2 with prior knowledge.
    pub fn http(socket: TcpListener) -> Self {
        Self {
            socket,
            serves: Serves::Http,
            tls: None,
        }
    }

    /// Connections for the door's [`Links`](super::Links), without HTTP.
    pub fn links(socket: TcpListener) -> Self {
        Self {
            serves: Serves::Links,
            ..Self::http(socket)
        }
    }

    /// The same in TLS; HTTP/2 is offered where HTTP is served.
    #[must_use]
    pub fn tls(mut self, config: Arc<ServerConfig>) -> Self {
        self.tls = Some(config);
        self
    }
}

/// Serves all listeners with the same worker threads. Signals are left to the caller.
///
/// # Errors
/// If a listener can not be used.
pub fn serve(
    listeners: Vec<Listener>,
    door: &Arc<Door>,
    options: &ServeOptions,
) -> io::Result<Server> {
    // The library's own bound on handshakes in progress holds up everything else on the worker when it is reached.
    actix_tls::accept::max_concurrent_tls_connect(options.connections_per_worker);
    let mut server = Server::build()
        .workers(options.workers)
        .max_concurrent_connections(options.connections_per_worker)
        .shutdown_timeout(options.shutdown_patience.as_secs())
        .disable_signals();
    for listener in listeners {
        let door = Arc::clone(door);
        server = match (listener.serves, listener.tls) {
            (Serves::Http, tls) => listen_http(server, listener.socket, tls, door, options)?,
            (Serves::Links, None) => {
                server.listen("links", listener.socket, move || links(door.clone()))?
            }
            (Serves::Links, Some(tls)) => {
                let patience = options.handshake_patience;
                server.listen("links-tls", listener.socket, move || {
                    links_tls(door.clone(), ServerConfig::clone(&tls), patience)
                })?
            }
        };
    }
    Ok(server.run())
}

fn listen_http(
    server: ServerBuilder,
    socket: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    door: Arc<Door>,
    options: &ServeOptions,
) -> io::Result<ServerBuilder> {
    let address = socket.local_addr()?;
    let signal = server.graceful_shutdown_signal();
    let options = options.clone();
    let Some(tls) = tls else {
        return server.listen("http", socket, move || {
            http::<TcpStream, _>(&options, address, &signal)
                .finish(application(door.clone(), "http"))
                .upgrade(Some(upgrades(door.clone(), "http")))
                .tcp_auto_h2c()
        });
    };
    server.listen("https", socket, move || {
        let handshake = TlsAcceptorConfig::default().handshake_timeout(options.handshake_patience);
        http::<TlsStream<TcpStream>, _>(&options, address, &signal)
            .finish(application(door.clone(), "https"))
            .upgrade(Some(upgrades(door.clone(), "https")))
            .rustls_0_23_with_config(ServerConfig::clone(&tls), handshake)
    })
}

/// The options of HTTP connections.
fn http<Io, S>(
    options: &ServeOptions,
    address: SocketAddr,
    signal: &GracefulShutdownSignal,
) -> HttpServiceBuilder<Io, S>
where
    S: ServiceFactory<Request, Config = ()>,
    S::Error: Into<Response<BoxBody>> + 'static,
    S::InitError: std::fmt::Debug,
    <S::Service as Service<Request>>::Future: 'static,
{
    let signal = signal.clone();
    HttpServiceBuilder::default()
        // Tells connections that requests may still be on that these are their last.
        .graceful_shutdown_signal(move || {
            let signal = signal.clone();
            async move { signal.notified().await }
        })
        .local_addr(address)
        .keep_alive(options.keep_alive)
        .client_request_timeout(options.head_patience)
        .client_disconnect_timeout(DISCONNECT)
        // A client that closes its side has gone: dropping the handler is how its long poll ends.
        .h1_allow_half_closed(false)
        .tcp_nodelay(true)
}

/// Requests.
fn application(
    door: Arc<Door>,
    scheme: &'static str,
) -> impl ServiceFactory<
    Request,
    Config = (),
    Response = ServiceResponse,
    Error = actix_web::Error,
    InitError = (),
> {
    let app = App::new().default_service(fn_service(move |request: ServiceRequest| {
        let door = Arc::clone(&door);
        async move { Ok::<_, actix_web::Error>(door.handle_over(request, scheme).await) }
    }));
    // What the configuration would say of addresses and hosts is not asked: the door goes by the request.
    map_config(app, |()| AppConfig::default())
}

/// Requests for an upgrade.
fn upgrades<Io>(
    door: Arc<Door>,
    scheme: &'static str,
) -> impl ServiceFactory<
    (Request, Framed<Io, h1::Codec>),
    Config = (),
    Response = (),
    Error = actix_web::Error,
    InitError = (),
>
where
    Io: AsyncRead + AsyncWrite + Unpin + Into<Socket> + 'static,
{
    fn_service(move |(request, framed)| {
        let door = Arc::clone(&door);
        async move {
            door.upgrade(request, framed, scheme).await;
            Ok(())
        }
    })
}

/// Connections without HTTP. They are handed on at once, so that the server neither counts them nor waits for them.
fn links(
    door: Arc<Door>,
) -> impl ServiceFactory<TcpStream, Config = (), Response = (), Error = io::Error, InitError = ()> {
    fn_service(move |stream: TcpStream| {
        let taken = stream.set_nodelay(true);
        if taken.is_ok() {
            door.accept(stream.into());
        }
        std::future::ready(taken)
    })
}

fn links_tls(
    door: Arc<Door>,
    tls: ServerConfig,
    patience: Duration,
) -> impl ServiceFactory<TcpStream, Config = (), Response = (), Error = io::Error, InitError = ()> {
    let mut acceptor = Acceptor::new(tls);
    acceptor.set_handshake_timeout(patience);
    acceptor
        .map_err(|_| io::Error::from(io::ErrorKind::InvalidData))
        .map(move |stream: TlsStream<TcpStream>| {
            // Without it the connection is slower, which is no reason to end it.
            let _ = stream.get_ref().0.set_nodelay(true);
            door.accept(stream.into());
        })
}
