//! All connections of the process: how many there may be, how they begin, and how they are told to end.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix::{Arbiter, ArbiterHandle};
use bytes::Bytes;
use metrics::Gauge;

use crate::wire::front::Socket;

use super::outbox::Outbox;
use super::queue::Framing;
use super::transport::{Receive, TransportOptions};
use super::worker::Worker;
use super::{tcp, ws};

/// How often the end looks whether the last connection has gone.
const LOOK: Duration = Duration::from_millis(10);

/// The transports, shared by all worker threads.
#[derive(Clone)]
pub struct Transports(Arc<Shared>);

struct Shared {
    options: TransportOptions,
    open: AtomicUsize,
    draining: AtomicBool,
    workers: Mutex<Vec<ArbiterHandle>>,
    gauge: Gauge,
    refused: metrics::Counter,
}

/// A connection's place among all.
pub(super) struct Seat(Arc<Shared>);

impl Transports {
    /// Metrics handles are made here, so the recorder must be installed before.
    pub fn new(options: TransportOptions) -> Self {
        Self(Arc::new(Shared {
            options,
            open: AtomicUsize::new(0),
            draining: AtomicBool::new(false),
            workers: Mutex::default(),
            gauge: metrics::gauge!("fanfare_mqtt_connections"),
            refused: metrics::counter!("fanfare_mqtt_connections_refused_total"),
        }))
    }

    /// Connections that are open.
    pub fn open(&self) -> usize {
        self.0.open.load(Ordering::Relaxed)
    }

    /// Whether one more would be taken.
    pub fn has_room(&self) -> bool {
        !self.0.draining.load(Ordering::Relaxed) && self.open() < self.0.options.max_connections
    }

    /// Speaks with a client on a connection without framing. The link is made for it, unless there are too many: then the
    /// connection ends. Must be called on the worker thread that has the socket.
    pub fn tcp<L: Receive>(&self, socket: Socket, link: impl FnOnce(Outbox) -> L) {
        if let Some((seat, outbox)) = self.begin(socket, Framing::Plain) {
            actix_rt::spawn(tcp::Connection::new(link(outbox.clone()), outbox, seat));
        }
    }

    /// The same in WebSocket frames, after the upgrade; `first` is what came right behind it.
    pub fn websocket<L: Receive>(
        &self,
        socket: Socket,
        first: Bytes,
        link: impl FnOnce(Outbox) -> L,
    ) {
        if let Some((seat, outbox)) = self.begin(socket, Framing::WebSocket) {
            let frame_bytes = self.0.options.frame_bytes;
            actix_rt::spawn(ws::run(
                link(outbox.clone()),
                outbox,
                first,
                frame_bytes,
                seat,
            ));
        }
    }

    /// Tells every link that the process ends, and waits until they are gone, but not longer than that. From now on no
    /// connection is taken. The server must still be running: its worker threads are where the links are.
    pub async fn drain(&self, patience: Duration) {
        self.0.draining.store(true, Ordering::Relaxed);
        let workers = self
            .0
            .workers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        for worker in workers {
            worker.spawn_fn(|| Worker::here().drain());
        }
        let gone = async {
            while self.open() > 0 {
                tokio::time::sleep(LOOK).await;
            }
        };
        let _ = tokio::time::timeout(patience, gone).await;
    }

    fn begin(&self, socket: Socket, framing: Framing) -> Option<(Seat, Outbox)> {
        let seat = self.take_seat()?;
        let worker = Worker::here();
        if !worker.is_known(Arc::as_ptr(&self.0) as usize) {
            let mut workers = self
                .0
                .workers
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            workers.extend(Arbiter::try_current());
        }
        let options = &self.0.options;
        let (limit, ping) = (options.outbox_bytes, options.ping_interval);
        let outbox = Outbox::new(socket, framing, limit, ping, worker.clone());
        worker.add(&outbox.0);
        Some((seat, outbox))
    }

    fn take_seat(&self) -> Option<Seat> {
        let shared = &self.0;
        let taken = shared.open.fetch_add(1, Ordering::Relaxed);
        shared.gauge.increment(1.0);
        let seat = Seat(Arc::clone(shared));
        if taken >= shared.options.max_connections || shared.draining.load(Ordering::Relaxed) {
            shared.refused.increment(1);
            return None;
        }
        Some(seat)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
        self.0.gauge.decrement(1.0);
    }
}
