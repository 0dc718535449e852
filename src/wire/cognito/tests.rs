//! Who gets which keys, and what the operator can do.

use serde_json::json;

use super::*;
use crate::auth::Caller;
use crate::auth::testing::{self, FakeRegistry};
use crate::backends::SessionRegistry as _;

struct Given {
    state: Arc<CognitoState>,
    registry: Arc<FakeRegistry>,
    session: Session,
}

fn given() -> Given {
    let registry = Arc::new(FakeRegistry::default());
    let session = testing::session(7, "s", Some(3));
    registry.put(session.clone());
    let (found_in, sessions) = (Arc::clone(&registry), Arc::clone(&registry));
    let state = CognitoState {
        find: Box::new(move |identity| found_in.by_identity(identity)),
        destroy: Box::new(move |key| {
            let removed = sessions.remove(&key).is_some();
            Box::pin(async move { Ok(removed) })
        }),
        region: "us-east-1".into(),
        env: "dev".into(),
        clock: Clock::start(),
        authenticator: Arc::new(Authenticator::new(
            Vec::new(),
            registry.clone(),
            vec!["us-east-1".into()],
            Clock::start(),
        )),
    };
    Given {
        state: Arc::new(state),
        registry,
        session,
    }
}

fn grant(caller: Caller) -> Grant {
    Access::Public.decide(caller).unwrap()
}

fn operator() -> Caller {
    Caller::Operator {
        access_key: "FANFAREDEV".into(),
    }
}

impl Given {
    async fn credentials(&self, caller: Caller, token: Option<&str>) -> Result<Value, Fault> {
        let mut members = json!({ "IdentityId": self.session.identity.as_str() });
        if let Some(token) = token {
            members["Logins"] = json!({ PROVIDER: token });
        }
        self.raw_credentials(caller, &members).await
    }

    async fn raw_credentials(&self, caller: Caller, members: &Value) -> Result<Value, Fault> {
        let body = members.to_string().into();
        get_credentials_for_identity::call(self.state.clone(), grant(caller), body, None).await
    }
}

#[actix::test]
async fn the_current_token_gives_the_current_keys() {
    let given = given();
    let keys = &given.session.credentials;
    let token = Some(keys.session_token.as_str());
    let answer = given.credentials(Caller::Anonymous, token).await.unwrap();
    assert_eq!(answer["IdentityId"], given.session.identity.as_str());
    let expect = json!({
        "AccessKeyId": keys.access_key,
        "SecretKey": keys.secret_key,
        "SessionToken": keys.session_token,
        "Expiration": keys.expires.millis() as f64 / 1000.0,
    });
    assert_eq!(answer["Credentials"], expect);
}

#[actix::test]
async fn a_signature_is_proof_of_ones_own() {
    let given = given();
    let own = Caller::Session(Arc::new(given.session.clone()));
    assert!(given.credentials(own, None).await.is_ok());
    assert!(given.credentials(operator(), None).await.is_ok());
    let other = Caller::Session(Arc::new(testing::session(7, "other", Some(3))));
    let fault = given.credentials(other, None).await.unwrap_err();
    assert_eq!(fault.code, "NotAuthorizedException");
}

#[actix::test]
async fn without_proof_there_are_no_keys() {
    let given = given();
    let other = testing::session(7, "other", Some(3));
    given.registry.put(other.clone());
    let of_other = other.credentials.session_token.as_str();
    let own = given.session.credentials.session_token.clone();
    for token in [None, Some(""), Some("x"), Some(of_other), Some(&own[1..])] {
        let fault = given.credentials(Caller::Anonymous, token).await;
        assert_eq!(
            fault.unwrap_err().code,
            "NotAuthorizedException",
            "{token:?}"
        );
    }
    let members = json!({
        "IdentityId": given.session.identity.as_str(),
        "Logins": { "graph.facebook.com": own },
    });
    let fault = given.raw_credentials(Caller::Anonymous, &members).await;
    assert_eq!(fault.unwrap_err().code, "NotAuthorizedException");
}

#[actix::test]
async fn a_token_ends_with_its_keys_and_an_identity_with_its_session() {
    let given = given();
    let token = given.session.credentials.session_token.clone();
    let past = Timestamp(1);
    let check = async |expires: Timestamp, ttl: Timestamp, code: &str| {
        let mut session = given.session.clone();
        session.credentials.expires = expires;
        session.ttl = ttl;
        given.registry.put(session);
        let fault = given.credentials(Caller::Anonymous, Some(&token)).await;
        assert_eq!(fault.unwrap_err().code, code);
    };
    check(past, given.session.ttl, "NotAuthorizedException").await;
    check(past, past, "ResourceNotFoundException").await;
}

#[actix::test]
async fn bad_identities_are_refused() {
    let given = given();
    let missing = format!("us-east-1:{}", Uuid::new_v4());
    for (members, code) in [
        (
            json!({ "IdentityId": missing }),
            "ResourceNotFoundException",
        ),
        (json!({ "IdentityId": "nope" }), "InvalidParameterException"),
        (json!({}), "InvalidParameterException"),
        (json!({ "IdentityId": 7 }), "SerializationException"),
        (
            json!({ "IdentityId": missing, "Logins": [] }),
            "SerializationException",
        ),
    ] {
        let fault = given.raw_credentials(Caller::Anonymous, &members).await;
        let fault = fault.unwrap_err();
        assert_eq!((fault.status, fault.code), (400, code), "{members}");
    }
    let logins: serde_json::Map<_, _> = (0..11).map(|n| (n.to_string(), "x".into())).collect();
    let members = json!({ "IdentityId": missing, "Logins": logins });
    let fault = given.raw_credentials(Caller::Anonymous, &members).await;
    assert_eq!(fault.unwrap_err().code, "InvalidParameterException");
}

#[actix::test]
async fn identities_are_described_and_deleted() {
    let given = given();
    let id = given.session.identity.as_str();
    let describe = async || {
        let body = json!({ "IdentityId": id }).to_string().into();
        describe_identity::call(given.state.clone(), grant(operator()), body, None).await
    };
    let found = describe().await.unwrap();
    assert_eq!(found["IdentityId"], id);
    assert_eq!(found["Logins"], json!(["fanfare"]));
    let created = given.session.created.millis() as f64 / 1000.0;
    assert_eq!(found["CreationDate"], created);
    let missing = format!("us-east-1:{}", Uuid::new_v4());
    let delete = async |ids: Vec<&str>| {
        let body = json!({ "IdentityIdsToDelete": ids }).to_string().into();
        delete_identities::call(given.state.clone(), grant(operator()), body, None).await
    };
    for bad in [vec![], vec![id; 61], vec![id, "nope"]] {
        let fault = delete(bad).await.unwrap_err();
        assert_eq!(fault.code, "InvalidParameterException");
        assert!(describe().await.is_ok());
    }
    let answer = delete(vec![id, &missing]).await.unwrap();
    assert_eq!(answer, json!({ "UnprocessedIdentityIds": [] }));
    let fault = describe().await.unwrap_err();
    assert_eq!(fault.code, "ResourceNotFoundException");
}

#[actix::test]
async fn what_is_not_deleted_is_named() {
    let mut given = given();
    let state = Arc::get_mut(&mut given.state).unwrap();
    state.destroy = Box::new(|_| Box::pin(async { Err(StoreError::Overloaded) }));
    let id = given.session.identity.as_str();
    let body = json!({ "IdentityIdsToDelete": [id] }).to_string().into();
    let answer = delete_identities::call(given.state.clone(), grant(operator()), body, None).await;
    let expect = json!([{ "IdentityId": id, "ErrorCode": "InternalServerError" }]);
    assert_eq!(answer.unwrap()["UnprocessedIdentityIds"], expect);
}

#[actix::test]
async fn there_is_one_pool() {
    let given = given();
    let list = async |body: &'static str| {
        let state = given.state.clone();
        list_identity_pools::call(state, grant(operator()), body.into(), None).await
    };
    let answer = list("{\"MaxResults\":60}").await.unwrap();
    let pool = &answer["IdentityPools"][0];
    assert_eq!(pool["IdentityPoolName"], "dev-fanfare");
    let id = pool["IdentityPoolId"].as_str().unwrap();
    assert!(IdentityId::parse(id).is_ok(), "{id}");
    assert_eq!(id, given.state.pool_id());
    for body in ["{}", "{\"MaxResults\":0}", "{\"MaxResults\":61}"] {
        let fault = list(body).await.unwrap_err();
        assert_eq!(fault.code, "InvalidParameterException", "{body}");
    }
}

/// Through the door, as the SDKs send it: unsigned where the service asks for no signature.
#[actix::test]
async fn calls_come_through_the_door() {
    use actix_web::body::to_bytes;
    use actix_web::test::TestRequest;

    let given = given();
    let authenticator = testing::authenticator(&given.registry);
    let door = super::super::front::Door::new(authenticator, Default::default(), "http").rpc(
        Wire,
        &given.state,
        OPERATIONS,
    );
    let send = async |operation: &str, body: String, keys: Option<&_>| {
        let target = format!("{TARGET_PREFIX}{operation}");
        let headers = [("x-amz-target", target.as_str())];
        let headers = match keys {
            Some(keys) => {
                let line = ("POST", "/");
                testing::signed(keys, "cognito-identity", line, &headers, body.as_bytes())
            }
            None => vec![("x-amz-target".to_owned(), target.clone())],
        };
        let mut request = TestRequest::post().uri("/").set_payload(body);
        for (name, value) in &headers {
            request = request.append_header((name.as_str(), value.as_str()));
        }
        let response = door.handle(request.to_srv_request()).await;
        let (_, response) = response.into_parts();
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body()).await.unwrap();
        (status, serde_json::from_slice::<Value>(&body).unwrap())
    };
    let id = given.session.identity.as_str();
    let own = &given.session.credentials;
    let login = json!({ "IdentityId": id, "Logins": { PROVIDER: own.session_token } });
    let (status, _) = send("GetCredentialsForIdentity", login.to_string(), None).await;
    assert_eq!(status, 200);
    let describe = json!({ "IdentityId": id }).to_string();
    let mut wrong = testing::operator();
    wrong.secret_key.push('x');
    for (keys, expect) in [
        (None, "MissingAuthenticationTokenException"),
        (Some(own), "NotAuthorizedException"),
        (Some(&wrong), "InvalidSignatureException"),
    ] {
        let (status, body) = send("DescribeIdentity", describe.clone(), keys).await;
        assert_eq!((status, body["__type"].as_str()), (400, Some(expect)));
    }
    let (status, body) = send("GetCredentialsForIdentity", describe.clone(), Some(&wrong)).await;
    assert_eq!(status, 400, "a wrong signature is no missing one: {body}");
    let operator = testing::operator();
    let (status, _) = send("DescribeIdentity", describe, Some(&operator)).await;
    assert_eq!(status, 200);
    let (status, body) = send("GetOpenIdToken", "{}".into(), None).await;
    assert_eq!(
        (status, body["__type"].as_str()),
        (400, Some("UnknownOperationException"))
    );
}

#[actix::test]
async fn guests_get_an_identity_and_keys() {
    use crate::app::testing::Composed;
    let given = Composed::new();
    let send = async |operation: &str, body: Value| {
        let target = format!("{TARGET_PREFIX}{operation}");
        let headers = vec![("x-amz-target".to_owned(), target)];
        let body = body.to_string();
        let answer = given.send(("POST", "/"), &headers, body.as_bytes()).await;
        (answer.status, answer.json())
    };
    let name = format!("fanfare/us-east-1/{}", "dev");
    let uuid = Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes());
    let pool = format!("us-east-1:{uuid}");
    let (status, body) = send("GetId", json!({ "IdentityPoolId": pool })).await;
    assert_eq!(status, 200, "{body}");
    let identity = body["IdentityId"].clone();
    assert!(
        identity
            .as_str()
            .is_some_and(|id| id.starts_with("us-east-1:"))
    );
    let (status, body) = send(
        "GetCredentialsForIdentity",
        json!({ "IdentityId": identity }),
    )
    .await;
    assert_eq!((status, &body["IdentityId"]), (200, &identity), "{body}");
    assert!(body["Credentials"]["SecretKey"].is_string(), "{body}");
    assert!(body["Credentials"]["Expiration"].is_f64(), "{body}");
    for (operation, body, code) in [
        ("GetId", json!({}), "InvalidParameterException"),
        (
            "GetId",
            json!({ "IdentityPoolId": "x" }),
            "ResourceNotFoundException",
        ),
        (
            "GetId",
            json!({ "IdentityPoolId": pool, "Logins": { "x": "y" } }),
            "NotAuthorizedException",
        ),
        (
            "GetCredentialsForIdentity",
            json!({ "IdentityId": identity, "Logins": { "x": "y" } }),
            "ResourceNotFoundException",
        ),
    ] {
        let (status, body) = send(operation, body).await;
        assert_eq!(
            (status, body["__type"].as_str()),
            (400, Some(code)),
            "{body}"
        );
    }
    given.authenticator().replace(Default::default());
    let (_, body) = send("GetId", json!({ "IdentityPoolId": pool })).await;
    assert_eq!(body["__type"], "NotAuthorizedException");
    let (_, body) = send(
        "GetCredentialsForIdentity",
        json!({ "IdentityId": identity }),
    )
    .await;
    assert_eq!(body["__type"], "ResourceNotFoundException");
}
