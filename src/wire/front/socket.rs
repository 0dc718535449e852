//! A client's connection, taken out of the server that accepted it.
//!
//! Who holds one reads when bytes are there and writes when there is room, so that a connection at rest costs no buffer:
//! one scratch buffer per worker thread serves the reads of all of them. All methods take `&self`: a socket stays on the
//! worker thread that accepted it, where a reading task and a writing one share it.

use std::cell::RefCell;
use std::io::{self, IoSlice, Read as _, Write as _};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use actix_tls::accept::rustls_0_23::TlsStream;
use tokio::io::{AsyncRead as _, ReadBuf};
use tokio::net::TcpStream;

/// Plain bytes that are handed to TLS before what they became has left: what a slow reader's connection buffers here.
const TLS_AHEAD_BYTES: usize = 32 * 1024;

/// A connection, plain or in TLS.
pub struct Socket(RefCell<Stream>);

enum Stream {
    Tcp(TcpStream),
    // Boxed, so that the many plain ones stay small.
    Tls(Box<TlsStream<TcpStream>>),
    /// It was closed here.
    Closed,
}

/// What becomes of a call on a socket that was closed.
fn closed() -> io::Error {
    io::ErrorKind::NotConnected.into()
}

impl From<TcpStream> for Socket {
    fn from(stream: TcpStream) -> Self {
        Self(RefCell::new(Stream::Tcp(stream)))
    }
}

impl From<TlsStream<TcpStream>> for Socket {
    fn from(stream: TlsStream<TcpStream>) -> Self {
        Self(RefCell::new(Stream::Tls(Box::new(stream))))
    }
}

impl Socket {
    /// Who is at the other end, as the system says; `None` if it has gone.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.tcp(TcpStream::peer_addr)
    }

    /// The address that the other end connected to; `None` if the connection is closed.
    pub fn local(&self) -> Option<SocketAddr> {
        self.tcp(TcpStream::local_addr)
    }

    fn tcp<T>(&self, ask: impl FnOnce(&TcpStream) -> io::Result<T>) -> Option<T> {
        match &*self.0.borrow() {
            Stream::Tcp(tcp) => ask(tcp).ok(),
            Stream::Tls(tls) => ask(tls.get_ref().0).ok(),
            Stream::Closed => None,
        }
    }

    /// Whether it is in TLS.
    pub fn is_tls(&self) -> bool {
        matches!(*self.0.borrow(), Stream::Tls(_))
    }

    /// Reads what is there; 0 is the end.
    ///
    /// # Errors
    /// What the system says, and for TLS also a broken record or an end without farewell.
    pub fn poll_read(&self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        match &mut *self.0.borrow_mut() {
            Stream::Tcp(tcp) => {
                let mut into = ReadBuf::new(into);
                ready!(Pin::new(tcp).poll_read(cx, &mut into))?;
                Poll::Ready(Ok(into.filled().len()))
            }
            Stream::Tls(tls) => loop {
                match read_tls(tls, into) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    done => return Poll::Ready(done),
                }
                ready!(tls.get_ref().0.poll_read_ready(cx))?;
            },
            Stream::Closed => Poll::Ready(Err(closed())),
        }
    }

    /// Writes as much as there is room for, without waiting.
    ///
    /// # Errors
    /// `WouldBlock` if there is no room, in which case nothing was taken; else what the system says.
    pub fn try_write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        match &mut *self.0.borrow_mut() {
            Stream::Tcp(tcp) => match parts {
                [part] => tcp.try_write(part),
                parts => tcp.try_write_vectored(parts),
            },
            Stream::Tls(tls) => write_tls(tls, parts),
            Stream::Closed => Err(closed()),
        }
    }

    /// Sends what TLS still holds of what it took. `true`: nothing is left.
    ///
    /// # Errors
    /// What the system says, but not `WouldBlock`.
    pub fn try_flush(&self) -> io::Result<bool> {
        match &mut *self.0.borrow_mut() {
            Stream::Tcp(_) => Ok(true),
            Stream::Tls(tls) => send_records(tls),
            Stream::Closed => Err(closed()),
        }
    }

    /// Ready when there is room for more bytes.
    ///
    /// # Errors
    /// What the system says.
    pub fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &*self.0.borrow() {
            Stream::Tcp(tcp) => tcp.poll_write_ready(cx),
            Stream::Tls(tls) => tls.get_ref().0.poll_write_ready(cx),
            Stream::Closed => Poll::Ready(Err(closed())),
        }
    }

    /// Says that nothing more will be sent. What the peer still sends can be read.
    pub fn finish(&self) {
        // The connection is at its end either way, so there is nothing to be done about an error.
        match &mut *self.0.borrow_mut() {
            Stream::Tcp(tcp) => finish_tcp(tcp),
            Stream::Tls(tls) => {
                tls.get_mut().1.send_close_notify();
                let _ = send_records(tls);
                finish_tcp(tls.get_ref().0);
            }
            Stream::Closed => {}
        }
    }

    /// Lets go of the connection. From now on there are only errors.
    pub fn close(&self) {
        self.0.replace(Stream::Closed);
    }
}

fn finish_tcp(tcp: &TcpStream) {
    let _ = rustix::net::shutdown(tcp, rustix::net::Shutdown::Write);
}

/// What rustls reads from and writes to: the connection, without waiting.
struct NoWait<'a>(&'a TcpStream);

impl io::Read for NoWait<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(into)
    }
}

impl io::Write for NoWait<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(parts)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn read_tls(stream: &mut TlsStream<TcpStream>, into: &mut [u8]) -> io::Result<usize> {
    loop {
        let (tcp, tls) = stream.get_mut();
        match tls.reader().read(into) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            done => return done,
        }
        tls.read_tls(&mut NoWait(tcp))?;
        let broken = tls.process_new_packets().err();
        // A broken record is answered with an alert, a change of keys with one's own.
        send_records(stream)?;
        if let Some(error) = broken {
            return Err(io::Error::new(io::ErrorKind::InvalidData, error));
        }
    }
}

fn write_tls(stream: &mut TlsStream<TcpStream>, parts: &[IoSlice<'_>]) -> io::Result<usize> {
    let mut taken = 0;
    for part in parts {
        let mut rest: &[u8] = part;
        while !rest.is_empty() {
            if !send_records(stream)? {
                return if taken > 0 {
                    Ok(taken)
                } else {
                    Err(io::ErrorKind::WouldBlock.into())
                };
            }
            let now = &rest[..rest.len().min(TLS_AHEAD_BYTES)];
            let written = stream.get_mut().1.writer().write(now)?;
            taken += written;
            rest = &rest[written..];
        }
    }
    send_records(stream)?;
    Ok(taken)
}

/// Whether all records have left.
fn send_records(stream: &mut TlsStream<TcpStream>) -> io::Result<bool> {
    let (tcp, tls) = stream.get_mut();
    while tls.wants_write() {
        match tls.write_tls(&mut NoWait(tcp)) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}
