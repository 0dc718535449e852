//! The command line as a client: signed requests to a server's REST routes.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, anyhow, bail};
use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use reqwest::Method;
use serde_json::Value;

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
    http: reqwest::Client,
    endpoint: String,
    region: String,
    credentials: Credentials,
}

impl Client {
    /// A client with the operator's keys.
    ///
    /// # Errors
    /// If the secret can not be read.
    pub fn connect(args: &ConnectArgs) -> anyhow::Result<Self> {
        let endpoint = args.endpoint.trim_end_matches('/').to_owned();
        if !endpoint.starts_with("http://") {
            bail!(
                "--endpoint must start with http:// (put a TLS-ending proxy's plain side here): {endpoint}"
            );
        }
        let credentials = Credentials::new(&args.access_key, args.secret()?, None, None, "fanfare");
        let http = reqwest::Client::builder().timeout(PATIENCE).build()?;
        Ok(Self {
            http,
            endpoint,
            region: args.region.clone(),
            credentials,
        })
    }

    /// Where the server is.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
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
        let url = format!("{}{path_and_query}", self.endpoint);
        let body = body.unwrap_or_default();
        let headers = [("content-type", "application/json")];
        let identity = self.credentials.clone().into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name("execute-api")
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()?
            .into();
        let signable = SignableRequest::new(
            method.as_str(),
            &url,
            headers.into_iter(),
            SignableBody::Bytes(body.as_bytes()),
        )?;
        let (signed, _) = sign(signable, &params)?.into_parts();
        let mut request = self
            .http
            .request(method, &url)
            .header("content-type", "application/json")
            .body(body);
        for (name, value) in signed.headers() {
            request = request.header(name, value);
        }
        let response = request
            .send()
            .await
            .map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        let text = response.text().await?;
        let answer: Value = serde_json::from_str(&text)
            .map_err(|_| anyhow!("{status}: the answer is no JSON: {text}"))?;
        if answer["success"] == Value::Bool(true) {
            return Ok(answer);
        }
        Err(CallError::of(status.as_u16(), &answer).into())
    }

    fn unreachable(&self, error: &reqwest::Error) -> CallError {
        // The innermost cause is what people know: "Connection refused".
        let mut cause: &dyn std::error::Error = error;
        while let Some(source) = cause.source() {
            cause = source;
        }
        CallError::Unreachable {
            endpoint: self.endpoint.clone(),
            reason: cause.to_string(),
        }
    }
}

/// What is percent-encoded in a URL's parts: everything but RFC 3986's unreserved characters.
pub(super) const RESERVED: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

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
