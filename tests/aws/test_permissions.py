"""What a node may do on AWS is what it does: the policy in deploy/aws/policies, beside the calls that are made."""

import json
import pathlib
import urllib.parse

import pytest

from conftest import MADE, url_of
from streams import CONSUME, Stream, wait_for
from test_plane import take

POLICIES = pathlib.Path(__file__).resolve().parents[2] / "deploy/aws/policies"

#: Operations that are allowed by another's name.
OTHER_NAMES = {"sqs:SendMessageBatch": "sqs:SendMessage"}

#: Actions that a parameter of another operation needs.
WITH_PARAMETERS = {("CreateQueue", "tags"): "sqs:TagQueue"}


def actions(name):
    """The actions of a policy file."""
    document = json.loads((POLICIES / name).read_text())
    return {action for statement in document["Statement"] for action in statement["Action"]}


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
    assert seen == actions("node.json")


@pytest.fixture(scope="session", autouse=True)
def nodes_of_all_tests_do_only_what_their_policy_allows():
    """What one test would miss, others may do."""
    yield
    allowed = {name.split(":")[1] for name in actions("node.json") | set(OTHER_NAMES)}
    assert MADE and MADE <= allowed, f"not in deploy/aws/policies/node.json: {MADE - allowed}"


def noting(seen, prefix):
    """A rule that spoils nothing, and notes the actions."""

    def rule(operation, body):
        if operation == "form":
            operation = dict(urllib.parse.parse_qsl(body.decode()))["Action"]
        else:
            call = json.loads(body)
            seen.update(more for (of, name), more in WITH_PARAMETERS.items() if of == operation and name in call)
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
    assert set(statement["Action"]) == actions("session.json")


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
