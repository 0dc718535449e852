"""What a node may do on AWS is what it does: the policy in deploy/aws/policies, beside the calls that are made."""

import json
import pathlib
import urllib.parse

import pytest

from conftest import COGNITO, client, url_of
from fanfare import Fanfare
from server import AWS_ACCOUNT, REGION, Server
from streams import CONSUME, Stream, wait_for
from test_plane import take
from test_topics import node_on, peer

POLICIES = pathlib.Path(__file__).resolve().parents[2] / "deploy/aws/policies"

#: Operations that are allowed by another's name.
OTHER_NAMES = {"sqs:SendMessageBatch": "sqs:SendMessage"}

#: Operations that nobody signs, and that no policy is asked about.
UNSIGNED = {"GetCredentialsForIdentity"}

#: Actions that a parameter of another operation needs.
WITH_PARAMETERS = {("CreateQueue", "tags"): "sqs:TagQueue"}


def statements(name):
    """The statements of a policy file."""
    return json.loads((POLICIES / name).read_text())["Statement"]


def actions(name):
    """The actions of a policy file."""
    return {action for statement in statements(name) for action in statement["Action"]}


def allowed_operations():
    """The operations that a node may call."""
    return {name.split(":")[1] for name in actions("node.json") | set(OTHER_NAMES)} | UNSIGNED


def action(service, operation):
    """The action that a call needs."""
    name = f"{service}:{operation}"
    return OTHER_NAMES.get(name, name)


def test_the_nodes_policy_lists_each_action_that_is_used_and_no_other(cluster):
    """Everything that a node does, seen on its way to each service."""
    lost = f"{cluster.env}-fanfare-{'x' * 43}"
    cluster.sqs.create_queue(QueueName=lost, tags={"fanfare:sessions": f"{cluster.env}-sqs-browser-sessions"})
    places, seen = {}, set()
    stream = Stream(cluster, 1)
    for service, prefix in (("SQS", "sqs"), ("DYNAMODB", "dynamodb"), ("STS", "sts"), ("KINESIS", "kinesis")):
        proxy = cluster.proxy(service)
        places[f"FANFARE_AWS_{service}_ENDPOINT"] = proxy.url
        proxy.rule = noting(seen, prefix)
    node = cluster.node(**CONSUME, **places)
    session = node.create(1, "s", 7, MessageRetentionPeriod=120)
    node.create(1, "s", 7, MessageRetentionPeriod=240)
    node.create(2, "without-user")
    node.get("/renew" + session.path)
    for path in ("/notify", "/notify/1", "/notify/user/7", "/notify/user/7/session/s"):
        node.post(path, {"msg": path})
    assert len(node.history(7)) == 4 and node.unread(7) == 4
    node.get("/messages/set-read/user/7/asof/9999999999")
    stream.put([7])
    wait_for(lambda: node.unread(7) == 1, 20)
    node.get("/status")
    node.get("/cleanup")
    node.get("/destroy" + session.path)
    node.server.stop()
    with_identities(cluster, seen)
    assert seen == {action for action in actions("node.json") if not action.startswith("iot:")}


def with_identities(cluster, seen):
    """What a node does beside where sessions' keys are Cognito's."""
    cognito = cluster.cognito()
    cognito.rule = noting(seen, "cognito-identity")
    pools = client("cognito-identity", url_of("MINISTACK"))
    pool = pools.create_identity_pool(IdentityPoolName=cluster.env, AllowUnauthenticatedIdentities=False)
    places = {"FANFARE_AWS_COGNITO_ENDPOINT": cognito.url, "FANFARE_AWS_IDENTITY_POOL": pool["IdentityPoolId"]}
    node = cluster.node(**COGNITO, **places)
    session = node.create(1, "s", 7)
    node.get("/cleanup")
    node.get("/destroy" + session.path)
    assert cognito.unsigned == UNSIGNED


@pytest.mark.parametrize("without", [None, *sorted(a for a in actions("node.json") if a.startswith("iot:"))])
def test_topics_need_each_action_that_the_policy_has_at_aws_iot_core(cluster, tmp_path, without):
    """Fanfare itself stands in for AWS IoT Core: the node's keys are of a role that has these statements, less one action."""
    names = {"partition": "aws", "region": REGION, "account": AWS_ACCOUNT, "iot_client_id": "fanfare-"}
    allowed = [statement for statement in statements("node.json") if statement["Action"][0].startswith("iot:")]
    for statement in allowed:
        statement["Action"] = [action for action in statement["Action"] if action != without]
    allowed = [statement for statement in allowed if statement["Action"]]
    policy = json.dumps({"Version": "2012-10-17", "Statement": allowed})
    for name, value in names.items():
        policy = policy.replace(f"${{{name}}}", value)
    assert "$" not in policy
    file = tmp_path / "fanfare.toml"
    file.write_text("[[roles]]\nname = 'node'\npolicy = " + json.dumps(policy) + "\n")
    core = Server(FANFARE_CONFIG=str(file), FANFARE_MQTT_PROFILE="aws").start()
    try:
        sts = Fanfare(core.url).client("sts")
        role = f"arn:aws:iam::{AWS_ACCOUNT}:role/node"
        keys = sts.assume_role(RoleArn=role, RoleSessionName="node")["Credentials"]
        settings = {
            "AWS_ACCESS_KEY_ID": keys["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": keys["SecretAccessKey"],
            "AWS_SESSION_TOKEN": keys["SessionToken"],
            "FANFARE_AWS_BROKER_PRESIGN": "true",
            "FANFARE_MQTT_PROFILE": "aws",
            "FANFARE_MQTT_LIFECYCLE_EVENTS": "false",
            "FANFARE_AWS_PATIENCE": "3",
        }
        # DynamoDB Local has tables of its own for each access key.
        cluster.command("aws", "provision", "--only", "table", **settings)
        node = node_on(cluster, core.url.replace("http://", "ws://") + "/mqtt", **settings)
        assert does_topics(node) == (without is None)
    finally:
        core.kill()
        core.remove()


def does_topics(node):
    """Whether messages and retained messages come through."""
    try:
        with peer(node) as publisher, peer(node) as early, peer(node) as late:
            if early.subscribe("t/+", qos=1) != 1 or publisher.publish("t/1", "live", qos=1) != 0:
                return False
            if early.texts(1) != ["live"] or publisher.publish("t/2", "kept", qos=1, retain=True) != 0:
                return False
            return late.subscribe("t/2", qos=1) == 1 and late.texts(1) == ["kept"]
    except AssertionError:
        return False


def noting(seen, prefix):
    """A rule that spoils nothing, and notes the actions."""

    def rule(operation, body):
        if operation == "form":
            operation = dict(urllib.parse.parse_qsl(body.decode()))["Action"]
        else:
            call = json.loads(body)
            seen.update(more for (of, name), more in WITH_PARAMETERS.items() if of == operation and name in call)
        if operation not in UNSIGNED:
            seen.add(action(prefix, operation))
        # A queue that has just been made is given time to get its session.
        return "age" if operation == "GetQueueAttributes" else None

    return rule


def test_sessions_may_do_what_the_session_role_may(cluster):
    """Each session's keys, by the policy that STS is given, and the role that they are made of."""
    asked = []
    proxy = cluster.form_proxy("STS", asked)
    cluster.node(FANFARE_AWS_STS_ENDPOINT=proxy.url).create(1, "s", 7)
    [statement] = json.loads(asked[0]["Policy"])["Statement"]
    assert set(statement["Action"]) == actions("session.json") == actions("identity.json")


def test_a_session_client_needs_no_more_than_its_role_has(cluster):
    """A stock client's calls on the queue, seen on their way."""
    seen = set()
    proxy = cluster.proxy("SQS")
    proxy.rule = noting(seen, "sqs")
    node = cluster.node()
    description = dict(node.create(1, "s", 7).description)
    node.post("/notify/user/7", {"msg": "x"})
    description["sqsUrl"] = description["sqsUrl"].replace(url_of("SQS"), proxy.url)
    assert take(description, 1) == ["x"]
    assert seen and seen <= actions("session.json")
