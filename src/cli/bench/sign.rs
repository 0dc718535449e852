//! Signing as a client, cheap enough that the load generator measures the server and not itself: the key of the
//! day is derived once, and the few headers of a benchmark are canonical as they are.

use std::collections::HashMap;
use std::time::SystemTime;

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request};
use sha2::{Digest as _, Sha256};

use crate::auth::sigv4::{SigningKey, Stamp};

/// Access key, secret key and, for temporary keys, the session token.
#[derive(Clone)]
pub(super) struct Keys {
    pub(super) access_key: String,
    pub(super) secret_key: String,
    pub(super) token: Option<String>,
}

/// A request before it is signed: always a `POST` without a query.
#[derive(Clone, Copy)]
pub(super) struct Call<'a> {
    /// The service in the credential's scope: `execute-api` or `sqs`.
    pub(super) service: &'static str,
    /// Made of unreserved characters and slashes only, so that it is its own canonical form.
    pub(super) path: &'a str,
    /// `X-Amz-Target`.
    pub(super) target: Option<&'static str>,
    pub(super) body: &'a str,
}

impl<'a> Call<'a> {
    /// A call of the session or the notify API.
    pub(super) fn rest(path: &'a str, body: &'a str) -> Self {
        Self {
            service: "execute-api",
            path,
            target: None,
            body,
        }
    }

    /// A call of an SQS operation, by the JSON protocol.
    pub(super) fn sqs(target: &'static str, body: &'a str) -> Self {
        Self {
            service: "sqs",
            path: "/",
            target: Some(target),
            body,
        }
    }

    fn content_type(&self) -> &'static str {
        match self.target {
            Some(_) => "application/x-amz-json-1.0",
            None => "application/json",
        }
    }
}

/// Signs with one pair of keys.
#[derive(Clone)]
pub(super) struct Signer {
    keys: Keys,
    region: String,
    /// By scope; grows by one key a day and service.
    derived: HashMap<String, SigningKey>,
}

impl Signer {
    pub(super) fn new(keys: Keys, region: &str) -> Self {
        Self {
            keys,
            region: region.to_owned(),
            derived: HashMap::new(),
        }
    }

    /// The signed request, addressed to `host`.
    pub(super) fn sign(
        &mut self,
        call: &Call<'_>,
        host: &str,
        now: SystemTime,
    ) -> anyhow::Result<Request<Full<Bytes>>> {
        debug_assert!(call.path.bytes().all(is_canonical), "{}", call.path);
        let stamp = Stamp::from(now).text().context("the clock is wrong")?;
        let stamp = std::str::from_utf8(&stamp).expect("digits and two letters");
        let mut headers = vec![
            ("content-type", call.content_type()),
            ("host", host),
            ("x-amz-date", stamp),
        ];
        if let Some(token) = &self.keys.token {
            headers.push(("x-amz-security-token", token));
        }
        if let Some(target) = call.target {
            headers.push(("x-amz-target", target));
        }
        let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
        let names = names.join(";");
        let mut canonical = format!("POST\n{}\n\n", call.path);
        for (name, value) in &headers {
            canonical.extend([name, ":", value, "\n"]);
        }
        let digest = hex::encode(Sha256::digest(call.body));
        canonical.extend(["\n", &names, "\n", &digest]);

        let scope = format!(
            "{}/{}/{}/aws4_request",
            &stamp[..8],
            self.region,
            call.service
        );
        let derive = || SigningKey::derive(&self.keys.secret_key, &scope);
        let key = self.derived.entry(scope.clone()).or_insert_with(derive);
        let hashed = hex::encode(Sha256::digest(canonical));
        let text = format!("AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashed}");
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={}",
            self.keys.access_key,
            hex::encode(key.sign(text.as_bytes())),
        );

        let mut request = Request::builder().method(Method::POST).uri(call.path);
        request = request
            .header(HOST, host)
            .header(CONTENT_TYPE, call.content_type())
            .header(AUTHORIZATION, authorization);
        for (name, value) in headers.into_iter().skip(2) {
            request = request.header(name, value);
        }
        let body = Full::new(Bytes::copy_from_slice(call.body.as_bytes()));
        request
            .body(body)
            .context("the endpoint or the keys do not fit into a request")
    }
}

fn is_canonical(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.~/".contains(&byte)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use aws_credential_types::Credentials;
    use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
    use aws_sigv4::sign::v4::SigningParams;

    use super::*;

    /// Compares with what AWS's own signer makes of the same request.
    fn check(call: &Call<'_>, token: Option<&str>) {
        let now = UNIX_EPOCH + Duration::from_secs(1_795_000_000);
        let keys = Keys {
            access_key: "AKIDEXAMPLE".into(),
            secret_key: "a secret/+".into(),
            token: token.map(Into::into),
        };
        let mut signer = Signer::new(keys, "eu-west-3");
        let ours = signer.sign(call, "localhost:8080", now).unwrap();

        let token = token.map(str::to_owned);
        let identity = Credentials::new("AKIDEXAMPLE", "a secret/+", token, None, "test").into();
        let params = SigningParams::builder()
            .identity(&identity)
            .region("eu-west-3")
            .name(call.service)
            .time(now)
            .settings(SigningSettings::default())
            .build()
            .unwrap()
            .into();
        let mut headers = vec![("content-type", call.content_type())];
        headers.extend(call.target.map(|target| ("x-amz-target", target)));
        let uri = format!("http://localhost:8080{}", call.path);
        let body = SignableBody::Bytes(call.body.as_bytes());
        let signable = SignableRequest::new("POST", uri, headers.into_iter(), body).unwrap();
        let (instructions, _) = sign(signable, &params).unwrap().into_parts();
        let (headers, _) = instructions.into_parts();
        assert!(
            headers
                .iter()
                .any(|header| header.name() == "authorization")
        );
        for header in headers {
            assert_eq!(
                ours.headers()[header.name()],
                header.value(),
                "{}",
                header.name()
            );
        }
    }

    #[test]
    fn signs_as_aws_does() {
        let notify = Call::rest("/notify/1/user/2/session/bench-a_b.c~d", r#"{"a":"é"}"#);
        check(&notify, None);
        check(&notify, Some("a token"));
        check(&Call::sqs("AmazonSQS.SendMessage", "{}"), None);
        check(&Call::sqs("AmazonSQS.ReceiveMessage", ""), Some("t"));
    }

    #[test]
    fn another_service_has_another_key() {
        let keys = Keys {
            access_key: "a".into(),
            secret_key: "s".into(),
            token: None,
        };
        let mut signer = Signer::new(keys, "us-east-1");
        for call in [Call::rest("/", ""), Call::sqs("t", ""), Call::rest("/", "")] {
            signer.sign(&call, "h", UNIX_EPOCH).unwrap();
        }
        assert_eq!(signer.derived.len(), 2);
    }
}
