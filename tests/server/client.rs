//! A small client for the operator's routes and the SQS wire, signed with AWS's own signer.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use serde_json::Value;

const REGION: &str = "us-east-1";

/// Access keys.
#[derive(Debug, Clone)]
pub struct Keys(Credentials);

impl Keys {
    /// The development pair.
    pub fn operator() -> Self {
        Self(Credentials::new(
            "FANFAREDEV",
            "fanfare-dev-secret",
            None,
            None,
            "test",
        ))
    }

    /// The keys in a session description.
    pub fn of_session(session: &Value) -> Self {
        let text = |key: &str| {
            session[key]
                .as_str()
                .expect("a session has keys")
                .to_owned()
        };
        let (access, secret) = (text("accessKey"), text("secretKey"));
        Self(Credentials::new(
            access,
            secret,
            Some(text("sessionToken")),
            None,
            "test",
        ))
    }
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
}

impl Answer {
    /// True for a promise: 200 and not `"success": false`.
    pub fn is_success(&self) -> bool {
        self.status == 200 && self.body["success"] != Value::Bool(false)
    }
}

/// No answer, or none that could be read: whether the server did it is not known.
#[derive(Debug)]
pub struct Unknown(pub String);

/// A connection pool to one server.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    address: SocketAddr,
}

impl Client {
    /// A client of the server at `address`.
    pub fn to(address: SocketAddr) -> Self {
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(30));
        Self {
            http: http.build().expect("a client without TLS can be built"),
            address,
        }
    }

    /// `GET` as the operator.
    pub async fn get(&self, path: &str) -> Result<Answer, Unknown> {
        self.send(
            "GET",
            path,
            &[],
            String::new(),
            &Keys::operator(),
            "execute-api",
        )
        .await
    }

    /// `POST` as the operator.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Answer, Unknown> {
        let headers = [("content-type", "application/json")];
        let keys = Keys::operator();
        self.send(
            "POST",
            path,
            &headers,
            body.to_string(),
            &keys,
            "execute-api",
        )
        .await
    }

    /// An SQS operation over JSON. `queue` is the path of the queue, if the operation has one.
    pub async fn sqs(
        &self,
        operation: &str,
        queue: Option<&str>,
        mut body: Value,
        keys: &Keys,
    ) -> Result<Answer, Unknown> {
        if let Some(queue) = queue {
            body["QueueUrl"] = format!("http://{}{queue}", self.address).into();
        }
        let target = format!("AmazonSQS.{operation}");
        let headers = [
            ("content-type", "application/x-amz-json-1.0"),
            ("x-amz-target", target.as_str()),
        ];
        self.send("POST", "/", &headers, body.to_string(), keys, "sqs")
            .await
    }

    async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: String,
        keys: &Keys,
        service: &str,
    ) -> Result<Answer, Unknown> {
        let url = format!("http://{}{path}", self.address);
        let signed = signature(method, &url, headers, body.as_bytes(), keys, service);
        let method = method.parse().expect("GET and POST are methods");
        let mut request = self.http.request(method, url).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        for (name, value) in signed {
            request = request.header(name, value);
        }
        let response = request
            .send()
            .await
            .map_err(|error| Unknown(format!("{error:?}")))?;
        let status = response.status().as_u16();
        let bytes = response
            .bytes()
            .await
            .map_err(|error| Unknown(format!("{error:?}")))?;
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Ok(Answer { status, body })
    }
}

fn signature(
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: &[u8],
    keys: &Keys,
    service: &str,
) -> Vec<(String, String)> {
    let identity = keys.0.clone().into();
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(REGION)
        .name(service)
        .time(SystemTime::now())
        .settings(SigningSettings::default())
        .build()
        .expect("every parameter is set")
        .into();
    let request = SignableRequest::new(
        method,
        url,
        headers.iter().copied(),
        SignableBody::Bytes(body),
    );
    let request = request.expect("the test's URLs are valid");
    let (instructions, _) = sign(request, &parameters)
        .expect("can be signed")
        .into_parts();
    instructions
        .headers()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}
