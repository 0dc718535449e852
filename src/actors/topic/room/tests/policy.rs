//! Who may.

use super::super::super::Connect;
use super::super::RoomError;
use super::*;
use crate::domain::policy::{
    ActionPattern, Actions, Arn, Context, Document, Effect, Layer, Resources, Statement,
};

fn statement(effect: Effect, action: &str, resource: &str) -> Statement {
    let action = ActionPattern::parse(&format!("iot:{action}")).unwrap();
    let resource = Arn::parse(&format!("arn:aws:iot:*:*:{resource}")).unwrap();
    Statement {
        sid: None,
        effect,
        actions: Actions::Only(vec![action]),
        resources: Resources::Only(vec![resource]),
        conditions: Vec::new(),
    }
}

fn access(statements: &[Statement]) -> Access {
    let document = Document {
        name: "the policy".into(),
        statements: statements.into(),
    };
    let documents = [document.into()];
    let layer = Layer {
        documents: &documents,
        grants: None,
    };
    Access::of(&[layer], &Context::default())
}

async fn limited(plane: &Plane, id: &str, statements: &[Statement]) -> Client {
    let access = access(statements);
    let edit = |connect: &mut Connect| connect.access = access;
    plane.connect(id, edit).await.unwrap()
}

#[actix::test]
async fn the_policy_on_the_room_decides_about_everything_beside_it() {
    let plane = Plane::new();
    let allow = |action: &str, resource: &str| statement(Effect::Allow, action, resource);
    let connect = allow("Connect", "client/*");
    let reads = [
        connect.clone(),
        allow("Subscribe", "topicfilter/chat/a"),
        allow("Receive", "topic/chat/a"),
    ];
    let reader = limited(&plane, "reader", &reads).await;
    reader.recover("chat/a", LAST).await;
    reader.subscribe("$room/presence/chat/a", AtMostOnce).await;
    for topic in ["$room/presence/chat/a", "$room/event/typing/chat/a"] {
        let refused = reader.send(topic, "1", AtMostOnce).await;
        assert!(
            matches!(refused, Err(PublishError::NotAllowed(_))),
            "{topic}"
        );
    }
    let other = reader
        .try_subscribe(subscription("$room/presence/chat/b", AtMostOnce))
        .await;
    assert!(matches!(other, Err(SubscribeError::NotAllowed(_))));
    let page = reader.send("$room/history/chat/b", "{}", AtMostOnce).await;
    assert!(matches!(page, Err(PublishError::NotAllowed(_))));
    reader
        .send("$room/history/chat/a", "{}", AtMostOnce)
        .await
        .unwrap();
    // Whoever may subscribe and not receive is shown nothing.
    let deaf = limited(&plane, "deaf", &reads[..2]).await;
    let writer = limited(
        &plane,
        "writer",
        &[connect.clone(), allow("Publish", "topic/chat/*")],
    )
    .await;
    writer
        .send("$room/presence/chat/a", "1", AtMostOnce)
        .await
        .unwrap();
    deaf.subscribe("$room/presence/chat/a", AtMostOnce).await;
    let recover = deaf
        .attached()
        .subscribe_since(vec![subscription("chat/a", AtMostOnce)], Some(LAST))
        .await;
    assert!(matches!(recover[0], Err(SubscribeError::NotAllowed(_))));
    let joined = reader.changes("$room/presence/chat/a", 1).await;
    assert_eq!(joined[0]["id"], "writer");
    assert!(deaf.came().is_empty());
    let room = name("chat/a");
    let described = plane.topics.describe_room(&Access::nothing(), &room).await;
    assert!(matches!(described, Err(RoomError::NotAllowed(_))));
    // An explicit Deny of the topic itself counts, too.
    let denied = [
        connect.clone(),
        allow("Publish", "topic/chat/*"),
        statement(Effect::Deny, "Publish", "topic/$room/event/*"),
    ];
    let denied = limited(&plane, "denied", &denied).await;
    denied
        .send("$room/presence/chat/a", "1", AtMostOnce)
        .await
        .unwrap();
    let refused = denied
        .send("$room/event/typing/chat/a", "1", AtMostOnce)
        .await;
    assert!(matches!(refused, Err(PublishError::NotAllowed(_))));
    // Whoever may not publish any more is not there any more.
    writer.attached().set_access(access(&[connect]));
    let changes = reader.changes("$room/presence/chat/a", 2).await;
    assert!(
        changes.contains(&json!({"type": "leave", "id": "writer", "reason": "removed"})),
        "{changes:?}"
    );
}
