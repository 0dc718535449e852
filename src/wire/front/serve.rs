//! The HTTP server around the door.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::{Server, ServiceRequest, fn_service};
use actix_web::{App, HttpServer};

use super::Door;

/// How to serve.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// Threads; each has an event loop of its own.
    pub workers: usize,
    /// Connections per worker; more wait in the backlog.
    pub connections_per_worker: usize,
    /// How long an idle connection is kept.
    pub keep_alive: Duration,
    /// How long a request's head may take to arrive; beyond: 408.
    pub head_patience: Duration,
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
            shutdown_patience: Duration::from_secs(20),
        }
    }
}

/// Serves HTTP/1.1 and HTTP/2 with prior knowledge on one port. Signals are left to the caller.
///
/// # Errors
/// If the listener can not be used.
pub fn serve(listener: TcpListener, door: Arc<Door>, options: &ServeOptions) -> io::Result<Server> {
    let server = HttpServer::new(move || {
        let door = Arc::clone(&door);
        App::new().default_service(fn_service(move |request: ServiceRequest| {
            let door = Arc::clone(&door);
            async move { Ok::<_, actix_web::Error>(door.handle(request).await) }
        }))
    });
    Ok(server
        .workers(options.workers)
        .max_connections(options.connections_per_worker)
        .keep_alive(options.keep_alive)
        .client_request_timeout(options.head_patience)
        // A client that closes its side has gone: dropping the handler is how its long poll ends.
        .h1_allow_half_closed(false)
        .tcp_nodelay(true)
        .shutdown_timeout(options.shutdown_patience.as_secs())
        .disable_signals()
        .listen_auto_h2c(listener)?
        .run())
}
