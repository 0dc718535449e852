//! `fanfare tail`: what a session's client sees, decrypted, as it comes.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use aws_sdk_sqs::config::http::HttpResponse;
use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region, SharedHttpClient};
use aws_sdk_sqs::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use hyper::Method;
use serde::Deserialize;

use super::client::{CallError, Client, ConnectArgs, path, run as block_on};
use super::shown;
use crate::envelope::{AesKey, Envelope, SessionCipher};

/// Follow a session's messages, decrypted, live.
///
/// Polls the session's queue as its client would, with the session's own temporary keys, and deletes what it has
/// printed: do not run it beside the real client. The session comes from the server (which needs the
/// operator's keys once) or from a file that `fanfare session create --json` wrote (which needs none).
///
/// Examples:
///   fanfare tail 1 alice
///   fanfare tail --session-file alice.json
///   fanfare session create 1 alice --json | fanfare tail --session-file -
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct TailArgs {
    /// Account, an integer
    #[arg(
        requires = "session",
        required_unless_present = "session_file",
        allow_negative_numbers = true
    )]
    account: Option<i64>,

    /// Session id
    session: Option<String>,

    /// Read the session's description from this file; - is standard input
    #[arg(long, value_name = "PATH", conflicts_with = "account")]
    session_file: Option<PathBuf>,

    /// End after so many messages
    #[arg(long, value_name = "N")]
    count: Option<u64>,

    /// Leave the messages in the queue; they come again after its visibility time-out
    #[arg(long)]
    keep: bool,

    #[command(flatten)]
    connect: ConnectArgs,

    /// Print one JSON object per message: `envelope` and `message`
    #[arg(long)]
    json: bool,
}

/// The part of a session's description that its client needs.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Description {
    session_id: String,
    sqs_url: String,
    access_key: String,
    secret_key: String,
    session_token: String,
    aes_key: String,
    envelope: String,
    region: String,
}

#[derive(Deserialize)]
struct Answer {
    session: Option<Description>,
}

/// Runs `fanfare tail` until it is interrupted.
///
/// # Errors
/// No such session, keys that have ended, an envelope that can not be opened, a server that is not reached.
pub fn run(args: TailArgs) -> anyhow::Result<()> {
    block_on(async {
        let session = args.find_session().await?;
        let cipher = session.cipher()?;
        let sqs = session.sqs(&args.connect)?;
        if !args.json {
            eprintln!("following session {}; Ctrl-C ends", session.session_id);
        }
        let mut left = args.count.unwrap_or(u64::MAX);
        while left > 0 {
            left -= args.poll(&sqs, &session, &cipher, left).await?;
        }
        Ok(())
    })
}

impl TailArgs {
    async fn find_session(&self) -> anyhow::Result<Description> {
        let text = match (&self.session_file, self.account, &self.session) {
            (Some(file), ..) if file.as_os_str() == "-" => {
                io::read_to_string(io::stdin()).context("reading standard input")?
            }
            (Some(file), ..) => std::fs::read_to_string(file)
                .with_context(|| format!("reading {}", file.display()))?,
            (None, Some(account), Some(session)) => {
                let client = Client::connect(&self.connect)?;
                let path = path(&["status", &account.to_string(), session]);
                client.call(Method::GET, &path, None).await?.to_string()
            }
            _ => bail!("name a session: ACCOUNT SESSION, or --session-file"),
        };
        let answer: Answer =
            serde_json::from_str(&text).context("this is no session's description")?;
        answer.session.context("no such session")
    }

    /// One long poll; gives how many messages it printed.
    async fn poll(
        &self,
        sqs: &aws_sdk_sqs::Client,
        session: &Description,
        cipher: &SessionCipher,
        most: u64,
    ) -> anyhow::Result<u64> {
        let request = sqs
            .receive_message()
            .queue_url(&session.sqs_url)
            .max_number_of_messages(i32::try_from(most.min(10)).unwrap_or(10))
            .wait_time_seconds(20);
        let received = request.send().await.map_err(|error| self.explain(&error))?;
        let mut printed = 0;
        for message in received.messages() {
            self.print(cipher, message.body().unwrap_or_default())?;
            if !self.keep {
                let handle = message.receipt_handle().unwrap_or_default();
                let delete = sqs.delete_message().queue_url(&session.sqs_url);
                let deleted = delete.receipt_handle(handle).send().await;
                deleted.map_err(|error| self.explain(&error))?;
            }
            printed += 1;
        }
        Ok(printed)
    }

    /// An SDK's error as the other commands tell theirs.
    fn explain<E>(&self, error: &SdkError<E, HttpResponse>) -> CallError
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let Some(service) = error.as_service_error() else {
            return CallError::Unreachable {
                endpoint: self.connect.endpoint.clone(),
                reason: DisplayErrorContext(error).to_string(),
            };
        };
        let code = service.code().unwrap_or_default();
        let text = format!("{} ({code})", service.message().unwrap_or_default());
        if ["Token", "Signature", "AccessDenied"]
            .iter()
            .any(|part| code.contains(part))
        {
            return CallError::Denied(format!(
                "{text}: if the keys have ended, `fanfare session renew` gives new ones"
            ));
        }
        CallError::Refused(text)
    }

    fn print(&self, cipher: &SessionCipher, envelope: &str) -> anyhow::Result<()> {
        let message = cipher
            .open(envelope)
            .with_context(|| format!("opening {envelope}"))?;
        let text = String::from_utf8_lossy(&message);
        let parsed = serde_json::from_str::<serde_json::Value>(&text);
        let mut out = io::stdout().lock();
        let line = match (parsed, self.json) {
            (Ok(message), true) => {
                serde_json::json!({ "envelope": envelope, "message": message }).to_string()
            }
            _ => text.into_owned(),
        };
        writeln!(out, "{}", shown::line(&line))?;
        out.flush()?;
        Ok(())
    }
}

impl Description {
    fn cipher(&self) -> anyhow::Result<SessionCipher> {
        let key = AesKey::from_base64(&self.aes_key).context("the session's AES key")?;
        let format = match self.envelope.as_str() {
            "gcm" => Envelope::V2 {
                session_id: self.session_id.clone(),
            },
            _ => Envelope::V1,
        };
        Ok(SessionCipher::new(&key, format))
    }

    fn sqs(&self, connect: &ConnectArgs) -> anyhow::Result<aws_sdk_sqs::Client> {
        let (key, secret) = (self.access_key.clone(), self.secret_key.clone());
        let credentials = Credentials::new(
            key,
            secret,
            Some(self.session_token.clone()),
            None,
            "fanfare",
        );
        // A poll waits 20 s by itself; what takes much longer is lost.
        let patience = aws_sdk_sqs::config::timeout::TimeoutConfig::builder()
            .read_timeout(Duration::from_secs(30))
            .build();
        let config = aws_sdk_sqs::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(self.region.clone()))
            .endpoint_url(&connect.endpoint)
            .credentials_provider(credentials)
            .timeout_config(patience)
            .http_client(http_client(connect)?)
            .build();
        Ok(aws_sdk_sqs::Client::from_conf(config))
    }
}

/// What the SDK sends by: in TLS where the endpoint says so.
fn http_client(connect: &ConnectArgs) -> anyhow::Result<SharedHttpClient> {
    let builder = aws_smithy_http_client::Builder::new();
    if !connect.endpoint.starts_with("https://") {
        return Ok(builder.build_http());
    }
    // Says what is wrong with the file, if anything is.
    connect.trust.config()?;
    let trusted = match &connect.trust.cacert {
        Some(path) => TrustStore::empty().with_pem_certificate(std::fs::read(path)?),
        None => TrustStore::default(),
    };
    let context = TlsContext::builder().with_trust_store(trusted).build()?;
    let secure = builder.tls_provider(Provider::Rustls(CryptoMode::AwsLc));
    Ok(secure.tls_context(context).build_https())
}
