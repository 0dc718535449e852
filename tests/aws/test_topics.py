"""Topics through an MQTT broker: one node and two, on Mosquitto and on NATS."""

import contextlib
import datetime
import ipaddress
import json
import socket
import subprocess
import threading
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from brokers import Mosquitto, Nats, free_port
from conftest import SETTINGS
from botocore.credentials import Credentials
from envelope import open_message
from fanfare import fresh_name
from server import Server, binary, clean_environment
from test_plane import take as poll
from topics import Peer

EVERYTHING = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "iot:*", "Resource": "*"}}

#: Reason codes of MQTT 5.
GRANTED_1, NOT_NOW, NOT_AUTHORIZED, QUOTA_EXCEEDED, NOT_SHARED = 1, 0x83, 0x87, 0x97, 0x9E


@pytest.fixture
def start():
    """Starts brokers that end with the test."""
    with contextlib.ExitStack() as stack:

        def one(broker):
            stack.callback(broker.end)
            return broker.start()

        yield one


@pytest.fixture(params=[Mosquitto, Nats], ids=["mosquitto", "nats"])
def broker(request, start):
    """One of each kind."""
    return start(request.param())


@pytest.fixture
def mosquitto(start):
    """The one that says what is subscribed to."""
    return start(Mosquitto())


def node_on(cluster, broker, **settings):
    """A node whose topics go through this broker."""
    return cluster.node(
        **{
            "FANFARE_MQTT_ENABLED": "true",
            "FANFARE_AWS_BROKER_URL": getattr(broker, "url", broker),
            "FANFARE_GUESTS_ANONYMOUS_POLICY": json.dumps(EVERYTHING),
            "FANFARE_AWS_PATIENCE": "10",
            **settings,
        }
    )


@pytest.fixture(params=["one node", "two nodes"])
def nodes(request, cluster, broker):
    """Two ways in: the same node twice, or two."""
    first = node_on(cluster, broker)
    return first, (first if request.param == "one node" else node_on(cluster, broker))


def peer(node, **options):
    """An MQTT client of a node, without keys."""
    return Peer(address=node.server.mqtt, **options)


def until(condition, within=10):
    """Waits for something to be so."""
    deadline = time.monotonic() + within
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not so within {within} s"
        time.sleep(0.05)
    return found


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
        stop.set()
        thread.join()
        assert not refused, "the broker was away for less than patience lasts"
        time.sleep(1)
        # The node publishes again when it hears again: its own clients miss nothing. Those of another node may hear again
        # later, as this broker forgot what they had subscribed to.
        ours, theirs = ([int(message.payload) for message in drained(client)] for client in (same, other))
        assert sorted(set(ours)) == acknowledged
        assert len(ours) - len(set(ours)) <= 1, "only what was on its way may come twice"
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


class Cut:
    """A way to a port on this machine that can be cut: connections end, and new ones are refused."""

    def __init__(self, port):
        self.port = port
        self.sockets = []
        self.listener = None
        self.own = free_port()
        self.url = f"mqtt://127.0.0.1:{self.own}"
        self.mend()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.cut()

    def mend(self):
        """From now on connections are let through."""
        self.listener = socket.create_server(("127.0.0.1", self.own))
        threading.Thread(target=self._accept, args=[self.listener], daemon=True).start()

    def cut(self):
        """Ends them all."""
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        while self.sockets:
            with contextlib.suppress(OSError):
                self.sockets.pop().shutdown(socket.SHUT_RDWR)

    def _accept(self, listener):
        with contextlib.suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.create_connection(("127.0.0.1", self.port))
                self.sockets += [near, far]
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=self._pump, args=pair, daemon=True).start()

    @staticmethod
    def _pump(source, sink):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def drained(client):
    """Everything that has come."""
    got = []
    while not client.inbox.empty():
        got.append(client.inbox.get())
    return got


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


def certificate(folder):
    """An authority, and a certificate of it for 127.0.0.1: the files of the authority, of that and of its key."""
    now = datetime.datetime.now(datetime.UTC)
    authority, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))

    def made(common_name, public_key, *extensions):
        name = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)]) for text in (common_name, "authority")]
        builder = x509.CertificateBuilder(name[1], name[0], public_key, x509.random_serial_number())
        builder = builder.not_valid_before(now - datetime.timedelta(hours=1))
        builder = builder.not_valid_after(now + datetime.timedelta(hours=1))
        for extension in extensions:
            builder = builder.add_extension(extension, critical=False)
        return builder.sign(authority, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    root = made("authority", authority.public_key(), x509.BasicConstraints(ca=True, path_length=None))
    leaf = made("127.0.0.1", key.public_key(), names)
    private = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    files = [folder / name for name in ("authority.pem", "cert.pem", "key.pem")]
    for file, content in zip(files, (root, leaf, key.private_bytes(*private)), strict=True):
        file.write_bytes(content)
    return files


@pytest.mark.parametrize("scheme", ["mqtts", "ws", "wss"])
def test_every_way_to_a_broker(cluster, start, tmp_path, scheme):
    authority, cert, key = certificate(tmp_path)
    tls = [f"certfile {cert}", f"keyfile {key}"] if scheme in ("mqtts", "wss") else []
    web = ["protocol websockets"] if scheme in ("ws", "wss") else []
    # With a WebSocket alone it takes itself for one without listeners.
    other = [f"listener {free_port()} 127.0.0.1"]
    broker = start(Mosquitto(listeners=lambda port: [*other, f"listener {port} 127.0.0.1", *web, *tls]))
    path = "/mqtt" if web else ""
    url = f"{scheme}://127.0.0.1:{broker.port}{path}"
    trust = {"FANFARE_AWS_BROKER_CA_FILE": str(authority)} if tls else {}
    works(node_on(cluster, url, **trust))
    if tls:
        folder = tmp_path / "stranger"
        folder.mkdir()
        stranger, _, _ = certificate(folder)
        node = node_on(cluster, url, FANFARE_AWS_BROKER_CA_FILE=str(stranger), FANFARE_AWS_PATIENCE="2")
        with peer(node) as client:
            assert client.publish("t", "x", qos=1) == NOT_NOW


def works(node):
    """Something published comes back."""
    with peer(node) as client:
        client.subscribe("t", qos=1)
        assert client.publish("t", "x", qos=1) == 0
        assert client.texts(1) == ["x"]


def test_a_broker_that_wants_a_password(cluster, start, tmp_path):
    passwords = tmp_path / "passwords"
    subprocess.run(["mosquitto_passwd", "-b", "-c", str(passwords), "node", "right"], check=True)
    passwords.chmod(0o644)
    broker = start(Mosquitto(["allow_anonymous false", f"password_file {passwords}"]))
    secret = tmp_path / "secret"
    secret.write_text("right\n")
    works(
        node_on(
            cluster,
            broker,
            FANFARE_AWS_BROKER_USERNAME="node",
            FANFARE_AWS_BROKER_PASSWORD_FILE=str(secret),
        )
    )
    wrong = node_on(
        cluster,
        broker,
        FANFARE_AWS_BROKER_USERNAME="node",
        FANFARE_AWS_BROKER_PASSWORD="wrong",
        FANFARE_AWS_PATIENCE="2",
    )
    with peer(wrong) as client:
        assert client.publish("t", "x", qos=1) == NOT_NOW
    assert "wrong" not in wrong.server.log.replace("wrong password", "")


def test_a_signed_websocket_as_of_aws_iot_core(cluster):
    """Fanfare itself, on its embedded backend, stands in for AWS IoT Core: it verifies the signature in the same way."""
    # DynamoDB Local has tables of its own for each access key: these are the ones that the tables were made with.
    keys = Credentials(SETTINGS["AWS_ACCESS_KEY_ID"], SETTINGS["AWS_SECRET_ACCESS_KEY"])
    core = Server(
        FANFARE_MQTT_PROFILE="aws",
        FANFARE_OPERATOR_ACCESS_KEY=keys.access_key,
        FANFARE_OPERATOR_SECRET_KEY=keys.secret_key,
    )
    try:
        core.start()
        settings = {
            "FANFARE_AWS_BROKER_PRESIGN": "true",
            "FANFARE_MQTT_PROFILE": "aws",
            "FANFARE_MQTT_LIFECYCLE_EVENTS": "false",
            "FANFARE_AWS_PATIENCE": "3",
        }
        url = core.url.replace("http://", "ws://") + "/mqtt"
        node = node_on(cluster, url, **settings)
        works(node)
        with Peer(url=core.url, credentials=keys) as outside, peer(node) as client:
            outside.subscribe("from/node", qos=1)
            client.subscribe("from/outside", qos=1)
            client.publish("from/node", "a", qos=1)
            outside.publish("from/outside", "b", qos=1)
            assert (outside.texts(1), client.texts(1)) == (["a"], ["b"])
        settings["AWS_SECRET_ACCESS_KEY"] = "not the secret"
        with peer(node_on(cluster, url, **settings)) as client:
            assert client.publish("t", "x", qos=1) == NOT_NOW
    finally:
        core.kill()
        core.remove()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "aws.broker_url"),
        ({"FANFARE_AWS_BROKER_URL": "http://h"}, "mqtt://"),
        ({"FANFARE_AWS_BROKER_URL": "mqtt://h", "FANFARE_AWS_BROKER_PRESIGN": "true"}, "WebSocket"),
    ],
)
def test_what_can_not_be_had_stops_the_start(settings, words):
    ran = subprocess.run(
        [binary(), "serve"],
        env=clean_environment(**{**SETTINGS, "FANFARE_MQTT_ENABLED": "true", **settings}),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode != 0 and words in ran.stderr + ran.stdout


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
