//! Signed calls to services that are asked a few things: Cognito by nodes, the others by whoever provisions or looks
//! whether all is well.
//!
//! They have no client of their own here: IAM's alone takes about a minute of one core to build, for a dozen of its 180
//! operations.

use std::time::{Duration, SystemTime};

use aws_config::SdkConfig;
use aws_credential_types::provider::{ProvideCredentials as _, SharedCredentialsProvider};
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_smithy_http_client::Connector;
use aws_smithy_http_client::tls::{self, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::client::http::{HttpConnector as _, SharedHttpConnector};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;
use aws_smithy_types::error::display::DisplayErrorContext;
use aws_smithy_xml::decode::{Document, ScopedDecoder, try_data};
use percent_encoding::utf8_percent_encode;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use super::service::{CALL_TIMEOUT, Pauses, count, is_temporary_code, is_throttling_code};
use crate::domain::StoreError;

/// What is percent-encoded in a form: everything but RFC 3986's unreserved characters.
const RESERVED: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// A service: what requests are signed for, and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    service: &'static str,
    region: String,
    url: String,
}

impl Place {
    /// The service of a region, or at an endpoint. IAM has one place for all regions of a partition.
    pub fn of(service: &'static str, region: &str, endpoint: Option<&str>) -> Self {
        let suffix = match partition(region) {
            "aws-cn" => "amazonaws.com.cn",
            _ => "amazonaws.com",
        };
        let (region, host) = match (service, partition(region)) {
            ("iam", "aws-cn") => ("cn-north-1", format!("iam.cn-north-1.{suffix}")),
            ("iam", "aws-us-gov") => ("us-gov-west-1", format!("iam.us-gov.{suffix}")),
            ("iam", _) => ("us-east-1", format!("iam.{suffix}")),
            _ => (region, format!("{service}.{region}.{suffix}")),
        };
        Self {
            service,
            region: region.to_owned(),
            url: endpoint.map_or_else(|| format!("https://{host}"), str::to_owned),
        }
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    fn cannot_ask(&self, why: &dyn std::fmt::Display) -> CallError {
        CallError::Unreachable {
            url: self.url.clone(),
            reason: format!("it can not be asked: {why}"),
        }
    }
}

/// The partition that a region belongs to, as ARNs have it.
pub fn partition(region: &str) -> &'static str {
    match region {
        region if region.starts_with("cn-") => "aws-cn",
        region if region.starts_with("us-gov-") => "aws-us-gov",
        _ => "aws",
    }
}

/// Why a call did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// There are no credentials to sign with.
    #[error("no credentials: {0}")]
    Credentials(String),
    /// Nobody answers there, or not in time.
    #[error("no answer from {url}: {reason}")]
    Unreachable {
        /// Where.
        url: String,
        /// What the network said.
        reason: String,
    },
    /// The service says no.
    #[error("{operation}: {message} ({code}, {status})")]
    Refused {
        /// What was asked.
        operation: &'static str,
        /// The status.
        status: u16,
        /// The service's code.
        code: String,
        /// The service's words.
        message: String,
    },
}

impl CallError {
    /// The code of a refusal.
    pub fn code(&self) -> &str {
        match self {
            Self::Refused { code, .. } => code,
            _ => "",
        }
    }

    fn is_temporary(&self) -> bool {
        match self {
            Self::Credentials(_) => false,
            Self::Unreachable { .. } => true,
            Self::Refused { status, code, .. } => {
                matches!(status, 500 | 502..=504) || is_temporary_code(code)
            }
        }
    }
}

impl From<CallError> for StoreError {
    fn from(error: CallError) -> Self {
        match error.is_temporary() {
            true if is_throttling_code(error.code()) => Self::Overloaded,
            true => Self::Unavailable(error.to_string()),
            false => Self::Failed(error.to_string()),
        }
    }
}

/// What a service answered.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    /// The body: XML or JSON.
    pub body: String,
    /// What time it is there.
    pub date: Option<OffsetDateTime>,
}

impl Answer {
    /// The texts of all elements of this name, in XML, as they come. None if it is no XML.
    pub fn texts(&self, element: &str) -> Vec<String> {
        let mut texts = Vec::new();
        let mut document = Document::new(&self.body);
        if let Ok(mut root) = document.root_element() {
            collect(&mut root, element, &mut texts);
        }
        texts
    }

    /// The text of the first element of this name, in XML.
    pub fn text(&self, element: &str) -> Option<String> {
        self.texts(element).into_iter().next()
    }
}

fn collect(parent: &mut ScopedDecoder<'_, '_>, element: &str, texts: &mut Vec<String>) {
    while let Some(mut tag) = parent.next_tag() {
        if tag.start_el().matches(element) {
            texts.extend(try_data(&mut tag).map(std::borrow::Cow::into_owned));
        } else {
            collect(&mut tag, element, texts);
        }
    }
}

/// One call, made as often as it takes.
struct Outgoing<'a> {
    place: &'a Place,
    operation: &'static str,
    headers: &'a [(&'a str, &'a str)],
    body: String,
    is_signed: bool,
}

/// Signs with the credentials of AWS's usual chain, and sends.
#[derive(Debug, Clone)]
pub struct Signed {
    connector: SharedHttpConnector,
    credentials: Option<SharedCredentialsProvider>,
    patience: Duration,
}

impl Signed {
    /// Nothing is asked yet. Who throttles or fails is asked again for as long as `patience`.
    pub fn new(shared: &SdkConfig, patience: Duration) -> Self {
        let provider = tls::Provider::Rustls(CryptoMode::AwsLc);
        let connector = Connector::builder().tls_provider(provider).build();
        Self {
            connector: SharedHttpConnector::new(connector),
            credentials: shared.credentials_provider(),
            patience,
        }
    }

    /// Calls an operation of the Query protocol.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn query(
        &self,
        place: &Place,
        (operation, version): (&'static str, &str),
        parameters: &[(&str, &str)],
    ) -> Result<Answer, CallError> {
        let mut form = format!("Action={operation}&Version={version}");
        for (name, value) in parameters {
            let value = utf8_percent_encode(value, RESERVED);
            form.push_str(&format!("&{name}={value}"));
        }
        self.persist(Outgoing {
            place,
            operation,
            headers: &[("content-type", "application/x-www-form-urlencoded")],
            body: form,
            is_signed: true,
        })
        .await
    }

    /// Calls an operation of a JSON protocol, version 1.1.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn json(
        &self,
        place: &Place,
        operation: (&str, &'static str),
        body: &Value,
    ) -> Result<Value, CallError> {
        self.json_call(place, operation, body, true).await
    }

    /// As [`Self::json`], for operations that ask for no signature, and that SDKs send none to.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn unsigned_json(
        &self,
        place: &Place,
        operation: (&str, &'static str),
        body: &Value,
    ) -> Result<Value, CallError> {
        self.json_call(place, operation, body, false).await
    }

    async fn json_call(
        &self,
        place: &Place,
        (prefix, operation): (&str, &'static str),
        body: &Value,
        is_signed: bool,
    ) -> Result<Value, CallError> {
        let target = format!("{prefix}.{operation}");
        let headers = [
            ("content-type", "application/x-amz-json-1.1"),
            ("x-amz-target", target.as_str()),
        ];
        let sent = self.persist(Outgoing {
            place,
            operation,
            headers: &headers,
            body: body.to_string(),
            is_signed,
        });
        let body = sent.await?.body;
        // Some operations answer nothing at all.
        if body.trim().is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&body).map_err(|error| CallError::Unreachable {
            url: place.url.clone(),
            reason: format!("{operation} was answered with no JSON: {error}"),
        })
    }

    /// Calls until it succeeds, fails for good, or patience ends.
    async fn persist(&self, outgoing: Outgoing<'_>) -> Result<Answer, CallError> {
        let mut pauses = Pauses::lasting(self.patience);
        loop {
            let tried = self.once(&outgoing).await;
            let outcome = match &tried {
                Ok(_) => "done",
                Err(error) if error.is_temporary() => "failed",
                Err(_) => "refused",
            };
            count(outgoing.operation, outcome);
            if outcome != "failed" || !pauses.pause().await {
                return tried;
            }
        }
    }

    async fn once(&self, outgoing: &Outgoing<'_>) -> Result<Answer, CallError> {
        let unreachable = |reason: String| CallError::Unreachable {
            url: outgoing.place.url.clone(),
            reason,
        };
        let request = self.request(outgoing).await?;
        let exchange = async {
            let response = self.connector.call(request).await;
            let response = response.map_err(|error| DisplayErrorContext(error).to_string())?;
            let status = response.status().as_u16();
            let date = response.headers().get("date").and_then(time_of);
            let body = ByteStream::new(response.into_body()).collect().await;
            let body = body.map_err(|error| error.to_string())?.into_bytes();
            let body = String::from_utf8_lossy(&body).into_owned();
            Ok((status, Answer { body, date }))
        };
        let answered = tokio::time::timeout(CALL_TIMEOUT, exchange).await;
        let answered = answered.map_err(|_| unreachable("it takes too long".to_owned()))?;
        let (status, answer) = answered.map_err(unreachable)?;
        match status {
            200..=299 => Ok(answer),
            _ => Err(refusal(outgoing.operation, status, &answer)),
        }
    }

    async fn request(&self, outgoing: &Outgoing<'_>) -> Result<HttpRequest, CallError> {
        let wrong = |what: &dyn std::fmt::Display| outgoing.place.cannot_ask(what);
        let url = format!("{}/", outgoing.place.url);
        let mut request = HttpRequest::new(SdkBody::from(outgoing.body.as_str()));
        request.set_method("POST").map_err(|error| wrong(&error))?;
        request
            .set_uri(url.as_str())
            .map_err(|error| wrong(&error))?;
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        for (name, value) in outgoing.headers.iter().copied().map(owned) {
            request.headers_mut().insert(name, value);
        }
        if outgoing.is_signed {
            for (name, value) in self.signature(outgoing, &url).await? {
                request.headers_mut().insert(name, value);
            }
        }
        Ok(request)
    }

    /// The headers that a signature adds.
    async fn signature(
        &self,
        outgoing: &Outgoing<'_>,
        url: &str,
    ) -> Result<Vec<(String, String)>, CallError> {
        let place = outgoing.place;
        let wrong = |what: &dyn std::fmt::Display| place.cannot_ask(what);
        let nobody = || CallError::Credentials("there is nobody to ask for them".to_owned());
        let provider = self.credentials.as_ref().ok_or_else(nobody)?;
        let credentials = provider.provide_credentials().await;
        let credentials = credentials
            .map_err(|error| CallError::Credentials(DisplayErrorContext(error).to_string()))?;
        let identity = credentials.into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&place.region)
            .name(place.service)
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()
            .map_err(|error| wrong(&error))?
            .into();
        let bytes = SignableBody::Bytes(outgoing.body.as_bytes());
        let headers = outgoing.headers.iter().copied();
        let signable = SignableRequest::new("POST", url, headers, bytes);
        let signed = sign(signable.map_err(|error| wrong(&error))?, &params);
        let (signed, _) = signed.map_err(|error| wrong(&error))?.into_parts();
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        Ok(signed.headers().map(owned).collect())
    }
}

/// A time as HTTP has it.
fn time_of(date: &str) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(date, &Rfc2822).ok()
}

/// What an answer without success says, in XML or in JSON.
fn refusal(operation: &'static str, status: u16, answer: &Answer) -> CallError {
    let json: Value = serde_json::from_str(&answer.body).unwrap_or_default();
    let of_json = |name: &str| json[name].as_str().map(str::to_owned);
    let code = answer.text("Code").or_else(|| of_json("__type"));
    let code = code.unwrap_or_else(|| "no code".to_owned());
    let message = answer.text("Message").or_else(|| of_json("message"));
    CallError::Refused {
        operation,
        status,
        code: code.rsplit('#').next().unwrap_or_default().to_owned(),
        message: message.unwrap_or_else(|| "no reason given".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iam_has_one_place_and_others_one_in_each_region() {
        let check = |service, region, expect: (&str, &str)| {
            let place = Place::of(service, region, None);
            assert_eq!((place.url(), place.region.as_str()), expect);
        };
        let iam = ("https://iam.amazonaws.com", "us-east-1");
        check("iam", "eu-west-1", iam);
        let kinesis = ("https://kinesis.eu-west-1.amazonaws.com", "eu-west-1");
        check("kinesis", "eu-west-1", kinesis);
        let china = ("https://iam.cn-north-1.amazonaws.com.cn", "cn-north-1");
        check("iam", "cn-northwest-1", china);
        let gov = ("https://iam.us-gov.amazonaws.com", "us-gov-west-1");
        check("iam", "us-gov-east-1", gov);
        let here = Place::of("iam", "eu-west-1", Some("http://127.0.0.1:1"));
        assert_eq!(here.url(), "http://127.0.0.1:1");
    }

    #[test]
    fn refusals_are_read_in_both_protocols() {
        let check = |body: &str, expect: (&str, &str)| {
            let body = body.to_owned();
            let answer = Answer { body, date: None };
            let CallError::Refused { code, message, .. } = refusal("GetRole", 404, &answer) else {
                panic!("it is a refusal");
            };
            assert_eq!((code.as_str(), message.as_str()), expect);
        };
        check(
            "<ErrorResponse><Error><Code>NoSuchEntity</Code><Message>a &amp; b</Message></Error></ErrorResponse>",
            ("NoSuchEntity", "a & b"),
        );
        check(
            r#"{"__type":"com.amazonaws.kinesis#ResourceNotFoundException","message":"none"}"#,
            ("ResourceNotFoundException", "none"),
        );
        check("<html>", ("no code", "no reason given"));
    }

    #[test]
    fn elements_are_found_however_deep() {
        let body =
            "<R><A><Tags><member><Key>a</Key></member><member><Key>b</Key></member></Tags></A></R>";
        let body = body.to_owned();
        let answer = Answer { body, date: None };
        assert_eq!(answer.texts("Key"), ["a", "b"]);
        assert_eq!(answer.text("Value"), None);
    }

    #[test]
    fn dates_are_read_as_http_has_them() {
        let date = time_of("Sat, 21 Nov 2026 20:16:37 GMT").expect("a date");
        assert_eq!(date.unix_timestamp(), 1_795_292_197);
        assert_eq!(time_of("soon"), None);
    }
}
