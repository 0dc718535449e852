//! Reading a request's body: never more than allowed, never longer than allowed.

use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::error::PayloadError;
use actix_web::http::header;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;

use crate::wire::{Inbound, Refusal};

/// Reads the whole body.
///
/// # Errors
/// [`Refusal::BodyTooLarge`], [`Refusal::Timeout`], or [`Refusal::Malformed`] if the transfer breaks off.
pub(super) async fn read(
    inbound: &Inbound,
    payload: &mut Payload,
    limit_bytes: usize,
    patience: Duration,
) -> Result<Bytes, Refusal> {
    if matches!(payload, Payload::None) {
        return Ok(Bytes::new());
    }
    let announced = inbound
        .header(header::CONTENT_LENGTH)
        .and_then(|length| length.parse::<usize>().ok());
    if announced.is_some_and(|length| length > limit_bytes) {
        return Err(Refusal::BodyTooLarge { limit_bytes });
    }
    // The timer is only set up when the body is not there yet.
    tokio::time::timeout(patience, collect(payload, limit_bytes))
        .await
        .unwrap_or(Err(Refusal::Timeout))
}

async fn collect(payload: &mut Payload, limit_bytes: usize) -> Result<Bytes, Refusal> {
    let mut whole = BytesMut::new();
    let mut first = Bytes::new();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|error| broken(&error))?;
        if whole.len() + first.len() + chunk.len() > limit_bytes {
            return Err(Refusal::BodyTooLarge { limit_bytes });
        }
        // Most bodies are one chunk, and that needs no copy.
        if first.is_empty() && whole.is_empty() {
            first = chunk;
            continue;
        }
        whole.extend_from_slice(&std::mem::take(&mut first));
        whole.extend_from_slice(&chunk);
    }
    Ok(if whole.is_empty() {
        first
    } else {
        whole.freeze()
    })
}

fn broken(error: &PayloadError) -> Refusal {
    Refusal::Malformed(format!("The request body can not be read: {error}"))
}
