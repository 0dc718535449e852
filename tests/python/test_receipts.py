"""Read receipts (SEMANTICS 7): four forms, now or later, seen by all sessions of the user."""

import time

import pytest

from expect import eventually
from fanfare import fresh_id
from server import STREAM

BATCH = 300


@pytest.fixture
def user():
    return fresh_id()


@pytest.fixture
def ids(fanfare, user):
    """Three messages to the user, before any session is there; oldest first."""
    return [fanfare.post(f"/notify/user/{user}", {"msg": n})["messageId"] for n in range(3)]


def receipt_messages(session, count):
    """The ids in the next `count` receipt messages; anything else in the queue is an error."""
    messages = session.take(count)
    assert all(m["_type"] == "message-read-receipt" and m["_sqs_only"] == 1 for m in messages)
    assert all(m["userId"] == session["userId"] for m in messages)
    return [m["messages-receipted"] for m in messages]


def read_flags(fanfare, user):
    return {m["messageId"]: m["is_read"] for m in fanfare.history(user)}


def by_path(fanfare, user, ids, **query):
    return fanfare.get(f"/messages/set-read/user/{user}/message/{','.join(ids)}", **query)


def by_body(fanfare, user, ids, **query):
    return fanfare.post(f"/messages/set-read/user/{user}", ids, **query)


def by_time(fanfare, user, ids, **query):
    return fanfare.get(f"/messages/set-read/user/{user}/asof/{int(time.time()) + 1}", **query)


def one_by_one(fanfare, user, ids, **query):
    answers = [by_path(fanfare, user, [one], **query) for one in ids]
    return {"messages_receipted": [i for answer in answers for i in answer.get("messages_receipted", [])]}


@pytest.mark.parametrize("form", [by_path, by_body, by_time, one_by_one])
def test_each_form_receipts_and_tells_every_session(fanfare, user, ids, form):
    sessions = [fanfare.create(user=user) for _ in range(2)] + [fanfare.create(user=user, envelope="gcm")]
    stranger = fanfare.create(sessions[0]["accountId"], user=fresh_id())
    assert sorted(form(fanfare, user, ids)["messages_receipted"]) == sorted(ids)
    assert read_flags(fanfare, user) == {message: 1 for message in ids} and fanfare.unread(user) == 0
    expected = [[one] for one in ids] if form is one_by_one else [sorted(ids)]
    for session in sessions:
        assert [sorted(batch) for batch in receipt_messages(session, len(expected))] == expected
    stranger.take(0)
    assert len(fanfare.history(user)) == 3, "receipts are not kept"

    assert form(fanfare, user, ids)["messages_receipted"] == [], "a second time changes nothing"
    for session in sessions:
        session.take(0)


@pytest.mark.parametrize("form", [by_path, by_body, by_time])
@pytest.mark.parametrize("query", [{"async": "1"}, {"async": ""}])
def test_each_form_works_later(fanfare, user, ids, form, query):
    session = fanfare.create(user=user)
    answer = form(fanfare, user, ids, **query)
    assert answer == {"success": True}
    eventually(lambda: fanfare.unread(user) == 0)
    assert read_flags(fanfare, user) == {message: 1 for message in ids}
    assert [sorted(batch) for batch in receipt_messages(session, 1)] == [sorted(ids)]


def test_some_are_read_and_others_are_not(fanfare, user, ids):
    session = fanfare.create(user=user)
    assert by_body(fanfare, user, ids[1:2])["messages_receipted"] == ids[1:2]
    assert read_flags(fanfare, user) == {ids[0]: 0, ids[1]: 1, ids[2]: 0} and fanfare.unread(user) == 2
    assert by_path(fanfare, user, ids[:2])["messages_receipted"] == ids[:1], "only what changed"
    assert receipt_messages(session, 2) == [ids[1:2], ids[:1]]


def test_unknown_ids_change_nothing_and_are_no_error(fanfare, user, ids):
    session = fanfare.create(user=user)
    assert by_body(fanfare, user, ["never", "x" * 200])["messages_receipted"] == []
    assert by_path(fanfare, user, ["never", ids[0]])["messages_receipted"] == ids[:1]
    assert by_body(fanfare, user, [])["messages_receipted"] == []
    assert receipt_messages(session, 1) == [ids[:1]]
    assert by_body(fanfare, fresh_id(), ids)["messages_receipted"] == [], "ids of another user"
    assert fanfare.unread(user) == 2


def test_one_id_twice_is_one_receipt(fanfare, user, ids):
    assert by_body(fanfare, user, [ids[0], ids[0]])["messages_receipted"] == [ids[0]]
    assert fanfare.unread(user) == 2


def test_as_of_a_time_leaves_what_came_later(fanfare, user, ids):
    time.sleep(1.1)
    later = fanfare.post(f"/notify/user/{user}", {"msg": "later"})["messageId"]
    moments = {m["messageId"]: float(m["created"]) for m in fanfare.history(user)}
    before = int(moments[later]) - (moments[later] == int(moments[later]))
    answer = fanfare.get(f"/messages/set-read/user/{user}/asof/{before}.99")
    expected = sorted(message for message in ids if moments[message] <= before)
    assert sorted(answer["messages_receipted"]) == expected, "fractions are cut"
    assert read_flags(fanfare, user)[later] == 0
    assert fanfare.get(f"/messages/set-read/user/{user}/asof/0")["messages_receipted"] == []


def test_a_receipted_message_that_is_sent_again_is_unread_again(fanfare, user):
    for expected in (["m"], ["m"]):
        fanfare.post(f"/notify/user/{user}", {"msg": "state", "messageId": "m"})
        assert fanfare.unread(user) == 1
        assert by_body(fanfare, user, ["m"])["messages_receipted"] == expected


@pytest.mark.parametrize("body", ["{}", '"id"', "null", "[1]", "[[]]", "[", ""])
@pytest.mark.bad_input
def test_a_body_that_is_no_list_of_ids_is_refused(fanfare, user, ids, body):
    answer = fanfare.signed("POST", f"/messages/set-read/user/{user}", body=body.encode())
    assert answer.status_code == 400 and answer.json()["success"] is False
    assert fanfare.unread(user) == 3


@pytest.mark.bad_input
def test_a_bad_time_is_refused(fanfare, user):
    for moment in ("yesterday", "NaN", "1e400"):
        assert fanfare.signed("GET", f"/messages/set-read/user/{user}/asof/{moment}").status_code == 400


@pytest.mark.slow
@pytest.mark.parametrize("form", [by_body, by_time])
def test_large_receipts_are_worked_off_in_batches(fanfare, user, form):
    kinesis = fanfare.client("kinesis")
    ids = [f"{user}-{n:03d}" for n in range(2 * BATCH + 50)]
    for start in range(0, len(ids), 325):
        records = [
            {"Data": f'{{"userId":{user},"messageId":"{one}"}}'.encode(), "PartitionKey": "p"}
            for one in ids[start : start + 325]
        ]
        assert kinesis.put_records(StreamName=STREAM, Records=records)["FailedRecordCount"] == 0
    eventually(lambda: fanfare.unread(user) == len(ids))
    session = fanfare.create(user=user)
    assert form(fanfare, user, ids, **{"async": "1"}) == {"success": True}
    eventually(lambda: fanfare.unread(user) == 0, within=20)
    batches = receipt_messages(session, 3)
    assert [len(batch) for batch in batches] == [BATCH, BATCH, 50]
    assert sorted(one for batch in batches for one in batch) == ids
