//! `fanfare mqtt pub|sub`: topics from a terminal, over MQTT 5.

use std::io::{self, Read as _, Write as _};
use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::{Context as _, anyhow, bail};
use aws_credential_types::Credentials;
use base64::Engine as _;
use bytes::Bytes;
use clap::Subcommand;
use hyper::Uri;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnectReturnCode, Filter, Packet, PubAckReason, PubRecReason, Publish, SubscribeReasonCode,
};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions, StateError};
use rumqttc::{Outgoing, TlsConfiguration, Transport};
use serde::Deserialize;

use super::client::{CallError, ConnectArgs, run as block_on};
use super::shown;
use crate::auth::presign;

/// Publish and subscribe over MQTT 5.
///
/// Connects to the server's WebSocket with a URL signed by the operator's keys, as browsers do with their temporary
/// ones; --session-file takes a session's keys instead, to see what a client may do. --broker names any other MQTT
/// address, with a user name or without.
///
/// Examples:
///   fanfare mqtt sub 'chat/#'                          follow; Ctrl-C ends
///   fanfare mqtt pub chat/lobby '{"text":"hello"}'
///   fanfare mqtt pub chat/lobby '{"a":1}' --qos 1 --retain
///   echo data | fanfare mqtt pub sensor/7 -
///   fanfare mqtt sub chat/lobby --count 1 --json --broker mqtt://127.0.0.1:1883
///   fanfare mqtt sub chat/lobby --endpoint https://localhost:8443 --cacert data/dev-tls/cert.pem
///
/// A filter may have + for one level and # for all that follow, and $share/GROUP/FILTER shares it.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct MqttArgs {
    #[command(subcommand)]
    action: Action,

    #[command(flatten)]
    way_in: WayIn,

    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Publish one message
    ///
    /// With QoS 1 or 2 it ends when the server has taken the message over. With QoS 0 it ends when the message is
    /// sent: a refusal is not seen.
    Pub {
        /// Topic, without wildcards
        topic: String,
        /// The message; - reads standard input to its end
        message: String,
        /// 0: at most once, 1: at least once, 2: exactly once
        #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=2))]
        qos: u8,
        /// The topic keeps it for those who subscribe later; an empty message removes it
        #[arg(long)]
        retain: bool,
    },
    /// Print messages as they come
    ///
    /// One line each: the topic, a space, the message. Bytes that are no text are shown in base64.
    Sub {
        /// Topic filters
        #[arg(required = true)]
        filters: Vec<String>,
        /// The best quality that is asked for
        #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=2))]
        qos: u8,
        /// End after so many messages
        #[arg(long, value_name = "N")]
        count: Option<u64>,
        /// Print one JSON object per message: `topic`, `payload` (or `payloadBase64`), `qos`, `retain`
        #[arg(long)]
        json: bool,
    },
}

/// How the broker is reached, and as whom.
#[derive(Debug, clap::Args)]
struct WayIn {
    /// This address instead of --endpoint's: mqtt://, mqtts://, ws:// or wss://, with a port and for WebSocket a path
    #[arg(long, global = true, env = "FANFARE_MQTT_URL", value_name = "URL")]
    broker: Option<String>,

    /// User name for --broker; the password comes from FANFARE_MQTT_PASSWORD
    #[arg(long, global = true, value_name = "NAME")]
    username: Option<String>,

    /// Sign with a session's keys: a file that `fanfare session create --json` wrote
    #[arg(long, global = true, value_name = "PATH", conflicts_with = "username")]
    session_file: Option<PathBuf>,

    /// Client id; a fresh one by default
    #[arg(long, global = true, value_name = "ID")]
    client_id: Option<String>,
}

/// Where the password is, so that other users of the machine do not see it.
const PASSWORD_VARIABLE: &str = "FANFARE_MQTT_PASSWORD";

/// The longest packet that is taken or sent: above any limit a server is likely to have.
const PACKET_BYTES: u32 = 8 << 20;

/// Requests that wait for the connection; there are two at most.
const REQUESTS: usize = 4;

/// Runs `fanfare mqtt`.
///
/// # Errors
/// The server is not reached, does not accept the keys, or refuses the topic.
pub fn run(args: MqttArgs) -> anyhow::Result<()> {
    let broker = args.way_in.broker(&args.connect)?;
    block_on(async {
        let (client, events) = AsyncClient::new(broker.options, REQUESTS);
        let link = Link {
            client,
            events,
            url: broker.url,
        };
        match args.action {
            Action::Pub {
                topic,
                message,
                qos,
                retain,
            } => {
                let message = match message.as_str() {
                    "-" => {
                        let mut bytes = Vec::new();
                        io::stdin()
                            .read_to_end(&mut bytes)
                            .context("reading standard input")?;
                        bytes
                    }
                    _ => message.into_bytes(),
                };
                link.publish(&topic, message, quality(qos), retain).await
            }
            Action::Sub {
                filters,
                qos,
                count,
                json,
            } => link.subscribe(&filters, quality(qos), count, json).await,
        }
    })
}

fn quality(qos: u8) -> QoS {
    match qos {
        0 => QoS::AtMostOnce,
        1 => QoS::AtLeastOnce,
        _ => QoS::ExactlyOnce,
    }
}

/// A broker's address as people know it, and how to connect.
struct Broker {
    /// Without the signature.
    url: String,
    options: MqttOptions,
}

/// The part of a session's description that opens a link.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Session {
    access_key: String,
    secret_key: String,
    session_token: String,
}

#[derive(Deserialize)]
struct Description {
    session: Option<Session>,
}

impl WayIn {
    fn broker(&self, connect: &ConnectArgs) -> anyhow::Result<Broker> {
        let url = match &self.broker {
            Some(url) => url.clone(),
            None => websocket_of(&connect.endpoint)?,
        };
        let uri: Uri = url
            .parse()
            .with_context(|| format!("--broker {url} is no URL"))?;
        let host = uri
            .host()
            .with_context(|| format!("--broker {url} names no host"))?;
        let port = |usual| uri.port_u16().unwrap_or(usual);
        let (address, port, transport) = match uri.scheme_str() {
            Some("mqtt") => (host.to_owned(), port(1883), Transport::tcp()),
            Some("mqtts") => (
                host.to_owned(),
                port(8883),
                Transport::tls_with_config(tls(connect)?),
            ),
            Some("ws") => (self.signed(&url, connect)?, port(80), Transport::ws()),
            Some("wss") => (
                self.signed(&url, connect)?,
                port(443),
                Transport::wss_with_config(tls(connect)?),
            ),
            _ => bail!("--broker must start with mqtt://, mqtts://, ws:// or wss://: {url}"),
        };
        let id = self.client_id.clone().unwrap_or_else(|| {
            let fresh = uuid::Uuid::new_v4().simple().to_string();
            format!("fanfare-cli-{}", &fresh[..8])
        });
        let mut options = MqttOptions::new(id, address, port);
        options.set_transport(transport);
        options.set_max_packet_size(Some(PACKET_BYTES));
        if let Some(user) = &self.username {
            let password = std::env::var(PASSWORD_VARIABLE).unwrap_or_default();
            options.set_credentials(user, password);
        }
        Ok(Broker { url, options })
    }

    /// A WebSocket's URL, signed unless there is another way in.
    fn signed(&self, url: &str, connect: &ConnectArgs) -> anyhow::Result<String> {
        let keys = match &self.session_file {
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .with_context(|| format!("reading {}", path.display()))?;
                let description: Description =
                    serde_json::from_str(&text).context("this is no session's description")?;
                let session = description.session.context("no such session")?;
                let token = Some(session.session_token);
                Credentials::new(
                    session.access_key,
                    session.secret_key,
                    token,
                    None,
                    "fanfare",
                )
            }
            // Somebody else's broker, or a name and a password: nothing to sign with, and nothing to give away.
            None if self.broker.is_some() || self.username.is_some() => return Ok(url.to_owned()),
            None => Credentials::new(
                &connect.access_key,
                connect.secret()?,
                None,
                None,
                "fanfare",
            ),
        };
        Ok(presign(url, &keys, &connect.region, SystemTime::now())?)
    }
}

fn tls(connect: &ConnectArgs) -> anyhow::Result<TlsConfiguration> {
    Ok(TlsConfiguration::Rustls(connect.trust.config()?))
}

/// Where the MQTT WebSocket of an HTTP endpoint is.
fn websocket_of(endpoint: &str) -> anyhow::Result<String> {
    let endpoint = endpoint.trim_end_matches('/');
    for (http, websocket) in [("http://", "ws://"), ("https://", "wss://")] {
        if let Some(rest) = endpoint.strip_prefix(http) {
            return Ok(format!("{websocket}{rest}/mqtt"));
        }
    }
    bail!("--endpoint must start with http:// or https://: {endpoint}")
}

/// A connection that is opened by its first use. It is not opened twice: whatever ends it ends the command.
struct Link {
    client: AsyncClient,
    events: EventLoop,
    url: String,
}

impl Link {
    async fn next(&mut self) -> anyhow::Result<Event> {
        let event = self.events.poll().await;
        event.map_err(|error| explain(&error, &self.url).into())
    }

    async fn publish(
        mut self,
        topic: &str,
        message: Vec<u8>,
        qos: QoS,
        retain: bool,
    ) -> anyhow::Result<()> {
        let published = self.client.publish(topic, qos, retain, message).await;
        // It fails for a topic that can not be one, and for nothing else here.
        published.map_err(|_| anyhow!("{topic:?} is no topic to publish to"))?;
        loop {
            match (self.next().await?, qos) {
                (Event::Outgoing(Outgoing::Publish(_)), QoS::AtMostOnce) => break,
                (Event::Incoming(Packet::PubAck(answer)), _) => match answer.reason {
                    PubAckReason::Success | PubAckReason::NoMatchingSubscribers => break,
                    PubAckReason::NotAuthorized => {
                        return Err(CallError::Denied(format!("may not publish to {topic}")).into());
                    }
                    reason => return Err(refused("publish to", topic, reason)),
                },
                (Event::Incoming(Packet::PubRec(answer)), _) => match answer.reason {
                    PubRecReason::Success | PubRecReason::NoMatchingSubscribers => {}
                    PubRecReason::NotAuthorized => {
                        return Err(CallError::Denied(format!("may not publish to {topic}")).into());
                    }
                    reason => return Err(refused("publish to", topic, reason)),
                },
                (Event::Incoming(Packet::PubComp(_)), _) => break,
                _ => {}
            }
        }
        self.leave().await
    }

    async fn subscribe(
        mut self,
        filters: &[String],
        qos: QoS,
        count: Option<u64>,
        json: bool,
    ) -> anyhow::Result<()> {
        let wanted = filters.iter().map(|filter| Filter::new(filter, qos));
        let subscribed = self.client.subscribe_many(wanted).await;
        subscribed
            .map_err(|_| anyhow!("no topic filter, or not all of them: {}", filters.join(" ")))?;
        let mut left = count.unwrap_or(u64::MAX);
        while left > 0 {
            match self.next().await? {
                Event::Incoming(Packet::SubAck(answer)) => {
                    for (filter, code) in filters.iter().zip(answer.return_codes) {
                        match code {
                            SubscribeReasonCode::Success(_) => {}
                            SubscribeReasonCode::NotAuthorized => {
                                let told = format!("may not subscribe to {filter}");
                                return Err(CallError::Denied(told).into());
                            }
                            code => return Err(refused("subscribe to", filter, code)),
                        }
                    }
                    if !json {
                        eprintln!("subscribed to {}; Ctrl-C ends", filters.join(" "));
                    }
                }
                Event::Incoming(Packet::Publish(message)) => {
                    print(&message, json)?;
                    left -= 1;
                }
                _ => {}
            }
        }
        self.leave().await
    }

    /// Says goodbye, so that no will is published.
    async fn leave(mut self) -> anyhow::Result<()> {
        self.client.disconnect().await?;
        while self.next().await? != Event::Outgoing(Outgoing::Disconnect) {}
        Ok(())
    }
}

fn refused(what: &str, topic: &str, reason: impl std::fmt::Debug) -> anyhow::Error {
    CallError::Refused(format!("can not {what} {topic}: {reason:?}")).into()
}

fn print(message: &Publish, json: bool) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", line(message, json))?;
    out.flush()?;
    Ok(())
}

/// A message on one line.
fn line(message: &Publish, json: bool) -> String {
    let topic = String::from_utf8_lossy(&message.topic);
    let base64 = |bytes: &Bytes| base64::engine::general_purpose::STANDARD.encode(bytes);
    let text = std::str::from_utf8(&message.payload);
    if !json {
        let text = text.map_or_else(|_| base64(&message.payload), str::to_owned);
        return shown::line(&format!("{topic} {text}"));
    }
    let (name, payload) = match text {
        Ok(text) => ("payload", text.to_owned()),
        Err(_) => ("payloadBase64", base64(&message.payload)),
    };
    let qos = message.qos as u8;
    shown::line(
        &serde_json::json!({ "topic": topic, name: payload, "qos": qos, "retain": message.retain })
            .to_string(),
    )
}

/// A client's error as the other commands tell theirs.
fn explain(error: &ConnectionError, url: &str) -> CallError {
    use ConnectReturnCode::{BadUserNamePassword, Banned, NotAuthorized};
    let unreachable = |reason: String| CallError::Unreachable {
        endpoint: url.to_owned(),
        reason,
    };
    match error {
        ConnectionError::Io(error) => unreachable(error.to_string()),
        ConnectionError::Tls(error) => unreachable(error.to_string()),
        ConnectionError::Timeout(_) => unreachable("it takes too long".to_owned()),
        ConnectionError::ConnectionRefused(
            code @ (Banned | BadUserNamePassword | NotAuthorized),
        ) => CallError::Denied(format!("{url} does not let this client in: {code:?}")),
        ConnectionError::Websocket(error) => match error.to_string() {
            text if text.contains("403") || text.contains("401") => {
                CallError::Denied(format!("{url} does not accept the keys ({text})"))
            }
            // Its own type of error is not to be had here.
            text => match text.strip_prefix("IO error: ") {
                Some(reason) => unreachable(reason.to_owned()),
                None => CallError::Refused(format!("{url}: {text}")),
            },
        },
        ConnectionError::MqttState(StateError::ServerDisconnect {
            reason_code,
            reason_string,
        }) => {
            let why = reason_string.as_deref().unwrap_or("no reason given");
            let told = format!("{url} ended the connection: {reason_code:?}, {why}");
            match format!("{reason_code:?}").as_str() {
                "NotAuthorized" => CallError::Denied(told),
                _ => CallError::Refused(told),
            }
        }
        error => CallError::Refused(format!("{url}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        args: MqttArgs,
    }

    fn parse(words: &[&str]) -> MqttArgs {
        let words = ["mqtt"].into_iter().chain(words.iter().copied());
        Program::try_parse_from(words).expect("well-formed").args
    }

    fn broker(words: &[&str]) -> anyhow::Result<(String, (String, u16))> {
        let args = parse(&[&["sub", "t"], words].concat());
        let broker = args.way_in.broker(&args.connect)?;
        Ok((broker.url, broker.options.broker_address()))
    }

    #[test]
    fn the_server_s_websocket_is_signed_and_no_other_broker_is() {
        let (url, (address, _)) = broker(&["--endpoint", "http://h:81/"]).unwrap();
        assert_eq!(url, "ws://h:81/mqtt");
        assert!(
            address.starts_with("ws://h:81/mqtt?X-Amz-Algorithm="),
            "{address}"
        );

        let (url, (address, port)) = broker(&["--broker", "ws://h:82/mqtt"]).unwrap();
        assert_eq!(
            (url.as_str(), address.as_str(), port),
            ("ws://h:82/mqtt", "ws://h:82/mqtt", 82)
        );
        let (_, address) = broker(&["--broker", "mqtt://h"]).unwrap();
        assert_eq!(address, ("h".to_owned(), 1883));
        let (_, address) = broker(&["--broker", "mqtts://h"]).unwrap();
        assert_eq!(address, ("h".to_owned(), 8883));
        let (_, (address, _)) = broker(&["--username", "u", "--endpoint", "http://h:81"]).unwrap();
        assert_eq!(address, "ws://h:81/mqtt");
        for wrong in ["http://h", "h:1883", ""] {
            assert!(broker(&["--broker", wrong]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_session_signs_with_its_own_keys() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let session =
            r#"{"session":{"accessKey":"ASIASESSION","secretKey":"s","sessionToken":"tok"}}"#;
        std::fs::write(file.path(), session).unwrap();
        let (_, (address, _)) = broker(&["--session-file", file.path().to_str().unwrap()]).unwrap();
        assert!(address.contains("ASIASESSION%2F"), "{address}");
        assert!(address.contains("X-Amz-Security-Token=tok"), "{address}");
    }

    #[test]
    fn a_message_is_one_line() {
        let check = |payload: &'static [u8], text: &str, json: serde_json::Value| {
            let mut message = Publish::new("a/b", QoS::AtLeastOnce, payload, None);
            message.retain = true;
            message.topic = Bytes::from_static(b"a/b");
            assert_eq!(line(&message, false), text);
            let found: serde_json::Value = serde_json::from_str(&line(&message, true)).unwrap();
            assert_eq!(found, json);
        };
        let json =
            serde_json::json!({"topic": "a/b", "payload": "x\n\u{1b}y", "qos": 1, "retain": true});
        check(b"x\n\x1by", r"a/b x \u001by", json);
        let json =
            serde_json::json!({"topic": "a/b", "payloadBase64": "/w==", "qos": 1, "retain": true});
        check(b"\xff", "a/b /w==", json);
    }

    #[test]
    fn errors_have_their_exit_codes() {
        let check = |error: ConnectionError, expect: u8| {
            let error = explain(&error, "mqtt://h").into();
            assert_eq!(super::super::exit::code(&error), expect, "{error}");
        };
        check(
            ConnectionError::Io(io::ErrorKind::ConnectionRefused.into()),
            69,
        );
        check(
            ConnectionError::ConnectionRefused(ConnectReturnCode::NotAuthorized),
            77,
        );
        check(
            ConnectionError::ConnectionRefused(ConnectReturnCode::ServerBusy),
            1,
        );
    }
}
