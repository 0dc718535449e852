//! Noticing that an HTTP/2 client no longer waits.
//!
//! Over HTTP/1.1 actix drops the handler's future when the connection ends. Over HTTP/2 it lets every
//! handler run to its end, so a long poll of a client that has gone would still take messages into
//! flight. A reset stream shows on its receiving half, if one looks.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::dev::Payload;
use futures_util::future::{Either, select};
use futures_util::{FutureExt as _, StreamExt as _};

use crate::wire::Refusal;

/// How often to look: most requests are answered before the first time.
const GLANCE: Duration = Duration::from_millis(250);

/// The handler's answer, or nothing worth sending if the client resets the stream or goes away meanwhile.
pub(super) async fn unless_gone(
    handled: impl Future<Output = Result<HttpResponse, Refusal>>,
    payload: &mut Payload,
) -> Result<HttpResponse, Refusal> {
    match select(pin!(handled), pin!(gone(payload))).await {
        Either::Left((answer, _)) => answer,
        Either::Right(((), _)) => Err(Refusal::Timeout),
    }
}

async fn gone(payload: &mut Payload) {
    loop {
        tokio::time::sleep(GLANCE).await;
        if let Some(Some(Err(_))) = payload.next().now_or_never() {
            return;
        }
    }
}
