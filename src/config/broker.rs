//! `[aws] broker_…`: which MQTT broker topics go through, and as whom.

use std::fmt;

use hyper::Uri;

use super::{Backend, Config, Problem, Room, Secret};

/// How a broker is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BrokerScheme {
    /// TCP.
    Mqtt,
    /// TCP in TLS.
    Mqtts,
    /// WebSocket.
    Ws,
    /// WebSocket in TLS.
    Wss,
}

impl BrokerScheme {
    /// Whether it is in TLS.
    pub const fn is_encrypted(self) -> bool {
        matches!(self, Self::Mqtts | Self::Wss)
    }

    /// Whether it is a WebSocket.
    pub const fn is_websocket(self) -> bool {
        matches!(self, Self::Ws | Self::Wss)
    }
}

/// Where a broker is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerUrl {
    /// How it is spoken to.
    pub scheme: BrokerScheme,
    /// Name or address.
    pub host: String,
    /// The scheme's own, if none is given.
    pub port: u16,
    /// As it was written.
    pub text: String,
}

impl fmt::Display for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What passes as a broker's URL.
pub(super) const ALLOWED: &str = "a URL that begins with mqtt://, mqtts://, ws:// or wss://, without user or query, and for a WebSocket with its path";

impl BrokerUrl {
    /// Reads a URL; `None` if it is none of a broker.
    pub fn parse(text: &str) -> Option<Self> {
        let uri: Uri = text.parse().ok()?;
        let (scheme, port) = match uri.scheme_str()? {
            "mqtt" => (BrokerScheme::Mqtt, 1883),
            "mqtts" => (BrokerScheme::Mqtts, 8883),
            "ws" => (BrokerScheme::Ws, 80),
            "wss" => (BrokerScheme::Wss, 443),
            _ => return None,
        };
        let has_path = !matches!(uri.path(), "" | "/");
        let is_plain = uri.query().is_none() && !uri.authority()?.as_str().contains('@');
        if !is_plain || has_path && !scheme.is_websocket() {
            return None;
        }
        Some(Self {
            scheme,
            host: uri.host().filter(|host| !host.is_empty())?.to_owned(),
            port: uri.port_u16().unwrap_or(port),
            text: text.to_owned(),
        })
    }
}

impl Config {
    /// Where the broker is, if there is one.
    pub fn broker_url(&self) -> Option<BrokerUrl> {
        BrokerUrl::parse(self.aws.broker_url.as_deref()?)
    }

    /// The broker's user name and password, if it wants them.
    ///
    /// # Errors
    /// [`Problem`] if only half of them is there, or the password's file can not be read.
    pub fn broker_login(&self) -> Result<Option<(String, Secret)>, Problem> {
        let aws = &self.aws;
        let password = match (&aws.broker_password, &aws.broker_password_file) {
            (Some(_), Some(_)) => {
                let text = "aws.broker_password and aws.broker_password_file are both set, set one";
                return Err(Problem(text.to_owned()));
            }
            (Some(password), None) => Some(password.clone()),
            (None, Some(file)) => Some(Secret::read("aws.broker_password_file", file)?),
            (None, None) => None,
        };
        match (&aws.broker_username, password) {
            (Some(user), Some(password)) => Ok(Some((user.clone(), password))),
            (None, None) => Ok(None),
            (Some(_), None) => Err(Problem(
                "aws.broker_username is set without aws.broker_password".to_owned(),
            )),
            (None, Some(_)) => Err(Problem(
                "aws.broker_password is set without aws.broker_username".to_owned(),
            )),
        }
    }

    /// Whether topics can be had on the `aws` backend with the other settings.
    pub(super) fn check_broker(&self) -> Result<(), Problem> {
        debug_assert_eq!(self.backend, Backend::Aws);
        if !self.mqtt.enabled {
            return Ok(());
        }
        let refuse = |text: &str| Err(Problem(text.to_owned()));
        let Some(url) = self.broker_url() else {
            return refuse(
                "backend = \"aws\" with mqtt.enabled needs aws.broker_url, the broker that topics go through",
            );
        };
        // Rooms that nobody asked for are none there.
        if !self.rooms.is_empty() && self.rooms != Room::defaults() {
            return refuse(
                "backend = \"aws\": [[rooms]] need one owner for each room, which several nodes do not have: take them out",
            );
        }
        let login = self.broker_login()?;
        if self.aws.broker_presign && (!url.scheme.is_websocket() || login.is_some()) {
            return refuse(
                "aws.broker_presign signs the URL of a WebSocket (ws:// or wss://), without user name and password",
            );
        }
        if self.mqtt.lifecycle_events && url.host.ends_with(".amazonaws.com") {
            return refuse(
                "mqtt.lifecycle_events must be false with AWS IoT Core, which lets nobody else publish to $aws/events",
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(feature = "aws")]
    use crate::config::aws::tests::check;

    #[test]
    fn a_url_names_scheme_host_and_port() {
        let check = |text: &str, expect: Option<(BrokerScheme, &str, u16)>| {
            let url = BrokerUrl::parse(text);
            let found = url.as_ref().map(|url| (url.scheme, &*url.host, url.port));
            assert_eq!(found, expect, "{text}");
        };
        check("mqtt://h", Some((BrokerScheme::Mqtt, "h", 1883)));
        check("mqtts://h:1", Some((BrokerScheme::Mqtts, "h", 1)));
        check("ws://h/mqtt", Some((BrokerScheme::Ws, "h", 80)));
        check("wss://h/mqtt", Some((BrokerScheme::Wss, "h", 443)));
        for wrong in [
            "h:1883",
            "http://h",
            "mqtt://",
            "mqtt://u:p@h",
            "mqtt://h/path",
            "ws://h/mqtt?a=b",
            "",
        ] {
            check(wrong, None);
        }
    }

    #[test]
    #[cfg(feature = "aws")]
    fn topics_on_aws_need_a_broker_and_no_rooms() {
        check(|_| {}, "");
        check(|config| config.aws.broker_url = None, "aws.broker_url");
        check(
            |config| {
                config.aws.broker_url = None;
                config.mqtt.enabled = false;
            },
            "",
        );
        let room = serde_json::from_value(serde_json::json!({"filter": "a/+"})).unwrap();
        check(|config| config.rooms = vec![room], "[[rooms]]");
        check(
            |config| config.aws.broker_username = Some("u".into()),
            "without aws.broker_password",
        );
        check(
            |config| config.aws.broker_password = Some(Secret::new("p")),
            "without aws.broker_username",
        );
        check(
            |config| {
                config.aws.broker_username = Some("u".into());
                config.aws.broker_password = Some(Secret::new("p"));
                config.aws.broker_password_file = Some("/nowhere".into());
            },
            "both set",
        );
        check(|config| config.aws.broker_presign = true, "WebSocket");
        let iot = "wss://abc-ats.iot.eu-west-1.amazonaws.com/mqtt";
        check(
            |config| config.aws.broker_url = Some(iot.into()),
            "mqtt.lifecycle_events",
        );
        check(
            |config| {
                config.aws.broker_url = Some(iot.into());
                config.aws.broker_presign = true;
                config.mqtt.lifecycle_events = false;
            },
            "",
        );
    }
}
