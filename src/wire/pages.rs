//! The pages of the demos, the client library that they load, and the operator's console: files that are part of the
//! program (in a debug build they are read from the checkout, so that a page can be changed while the server runs). Served
//! only with `[demo]` and `[console]`.

use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::http::Method;
use actix_web::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, ETAG, HeaderValue, IF_NONE_MATCH, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use futures_util::future::LocalBoxFuture;
use rust_embed::{EmbeddedFile, RustEmbed};

use super::{Call, Route};
use crate::auth::Access;

/// The landing page, and what all pages share.
#[derive(RustEmbed)]
#[folder = "site/"]
struct Site;

/// The chat.
#[derive(RustEmbed)]
#[folder = "chat-demo/"]
#[exclude = "*.md"]
struct Chat;

/// The game.
#[derive(RustEmbed)]
#[folder = "game-demo/"]
#[exclude = "*.md"]
struct Game;

/// The page on which stock clients are tried, with their bundles.
#[derive(RustEmbed)]
#[folder = "compat/"]
#[exclude = "*.md"]
#[exclude = "clients/*"]
struct Compat;

/// The JavaScript client as it is published.
#[derive(RustEmbed)]
#[folder = "client/dist/"]
struct Client;

/// The operator's console.
#[derive(RustEmbed)]
#[folder = "console/"]
#[exclude = "*.md"]
struct Console;

/// What the console signs its requests with.
#[derive(RustEmbed)]
#[folder = "client/"]
#[include = "sign.js"]
struct Signing;

/// What pages may do: load what is here and talk to this server. Nothing inline, nobody else's, no text as HTML. The game
/// shows itself twice in one page, so this server may frame itself.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
     frame-src 'self'; frame-ancestors 'self'; base-uri 'none'; form-action 'none'; \
     require-trusted-types-for 'script'; trusted-types 'none'",
);

const fn page(path: &'static str, handler: super::Handler<()>) -> Route<()> {
    Route {
        methods: &[Method::GET],
        path,
        access: Access::Public,
        handler,
    }
}

/// What all pages share.
pub static SHARED_ROUTES: &[Route<()>] = &[
    page("/site/{file*}", |_, call| file::<Site>(&call)),
    page("/favicon.ico", |_, call| named::<Site>(&call, "icon.svg")),
];

/// The console.
pub static CONSOLE_ROUTES: &[Route<()>] = &[
    page("/console", |_, call| file::<Console>(&call)),
    page("/console/{file*}", |_, call| file::<Console>(&call)),
    page("/console/sign.js", |_, call| {
        named::<Signing>(&call, "sign.js")
    }),
];

/// The demos.
pub static ROUTES: &[Route<()>] = &[
    page("/", |_, call| file::<Site>(&call)),
    page("/chat", |_, call| file::<Chat>(&call)),
    page("/chat/{file*}", |_, call| file::<Chat>(&call)),
    page("/game", |_, call| file::<Game>(&call)),
    page("/game/{file*}", |_, call| file::<Game>(&call)),
    page("/compat", |_, call| file::<Compat>(&call)),
    page("/compat/{file*}", |_, call| file::<Compat>(&call)),
    page("/client/{file*}", |_, call| file::<Client>(&call)),
];

/// The state of all tables.
pub fn state() -> Arc<()> {
    Arc::new(())
}

type Answer = LocalBoxFuture<'static, HttpResponse>;

/// What the path names, a folder's page if it names none.
fn file<Folder: RustEmbed>(call: &Call) -> Answer {
    let name = call.params.get("file").filter(|name| !name.is_empty());
    named::<Folder>(call, name.unwrap_or("index.html"))
}

fn named<Folder: RustEmbed>(call: &Call, name: &str) -> Answer {
    let answer = match (Folder::get(name), media_type(name)) {
        (Some(found), Some(kind)) => serve(call, &found, kind),
        _ => HttpResponse::NotFound().finish(),
    };
    Box::pin(async { answer })
}

fn serve(call: &Call, found: &EmbeddedFile, kind: &'static str) -> HttpResponse {
    let tag = format!("\"{}\"", hex::encode(&found.metadata.sha256_hash()[..16]));
    let known = call.headers.get(IF_NONE_MATCH);
    let is_known = known.is_some_and(|known| known.as_bytes() == tag.as_bytes());
    let mut answer = if is_known {
        HttpResponse::NotModified()
    } else {
        HttpResponse::Ok()
    };
    answer
        .insert_header((CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((REFERRER_POLICY, "no-referrer"))
        // Kept, and asked about each time: a server that is replaced has other pages at once.
        .insert_header((CACHE_CONTROL, "no-cache"))
        .insert_header((ETAG, tag));
    if is_known {
        return answer.finish();
    }
    answer.content_type(kind).body(found.data.to_vec())
}

/// What a file is, by its name; nothing else is served.
fn media_type(name: &str) -> Option<&'static str> {
    let (_, ending) = name.rsplit_once('.')?;
    Some(match ending {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "txt" => "text/plain; charset=utf-8",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_has_a_type_and_pages_have_nothing_inline() {
        let all = Site::iter().map(|name| (Site::get(&name), name));
        let all = all.chain(Chat::iter().map(|name| (Chat::get(&name), name)));
        let all = all.chain(Game::iter().map(|name| (Game::get(&name), name)));
        let all = all.chain(Compat::iter().map(|name| (Compat::get(&name), name)));
        let all = all.chain(Client::iter().map(|name| (Client::get(&name), name)));
        let all = all.chain(Console::iter().map(|name| (Console::get(&name), name)));
        let all = all.chain(Signing::iter().map(|name| (Signing::get(&name), name)));
        let mut pages = 0;
        for (found, name) in all.filter(|(_, name)| !name.ends_with(".md")) {
            assert!(media_type(&name).is_some(), "{name} would not be served");
            let found = found.expect("it was listed");
            let text = std::str::from_utf8(&found.data).expect("pages are texts");
            if name.ends_with(".html") {
                pages += 1;
                for inline in ["<style", " style=", "<script>", " onclick=", "javascript:"] {
                    assert!(!text.contains(inline), "{name} has {inline}");
                }
            }
            for elsewhere in ["src=\"http", "href=\"//", "src=\"//", "url(http"] {
                assert!(!text.contains(elsewhere), "{name} has {elsewhere}");
            }
        }
        assert!(pages >= 4, "{pages}");
    }
}
