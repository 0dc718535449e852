"""What every answer carries, who may ask for what, and the routes for people and machines."""

import datetime
import email.utils
import json
import re
import subprocess
import threading
import time
import unittest.mock
import uuid

import pytest
import requests
from botocore import auth
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from expect import eventually
from fanfare import NOBODY, OPERATOR, Fanfare, fresh_id
from server import (
    ACCESS_KEY,
    HTTP_LISTEN,
    SECRET_KEY,
    STORE_DIR,
    STREAM,
    binary,
    clean_environment,
)

SQS_RECEIVE = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": "AmazonSQS.ReceiveMessage"}
PREFLIGHT_HEADERS = (
    "amz-sdk-invocation-id,amz-sdk-request,authorization,content-type,x-amz-content-sha256,x-amz-date,"
    "x-amz-security-token,x-amz-target,x-amz-user-agent,x-amzn-query-mode"
)
EXPOSED = ("x-amzn-requestid", "x-amzn-errortype", "x-amzn-query-error", "date")


def answers(fanfare):
    """One answer of each kind: successes, refusals and errors of every wire."""
    missing = json.dumps({"QueueUrl": "http://h/1/missing"}).encode()
    session = fanfare.create(user=fresh_id())
    yield "health", fanfare.raw("GET", "/health/live")
    yield "api success", fanfare.signed("GET", "/status" + session.path)
    yield "api bad input", fanfare.signed("GET", "/create/x/y")
    yield "api unsigned", fanfare.raw("GET", "/status")
    yield "api wrong key", fanfare.signed("GET", "/status", credentials=NOBODY)
    yield "api forbidden", fanfare.signed("GET", "/status", credentials=session.credentials)
    yield "no such route", fanfare.raw("GET", "/no/such/route")
    yield "wrong method", fanfare.raw("DELETE", "/status")
    yield (
        "sqs success",
        fanfare.signed(
            "POST", "/", json.dumps({"QueueUrl": session["sqsUrl"]}).encode(), service="sqs", headers=SQS_RECEIVE
        ),
    )
    yield "sqs error", fanfare.signed("POST", "/", missing, service="sqs", headers=SQS_RECEIVE)
    yield "sqs unsigned", fanfare.raw("POST", "/", data=missing, headers=SQS_RECEIVE)
    yield "sqs bad json", fanfare.signed("POST", "/", b"{", service="sqs", headers=SQS_RECEIVE)
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    query = b"Action=GetQueueUrl&Version=2012-11-05&QueueName=missing"
    yield "sqs query error", fanfare.signed("POST", "/", query, service="sqs", headers=form)
    yield (
        "cognito error",
        fanfare.raw(
            "POST",
            "/",
            data=b'{"IdentityId":"us-east-1:00000000-0000-4000-8000-000000000000"}',
            headers={
                "Content-Type": "application/x-amz-json-1.1",
                "X-Amz-Target": "AWSCognitoIdentityService.GetCredentialsForIdentity",
            },
        ),
    )


def test_cors_request_id_and_date_are_on_every_answer(fanfare):
    for name, answer in answers(fanfare):
        headers = answer.headers
        assert headers.get("Access-Control-Allow-Origin") == "*", name
        exposed = headers.get("Access-Control-Expose-Headers", "").lower()
        assert all(header in exposed for header in EXPOSED), f"{name}: exposes {exposed!r}"
        assert "Access-Control-Allow-Credentials" not in headers, name
        uuid.UUID(headers["x-amzn-RequestId"])
        date = email.utils.parsedate_to_datetime(headers["Date"])
        assert abs((datetime.datetime.now(datetime.UTC) - date).total_seconds()) < 5, name
        assert answer.headers.get("Content-Type"), name
        assert int(answer.headers["Content-Length"]) == len(answer.content), name


@pytest.mark.parametrize("path", ["/", "/status", "/create/1/s", "/notify", "/messages/user/1", "/no/such", "/1/queue"])
def test_a_preflight_is_answered_without_a_signature(fanfare, path):
    answer = fanfare.raw(
        "OPTIONS",
        path,
        headers={
            "Origin": "http://localhost:5173",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": PREFLIGHT_HEADERS,
        },
    )
    assert answer.status_code in (200, 204)
    headers = answer.headers
    assert headers["Access-Control-Allow-Origin"] == "*"
    allowed = {h.strip() for h in headers["Access-Control-Allow-Headers"].lower().split(",")}
    assert allowed == set(PREFLIGHT_HEADERS.split(","))
    assert "POST" in headers["Access-Control-Allow-Methods"]
    assert headers["Access-Control-Max-Age"] == "172800"
    assert "access-control-request-headers" in headers["Vary"].lower()
    assert "Access-Control-Allow-Credentials" not in headers


def test_health_tells_live_and_ready(fanfare):
    for path in ("/health/live", "/health/ready"):
        assert fanfare.raw("GET", path).status_code == 200


def test_metrics_are_prometheus_text(fanfare):
    fanfare.create()
    answer = fanfare.raw("GET", "/metrics")
    assert answer.status_code == 200 and answer.headers["Content-Type"].startswith("text/plain")
    lines = [line for line in answer.text.splitlines() if line and not line.startswith("#")]
    assert lines and all(re.fullmatch(r"[a-zA-Z_:][\w:]*(\{.*\})? \S+( \d+)?", line) for line in lines)
    assert "# TYPE" in answer.text


def test_metrics_show_no_secret(fanfare):
    session = fanfare.create(user=fresh_id())
    fanfare.get(f"/notify/user/{session['userId']}", msg="canary-in-the-message")
    text = fanfare.raw("GET", "/metrics").text
    for field in ("secretKey", "sessionToken", "aesKey", "accessKey"):
        assert session[field] not in text
    assert "canary" not in text


def test_the_api_describes_itself(fanfare):
    document = fanfare.raw("GET", "/openapi.json").json()
    assert document["openapi"].startswith("3.")
    paths = " ".join(document["paths"])
    for route in ("/create/", "/destroy/", "/renew/", "/status", "/cleanup", "/notify", "/messages/user/", "set-read", "/iot/keys", "/mqtt/token"):
        assert route in paths, route
    assert all(operation["responses"] for item in document["paths"].values() for operation in item.values())
    served = [p for p in ("/docs/", "/swagger-ui/", "/openapi/", "/docs") if fanfare.raw("GET", p).status_code == 200]
    assert served, "there is a browsable page"
    assert "html" in fanfare.raw("GET", served[0]).headers["Content-Type"]


SIGNED_ROUTES = [
    ("GET", "/status", "execute-api"),
    ("POST", "/notify/1", "execute-api"),
    ("GET", "/messages/user/1", "execute-api"),
]


@pytest.mark.parametrize(("method", "path", "service"), SIGNED_ROUTES)
def test_a_signature_covers_what_was_sent(fanfare, method, path, service):
    body = b'{"msg":"x"}' if method == "POST" else None

    def attempt(path=path, sent_path=None, body=body, sent_body=None, region="us-east-1", service=service, drop=()):
        request = AWSRequest(method, fanfare.url + path, {"X-Extra": "signed"}, data=body)
        SigV4Auth(OPERATOR, service, region).add_auth(request)
        headers = {k: v for k, v in request.headers.items() if k not in drop}
        return fanfare.raw(method, sent_path or path, data=sent_body or body, headers=headers).status_code

    assert attempt() == 200
    assert attempt(sent_path=path + "?a=1") == 403
    assert attempt(path=path + "?a=1", sent_path=path + "?a=2") == 403
    assert attempt(service="sqs") == 403
    assert attempt(region="eu-west-1") == 403
    assert attempt(drop=("X-Extra",)) == 403
    assert attempt(drop=("Authorization",)) in (401, 403)
    if body:
        assert attempt(sent_body=b'{"msg":"y"}') == 403


@pytest.mark.parametrize(("minutes", "accepted"), [(-14, True), (14, True), (-16, False), (16, False)])
def test_clocks_may_differ_by_fifteen_minutes(fanfare, minutes, accepted):
    moment = datetime.datetime.now(datetime.UTC).replace(tzinfo=None) + datetime.timedelta(minutes=minutes)
    with unittest.mock.patch.object(auth, "get_current_datetime", return_value=moment):
        answer = fanfare.signed("GET", "/status", query={"limit": 1})
    assert (answer.status_code == 200) is accepted, answer.text
    if not accepted:
        assert answer.status_code == 403


def test_a_presigned_url_works_until_it_expires(fanfare):
    url = fanfare.presigned("GET", "/status", service="execute-api", expires=2, query={"limit": 1})
    assert fanfare.raw("GET", url).status_code == 200
    assert fanfare.raw("GET", url.replace("limit=1", "limit=2")).status_code == 403
    assert fanfare.raw("POST", url).status_code == 403
    time.sleep(3.1)
    assert fanfare.raw("GET", url).status_code == 403
    for seconds in (0, -1, 604801):
        bad = fanfare.presigned("GET", "/status", service="execute-api", expires=seconds, query={"limit": 1})
        assert fanfare.raw("GET", bad).status_code in (400, 403)


def test_two_signatures_at_once_are_refused(fanfare):
    url = fanfare.presigned("GET", "/status", service="execute-api", query={"limit": 1})
    assert fanfare.signed("GET", url.removeprefix(fanfare.url)).status_code in (400, 403)


def test_secrets_do_not_reach_the_log(start_server):
    operator = Credentials("AKIDOPERATOR", "canary-operator-secret-0123456789")
    keys = {ACCESS_KEY: operator.access_key, SECRET_KEY: operator.secret_key}
    server = start_server(RUST_LOG="trace", **keys)
    alone = Fanfare(server.url, operator)
    session = alone.create(user=1)
    alone.post("/notify/user/1", {"msg": "canary-in-the-message"})
    session.take(1)
    alone.signed("GET", "/status", credentials=NOBODY)
    server.stop()
    for field in ("secretKey", "sessionToken", "aesKey"):
        assert session[field] not in server.log, field
    assert "canary" not in server.log


def test_start_up_prints_what_to_do_next(start_server):
    server = start_server()
    assert server.url.removeprefix("http://") in server.log
    assert "curl" in server.log and "--aws-sigv4" in server.log


def test_other_operator_keys_replace_the_development_pair(start_server):
    server = start_server(**{ACCESS_KEY: "AKIDOPERATOR", SECRET_KEY: "a-much-longer-operator-secret"})
    mine = Credentials("AKIDOPERATOR", "a-much-longer-operator-secret")
    alone = Fanfare(server.url)
    assert alone.signed("GET", "/status", credentials=mine).status_code == 200
    assert alone.signed("GET", "/status").status_code == 403


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({HTTP_LISTEN: "0.0.0.0:0"}, "operator"),
        ({HTTP_LISTEN: "nonsense"}, "listen"),
        ({"FANFARE_NO_SUCH_KEY": "1"}, "no_such"),
        ({"FANFARE_HISTORY_USER_MESSAGE_TTL": "soon"}, "user_message_ttl"),
        ({"FANFARE_AWS_ACCOUNT": "12"}, "aws_account"),
    ],
)
def test_a_bad_configuration_stops_the_start(tmp_path, settings, named):
    environment = clean_environment(**{HTTP_LISTEN: "127.0.0.1:0", STORE_DIR: str(tmp_path / "data"), **settings})
    ended = subprocess.run(
        [binary(), "serve"], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=30
    )
    assert ended.returncode != 0
    said = (ended.stdout + ended.stderr).lower()
    assert named in said or named.replace("_", " ") in said or named.replace("_", "") in said, said
    assert "panicked" not in said


def test_a_second_process_on_the_same_data_is_refused(start_server):
    server = start_server()
    environment = clean_environment(**{HTTP_LISTEN: "127.0.0.1:0", STORE_DIR: str(server.directory / "data")})
    second = subprocess.run([binary(), "serve"], env=environment, capture_output=True, text=True, timeout=30)
    assert second.returncode != 0
    said = (second.stdout + second.stderr).lower()
    assert "panicked" not in said and ("in use" in said or "another" in said or "locked" in said), said
    assert requests.get(server.url + "/health/ready", timeout=5).status_code == 200


def test_sigterm_answers_waiting_polls_and_keeps_what_was_accepted(start_server):
    server = start_server()
    before = Fanfare(server.url)
    session = before.create(user=1)
    polls = []
    pollers = [threading.Thread(target=lambda: polls.append(session.receive(wait=20))) for _ in range(5)]
    for poller in pollers:
        poller.start()
    time.sleep(1)
    started = time.monotonic()
    server.stop()
    for poller in pollers:
        poller.join()
    assert time.monotonic() - started < 20, "the polls were not waited out"
    assert polls == [[]] * 5, "each poll got an empty answer, not a cut connection"
    server.start()
    assert Fanfare(server.url).status(session.description)["sqsQueueName"] == session["sqsQueueName"]


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"X-Amz-Target": "AmazonSQS.NoSuchOperation", "Content-Type": "application/x-amz-json-1.0"}, b"{}"),
        ({"X-Amz-Target": "NoSuchService.Operation", "Content-Type": "application/x-amz-json-1.0"}, b"{}"),
        ({"X-Amz-Target": "Kinesis_20131202.PutRecord", "Content-Type": "application/x-amz-json-1.1"}, b'{"Data":1}'),
        ({"X-Amz-Target": "AmazonSQS.SendMessage", "Content-Type": "application/x-amz-json-1.0"}, b"[" * 500),
        ({"X-Amz-Target": "Kinesis_20131202.ListStreams", "Content-Type": "application/x-amz-cbor-1.1"}, b"\xa0"),
        ({"Content-Type": "application/x-www-form-urlencoded"}, b"Action=NoSuch&Version=2012-11-05"),
        ({"Content-Type": "application/x-www-form-urlencoded"}, b"Version=2012-11-05"),
        ({"Content-Type": "application/x-www-form-urlencoded"}, b"\xff\xfe%zz&&&=&Action"),
        ({"Content-Type": "application/octet-stream"}, bytes(range(256))),
        ({}, b""),
    ],
)
@pytest.mark.parametrize("service", ["sqs", "kinesis"])
def test_nonsense_is_answered_with_a_client_error(fanfare, headers, body, service):
    answer = fanfare.signed("POST", "/", body, service=service, headers=headers)
    assert 400 <= answer.status_code < 500, answer.text
    assert fanfare.raw("GET", "/health/live").status_code == 200


def test_the_stream_has_the_name_of_the_environment(fanfare):
    assert eventually(lambda: fanfare.client("kinesis").list_streams()["StreamNames"]) == [STREAM]
