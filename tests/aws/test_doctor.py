"""`fanfare doctor` and `fanfare cost` as they are run."""

import json
import socket

import boto3
import pytest

from conftest import command, run, url_of
from server import AWS_ACCOUNT, REGION
from test_provision import Place, WithIdentities


@pytest.fixture
def place():
    return Place()


def doctor(place, **settings):
    """The findings by subject, and the exit code."""
    ran = run("doctor", "--json", **place.settings(**node(place), **settings))
    report = json.loads(ran.stdout)
    assert report["fail"] == sum(finding["level"] == "fail" for finding in report["findings"])
    assert (ran.returncode == 0) == (report["fail"] == 0), ran.stderr
    return {finding["subject"]: finding for finding in report["findings"]}, ran.returncode


def node(place):
    """Settings of a node of this environment."""
    return {
        "FANFARE_BACKEND": "aws",
        "FANFARE_ENV": place.env,
        "FANFARE_MQTT_ENABLED": "false",
        "FANFARE_HTTP_LISTEN": "127.0.0.1:0",
        "FANFARE_HTTP_MAX_CONNECTIONS": "10",
        "FANFARE_AWS_SESSION_ROLE": f"arn:aws:iam::{AWS_ACCOUNT}:role/{place.role}",
    }


def levels(findings):
    return {subject: finding["level"] for subject, finding in findings.items()}


def test_where_everything_is_there_all_is_well(place):
    place.provision()
    findings, code = doctor(place)
    assert code == 0
    worse = {subject: finding for subject, finding in findings.items() if finding["level"] != "ok"}
    # moto can not simulate policies: that is said, and no reason to fail.
    assert set(worse) <= {"permissions", "open files"}, worse
    for subject in (f"table {place.sessions}", f"stream {place.stream}", f"role {place.role}", "clock", "session keys"):
        assert findings[subject]["level"] == "ok"
    assert {"credentials", "dynamodb", "sqs", "settings"} <= set(findings)


def test_a_pool_of_identities_is_looked_at_and_tried(cluster):
    place, cognito = WithIdentities(), cluster.cognito()
    place.provision()
    pool = {"FANFARE_AWS_COGNITO_ENDPOINT": cognito.url, "FANFARE_AWS_IDENTITY_POOL": place.pool()["IdentityPoolId"]}
    findings, code = doctor(place, **pool)
    assert code == 0, findings
    for subject in (f"pool {place.env}-fanfare", f"attachment {place.env}-fanfare", "session keys"):
        assert findings[subject]["level"] == "ok"
    assert cognito.calls["DeleteIdentities"] == 1, "what is tried is removed again"
    place.pools.set_identity_pool_roles(IdentityPoolId=pool["FANFARE_AWS_IDENTITY_POOL"], Roles={})
    cognito.rule = lambda operation, _: "deny" if operation == "GetOpenIdTokenForDeveloperIdentity" else None
    findings, code = doctor(place, **pool)
    assert code == 1
    assert levels(findings)[f"attachment {place.env}-fanfare"] == levels(findings)["session keys"] == "fail"
    assert "--only attachment" in findings[f"attachment {place.env}-fanfare"]["advice"]
    assert "AccessDenied" in findings["session keys"]["found"]


def test_permissions_are_simulated(place):
    """On MiniStack, which has the services, and evaluates policies when IAM is asked to."""
    stack = url_of("MINISTACK")
    services = ["DYNAMODB", "SQS", "STS", "KINESIS", "IAM"]
    there = {f"FANFARE_AWS_{service}_ENDPOINT": stack for service in services}
    # An access key of twelve digits is an account there.
    keys = {"AWS_ACCESS_KEY_ID": AWS_ACCOUNT}
    command("aws", "provision", "--env", place.env, **place.settings(**there, **keys))
    clients = {}
    for service in ("iam", "sts"):
        clients[service] = boto3.client(
            service, endpoint_url=stack, region_name=REGION, aws_access_key_id=AWS_ACCOUNT, aws_secret_access_key="local"
        )
    iam = clients["iam"]
    trust = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}
    role = f"{place.env}-node"
    arn = iam.create_role(
        RoleName=role, AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    )["Role"]["Arn"]
    iam.attach_role_policy(RoleName=role, PolicyArn=place.policy)
    keys = clients["sts"].assume_role(RoleArn=arn, RoleSessionName="node")["Credentials"]
    keys = {
        "AWS_ACCESS_KEY_ID": keys["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": keys["SecretAccessKey"],
        "AWS_SESSION_TOKEN": keys["SessionToken"],
    }
    findings, _ = doctor(place, **there, **keys)
    finding = findings["permissions"]
    assert (finding["level"], finding["found"]) == ("ok", f"all {count_of(iam, place)} actions of the nodes' policy")
    denied = {"Effect": "Deny", "Action": ["sqs:SendMessage", "dynamodb:Scan"], "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [denied]})
    iam.put_role_policy(RoleName=role, PolicyName="less", PolicyDocument=policy)
    findings, code = doctor(place, **there, **keys)
    finding = findings["permissions"]
    assert code == 1 and finding["level"] == "fail" and f"role/{role} may not: " in finding["found"]
    assert finding["found"].split("may not: ")[1].split(", ") == ["dynamodb:Scan", "sqs:SendMessage"]
    iam.detach_role_policy(RoleName=role, PolicyArn=place.policy)
    findings, _ = doctor(place, **there, **keys)
    assert findings["permissions"]["found"].count(", ") == count_of(iam, place) - 1, "none is left"


def count_of(iam, place):
    """How many actions the nodes' policy has, each in each statement."""
    found = iam.get_policy_version(PolicyArn=place.policy, VersionId="v1")["PolicyVersion"]["Document"]
    return sum(len(statement["Action"]) for statement in found["Statement"])


def test_what_is_missing_is_said_with_what_to_do(place):
    findings, code = doctor(place)
    assert code == 1
    found = levels(findings)
    assert found[f"table {place.sessions}"] == "fail" and found[f"role {place.role}"] == "fail"
    assert found[f"stream {place.stream}"] == "fail" and found[f"policy {place.env}-fanfare-node"] == "warn"
    assert "fanfare aws provision --only table" in findings[f"table {place.sessions}"]["advice"]


def test_an_expiry_that_is_off_and_another_account_are_said(place):
    place.provision()
    place.dynamodb.update_time_to_live(
        TableName=place.sessions, TimeToLiveSpecification={"Enabled": False, "AttributeName": "ttl"}
    )
    findings, _ = doctor(place)
    finding = findings[f"table {place.sessions}"]
    assert finding["level"] == "warn" and "ttl" in finding["found"] and "puts it right" in finding["advice"]
    findings, code = doctor(place, FANFARE_AWS_ACCOUNT="000000000001")
    assert code == 1 and findings["credentials"]["level"] == "fail"
    assert AWS_ACCOUNT in findings["credentials"]["advice"]


def test_a_service_that_is_not_there_is_named(place):
    place.provision()
    nowhere = "http://127.0.0.1:9"
    findings, code = doctor(place, FANFARE_AWS_SQS_ENDPOINT=nowhere, FANFARE_AWS_PATIENCE="1")
    assert code == 1
    assert [subject for subject, level in levels(findings).items() if level == "fail"] == ["sqs"]
    findings, code = doctor(place, FANFARE_AWS_STS_ENDPOINT=nowhere, FANFARE_AWS_PATIENCE="1")
    assert code == 1 and findings["credentials"]["level"] == "fail" and nowhere in findings["credentials"]["found"]


def test_without_credentials_it_says_how_to_get_some(place):
    kept = {name: value for name, value in place.settings(**node(place)).items() if "KEY" not in name}
    ran = run("doctor", **kept, HOME="/nonexistent")
    assert ran.returncode == 1
    assert "fail  credentials: no credentials" in ran.stdout and "AWS_ACCESS_KEY_ID" in ran.stdout


def test_a_wrong_clock_is_told(place):
    """By a service whose Date is an hour off."""
    from proxy import Proxy

    proxy = Proxy(url_of("STS"))
    proxy.date = "Sat, 01 Jan 2000 00:00:00 GMT"
    try:
        findings, code = doctor(place, FANFARE_AWS_STS_ENDPOINT=proxy.url)
    finally:
        proxy.close()
    assert code == 1 and findings["clock"]["level"] == "fail" and "time server" in findings["clock"]["advice"]


def test_on_the_embedded_backend_it_looks_at_the_machine(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ran = run(
            "doctor",
            "--json",
            FANFARE_STORE_DIR=str(tmp_path / "data"),
            FANFARE_HTTP_LISTEN=f"127.0.0.1:{port}",
            FANFARE_MQTT_LISTEN="127.0.0.1:0",
        )
    assert ran.returncode == 1
    findings = {finding["subject"]: finding for finding in json.loads(ran.stdout)["findings"]}
    assert findings["http.listen"]["level"] == "fail" and "python" in findings["http.listen"]["found"]
    assert findings["disk"]["found"].startswith("fdatasync takes")
    assert findings["data directory"]["level"] == "ok" and findings["free space"]
    assert list(tmp_path.iterdir()) == [], "it leaves nothing behind"


def test_a_setting_that_is_wrong_is_a_finding(tmp_path):
    ran = run("doctor", FANFARE_HTTP_LISTEN="here")
    assert ran.returncode == 1 and "fail  settings:" in ran.stdout and "http.listen" in ran.stdout


def test_a_month_is_estimated():
    estimate = json.loads(command("cost", "--users", "10000", "--json"))
    assert estimate["aws"]["usd"] == pytest.approx(sum(line["usd"] for line in estimate["aws"]["lines"]))
    assert estimate["aws"]["usd"] > estimate["machine"]["usd"] > 0
    text = command("cost", "--users", "10000")
    assert "On one machine, embedded" in text and "times as much" in text
