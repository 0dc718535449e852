//! Many connections on one thread, over the system's own readiness events: what one delivery costs the load
//! generator is a read and little else.

use std::io;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use mio::{Events, Interest, Poll, Token};

use super::link::{Client, Event, Link, LinkError, Stage};
use super::packet;
use super::target::Target;
use crate::cli::client::CallError;

/// Connections that are being opened at the same time, unless a benchmark is about that.
const AT_ONCE: usize = 256;

/// Nobody is waited for longer than this without anything happening.
const PATIENCE: Duration = Duration::from_secs(30);

/// Lent to one connection after the other. A short read is known to have emptied a socket, so it is ample.
const BUFFER_BYTES: usize = 256 * 1024;

/// Connections that are looked after before what is due is sent.
const EVENTS: usize = 256;

/// Descriptors beside the connections.
const SPARE: u64 = 64;

/// The clients of a benchmark. A connection keeps its number, in the order in which they were added.
pub(super) struct Crowd {
    pub(super) target: Target,
    poll: Poll,
    events: Events,
    links: Vec<Option<Link>>,
    buffer: Vec<u8>,
}

/// A connection that has ended, and why.
pub(super) type Lost = (usize, LinkError);

impl Crowd {
    /// Nobody yet, with room for so many.
    ///
    /// # Errors
    /// The system does not allow so many descriptors.
    pub(super) fn new(target: &Target, most: usize) -> anyhow::Result<Self> {
        raise_descriptors(most as u64 + SPARE)?;
        Ok(Self {
            target: target.clone(),
            poll: Poll::new()?,
            events: Events::with_capacity(EVENTS),
            links: Vec::with_capacity(most),
            buffer: vec![0; BUFFER_BYTES],
        })
    }

    /// Begins to connect; answers the connection's number.
    ///
    /// # Errors
    /// The system has no more descriptors or ports.
    pub(super) fn begin(&mut self, client: Client) -> anyhow::Result<usize> {
        let number = self.links.len();
        self.links.push(None);
        self.begin_again(number, client)?;
        Ok(number)
    }

    /// Begins to connect under a number whose connection has ended.
    ///
    /// # Errors
    /// As [`Crowd::begin`].
    pub(super) fn begin_again(&mut self, number: usize, client: Client) -> anyhow::Result<()> {
        let opened = Link::open(&self.target, client);
        let mut link = opened.map_err(|error| self.explain(error.into()))?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll
            .registry()
            .register(&mut link.socket.tcp, Token(number), interest)?;
        self.links[number] = Some(link);
        Ok(())
    }

    /// Connects and subscribes all of them, a few hundred at a time.
    ///
    /// # Errors
    /// One of them can not, or the broker is silent.
    pub(super) fn open(&mut self, clients: Vec<Client>) -> anyhow::Result<()> {
        let expect = clients.len();
        let mut clients = clients.into_iter();
        let (mut begun, mut ready) = (0, 0);
        let mut patience = Instant::now() + PATIENCE;
        while ready < expect {
            for client in clients.by_ref().take(AT_ONCE.saturating_sub(begun - ready)) {
                self.begin(client)?;
                begun += 1;
            }
            let before = ready;
            self.turn(Some(Duration::from_secs(1)), |_, event, _| {
                ready += usize::from(matches!(event, Event::Ready));
            })?;
            if ready > before {
                patience = Instant::now() + PATIENCE;
            }
            ensure!(
                Instant::now() < patience,
                "{} let in {ready} of {expect} clients and then none for {} s",
                self.target.url,
                PATIENCE.as_secs()
            );
        }
        Ok(())
    }

    /// Waits for something to happen, at most so long, and tells what. Lost connections are an error.
    ///
    /// # Errors
    /// A connection has ended or is refused.
    pub(super) fn turn(
        &mut self,
        timeout: Option<Duration>,
        tell: impl FnMut(usize, Event<'_>, Instant),
    ) -> anyhow::Result<()> {
        let mut lost = Vec::new();
        self.turn_and_lose(timeout, tell, &mut lost)?;
        match lost.pop() {
            None => Ok(()),
            Some((number, error)) => {
                Err(self.explain(error)).with_context(|| format!("connection {number}"))
            }
        }
    }

    /// As [`Crowd::turn`], but lost connections are listed; they are closed.
    ///
    /// # Errors
    /// The system fails.
    pub(super) fn turn_and_lose(
        &mut self,
        timeout: Option<Duration>,
        mut tell: impl FnMut(usize, Event<'_>, Instant),
        lost: &mut Vec<Lost>,
    ) -> anyhow::Result<()> {
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            other => other?,
        }
        for event in &self.events {
            let number = event.token().0;
            // An event of a connection that was closed in this very turn.
            let Some(link) = &mut self.links[number] else {
                continue;
            };
            let mut outcome = Ok(());
            if event.is_writable() || event.is_error() {
                outcome = link.writable(&self.target);
            }
            if outcome.is_ok() && event.is_readable() && link.stage > Stage::Connecting {
                let ended = event.is_read_closed();
                let tell = |event: Event<'_>, now| tell(number, event, now);
                outcome = link.readable(&self.target, &mut self.buffer, ended, tell);
            }
            if let Err(error) = outcome {
                self.links[number] = None;
                lost.push((number, error));
            }
        }
        Ok(())
    }

    /// Sends a packet. What the socket does not take goes out as soon as it does.
    ///
    /// # Errors
    /// The connection has ended.
    pub(super) fn send(
        &mut self,
        number: usize,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> anyhow::Result<()> {
        self.put(number, write)?;
        self.flush(number)
    }

    /// Prepares a packet, to be sent with the next [`Crowd::flush`].
    ///
    /// # Errors
    /// The connection has ended.
    pub(super) fn put(
        &mut self,
        number: usize,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> anyhow::Result<()> {
        self.link(number)?.put(write);
        Ok(())
    }

    /// Sends what was prepared.
    ///
    /// # Errors
    /// The connection has ended.
    pub(super) fn flush(&mut self, number: usize) -> anyhow::Result<()> {
        let flushed = self.link(number)?.flush();
        flushed.map_err(|error| self.explain(error.into()))
    }

    /// Bytes that wait for the socket.
    pub(super) fn unsent(&self, number: usize) -> usize {
        self.links[number].as_ref().map_or(0, Link::unsent)
    }

    fn link(&mut self, number: usize) -> anyhow::Result<&mut Link> {
        let link = self.links[number].as_mut();
        link.with_context(|| format!("connection {number} has ended"))
    }

    /// Cuts all connections as a failing network does: without a word. Answers who they were.
    pub(super) fn cut(&mut self) -> Vec<Client> {
        let links = self.links.iter_mut().filter_map(Option::take);
        links.map(|link| link.client).collect()
    }

    /// Says goodbye and closes all connections.
    pub(super) fn leave(mut self) {
        for link in self.links.iter_mut().flatten() {
            link.put(packet::disconnect);
            // Whoever can not be told notices by itself.
            let _ = link.flush();
        }
    }

    /// An error as the other commands tell theirs.
    pub(super) fn explain(&self, error: LinkError) -> anyhow::Error {
        let told = format!("{}: {error}", self.target.url);
        match error {
            LinkError::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                CallError::Unreachable {
                    endpoint: self.target.url.clone(),
                    reason: error.to_string(),
                }
                .into()
            }
            LinkError::NotUpgraded(line) if line.contains(" 403") || line.contains(" 401") => {
                CallError::Denied(told).into()
            }
            // Bad user name or password, and not authorised, in both versions.
            LinkError::Refused {
                code: 4 | 5 | 0x86 | 0x87,
                ..
            } => CallError::Denied(told).into(),
            _ => CallError::Refused(told).into(),
        }
    }
}

/// Allows this process as many descriptors as the system lets it have.
///
/// # Errors
/// That is fewer than it needs.
pub(super) fn raise_descriptors(need: u64) -> anyhow::Result<()> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    if limit.maximum.is_some_and(|most| most < need) {
        bail!("this needs {need} descriptors; the system allows fewer (ulimit -Hn)");
    }
    if limit.current == limit.maximum {
        return Ok(());
    }
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).context("raising the number of descriptors")
}
