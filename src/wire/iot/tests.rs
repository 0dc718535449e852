//! Guests' keys, connect tokens and the endpoint, through the door.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::app::testing::{Composed, keys_of};
use crate::auth::sigv4::{HeaderList, Request};
use crate::auth::testing::{HOST, guest, operator, signed};
use crate::domain::Timestamp;
use crate::domain::session::Credentials;

fn host() -> Vec<(String, String)> {
    vec![("host".to_owned(), HOST.to_owned())]
}

#[actix::test]
async fn guests_get_keys_in_both_namings() {
    let given = Composed::new();
    for path in [
        "/iot/keys",
        "/dev/iot/keys",
        "/iot/keys?topic=/game/x,/game/y",
    ] {
        let answer = given.send(("GET", path), &host(), b"").await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let header = |name| answer.headers.get(name).unwrap().to_str().unwrap();
        assert_eq!(header("content-type"), "application/json");
        assert_eq!(header("access-control-allow-origin"), "*");
        assert_eq!(header("cache-control"), "no-store");
        let body = answer.json();
        assert_eq!(body["iotEndpoint"], HOST);
        assert_eq!(body["region"], "us-east-1");
        assert_eq!(body["accessKey"], body["awsAccessKey"]);
        assert_eq!(body["secretKey"], body["awsSecretAccessKey"]);
        let token = body["sessionToken"].as_str().unwrap();
        assert!(token.len() < 4096, "{}", token.len());
        let keys = Credentials {
            access_key: body["accessKey"].as_str().unwrap().to_owned(),
            secret_key: body["secretKey"].as_str().unwrap().to_owned(),
            session_token: token.to_owned(),
            expires: Timestamp(u64::MAX),
        };
        let headers = signed(&keys, "iot", ("GET", "/endpoint"), &[], b"");
        assert_eq!(
            given.send(("GET", "/endpoint"), &headers, b"").await.status,
            200
        );
    }
    for (path, status) in [
        ("/iot/keys?topic=", 400),
        ("/iot/keys?topic=a&topic=b", 400),
        ("/iot/keys?topic=${x}", 400),
        ("/iot/keys?topic=%FF", 400),
    ] {
        let answer = given.send(("GET", path), &host(), b"").await;
        assert_eq!(answer.status, status, "{path} {}", answer.text);
    }
}

#[actix::test]
async fn the_routes_are_in_the_document_as_they_answer() {
    let given = Composed::new();
    let answer = given.send(("GET", "/openapi.json"), &host(), b"").await;
    let document = answer.json();
    let described: BTreeSet<_> = super::document().paths.paths.into_keys().collect();
    let served = super::KEY_ROUTES.iter().map(|route| route.path.to_owned());
    assert_eq!(described, served.collect());
    for route in super::KEY_ROUTES {
        let method = route.methods[0].as_str().to_lowercase();
        let operation = &document["paths"][route.path][&method];
        assert!(operation["operationId"].is_string(), "{document}");
        let is_public = route.access == crate::auth::Access::Public;
        assert_eq!(operation["security"][0]["sigv4"].is_null(), is_public);
    }
    for (line, name) in [
        (("GET", "/iot/keys"), "GuestKeys"),
        (("POST", "/mqtt/token"), "ConnectToken"),
    ] {
        let answer = given.rest(&operator(), line, "").await.json();
        let properties = &document["components"]["schemas"][name]["properties"];
        let keys = |value: &Value| {
            value
                .as_object()
                .unwrap()
                .keys()
                .cloned()
                .collect::<BTreeSet<_>>()
        };
        assert_eq!(keys(&answer), keys(properties), "{name}");
    }
}

#[actix::test]
async fn without_guests_there_are_no_keys() {
    let given = Composed::new();
    given.authenticator().replace(Default::default());
    let answer = given.send(("GET", "/iot/keys"), &host(), b"").await;
    assert_eq!(
        (answer.status, &answer.json()["success"]),
        (403, &Value::from(false))
    );
}

#[actix::test]
async fn the_endpoint_is_where_the_client_is() {
    let given = Composed::new();
    let ask = async |query: &str| {
        let target = format!("/endpoint{query}");
        let headers = signed(&operator(), "iot", ("GET", &target), &[], b"");
        given.send(("GET", &target), &headers, b"").await
    };
    for query in [
        "",
        "?endpointType=iot%3AData-ATS",
        "?endpointType=iot%3AData",
    ] {
        assert_eq!(ask(query).await.json()["endpointAddress"], HOST);
    }
    assert_eq!(ask("?endpointType=iot%3AJobs").await.status, 400);
}

#[actix::test]
async fn a_connect_token_opens_mqtt() {
    let given = Composed::new();
    let session = given.ok(("POST", "/create/7/s"), "").await;
    let keys = keys_of(&session["session"]);
    for (keys, name) in [(operator(), "operator"), (keys, "session:7/s")] {
        let answer = given.rest(&keys, ("POST", "/mqtt/token"), "").await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let query = format!("token={}", answer.json()["token"].as_str().unwrap());
        let list = HeaderList(&[("host", HOST)]);
        let request = Request {
            method: "GET",
            raw_path: "/mqtt",
            raw_query: &query,
            headers: &list,
            authority: None,
            body: b"",
        };
        let principal = given.authenticator().upgrade(&request).unwrap().unwrap();
        assert_eq!(&*principal.name, name);
    }
    let refused = given
        .rest(&guest(given.authenticator()), ("POST", "/mqtt/token"), "")
        .await;
    assert_eq!(refused.status, 403);
}

/// A renewal reaches open connections: the store tells of it before it answers.
#[actix::test]
async fn s11_a_renewal_is_told_to_open_connections() {
    let given = Composed::new();
    let session = given.ok(("POST", "/create/7/s?topics=a"), "").await;
    let answer = given
        .rest(&keys_of(&session["session"]), ("POST", "/mqtt/token"), "")
        .await;
    let query = format!("token={}", answer.json()["token"].as_str().unwrap());
    let list = HeaderList(&[("host", HOST)]);
    let request = Request {
        method: "GET",
        raw_path: "/mqtt",
        raw_query: &query,
        headers: &list,
        authority: None,
        body: b"",
    };
    let authenticator = given.authenticator();
    let principal = authenticator.upgrade(&request).unwrap().unwrap();
    let mut version = authenticator.version(&principal);
    for change in [
        "/create/7/other",
        "/renew/7/s",
        "/create/7/s",
        "/destroy/7/s",
    ] {
        given.ok(("POST", change), "").await;
        let now = authenticator.version(&principal);
        assert_eq!(now > version, change != "/create/7/other", "{change}");
        version = now;
    }
}
