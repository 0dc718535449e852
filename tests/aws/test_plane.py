"""The session plane on SQS, DynamoDB and STS, end to end: one node and two."""

import json
import time

import boto3
import pytest
from botocore.config import Config

from conftest import url_of
from envelope import open_message
from fanfare import credentials_of
from server import AWS_ACCOUNT, REGION


def client_of(description):
    """The session's client: stock, at the address and with the keys that `create` gave."""
    keys = credentials_of(description)
    return boto3.client(
        "sqs",
        endpoint_url=description["sqsUrl"].rsplit("/", 2)[0],
        region_name=REGION,
        aws_access_key_id=keys.access_key,
        aws_secret_access_key=keys.secret_key,
        aws_session_token=keys.token,
        config=Config(retries={"total_max_attempts": 1}),
    )


def take(session, count, within=15):
    """Exactly `count` messages, opened, by their `msg`."""
    description = getattr(session, "description", session)
    sqs, url = client_of(description), description["sqsUrl"]
    taken, deadline = [], time.monotonic() + within
    while len(taken) < count and time.monotonic() < deadline:
        found = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1)
        for message in found.get("Messages", []):
            taken.append(open_message(description, message["Body"]))
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    found = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
    assert len(taken) == count and not found, f"{taken} and {found} instead of {count}"
    return sorted((message["msg"] for message in taken if "msg" in message), key=str)


@pytest.fixture(params=["one node", "two nodes"])
def nodes(request, cluster):
    """Two ways in: the same node twice, or two."""
    first = cluster.node()
    return cluster, first, (first if request.param == "one node" else cluster.node())


def test_from_create_to_destroy(nodes):
    cluster, a, b = nodes
    session = a.create(1, "s", 7)
    url, name = session["sqsUrl"], session["sqsQueueName"]
    assert url.startswith(url_of("SQS")) and url.endswith(name)

    answer = b.post("/notify/user/7", {"msg": "é✓", "n": 1.50})
    assert (answer["sessions"], answer["sqsUrls"]) == (1, [url])
    b.post("/notify/1", {"msg": "account"})
    a.post("/notify", {"msg": "everyone"})
    b.post("/notify/1/user/7/session/s", {"msg": "session"})
    a.post("/notify/user/7", {"msg": "passing", "_sqs_only": 1})
    assert take(session, 5) == ["account", "everyone", "passing", "session", "é✓"]

    history = b.history(7)
    assert [entry["msg"] for entry in history] == ["session", "everyone", "account", "é✓"]
    assert (history[3]["n"], history[3]["is_read"], b.unread(7)) == (1.5, 0, 4)
    first = history[3]["messageId"]
    read = b.get(f"/messages/set-read/user/7/message/{first}")["messages_receipted"]
    assert (read, a.unread(7)) == ([first], 3)
    rest = a.get(f"/messages/set-read/user/7/asof/{time.time() + 1}", **{"async": "1"})
    assert rest == {"success": True} and b.unread(7) == 0
    assert take(session, 2) == [], "two receipt messages"

    assert b.status(session.description)["sqsQueueName"] == name
    assert b.get("/destroy" + session.path) == {"success": True}
    assert a.status(session.description) is None
    with pytest.raises(cluster.sqs.exceptions.QueueDoesNotExist):
        cluster.sqs.get_queue_attributes(QueueUrl=url)
    assert a.post("/notify/user/7", {"msg": "nobody"})["sessions"] == 0
    assert [row for row in cluster.table("sessions") if "kind" in row] == []


def test_session_keys_are_narrowed_and_end_with_renewal(nodes):
    cluster, a, b = nodes
    session = a.create(1, "s", 7)
    old = session.credentials
    unread = "/messages/unread/user/7"
    assert b.signed("GET", unread, credentials=old).status_code == 200
    assert b.signed("GET", "/messages/unread/user/8", credentials=old).status_code == 403
    assert b.signed("GET", "/status", credentials=old).status_code == 403
    renewed = b.get("/renew" + session.path)["session"]
    assert renewed["aesKey"] == session["aesKey"] and renewed["sqsUrl"] == session["sqsUrl"]
    for node in (a, b):
        assert node.signed("GET", unread, credentials=old).status_code == 403
        assert node.signed("GET", unread, credentials=credentials_of(renewed)).status_code == 200
    refreshed = a.create(1, "s", 7)
    assert b.signed("GET", unread, credentials=credentials_of(renewed)).status_code == 403
    assert refreshed["sqsUrl"] == session["sqsUrl"]


def test_the_rows_are_the_prior_arts(cluster):
    node = cluster.node()
    session = node.create(1, "s", 7)
    node.create(2, "without-user")
    node.post("/notify/user/7", {"msg": "x", "_type": "t"})
    rows = cluster.table("sessions")
    [user] = [row for row in rows if row["userId"]["N"] == "7"]
    assert user["accountId"] == {"N": "1"} and user["sqsUrl"] == {"S": session["sqsUrl"]}
    assert "secretKey" not in user and "sessionToken" not in user
    index = cluster.dynamodb.scan(
        TableName=f"{cluster.env}-sqs-browser-sessions", IndexName=f"{cluster.env}-sqs-browser-sessions-gsi-account"
    )["Items"]
    assert sorted(row["accountId"]["N"] for row in index) == ["1", "2"], "each session once"
    [message] = cluster.table("messages")
    assert message["userId"] == {"N": "7"} and message["is_read"] == {"N": "0"}
    assert float(message["created"]["N"]) == pytest.approx(time.time(), abs=60)
    assert json.loads(message["message"]["S"])["msg"] == "x"


def test_queues_keep_messages_as_long_as_create_says(cluster):
    """By the calls that are made: ElasticMQ knows no retention time."""
    proxy, asked = cluster.proxy("SQS"), []
    proxy.rule = lambda operation, body: asked.append((operation, json.loads(body)))
    node = cluster.node(FANFARE_AWS_SQS_ENDPOINT=proxy.url)
    node.create(1, "s", 7, MessageRetentionPeriod=120)
    node.create(1, "s", 7, MessageRetentionPeriod=120)
    node.create(1, "s", 7, MessageRetentionPeriod=240)
    times = [(operation, call["Attributes"]) for operation, call in asked]
    assert times == [
        ("CreateQueue", {"MessageRetentionPeriod": "120"}),
        ("SetQueueAttributes", {"MessageRetentionPeriod": "240"}),
    ]


def test_keys_are_narrowed_to_the_sessions_own_queue(cluster):
    """By the policy that STS is given: moto holds nobody to it."""
    asked = []
    proxy = cluster.form_proxy("STS", asked)
    node = cluster.node(FANFARE_AWS_STS_ENDPOINT=proxy.url)
    session = node.create(1, "s", 7)
    [form] = asked
    [statement] = json.loads(form["Policy"])["Statement"]
    assert statement["Resource"] == f"arn:aws:sqs:{REGION}:{AWS_ACCOUNT}:{session['sqsQueueName']}"
    assert statement["Effect"] == "Allow" and sorted(statement["Action"]) == [
        "sqs:ChangeMessageVisibility",
        "sqs:DeleteMessage",
        "sqs:GetQueueAttributes",
        "sqs:GetQueueUrl",
        "sqs:PurgeQueue",
        "sqs:ReceiveMessage",
    ]
    assert form["RoleArn"].endswith(":role/fanfare-session")
    assert 14_300 <= int(form["DurationSeconds"]) <= 14_400


def test_messages_are_refused_by_size_before_anything_is_done(cluster):
    node = cluster.node()
    session = node.create(1, "s", 7)
    too_long = json.dumps({"msg": "x" * 390_001}).encode()
    refused = node.signed("POST", "/notify/user/7", body=too_long)
    assert (refused.status_code, refused.json()["code"]) == (413, "RequestEntityTooLargeException")
    passing = json.dumps({"msg": "x" * 390_001, "_sqs_only": 1}).encode()
    assert node.signed("POST", "/notify/user/7", body=passing).status_code == 200
    assert [len(text) for text in take(session.description, 1)] == [390_001]
    assert node.history(7) == []


def test_the_stream_comes_in_here_too(cluster):
    node = cluster.node()
    session = node.create(1, "s", 7)
    stream = f"{cluster.env}-sqs-browser-event-dispatcher"
    node.client("kinesis").put_record(StreamName=stream, PartitionKey="p", Data=json.dumps({"userId": 7, "msg": "x"}))
    assert take(session, 1) == ["x"]


def test_what_is_missing_is_named_at_the_start(cluster):
    import subprocess

    from server import binary, clean_environment

    def refused(**settings):
        environment = clean_environment(**cluster.settings(FANFARE_HTTP_LISTEN="127.0.0.1:0", **settings))
        ran = subprocess.run([binary()], env=environment, capture_output=True, text=True, timeout=60)
        assert ran.returncode != 0
        return ran.stderr

    assert "fanfare aws provision" in refused(FANFARE_ENV="nothing-here")
    assert "mqtt.enabled" in refused(FANFARE_MQTT_ENABLED="true")
    assert "aws.session_role" in refused(FANFARE_AWS_SESSION_ROLE="role")


def test_queues_that_lost_their_session_are_removed(cluster):
    """What a node leaves behind that ends between making a queue and writing its session's row."""
    proxy = cluster.proxy("SQS")
    node = cluster.node(FANFARE_AWS_SQS_ENDPOINT=proxy.url)
    session = node.create(1, "s", 7)
    owner = {"fanfare:sessions": f"{cluster.env}-sqs-browser-sessions"}

    def queue(name, tags):
        return cluster.sqs.create_queue(QueueName=name, tags=tags)["QueueUrl"].rsplit("/", 1)[1]

    prefix = f"{cluster.env}-fanfare"
    orphans = [queue(f"{prefix}-{letter * 43}", owner) for letter in "ab"]
    others = [
        queue(f"{prefix}-{'c' * 43}", {}),
        queue(f"{prefix}-{'d' * 43}", {"fanfare:sessions": "another-table"}),
        queue(f"{prefix}-{'e' * 42}", owner),
        queue(f"{prefix}2-{'g' * 43}", owner),
        session["sqsQueueName"],
    ]

    def queues():
        found = cluster.sqs.list_queues(QueueNamePrefix=prefix).get("QueueUrls", [])
        return {url.rsplit("/", 1)[1] for url in found}

    assert node.get("/cleanup")["queues_removed"] == 0, "they may be about to get their session"
    assert queues() == {*orphans, *others}
    proxy.rule = lambda operation, _: "age" if operation == "GetQueueAttributes" else None
    assert node.get("/cleanup")["queues_removed"] == len(orphans)
    assert queues() == set(others)
    assert node.post("/notify/user/7", {"msg": "x"})["sessions"] == 1
