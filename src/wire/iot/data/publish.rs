//! `Publish`: `POST /topics/{topic}`. It is answered when the message is where quality of service 1 wants it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use bytestring::ByteString;
use serde_json::{Value, json};
use std::time::Duration;

use super::{DataState, Refused, access, flag, parameter, topic, trace_id};
use crate::actors::topic::PublishError;
use crate::config::limits::mqtt::{TEXT_BYTES, USER_PROPERTIES};
use crate::domain::publication::{Properties, Publication, Publisher, QoS};
use crate::domain::topic::TopicName;
use crate::wire::Call;

const USER: &str = "x-amz-mqtt5-user-properties";
const FORMAT: &str = "x-amz-mqtt5-payload-format-indicator";
const CORRELATION: &str = "x-amz-mqtt5-correlation-data";

pub(super) async fn call(state: &DataState, call: &Call) -> Result<Value, Refused> {
    let (principal, access) = access(state, call)?;
    if call.body.len() > state.max_payload_bytes {
        return Err(Refused::TooLarge(state.max_payload_bytes));
    }
    let publication = Publication {
        topic: topic(call, "/topics/")?,
        payload: call.body.clone(),
        qos: qos(call)?,
        retain: flag(call, "retain")?,
        properties: properties(call)?,
        expires: expiry(call)?.map(|after| state.clock.now().plus(after)),
        publisher: Some(Publisher {
            client: None,
            principal: principal.name.clone(),
        }),
    };
    let topic = publication.topic.clone();
    let outcome = state.topics.publish(&access, publication).outcome().await;
    outcome.map_err(|error| {
        tracing::info!(principal = %principal.name, %topic, %error, "a publication by HTTP was refused");
        refused(error)
    })?;
    Ok(json!({ "message": "OK", "traceId": trace_id() }))
}

fn refused(error: PublishError) -> Refused {
    match error {
        PublishError::NotAllowed(_) => Refused::Forbidden,
        PublishError::Reserved => Refused::invalid("The topic is reserved."),
        PublishError::NotARoom(_) | PublishError::Malformed(_) | PublishError::NotNow(_) => {
            Refused::Invalid(error.to_string())
        }
        PublishError::QuotaExceeded(_) => Refused::Quota(error.to_string()),
        PublishError::Store(error) => Refused::Store(error),
    }
}

fn qos(call: &Call) -> Result<QoS, Refused> {
    match parameter(call, "qos")?.as_deref() {
        None | Some("0") => Ok(QoS::AtMostOnce),
        Some("1") => Ok(QoS::AtLeastOnce),
        Some(_) => Err(Refused::invalid("qos must be 0 or 1.")),
    }
}

/// Message Expiry Interval: as over MQTT, 1 to 4294967295 seconds.
fn expiry(call: &Call) -> Result<Option<Duration>, Refused> {
    let given = parameter(call, "messageExpiry")?;
    let seconds = given.map(|text| text.parse().ok().filter(|seconds: &u32| *seconds > 0));
    match seconds {
        None => Ok(None),
        Some(Some(seconds)) => Ok(Some(Duration::from_secs(seconds.into()))),
        Some(None) => Err(Refused::invalid(
            "messageExpiry must be a number of seconds, at least 1.",
        )),
    }
}

/// What MQTT 5 clients get beside the payload.
pub(super) fn properties(call: &Call) -> Result<Option<Box<Properties>>, Refused> {
    let text = |name: &'static str| -> Result<Option<ByteString>, Refused> {
        let value = parameter(call, name)?;
        if value.as_ref().is_some_and(|value| value.len() > TEXT_BYTES) {
            return Err(Refused::Invalid(format!("{name} is too long.")));
        }
        Ok(value.map(Into::into))
    };
    let response_topic = text("responseTopic")?;
    if let Some(topic) = &response_topic {
        let error = |error| Refused::Invalid(format!("responseTopic is not valid: {error}."));
        TopicName::parse(topic.clone()).map_err(error)?;
    }
    let properties = Properties {
        payload_format: payload_format(call)?,
        content_type: text("contentType")?,
        response_topic,
        correlation_data: correlation_data(call)?,
        user: user_properties(call)?,
    };
    Ok((properties != Properties::default()).then(|| Box::new(properties)))
}

fn header<'c>(call: &'c Call, name: &str) -> Option<&'c [u8]> {
    let value = call.headers.get(name)?.as_bytes();
    (!value.is_empty()).then_some(value)
}

fn payload_format(call: &Call) -> Result<Option<u8>, Refused> {
    match header(call, FORMAT) {
        None => Ok(None),
        Some(b"UNSPECIFIED_BYTES") => Ok(Some(0)),
        Some(b"UTF8_DATA") if std::str::from_utf8(&call.body).is_ok() => Ok(Some(1)),
        Some(b"UTF8_DATA") => Err(Refused::invalid("The payload is not UTF-8.")),
        Some(_) => Err(Refused::Invalid(format!(
            "{FORMAT} must be UNSPECIFIED_BYTES or UTF8_DATA."
        ))),
    }
}

fn correlation_data(call: &Call) -> Result<Option<Bytes>, Refused> {
    let decoded = header(call, CORRELATION).map(|value| STANDARD.decode(value));
    let decoded = decoded.transpose().ok();
    let fits = decoded.filter(|data| data.as_ref().is_none_or(|data| data.len() <= TEXT_BYTES));
    let invalid = || {
        Refused::Invalid(format!(
            "{CORRELATION} must be base64 of at most {TEXT_BYTES} bytes."
        ))
    };
    Ok(fits.ok_or_else(invalid)?.map(Bytes::from))
}

/// An array of objects whose values are texts, as JSON in base64. boto3 makes a JSON text of that JSON once more.
fn user_properties(call: &Call) -> Result<Vec<(ByteString, ByteString)>, Refused> {
    let Some(value) = header(call, USER) else {
        return Ok(Vec::new());
    };
    let invalid = || {
        Refused::Invalid(format!(
            "{USER} must be base64 of a JSON array of at most {USER_PROPERTIES} objects with texts, \
             such as [{{\"key\":\"value\"}}]."
        ))
    };
    let decoded = STANDARD.decode(value).map_err(|_| invalid())?;
    let mut json: Value = serde_json::from_slice(&decoded).map_err(|_| invalid())?;
    if let Value::String(inner) = &json {
        json = serde_json::from_str(inner).map_err(|_| invalid())?;
    }
    let mut found = Vec::new();
    for object in json.as_array().ok_or_else(invalid)? {
        for (key, value) in object.as_object().ok_or_else(invalid)? {
            let value = value.as_str().ok_or_else(invalid)?;
            found.push((ByteString::from(key.as_str()), ByteString::from(value)));
        }
    }
    let fits = |text: &ByteString| text.len() <= TEXT_BYTES && !text.contains('\0');
    let valid = found.len() <= USER_PROPERTIES && found.iter().all(|(k, v)| fits(k) && fits(v));
    valid.then_some(found).ok_or_else(invalid)
}
