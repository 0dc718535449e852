"""Sessions whose keys are Cognito's: each has an identity, which comes and goes with it.

No server here has all of Cognito's operations; `Cluster.cognito` says which has which. moto makes a new identity each time it is
asked, where Cognito finds the one of the same login."""

import json
import time

import pytest

from conftest import COGNITO, client, run, url_of
from server import REGION
from test_plane import take
from test_topics import until

#: The tag that a session's queue has, and its identities' role looks at.
TAG = "fanfare:identity"


@pytest.fixture
def cognito(cluster):
    """Where Cognito is."""
    return cluster.cognito()


@pytest.fixture
def pool(cluster):
    """The id of an identity pool."""
    pools = client("cognito-identity", url_of("MINISTACK"))
    made = pools.create_identity_pool(IdentityPoolName=f"{cluster.env}-fanfare", AllowUnauthenticatedIdentities=False)
    return made["IdentityPoolId"]


def node_on(cluster, cognito, pool, **settings):
    """A node whose sessions have identities in this pool."""
    return cluster.node(
        **COGNITO,
        **{"FANFARE_AWS_COGNITO_ENDPOINT": cognito.url, "FANFARE_AWS_IDENTITY_POOL": pool, **settings},
    )


def noting(asked):
    """A rule that spoils nothing, and notes what is asked."""
    return lambda operation, body: asked.append((operation, json.loads(body)))


def tags(cluster, session):
    return cluster.sqs.list_queue_tags(QueueUrl=session["sqsUrl"])["Tags"]


def deleted(asked):
    """The ids that were to be deleted, in order."""
    return [id for operation, call in asked if operation == "DeleteIdentities" for id in call["IdentityIdsToDelete"]]


def test_a_session_has_an_identity_from_create_to_destroy(cluster, cognito, pool):
    node = node_on(cluster, cognito, pool)
    other = node_on(cluster, cognito, pool)
    asked = []
    cognito.rule = noting(asked)
    session = node.create(1, "s", 7)
    login = {f"{cluster.env}.fanfare": session["sqsQueueName"]}
    [(first, token), (second, keys)] = asked
    assert (first, token) == ("GetOpenIdTokenForDeveloperIdentity", {"IdentityPoolId": pool, "Logins": login})
    assert (second, keys["IdentityId"]) == ("GetCredentialsForIdentity", session["identityId"])
    assert list(keys["Logins"]) == ["cognito-identity.amazonaws.com"]
    assert cognito.unsigned == {"GetCredentialsForIdentity"}, "as SDKs do it"
    assert tags(cluster, session)[TAG] == session["identityId"]
    assert session["sessionToken"] and time.time() < session["expires"] <= time.time() + 3600
    assert session["ttl"] - session["expires"] >= 3600, "the session's life is what was asked for, however short its keys'"
    other.post("/notify/user/7", {"msg": "x"})
    assert take(session, 1) == ["x"]

    renewed = other.get("/renew" + session.path)["session"]
    assert renewed["sqsUrl"] == session["sqsUrl"] and renewed["aesKey"] == session["aesKey"]
    assert tags(cluster, session)[TAG] == renewed["identityId"], "the queue knows whose it is"
    assert node.status(session.description)["identityId"] == renewed["identityId"]
    again = node.create(1, "s", 7)
    assert tags(cluster, session)[TAG] == again["identityId"]

    assert deleted(asked) == []
    assert node.get("/destroy" + session.path) == {"success": True}
    assert deleted(asked) == [again["identityId"]]
    assert [row for row in cluster.table("sessions") if "kind" in row] == []


def test_keys_of_sts_are_asked_for_no_more(cluster, cognito, pool):
    asked = []
    sts = cluster.form_proxy("STS", asked)
    node = node_on(cluster, cognito, pool, FANFARE_AWS_STS_ENDPOINT=sts.url)
    node.create(1, "s", 7)
    assert asked == []


def test_whose_signature_does_not_hold_deletes_nothing(cluster, cognito, pool):
    """By Fanfare's own Cognito, which verifies it: that the others pass means something."""
    node = node_on(cluster, cognito, pool, AWS_SECRET_ACCESS_KEY="wrong", FANFARE_AWS_PATIENCE="2")
    session = node.create(1, "s", 7)
    assert node.signed("GET", "/destroy" + session.path).status_code == 503
    until(lambda: "InvalidSignatureException" in node.server.log)


def test_a_session_that_is_over_loses_its_identity(cluster, cognito, pool):
    asked = []
    cognito.rule = noting(asked)
    node = node_on(cluster, cognito, pool)
    session = node.create(1, "s", 7)
    set_row(cluster, "endsAt", {"N": "1"})
    node.get("/cleanup")
    assert deleted(asked) == [session["identityId"]]
    assert [row for row in cluster.table("sessions") if "kind" in row] == []


def set_row(cluster, name, value):
    """Changes an attribute of the one session's row."""
    [row] = [row for row in cluster.table("sessions") if row.get("kind", {}).get("S") == "session"]
    cluster.dynamodb.update_item(
        TableName=f"{cluster.env}-sqs-browser-sessions",
        Key={"userId": row["userId"], "sessionId": row["sessionId"]},
        UpdateExpression="SET #n = :v",
        ExpressionAttributeNames={"#n": name},
        ExpressionAttributeValues={":v": value},
    )


@pytest.mark.parametrize("spoil", ["throttle", "fail", "cut", "lose"])
def test_what_cognito_does_not_do_at_once_is_tried_again(cluster, cognito, pool, spoil):
    """Each of the calls, once."""
    spoiled = set()

    def once(operation, _):
        if operation in spoiled:
            return None
        spoiled.add(operation)
        return spoil

    cognito.rule = once
    node = node_on(cluster, cognito, pool)
    session = node.create(1, "s", 7)
    assert tags(cluster, session)[TAG] == session["identityId"]
    assert node.get("/destroy" + session.path) == {"success": True}
    calls = ["ListIdentities", "GetOpenIdTokenForDeveloperIdentity", "GetCredentialsForIdentity", "DeleteIdentities"]
    assert cognito.spoiled == dict.fromkeys(calls, 1)


@pytest.mark.parametrize(("spoil", "status"), [("throttle", 429), ("fail", 503), ("cut", 503), ("deny", 503)])
def test_without_cognito_nothing_is_made(cluster, cognito, pool, spoil, status):
    node = node_on(cluster, cognito, pool, FANFARE_AWS_PATIENCE="1")
    cognito.rule = lambda *_: spoil
    assert node.signed("POST", "/create/1/s/7").status_code == status
    assert cluster.sqs.list_queues(QueueNamePrefix=cluster.env).get("QueueUrls", []) == []
    assert [row for row in cluster.table("sessions") if "kind" in row] == []


def test_an_identity_that_is_not_deleted_is_deleted_later(cluster, cognito, pool):
    asked = []
    node = node_on(cluster, cognito, pool, FANFARE_AWS_PATIENCE="1")
    session = node.create(1, "s", 7)
    cognito.rule = lambda operation, _: "cut" if operation == "DeleteIdentities" else None
    assert node.signed("GET", "/destroy" + session.path).status_code == 503
    assert node.status(session.description) is None, "it is over, whatever is left of it"
    cognito.rule = noting(asked)
    node.get("/cleanup")
    assert deleted(asked) == [session["identityId"]]
    assert [row for row in cluster.table("sessions") if "kind" in row] == []


def test_identities_that_lost_their_session_are_removed(cluster, cognito, pool):
    """What a node leaves behind that ends between making an identity and writing its session's row."""
    pools = client("cognito-identity", url_of("MINISTACK"))
    owned, *orphans = [pools.get_id(IdentityPoolId=pool)["IdentityId"] for _ in range(3)]
    node = node_on(cluster, cognito, pool)
    node.create(1, "s", 7)
    set_row(cluster, "identityId", {"S": owned})
    asked = []
    cognito.rule = noting(asked)
    node.get("/cleanup")
    assert deleted(asked) == [], "they may be about to get their session"

    def aged(operation, body):
        noting(asked)(operation, body)
        return "age" if operation == "ListIdentities" else None

    cognito.rule = aged
    node.get("/cleanup")
    assert sorted(deleted(asked)) == sorted(orphans)
    assert {call["IdentityPoolId"] for operation, call in asked if operation == "ListIdentities"} == {pool}


def test_a_pool_that_is_not_there_stops_the_start(cluster, cognito, pool):
    where = {"FANFARE_AWS_COGNITO_ENDPOINT": cognito.url, "FANFARE_HTTP_LISTEN": "127.0.0.1:0"}
    gone = pool[:-4] + "0000"
    ran = run("serve", **cluster.settings(**COGNITO, **where, FANFARE_AWS_IDENTITY_POOL=gone))
    assert ran.returncode != 0 and "aws.identity_pool can not be used" in ran.stderr and gone in ran.stderr, ran.stderr


def test_a_pool_elsewhere_stops_the_start(cluster):
    for settings, words in [
        ({}, "aws.identity_pool"),
        ({"FANFARE_AWS_IDENTITY_POOL": "eu-west-9:1"}, f"must be in the region {REGION}"),
        ({"FANFARE_AWS_IDENTITY_POOL": f"{REGION}:1", "FANFARE_SESSIONS_KEY_LIFETIME": "7200"}, "must be 3600"),
    ]:
        ran = run("serve", "--check", **cluster.settings(**{**COGNITO, **settings}))
        assert ran.returncode != 0 and words in ran.stderr, ran.stderr
