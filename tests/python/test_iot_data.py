"""AWS IoT's data plane over HTTP with boto3 (WIRE 4.1): publish, and read retained messages, with every kind of key."""

import base64
import json

import pytest
from botocore import UNSIGNED
from botocore.credentials import Credentials

from expect import refused
from fanfare import NOBODY, OPERATOR, Fanfare, fresh_name
from server import AWS_ACCOUNT
from topics import Peer

CONFIG = "FANFARE_CONFIG"
ROLE = f"arn:aws:iam::{AWS_ACCOUNT}:role/player"
TOPICS = f"arn:aws:iot:us-east-1:{AWS_ACCOUNT}:topic"


def statement(action, resource):
    return {"Effect": "Allow", "Action": action, "Resource": resource}


@pytest.fixture(scope="module")
def relay(tmp_path_factory, module_server):
    path = tmp_path_factory.mktemp("iot") / "fanfare.toml"
    path.write_text(
        f"""
[guests]
allow = ["/game/*"]
keys_burst = 1000

[[roles]]
name = "player"
policy = '''{json.dumps({"Statement": statement("iot:*", "*")})}'''
"""
    )
    return Fanfare(module_server(**{CONFIG: str(path)}).url)


@pytest.fixture(scope="module")
def operator(relay):
    return relay.client("iot-data")


def role(relay, *statements):
    policy = {"Policy": json.dumps({"Statement": statements})} if statements else {}
    keys = relay.client("sts").assume_role(RoleArn=ROLE, RoleSessionName="sess", **policy)["Credentials"]
    return Credentials(keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"])


def guest(relay):
    """A Cognito guest's keys."""
    unsigned = relay.client("cognito-identity", signature_version=UNSIGNED)
    (pool,) = relay.client("cognito-identity").list_identity_pools(MaxResults=1)["IdentityPools"]
    identity = unsigned.get_id(IdentityPoolId=pool["IdentityPoolId"])["IdentityId"]
    keys = unsigned.get_credentials_for_identity(IdentityId=identity)["Credentials"]
    return Credentials(keys["AccessKeyId"], keys["SecretKey"], keys["SessionToken"])


@pytest.mark.parametrize("version", ["3.1.1", "5"])
@pytest.mark.parametrize("qos", [0, 1])
def test_what_is_published_by_http_reaches_subscribers(relay, operator, version, qos):
    topic = f"/game/{fresh_name('é ')}/x"
    with Peer(relay.url, credentials=OPERATOR, version=version) as peer:
        peer.subscribe(topic, qos=1)
        answer = operator.publish(topic=topic, qos=qos, payload=b"\x00binary\xff")
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 200
        (message,) = peer.take(1)
    assert (message.topic, message.payload, message.qos, message.retain) == (topic, b"\x00binary\xff", qos, False)


def test_properties_reach_subscribers_of_mqtt_5(relay, operator):
    topic = fresh_name("t")
    with Peer(relay.url, credentials=OPERATOR) as peer:
        peer.subscribe(topic)
        operator.publish(
            topic=topic,
            payload=b"x",
            contentType="text/plain; charset=utf-8",
            responseTopic="answers/1",
            messageExpiry=60,
            payloadFormatIndicator="UTF8_DATA",
            correlationData=base64.b64encode(b"\x01\x02").decode(),
            userProperties=json.dumps([{"a": "1"}, {"b": "é"}]),
        )
        properties = peer.take(1)[0].properties
    assert properties.ContentType == "text/plain; charset=utf-8"
    assert properties.ResponseTopic == "answers/1"
    assert 50 < properties.MessageExpiryInterval <= 60
    assert properties.PayloadFormatIndicator == 1
    assert properties.CorrelationData == b"\x01\x02"
    assert properties.UserProperty == [("a", "1"), ("b", "é")]


def test_retained_messages_are_read_and_listed(relay, operator):
    room = fresh_name("room")
    for n in range(5):
        operator.publish(topic=f"{room}/{n}", qos=1, retain=True, payload=b"x" * n + b"!")
    found = operator.get_retained_message(topic=f"{room}/3")
    assert (found["topic"], found["payload"], found["qos"]) == (f"{room}/3", b"xxx!", 1)
    pages = operator.get_paginator("list_retained_messages").paginate(PaginationConfig={"PageSize": 2})
    listed = [m for page in pages for m in page["retainedTopics"] if m["topic"].startswith(room)]
    assert [(m["topic"], m["payloadSize"]) for m in listed] == [(f"{room}/{n}", n + 1) for n in range(5)]
    with Peer(relay.url, credentials=OPERATOR) as late:
        late.subscribe(f"{room}/+")
        assert all(m.retain for m in late.take(5))
    operator.publish(topic=f"{room}/3", qos=1, retain=True, payload=b"")
    refused("ResourceNotFoundException", operator.get_retained_message, status=404, topic=f"{room}/3")


def test_roles_by_their_session_policy(relay, operator):
    own = fresh_name("own")
    operator.publish(topic=own, qos=1, retain=True, payload=b"kept")

    def client(*statements):
        return relay.client("iot-data", role(relay, *statements))

    everything = client()
    everything.publish(topic="anywhere", qos=1, payload=b"x")
    assert everything.list_retained_messages()["retainedTopics"]
    writer = client(statement("iot:Publish", f"{TOPICS}/{own}"))
    writer.publish(topic=own, qos=1, payload=b"x")
    text = refused("ForbiddenException", writer.publish, status=403, topic=own + "x", payload=b"x")
    assert text == "Forbidden"
    refused("ForbiddenException", writer.publish, status=403, topic=own, payload=b"x", retain=True)
    refused("ForbiddenException", writer.get_retained_message, status=403, topic=own)
    refused("ForbiddenException", writer.list_retained_messages, status=403)
    reader = client(statement("iot:GetRetainedMessage", f"{TOPICS}/{own}"))
    assert reader.get_retained_message(topic=own)["payload"] == b"kept"
    refused("ForbiddenException", reader.get_retained_message, status=403, topic="else")
    # The same keys over MQTT.
    with Peer(relay.url, credentials=role(relay)) as peer:
        assert peer.subscribe(own, qos=1) == 1
        assert peer.texts(1) == ["kept"]


def test_guests_and_sessions(relay):
    keys = guest(relay)
    client = relay.client("iot-data", keys)
    with Peer(relay.url, credentials=keys) as peer:
        assert peer.subscribe("/game/pubsub") == 0
        client.publish(topic="/game/pubsub", payload=b"x")
        assert peer.texts(1) == ["x"]
        assert peer.subscribe("/elsewhere") == 0x87
    refused("ForbiddenException", client.publish, status=403, topic="/elsewhere", payload=b"x")
    session = relay.create(topics="room/+")
    client = relay.client("iot-data", session.credentials)
    client.publish(topic="room/1", qos=1, payload=b"x")
    refused("ForbiddenException", client.publish, status=403, topic="room", payload=b"x")
    refused("InvalidRequestException", client.publish, status=400, topic=session["topic"], payload=b"forged")
    session.take(0)
    nobody = relay.client("iot-data", NOBODY)
    refused(("UnrecognizedClientException", "InvalidSignatureException"), nobody.publish, status=403, topic="x")
    unsigned = relay.client("iot-data", signature_version=UNSIGNED)
    refused("MissingAuthenticationTokenException", unsigned.publish, status=403, topic="x")


def test_what_is_wrong_is_said(operator):
    for arguments in [
        {"topic": "a/#"},
        {"topic": "$aws/x"},
        {"topic": "x", "qos": 2},
        {"topic": "x", "responseTopic": "#"},
        {"topic": "x", "messageExpiry": -1},
        {"topic": "x", "correlationData": "%"},
        {"topic": "x", "userProperties": json.dumps({"a": "b"})},
        {"topic": "x", "payload": b"\xff", "payloadFormatIndicator": "UTF8_DATA"},
    ]:
        refused("InvalidRequestException", operator.publish, status=400, **arguments)
    too_long = b"x" * 262_145
    refused("RequestEntityTooLargeException", operator.publish, status=413, topic="x", payload=too_long)


def test_a_persistent_session_gets_what_was_published_by_http(relay, operator):
    topic = fresh_name("t")
    who = {"client_id": fresh_name("c"), "clean": False, "expiry": 60, "credentials": OPERATOR}
    with Peer(relay.url, **who) as peer:
        peer.subscribe(topic, qos=1)
    for n in range(10):
        operator.publish(topic=topic, qos=1, payload=str(n).encode())
    with Peer(relay.url, **who) as peer:
        assert peer.texts(10) == [str(n) for n in range(10)]
