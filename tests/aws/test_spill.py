"""What AWS does not take in time waits on the node's disk: acknowledged, bounded, and delivered when the service is back."""

import collections
import concurrent.futures
import json
import random
import time

import pytest

from conftest import run
from queues import drain, drain_placed
from streams import CONSUME, Stream, metric, wait_for
from test_faults import Ledger, spoiling

#: A node that soon loses patience.
HASTY = {"FANFARE_AWS_PATIENCE": "1"}

#: Everything that writes a row of history.
HISTORY = ("BatchWriteItem", "PutItem")

#: How long a node may take for what waits, once it may.
SOON = 30


def down(*operations):
    """A rule of a service that fails whenever these are asked for."""
    return lambda operation, _: "fail" if operation in operations else None


def well(_operation, _body):
    """A rule of a service that is back."""


def waiting(node):
    """How many messages wait on the node's disk."""
    return metric(node, "fanfare_aws_spill_messages")


def ended(node, outcome):
    """How many do no more, for this reason."""
    return metric(node, f'fanfare_aws_spill_ended_total{{outcome="{outcome}"}}')


def post_all(ledger, node, names, **more):
    """Posts messages at a time; how many came back with which status."""
    with concurrent.futures.ThreadPoolExecutor(len(names)) as pool:
        posting = [pool.submit(ledger.post, node, "/notify/user/7", name, **more) for name in names]
        return collections.Counter(post.result() for post in posting)


def start_again(node):
    """The next life of a node on the same disk."""
    node.server.start()
    node.url = node.server.url


def folder(node):
    """Where a node's messages wait."""
    return node.server.directory / "data" / "spill"


def names(count, prefix="m"):
    return [f"{prefix}{n}" for n in range(count)]


@pytest.mark.parametrize(
    "service,operations", [("SQS", ["SendMessageBatch"]), ("DYNAMODB", HISTORY), ("DYNAMODB", ["Query"])]
)
def test_what_a_service_does_not_take_is_acknowledged_and_outlives_a_kill(cluster, service, operations):
    proxy = cluster.proxy(service)
    node = cluster.node(**HASTY, **{f"FANFARE_AWS_{service}_ENDPOINT": proxy.url})
    session = node.create(1, "s", 7)
    proxy.rule = down(*operations)
    ledger = Ledger()
    assert post_all(ledger, node, names(60)) == {200: 60}
    assert waiting(node) == metric(node, "fanfare_aws_spilled_total") == 60
    node.server.kill()
    start_again(node)
    assert waiting(node) == 60
    proxy.rule = well
    wait_for(lambda: waiting(node) == 0, SOON)
    received = ledger.check(cluster, session, 7)
    assert len(received) == 60, "nothing was lost on the way to a service that fails, so nothing comes twice"
    assert (ended(node, "delivered"), metric(node, "fanfare_aws_spill_bytes")) == (60, 0)
    assert list(folder(node).iterdir()) == [folder(node) / "lock"]


def test_both_ways_wait_for_themselves_and_records_put_here_as_well(cluster):
    """Each service gets what it missed when it is back, whatever the other does."""
    sqs, dynamodb = cluster.proxy("SQS"), cluster.proxy("DYNAMODB")
    places = {"FANFARE_AWS_SQS_ENDPOINT": sqs.url, "FANFARE_AWS_DYNAMODB_ENDPOINT": dynamodb.url}
    node = cluster.node(**HASTY, **places)
    session = node.create(1, "s", 7)
    sqs.rule, dynamodb.rule = down("SendMessageBatch"), down(*HISTORY)
    posted = node.post("/notify/user/7", {"messageId": "post"})
    assert (posted["sessions"], posted["sqsUrls"]) == (1, [session["sqsUrl"]])
    to_account = node.post("/notify/1", {"messageId": "account"})
    assert to_account["sessions"] == 1
    records = [{"Data": json.dumps({"userId": 7, "messageId": f"put{n}"}), "PartitionKey": "p"} for n in range(10)]
    stream = f"{cluster.env}-sqs-browser-event-dispatcher"
    assert node.client("kinesis").put_records(StreamName=stream, Records=records)["FailedRecordCount"] == 0
    everything = {"post", "account", *names(10, "put")}
    dynamodb.rule = well
    wait_for(lambda: node.unread(7) == 12, SOON)
    assert drain(cluster, session)[1] == []
    sqs.rule = well
    wait_for(lambda: waiting(node) == 0, SOON)
    assert {message["messageId"] for message in drain(cluster, session)[1]} == everything
    assert {entry["messageId"] for entry in node.history(7)} == everything


def test_the_oldest_goes_first(cluster):
    sqs = cluster.proxy("SQS")
    node = cluster.node(**HASTY, FANFARE_AWS_SQS_ENDPOINT=sqs.url)
    session = node.create(1, "s", 7)
    sqs.rule = down("SendMessageBatch")
    for name in names(3):
        node.post("/notify/user/7", {"messageId": name})
    node.server.kill()
    start_again(node)
    sqs.rule = well
    wait_for(lambda: waiting(node) == 0, SOON)
    placed = sorted(drain_placed(cluster, session), key=lambda one: one[0])
    assert [message["messageId"] for _, message in placed] == names(3)


def test_beyond_its_bound_senders_are_refused_as_without_it(cluster):
    sqs = cluster.proxy("SQS")
    node = cluster.node(
        FANFARE_AWS_PATIENCE="5",
        FANFARE_AWS_HOLD_BYTES=str(2 << 20),
        FANFARE_AWS_SPILL_BYTES=str(1 << 20),
        FANFARE_AWS_SQS_ENDPOINT=sqs.url,
    )
    session = node.create(1, "s", 7)
    sqs.rule = lambda operation, _: "hang" if operation == "SendMessageBatch" else None
    ledger = Ledger()
    # Seven are held in memory, five fit on disk, for the others there is no room anywhere.
    statuses = post_all(ledger, node, names(24), text="x" * 200_000, _sqs_only=1)
    assert statuses == {200: 5, 429: 12, 503: 7}
    assert waiting(node) == 5 and metric(node, "fanfare_aws_spill_bytes") <= 1 << 20
    assert metric(node, "fanfare_aws_refused_total") >= 19
    sqs.rule = well
    wait_for(lambda: waiting(node) == 0, SOON)
    sqs.rule = down("SendMessageBatch")
    assert ledger.post(node, "/notify/user/7", "again", _sqs_only=1) == 200, "there is room again"
    sqs.rule = well
    wait_for(lambda: waiting(node) == 0, SOON)
    assert ledger.acknowledged <= {message["messageId"] for message in drain(cluster, session)[1]}


def test_a_disk_that_takes_nothing_refuses_and_recovers(cluster):
    sqs = cluster.proxy("SQS")
    node = cluster.node(**HASTY, FANFARE_AWS_SQS_ENDPOINT=sqs.url)
    session = node.create(1, "s", 7)
    sqs.rule = down("SendMessageBatch")
    ledger = Ledger()
    assert ledger.post(node, "/notify/user/7", "before") == 200
    gone = folder(node).rename(folder(node).with_name("gone"))
    assert post_all(ledger, node, names(5)) == {503: 5}
    assert metric(node, "fanfare_aws_spill_failures_total") >= 1
    assert "can not be kept on disk" in node.server.log
    gone.rename(folder(node))
    assert ledger.post(node, "/notify/user/7", "after") == 200
    sqs.rule = well
    wait_for(lambda: waiting(node) == 0, SOON)
    ledger.check(cluster, session, 7)


def test_a_node_that_is_killed_again_and_again_keeps_what_it_acknowledged(cluster):
    sqs, dynamodb = cluster.proxy("SQS"), cluster.proxy("DYNAMODB")
    places = {"FANFARE_AWS_SQS_ENDPOINT": sqs.url, "FANFARE_AWS_DYNAMODB_ENDPOINT": dynamodb.url}
    node = cluster.node(**HASTY, **places)
    session = node.create(1, "s", 7)
    chance, ledger = random.Random(4), Ledger()
    any_way = ["throttle", "fail", "cut", "lose", "part"]
    for life in range(8):
        if life % 2:
            sqs.rule = spoiling(life, 0.6, {"SendMessageBatch": any_way})
            dynamodb.rule = spoiling(life, 0.6, {"BatchWriteItem": any_way, "PutItem": any_way[:4]})
        else:
            sqs.rule, dynamodb.rule = down("SendMessageBatch"), down(*HISTORY)
        with concurrent.futures.ThreadPoolExecutor(40) as pool:
            # Long ones, so that the disk is at work for most of the time in which they are acknowledged.
            for name in names(40, f"life{life}-"):
                pool.submit(ledger.post, node, "/notify/user/7", name, text="x" * 30_000)
            before = len(ledger.acknowledged)
            wait_for(lambda: len(ledger.acknowledged) > before, 10)
            time.sleep(chance.uniform(0, 0.5))
            node.server.kill()
        start_again(node)
    assert len(ledger.acknowledged) > 20 and len(ledger.refused) > 20, "it was killed in the middle"
    assert waiting(node) > 0
    sqs.rule = dynamodb.rule = well
    wait_for(lambda: waiting(node) == 0, 2 * SOON)
    ledger.check(cluster, session, 7)


def test_a_late_row_of_history_takes_nothing_back(cluster):
    dynamodb = cluster.proxy("DYNAMODB")
    node = cluster.node(**HASTY, FANFARE_AWS_DYNAMODB_ENDPOINT=dynamodb.url)
    dynamodb.rule = lambda operation, _: {"BatchWriteItem": "lose", "PutItem": "fail"}.get(operation)
    for name in ("read", "replaced"):
        node.post("/notify/user/7", {"messageId": name, "msg": "first"})
    assert waiting(node) == 2
    assert node.get("/messages/set-read/user/7/message/read")["messages_receipted"] == ["read"]
    dynamodb.rule = down("PutItem")
    node.post("/notify/user/7", {"messageId": "replaced", "msg": "second"})
    dynamodb.rule = well
    wait_for(lambda: waiting(node) == 0, SOON)
    entries = {entry["messageId"]: (entry["msg"], entry["is_read"]) for entry in node.history(7)}
    assert entries == {"read": ("first", 1), "replaced": ("second", 0)}


def test_a_session_that_ended_gets_nothing_nor_does_the_next_of_its_name(cluster):
    sqs = cluster.proxy("SQS")
    node = cluster.node(**HASTY, FANFARE_AWS_SQS_ENDPOINT=sqs.url)
    session = node.create(1, "s", 7)
    sqs.rule = down("SendMessageBatch")
    node.post("/notify/user/7", {"msg": "x", "_sqs_only": 1})
    node.server.kill()
    other = cluster.node()
    other.get("/destroy" + session.path)
    again = other.create(1, "s", 7)
    sqs.rule = well
    start_again(node)
    wait_for(lambda: waiting(node) == 0, SOON)
    assert drain(cluster, again)[1] == []
    assert (ended(node, "over"), ended(node, "delivered")) == (1, 0)


def test_one_queue_that_fails_holds_up_no_others_messages(cluster):
    sqs = cluster.proxy("SQS")
    node = cluster.node(**HASTY, FANFARE_AWS_SQS_ENDPOINT=sqs.url)
    bad, good = node.create(1, "bad", 7), node.create(1, "good", 8)
    sqs.rule = down("SendMessageBatch")
    node.post("/notify/user/7", {"msg": "waits"})
    node.post("/notify/user/8", {"msg": "passes"})
    url = bad["sqsUrl"].encode()
    sqs.rule = lambda operation, body: "fail" if operation == "SendMessageBatch" and url in body else None
    passed = []
    wait_for(lambda: passed.extend(drain(cluster, good)[1]) or passed, SOON)
    assert [message["msg"] for message in passed] == ["passes"]
    assert waiting(node) == 1
    sqs.rule = well
    wait_for(lambda: waiting(node) == 0, SOON)
    assert [message["msg"] for message in drain(cluster, bad)[1]] == ["waits"]


def test_a_file_that_is_broken_is_put_aside_and_stops_nothing(cluster):
    sqs = cluster.proxy("SQS")
    node = cluster.node(**HASTY, FANFARE_AWS_SQS_ENDPOINT=sqs.url)
    session = node.create(1, "s", 7)
    sqs.rule = down("SendMessageBatch")
    for name in ("broken", "whole"):
        node.post("/notify/user/7", {"messageId": name})
    node.server.kill()
    first, _ = sorted(folder(node).glob("*.errands"))
    first.write_bytes(first.read_bytes()[:100])
    start_again(node)
    sqs.rule = well
    wait_for(lambda: waiting(node) == 0, SOON)
    assert [message["messageId"] for message in drain(cluster, session)[1]] == ["whole"]
    assert ended(node, "unreadable") == 1 and "can not be read" in node.server.log
    assert first.with_suffix(".unreadable").exists() and not first.exists()


def test_a_folder_is_one_nodes(cluster):
    node = cluster.node()
    listen = {"FANFARE_HTTP_LISTEN": "127.0.0.1:0", "FANFARE_STORE_DIR": str(folder(node).parent)}
    ran = run("serve", **cluster.settings(**listen))
    assert ran.returncode == 75 and f"{folder(node)} is in use" in ran.stdout + ran.stderr
    ran = run("serve", **cluster.settings(**{**listen, "FANFARE_STORE_DIR": "/proc/nowhere"}))
    assert ran.returncode != 0 and "/proc/nowhere/spill" in ran.stdout + ran.stderr


def test_what_is_read_at_kinesis_stays_there_instead(cluster):
    sqs = cluster.proxy("SQS")
    stream = Stream(cluster, 1)
    node = cluster.node(**HASTY, **CONSUME, FANFARE_AWS_SQS_ENDPOINT=sqs.url)
    sessions = {7: node.create(1, "s", 7)}
    sqs.rule = down("SendMessageBatch")
    stream.put([7])
    wait_for(lambda: "records wait to be relayed" in node.server.log, SOON)
    assert metric(node, "fanfare_aws_spilled_total") == 0
    sqs.rule = well
    assert stream.check(sessions) == []


def test_receipts_are_told_when_the_queue_is_back(cluster):
    sqs = cluster.proxy("SQS")
    node = cluster.node(**HASTY, FANFARE_AWS_SQS_ENDPOINT=sqs.url)
    session = node.create(1, "s", 7)
    for name in names(3):
        node.post("/notify/user/7", {"messageId": name})
    drain(cluster, session)
    sqs.rule = down("SendMessageBatch")
    ids = ",".join(names(3))
    assert node.get(f"/messages/set-read/user/7/message/{ids}")["messages_receipted"] == names(3)
    sqs.rule = well
    wait_for(lambda: waiting(node) == 0, SOON)
    [notice] = drain(cluster, session)[1]
    assert notice["messages-receipted"] == names(3)
