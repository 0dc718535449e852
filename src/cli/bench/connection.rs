//! One keep-alive connection to a server, used by one worker at a time.

use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::sign::{Call, Keys, Signer};
use crate::cli::client::CallError;

/// Longer than any long poll and any answer that is worth measuring.
const PATIENCE: Duration = Duration::from_secs(120);

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// As in the `Host` header.
    authority: String,
    host: String,
    port: u16,
}

impl Endpoint {
    /// Reads `http://host[:port]`. Also clap's value parser.
    pub(super) fn parse(text: &str) -> anyhow::Result<Self> {
        let uri: Uri = text.parse().context("not a URL")?;
        match (
            uri.scheme_str(),
            uri.path_and_query().map(|path| path.as_str()),
        ) {
            (Some("http"), None | Some("/")) => {}
            (Some("http"), _) => bail!("only http://host:port, without a path"),
            _ => bail!("only http:// can be measured"),
        }
        let authority = uri.authority().context("no host")?;
        Ok(Self {
            authority: authority.to_string(),
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port: authority.port_u16().unwrap_or(80),
        })
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "http://{}", self.authority)
    }
}

/// One connection, opened when it is first used and again whenever the server closed it.
pub(super) struct Connection {
    endpoint: Endpoint,
    signer: Signer,
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl Connection {
    pub(super) fn new(endpoint: &Endpoint, keys: &Keys, region: &str) -> Self {
        Self {
            endpoint: endpoint.clone(),
            signer: Signer::new(keys.clone(), region),
            sender: None,
        }
    }

    /// Signs and sends a call; answers the body of its answer.
    ///
    /// # Errors
    /// [`CallError`]: no connection, keys that are not accepted, any other status but 200 (told with its body). No
    /// answer in time.
    pub(super) async fn call(&mut self, call: &Call<'_>) -> anyhow::Result<Bytes> {
        let request = self.signed(call)?;
        self.send(call, request).await
    }

    /// A call, ready to be sent.
    ///
    /// # Errors
    /// It makes no HTTP request.
    pub(super) fn signed(&mut self, call: &Call<'_>) -> anyhow::Result<Request<Full<Bytes>>> {
        self.signer
            .sign(call, &self.endpoint.authority, SystemTime::now())
    }

    /// Sends what [`signed`](Self::signed) made of this call.
    ///
    /// # Errors
    /// As for [`call`](Self::call).
    pub(super) async fn send(
        &mut self,
        call: &Call<'_>,
        request: Request<Full<Bytes>>,
    ) -> anyhow::Result<Bytes> {
        let sent = tokio::time::timeout(PATIENCE, self.exchange(request)).await;
        let place = || format!("{}{}", self.endpoint, call.path);
        let (status, body) = sent
            .with_context(|| format!("{} does not answer", place()))?
            .with_context(place)?;
        if status == StatusCode::OK {
            return Ok(body);
        }
        let operation = call.target.unwrap_or("POST");
        let text = String::from_utf8_lossy(&body);
        let told = format!("{operation} {} answered {status}: {text}", place());
        Err(match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => CallError::Denied(told).into(),
            _ => CallError::Refused(told).into(),
        })
    }

    async fn exchange(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> anyhow::Result<(StatusCode, Bytes)> {
        let response = self.ready().await?.send_request(request).await?;
        let status = response.status();
        Ok((status, response.into_body().collect().await?.to_bytes()))
    }

    /// The open connection, or a new one if there is none (any more).
    async fn ready(&mut self) -> anyhow::Result<&mut SendRequest<Full<Bytes>>> {
        let usable = match &mut self.sender {
            Some(sender) => sender.ready().await.is_ok(),
            None => false,
        };
        if !usable {
            self.sender = Some(self.endpoint.connect().await?);
        }
        Ok(self.sender.as_mut().expect("opened above"))
    }
}

impl Endpoint {
    async fn connect(&self) -> anyhow::Result<SendRequest<Full<Bytes>>> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await;
        let stream = stream.map_err(|error| CallError::Unreachable {
            endpoint: self.to_string(),
            reason: error.to_string(),
        })?;
        stream.set_nodelay(true)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // Ends by itself when the sender is dropped or the server closes; what went wrong, the caller is told.
        tokio::spawn(async move {
            let _ = connection.await;
        });
        sender.ready().await?;
        Ok(sender)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_plain_http_address() {
        let check = |text: &str, expect: Option<(&str, u16)>| {
            let endpoint = Endpoint::parse(text).ok();
            let found = endpoint
                .as_ref()
                .map(|endpoint| (endpoint.host.as_str(), endpoint.port));
            assert_eq!(found, expect, "{text}");
        };
        check("http://127.0.0.1:8080", Some(("127.0.0.1", 8080)));
        check("http://localhost/", Some(("localhost", 80)));
        check("http://[::1]:81", Some(("::1", 81)));
        check("https://localhost", None);
        check("http://localhost/path", None);
        check("localhost:8080", None);
        check("", None);
    }
}
