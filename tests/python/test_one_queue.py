"""One queue, two transports (SEMANTICS 3 and 6): a session reads its queue by polling and by MQTT, and loses nothing."""

import threading
import time

import pytest
from paho.mqtt.client import WebsocketConnectionError

from backends import KEYS_BY_STS, ONE_TRANSPORT
from envelope import open_message
from expect import eventually
from fanfare import Fanfare, credentials_of, fresh_id, fresh_name
from server import KEY_LIFETIME, seconds
from topics import Closed, Peer

both_versions = pytest.mark.parametrize("version", ["3.1.1", "5"])


@pytest.fixture
def session(fanfare):
    return fanfare.create(user=fresh_id())


def subscriber(session, **arguments):
    """The session's client, subscribed to the session's own topic."""
    peer = Peer(session.fanfare.url, credentials=session.credentials, **arguments)
    assert peer.subscribe(session["topic"], qos=1) == 1
    return peer


def opened(session, messages):
    return [open_message(session.description, m.payload.decode())["msg"] for m in messages]


def post(session, *texts):
    for text in texts:
        session.fanfare.get(f"/notify/user/{session['userId']}", msg=text)


@both_versions
@ONE_TRANSPORT
def test_pending_and_live_messages_come_in_their_envelopes_and_puback_deletes(session, version):
    post(session, "0", "1", "2")
    with subscriber(session, version=version) as peer:
        assert opened(session, peer.take(3)) == ["0", "1", "2"]
        post(session, "3")
        (message,) = peer.take(1)
        assert opened(session, [message]) == ["3"]
        assert (message.topic, message.qos, message.retain) == (session["topic"], 1, False)
        attributes = {"QueueUrl": session["sqsUrl"], "AttributeNames": ["All"]}

        def left():
            found = session.sqs.get_queue_attributes(**attributes)["Attributes"]
            return int(found["ApproximateNumberOfMessages"]) + int(found["ApproximateNumberOfMessagesNotVisible"])

        eventually(lambda: left() == 0)
    session.take(0)


@both_versions
@ONE_TRANSPORT
def test_from_polling_to_mqtt_and_back(session, version):
    post(session, *"abcdef")
    polled = session.receive(MaxNumberOfMessages=2)
    session.delete(polled)
    held = session.receive(MaxNumberOfMessages=1, VisibilityTimeout=1)
    seen = [open_message(session.description, m["Body"])["msg"] for m in polled]
    peer = subscriber(session, version=version, manual_ack=True)
    # What the poll holds comes when its time is over.
    got = peer.take(4, within=15)
    texts = opened(session, got)
    assert sorted(seen + texts) == list("abcdef") and len(held) == 1
    for message in got[:2]:
        peer.ack(message)
    time.sleep(0.3)
    peer.drop()
    rest = session.texts(2, within=15)
    assert sorted(rest) == sorted(texts[2:])
    session.take(0)


@ONE_TRANSPORT
def test_changing_all_the_time_loses_nothing_and_repeats_nothing_that_was_acknowledged(session):
    """A publisher posts while the reader changes its transport; each message is acknowledged exactly once."""
    count = 60
    poster = threading.Thread(target=lambda: [post(session, str(n)) or time.sleep(0.02) for n in range(count)])
    poster.start()
    acknowledged = []
    deadline = time.monotonic() + 60
    turn = 0
    while len(acknowledged) < count and time.monotonic() < deadline:
        turn += 1
        if turn % 2:
            messages = session.receive(wait=1, MaxNumberOfMessages=3)
            session.delete(messages)
            acknowledged += [open_message(session.description, m["Body"])["msg"] for m in messages]
            continue
        peer = subscriber(session, version="5" if turn % 4 else "3.1.1", manual_ack=True)
        try:
            for _ in range(3):
                message = peer.inbox.get(timeout=1)
                peer.ack(message)
                acknowledged += opened(session, [message])
        except Exception as error:  # queue.Empty: there was nothing more
            assert type(error).__name__ == "Empty", error
        # The acknowledgements are on their way before the goodbye.
        time.sleep(0.2)
        peer.close()
    poster.join()
    assert sorted(acknowledged, key=int) == [str(n) for n in range(count)]
    session.take(0)


@ONE_TRANSPORT
def test_two_readers_share_the_queue(session):
    with subscriber(session) as one, subscriber(session) as other:
        post(session, *map(str, range(20)))

        def both():
            return one.inbox.qsize() + other.inbox.qsize() == 20

        eventually(both)
        texts = opened(session, one.take(one.inbox.qsize()) + other.take(other.inbox.qsize()))
        assert sorted(texts, key=int) == [str(n) for n in range(20)]


@ONE_TRANSPORT
def test_a_sealed_gcm_envelope_comes_over_mqtt(fanfare):
    session = fanfare.create(user=fresh_id(), envelope="gcm")
    with subscriber(session) as peer:
        post(session, "x")
        assert opened(session, peer.take(1)) == ["x"]


@both_versions
@ONE_TRANSPORT
def test_a_lost_connection_gives_its_messages_back_at_once(session, version):
    post(session, "x", "y")
    peer = subscriber(session, version=version, manual_ack=True)
    peer.take(2)
    peer.drop()
    started = time.monotonic()
    assert sorted(session.texts(2)) == ["x", "y"]
    assert time.monotonic() - started < 5


@both_versions
def test_a_sessions_topic_is_for_its_session_alone(fanfare, session, version):
    other = fanfare.create()
    with Peer(fanfare.url, credentials=other.credentials, version=version) as stranger:
        for topic in (session["topic"], "sessions/+", "sessions/#", "#", f"$share/g/{session['topic']}"):
            assert stranger.subscribe(topic, qos=1) >= 0x80, topic
    with subscriber(session, version=version) as own:
        if version == "5":
            assert own.publish(session["topic"], "forged", qos=1) in (0x87, 0x90)
        else:
            with pytest.raises(Closed):
                own.publish(session["topic"], "forged", qos=1)
    session.take(0)


@both_versions
def test_granted_topics(fanfare, version):
    account, user = fresh_id(), fresh_id()
    granted = "rooms/{accountId}/#,users/{userId}/+,mine/{sessionId}"
    session = fanfare.create(account=account, session="s", user=user, topics=granted)
    with Peer(fanfare.url, credentials=session.credentials, version=version) as peer:
        for topic in (f"rooms/{account}/a/b", f"users/{user}/x", "mine/s"):
            assert peer.subscribe(topic) == 0
            peer.publish(topic, topic)
            assert peer.texts(1) == [topic]
        for topic in ("rooms/#", f"users/{user}/x/y", "users/+/x", "mine/t", "+/s", "#"):
            assert peer.subscribe(topic) >= 0x80, topic
        peer.publish("mine/t", "forged")
        # Quality of service 0 has no answer: the connection ends, and MQTT 5 says why.
        reason = peer.ended()
        assert version != "5" or reason.value == 0x87


def test_a_connection_ends_within_a_second_of_its_session(fanfare, session):
    peer = subscriber(session)
    started = time.monotonic()
    fanfare.get("/destroy" + session.path)
    reason = peer.ended()
    assert time.monotonic() - started < 1.5
    assert reason.value == 0x87
    with pytest.raises(WebsocketConnectionError):
        Peer(fanfare.url, credentials=session.credentials)


@ONE_TRANSPORT
def test_s11_a_renewal_extends_the_connection_and_old_keys_open_no_other(fanfare, session):
    with subscriber(session) as peer:
        renewed = fanfare.get("/renew" + session.path)["session"]
        with pytest.raises(WebsocketConnectionError):
            Peer(fanfare.url, credentials=session.credentials)
        time.sleep(1.2)
        post(session, "x")
        assert opened(session, peer.take(1)) == ["x"]
        Peer(fanfare.url, credentials=credentials_of(renewed)).close()


@KEYS_BY_STS
def test_s11_a_connection_ends_within_a_second_of_its_keys(start_server):
    server = start_server(**{KEY_LIFETIME: seconds(4)})
    session = Fanfare(server.url).create()
    with subscriber(session) as peer:
        reason = peer.ended()
        assert -1 < time.time() - session["expires"] < 1.5
        assert reason.value == 0x87


@ONE_TRANSPORT
def test_messages_wait_over_a_restart(start_server):
    server = start_server()
    fanfare = Fanfare(server.url)
    session = fanfare.create(user=fresh_id())
    post(session, "a", "b")
    peer = subscriber(session, manual_ack=True)
    got = peer.take(2)
    peer.ack(got[0])
    time.sleep(0.3)
    server.kill()
    peer.ended()
    server.start()
    session.fanfare = Fanfare(server.url)
    with subscriber(session, client_id=fresh_name("c")) as peer:
        post(session, "c")
        # The crash could give nothing back: what was in flight comes when its time is over.
        assert opened(session, peer.take(2, within=75)) == ["c", "b"]
