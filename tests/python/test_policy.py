"""Temporary keys for roles and guests, and what the configuration says about them (WIRE 2, 3, 4.1; SEMANTICS 8)."""

import json
import subprocess
import time

import pytest
from botocore import UNSIGNED
from botocore.credentials import Credentials

from backends import NOT_SERVED
from expect import refused
from fanfare import NOBODY, Fanfare, fresh_id
from server import AWS_ACCOUNT, REGION, binary, clean_environment

CONFIG = "FANFARE_CONFIG"
ROLE = f"arn:aws:iam::{AWS_ACCOUNT}:role/player"
EVERYTHING = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "iot:*", "Resource": "*"}}


def config(guests=("/game/*",), policy=EVERYTHING):
    return f"""
[guests]
allow = {json.dumps(list(guests))}
keys_burst = 1000

[[roles]]
name = "player"
policy = '''{json.dumps(policy)}'''
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("policy") / "fanfare.toml"
    path.write_text(config())
    return path


@pytest.fixture
def relay(start_server, file):
    file.write_text(config())
    server = start_server(**{CONFIG: str(file)})
    relay = Fanfare(server.url)
    relay.server = server
    return relay


def keys_in(answer):
    keys = answer["Credentials"]
    return Credentials(keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"])


def who(relay, credentials=None):
    return relay.client("sts", credentials).get_caller_identity()


@NOT_SERVED
def test_assume_role_gives_keys_that_hold_on_every_wire(relay):
    sts = relay.client("sts")
    answer = sts.assume_role(RoleArn=ROLE, RoleSessionName="sess", DurationSeconds=900, Policy=json.dumps(EVERYTHING))
    assumed = f"arn:aws:sts::{AWS_ACCOUNT}:assumed-role/player/sess"
    assert answer["AssumedRoleUser"]["Arn"] == assumed
    assert abs(answer["Credentials"]["Expiration"].timestamp() - time.time() - 900) < 30
    keys = keys_in(answer)
    assert keys.access_key.startswith("ASIA") and len(keys.token) < 4096
    identity = who(relay, keys)
    assert (identity["Arn"], identity["Account"]) == (assumed, AWS_ACCOUNT)
    assert who(relay)["Arn"] == f"arn:aws:iam::{AWS_ACCOUNT}:root"
    refused("AccessDenied", relay.client("sts", keys).assume_role, RoleArn=ROLE, RoleSessionName="sess")
    refused(("AccessDenied", "AccessDeniedException"), relay.client("sqs", keys).list_queues)


@NOT_SERVED
def test_get_session_token_is_the_operator_for_a_time(relay):
    keys = keys_in(relay.client("sts").get_session_token(DurationSeconds=900))
    assert who(relay, keys)["Arn"].endswith(":root")
    assert relay.client("sqs", keys).list_queues().get("QueueUrls", []) == []
    refused("AccessDenied", relay.client("sts", keys).get_session_token)


@NOT_SERVED
def test_sts_refuses_as_sts_does(relay):
    call = relay.client("sts").assume_role
    refused("ValidationError", call, status=400, RoleArn="arn:aws:iam::1:user/x", RoleSessionName="sess")
    refused("MalformedPolicyDocument", call, status=400, RoleArn=ROLE, RoleSessionName="sess", Policy="{}")
    unknown = ROLE.replace("player", "nobody")
    refused("AccessDenied", call, status=403, RoleArn=unknown, RoleSessionName="sess")
    refused("SignatureDoesNotMatch", relay.client("sts", NOBODY).get_caller_identity, status=403)
    unsigned = relay.client("sts", signature_version=UNSIGNED)
    refused("MissingAuthenticationToken", unsigned.get_caller_identity, status=403)
    session = relay.create(user=fresh_id())
    stolen = session.credentials
    stolen.token = "made-up"
    refused("InvalidClientTokenId", relay.client("sts", stolen).get_caller_identity, status=403)


@NOT_SERVED
def test_a_presigned_get_caller_identity(relay):
    query = {"Action": "GetCallerIdentity", "Version": "2011-06-15"}
    answer = relay.raw("GET", relay.presigned("GET", "/", service="sts", query=query))
    assert answer.status_code == 200 and "<Arn>" in answer.text, answer.text


@NOT_SERVED
def test_cognito_guests(relay):
    unsigned = relay.client("cognito-identity", signature_version=UNSIGNED)
    (pool,) = relay.client("cognito-identity").list_identity_pools(MaxResults=1)["IdentityPools"]
    first = unsigned.get_id(IdentityPoolId=pool["IdentityPoolId"])["IdentityId"]
    assert unsigned.get_id(IdentityPoolId=pool["IdentityPoolId"])["IdentityId"] != first
    keys = unsigned.get_credentials_for_identity(IdentityId=first)["Credentials"]
    assert abs(keys["Expiration"].timestamp() - time.time() - 3600) < 30
    guest = Credentials(keys["AccessKeyId"], keys["SecretKey"], keys["SessionToken"])
    assert first in who(relay, guest)["Arn"]
    refused(("AccessDenied", "AccessDeniedException"), relay.client("sqs", guest).list_queues)
    other = REGION + ":00000000-0000-4000-8000-000000000000"
    refused("ResourceNotFoundException", unsigned.get_id, status=400, IdentityPoolId=other)


def test_iot_keys_and_endpoint(relay):
    answer = relay.raw("GET", "/dev/iot/keys?topic=/game/x")
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    keys = answer.json()
    guest = Credentials(keys["accessKey"], keys["secretKey"], keys["sessionToken"])
    endpoint = relay.client("iot", guest).describe_endpoint(endpointType="iot:Data-ATS")["endpointAddress"]
    assert endpoint == keys["iotEndpoint"] == relay.url.removeprefix("http://")
    nobody = relay.client("iot", NOBODY)
    refused("InvalidSignatureException", nobody.describe_endpoint, status=403)


@NOT_SERVED
def test_tokens_outlive_a_restart(relay):
    keys = keys_in(relay.client("sts").assume_role(RoleArn=ROLE, RoleSessionName="sess"))
    relay.server.stop()
    relay.server.start()
    assert who(Fanfare(relay.server.url), keys)["Arn"].endswith("player/sess")


def test_m19_a_changed_configuration_is_taken_up_and_a_broken_one_is_not(relay, file):
    def guests(expect):
        deadline = time.monotonic() + 5
        while (status := relay.raw("GET", "/iot/keys").status_code) != expect:
            assert time.monotonic() < deadline, (status, relay.server.log)
            time.sleep(0.05)

    guests(200)
    file.write_text(config(guests=()))
    guests(403)
    file.write_text(config(policy={"Statement": "nonsense"}))
    deadline = time.monotonic() + 5
    while "not usable" not in relay.server.log:
        assert time.monotonic() < deadline, relay.server.log
        time.sleep(0.05)
    guests(403)
    file.write_text(config())
    guests(200)


def test_explain_names_the_statement(tmp_path):
    path = tmp_path / "policy.json"
    deny = {"Sid": "NoSecrets", "Effect": "Deny", "Action": "iot:Publish", "Resource": "arn:aws:iot:*:*:topic/secret/*"}
    path.write_text(json.dumps({"Statement": [EVERYTHING["Statement"], deny]}))

    def explain(topic, *more):
        command = [binary(), "policy", "explain", "--policy", str(path), "--action", "iot:Publish", "--topic", topic]
        return subprocess.run([*command, *more], capture_output=True, text=True, env=clean_environment())

    allowed = explain("a")
    assert (allowed.returncode, allowed.stdout) == (0, f"allowed by statement 1 of {path}\n")
    denied = explain("secret/x")
    assert denied.returncode == 1 and f'denied by statement 2 ("NoSecrets") of {path}' in denied.stderr
    session = tmp_path / "session.json"
    session.write_text('{"Statement":[]}')
    narrowed = explain("a", "--session-policy", str(session))
    assert narrowed.returncode == 1 and "not allowed by any statement" in narrowed.stderr
    session.write_text('{"Statement":[{}]}')
    broken = explain("a", "--session-policy", str(session))
    assert broken.returncode == 1 and "statement 1: Effect is missing" in broken.stderr


def test_a_password_is_hashed():
    command = [binary(), "mqtt-password"]
    run = subprocess.run(command, input="secret\n", capture_output=True, text=True, env=clean_environment())
    assert run.returncode == 0 and run.stdout.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert "secret" not in run.stdout
    empty = subprocess.run(command, input="\n", capture_output=True, text=True, env=clean_environment())
    assert empty.returncode == 1
