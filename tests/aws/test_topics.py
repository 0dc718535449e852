"""Topics through an MQTT broker, as clients see them: one node and two, on Mosquitto and on NATS."""

import contextlib
import json
import time

import pytest

from broker_nodes import EVERYTHING, GRANTED_1, NOT_AUTHORIZED, NOT_NOW, NOT_SHARED, node_on, peer, until
from fanfare import fresh_name


@pytest.fixture(params=["one node", "two nodes"])
def nodes(request, cluster, broker):
    """Two ways in: the same node twice, or two."""
    first = node_on(cluster, broker)
    return first, (first if request.param == "one node" else node_on(cluster, broker))


@pytest.mark.parametrize("version", ["3.1.1", "5"])
def test_clients_of_any_node_share_topics(nodes, version):
    a, b = nodes
    topic = fresh_name("game")
    with peer(a, version=version) as here, peer(b, version=version) as there, peer(b) as other:
        for client in (here, there):
            assert client.subscribe(f"{topic}/+", qos=2) == GRANTED_1
        assert other.subscribe(f"{topic}/1") == 0
        for number, client in enumerate((here, there, other)):
            for qos in (0, 1, 2):
                assert client.publish(f"{topic}/1", f"{number}-{qos}", qos=qos) == 0
        expected = [f"{number}-{qos}" for number in range(3) for qos in (0, 1, 2)]
        for client, most in ((here, 1), (there, 1), (other, 0)):
            got = client.take(9)
            assert sorted(message.payload.decode() for message in got) == expected
            for number in range(3):
                own = [m.payload.decode() for m in got if m.payload.startswith(f"{number}-".encode())]
                assert own == [f"{number}-{qos}" for qos in (0, 1, 2)], "in the order of their publisher"
            for message in got:
                assert message.qos == min(most, int(message.payload[-1:])) and not message.retain
        here.unsubscribe(f"{topic}/+")
        there.publish(f"{topic}/1", "later", qos=1)
        assert there.texts(1) == other.texts(1) == ["later"]
        here.take(0)


def test_what_is_retained_comes_to_whoever_subscribes_later(nodes):
    a, b = nodes
    topic = fresh_name("state")
    with peer(a) as publisher, peer(b) as early:
        early.subscribe(f"{topic}/#", qos=1)
        # In this moment what is published may be what is retained, too.
        time.sleep(1)
        publisher.publish(f"{topic}/1", "old", qos=1, retain=True)
        publisher.publish(f"{topic}/1", "new", qos=1, retain=True)
        publisher.publish(f"{topic}/2", "two", qos=1, retain=True)
        assert [(m.payload, m.retain) for m in early.take(3)] == [(b"old", False), (b"new", False), (b"two", False)]
        for node in (a, b):
            for _ in range(2):
                with peer(node) as late:
                    late.subscribe(f"{topic}/#", qos=1)
                    got = {(m.topic, m.payload, m.retain, m.qos) for m in late.take(2)}
                    assert got == {(f"{topic}/1", b"new", True, 1), (f"{topic}/2", b"two", True, 1)}
                with peer(node, version="3.1.1") as late:
                    late.subscribe(f"{topic}/2")
                    assert [(m.payload, m.retain, m.qos) for m in late.take(1)] == [(b"two", True, 0)]
        early.take(0)
        publisher.publish(f"{topic}/1", "", qos=1, retain=True)
        assert early.texts(1) == [""]
        with peer(b) as late:
            late.subscribe(f"{topic}/1")
            late.take(0, quiet=1)
            # Who asks for none gets none; who subscribes again gets them again.
            late.subscribe(f"{topic}/2", retainHandling=2)
            late.take(0, quiet=1)
            late.subscribe(f"{topic}/2")
            assert late.texts(1) == ["two"]


def test_a_will_is_published_by_the_node(nodes):
    a, b = nodes
    topic = fresh_name("will")
    with peer(b) as watcher:
        watcher.subscribe(f"{topic}/+", qos=1)
        lost = peer(a, will=(f"{topic}/lost", "gone", {"qos": 1, "retain": True}))
        peer(a, will=(f"{topic}/left", "never", {"qos": 1})).close()
        lost.drop()
        assert [(m.topic, m.payload) for m in watcher.take(1)] == [(f"{topic}/lost", b"gone")]
    with peer(a) as late:
        late.subscribe(f"{topic}/lost")
        assert late.texts(1) == ["gone"]


def test_filters_that_overlap_bring_each_message_once(nodes):
    a, b = nodes
    topic = fresh_name("o")
    filters = [f"{topic}/a", f"{topic}/+", f"+/{topic}-x", f"{topic}/#", f"{topic}/a/b", f"{topic}/+/b"]
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(peer(b)) for _ in filters]
        for client, wanted in zip(peers, filters, strict=True):
            client.subscribe(wanted, qos=1)
        twice = stack.enter_context(peer(b))
        twice.subscribe(f"{topic}/a", f"{topic}/#", qos=1)
        publisher = stack.enter_context(peer(a))
        for name in ("a", f"{topic}-x", "a/b"):
            publisher.publish(f"{topic}/{name}", name, qos=1)
        expected = [["a"], ["a", f"{topic}-x"], [f"{topic}-x"], ["a", f"{topic}-x", "a/b"], ["a/b"], ["a/b"]]
        for client, texts in zip([*peers, twice], [*expected, ["a", f"{topic}-x", "a/b"]], strict=True):
            assert client.texts(len(texts)) == texts
        # Narrower again when the wide ones have gone.
        twice.close()
        peers[3].unsubscribe(f"{topic}/#")
        time.sleep(1)
        publisher.publish(f"{topic}/a", "again", qos=1)
        assert peers[0].texts(1) == peers[1].texts(1) == ["again"]
        for client in peers[2:]:
            client.take(0)


def test_many_clients_cost_one_subscription(cluster, mosquitto):
    node = node_on(cluster, mosquitto)
    topic = fresh_name("room")
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(peer(node)) for _ in range(20)]
        for client in peers:
            client.subscribe(topic, qos=1)
        assert mosquitto.subscribed().count(topic) == 1
        peers[0].publish(topic, "x", qos=1)
        assert [client.texts(1) for client in peers] == [["x"]] * 20
        peers[0].unsubscribe(topic)
        for client in peers[1:-1]:
            client.close()
        peers[-1].publish(topic, "y", qos=1)
        assert peers[-1].texts(1) == ["y"]
        assert topic not in mosquitto.unsubscribed()
        peers[-1].drop()
        until(lambda: topic in mosquitto.unsubscribed())
        # Those that asked for what is retained have left nothing either.
        until(lambda: topic in mosquitto.unsubscribed("out"))


def test_what_is_not_offered_is_said(cluster, mosquitto):
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": "iot:Connect", "Resource": "*"},
            {"Effect": "Allow", "Action": ["iot:Publish", "iot:Receive"], "Resource": "arn:aws:iot:*:*:topic/open/*"},
            {"Effect": "Allow", "Action": "iot:Receive", "Resource": "arn:aws:iot:*:*:topic/silent/*"},
            {"Effect": "Deny", "Action": "iot:Receive", "Resource": "arn:aws:iot:*:*:topic/open/secret"},
            {"Effect": "Allow", "Action": "iot:Subscribe", "Resource": "arn:aws:iot:*:*:topicfilter/open/*"},
        ],
    }
    node = node_on(cluster, mosquitto, FANFARE_GUESTS_ANONYMOUS_POLICY=json.dumps(policy))
    with peer(node, expiry=3600, clean=False) as client:
        assert (client.present, client.properties.SessionExpiryInterval) == (False, 0)
        assert client.properties.SharedSubscriptionAvailable == 0
        codes = client.subscribe("open/#", "closed/#", "$share/g/open/1", "sessions/other", qos=1)
        assert codes == [GRANTED_1, NOT_AUTHORIZED, NOT_SHARED, NOT_AUTHORIZED]
        assert client.subscribe("open/1", noLocal=True) == NOT_NOW
        assert client.publish("closed/1", "x", qos=1) == NOT_AUTHORIZED
        assert client.publish("silent/1", "x", qos=1) == NOT_AUTHORIZED
        assert client.publish("open/1", "x", qos=1, retain=True) == NOT_AUTHORIZED
        for topic in ("open/secret", "open/2"):
            assert client.publish(topic, topic, qos=1) == 0
        assert client.texts(1) == ["open/2"]
    with peer(node, client_id=client.client_id, clean=False) as again:
        assert not again.present
        again.take(0)


def test_properties_and_http_go_the_same_way(cluster, mosquitto):
    a, b = node_on(cluster, mosquitto), node_on(cluster, mosquitto)
    topic = fresh_name("http")
    with peer(a) as client, peer(b) as sender:
        client.subscribe(topic, qos=1)
        answer = b.client("iot-data").publish(topic=topic, qos=1, payload=b"\x00\xff", contentType="a/b")
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 200
        message = client.take(1)[0]
        assert (message.payload, message.properties.ContentType) == (b"\x00\xff", "a/b")
        sender.publish(
            topic,
            "x",
            qos=1,
            UserProperty=[("one", "1"), ("one", "2")],
            CorrelationData=b"c",
            ResponseTopic="r",
            MessageExpiryInterval=60,
        )
        properties = client.take(1)[0].properties
        assert properties.UserProperty == [("one", "1"), ("one", "2")]
        assert (properties.CorrelationData, properties.ResponseTopic) == (b"c", "r")
        assert 55 <= properties.MessageExpiryInterval <= 60


def test_events_are_told_on_every_node(cluster, mosquitto):
    a, b = node_on(cluster, mosquitto), node_on(cluster, mosquitto)
    with peer(b) as watcher:
        watcher.subscribe("$aws/events/presence/#")
        name = fresh_name("c")
        peer(a, client_id=name).close()
        events = [json.loads(text)["eventType"] for text in watcher.texts(2)]
        assert events == ["connected", "disconnected"]


@pytest.mark.parametrize("qos", [0, 1])
def test_what_is_retained_is_under_the_policy_too(cluster, broker, qos):
    """It comes another way than what is live, and from whoever put it there."""
    allowed = {"Effect": "Allow", "Action": "iot:*", "Resource": "*"}
    denied = {"Effect": "Deny", "Action": "iot:Receive", "Resource": "arn:aws:iot:*:*:topic/*/secret"}
    policy = {"Version": "2012-10-17", "Statement": [allowed, denied]}
    node = node_on(cluster, broker, FANFARE_GUESTS_ANONYMOUS_POLICY=json.dumps(policy))
    room = fresh_name("room")
    with peer(node) as client:
        for name in ("open", "secret"):
            assert client.publish(f"{room}/{name}", name, qos=1, retain=True) == 0
        client.subscribe(f"{room}/+", qos=qos)
        assert client.texts(1, quiet=1) == ["open"]

