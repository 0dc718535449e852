//! A socket of the load generator: plain, or in TLS. Neither waits.

use std::io::{self, Read, Write};

use mio::net::TcpStream;
use rustls::{ClientConnection, Stream};

use super::target::Target;

/// See the module.
pub(super) struct Socket {
    pub(super) tcp: TcpStream,
    tls: Option<Box<ClientConnection>>,
}

impl Socket {
    /// Begins to connect.
    ///
    /// # Errors
    /// No descriptor, no port, or no such network.
    pub(super) fn open(target: &Target) -> io::Result<Self> {
        Ok(Self {
            tls: target.session()?.map(Box::new),
            tcp: TcpStream::connect(target.address)?,
        })
    }

    pub(super) fn is_secure(&self) -> bool {
        self.tls.is_some()
    }

    /// Whether what was written is not all on its way: TLS keeps what the socket does not take.
    pub(super) fn holds_back(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.wants_write())
    }

    /// Reads what there is.
    ///
    /// # Errors
    /// As of the socket; there is nothing yet; TLS finds something wrong.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.tls {
            None => self.tcp.read(buffer),
            Some(tls) => Stream::new(&mut **tls, &mut self.tcp).read(buffer),
        }
    }

    /// Writes what is taken; without bytes, what TLS held back.
    ///
    /// # Errors
    /// As [`Socket::read`].
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else {
            return self.tcp.write(bytes);
        };
        let mut stream = Stream::new(&mut **tls, &mut self.tcp);
        if bytes.is_empty() {
            stream.flush()?;
            return Ok(0);
        }
        stream.write(bytes)
    }
}
