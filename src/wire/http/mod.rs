//! The REST routes of sessions, notifications and history (SEMANTICS 2, 4, 7), those for operators ([`admin`]), and their
//! OpenAPI document.

use std::sync::Arc;

use actix_web::http::Method;

use super::{Handler, Route};
use crate::actors::dispatcher::Dispatchers;
use crate::actors::registrar::Registrar;
use crate::actors::user::UserHistory;
use crate::auth::Access;

pub mod admin;
mod answer;
pub mod demo;
mod fields;
pub mod messages;
pub mod notify;
pub mod openapi;
pub mod sessions;

#[cfg(test)]
mod tests;

/// What the routes work with.
pub struct RestState {
    /// Whether there are topics.
    pub has_topics: bool,
    /// The session manager.
    pub registrar: Registrar,
    /// Where messages go.
    pub dispatchers: Dispatchers,
    /// Where history is.
    pub users: Arc<dyn UserHistory>,
    /// Region in session descriptions.
    pub region: String,
    /// Account number in queue URLs.
    pub aws_account: String,
}

impl RestState {
    /// The URL of a queue: where it is, or at this server as this client reached it.
    fn queue_url(&self, call: &super::Call, name: &str, elsewhere: Option<&str>) -> String {
        if let Some(url) = elsewhere {
            return url.to_owned();
        }
        format!(
            "{}://{}/{}/{name}",
            call.scheme, call.host, self.aws_account
        )
    }
}

type RestHandler = Handler<RestState>;

const GET_OR_POST: &[Method] = &[Method::GET, Method::POST];
const GET: &[Method] = &[Method::GET];
const POST: &[Method] = &[Method::POST];

const fn route(
    methods: &'static [Method],
    path: &'static str,
    access: Access,
    handler: RestHandler,
) -> Route<RestState> {
    Route {
        methods,
        path,
        access,
        handler,
    }
}

const fn operator(path: &'static str, handler: RestHandler) -> Route<RestState> {
    route(GET_OR_POST, path, Access::Operator, handler)
}

const fn owner(
    methods: &'static [Method],
    path: &'static str,
    handler: RestHandler,
) -> Route<RestState> {
    route(methods, path, Access::OperatorOrOwner, handler)
}

/// The table.
pub static ROUTES: &[Route<RestState>] = &[
    operator("/create/{account}/{session}", |state, call| {
        Box::pin(sessions::create(state, call))
    }),
    operator("/create/{account}/{a}/{b}", |state, call| {
        Box::pin(sessions::create(state, call))
    }),
    operator("/renew/{account}/{session}", |state, call| {
        Box::pin(sessions::renew(state, call))
    }),
    operator("/renew/{account}/{a}/{b}", |state, call| {
        Box::pin(sessions::renew(state, call))
    }),
    operator("/destroy/{account}/{session}", |state, call| {
        Box::pin(sessions::destroy(state, call))
    }),
    operator("/destroy/{account}/{a}/{b}", |state, call| {
        Box::pin(sessions::destroy(state, call))
    }),
    operator("/status", |state, call| {
        Box::pin(sessions::list(state, call))
    }),
    operator("/status/{account}/{session}", |state, call| {
        Box::pin(sessions::status(state, call))
    }),
    operator("/status/{account}/{a}/{b}", |state, call| {
        Box::pin(sessions::status(state, call))
    }),
    operator("/cleanup", |state, call| {
        Box::pin(sessions::cleanup(state, call))
    }),
    operator("/notify", |state, call| {
        Box::pin(notify::notify(state, call))
    }),
    operator("/notify/{account}", |state, call| {
        Box::pin(notify::notify(state, call))
    }),
    operator("/notify/account/{account}", |state, call| {
        Box::pin(notify::notify(state, call))
    }),
    operator("/notify/user/{user}", |state, call| {
        Box::pin(notify::notify(state, call))
    }),
    operator("/notify/{account}/user/{user}", |state, call| {
        Box::pin(notify::notify(state, call))
    }),
    operator("/notify/user/{user}/session/{session}", |state, call| {
        Box::pin(notify::notify(state, call))
    }),
    operator(
        "/notify/{account}/user/{user}/session/{session}",
        |state, call| Box::pin(notify::notify(state, call)),
    ),
    owner(GET, "/messages/user/{user}", |state, call| {
        Box::pin(messages::page(state, call))
    }),
    owner(GET, "/messages/unread/user/{user}", |state, call| {
        Box::pin(messages::unread(state, call))
    }),
    owner(
        GET,
        "/messages/set-read/user/{user}/message/{ids}",
        |state, call| Box::pin(messages::set_read_named(state, call)),
    ),
    owner(
        GET,
        "/messages/set-read/user/{user}/asof/{asof}",
        |state, call| Box::pin(messages::set_read_as_of(state, call)),
    ),
    owner(POST, "/messages/set-read/user/{user}", |state, call| {
        Box::pin(messages::set_read_listed(state, call))
    }),
];

/// The table of the OpenAPI document and its page.
pub static DOCUMENT_ROUTES: &[Route<openapi::Text>] = &[
    Route {
        methods: GET,
        path: "/openapi.json",
        access: Access::Public,
        handler: openapi::document,
    },
    Route {
        methods: GET,
        path: "/docs",
        access: Access::Public,
        handler: openapi::page,
    },
    Route {
        methods: GET,
        path: "/docs/{file*}",
        access: Access::Public,
        handler: openapi::page,
    },
];

/// The state of [`DOCUMENT_ROUTES`]: what is told of these routes, and of those that another wire describes.
pub fn document_state(others: utoipa::openapi::OpenApi) -> Arc<openapi::Text> {
    Arc::new(openapi::Text::new(others))
}
