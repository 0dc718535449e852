//! What a request costs before any work is done for it: the baseline that `fanfare bench notify` compares with.
//! Only there if the configuration asks for it.

use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::http::Method;
use futures_util::future::LocalBoxFuture;

use crate::auth::Access;
use crate::wire::{Call, Route};

/// `/bench/verify`: verifies the signature and answers.
pub static BENCH_ROUTES: &[Route<()>] = &[Route {
    methods: &[Method::GET, Method::POST],
    path: "/bench/verify",
    access: Access::Operator,
    handler: verify,
}];

fn verify(_: Arc<()>, _: Call) -> LocalBoxFuture<'static, HttpResponse> {
    Box::pin(async {
        HttpResponse::Ok()
            .content_type("application/json")
            .body(r#"{"success":true}"#)
    })
}
