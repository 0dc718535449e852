"""Session keys may do what SEMANTICS 3 lists, and nothing else."""

import json
import threading
import time

import pytest

from backends import ANSWERED_BY_SQS, NOT_SERVED
from expect import refused
from fanfare import NOBODY, fresh_id, fresh_name
from server import AWS_ACCOUNT, STREAM

NO_KEY = ("InvalidClientTokenId", "SignatureDoesNotMatch")


@pytest.fixture
def session(fanfare):
    return fanfare.create(user=fresh_id())


@ANSWERED_BY_SQS
def test_the_sessions_own_queue_is_fully_usable(fanfare, session):
    for n in range(4):
        fanfare.get(f"/notify/user/{session['userId']}", msg=str(n))
    sqs, url = session.sqs, session["sqsUrl"]
    assert sqs.get_queue_url(QueueName=session["sqsQueueName"])["QueueUrl"] == url
    found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert found["ApproximateNumberOfMessages"] == "4"
    messages = session.receive(wait=1)
    change = {"QueueUrl": url, "ReceiptHandle": messages[0]["ReceiptHandle"]}
    sqs.change_message_visibility(**change, VisibilityTimeout=60)
    entry = {"Id": "1", "ReceiptHandle": messages[1]["ReceiptHandle"], "VisibilityTimeout": 60}
    sqs.change_message_visibility_batch(QueueUrl=url, Entries=[entry])
    sqs.delete_message(QueueUrl=url, ReceiptHandle=messages[0]["ReceiptHandle"])
    session.delete(messages[1:2])
    sqs.purge_queue(QueueUrl=url)
    session.take(0)


@ANSWERED_BY_SQS
def test_nothing_else_of_sqs_is(fanfare, session, queue):
    sqs, own = session.sqs, session["sqsUrl"]
    stranger = fanfare.create()["sqsUrl"]
    on_own_queue = [
        (sqs.send_message, {"MessageBody": "forged"}),
        (sqs.send_message_batch, {"Entries": [{"Id": "1", "MessageBody": "forged"}]}),
        (sqs.set_queue_attributes, {"Attributes": {"VisibilityTimeout": "0"}}),
        (sqs.delete_queue, {}),
        (sqs.tag_queue, {"Tags": {"a": "b"}}),
        (sqs.untag_queue, {"TagKeys": ["a"]}),
        (sqs.list_queue_tags, {}),
        (sqs.list_dead_letter_source_queues, {}),
        (sqs.add_permission, {"Label": "l", "AWSAccountIds": [AWS_ACCOUNT], "Actions": ["*"]}),
        (sqs.remove_permission, {"Label": "l"}),
    ]
    for call, arguments in on_own_queue:
        refused("AccessDenied", call, status=403, QueueUrl=own, **arguments)
    for url in (queue, stranger, own.rsplit("/", 1)[0] + "/" + fresh_name("missing")):
        refused("AccessDenied", sqs.receive_message, status=403, QueueUrl=url)
        refused("AccessDenied", sqs.get_queue_attributes, QueueUrl=url, AttributeNames=["All"])
        refused("AccessDenied", sqs.purge_queue, QueueUrl=url)
        refused("AccessDenied", sqs.delete_message, QueueUrl=url, ReceiptHandle="h")
    refused("AccessDenied", sqs.get_queue_url, QueueName=stranger.rsplit("/", 1)[1])
    refused("AccessDenied", sqs.create_queue, QueueName=fresh_name())
    refused("AccessDenied", sqs.list_queues)
    arn = f"arn:aws:sqs:us-east-1:{AWS_ACCOUNT}:{session['sqsQueueName']}"
    refused("AccessDenied", sqs.start_message_move_task, SourceArn=arn)
    refused("AccessDenied", sqs.list_message_move_tasks, SourceArn=arn)
    session.take(0)


@NOT_SERVED
def test_the_other_wires_are_closed(fanfare, session):
    kinesis = fanfare.client("kinesis", session.credentials)
    record = {"StreamName": STREAM, "PartitionKey": "p"}
    refused("AccessDeniedException", kinesis.put_record, Data=b"{}", **record)
    refused("AccessDeniedException", kinesis.describe_stream_summary, StreamName=STREAM)
    refused("AccessDeniedException", kinesis.list_streams)
    cognito = fanfare.client("cognito-identity", session.credentials)
    denied = ("NotAuthorizedException", "AccessDeniedException")
    refused(denied, cognito.list_identity_pools, MaxResults=1)
    refused(denied, cognito.delete_identities, IdentityIdsToDelete=[session["identityId"]])


def test_the_routes_of_the_operator_are_closed(fanfare, session):
    for method in ("GET", "POST"):
        for path in [
            "/create" + session.path,
            "/renew" + session.path,
            "/destroy" + session.path,
            "/status" + session.path,
            "/status",
            "/cleanup",
            "/notify",
            f"/notify/{session['accountId']}",
            f"/notify/user/{session['userId']}",
            f"/notify/user/{session['userId']}/session/{session['sessionId']}",
        ]:
            body = b"{}" if method == "POST" else None
            answer = fanfare.signed(method, path, body=body, credentials=session.credentials)
            assert answer.status_code == 403, f"{method} {path}: {answer.status_code}"
            assert answer.json()["success"] is False
    session.take(0)


def test_the_own_users_history_is_open_and_others_are_not(fanfare, session):
    user, other = session["userId"], fresh_id()
    message = fanfare.post(f"/notify/user/{user}", {"msg": "mine"})["messageId"]
    fanfare.post(f"/notify/user/{other}", {"msg": "not mine"})

    def call(path, method="GET", body=None):
        return fanfare.signed(method, path, body=body, credentials=session.credentials)

    assert [m["msg"] for m in call(f"/messages/user/{user}").json()["messages"]] == ["mine"]
    assert call(f"/messages/unread/user/{user}").json()["unread"] == 1
    receipted = call(f"/messages/set-read/user/{user}", "POST", json.dumps([message]).encode())
    assert receipted.json()["messages_receipted"] == [message]

    for method, path, body in [
        ("GET", f"/messages/user/{other}", None),
        ("GET", f"/messages/unread/user/{other}", None),
        ("GET", f"/messages/set-read/user/{other}/message/{message}", None),
        ("GET", f"/messages/set-read/user/{other}/asof/{int(time.time()) + 60}", None),
        ("POST", f"/messages/set-read/user/{other}", b"[]"),
    ]:
        assert call(path, method, body).status_code == 403, path
    assert fanfare.unread(other) == 1


def test_a_session_without_user_reads_nobodys_history(fanfare):
    session = fanfare.create()
    answer = fanfare.signed("GET", f"/messages/user/{fresh_id()}", credentials=session.credentials)
    assert answer.status_code == 403


@ANSWERED_BY_SQS
def test_a_token_belongs_to_its_key(fanfare, session):
    other = fanfare.create()
    url = session["sqsUrl"]

    def receive(**changes):
        sqs = fanfare.client("sqs", type(session)(fanfare, {**session.description, **changes}).credentials)
        return lambda: sqs.receive_message(QueueUrl=url)

    receive()()
    refused(NO_KEY, receive(sessionToken=other["sessionToken"]), status=403)
    refused(NO_KEY, receive(secretKey=other["secretKey"]), status=403)
    refused(NO_KEY, receive(sessionToken=session["sessionToken"] + "x"), status=403)
    without = session.credentials
    without.token = None
    refused(NO_KEY, fanfare.client("sqs", without).receive_message, status=403, QueueUrl=url)


@ANSWERED_BY_SQS
def test_an_unknown_key_and_a_bad_signature_get_the_same_answer(fanfare, session):
    def answer(credentials):
        response = fanfare.signed(
            "POST",
            "/",
            body=json.dumps({"QueueUrl": session["sqsUrl"]}).encode(),
            credentials=credentials,
            service="sqs",
            headers={"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": "AmazonSQS.ReceiveMessage"},
        )
        varying = {"date", "x-amzn-requestid"}
        headers = {k.lower(): v for k, v in response.headers.items() if k.lower() not in varying}
        return response.status_code, response.text, headers

    wrong_secret = session.credentials
    wrong_secret.secret_key = "wrong"
    unknown = session.credentials
    unknown.access_key = "ASIA" + "Q" * (len(unknown.access_key) - 4)
    assert answer(wrong_secret) == answer(unknown)
    assert answer(unknown)[0] == 403
    rest = [
        (r.status_code, r.text)
        for r in (fanfare.signed("GET", "/status", credentials=c) for c in (NOBODY, wrong_secret, unknown))
    ]
    assert rest[0] == rest[1] == rest[2]


@ANSWERED_BY_SQS
def test_revocation_holds_from_the_next_request(fanfare, session):
    revoked = threading.Event()
    accepted = {False: 0, True: 0}
    attempts = {False: 0, True: 0}

    def poll():
        while attempts[True] < 30:
            ended = revoked.is_set()
            attempts[ended] += 1
            try:
                session.receive()
                accepted[ended] += 1
            except session.sqs.exceptions.ClientError:
                pass

    poller = threading.Thread(target=poll)
    poller.start()
    time.sleep(0.5)
    fanfare.get("/renew" + session.path)
    revoked.set()
    poller.join()
    assert accepted[False] > 0, "the poller never got in"
    assert attempts[True] >= 30 and accepted[True] == 0, "revoked keys were accepted"


@ANSWERED_BY_SQS
def test_a_waiting_poll_ends_with_its_session(fanfare, session):
    ended = []

    def poll():
        try:
            ended.append(session.receive(wait=20))
        except session.sqs.exceptions.ClientError as error:
            ended.append(error)

    poller = threading.Thread(target=poll)
    poller.start()
    time.sleep(0.5)
    started = time.monotonic()
    fanfare.get("/destroy" + session.path)
    poller.join()
    assert time.monotonic() - started < 5, "the poll outlived its queue"
