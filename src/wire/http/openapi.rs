//! The OpenAPI document of the REST routes, generated from them, and a page to browse it.

use std::sync::{Arc, LazyLock};

use actix_web::HttpResponse;
use actix_web::http::header;
use futures_util::future::LocalBoxFuture;
use utoipa::OpenApi;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, SecurityScheme};
use utoipa_swagger_ui::Config;

use super::{messages, notify, sessions};
use crate::wire::Call;

/// The document.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Fanfare",
        description = "Sessions, notifications and history. Requests are signed with AWS Signature Version 4 for the \
                       service `execute-api`. Every route that changes something also answers `GET`.",
        license(name = "MIT OR Apache-2.0"),
    ),
    paths(
        sessions::create,
        sessions::renew,
        sessions::destroy,
        sessions::status,
        sessions::list,
        sessions::cleanup,
        notify::notify,
        messages::page,
        messages::unread,
        messages::set_read_named,
        messages::set_read_as_of,
        messages::set_read_listed,
    )
)]
pub struct Document;

/// The document with what is not in the macros: the security scheme, and the routes' other forms.
pub fn build() -> utoipa::openapi::OpenApi {
    let mut document = Document::openapi();
    let value =
        ApiKeyValue::with_description("Authorization", "AWS4-HMAC-SHA256 …, service execute-api");
    let components = document.components.get_or_insert_default();
    components.add_security_scheme("sigv4", SecurityScheme::ApiKey(ApiKey::Header(value)));
    document
}

/// `GET /openapi.json`.
pub fn document(_: Arc<()>, _: Call) -> LocalBoxFuture<'static, HttpResponse> {
    static TEXT: LazyLock<String> = LazyLock::new(|| {
        build()
            .to_json()
            .expect("the document has only what JSON can say")
    });
    Box::pin(async {
        HttpResponse::Ok()
            .content_type("application/json")
            .body(TEXT.as_str())
    })
}

/// `GET /docs/…`: Swagger UI, embedded in the binary.
pub fn page(_: Arc<()>, call: Call) -> LocalBoxFuture<'static, HttpResponse> {
    static CONFIG: LazyLock<Arc<Config<'static>>> =
        LazyLock::new(|| Arc::new(Config::from("/openapi.json").validator_url("none")));
    Box::pin(async move {
        let file = call.params.get("file").unwrap_or_default();
        if file.is_empty() && !call.raw_path.ends_with('/') {
            // The page names its files relative to itself.
            return HttpResponse::MovedPermanently()
                .insert_header((header::LOCATION, "/docs/"))
                .finish();
        }
        match utoipa_swagger_ui::serve(file, CONFIG.clone()) {
            Ok(Some(file)) => HttpResponse::Ok()
                .content_type(file.content_type)
                .body(file.bytes.into_owned()),
            Ok(None) => HttpResponse::NotFound().finish(),
            Err(error) => {
                tracing::error!(%error, "the page of the OpenAPI document can not be made");
                HttpResponse::InternalServerError().finish()
            }
        }
    })
}
