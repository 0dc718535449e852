"""The session manager API (SEMANTICS 2): what the operator's backend calls."""

import base64
import re
import time
import urllib.parse

import pytest
from cryptography.exceptions import InvalidTag

from backends import ANSWERED_BY_SQS, KEYS_BY_STS
from envelope import open_message
from expect import ENDED_KEYS, eventually, refused
from fanfare import NOBODY, Fanfare, fresh_id, fresh_name
from server import KEY_LIFETIME, REGION, SESSION_TTL, seconds

NO_QUEUE = ("AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist")
KEYS = ("accessKey", "secretKey", "sessionToken")


def assert_ended(session):
    """The keys in this description open nothing any more."""
    history = f"/messages/user/{session['userId']}"
    assert session.fanfare.signed("GET", history, credentials=session.credentials).status_code == 403


def test_the_description_has_everything_a_client_needs(fanfare, sqs):
    account, user, session = fresh_id(), fresh_id(), fresh_name("s")
    found = fanfare.get(f"/create/{account}/{session}/{user}")["session"]
    assert found["accountId"] == account and found["userId"] == user and found["sessionId"] == session
    assert re.fullmatch(r".+-[A-Za-z0-9_-]{43}", found["sqsQueueName"]) and len(found["sqsQueueName"]) <= 80
    assert found["sqsUrl"].startswith(sqs.meta.endpoint_url + "/") and found["sqsUrl"].endswith("/" + found["sqsQueueName"])
    assert re.fullmatch(r"ASIA[A-Z0-9]+", found["accessKey"])
    assert found["secretKey"] and found["sessionToken"]
    assert abs(found["expires"] - time.time() - 4 * 3600) < 60
    assert "ttl" in found and found["region"] == REGION
    assert re.fullmatch(REGION + r":[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", found["identityId"])
    assert len(base64.b64decode(found["aesKey"], validate=True)) == 32
    assert found["topic"] and "iotEndpoint" in found


def test_a_session_without_user_has_no_user_id(fanfare):
    session = fanfare.create()
    assert "userId" not in session.description
    assert "userId" not in fanfare.status(session.description)


def test_queue_names_and_keys_cannot_be_guessed(fanfare):
    sessions = [fanfare.create(account=7).description for _ in range(20)]
    for field in ("sqsQueueName", "aesKey", "identityId", "topic", *KEYS):
        assert len({s[field] for s in sessions}) == len(sessions), field


def test_creating_again_refreshes_keys_and_keeps_the_rest(fanfare):
    session = fanfare.create(user=fresh_id())
    fanfare.get(f"/notify/account/{session['accountId']}", msg="pending")
    again = fanfare.create(session["accountId"], session["sessionId"], session["userId"])
    for field in ("sqsUrl", "sqsQueueName", "aesKey", "identityId", "topic"):
        assert again[field] == session[field], field
    for field in KEYS:
        assert again[field] != session[field], field
    assert again["expires"] >= session["expires"]
    assert_ended(session)
    assert again.texts(1) == ["pending"]


def test_one_session_id_in_two_accounts_is_two_sessions(fanfare):
    name = fresh_name("s")
    one, two = fanfare.create(session=name), fanfare.create(session=name)
    assert one["sqsUrl"] != two["sqsUrl"] and one["aesKey"] != two["aesKey"]
    fanfare.get(f"/notify/{one['accountId']}", msg="for one")
    assert one.texts(1) == ["for one"]
    two.take(0)


def test_renewing_gives_new_keys_and_ends_the_old(fanfare):
    session = fanfare.create(user=fresh_id())
    fanfare.get(f"/notify/account/{session['accountId']}", msg="kept")
    renewed = fanfare.get("/renew" + session.path)["session"]
    assert all(renewed[field] != session[field] for field in KEYS)
    assert renewed["sqsUrl"] == session["sqsUrl"] and renewed["aesKey"] == session["aesKey"]
    assert_ended(session)
    session.description = renewed
    assert session.texts(1) == ["kept"]


def test_destroying_ends_queue_keys_and_session(fanfare, sqs):
    session = fanfare.create(user=fresh_id())
    fanfare.get("/destroy" + session.path)
    assert fanfare.status(session.description) is None
    assert_ended(session)
    refused(NO_QUEUE, sqs.receive_message, QueueUrl=session["sqsUrl"])
    assert fanfare.get(f"/notify/account/{session['accountId']}", msg="nobody is there")["sessions"] == 0
    for _ in range(2):
        answer = fanfare.signed("GET", "/destroy" + session.path)
        assert answer.status_code in (200, 404)
        assert answer.json()["success"] is False and answer.json()["message"] == "session not found"
    reborn = fanfare.create(session["accountId"], session["sessionId"], session["userId"])
    assert reborn["sqsUrl"] != session["sqsUrl"] and reborn["aesKey"] != session["aesKey"]


@ANSWERED_BY_SQS
@pytest.mark.parametrize("end", ["create", "renew", "destroy"])
def test_ended_keys_do_not_open_the_queue(fanfare, end):
    session = fanfare.create(user=fresh_id())
    session.take(0)
    fanfare.get(f"/{end}" + session.path)
    refused(ENDED_KEYS, session.sqs.receive_message, status=403, QueueUrl=session["sqsUrl"])


def test_status_of_a_session(fanfare):
    session = fanfare.create(user=fresh_id())
    found = fanfare.status(session.description)
    for field in ("accountId", "userId", "sessionId", "sqsUrl", "sqsQueueName", "expires", "identityId"):
        assert found[field] == session[field], field
    assert fanfare.status({"accountId": fresh_id(), "sessionId": "nobody"}) is None


def test_renewing_an_unknown_session_is_no_success(fanfare):
    answer = fanfare.signed("GET", f"/renew/{fresh_id()}/{fresh_name()}")
    assert answer.json()["success"] is False and answer.json()["message"]


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_every_route_takes_get_and_post_and_both_path_orders(fanfare, method):
    account, user, session = fresh_id(), fresh_id(), fresh_name("s")

    def call(route, *segments):
        path = "/" + "/".join([route, *map(str, segments)])
        answer = fanfare.signed(method, path, body=b"{}" if method == "POST" else None)
        assert answer.status_code == 200, answer.text
        return answer.json()

    documented, deployed = (account, session, user), (account, user, session)
    created = call("create", *documented)["session"]
    assert call("create", *deployed)["session"]["sqsUrl"] == created["sqsUrl"]
    for order in (documented, deployed):
        assert call("renew", *order)["session"]["sqsUrl"] == created["sqsUrl"]
        found = call("status", *order)["session"]
        assert found["userId"] == user and found["sessionId"] == session
    assert call("destroy", *deployed)["success"] is True
    assert call("status", *documented)["session"] is None


def test_two_integers_are_session_then_user(fanfare):
    account, first, second = fresh_id(), fresh_id(), fresh_id()
    found = fanfare.get(f"/create/{account}/{first}/{second}")["session"]
    assert found["sessionId"] == str(first) and found["userId"] == second


@ANSWERED_BY_SQS
def test_options_come_by_query_or_by_json(fanfare, sqs):
    def retention(session):
        read = {"QueueUrl": session["sqsUrl"], "AttributeNames": ["MessageRetentionPeriod"]}
        return sqs.get_queue_attributes(**read)["Attributes"]["MessageRetentionPeriod"]

    assert retention(fanfare.create()) == "3600"
    assert retention(fanfare.create(MessageRetentionPeriod=60)) == "60"
    path = f"/create/{fresh_id()}/{fresh_name('s')}"
    assert retention(fanfare.post(path, {"MessageRetentionPeriod": 1209600})["session"]) == "1209600"


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/create/abc/s", "account"),
        ("/create/1.5/s", "account"),
        ("/create/99999999999999999999999/s", "account"),
        ("/create/1/" + "s" * 257, "session"),
        ("/create/1/first/second", "user"),
        ("/create/1/s?MessageRetentionPeriod=59", "MessageRetentionPeriod"),
        ("/create/1/s?MessageRetentionPeriod=1209601", "MessageRetentionPeriod"),
        ("/create/1/s?MessageRetentionPeriod=soon", "MessageRetentionPeriod"),
        ("/create/1/s?envelope=rot13", "envelope"),
        ("/status?limit=0", "limit"),
        ("/status?limit=many", "limit"),
        ("/status?nextToken=nonsense", "nextToken"),
    ],
)
@pytest.mark.bad_input
def test_bad_input_is_refused_naming_the_field(fanfare, path, field):
    answer = fanfare.signed("GET", path)
    assert answer.status_code == 400, answer.text
    error = answer.json()
    assert error["success"] is False and error["code"]
    assert field.lower() in error["message"].lower()
    assert fanfare.status({"accountId": 1, "sessionId": "s"}) is None


@pytest.mark.parametrize("body", [b"{", b"[]", b'"text"', b"\xff", b"null"])
@pytest.mark.bad_input
def test_a_body_that_is_no_object_is_refused(fanfare, body):
    name = fresh_name("s")
    answer = fanfare.signed("POST", f"/create/1/{name}", body=body)
    assert answer.status_code == 400 and answer.json()["success"] is False
    assert fanfare.status({"accountId": 1, "sessionId": name}) is None


@pytest.mark.parametrize(
    "session", ["s" * 256, "é✓😀", "a b", "a+b", "a%b", "semi;colon", "a:b", "x=1&y=2", "a/b", "UPPER", "'\"<>"]
)
def test_session_ids_may_be_any_text(fanfare, session):
    created = fanfare.create(session=session)
    assert created["sessionId"] == session
    assert fanfare.status(created.description)["sessionId"] == session
    encoded = urllib.parse.quote(session, safe="")
    assert fanfare.get(f"/notify/{created['accountId']}", msg="x")["sessions"] == 1
    assert created.take(1)[0]["msg"] == "x"
    fanfare.get(f"/destroy/{created['accountId']}/{encoded}")


def test_status_lists_all_sessions_and_pages(start_server):
    alone = Fanfare(start_server().url)
    assert alone.get("/status").get("sessions") == []
    created = {alone.create(account, f"s{n}")["sqsUrl"] for account in (1, 2) for n in range(6)}
    assert {s["sqsUrl"] for s in alone.get("/status")["sessions"]} == created

    listed, token = [], {}
    while True:
        page = alone.get("/status", limit=5, **token)
        assert 0 < len(page["sessions"]) <= 5
        listed += [s["sqsUrl"] for s in page["sessions"]]
        if not page.get("nextToken"):
            break
        token = {"nextToken": page["nextToken"]}
    assert len(listed) == 12 and set(listed) == created


def test_sessions_survive_a_restart(start_server):
    server = start_server()
    before = Fanfare(server.url)
    session = before.create(user=5)
    before.get("/notify/user/5", msg="pending")
    server.restart()
    after = Fanfare(server.url)
    found = after.status(session.description)
    assert found["sqsQueueName"] == session["sqsQueueName"]
    session.description["sqsUrl"] = found["sqsUrl"]
    session.fanfare = after
    assert session.texts(1) == ["pending"]
    assert [m["msg"] for m in after.history(5)] == ["pending"]


@KEYS_BY_STS
def test_an_expired_session_cannot_be_renewed_and_is_removed_by_itself(start_server):
    server = start_server(**{KEY_LIFETIME: seconds(2), SESSION_TTL: seconds(2)})
    alone = Fanfare(server.url)
    session, kept = alone.create(), alone.create()
    eventually(lambda: time.time() > session["expires"])
    refused("ExpiredToken", session.sqs.receive_message, status=403, QueueUrl=session["sqsUrl"])
    # The keys have expired, the session itself not before its `ttl`.
    assert alone.get("/renew" + kept.path)["session"]["sqsUrl"] == kept["sqsUrl"]
    eventually(lambda: time.time() > session["ttl"] + 1)
    expired = alone.signed("GET", "/renew" + session.path)
    assert expired.json()["success"] is False, expired.text
    assert alone.status(session.description) is None

    urls = alone.client("sqs").list_queues
    eventually(lambda: session["sqsUrl"] not in urls().get("QueueUrls", []), within=15)
    identities = alone.client("cognito-identity")
    refused("ResourceNotFoundException", identities.describe_identity, IdentityId=session["identityId"])


def test_cleanup_removes_what_nobody_owns(fanfare):
    session = fanfare.create()
    answer = fanfare.get("/cleanup")
    assert answer["success"] is True and isinstance(answer["queues_removed"], int)
    assert fanfare.get("/cleanup")["queues_removed"] == 0
    assert fanfare.status(session.description)["sqsUrl"] == session["sqsUrl"]
    session.take(0)


def test_cleanup_leaves_the_operators_own_queues_alone(fanfare, sqs, queue):
    sqs.send_message(QueueUrl=queue, MessageBody="mine")
    fanfare.get("/cleanup")
    assert len(sqs.receive_message(QueueUrl=queue)["Messages"]) == 1


def test_a_gcm_session_opens_and_proves_its_messages(fanfare):
    session = fanfare.create(user=fresh_id(), envelope="gcm")
    for n in range(3):
        fanfare.get(f"/notify/user/{session['userId']}", msg=f"n{n} é😀")
    bodies = session.bodies(3)
    assert all(body.startswith("v2|") for body in bodies)
    assert [open_message(session.description, body)["msg"] for body in bodies] == [f"n{n} é😀" for n in range(3)]
    sequences = [int(body.split("|")[1]) for body in bodies]
    assert len(set(sequences)) == 3
    forged = dict(session.description, sessionId=session["sessionId"] + "x")
    with pytest.raises(InvalidTag):
        open_message(forged, bodies[0])


@pytest.mark.parametrize("route", ["create", "renew", "destroy", "status", "cleanup", "notify", "messages"])
def test_the_routes_are_the_operators_alone(fanfare, route):
    session = fanfare.create(user=fresh_id())
    paths = {"cleanup": "/cleanup", "notify": "/notify", "messages": f"/messages/user/{fresh_id()}"}
    path = paths.get(route, f"/{route}" + session.path)
    assert fanfare.raw("GET", path).status_code in (401, 403)
    assert fanfare.signed("GET", path, credentials=NOBODY).status_code == 403
    assert fanfare.signed("GET", path, credentials=session.credentials).status_code == 403
    assert fanfare.status(session.description)["sqsUrl"] == session["sqsUrl"]


def test_errors_of_the_api_are_json_with_a_code(fanfare):
    for method, path, status in [("GET", "/nothing/here", 404), ("DELETE", "/status", 405), ("GET", "/create", 404)]:
        answer = fanfare.signed(method, path)
        assert answer.status_code in (status, 404), f"{path}: {answer.status_code}"
        error = answer.json()
        assert error["success"] is False and error["message"] and error["code"]
