"""A user's history (SEMANTICS 7): what is kept, for whom, for how long, and how it is read."""

import math
import time

import pytest

from expect import eventually
from fanfare import Fanfare, fresh_id
from server import USER_MESSAGE_TTL, seconds


@pytest.fixture
def user():
    return fresh_id()


def post(fanfare, user, msg, **fields):
    return fanfare.post(f"/notify/user/{user}", {"msg": msg, **fields})["messageId"]


def texts(entries):
    return [entry["msg"] for entry in entries]


def test_an_entry_is_the_message_and_what_history_adds(fanfare, user):
    fanfare.create(user=user)
    before = time.time()
    message = post(fanfare, user, "hello", deep={"list": [1, None, "é😀"]}, _type="chat")
    (entry,) = fanfare.history(user)
    created, ttl = entry.pop("created"), entry.pop("ttl")
    assert before - 2 < float(created) < time.time() + 2
    assert round(float(created), 6) == float(created)
    assert 86400 - 10 < ttl - before < 86400 + 10
    assert entry == {
        "msg": "hello",
        "deep": {"list": [1, None, "é😀"]},
        "_type": "chat",
        "userId": user,
        "messageId": message,
        "is_read": 0,
    }


def test_newest_first(fanfare, user):
    for n in range(10):
        post(fanfare, user, n)
    assert texts(fanfare.history(user)) == list(range(9, -1, -1))
    times = [float(m["created"]) for m in fanfare.history(user)]
    assert times == sorted(times, reverse=True)


def test_a_user_without_sessions_has_a_history(fanfare, user):
    post(fanfare, user, "for later")
    assert texts(fanfare.history(user)) == ["for later"] and fanfare.unread(user) == 1


def test_a_message_to_several_sessions_of_a_user_is_kept_once(fanfare, user):
    account = fresh_id()
    sessions = [fanfare.create(account, f"s{n}", user) for n in range(3)]
    post(fanfare, user, "once")
    fanfare.get(f"/notify/{account}", msg="account")
    assert texts(fanfare.history(user)) == ["account", "once"]
    for session in sessions:
        session.take(2)


def test_a_message_to_an_account_is_kept_for_its_users_with_a_session(fanfare):
    account, here, elsewhere = fresh_id(), fresh_id(), fresh_id()
    fanfare.create(account, user=here)
    fanfare.create(user=elsewhere)
    fanfare.get(f"/notify/account/{account}", msg="to the account")
    assert texts(fanfare.history(here)) == ["to the account"]
    assert fanfare.history(elsewhere) == []


def test_a_message_to_one_session_is_kept_for_its_user(fanfare, user):
    session = fanfare.create(user=user)
    fanfare.get(f"/notify/user/{user}/session/{session['sessionId']}", msg="one session")
    assert texts(fanfare.history(user)) == ["one session"]


def test_an_unknown_users_history_is_empty(fanfare, user):
    assert fanfare.history(user) == [] and fanfare.unread(user) == 0


def test_pages_are_complete_and_do_not_overlap(fanfare, user):
    for n in range(23):
        post(fanfare, user, n)
    seen, token, pages = [], {}, 0
    while True:
        page = fanfare.get(f"/messages/user/{user}", limit=5, **token)
        assert len(page["messages"]) <= 5
        seen += texts(page["messages"])
        pages += 1
        if not page.get("nextToken"):
            break
        post(fanfare, user, "newer than the pages")
        token = {"nextToken": page["nextToken"]}
    assert seen == list(range(22, -1, -1)) and pages in (5, 6)


def test_types_filter(fanfare, user):
    for n, kind in enumerate(["type1", "type2", "type3", None, "type1"]):
        post(fanfare, user, n, **({"_type": kind} if kind else {}))
    assert texts(fanfare.history(user, _type="type1")) == [4, 0]
    assert texts(fanfare.history(user, _type="type1,type2")) == [4, 1, 0]
    assert fanfare.history(user, _type="type") == []
    assert texts(fanfare.history(user, _type="type1", limit=1)) == [4]


def test_start_and_end_are_inclusive_seconds(fanfare, user):
    moments = []
    for n in range(3):
        post(fanfare, user, n)
        moments.append(float(fanfare.history(user)[0]["created"]))
        time.sleep(1.1)
    floors = [math.floor(moment) for moment in moments]
    assert texts(fanfare.history(user, start=floors[1])) == [2, 1]
    assert texts(fanfare.history(user, end=floors[1])) in ([1, 0], [0])
    assert texts(fanfare.history(user, start=f"{moments[1]:.6f}", end=f"{moments[1]:.6f}")) == [1]
    assert texts(fanfare.history(user, start=floors[0], end=floors[2] + 1)) == [2, 1, 0]
    assert fanfare.history(user, start=floors[2] + 60) == []
    assert fanfare.history(user, start=floors[2] + 1, end=floors[0] - 1) == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"start": "yesterday"}, "start"),
        ({"end": "1e400"}, "end"),
        ({"end": "NaN"}, "end"),
        ({"limit": "0"}, "limit"),
        ({"limit": "-1"}, "limit"),
        ({"limit": "99999999999999999999"}, "limit"),
        ({"nextToken": "nonsense"}, "nextToken"),
    ],
)
@pytest.mark.bad_input
def test_bad_queries_are_refused_naming_the_field(fanfare, user, query, field):
    answer = fanfare.signed("GET", f"/messages/user/{user}", query=query)
    assert answer.status_code == 400, answer.text
    assert answer.json()["success"] is False and field.lower() in answer.json()["message"].lower()


@pytest.mark.bad_input
def test_a_bad_user_is_refused(fanfare):
    for path in ("/messages/user/bob", "/messages/unread/user/1.5", "/messages/set-read/user/x/asof/1"):
        answer = fanfare.signed("GET", path)
        assert answer.status_code == 400 and "user" in answer.json()["message"].lower()


def test_entries_are_never_returned_after_their_time(start_server):
    alone = Fanfare(start_server(**{USER_MESSAGE_TTL: seconds(2)}).url)
    session = alone.create(user=1)
    post(alone, 1, "old")
    assert texts(alone.history(1)) == ["old"] and alone.unread(1) == 1
    time.sleep(1.2)
    post(alone, 1, "young")
    eventually(lambda: texts(alone.history(1)) == ["young"], within=5)
    assert alone.unread(1) == 1
    eventually(lambda: alone.history(1) == [], within=5)
    assert alone.unread(1) == 0
    assert alone.get(f"/messages/set-read/user/1/asof/{int(time.time()) + 9}")["messages_receipted"] == []
    assert session.texts(2) == ["old", "young"], "the queue has a retention of its own"
