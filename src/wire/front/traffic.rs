//! Requests in progress: the end of the process waits for them and for nothing else. A connection that merely
//! stays open, as clients' pools keep them, has nothing to lose.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::http::ConnectionType;
use bytes::Bytes;

/// How often the end looks whether the last request is answered.
const LOOK: Duration = Duration::from_millis(5);

/// How long the last answers may take from the handler into the kernel's hands.
const FLUSH: Duration = Duration::from_millis(250);

/// Counts requests in progress.
#[derive(Debug, Default)]
pub struct Traffic {
    open: AtomicUsize,
    closing: AtomicBool,
}

/// One request in progress, until it is dropped.
pub(super) struct Ticket(Arc<Traffic>);

impl Traffic {
    pub(super) fn enter(self: &Arc<Self>) -> Ticket {
        self.open.fetch_add(1, Ordering::Relaxed);
        Ticket(Arc::clone(self))
    }

    /// From now on every answer asks its client to close the connection, so that the next request goes elsewhere.
    pub fn close(&self) {
        self.closing.store(true, Ordering::Release);
    }

    /// Resolves when no request is in progress and the answers have left.
    pub async fn ended(&self) {
        while self.open.load(Ordering::Relaxed) > 0 {
            tokio::time::sleep(LOOK).await;
        }
        tokio::time::sleep(FLUSH).await;
    }
}

impl Ticket {
    /// The request is answered, except for a body that is still to be streamed: that keeps it in progress.
    pub(super) fn answer(self, mut response: HttpResponse) -> HttpResponse {
        if self.0.closing.load(Ordering::Acquire) {
            response
                .head_mut()
                .set_connection_type(ConnectionType::Close);
        }
        if response.body().size() != BodySize::Stream {
            return response;
        }
        response.map_body(|_, body| {
            BoxBody::new(Streamed {
                body,
                _ticket: self,
            })
        })
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A body on its way.
struct Streamed {
    body: BoxBody,
    _ticket: Ticket,
}

impl MessageBody for Streamed {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(context)
    }
}

#[cfg(test)]
mod tests {
    use actix_web::body;
    use futures_util::FutureExt as _;

    use super::*;

    fn open(traffic: &Traffic) -> usize {
        traffic.open.load(Ordering::Relaxed)
    }

    #[actix_web::test]
    async fn a_request_is_in_progress_until_its_body_has_left() {
        let traffic = Arc::new(Traffic::default());
        let whole = traffic.enter();
        assert_eq!(open(&traffic), 1);
        assert!(traffic.ended().now_or_never().is_none());
        drop(whole.answer(HttpResponse::Ok().body("text")));
        assert_eq!(open(&traffic), 0);

        let parts = futures_util::stream::iter([Ok::<_, std::io::Error>(Bytes::from("part"))]);
        let response = traffic.enter().answer(HttpResponse::Ok().streaming(parts));
        assert_eq!(open(&traffic), 1);
        let text = body::to_bytes(response.into_body()).await.expect("a body");
        assert_eq!((text.as_ref(), open(&traffic)), (b"part".as_ref(), 0));
        traffic.ended().await;
    }

    #[actix_web::test]
    async fn at_the_end_connections_are_closed() {
        let traffic = Arc::new(Traffic::default());
        let answer = || traffic.enter().answer(HttpResponse::Ok().finish());
        assert!(!answer().head().upgrade() && answer().keep_alive());
        traffic.close();
        assert!(!answer().keep_alive());
    }
}
