"""A broker that is away, breaks, refuses or is full; and a node that leaves it."""

import threading
import time

from broker_nodes import NOT_NOW, NOT_SHARED, QUOTA_EXCEEDED, drained, node_on, peer, until
from brokers import Mosquitto
from fanfare import fresh_name
from streams import metric
from topics import Peer
from ways import Cut


def test_a_broker_that_is_killed_loses_nothing_that_was_acknowledged(cluster, broker):
    a, b = (node_on(cluster, broker, FANFARE_AWS_PATIENCE="30") for _ in range(2))
    topic = fresh_name("ledger")
    acknowledged, refused, stop = [], [], threading.Event()

    def publish():
        with peer(a) as publisher:
            number = 0
            while not stop.is_set():
                number += 1
                sent = publisher.client.publish(topic, str(number), 1)
                reason = until(lambda sent=sent: publisher._answers.pop(sent.mid, None), within=40)
                (acknowledged if reason == 0 else refused).append(number)

    with peer(a) as same, peer(b) as other:
        for client in (same, other):
            client.subscribe(topic, qos=1)
        thread = threading.Thread(target=publish)
        thread.start()
        until(lambda: len(acknowledged) > 20)
        broker.kill()
        before = len(acknowledged)
        time.sleep(1)
        assert len(acknowledged) <= before + 1, "acknowledged by nobody"
        broker.start()
        until(lambda: len(acknowledged) > before + 20, within=30)
        # The other node may need longer to come back.
        until(lambda: metric(b, "fanfare_broker_gaps_total") == 1, within=30)
        time.sleep(1)
        stop.set()
        thread.join()
        assert not refused, "the broker was away for less than patience lasts"
        time.sleep(1)
        # The node publishes again when it hears again: its own clients miss nothing. Those of another node may hear again
        # later, as this broker forgot what they had subscribed to.
        ours, theirs = ([int(message.payload) for message in drained(client)] for client in (same, other))
        assert sorted(set(ours)) == acknowledged
        assert len(ours) - len(set(ours)) <= 1, "only what was on its way may come twice"
        assert metric(a, "fanfare_broker_gaps_total") == 1, "the broker has forgotten what was subscribed to"
        later = [number for number in theirs if number > before + 1]
        assert sorted(set(theirs) - set(later) - {before + 1}) == acknowledged[:before]
        assert sorted(set(later)) == list(range(later[0], acknowledged[-1] + 1))


def test_a_connection_that_breaks_is_gone_on_with(cluster, mosquitto):
    with Cut(mosquitto.port) as way:
        node, other = node_on(cluster, way.url), node_on(cluster, mosquitto)
        topic = fresh_name("cut")
        with peer(node) as client, peer(other) as publisher:
            client.subscribe(topic, qos=1)
            way.cut()
            for number in range(5):
                assert publisher.publish(topic, f"meanwhile {number}", qos=1) == 0
            client.take(0)
            way.mend()
            assert client.texts(5, within=20) == [f"meanwhile {number}" for number in range(5)]
            assert client.publish(topic, "after", qos=1) == 0
            assert client.texts(1) == ["after"]
        assert mosquitto.subscribed().count(topic) >= 2, "it subscribes again, to be sure"
        assert metric(node, "fanfare_broker_gaps_total") == 0, "nothing was missed"


def test_nothing_is_published_before_the_node_hears_again(cluster, mosquitto):
    """What its own clients publish would not come back to them."""
    with Cut(mosquitto.port) as way:
        node = node_on(cluster, way.url)
        with peer(node) as client:
            client.subscribe("t", qos=1)
            way.cut()
            way.mend(refused=b"-in")
            until(lambda: metric(node, "fanfare_broker_connected") == 1)
            sent = client.client.publish("t", "x", 1)
            time.sleep(1)
            assert sent.mid not in client._answers, "the broker could be asked"
            way.cut()
            way.mend()
            assert client._answer(sent.mid).value == 0
            assert client.texts(1) == ["x"]


def test_what_is_too_long_for_the_broker_is_refused_alone(cluster, start):
    node = node_on(cluster, start(Mosquitto(["max_packet_size 2000"])))
    with peer(node) as client:
        client.subscribe("t", qos=1)
        assert client.publish("t", "x" * 3000, qos=1) >= 0x80
        assert client.publish("t", "short", qos=1) == 0
        assert client.texts(1) == ["short"]
    assert metric(node, "fanfare_broker_disconnects_total") == 0


def test_while_the_broker_is_away_publications_wait_and_are_then_refused(cluster, mosquitto):
    node = node_on(cluster, mosquitto, FANFARE_AWS_PATIENCE="3", FANFARE_AWS_HOLD_BYTES=str(2 << 20))
    topic = fresh_name("away")
    with peer(node) as client, peer(node, version="3.1.1") as older:
        client.subscribe(topic, qos=1)
        for away, back in ((mosquitto.kill, mosquitto.start), (mosquitto.freeze, mosquitto.thaw)):
            away()
            began = time.monotonic()
            assert client.publish(topic, "x", qos=1) == NOT_NOW
            assert 2.5 < time.monotonic() - began < 6
            answer = node.signed("POST", f"/topics/{topic}", b"x", service="iotdata", query={"qos": 1})
            assert answer.status_code == 503, answer.text
            assert client.subscribe(f"{topic}/other") in (NOT_NOW, 0x80)
            back()
            until(lambda: client.publish(topic, "back", qos=1) == 0, within=20)
            until(lambda: any(message.payload == b"back" for message in drained(client)))
        # There is no room for more than is held.
        mosquitto.freeze()
        payload = b"x" * 200_000
        infos = [client.client.publish(topic, payload, 1) for _ in range(12)]
        codes = [client._answer(info.mid).value for info in infos]
        assert QUOTA_EXCEEDED in codes and set(codes) <= {QUOTA_EXCEEDED, NOT_NOW}, codes
        assert codes[:5] == [NOT_NOW] * 5
        # MQTT 3.1.1 has no words for it.
        older.client.publish(topic, "x", 1)
        assert older.ended().is_failure
        mosquitto.thaw()


def test_a_node_has_so_many_subscriptions_at_the_broker(cluster, mosquitto):
    # One is the node's own.
    node = node_on(cluster, mosquitto, FANFARE_AWS_BROKER_MAX_SUBSCRIPTIONS="3")
    with peer(node) as client, peer(node) as other:
        assert client.subscribe("a", "b", "c") == [0, 0, QUOTA_EXCEEDED]
        assert other.subscribe("a") == 0, "that is there already"
        client.unsubscribe("b")
        assert other.subscribe("c") == 0


def test_metrics_tell_of_the_broker(cluster, mosquitto):
    node = node_on(cluster, mosquitto)

    def value(name):
        lines = node.raw("GET", "/metrics").text.splitlines()
        return [float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name)]

    until(lambda: value("fanfare_broker_connected") == [1, 1])
    with peer(node) as client:
        client.subscribe("t")
        assert value("fanfare_broker_subscriptions") == [2], "one is the nodes' own"
        mosquitto.kill()
        until(lambda: value("fanfare_broker_connected") == [0, 0])
        client.client.publish("t", "x" * 1000, 1)
        until(lambda: [held for held in value('fanfare_aws_held_bytes{hold="mqtt"}') if held > 1000])
        mosquitto.start()
        until(lambda: value('fanfare_aws_held_bytes{hold="mqtt"}') == [0], within=20)
        until(lambda: client.texts(1) == ["x" * 1000])


def test_a_node_that_ends_says_goodbye_and_leaves_nothing_behind(cluster, mosquitto):
    node = node_on(cluster, mosquitto)
    with peer(node) as client:
        client.subscribe("t", qos=1)
        node.server.stop()
    links = {name.rsplit("-", 1)[1]: name for name in mosquitto.left()}
    assert set(links) == {"in", "out"} and mosquitto.lost() == []
    # What is published now waits for nobody: the broker has forgotten what the node subscribed to.
    with Peer(address=("127.0.0.1", mosquitto.port), client_id=links["in"], clean=False) as heir:
        assert not heir.present


def test_a_node_that_ends_publishes_first_what_waits(cluster, mosquitto):
    node = node_on(cluster, mosquitto, FANFARE_AWS_PATIENCE="20")
    topics = [fresh_name("last") for _ in range(2)]
    lost = peer(node, will=(topics[0], "will", {"qos": 1, "retain": True}))
    mosquitto.kill()
    with peer(node) as client:
        client.client.publish(topics[1], "words", 1, True)
        # They are at the node before it ends: it answers in order.
        assert client.subscribe("$share/refused/t") == NOT_SHARED
        back = threading.Timer(7, mosquitto.start)
        back.start()
        began = time.monotonic()
        node.server.stop()
        assert 7 < time.monotonic() - began < 24
        back.join()
    lost.close()
    with Peer(address=("127.0.0.1", mosquitto.port)) as late:
        late.subscribe(*topics, qos=1)
        assert sorted(late.texts(2)) == ["will", "words"]
    assert {name.rsplit("-", 1)[1] for name in mosquitto.left()} >= {"in", "out"}


def test_a_broker_that_does_not_answer_keeps_no_node_from_ending(cluster, mosquitto):
    node = node_on(cluster, mosquitto)
    with peer(node) as client:
        client.subscribe("t")
        mosquitto.freeze()
        began = time.monotonic()
        node.server.stop()
        assert 1 < time.monotonic() - began < 10
    assert "was not told" in node.server.log
    mosquitto.thaw()
