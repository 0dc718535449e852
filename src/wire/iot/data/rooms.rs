//! Rooms over HTTP: seats, history, and what there is to say about one (`client/PROTOCOL.md`).

use actix_web::HttpResponse;
use actix_web::http::{Method, StatusCode};
use serde::Deserialize;

use super::super::refused;
use super::{DataState, Refused, access, parameter};
use crate::actors::topic::{HistoryPage, RoomError, SeatAnswer};
use crate::auth::{Access, Caller};
use crate::domain::publication::ClientId;
use crate::domain::topic::TopicName;
use crate::wire::{Call, Route};

/// Routes about rooms, signed for `execute-api`. Whoever has keys may call them; the policy of the keys decides about the room.
pub static ROOM_ROUTES: &[Route<DataState>] = &[
    Route {
        methods: &[Method::GET],
        path: "/rooms/{room}",
        access: Access::Signed,
        handler: |state, call| Box::pin(async move { told(describe(&state, &call).await) }),
    },
    Route {
        methods: &[Method::GET],
        path: "/rooms/{room}/history",
        access: Access::Signed,
        handler: |state, call| Box::pin(async move { told(history(&state, &call)) }),
    },
    Route {
        methods: &[Method::POST],
        path: "/rooms/{room}/seat",
        access: Access::Signed,
        handler: |state, call| Box::pin(async move { told(take(&state, &call).await) }),
    },
    Route {
        methods: &[Method::DELETE],
        path: "/rooms/{room}/seat",
        access: Access::Signed,
        handler: |state, call| Box::pin(async move { told(leave(&state, &call).await) }),
    },
];

/// Why a request is refused.
enum NotDone {
    /// As in the rest of the data plane.
    Asked(Refused),
    /// The room says no.
    Room(RoomError),
}

impl From<Refused> for NotDone {
    fn from(refused: Refused) -> Self {
        Self::Asked(refused)
    }
}

impl From<RoomError> for NotDone {
    fn from(error: RoomError) -> Self {
        Self::Room(error)
    }
}

type Answer = Result<(StatusCode, String), NotDone>;

fn told(answer: Answer) -> HttpResponse {
    let refusal = match answer {
        Ok((status, body)) => {
            return HttpResponse::build(status)
                .content_type("application/json")
                .insert_header(("Cache-Control", "no-store"))
                .body(body);
        }
        Err(NotDone::Asked(refused)) => refused,
        Err(NotDone::Room(RoomError::NoSuchRoom)) => {
            let text = "No rule makes that a room which has this.";
            return refused(StatusCode::NOT_FOUND, "NoSuchRoom", text);
        }
        Err(NotDone::Room(RoomError::NotAllowed(_) | RoomError::NotYours)) => Refused::Forbidden,
        Err(NotDone::Room(error @ RoomError::TooMany(_))) => Refused::Quota(error.to_string()),
        Err(NotDone::Room(RoomError::Store(error))) => Refused::Store(error),
    };
    super::told(Err(refusal))
}

fn room(call: &Call) -> Result<TopicName, Refused> {
    let name = call.params.get("room").unwrap_or_default().to_owned();
    let name = TopicName::parse(name.into());
    name.map_err(|error| Refused::Invalid(format!("The room is not valid: {error}.")))
}

async fn describe(state: &DataState, call: &Call) -> Answer {
    let (_, access) = access(state, call)?;
    let described = state.topics.describe_room(&access, &room(call)?).await?;
    Ok((StatusCode::OK, described))
}

fn history(state: &DataState, call: &Call) -> Answer {
    let (_, access) = access(state, call)?;
    let number = |name: &str| -> Result<Option<u64>, Refused> {
        let text = parameter(call, name)?;
        let parsed = text.map(|text| {
            text.parse()
                .map_err(|_| format!("{name} must be a number."))
        });
        parsed.transpose().map_err(Refused::Invalid)
    };
    let limit = number("limit")?.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
    if limit == Some(0) {
        return Err(Refused::invalid("limit must be at least 1.").into());
    }
    let page = HistoryPage {
        before: number("before")?,
        after: number("after")?,
        limit,
    };
    let found = state
        .topics
        .room_history(&access, &room(call)?, page, None)?;
    Ok((StatusCode::OK, found))
}

#[derive(Deserialize)]
struct Asked {
    member: String,
}

async fn take(state: &DataState, call: &Call) -> Answer {
    let asked: Result<Asked, _> = serde_json::from_slice(&call.body);
    let invalid = |_| Refused::invalid("The body must be {\"member\": \"a client id\"}.");
    let asked = asked.map_err(invalid)?;
    let answer = sit(state, call, true, &asked.member).await?;
    if answer.full {
        let body = serde_json::json!({
            "success": false,
            "message": "All seats are taken.",
            "code": "RoomFull",
            "seats": answer.seats,
            "taken": answer.taken,
        });
        return Ok((StatusCode::CONFLICT, body.to_string()));
    }
    Ok((StatusCode::OK, answer.json()))
}

async fn leave(state: &DataState, call: &Call) -> Answer {
    let member = parameter(call, "member")?;
    let member = member.ok_or_else(|| Refused::invalid("member must be given."))?;
    let answer = sit(state, call, false, &member).await?;
    Ok((StatusCode::OK, answer.json()))
}

async fn sit(
    state: &DataState,
    call: &Call,
    take: bool,
    member: &str,
) -> Result<SeatAnswer, NotDone> {
    let (principal, access) = access(state, call)?;
    if member.is_empty() || member.len() > state.max_client_id_bytes {
        return Err(Refused::invalid("member must be a client id.").into());
    }
    let anyone = matches!(call.grant.caller(), Caller::Operator { .. });
    let who = (ClientId(member.into()), principal.name.clone(), anyone);
    Ok(state.topics.sit(&access, &room(call)?, take, who).await?)
}
