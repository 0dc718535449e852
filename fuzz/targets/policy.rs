//! Policies: whatever a document says, it is understood or refused, and a decision has one answer that a further Deny does not
//! turn into yes. The first line is the resource that is asked for, the rest the document.

#![no_main]

use std::sync::Arc;

use fanfare::auth::policy;
use fanfare::domain::policy::{Access, Action, Context, Document, Effect, Layer, Realm, Statement};
use libfuzzer_sys::fuzz_target;

fn access(documents: &[Arc<Document>], context: &Context) -> Access {
    let layer = Layer {
        documents,
        grants: None,
    };
    Access::of(&[layer], context)
}

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let (resource, text) = text.split_once('\n').unwrap_or(("a/b", text));
    let Ok(document) = policy::parse("fuzzed", text, 2048) else {
        return;
    };
    let context = Context {
        realm: Realm {
            region: "us-east-1".into(),
            account: "000000000000".into(),
        },
        client_id: Some("me".into()),
        source_ip: Some([10, 0, 0, 1].into()),
        ..Context::default()
    };
    let document = Arc::new(document);
    let denials: Vec<Statement> = document
        .statements
        .iter()
        .map(|statement| Statement {
            effect: Effect::Deny,
            ..statement.clone()
        })
        .collect();
    let denials = Arc::new(Document {
        name: "denials".into(),
        statements: denials,
    });
    let alone = access(std::slice::from_ref(&document), &context);
    let denied = access(&[document, denials], &context);
    for action in Action::ALL {
        let allowed = alone.allows(action, resource);
        assert_eq!(alone.decide(action, resource).is_allowed(), allowed);
        assert!(allowed || !denied.allows(action, resource));
        // Every Allow is a Deny now, too, so nothing is left.
        assert!(!denied.allows(action, resource), "{action} {resource}");
    }
});
