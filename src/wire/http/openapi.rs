//! The OpenAPI document of the REST routes, generated from them, and a page to browse it.

use std::sync::{Arc, LazyLock};

use actix_web::HttpResponse;
use actix_web::http::{Method, header};
use futures_util::future::LocalBoxFuture;
use utoipa::OpenApi;
use utoipa::openapi::RefOr;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn, PathItem, Paths};
use utoipa::openapi::schema::{ObjectBuilder, Type};
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
                       service `execute-api`. Every route that changes something answers `GET`, too, and \
                       `/{account}/{user}/{session}` wherever it answers `/{account}/{session}/{user}`. Guests\' keys need no \
                       signature.",
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

/// The document with what is not in the macros: the security scheme, and every other form of the routes.
pub fn build() -> utoipa::openapi::OpenApi {
    let mut document = Document::openapi();
    let value =
        ApiKeyValue::with_description("Authorization", "AWS4-HMAC-SHA256 …, service execute-api");
    let components = document.components.get_or_insert_default();
    components.add_security_scheme("sigv4", SecurityScheme::ApiKey(ApiKey::Header(value)));
    for route in super::ROUTES {
        for method in route.methods {
            add_form(&mut document.paths, &template(route.path), method);
        }
    }
    document
}

/// A route's path as the document writes it. Session and user come in either order, but two templates of one shape
/// would be the same to OpenAPI.
fn template(path: &str) -> String {
    path.replace("{a}", "{session}").replace("{b}", "{user}")
}

/// Adds a form of a route unless the macros have described it: as they describe its relatives.
fn add_form(paths: &mut Paths, path: &str, method: &Method) {
    let described = |item: &PathItem| match *method {
        Method::GET => item.get.is_some(),
        _ => item.post.is_some(),
    };
    if paths.paths.get(path).is_some_and(described) {
        return;
    }
    let relative = relative(paths, path)
        .unwrap_or_else(|| panic!("{path} is no form of anything that is described"));
    let operation = form_of(relative.clone(), path, method);
    let item = paths.paths.entry(path.to_owned()).or_default();
    match *method {
        Method::GET => item.get = Some(operation),
        _ => item.post = Some(operation),
    }
}

/// What is described under the same first segment and has most parameters in common.
fn relative<'a>(paths: &'a Paths, path: &str) -> Option<&'a Operation> {
    let first = path.split('/').nth(1);
    let wanted = parameters(path);
    let candidates = paths
        .paths
        .iter()
        .filter(|(known, _)| known.split('/').nth(1) == first);
    let closest = candidates.max_by_key(|(known, _)| {
        let known = parameters(known);
        let common = known.iter().filter(|name| wanted.contains(name)).count();
        (common, std::cmp::Reverse(known.len()))
    });
    closest.and_then(|(_, item)| item.post.as_ref().or(item.get.as_ref()))
}

/// The names in braces.
fn parameters(path: &str) -> Vec<&str> {
    let segments = path.split('/');
    segments
        .filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
        .collect()
}

fn form_of(mut operation: Operation, path: &str, method: &Method) -> Operation {
    let names = parameters(path);
    let others = operation.parameters.take().unwrap_or_default().into_iter();
    let others = others.filter(
        |known| !matches!(known, RefOr::T(known) if known.parameter_in == ParameterIn::Path),
    );
    let own = names.iter().map(|name| RefOr::T(path_parameter(name)));
    operation.parameters = Some(own.chain(others).collect());
    if *method == Method::GET {
        // What a body says is in the query of this form.
        operation.request_body = None;
    }
    let words = path.split(['/', '{', '}']).filter(|word| !word.is_empty());
    let id: Vec<_> = std::iter::once(method.as_str()).chain(words).collect();
    operation.operation_id = Some(id.join("_").to_lowercase());
    operation
}

fn path_parameter(name: &str) -> Parameter {
    let kind = match name {
        "account" | "user" => Type::Integer,
        _ => Type::String,
    };
    let description = match name {
        "session" => "1 to 256 characters; where a user follows, the two may come in either order",
        "account" | "user" => "an integer of 64 bits",
        _ => "",
    };
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Path)
        .description(Some(description).filter(|text| !text.is_empty()))
        .schema(Some(ObjectBuilder::new().schema_type(kind)))
        .build()
}

/// The document as it is sent.
pub struct Text(String);

impl Text {
    /// These routes and others, each of which is described by its own wire.
    pub(super) fn new(others: utoipa::openapi::OpenApi) -> Self {
        let mut document = build();
        document.merge(others);
        let text = document.to_json();
        Self(text.expect("the document has only what JSON can say"))
    }
}

/// `GET /openapi.json`.
pub fn document(text: Arc<Text>, _: Call) -> LocalBoxFuture<'static, HttpResponse> {
    Box::pin(async move {
        HttpResponse::Ok()
            .content_type("application/json")
            .body(text.0.clone())
    })
}

/// `GET /docs/…`: Swagger UI, embedded in the binary.
pub fn page(_: Arc<Text>, call: Call) -> LocalBoxFuture<'static, HttpResponse> {
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
