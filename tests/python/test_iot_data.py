"""AWS IoT's data plane over HTTP with boto3 (WIRE 4.1): publish, read retained messages, look after connected clients; with
every kind of key."""

import base64
import json
import threading
import time

import pytest
from botocore import UNSIGNED
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from backends import KNOWN_TO_NO_NODE, NO_DURABLE_SESSIONS, NOT_SERVED
from expect import eventually, refused
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


@KNOWN_TO_NO_NODE
def test_retained_messages_are_read_and_listed(relay, operator):
    room = fresh_name("room")
    before = time.time() * 1000
    for n in range(5):
        operator.publish(topic=f"{room}/{n}", qos=1, retain=True, payload=b"x" * n + b"!")
    found = operator.get_retained_message(topic=f"{room}/3")
    assert before - 1 <= found["lastModifiedTime"] <= time.time() * 1000 + 1
    assert (found["topic"], found["payload"], found["qos"]) == (f"{room}/3", b"xxx!", 1)
    pages = operator.get_paginator("list_retained_messages").paginate(PaginationConfig={"PageSize": 2})
    listed = [m for page in pages for m in page["retainedTopics"] if m["topic"].startswith(room)]
    assert [(m["topic"], m["payloadSize"]) for m in listed] == [(f"{room}/{n}", n + 1) for n in range(5)]
    assert listed[3]["lastModifiedTime"] == found["lastModifiedTime"]
    with Peer(relay.url, credentials=OPERATOR) as late:
        late.subscribe(f"{room}/+")
        assert all(m.retain for m in late.take(5))
    operator.publish(topic=f"{room}/3", qos=1, retain=True, payload=b"")
    refused("ResourceNotFoundException", operator.get_retained_message, status=404, topic=f"{room}/3")


@NOT_SERVED
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


@NOT_SERVED
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


@NO_DURABLE_SESSIONS
def test_a_persistent_session_gets_what_was_published_by_http(relay, operator):
    topic = fresh_name("t")
    who = {"client_id": fresh_name("c"), "clean": False, "expiry": 60, "credentials": OPERATOR}
    with Peer(relay.url, **who) as peer:
        peer.subscribe(topic, qos=1)
    for n in range(10):
        operator.publish(topic=topic, qos=1, payload=str(n).encode())
    with Peer(relay.url, **who) as peer:
        assert peer.texts(10) == [str(n) for n in range(10)]


CLIENTS = f"arn:aws:iot:us-east-1:{AWS_ACCOUNT}:client"


def gone(operator, client):
    """Whether a client is not connected, waiting for it."""
    return eventually(lambda: not operator.get_connection(clientId=client)["connected"])


@pytest.mark.parametrize("version", ["3.1.1", "5"])
@KNOWN_TO_NO_NODE
def test_a_connection_is_shown(relay, operator, version):
    before = time.time() * 1000
    client = fresh_name("c é")
    with Peer(relay.url, credentials=OPERATOR, version=version, client_id=client, keepalive=45) as peer:
        found = operator.get_connection(clientId=client)
        after = time.time() * 1000
        assert (found["clientId"], found["connected"], found["cleanSession"]) == (client, True, True)
        assert (found["keepAliveDuration"], found["sessionExpiry"]) == (45, 0)
        assert before - 1 <= found["connectedSince"] <= after
        assert not {"sourceIp", "targetIp", "disconnectedSince", "disconnectReason"} & set(found)
        socket = operator.get_connection(clientId=client, includeSocketInformation=True)
        own, server = peer.addresses()
        assert (socket["sourceIp"], socket["sourcePort"]) == own
        assert (socket["targetIp"], socket["targetPort"]) == server
    # Without a session nothing is left of it.
    eventually(lambda: refusal(operator.get_connection, clientId=client) == "ResourceNotFoundException")


def refusal(call, **arguments):
    """The code of an operation's error; None if it succeeds."""
    try:
        call(**arguments)
    except ClientError as error:
        return error.response["Error"]["Code"]
    return None


@KNOWN_TO_NO_NODE
def test_a_session_that_waits_for_its_client_is_shown(relay, operator):
    client = fresh_name("c")
    with Peer(relay.url, credentials=OPERATOR, client_id=client, clean=False, expiry=60) as peer:
        peer.subscribe("a/+", qos=1)
        found = operator.get_connection(clientId=client)
        assert (found["connected"], found["cleanSession"], found["sessionExpiry"]) == (True, False, 60)
    assert gone(operator, client)
    found = operator.get_connection(clientId=client)
    assert (found["cleanSession"], found["sessionExpiry"]) == (False, 60)
    assert abs(found["disconnectedSince"] - time.time() * 1000) < 60_000
    assert found["disconnectReason"] == "CLIENT_INITIATED_DISCONNECT"
    assert operator.list_subscriptions(clientId=client)["subscriptions"] == [{"topicFilter": "a/+", "qos": 1}]
    operator.delete_connection(clientId=client, cleanSession=True)
    for call in (operator.get_connection, operator.list_subscriptions, operator.delete_connection):
        refused("ResourceNotFoundException", call, status=404, clientId=client)


@KNOWN_TO_NO_NODE
def test_subscriptions_are_listed_page_by_page(relay, operator):
    with Peer(relay.url, credentials=OPERATOR) as peer:
        for n in range(25):
            peer.subscribe(f"t/{n:02}", qos=n % 3)
        peer.subscribe("$share/g/x/#", qos=0)
        first = operator.list_subscriptions(clientId=peer.client_id)
        assert len(first["subscriptions"]) == 20 and first["nextToken"]
        found, more = [], {}
        while True:
            page = operator.list_subscriptions(clientId=peer.client_id, maxResults=7, **more)
            found += [(s["topicFilter"], s["qos"]) for s in page["subscriptions"]]
            if "nextToken" not in page:
                break
            more = {"nextToken": page["nextToken"]}
        # AWS IoT knows no quality of service 2.
        assert found == [("$share/g/x/#", 0)] + [(f"t/{n:02}", min(n % 3, 1)) for n in range(25)]
        for arguments in [{"maxResults": 201}, {"nextToken": "%"}]:
            refused("InvalidRequestException", operator.list_subscriptions, clientId=peer.client_id, **arguments)


@pytest.mark.parametrize("prevent", [False, True])
@KNOWN_TO_NO_NODE
def test_a_connection_is_ended_with_or_without_its_will(relay, operator, prevent):
    topic, client = fresh_name("will"), fresh_name("c")
    will = (topic, "lost", {"qos": 1})
    events = f"$aws/events/presence/disconnected/{client}"
    with Peer(relay.url, credentials=OPERATOR) as watcher:
        watcher.subscribe(topic)
        watcher.subscribe(events)
        with Peer(relay.url, credentials=OPERATOR, client_id=client, will=will) as peer:
            operator.delete_connection(clientId=client, preventWillMessage=prevent)
            # Administrative action.
            assert peer.ended().value == 0x98
        operator.publish(topic=topic, payload=b"after", qos=1)
        got = watcher.take(2 if prevent else 3)
        assert sorted(m.payload for m in got if m.topic == topic) == [b"after"] + ([] if prevent else [b"lost"])
        (event,) = [json.loads(m.payload) for m in got if m.topic == events]
        assert event["disconnectReason"] == "API_INITIATED_DISCONNECT" and not event["clientInitiatedDisconnect"]


@pytest.mark.parametrize("forget", [False, True])
@KNOWN_TO_NO_NODE
def test_a_session_outlives_its_connection_unless_it_is_to_be_forgotten(relay, operator, forget):
    topic = fresh_name("t")
    who = {"client_id": fresh_name("c"), "clean": False, "expiry": 60, "credentials": OPERATOR}
    with Peer(relay.url, **who) as peer:
        peer.subscribe(topic, qos=1)
        operator.delete_connection(clientId=peer.client_id, cleanSession=forget)
        peer.ended()
    operator.publish(topic=topic, qos=1, payload=b"kept?")
    with Peer(relay.url, **who) as peer:
        assert peer.present is not forget
        if not forget:
            assert peer.texts(1) == ["kept?"]


@pytest.mark.parametrize("version", ["3.1.1", "5"])
@KNOWN_TO_NO_NODE
def test_a_message_for_one_client_alone(relay, operator, version):
    topic = fresh_name("direct")
    with Peer(relay.url, credentials=OPERATOR, version=version) as peer, Peer(relay.url, credentials=OPERATOR) as other:
        other.subscribe(topic)
        answer = operator.send_direct_message(clientId=peer.client_id, topic=topic, payload=b"\x00a", contentType="x/y")
        assert answer["message"] == "OK" and answer["traceId"]
        confirmed = {"clientId": peer.client_id, "topic": topic, "confirmation": True, "timeout": 15}
        operator.send_direct_message(payload=b"b", **confirmed)
        got = peer.take(2)
        assert [(m.topic, m.payload, m.qos, m.retain) for m in got] == [
            (topic, b"\x00a", 0, False),
            (topic, b"b", 1, False),
        ]
        if version == "5":
            assert got[0].properties.ContentType == "x/y"
        operator.publish(topic=topic, payload=b"for all")
        assert other.texts(1) == ["for all"]


@KNOWN_TO_NO_NODE
def test_a_message_that_is_not_confirmed_is_said_to_be_so(relay, operator):
    with Peer(relay.url, credentials=OPERATOR, manual_ack=True) as peer:
        direct = {"clientId": peer.client_id, "topic": "t", "confirmation": True}
        # Five seconds unless it is said otherwise.
        for timeout, seconds in [({"timeout": 1}, 1), ({}, 5)]:
            began = time.monotonic()
            refused("GatewayTimeoutException", operator.send_direct_message, status=504, **direct, **timeout)
            assert seconds <= time.monotonic() - began < seconds + 4
        # Whoever leaves will not confirm: that is not waited for.
        ender = threading.Timer(0.5, operator.delete_connection, kwargs={"clientId": peer.client_id})
        ender.start()
        began = time.monotonic()
        direct["timeout"] = 15
        refused("GatewayTimeoutException", operator.send_direct_message, status=504, **direct)
        assert time.monotonic() - began < 10
        ender.join()
    refused("ResourceNotFoundException", operator.send_direct_message, status=404, clientId="nobody", topic="t")


@KNOWN_TO_NO_NODE
def test_what_is_wrong_with_a_direct_message_is_said(relay, operator):
    with Peer(relay.url, credentials=OPERATOR) as peer:
        send = operator.send_direct_message
        for arguments in [{"topic": "a/#"}, {"topic": "$aws/x"}, {"topic": "x", "confirmation": True, "timeout": 16}]:
            refused("InvalidRequestException", send, status=400, clientId=peer.client_id, **arguments)
        refused("InvalidRequestException", send, status=400, clientId="$me", topic="x")
        long = {"topic": "x", "payload": b"x" * 262_145}
        refused("RequestEntityTooLargeException", send, status=413, clientId=peer.client_id, **long)


@KNOWN_TO_NO_NODE
def test_clients_are_looked_after_by_those_whose_policy_says_so(relay, operator):
    """Actions of their own, on the client's ARN; who may only connect, and guests and sessions, may none of it."""
    mine, yours = fresh_name("mine"), fresh_name("yours")
    calls = {
        "GetConnection": lambda iot, client: iot.get_connection(clientId=client),
        "ListSubscriptions": lambda iot, client: iot.list_subscriptions(clientId=client),
        "SendDirectMessage": lambda iot, client: iot.send_direct_message(clientId=client, topic="t"),
        "DeleteConnection": lambda iot, client: iot.delete_connection(clientId=client),
    }
    for name, call in calls.items():
        with Peer(relay.url, credentials=OPERATOR, client_id=mine), Peer(relay.url, credentials=OPERATOR, client_id=yours):
            iot = relay.client("iot-data", role(relay, statement(f"iot:{name}", f"{CLIENTS}/{mine}")))
            for other, another in calls.items():
                if other != name:
                    refused("ForbiddenException", another, status=403, iot=iot, client=mine)
            # That there is a client is not told to who may not know.
            for client in (yours, "nobody"):
                refused("ForbiddenException", call, status=403, iot=iot, client=client)
            call(iot, mine)
    with Peer(relay.url, credentials=OPERATOR, client_id=mine):
        strangers = [guest(relay), relay.create(topics="room/+").credentials]
        strangers.append(role(relay, statement("iot:Connect", "*")))
        for keys in strangers:
            for call in calls.values():
                refused("ForbiddenException", call, status=403, iot=relay.client("iot-data", keys), client=mine)


@KNOWN_TO_NO_NODE
def test_a_client_gets_no_message_directly_that_it_may_not_receive(relay, operator):
    with Peer(relay.url, credentials=guest(relay)) as peer:
        send = operator.send_direct_message
        text = refused("ForbiddenException", send, status=403, clientId=peer.client_id, topic="secret", payload=b"x")
        assert "may not receive" in text
        send(clientId=peer.client_id, topic="/game/x", payload=b"y", confirmation=True)
        assert peer.texts(1) == ["y"]
