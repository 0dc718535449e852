"""Rooms with stock clients (client/PROTOCOL.md): paho in both versions, and signed HTTP."""

import json
import urllib.parse

import pytest
from botocore.credentials import Credentials
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from fanfare import NOBODY, OPERATOR, Fanfare, fresh_name
from server import AWS_ACCOUNT
from topics import Peer

CONFIG = "FANFARE_CONFIG"
ROLE = f"arn:aws:iam::{AWS_ACCOUNT}:role/player"
EVERYTHING = json.dumps({"Statement": {"Effect": "Allow", "Action": "iot:*", "Resource": "*"}})

both_versions = pytest.mark.parametrize("version", ["3.1.1", "5"])


@pytest.fixture(scope="module")
def relay(tmp_path_factory, module_server):
    path = tmp_path_factory.mktemp("rooms") / "fanfare.toml"
    path.write_text(
        f"""
[[roles]]
name = "player"
policy = '''{EVERYTHING}'''

[[rooms]]
filter = "chat/#"
grace_seconds = 1

[[rooms]]
filter = "game/#"
history_messages = 0
grace_seconds = 1
last_value = true
seats = 2
"""
    )
    return Fanfare(module_server(**{CONFIG: str(path)}).url)


@pytest.fixture
def peer(relay):
    peers = []

    def connect(version="5", **arguments):
        peers.append(Peer(relay.url, credentials=OPERATOR, version=version, **arguments))
        return peers[-1]

    yield connect
    for one in peers:
        one.close()


def user(message):
    """A message's user properties."""
    return dict(getattr(message.properties, "UserProperty", []))


def recover(peer, room, **asked):
    """Subscribes with user properties; returns the server's answer and what follows it."""
    properties = Properties(PacketTypes.SUBSCRIBE)
    properties.UserProperty = [(name.replace("_", "-"), str(value)) for name, value in asked.items()]
    _, mid = peer.client.subscribe(room, options=SubscribeOptions(qos=1), properties=properties)
    assert [code.value for code in peer._answer(mid)] == [1]
    answer = peer.inbox.get(timeout=10)
    assert answer.topic == f"$room/recovery/{room}"
    answer = json.loads(answer.payload)
    return answer, peer.take(answer["replayed"])


def signed(relay, method, room, what="", body=None, credentials=OPERATOR, query=None):
    path = f"/rooms/{urllib.parse.quote(room, safe='')}{what}"
    data = None if body is None else json.dumps(body)
    return relay.signed(method, path, body=data, credentials=credentials, query=query)


def role(relay, *statements):
    policy = {"Policy": json.dumps({"Statement": statements})} if statements else {}
    keys = relay.client("sts").assume_role(RoleArn=ROLE, RoleSessionName=fresh_name("s"), **policy)["Credentials"]
    return Credentials(keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"])


def test_a_reconnect_brings_what_was_missed(peer):
    room = f"chat/{fresh_name('é')}"
    ada, bob = peer(), peer(version="3.1.1")
    bob.subscribe(room, qos=1)
    ada.publish(room, "one", qos=1)
    (plain,) = bob.take(1)
    assert plain.payload == b"one"
    answer, (first,) = recover(ada, room, history_last=10)
    assert (answer["recovered"], answer["reason"], answer["offset"]) == (False, "new", 1)
    seen = user(first)
    assert seen["member"] == ada.client_id
    ada.close()
    for text in ("two", "three"):
        bob.publish(room, text, qos=1)
    again = peer()
    answer, missed = recover(again, room, since_epoch=seen["epoch"], since_offset=seen["offset"])
    assert (answer["recovered"], answer["missed"]) == (True, 2)
    assert [(m.payload, user(m)["offset"]) for m in missed] == [(b"two", "2"), (b"three", "3")]
    bob.publish(room, "four", qos=0)
    (live,) = again.take(1)
    assert (live.payload, user(live)["offset"]) == (b"four", "4")


@both_versions
def test_members_and_typing(peer, version):
    room = f"chat/{fresh_name()}"
    ada, bob = peer(version=version), peer(version=version)
    ada.subscribe(f"$room/presence/{room}", f"$room/event/+/{room}", qos=1)
    (snapshot,) = ada.take(1)
    assert json.loads(snapshot.payload)["members"] == []
    bob.publish(f"$room/presence/{room}", '{"name": "Bob"}', qos=1)
    (joined,) = ada.take(1)
    (change,) = json.loads(joined.payload)["changes"]
    assert (change["type"], change["id"], change["data"]) == ("join", bob.client_id, {"name": "Bob"})
    bob.publish(f"$room/event/typing/{room}", "true")
    (typing,) = ada.take(1)
    assert (typing.topic, typing.payload) == (f"$room/event/typing/{room}", b"true")
    bob.close()
    (left,) = ada.take(1)
    assert json.loads(left.payload)["changes"] == [{"type": "leave", "id": bob.client_id, "reason": "lost"}]


@both_versions
def test_who_comes_late_gets_all_values_at_once(peer, version):
    room = f"game/{fresh_name()}"
    ada, late = peer(version=version), peer(version=version)
    ada.publish(f"$room/presence/{room}", "1", qos=1)
    ada.publish(f"$room/state/pos/{room}", '{"x": 1}', qos=1)
    late.subscribe(f"$room/state/+/{room}")
    (states,) = late.take(1)
    assert states.topic == f"$room/states/{room}"
    assert json.loads(states.payload)["states"] == [{"member": ada.client_id, "key": "pos", "value": {"x": 1}}]
    ada.publish(f"$room/state/pos/{room}", '{"x": 2}')
    (live,) = late.take(1)
    assert (live.topic, live.payload) == (f"$room/state/pos/{room}", b'{"x": 2}')


def test_history_by_http(relay, peer):
    room = f"chat/{fresh_name()}"
    with_session = relay.create(topics=room)
    ada = peer()
    for number in range(5):
        ada.publish(room, f"{number}", qos=1)
    ada.publish(room, b"\x00\xff", qos=1)
    answer = signed(relay, "GET", room, "/history", query={"before": 4, "limit": 2})
    assert answer.status_code == 200, answer.text
    page = answer.json()
    assert [(m["offset"], m["payload"], m["member"]) for m in page["messages"]] == [
        (2, "1", ada.client_id),
        (3, "2", ada.client_id),
    ]
    assert (page["first"], page["offset"]) == (1, 6)
    own = with_session.credentials
    newest = signed(relay, "GET", room, "/history", query={"limit": 1}, credentials=own).json()
    assert newest["messages"][0]["base64"] == "AP8="
    other = signed(relay, "GET", f"chat/{fresh_name()}", "/history", credentials=own)
    assert other.status_code == 403
    assert signed(relay, "GET", room, "/history", credentials=NOBODY).status_code == 403
    assert signed(relay, "GET", "game/x", "/history").status_code == 404
    assert signed(relay, "GET", room, "/history", query={"limit": "x"}).status_code == 400
    described = signed(relay, "GET", room).json()
    assert (described["room"], described["count"], described["offset"]) == (room, 0, 6)


def test_seats_by_http(relay, peer):
    room = f"game/{fresh_name()}"
    player, other = role(relay), role(relay)

    def take(member, credentials=player):
        return signed(relay, "POST", room, "/seat", {"member": member}, credentials)

    assert take("a").json() == {"seat": 1, "seats": 2, "taken": 1}
    assert take("a").json() == {"seat": 1, "seats": 2, "taken": 1}
    assert take("b").json() == {"seat": 2, "seats": 2, "taken": 2}
    full = take("c", other)
    assert (full.status_code, full.json()["code"]) == (409, "RoomFull")
    assert take("a", other).status_code == 403
    ada = peer()
    gone = signed(relay, "DELETE", room, "/seat", query={"member": "b"}, credentials=player)
    assert gone.json() == {"seat": None, "seats": 2, "taken": 1}
    ada.publish(f"$room/seat/{room}", '{"take": true}', qos=1)
    (seat,) = ada.take(1)
    assert json.loads(seat.payload) == {"seat": 2, "seats": 2, "taken": 2}
    assert signed(relay, "POST", "chat/x", "/seat", {"member": "a"}).status_code == 404
    assert signed(relay, "POST", room, "/seat", {}).status_code == 400
    reader = role(relay, {"Effect": "Allow", "Action": "iot:Receive", "Resource": "*"})
    assert take("d", reader).status_code == 403
