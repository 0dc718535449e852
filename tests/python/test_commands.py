"""Fanfare from a shell: the AWS CLI and `curl --aws-sigv4`."""

import json
import pathlib
import subprocess
import sys

import pytest

from envelope import open_message
from fanfare import NOBODY, fresh_id, fresh_name
from server import OPERATOR_ACCESS_KEY, OPERATOR_SECRET_KEY, REGION, STREAM, clean_environment

AWS = pathlib.Path(sys.executable).with_name("aws")


@pytest.fixture
def aws(fanfare, tmp_path):
    """Runs `aws …` with the operator's keys, or those given; returns its JSON, or its error."""

    def run(*arguments, credentials=None, fails=False):
        keys = credentials or fanfare.operator
        environment = clean_environment(
            HOME=str(tmp_path),
            AWS_ACCESS_KEY_ID=keys.access_key,
            AWS_SECRET_ACCESS_KEY=keys.secret_key,
            AWS_DEFAULT_REGION=REGION,
            AWS_MAX_ATTEMPTS="1",
            **({"AWS_SESSION_TOKEN": keys.token} if keys.token else {}),
        )
        ended = subprocess.run(
            [AWS, "--endpoint-url", fanfare.url, "--output", "json", *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (ended.returncode != 0) is fails, ended.stderr
        return ended.stderr if fails else json.loads(ended.stdout or "{}")

    return run


def test_aws_sqs_from_creation_to_deletion(aws):
    name = fresh_name("cli")
    url = aws("sqs", "create-queue", "--queue-name", name, "--attributes", "VisibilityTimeout=60")["QueueUrl"]
    assert aws("sqs", "get-queue-url", "--queue-name", name)["QueueUrl"] == url
    assert url in aws("sqs", "list-queues", "--queue-name-prefix", name)["QueueUrls"]
    sent = aws("sqs", "send-message", "--queue-url", url, "--message-body", "hello é😀")
    (message,) = aws("sqs", "receive-message", "--queue-url", url, "--wait-time-seconds", "2")["Messages"]
    assert message["Body"] == "hello é😀" and message["MessageId"] == sent["MessageId"]
    handle = ("--queue-url", url, "--receipt-handle", message["ReceiptHandle"])
    aws("sqs", "change-message-visibility", *handle, "--visibility-timeout", "120")
    aws("sqs", "delete-message", *handle)
    assert aws("sqs", "receive-message", "--queue-url", url) == {}
    aws("sqs", "delete-queue", "--queue-url", url)
    error = aws("sqs", "receive-message", "--queue-url", url, fails=True)
    assert "AWS.SimpleQueueService.NonExistentQueue" in error


def test_aws_sqs_batches_attributes_and_tags(aws):
    url = aws("sqs", "create-queue", "--queue-name", fresh_name("cli"), "--tags", "team=red")["QueueUrl"]
    at = ("--queue-url", url)
    entries = json.dumps([{"Id": str(n), "MessageBody": str(n)} for n in range(3)])
    assert len(aws("sqs", "send-message-batch", *at, "--entries", entries)["Successful"]) == 3
    found = aws("sqs", "get-queue-attributes", *at, "--attribute-names", "All")["Attributes"]
    assert found["ApproximateNumberOfMessages"] == "3"
    messages = aws("sqs", "receive-message", *at, "--max-number-of-messages", "10")["Messages"]
    entries = json.dumps([{"Id": str(n), "ReceiptHandle": m["ReceiptHandle"]} for n, m in enumerate(messages)])
    assert len(aws("sqs", "delete-message-batch", *at, "--entries", entries)["Successful"]) == 3
    assert aws("sqs", "list-queue-tags", *at)["Tags"] == {"team": "red"}
    aws("sqs", "purge-queue", *at)


def test_aws_with_session_keys(aws, fanfare):
    session = fanfare.create(user=fresh_id())
    fanfare.get(f"/notify/user/{session['userId']}", msg="hello")
    receive = ("sqs", "receive-message", "--queue-url", session["sqsUrl"], "--wait-time-seconds", "2")
    (message,) = aws(*receive, credentials=session.credentials)["Messages"]
    assert open_message(session.description, message["Body"])["msg"] == "hello"
    assert "AccessDenied" in aws("sqs", "list-queues", credentials=session.credentials, fails=True)


def test_aws_kinesis_posts_messages(aws, fanfare):
    session = fanfare.create(user=fresh_id())
    data = json.dumps({"userId": session["userId"], "msg": "by the cli"})
    arguments = ("--stream-name", STREAM, "--partition-key", "p")
    assert aws("kinesis", "put-record", *arguments, "--data", data)["SequenceNumber"]
    assert session.texts(1) == ["by the cli"]
    assert STREAM in aws("kinesis", "list-streams")["StreamNames"]
    assert aws("kinesis", "describe-stream-summary", "--stream-name", STREAM)


def test_aws_cognito_lists_pools_and_gives_a_sessions_keys(aws, fanfare):
    assert aws("cognito-identity", "list-identity-pools", "--max-results", "10")["IdentityPools"]
    session = fanfare.create()
    logins = f"fanfare={session['sessionToken']}"
    identity = ("--identity-id", session["identityId"])
    keys = aws("cognito-identity", "get-credentials-for-identity", *identity, "--logins", logins)["Credentials"]
    assert keys["AccessKeyId"] == session["accessKey"]
    refused = aws("cognito-identity", "get-credentials-for-identity", *identity, fails=True)
    assert "NotAuthorizedException" in refused


@pytest.fixture
def curl(fanfare):
    """Runs `curl --aws-sigv4`; returns status and body."""

    def run(path, *arguments, service="execute-api", credentials=None):
        keys = credentials or fanfare.operator
        token = ["-H", f"X-Amz-Security-Token: {keys.token}"] if keys.token else []
        ended = subprocess.run(
            [
                *("curl", "-sS", "-m", "30", "-w", "\n%{http_code}"),
                *("--aws-sigv4", f"aws:amz:{REGION}:{service}"),
                *("--user", f"{keys.access_key}:{keys.secret_key}"),
                *token,
                *arguments,
                fanfare.url + path,
            ],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert ended.returncode == 0, ended.stderr
        body, status = ended.stdout.rsplit("\n", 1)
        return int(status), body

    return run


def test_curl_creates_notifies_and_reads(curl, fanfare):
    account, user, name = fresh_id(), fresh_id(), fresh_name("s")
    status, body = curl(f"/create/{account}/{name}/{user}")
    assert status == 200
    session = json.loads(body)["session"]
    assert curl(f"/notify/user/{user}?msg=hello")[0] == 200
    status, body = curl("/notify/user/" + str(user), "-H", "Content-Type: application/json", "-d", '{"msg":"é😀"}')
    assert status == 200 and json.loads(body)["sessions"] == 1
    messages = json.loads(curl(f"/messages/user/{user}")[1])["messages"]
    assert [m["msg"] for m in messages] == ["é😀", "hello"]
    assert curl(f"/destroy/{account}/{name}/{user}", "-X", "POST")[0] == 200
    assert json.loads(curl(f"/status/{account}/{name}")[1])["session"] is None
    assert session["sqsUrl"].startswith(fanfare.url)


def test_curl_speaks_http_2_without_tls(curl, fanfare):
    session = fanfare.create(user=fresh_id())
    arguments = ("--http2-prior-knowledge", "-d", '{"msg":"over h2c"}')
    status, body = curl(f"/notify/user/{session['userId']}", *arguments)
    assert status == 200 and json.loads(body)["sessions"] == 1
    assert session.texts(1) == ["over h2c"]


def test_curl_is_refused_with_wrong_keys(curl):
    assert curl("/status", credentials=NOBODY)[0] == 403


def test_curl_speaks_the_sqs_query_api(curl, fanfare, queue):
    path = queue.removeprefix(fanfare.url)
    form = ("-d", "Action=SendMessage&Version=2012-11-05&MessageBody=from+curl")
    assert curl(path, *form, service="sqs")[0] == 200
    status, body = curl(path, "-d", "Action=ReceiveMessage&Version=2012-11-05", service="sqs")
    assert status == 200 and "<Body>from curl</Body>" in body


def test_curl_speaks_sqs_json_with_session_keys(curl, fanfare):
    session = fanfare.create()
    fanfare.get(f"/notify/{session['accountId']}", msg="hi")
    arguments = (
        *("-H", "X-Amz-Target: AmazonSQS.ReceiveMessage"),
        *("-H", "Content-Type: application/x-amz-json-1.0"),
        *("-d", json.dumps({"QueueUrl": session["sqsUrl"]})),
    )
    status, body = curl("/", *arguments, service="sqs", credentials=session.credentials)
    assert status == 200, body
    assert open_message(session.description, json.loads(body)["Messages"][0]["Body"])["msg"] == "hi"


def test_the_line_printed_at_the_start_works(start_server):
    server = start_server()
    (line,) = [line for line in server.log.splitlines() if "curl" in line and "--aws-sigv4" in line][:1]
    command = line[line.index("curl") :]
    assert OPERATOR_ACCESS_KEY in command
    environment = clean_environment(FANFARE_SECRET=OPERATOR_SECRET_KEY)
    ended = subprocess.run(["bash", "-c", command], env=environment, capture_output=True, text=True, timeout=30)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["success"] is True, f"{command}: {ended.stdout}"
