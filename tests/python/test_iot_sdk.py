"""AWS IoT's own SDK for Python (awsiotsdk, the AWS CRT): SigV4 over a WebSocket in TLS, both versions, unchanged."""

import json
import pathlib
import threading
from concurrent.futures import Future

import pytest
from awscrt import auth, mqtt, mqtt5
from awsiot import mqtt5_client_builder, mqtt_connection_builder
from botocore.credentials import Credentials

from expect import eventually
from fanfare import OPERATOR, Fanfare, fresh_name
from server import REGION
from topics import Peer

WITHIN = 15
ANYONE = '{"Statement":{"Effect":"Allow","Action":"iot:*","Resource":"*"}}'


@pytest.fixture(scope="module")
def relay(module_server):
    settings = {"FANFARE_HTTP_TLS_LISTEN": "127.0.0.1:0", "FANFARE_MQTT_TLS_LISTEN": "127.0.0.1:0"}
    settings["FANFARE_GUESTS_ANONYMOUS_POLICY"] = ANYONE
    server = module_server("--dev-tls", **settings)
    relay = Fanfare(server.url)
    relay.server = server
    return relay


def trust(relay):
    """Where the server is in TLS, and what to trust there."""
    return {
        "endpoint": "localhost",
        "port": relay.server.port("https"),
        "ca_filepath": str(pathlib.Path(relay.server.directory) / "data/dev-tls/cert.pem"),
        "region": REGION,
    }


def provider(credentials):
    return auth.AwsCredentialsProvider.new_static(
        credentials.access_key, credentials.secret_key, credentials.token or None
    )


def connection_311(relay, credentials, **arguments):
    return mqtt_connection_builder.websockets_with_default_aws_signing(
        client_id=fresh_name("crt"),
        clean_session=True,
        credentials_provider=provider(credentials),
        **trust(relay),
        **arguments,
    )


@pytest.mark.parametrize("version", ["3.1.1", "5"])
def test_paho_in_tls_over_tcp_and_websocket(relay, version):
    ca = trust(relay)["ca_filepath"]
    url = f"https://localhost:{relay.server.port('https')}"
    topic = fresh_name("t")
    with Peer(url, credentials=OPERATOR, ca=ca, version=version) as reader:
        reader.subscribe(topic, qos=1)
        with Peer(address=("localhost", relay.server.port("mqtts")), ca=ca, version=version) as writer:
            assert writer.publish(topic, "x" * 100_000, qos=1) == 0
        assert reader.texts(1) == ["x" * 100_000]


def test_mqtt_3_1_1(relay):
    session = relay.create(topics="lobby")
    connection = connection_311(relay, session.credentials)
    assert connection.connect().result(WITHIN) == {"session_present": False}
    got = Future()
    subscribed, _ = connection.subscribe(
        "lobby", mqtt.QoS.AT_LEAST_ONCE, callback=lambda topic, payload, **_: got.set_result((topic, payload))
    )
    assert subscribed.result(WITHIN)["qos"] == mqtt.QoS.AT_LEAST_ONCE
    published, _ = connection.publish("lobby", b"hello", mqtt.QoS.AT_LEAST_ONCE)
    published.result(WITHIN)
    assert got.result(WITHIN) == ("lobby", b"hello")
    connection.disconnect().result(WITHIN)


def test_a_bad_signature_is_refused(relay):
    wrong = Credentials("FANFAREDEV", "wrong")
    with pytest.raises(Exception) as raised:
        connection_311(relay, wrong).connect().result(WITHIN)
    assert "UPGRADE_FAILURE" in str(raised.value)


class Modern:
    """A client of MQTT 5."""

    def __init__(self, relay, credentials):
        self.ready, self.failed, self.stopped = Future(), Future(), Future()
        self.got = []
        self.changed = threading.Event()
        self.client = mqtt5_client_builder.websockets_with_default_aws_signing(
            credentials_provider=provider(credentials),
            client_id=fresh_name("crt"),
            on_lifecycle_connection_success=lambda data: self.ready.set_result(data),
            on_lifecycle_connection_failure=lambda data: self.failed.done() or self.failed.set_result(data),
            on_lifecycle_stopped=lambda data: self.stopped.set_result(data),
            on_publish_received=lambda data: self.got.append(data.publish_packet),
            **trust(relay),
        )
        self.client.start()

    def stop(self):
        self.client.stop()
        self.stopped.result(WITHIN)


def test_mqtt_5(relay):
    one = Modern(relay, OPERATOR)
    one.ready.result(WITHIN)
    topic = fresh_name("t")
    subscription = mqtt5.Subscription(topic, mqtt5.QoS.AT_LEAST_ONCE)
    suback = one.client.subscribe(mqtt5.SubscribePacket([subscription])).result(WITHIN)
    assert suback.reason_codes == [mqtt5.SubackReasonCode.GRANTED_QOS_1]
    packet = mqtt5.PublishPacket(
        topic=topic,
        payload=json.dumps({"n": 1}),
        qos=mqtt5.QoS.AT_LEAST_ONCE,
        content_type="application/json",
        user_properties=[mqtt5.UserProperty("a", "1")],
    )
    puback = one.client.publish(packet).result(WITHIN).puback
    assert puback.reason_code == mqtt5.PubackReasonCode.SUCCESS
    eventually(lambda: one.got)
    (got,) = one.got
    assert (got.topic, json.loads(got.payload), got.content_type) == (topic, {"n": 1}, "application/json")
    assert [(p.name, p.value) for p in got.user_properties] == [("a", "1")]
    one.stop()


def test_mqtt_5_and_a_bad_signature(relay):
    one = Modern(relay, Credentials("FANFAREDEV", "wrong"))
    failure = one.failed.result(WITHIN)
    assert "UPGRADE_FAILURE" in str(failure.exception)
    one.stop()
