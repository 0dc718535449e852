//! One keep-alive connection to a server, used by one worker at a time.

use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::SendRequest;
use hyper::{Request, StatusCode};

use super::sign::{Call, Keys, Signer};
use crate::cli::client::CallError;
use crate::cli::dial::Endpoint;

/// Longer than any long poll and any answer that is worth measuring.
const PATIENCE: Duration = Duration::from_secs(120);

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
            .sign(call, self.endpoint.authority(), SystemTime::now())
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
