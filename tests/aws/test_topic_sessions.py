"""Sessions and topics through a broker: what is told by a session's topic, and what is taken from a session."""

import time

import pytest

from broker_nodes import GRANTED_1, NOT_AUTHORIZED, node_on
from envelope import open_message
from test_plane import take as poll
from topics import Peer


def test_a_session_is_told_by_its_topic_if_it_wants_that(cluster, mosquitto):
    a, b = node_on(cluster, mosquitto), node_on(cluster, mosquitto)
    session = a.create(1, "s", 7, transport="iot")
    assert session["transport"] == "iot"
    with Peer(url=b.url, credentials=session.credentials) as client:
        assert client.subscribe(session["topic"], qos=1) == GRANTED_1
        assert client.subscribe("sessions/another", qos=1) == NOT_AUTHORIZED
        assert client.publish(session["topic"], "{}", qos=1) != 0
        assert a.post("/notify/user/7", {"msg": "é"})["sessions"] == 1
        b.post("/notify/1", {"msg": "account"})
        got = [open_message(session.description, message.payload.decode()) for message in client.take(2)]
        assert [(message["msg"], message["accountId"] if "accountId" in message else 1) for message in got] == [
            ("é", 1),
            ("account", 1),
        ]
        assert poll(session, 0) == []
        assert [entry["msg"] for entry in b.history(7)] == ["account", "é"]
        # It changes its mind.
        again = b.create(1, "s", 7, transport="sqs")
        assert (again["transport"], again["topic"]) == ("sqs", session["topic"])
        a.post("/notify/user/7", {"msg": "by poll"})
        assert poll(again, 1) == ["by poll"]
        client.take(0)


def test_what_is_taken_from_a_session_is_taken_on_every_node_within_a_second(cluster, mosquitto):
    a, b = node_on(cluster, mosquitto), node_on(cluster, mosquitto)
    session = a.create(1, "s", 7)
    with Peer(url=b.url, credentials=session.credentials) as client:
        renewed = a.get("/renew" + session.path)["session"]
        time.sleep(1)
        assert client.gone is None, "it has new keys, and is the same session"
        with pytest.raises(Exception):
            Peer(url=b.url, credentials=session.credentials)
        a.get("/destroy" + session.path)
        began = time.monotonic()
        assert client.ended().value == NOT_AUTHORIZED
        assert time.monotonic() - began < 1.5
    assert renewed["accessKey"] != session["accessKey"]
