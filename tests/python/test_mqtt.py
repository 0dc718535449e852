"""MQTT with stock clients: paho over TCP and WebSocket in both versions, mosquitto_pub and mosquitto_sub."""

import json
import shutil
import subprocess
import time

import pytest
from botocore.credentials import Credentials
from paho.mqtt.client import WebsocketConnectionError

from backends import NO_DURABLE_SESSIONS, NO_QOS_2, NOT_OFFERED, OF_ONE_NODE
from expect import eventually
from fanfare import NOBODY, OPERATOR, Fanfare, fresh_name
from server import AWS_ACCOUNT, binary, clean_environment
from topics import Closed, Peer, Refused, host_of, presigned_path

CONFIG = "FANFARE_CONFIG"
EVERYTHING = json.dumps({"Statement": {"Effect": "Allow", "Action": "iot:*", "Resource": "*"}})
NAMED = json.dumps(
    {
        "Statement": [
            {"Effect": "Allow", "Action": "iot:Connect", "Resource": "*"},
            {
                "Effect": "Allow",
                "Action": ["iot:Publish", "iot:Receive", "iot:RetainPublish"],
                "Resource": f"arn:aws:iot:us-east-1:{AWS_ACCOUNT}:topic/own/${{iot:ClientId}}/*",
            },
            {
                "Effect": "Allow",
                "Action": "iot:Subscribe",
                "Resource": f"arn:aws:iot:us-east-1:{AWS_ACCOUNT}:topicfilter/own/${{iot:ClientId}}/*",
            },
        ]
    }
)

both_versions = pytest.mark.parametrize("version", ["3.1.1", "5"])
both_ways = pytest.mark.parametrize("way", ["tcp", "ws"])


def password_hash(password):
    command = [binary(), "mqtt-password"]
    run = subprocess.run(command, input=password, capture_output=True, text=True, env=clean_environment(), check=True)
    return run.stdout.strip()


@pytest.fixture(scope="module")
def relay(tmp_path_factory, module_server):
    """A server where `all` may do everything, and `named` what its client id says."""
    path = tmp_path_factory.mktemp("mqtt") / "fanfare.toml"
    hashed = password_hash("secret\n")
    path.write_text(
        f"""
[guests]
allow = ["/game/*"]

[[accounts]]
username = "all"
password_hash = "{hashed}"
policy = '''{EVERYTHING}'''

[[accounts]]
username = "named"
password_hash = "{hashed}"
policy = '''{NAMED}'''
"""
    )
    server = module_server(**{CONFIG: str(path)})
    relay = Fanfare(server.url)
    relay.server = server
    return relay


@pytest.fixture
def peer(relay):
    """Connects clients that are gone after the test: `peer(way='ws', user='all', **arguments)`."""
    peers = []

    def connect(way="ws", user="all", **arguments):
        if user is not None and "credentials" not in arguments and "path" not in arguments:
            arguments.setdefault("login", (user, "secret"))
        address = relay.server.mqtt if way == "tcp" else None
        made = Peer(relay.url, address=address, **arguments)
        peers.append(made)
        return made

    yield connect
    for made in peers:
        made.close()


@both_ways
@both_versions
@pytest.mark.parametrize("qos", [0, 1, pytest.param(2, marks=NO_QOS_2)])
def test_publish_and_subscribe_with_each_quality_of_service(peer, way, version, qos):
    room = fresh_name("room")
    reader, writer = peer(way, version=version), peer(way, version=version)
    assert reader.subscribe(f"{room}/#", qos=qos) == qos
    sent = [str(n) for n in range(20)]
    for text in sent:
        assert writer.publish(f"{room}/x", text, qos=qos) in (0, 16)
    got = reader.take(len(sent))
    assert [m.payload.decode() for m in got] == sent
    assert all(m.qos == qos and not m.retain for m in got)


@both_versions
def test_a_publisher_gets_its_own_messages_and_a_repeated_subscription_no_second_copy(peer, version):
    one = peer(version=version)
    topic = "/game/" + fresh_name("t")
    for _ in range(3):
        one.subscribe(topic)
    one.publish(topic, "x")
    assert one.texts(1) == ["x"]
    one.unsubscribe(topic)
    one.publish(topic, "y")
    one.take(0)


@both_versions
def test_large_payloads_arrive_whole(peer, version):
    one = peer("ws", version=version)
    other = peer("tcp", version=version)
    topic = fresh_name("t")
    one.subscribe(topic, qos=1)
    payload = bytes(range(256)) * 900
    assert other.publish(topic, payload, qos=1) == 0
    assert one.take(1)[0].payload == payload


def test_a_packet_above_the_maximum_ends_the_connection(peer):
    one = peer()
    with pytest.raises(Closed):
        one.publish("t", b"x" * 300_000, qos=1)
    assert one.ended().value in (0x95, 0x80)


def test_properties_of_mqtt_5_reach_the_subscriber(peer):
    reader, writer = peer(), peer("tcp")
    topic = fresh_name("t")
    reader.subscribe(topic)
    writer.publish(
        topic,
        "x",
        ContentType="text/plain",
        ResponseTopic="answers",
        CorrelationData=b"\x00\x01",
        UserProperty=[("a", "1"), ("a", "2")],
        MessageExpiryInterval=30,
        PayloadFormatIndicator=1,
    )
    properties = reader.take(1)[0].properties
    assert properties.ContentType == "text/plain"
    assert properties.ResponseTopic == "answers"
    assert properties.CorrelationData == b"\x00\x01"
    assert properties.UserProperty == [("a", "1"), ("a", "2")]
    assert 28 <= properties.MessageExpiryInterval <= 30
    assert properties.PayloadFormatIndicator == 1


@NOT_OFFERED
def test_options_of_a_subscription(peer):
    topic = fresh_name("t")
    writer, local, published = peer(), peer(), peer()
    writer.subscribe(topic, noLocal=True)
    local.subscribe(topic)
    published.subscribe(topic, retainAsPublished=True)
    writer.publish(topic, "kept", qos=1, retain=True)
    writer.take(0)
    assert [m.retain for m in local.take(1)] == [False]
    assert [m.retain for m in published.take(1)] == [True]
    # Retain handling: always, only for a new subscription, never.
    assert local.subscribe(topic, retainHandling=0) == 0
    assert [m.retain for m in local.take(1)] == [True]
    local.subscribe(topic, retainHandling=1)
    local.take(0)
    fresh = peer()
    fresh.subscribe(topic, retainHandling=2)
    fresh.take(0)


@both_versions
@NOT_OFFERED
def test_shared_subscriptions_give_each_message_to_one(peer, version):
    topic = fresh_name("jobs")
    workers = [peer(version=version) for _ in range(3)]
    for worker in workers:
        assert worker.subscribe(f"$share/group/{topic}", qos=1) == 1
    writer = peer(version=version)
    for n in range(30):
        writer.publish(topic, str(n), qos=1)
    time.sleep(0.5)
    shares = [[w.inbox.get().payload.decode() for _ in range(w.inbox.qsize())] for w in workers]
    assert sorted(sum(shares, [])) == sorted(str(n) for n in range(30))
    assert all(shares), "each has its share"


@both_versions
def test_retained_messages(peer, version):
    room = fresh_name("room")
    writer = peer(version=version)
    for name in ("a", "b"):
        writer.publish(f"{room}/{name}", name, qos=1, retain=True)
    late = peer(version=version)
    late.subscribe(f"{room}/+", qos=1)
    got = late.take(2)
    assert sorted(m.payload.decode() for m in got) == ["a", "b"] and all(m.retain for m in got)
    writer.publish(f"{room}/a", b"", qos=1, retain=True)
    assert late.texts(1) == [""]
    later = peer(version=version)
    later.subscribe(f"{room}/#")
    assert later.texts(1) == ["b"]


@both_versions
def test_a_will_is_published_when_the_connection_is_lost_and_not_after_goodbye(peer, version):
    topic = fresh_name("will")
    watcher = peer(version=version)
    watcher.subscribe(topic, qos=1)
    polite = peer(version=version, will=(topic, "polite", {"qos": 1}))
    polite.close()
    watcher.take(0)
    rude = peer(version=version, will=(topic, "rude", {"qos": 1, "retain": True}))
    rude.drop()
    assert watcher.texts(1) == ["rude"]
    late = peer(version=version)
    late.subscribe(topic)
    assert late.texts(1) == ["rude"]


@NO_DURABLE_SESSIONS
def test_a_will_waits_for_its_delay_unless_the_client_comes_back(peer):
    topic = fresh_name("will")
    watcher = peer()
    watcher.subscribe(topic, qos=1)
    arguments = {"client_id": fresh_name("c"), "clean": False, "expiry": 60, "will": (topic, "x", {"delay": 2})}
    peer(**arguments).drop()
    watcher.take(0, quiet=1)
    arguments["will"] = (topic, "y", {"delay": 2})
    back = peer(**arguments)
    assert back.present
    watcher.take(0, quiet=2.5)
    back.drop()
    assert watcher.texts(1) == ["y"]


@both_versions
@OF_ONE_NODE
def test_a_client_id_that_connects_again_takes_over(peer, version):
    first = peer(version=version)
    peer(version=version, client_id=first.client_id)
    reason = first.ended()
    if version == "5":
        assert reason.value == 0x8E


@both_versions
@NO_DURABLE_SESSIONS
def test_messages_wait_for_a_persistent_session_also_over_a_restart(start_server, tmp_path, version):
    path = tmp_path / "fanfare.toml"
    path.write_text(f"[guests]\nanonymous_policy = '''{EVERYTHING}'''\n")
    server = start_server(**{CONFIG: str(path)})
    topic = fresh_name("t")
    who = {"client_id": "device", "clean": False, "expiry": 3600, "version": version}
    with Peer(address=server.mqtt, **who) as device:
        assert not device.present
        device.subscribe(topic + "/#", qos=1)
    with Peer(address=server.mqtt, version=version) as writer:
        for n in range(50):
            assert writer.publish(topic, str(n), qos=1) == 0
        assert writer.publish(topic + "/kept", "kept", qos=1, retain=True) == 0
    server.restart()
    with Peer(address=server.mqtt, version=version) as writer:
        writer.publish(topic, "after", qos=1)
    with Peer(address=server.mqtt, **who) as device:
        assert device.present
        assert device.texts(52) == [str(n) for n in range(50)] + ["kept", "after"]
    with Peer(address=server.mqtt, **who) as device:
        assert device.present
        device.take(0)
    with Peer(address=server.mqtt, version=version) as late:
        late.subscribe(topic + "/kept")
        assert late.texts(1) == ["kept"]
    with Peer(address=server.mqtt, **{**who, "clean": True}) as device:
        assert not device.present


@both_versions
@NO_DURABLE_SESSIONS
def test_what_was_not_acknowledged_comes_again(peer, version):
    topic = fresh_name("t")
    who = {"client_id": fresh_name("c"), "clean": False, "expiry": 60, "version": version, "manual_ack": True}
    first = peer(**who)
    first.subscribe(topic, qos=1)
    writer = peer(version=version)
    for n in range(4):
        writer.publish(topic, str(n), qos=1)
    got = first.take(4)
    first.ack(got[0])
    first.ack(got[1])
    # The acknowledgements are on their way before the connection is lost.
    time.sleep(0.3)
    first.drop()
    second = peer(**who)
    got = second.take(2)
    assert [(m.payload, m.dup) for m in got] == [(b"2", True), (b"3", True)]


def test_receive_maximum_bounds_what_is_in_flight(peer):
    topic = fresh_name("t")
    slow = peer(manual_ack=True, receive_maximum=3)
    slow.subscribe(topic, qos=1)
    writer = peer()
    for n in range(10):
        writer.publish(topic, str(n), qos=1)
    got = slow.take(3)
    slow.ack(got[0])
    assert slow.texts(1) == ["3"]


@both_versions
def test_wrong_passwords_and_strangers_are_refused(peer, relay, version):
    for login in [("all", "wrong"), ("nobody", "secret"), None]:
        with pytest.raises(Refused) as refused:
            Peer(address=relay.server.mqtt, version=version, login=login)
        assert refused.value.reason.value in (0x86, 0x87), login


@both_versions
def test_a_policy_with_the_client_id_keeps_clients_apart(peer, version):
    name = fresh_name("c")
    one = peer(user="named", version=version, client_id=name)
    other = fresh_name("c")
    assert one.subscribe(f"own/{name}/#", qos=1) == 1
    assert one.publish(f"own/{name}/x", "mine", qos=1) == 0
    assert one.texts(1) == ["mine"]
    for foreign in (f"own/{other}/#", "own/+/x", "#", f"$share/g/own/{other}/x"):
        assert one.subscribe(foreign, qos=1) >= 0x80, foreign
    if version == "5":
        assert one.publish(f"own/{other}/x", "forged", qos=1) == 0x87
        assert one.publish(f"own/{name}/x", "still there", qos=1) == 0
    else:
        with pytest.raises(Closed):
            one.publish(f"own/{other}/x", "forged", qos=1)
    for bad in ("+", "#", f"{name}/+", "a*", "$x", "a?"):
        with pytest.raises(Refused):
            peer(user="named", version=version, client_id=bad)
    with pytest.raises(Refused):
        peer(user="named", version=version, will=("elsewhere", "x", {}))


@OF_ONE_NODE
def test_somebody_elses_client_id_can_not_be_taken(peer):
    one = peer(user="all")
    with pytest.raises(Refused):
        peer(user="named", client_id=one.client_id)
    assert one.gone is None


@both_versions
def test_lifecycle_events(peer, version):
    watcher = peer(credentials=OPERATOR)
    name = fresh_name("c")
    presence = "$aws/events/presence"
    assert watcher.subscribe(f"{presence}/connected/{name}") == 0
    assert watcher.subscribe(f"{presence}/disconnected/{name}") == 0
    assert watcher.subscribe(f"$aws/events/subscriptions/+/{name}") == 0
    one = peer(version=version, client_id=name)
    one.subscribe("a/b")
    one.unsubscribe("a/b")
    one.close()
    got = {m.topic: json.loads(m.payload) for m in watcher.take(4)}
    connected = got[f"{presence}/connected/{name}"]
    assert connected["clientId"] == name and connected["eventType"] == "connected"
    assert abs(connected["timestamp"] / 1000 - time.time()) < 60
    gone = got[f"{presence}/disconnected/{name}"]
    assert gone["clientInitiatedDisconnect"] is True
    assert gone["sessionIdentifier"] == connected["sessionIdentifier"]
    assert got[f"$aws/events/subscriptions/subscribed/{name}"]["topics"] == ["a/b"]
    assert got[f"$aws/events/subscriptions/unsubscribed/{name}"]["topics"] == ["a/b"]
    # Nobody may publish there.
    with pytest.raises(Closed):
        peer(version="3.1.1").publish(f"{presence}/connected/{name}", "forged", qos=1)


@pytest.mark.parametrize("service", ["iotdevicegateway", "iotdata"])
@pytest.mark.parametrize("signed_token", [False, True])
def test_a_signed_url_in_every_form(peer, relay, service, signed_token):
    session = relay.create(topics="room/{userId}/#,lobby", user=7)
    path = presigned_path(session.credentials, host_of(relay.url), service, signed_token)
    one = peer(path=path)
    assert one.subscribe("lobby") == 0


def test_a_bad_signature_is_forbidden_before_any_websocket(relay):
    session = relay.create()
    host = host_of(relay.url)
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
    upgrade |= {"Sec-WebSocket-Key": "x3JJHMbDL1EzLkh9GBhXDw==", "Sec-WebSocket-Protocol": "mqtt"}

    def status(path, **more):
        return relay.raw("GET", path, headers={**upgrade, **more}, stream=True).status_code

    good = presigned_path(session.credentials, host)
    assert status(good[:-1]) == 403
    assert status(good.replace("X-Amz-Signature=", "X-Amz-Signature=0")) == 403
    assert status(good.split("&X-Amz-Security-Token")[0]) == 403
    assert status(presigned_path(NOBODY, host)) == 403
    assert status(presigned_path(OPERATOR, host, age=3600)) == 403
    assert status(presigned_path(OPERATOR, host, service="sqs")) == 403
    assert status(presigned_path(OPERATOR, "elsewhere")) == 403
    assert status("/mqtt?token=nonsense") == 403
    # What the AWS CRT signs: the Connection header, too.
    crt = presigned_path(session.credentials, host, headers={"connection": "Upgrade"})
    assert status(crt) == 101


def test_a_connect_token_opens_the_connection_of_its_maker(peer, relay):
    session = relay.create(topics="lobby")
    answer = relay.signed("POST", "/mqtt/token", body=b"", credentials=session.credentials)
    token = answer.json()["token"]
    one = peer(path=f"/mqtt?token={token}")
    assert (one.subscribe("lobby"), one.subscribe("elsewhere")) == (0, 0x87)


def mosquitto(program, relay, arguments, **run):
    """mosquitto's own clients; they are in Debian's mosquitto-clients."""
    assert shutil.which(program), f"{program} is missing: apt install mosquitto-clients"
    host, port = relay.server.mqtt
    command = [program, "-h", host, "-p", str(port), "-u", "all", "-P", "secret", *arguments]
    return subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **run)


@pytest.mark.parametrize("version", ["mqttv311", "mqttv5"])
@pytest.mark.parametrize("qos", ["0", "1", "2"])
def test_mosquitto_pub_and_sub(relay, peer, version, qos):
    topic = fresh_name("t")
    options = ["-V", version, "-q", qos, "-t", topic]
    peer().publish(topic + "/ready", "ready", qos=1, retain=True)
    # The retained message tells that the subscription stands.
    reader = mosquitto("mosquitto_sub", relay, [*options, "-t", topic + "/ready", "-C", "11", "-W", "20"])
    assert reader.stdout.readline() == "ready\n"
    writer = mosquitto("mosquitto_pub", relay, [*options, "-l"], stdin=subprocess.PIPE)
    writer.communicate("".join(f"{n}\n" for n in range(10)), timeout=20)
    assert writer.returncode == 0
    assert reader.communicate(timeout=20)[0] == "".join(f"{n}\n" for n in range(10))
    assert reader.returncode == 0


def test_mosquitto_sub_is_told_that_it_may_not(relay):
    arguments = ["-t", "x", "-P", "wrong", "-C", "1"]
    refused = mosquitto("mosquitto_sub", relay, arguments)
    output = refused.communicate(timeout=20)[0]
    assert refused.returncode != 0 and "refused: bad user name or password" in output.lower(), output


def test_a_changed_configuration_reaches_open_connections(start_server, tmp_path):
    path = tmp_path / "fanfare.toml"

    def allow(*topics):
        path.write_text(f"[guests]\nallow = {json.dumps(list(topics))}\n")

    allow("/game/*", "/chat/*")
    relay = Fanfare(start_server(**{CONFIG: str(path)}).url)
    keys = relay.raw("GET", "/iot/keys").json()
    guest = Credentials(keys["accessKey"], keys["secretKey"], keys["sessionToken"])
    with Peer(relay.url, credentials=guest) as player, Peer(relay.url, credentials=OPERATOR) as operator:
        assert player.subscribe("/game/x", "/chat/x", qos=1) == [1, 1]
        operator.publish("/game/x", "before", qos=1)
        assert player.texts(1) == ["before"]
        allow("/chat/*")
        eventually(lambda: player.publish("/game/x", "late", qos=1) == 0x87)
        time.sleep(1)
        while player.inbox.qsize():
            player.inbox.get()
        operator.publish("/game/x", "after", qos=1)
        operator.publish("/chat/x", "still", qos=1)
        assert player.texts(1) == ["still"]
        allow()
        assert player.ended().value == 0x87
        with pytest.raises(WebsocketConnectionError):
            Peer(relay.url, credentials=guest)


def test_the_profile_of_aws_keeps_its_limits(start_server):
    settings = {"FANFARE_MQTT_PROFILE": "aws", "FANFARE_GUESTS_ANONYMOUS_POLICY": EVERYTHING}
    server = start_server(**settings)

    def fresh(**arguments):
        return Peer(address=server.mqtt, **arguments)

    with fresh() as peer:
        assert peer.properties.MaximumQoS == 1
        assert peer.subscribe("a/b", qos=1) == 1
        assert peer.publish("a/b", "x", qos=1) == 0
        assert peer.texts(1) == ["x"]
        peer.publish("sensor/1", "kept", qos=1, retain=True)
    with fresh() as peer:
        peer.subscribe("sensor/#")
        # A subscription with wildcards gets no retained messages.
        peer.take(0)
        peer.subscribe("sensor/1")
        assert peer.texts(1) == ["kept"]
    for act in (
        lambda peer: peer.subscribe(*(f"f/{n}" for n in range(9))),
        lambda peer: peer.publish("/".join("x" * 9), "x", qos=1),
        lambda peer: peer.publish("t" * 257, "x", qos=1),
        lambda peer: peer.publish("t", b"x" * 131_073, qos=1),
    ):
        with fresh() as peer:
            try:
                found = act(peer)
                refused = min(found if isinstance(found, list) else [found]) >= 0x80
            except Closed:
                refused = True
            assert refused


@pytest.mark.slow
def test_an_idle_websocket_lives_on(peer):
    """paho answers the server's ping without a mask; that is no reason to let it go."""
    one = peer(version="3.1.1", keepalive=0)
    time.sleep(33)
    one.subscribe("x", qos=1)
    assert one.publish("x", "still here", qos=1) == 0
    assert one.texts(1) == ["still here"]


@OF_ONE_NODE
def test_metrics_count_connections_and_messages(peer, relay):
    def value(name):
        lines = relay.raw("GET", "/metrics").text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(name))

    before = value("fanfare_mqtt_connections")
    one = peer()
    eventually(lambda: value("fanfare_mqtt_connections") == before + 1)
    one.close()
    eventually(lambda: value("fanfare_mqtt_connections") == before)
