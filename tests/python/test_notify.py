"""Posting messages (SEMANTICS 4) by HTTP: who gets what, exactly."""

import concurrent.futures
import json
import time

import pytest
from botocore.exceptions import ReadTimeoutError

from backends import ANSWERED_BY_SQS, NO_ONE_COUNTER, NO_ORDER
from envelope import FIRST_COUNTER, LAST_COUNTER, blocks_v1, open_message
from expect import eventually
from fanfare import Fanfare, fresh_id

#: Deeper than any message needs to be, and than a parser should follow.
DEEP = b'{"a":' + b"[" * 200 + b"]" * 200 + b"}"


class World:
    """Two accounts, three users, six sessions; user `shared` is known in both accounts."""

    def __init__(self, fanfare):
        self.fanfare = fanfare
        self.red, self.blue = fresh_id(), fresh_id()
        self.ann, self.bob, self.shared = fresh_id(), fresh_id(), fresh_id()
        self.sessions = {
            "red ann 1": fanfare.create(self.red, "one", self.ann),
            "red ann 2": fanfare.create(self.red, "two", self.ann),
            "red bob": fanfare.create(self.red, "three", self.bob),
            "red shared": fanfare.create(self.red, "four", self.shared),
            "blue shared": fanfare.create(self.blue, "one", self.shared),
            "blue nobody": fanfare.create(self.blue, "two"),
        }

    def expect(self, *names):
        """Each named session received exactly one message, the others none; returns that message, if any."""
        received = [self.sessions[name].take(1)[0] for name in names]
        for name, session in self.sessions.items():
            if name not in names:
                session.take(0)
        # Only the session counters and keys differ between receivers, never the message.
        assert all(message == received[0] for message in received)
        return received[0] if received else None


@pytest.fixture(scope="module")
def world(module_server):
    """A server of its own: a broadcast reaches everybody, and here everybody is known."""
    return World(Fanfare(module_server().url))


TARGETS = [
    ("/notify", ["red ann 1", "red ann 2", "red bob", "red shared", "blue shared", "blue nobody"], {}),
    ("/notify/{red}", ["red ann 1", "red ann 2", "red bob", "red shared"], {"accountId": "red"}),
    ("/notify/account/{blue}", ["blue shared", "blue nobody"], {"accountId": "blue"}),
    ("/notify/user/{ann}", ["red ann 1", "red ann 2"], {"userId": "ann"}),
    ("/notify/user/{shared}", ["red shared", "blue shared"], {"userId": "shared"}),
    ("/notify/{blue}/user/{shared}", ["blue shared"], {"accountId": "blue", "userId": "shared"}),
    ("/notify/user/{ann}/session/two", ["red ann 2"], {"userId": "ann", "sessionId": "two"}),
    (
        "/notify/{red}/user/{shared}/session/four",
        ["red shared"],
        {"accountId": "red", "userId": "shared", "sessionId": "four"},
    ),
    ("/notify/{blue}/user/{ann}", [], {"accountId": "blue", "userId": "ann"}),
    ("/notify/user/{bob}/session/one", [], {"userId": "bob", "sessionId": "one"}),
]


def routing(world, fields):
    return {k: getattr(world, v) if k != "sessionId" else v for k, v in fields.items()}


@pytest.mark.parametrize(("path", "receivers", "fields"), TARGETS, ids=[target[0] for target in TARGETS])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_each_queue_receives_exactly_its_own(world, method, path, receivers, fields):
    path = path.format(**vars(world))
    if method == "GET":
        sent = {"msg": f"hello {path}", "n": "7"}
        answer = world.fanfare.get(path, **sent)
    else:
        sent = {"msg": f"hello {path}", "n": 7, "deep": {"list": [1, 2.5, None, True, {"é": "😀"}]}}
        answer = world.fanfare.post(path, sent)
    urls = {world.sessions[name]["sqsUrl"] for name in receivers}
    assert answer["sessions"] == len(receivers) and set(answer["sqsUrls"]) == urls
    assert answer["messageId"]
    if receivers:
        message = world.expect(*receivers)
        expected = {**sent, **routing(world, fields)}
        assert {k: message.get(k) for k in expected} == expected
        assert message["messageId"] == answer["messageId"]
        assert set(message) <= set(expected) | {"messageId"}
    else:
        world.expect()


def test_routing_fields_in_a_posted_body_do_not_redirect_it(world):
    world.fanfare.post(f"/notify/user/{world.bob}", {"msg": "x", "userId": world.ann})
    assert world.expect("red bob")["userId"] == world.bob


def test_routing_fields_in_a_posted_body_narrow_the_broadcast(world):
    """The same objects arrive by stream, where only the body can name the target."""
    assert world.fanfare.post("/notify", {"msg": "x", "accountId": world.blue})["sessions"] == 2
    world.expect("blue shared", "blue nobody")


@pytest.mark.parametrize(
    "text", ["😀 emoji 👩‍👩‍👧", "é ü ✓", "\u0000 control \u001f", "</script>", "\ud7ff \ue000 \uffff", ""]
)
def test_any_text_arrives_intact(fanfare, text):
    session = fanfare.create(user=fresh_id())
    fanfare.post(f"/notify/user/{session['userId']}", {"msg": text, text or "empty": [text]})
    message = session.take(1)[0]
    assert message["msg"] == text and message[text or "empty"] == [text]
    assert fanfare.history(session["userId"])[0]["msg"] == text


def test_get_parameters_are_texts_whatever_they_look_like(fanfare):
    session = fanfare.create(user=fresh_id())
    sent = {"a": "1", "b": "true", "c": "null", "d": "{}", "e": "", "f g": "a+b c&d=é😀"}
    fanfare.get(f"/notify/user/{session['userId']}", **sent)
    message = session.take(1)[0]
    assert {k: message.get(k) for k in sent} == sent


def test_a_200_kb_message_passes(fanfare):
    session = fanfare.create(user=fresh_id())
    for msg in ("x" * 200_000, "é" * 30_000):
        fanfare.post(f"/notify/user/{session['userId']}", {"msg": msg})
        assert session.texts(1) == [msg]
    assert [len(m["msg"]) for m in fanfare.history(session["userId"])] == [30_000, 200_000]


def test_a_message_that_no_queue_can_hold_is_refused_whole(fanfare):
    session = fanfare.create(user=fresh_id())
    answer = fanfare.signed(
        "POST", f"/notify/user/{session['userId']}", body=json.dumps({"msg": "x" * 1_500_000}).encode()
    )
    assert answer.status_code in (400, 413) and answer.json()["success"] is False
    session.take(0)
    assert fanfare.history(session["userId"]) == []


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"1", b'"x"', b"null", b"\xff\xfe", b'{"a":1e999}', b'{"a":1,"a":2}', DEEP]
)
@pytest.mark.bad_input
def test_a_body_that_is_no_json_object_is_refused(fanfare, body):
    session = fanfare.create(user=fresh_id())
    answer = fanfare.signed("POST", f"/notify/user/{session['userId']}", body=body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["success"] is False and answer.json()["code"]
    session.take(0)


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/notify/abc", "account"),
        ("/notify/account/1x", "account"),
        ("/notify/user/abc", "user"),
        ("/notify/1/user/", "user"),
        ("/notify/user/1/session/" + "s" * 257, "session"),
    ],
)
@pytest.mark.bad_input
def test_bad_targets_are_refused(fanfare, path, field):
    answer = fanfare.signed("GET", path, query={"msg": "x"})
    assert answer.status_code in (400, 404), answer.text
    assert answer.json()["success"] is False
    assert answer.status_code == 404 or field in answer.json()["message"].lower()


def test_the_senders_message_id_is_kept_and_repeating_it_replaces_history(fanfare):
    user = fresh_id()
    session = fanfare.create(user=user)
    for n in range(2):
        answer = fanfare.post(f"/notify/user/{user}", {"messageId": f"order-{user}", "msg": f"state {n}"})
        assert answer["messageId"] == f"order-{user}"
    assert session.texts(2) == ["state 0", "state 1"]
    (entry,) = fanfare.history(user)
    assert entry["msg"] == "state 1" and entry["messageId"] == f"order-{user}"
    assert fanfare.unread(user) == 1


def test_derived_message_ids_differ_even_for_equal_messages(fanfare):
    user = fresh_id()
    fanfare.create(user=user)
    ids = {fanfare.post(f"/notify/user/{user}", {"msg": "same"})["messageId"] for _ in range(20)}
    assert len(ids) == 20 and len(fanfare.history(user)) == 20


@pytest.mark.parametrize("value", [1, 0, False, None, "", {"any": "thing"}])
def test_sqs_only_is_delivered_and_not_kept(fanfare, value):
    user = fresh_id()
    session = fanfare.create(user=user)
    fanfare.post(f"/notify/user/{user}", {"msg": "fleeting", "_sqs_only": value})
    fanfare.post(f"/notify/user/{user}", {"msg": "kept"})
    assert session.texts(2) == ["fleeting", "kept"]
    assert [m["msg"] for m in fanfare.history(user)] == ["kept"]
    assert fanfare.unread(user) == 1


@NO_ORDER
def test_one_session_gets_its_messages_in_the_order_they_were_posted(fanfare):
    session = fanfare.create(user=fresh_id())
    for n in range(60):
        fanfare.post(f"/notify/user/{session['userId']}", {"msg": n})
    assert session.texts(60) == list(range(60))


@NO_ONE_COUNTER
def test_counters_rise_and_never_share_a_block(fanfare):
    session = fanfare.create(user=fresh_id())
    for n in range(40):
        fanfare.post(f"/notify/user/{session['userId']}", {"msg": "x" * (n * 7)})
    bodies = session.bodies(40)
    used = sorted((blocks_v1(body) for body in bodies), key=lambda blocks: blocks.start)
    assert used[0].start >= FIRST_COUNTER and used[-1].stop - 1 <= LAST_COUNTER
    assert all(before.stop <= after.start for before, after in zip(used, used[1:]))
    assert [blocks_v1(body) for body in bodies] == used, "counters only rise"


def test_a_redelivery_is_the_same_envelope(fanfare):
    session = fanfare.create(user=fresh_id())
    fanfare.get(f"/notify/user/{session['userId']}", msg="again")
    first = session.receive(wait=1, VisibilityTimeout=0)
    second = session.receive(wait=1)
    assert first[0]["Body"] == second[0]["Body"]
    assert open_message(session.description, second[0]["Body"])["msg"] == "again"


def test_a_waiting_poll_gets_the_message_at_once(fanfare):
    session = fanfare.create(user=fresh_id())
    with concurrent.futures.ThreadPoolExecutor() as pool:
        poll = pool.submit(session.receive, wait=20)
        time.sleep(0.7)
        started = time.monotonic()
        fanfare.get(f"/notify/user/{session['userId']}", msg="now")
        assert len(poll.result()) == 1
    assert time.monotonic() - started < 1.5


@ANSWERED_BY_SQS
def test_an_abandoned_poll_takes_no_message(fanfare):
    session = fanfare.create(user=fresh_id())
    impatient = fanfare.client("sqs", session.credentials, read_timeout=0.5)
    with pytest.raises(ReadTimeoutError):
        impatient.receive_message(QueueUrl=session["sqsUrl"], WaitTimeSeconds=20)
    time.sleep(0.5)
    fanfare.get(f"/notify/user/{session['userId']}", msg="for the next poll")
    assert session.texts(1) == ["for the next poll"]


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_fifty_sessions_times_250_messages(fanfare):
    account = fresh_id()
    sessions = [fanfare.create(account, f"s{n}", fresh_id()) for n in range(50)]
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        answers = pool.map(lambda n: fanfare.post(f"/notify/{account}", {"msg": n}), range(250))
        assert all(answer["sessions"] == 50 for answer in answers)
        taken = list(pool.map(lambda session: session.bodies(250, within=120), sessions))
    for session, bodies in zip(sessions, taken):
        messages = [open_message(session.description, body)["msg"] for body in bodies]
        assert sorted(messages) == list(range(250))
        blocks = sorted((blocks_v1(body) for body in bodies), key=lambda b: b.start)
        assert all(before.stop <= after.start for before, after in zip(blocks, blocks[1:]))
    assert len(eventually(lambda: fanfare.history(sessions[0]["userId"], limit=1000))) == 250
