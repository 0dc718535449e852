//! The command line as a client: signed requests to a server's REST routes.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, anyhow};
use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Method, Request, StatusCode};
use serde_json::Value;

use super::dial::{Address, Endpoint};
use super::trust::TrustArgs;
use crate::auth::RESERVED;
use crate::config::DEVELOPMENT_KEYS;

/// Where the server is, and the operator's keys.
#[derive(Debug, Clone, clap::Args)]
pub struct ConnectArgs {
    /// The server's address
    #[arg(
        long,
        env = "FANFARE_ENDPOINT",
        default_value = "http://127.0.0.1:8080",
        global = true
    )]
    pub endpoint: String,

    /// The operator's access key; the default is the development pair's
    #[arg(
        long,
        env = "FANFARE_OPERATOR_ACCESS_KEY",
        default_value = DEVELOPMENT_KEYS.0,
        global = true
    )]
    pub access_key: String,

    /// Read the operator's secret key from this file instead of FANFARE_OPERATOR_SECRET_KEY
    ///
    /// There is no flag for the secret itself: other users of this machine can see a command's arguments.
    #[arg(long, value_name = "PATH", global = true)]
    pub secret_key_file: Option<PathBuf>,

    /// The region that requests are signed for
    #[arg(
        long,
        env = "FANFARE_REGION",
        default_value = "us-east-1",
        global = true
    )]
    pub region: String,

    #[command(flatten)]
    pub(super) trust: TrustArgs,
}

/// The variable that holds the operator's secret when no file does.
const SECRET_VARIABLE: &str = "FANFARE_OPERATOR_SECRET_KEY";

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

impl ConnectArgs {
    /// The operator's secret key.
    ///
    /// # Errors
    /// The file that holds it can not be read.
    pub(super) fn secret(&self) -> anyhow::Result<String> {
        match &self.secret_key_file {
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .with_context(|| format!("reading {}", path.display()))?;
                Ok(text.trim_end().to_owned())
            }
            None => Ok(
                std::env::var(SECRET_VARIABLE).unwrap_or_else(|_| DEVELOPMENT_KEYS.1.to_owned())
            ),
        }
    }
}

/// Why a call did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Nobody answers there.
    #[error(
        "no answer from {endpoint}: {reason}; is it running? (`fanfare serve`, or another --endpoint)"
    )]
    Unreachable {
        /// Where.
        endpoint: String,
        /// What the network said.
        reason: String,
    },
    /// The server does not accept the keys, or not for this.
    #[error("{0}")]
    Denied(String),
    /// The server says no.
    #[error("{0}")]
    Refused(String),
}

impl CallError {
    /// What an answer without success says.
    fn of(status: u16, answer: &Value) -> Self {
        let message = answer["message"].as_str().unwrap_or("no reason given");
        let text = match answer["code"].as_str() {
            Some(code) => format!("{message} ({code}, {status})"),
            None => message.to_owned(),
        };
        match status {
            401 | 403 => Self::Denied(text),
            _ => Self::Refused(text),
        }
    }
}

/// A client of one server.
pub struct Client {
    endpoint: Endpoint,
    region: String,
    credentials: Credentials,
}

impl Client {
    /// A client with the operator's keys.
    ///
    /// # Errors
    /// The endpoint is none, or the secret or the trusted certificates can not be read.
    pub fn connect(args: &ConnectArgs) -> anyhow::Result<Self> {
        let address = Address::parse(&args.endpoint).context("--endpoint")?;
        let credentials = Credentials::new(&args.access_key, args.secret()?, None, None, "fanfare");
        Ok(Self {
            endpoint: Endpoint::new(address, &args.trust)?,
            region: args.region.clone(),
            credentials,
        })
    }

    /// Asks a REST route; an answer with `success: false`, or an error, is an error with the server's text.
    ///
    /// # Errors
    /// What the server said, or that it was not reached.
    pub async fn call(
        &self,
        method: Method,
        path_and_query: &str,
        body: Option<String>,
    ) -> anyhow::Result<Value> {
        let body = body.unwrap_or_default();
        let headers = [
            ("content-type", "application/json"),
            ("host", self.endpoint.authority()),
        ];
        let signed = self.sign(&method, path_and_query, headers, body.as_bytes())?;
        let mut request = Request::builder().method(method).uri(path_and_query);
        let signed = signed
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        for (name, value) in headers.into_iter().chain(signed) {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(Bytes::from(body)))?;
        let answered = tokio::time::timeout(PATIENCE, self.exchange(request)).await;
        let (status, text) = answered.map_err(|_| self.unreachable("it takes too long"))??;
        let answer: Value = serde_json::from_slice(&text).map_err(|_| {
            let text = String::from_utf8_lossy(&text);
            anyhow!("{status}: the answer is no JSON: {text}")
        })?;
        if answer["success"] == Value::Bool(true) {
            return Ok(answer);
        }
        Err(CallError::of(status.as_u16(), &answer).into())
    }

    /// The headers that prove who asks.
    fn sign(
        &self,
        method: &Method,
        path_and_query: &str,
        headers: [(&str, &str); 2],
        body: &[u8],
    ) -> anyhow::Result<Vec<(String, String)>> {
        let url = format!("{}{path_and_query}", self.endpoint);
        let identity = self.credentials.clone().into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name("execute-api")
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()?
            .into();
        let headers = headers.into_iter();
        let body = SignableBody::Bytes(body);
        let signable = SignableRequest::new(method.as_str(), &url, headers, body)?;
        let (signed, _) = sign(signable, &params)?.into_parts();
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        Ok(signed.headers().map(owned).collect())
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> anyhow::Result<(StatusCode, Bytes)> {
        let mut sender = self.endpoint.connect().await?;
        let response = sender.send_request(request).await;
        let response = response.map_err(|error| self.unreachable(&error.to_string()))?;
        let status = response.status();
        let body = response.into_body().collect().await;
        let body = body.map_err(|error| self.unreachable(&error.to_string()))?;
        Ok((status, body.to_bytes()))
    }

    fn unreachable(&self, reason: &str) -> CallError {
        CallError::Unreachable {
            endpoint: self.endpoint.to_string(),
            reason: reason.to_owned(),
        }
    }
}

/// A path of segments, each percent-encoded.
pub fn path(segments: &[&str]) -> String {
    segments
        .iter()
        .map(|segment| {
            format!(
                "/{}",
                percent_encoding::utf8_percent_encode(segment, RESERVED)
            )
        })
        .collect()
}

/// Runs a client's future to its end.
///
/// # Errors
/// The future's, or that there is no event loop.
pub fn run<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(future)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_say_why_and_tell_keys_from_the_rest() {
        let answer = serde_json::json!({"success": false, "message": "no", "code": "AccessDenied"});
        let denied = CallError::of(403, &answer);
        assert!(matches!(&denied, CallError::Denied(text) if text == "no (AccessDenied, 403)"));
        let refused = CallError::of(400, &serde_json::json!({"message": "bad"}));
        assert!(matches!(&refused, CallError::Refused(text) if text == "bad"));
    }

    #[test]
    fn segments_are_encoded() {
        assert_eq!(path(&["create", "1", "a b/é"]), "/create/1/a%20b%2F%C3%A9");
    }
}
