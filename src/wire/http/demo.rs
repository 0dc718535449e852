//! The demos' backend (`[demo]`): who signs in is believed, whatever name is given. Otherwise it does what a backend of
//! one's own does: it knows who is asking, makes a session for that user with the operator's rights, and hands its
//! description to the page. `examples/` has the same in Python and JavaScript.

use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::http::Method;
use actix_web::http::header::CACHE_CONTROL;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::answer::{Answer, Refused, ok, respond};
use super::sessions::describe;
use super::{RestState, Route, fields};
use crate::actors::dispatcher::messages::Dispatch;
use crate::actors::dispatcher::posted::Posted;
use crate::actors::registrar::Create;
use crate::auth::{Access, Authenticator, Caller};
use crate::domain::session::EnvelopeVersion;
use crate::domain::{AccountId, SessionId, SessionKey, Target, UserId};
use crate::wire::Call;

/// What the routes work with.
pub struct DemoState {
    /// Sessions and messages.
    pub rest: Arc<RestState>,
    /// Makes tokens for pages that can not sign.
    pub authenticator: Arc<Authenticator>,
}

/// Characters of a name; beyond: 400. With its session id it fits into the 256 bytes of one, whatever the characters.
const NAME_CHARACTERS: usize = 24;

/// Characters of a message to somebody's inbox; beyond: 400.
pub(super) const TEXT_CHARACTERS: usize = 2000;

/// The account of everybody in the demos.
const ACCOUNT: AccountId = AccountId(0);

/// What sessions of the demos may use: their rooms, and the topics of `/compat`.
const TOPICS: &[&str] = &["chat/#", "game/#", "compat/#"];

/// The table.
pub static DEMO_ROUTES: &[Route<DemoState>] = &[
    Route {
        methods: &[Method::POST],
        path: "/demo/session",
        access: Access::Public,
        handler: |state, call| Box::pin(async move { respond(sign_in(&state, &call).await) }),
    },
    Route {
        methods: &[Method::POST],
        path: "/demo/notify",
        access: Access::Public,
        handler: |state, call| Box::pin(async move { respond(notify(&state, &call).await) }),
    },
];

/// What a page asks for when it signs in, and when its keys are about to end.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignIn {
    name: String,
    /// The session that it has, to keep it.
    session: Option<String>,
}

/// A message to somebody's inbox.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Direct {
    /// The sender's session, which nobody else knows.
    session: String,
    /// The name of who gets it.
    to: String,
    text: String,
}

async fn sign_in(state: &DemoState, call: &Call) -> Answer {
    let asked: SignIn = fields::read(&call.body)?;
    let name = name(&asked.name)?;
    let session = match &asked.session {
        Some(session) if name_in(session).as_deref() == Some(name) => session.clone(),
        Some(_) => return Err(Refused::invalid("session is not one of this name")),
        None => session_of(name),
    };
    let created = state.rest.registrar.create(Create {
        key: key(&session)?,
        user: Some(user(name)),
        retention: None,
        envelope: EnvelopeVersion::V2,
        topics: Some(TOPICS.iter().map(|&topic| topic.to_owned()).collect()),
        transport: None,
    });
    let session = Arc::new(created.await?);
    let described = describe(&state.rest, call, &session);
    let mut described = serde_json::to_value(described).unwrap_or_default();
    described["name"] = Value::from(name);
    // For phones in the LAN, to which the page came over plain HTTP.
    let token = state.authenticator.connect_token(&Caller::Session(session));
    if let Ok((token, _)) = token {
        described["connectToken"] = Value::from(token);
    }
    let body = json!({ "success": true, "session": described });
    let answer = HttpResponse::Ok()
        .insert_header((CACHE_CONTROL, "no-store"))
        .json(body);
    Ok(answer)
}

async fn notify(state: &DemoState, call: &Call) -> Answer {
    let asked: Direct = fields::read(&call.body)?;
    let to = user(name(&asked.to)?);
    if !(1..=TEXT_CHARACTERS).contains(&asked.text.chars().count()) {
        return Err(Refused::invalid(format!(
            "text must have 1 to {} characters",
            TEXT_CHARACTERS
        )));
    }
    let unknown = || Refused::invalid("session is none that has signed in");
    let from = name_in(&asked.session).ok_or_else(unknown)?;
    let sender = state.rest.registrar.status(key(&asked.session)?).await?;
    sender.ok_or_else(unknown)?;
    let message = json!({ "_type": "direct", "from": from, "text": asked.text });
    let mut posted = Posted::parse(message.to_string().as_bytes())?;
    posted.set(Target {
        account: Some(ACCOUNT),
        user: Some(to),
        session: None,
    });
    let dispatch = Dispatch {
        posted,
        fallback_id: None,
    };
    let done = state.rest.dispatchers.dispatch(dispatch).await?;
    ok(
        &json!({ "success": true, "messageId": done.message_id.to_string(), "sessions": done.sessions }),
    )
}

/// A name as people write it, without space around it.
fn name(text: &str) -> Result<&str, Refused> {
    let name = text.trim();
    let fits = (1..=NAME_CHARACTERS).contains(&name.chars().count())
        && !name.chars().any(char::is_control);
    if fits {
        Ok(name)
    } else {
        Err(Refused::invalid(format!(
            "name must have 1 to {} characters",
            NAME_CHARACTERS
        )))
    }
}

/// The same name is the same user. JavaScript can hold the number exactly.
fn user(name: &str) -> UserId {
    let digest = Sha256::digest(name.to_lowercase());
    let (first, _) = digest.split_first_chunk().expect("a digest has 32 bytes");
    UserId(i64::from_be_bytes(*first) & ((1 << 53) - 1))
}

/// A fresh session id: it says the name, and nobody can guess it.
fn session_of(name: &str) -> String {
    format!(
        "demo-{}-{}",
        uuid::Uuid::new_v4().simple(),
        hex::encode(name)
    )
}

fn name_in(session: &str) -> Option<String> {
    let (secret, name) = session.strip_prefix("demo-")?.split_once('-')?;
    uuid::Uuid::try_parse(secret).ok()?;
    String::from_utf8(hex::decode(name).ok()?).ok()
}

fn key(session: &str) -> Result<SessionKey, Refused> {
    let session = SessionId::parse(session).map_err(|_| Refused::invalid("session is too long"))?;
    Ok(SessionKey {
        account: ACCOUNT,
        session,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_says_whose_it_is() {
        for text in ["Ada", "é😀", "a-b"] {
            assert_eq!(name_in(&session_of(text)).as_deref(), Some(text));
        }
        for wrong in ["", "demo-", "demo-x-41", "demo-00-41", "other"] {
            assert_eq!(name_in(wrong), None, "{wrong}");
        }
        let longest = "😀".repeat(NAME_CHARACTERS);
        assert!(key(&session_of(&longest)).is_ok());
    }

    #[test]
    fn names_are_bounded_and_the_same_for_everybody() {
        assert!(name("").is_err() && name("   ").is_err() && name("a\nb").is_err());
        assert!(name(&"x".repeat(NAME_CHARACTERS + 1)).is_err());
        assert_eq!(name(" Ada ").ok(), Some("Ada"));
        assert_eq!(user("Ada"), user("ada"));
        assert_ne!(user("Ada"), user("Bob"));
        assert!(user("Ada").0 >= 0);
    }
}
