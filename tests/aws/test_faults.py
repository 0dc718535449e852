"""Services that throttle, fail, hang, lose answers and do batches in part: what was acknowledged is there, all the same."""

import concurrent.futures
import json
import random
import threading
import time

import pytest

from envelope import open_message
from proxy import after
from queues import drain


#: A node that keeps nothing on its disk: what AWS does not take in time is refused (tests/aws/test_spill.py has the rest).
NO_SPILL = {"FANFARE_AWS_SPILL_BYTES": "0"}


class Ledger:
    """What was posted, and what was said about it."""

    def __init__(self):
        self.acknowledged = set()
        self.refused = set()
        self._lock = threading.Lock()

    def post(self, fanfare, path, name, **more):
        """Posts a message of this name; the status that came back, or `None` if none did."""
        body = json.dumps({"messageId": name, "msg": name, **more}).encode()
        try:
            status = fanfare.signed("POST", path, body=body).status_code
        except OSError:
            status = None
        with self._lock:
            (self.acknowledged if status == 200 else self.refused).add(name)
        return status

    def check(self, cluster, session, user):
        """Everything acknowledged is in the queue and, once, in history; nothing else but what was refused is; and no
        counter block was used for two messages."""
        envelopes, messages = drain(cluster, session)
        no_block_twice(envelopes)
        received = [message["messageId"] for message in messages]
        rows = [row["messageId"]["S"] for row in cluster.table("messages") if row["userId"]["N"] == str(user)]
        assert self.acknowledged - set(received) == set(), "lost on the way to the queue"
        assert self.acknowledged - set(rows) == set(), "lost on the way to history"
        assert set(received) | set(rows) <= self.acknowledged | self.refused
        assert len(rows) == len(set(rows))
        return received


def no_block_twice(envelopes):
    """No counter block was used for two messages; the same message twice is the same envelope."""
    blocks = []
    for envelope in set(envelopes):
        counter, sealed = envelope.split("|")
        length = len(sealed) * 3 // 4 - sealed.count("=")
        blocks.append((int(counter), int(counter) + max(1, -(-length // 16))))
    blocks.sort()
    assert all(first[1] <= second[0] for first, second in zip(blocks, blocks[1:])), "a block was used twice"


def spoiling(seed, share, ways):
    """A rule that spoils a share of the calls of these operations, each in one of its ways."""
    chance = random.Random(seed)
    lock = threading.Lock()

    def rule(operation, _):
        with lock:
            if operation in ways and chance.random() < share:
                return chance.choice(ways[operation])
        return None

    return rule


def test_nothing_acknowledged_is_lost_while_services_fail(cluster):
    sqs, dynamodb = cluster.proxy("SQS"), cluster.proxy("DYNAMODB")
    places = {"FANFARE_AWS_SQS_ENDPOINT": sqs.url, "FANFARE_AWS_DYNAMODB_ENDPOINT": dynamodb.url}
    nodes = [cluster.node(**places), cluster.node(**places)]
    session = nodes[0].create(1, "s", 7)
    any_way = ["throttle", "fail", "cut", "lose"]
    sqs.rule = spoiling(1, 0.4, {"SendMessageBatch": [*any_way, "part", "part"]})
    reads_and_writes = {"BatchWriteItem": [*any_way, "part", "part"], "UpdateItem": any_way, "Query": any_way[:3]}
    dynamodb.rule = spoiling(2, 0.4, reads_and_writes)
    ledger = Ledger()
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        posting = [pool.submit(ledger.post, nodes[n % 2], "/notify/user/7", f"m{n}") for n in range(400)]
        assert {post.result() for post in posting} == {200}, "twenty seconds are enough for all of them"
    for proxy, operation in ((sqs, "SendMessageBatch"), (dynamodb, "BatchWriteItem"), (dynamodb, "Query")):
        assert proxy.spoiled.get(operation, 0) >= 5, (operation, proxy.spoiled)
    sqs.rule = dynamodb.rule = lambda operation, body: None
    assert nodes[1].unread(7) == 400
    received = ledger.check(cluster, session, 7)
    assert len(received) <= 2 * len(ledger.acknowledged), "a lost answer costs one more copy at a time"


def test_receipts_are_told_once_while_services_fail(cluster):
    dynamodb = cluster.proxy("DYNAMODB")
    node = cluster.node(FANFARE_AWS_DYNAMODB_ENDPOINT=dynamodb.url)
    session = node.create(1, "s", 7)
    names = [f"m{n}" for n in range(60)]
    for name in names:
        node.post("/notify/user/7", {"messageId": name})
    drain(cluster, session)
    dynamodb.rule = spoiling(3, 0.4, {"UpdateItem": ["throttle", "fail", "cut", "lose", "lose"]})
    read = node.get(f"/messages/set-read/user/7/asof/{time.time() + 1}")["messages_receipted"]
    assert dynamodb.spoiled.get("UpdateItem", 0) >= 5
    assert read == names, "a receipt whose answer was lost is made all the same, and by us"
    _, [notice] = drain(cluster, session)
    assert notice["messages-receipted"] == names
    assert node.unread(7) == 0


def test_receipts_that_were_made_are_told_though_others_fail(cluster):
    dynamodb = cluster.proxy("DYNAMODB")
    node = cluster.node(FANFARE_AWS_DYNAMODB_ENDPOINT=dynamodb.url, FANFARE_AWS_PATIENCE="1")
    session = node.create(1, "s", 7)
    for name in ("m0", "m1", "m2"):
        node.post("/notify/user/7", {"messageId": name})
    drain(cluster, session)
    dynamodb.rule = lambda operation, body: "fail" if operation == "UpdateItem" and b'"m1"' in body else None
    assert node.signed("GET", "/messages/set-read/user/7/message/m0,m1,m2").status_code == 503
    [notice] = drain(cluster, session)[1]
    assert notice["messages-receipted"] == ["m0", "m2"]
    assert node.unread(7) == 1


def test_history_that_throttles_delays_no_delivery(cluster):
    dynamodb = cluster.proxy("DYNAMODB")
    node = cluster.node(**NO_SPILL, FANFARE_AWS_DYNAMODB_ENDPOINT=dynamodb.url, FANFARE_AWS_PATIENCE="6")
    session = node.create(1, "s", 7)
    dynamodb.rule = lambda operation, _: "throttle" if operation == "BatchWriteItem" else None
    ledger = Ledger()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        posting = pool.submit(ledger.post, node, "/notify/user/7", "m")
        url, until = session["sqsUrl"], after(5)
        while not (found := cluster.sqs.receive_message(QueueUrl=url, WaitTimeSeconds=1).get("Messages")):
            assert not until(), "delivery waits for history"
        assert not posting.done(), "nothing is acknowledged before history has it"
        assert open_message(session.description, found[0]["Body"])["msg"] == "m"
        assert posting.result() == 503
    dynamodb.rule = lambda operation, _: None
    assert ledger.post(node, "/notify/user/7", "m") == 200
    assert [entry["messageId"] for entry in node.history(7)] == ["m"]


def test_a_queue_that_fails_delays_no_history(cluster):
    sqs = cluster.proxy("SQS")
    node = cluster.node(**NO_SPILL, FANFARE_AWS_SQS_ENDPOINT=sqs.url, FANFARE_AWS_PATIENCE="6")
    session = node.create(1, "s", 7)
    sqs.rule = lambda operation, _: "fail" if operation == "SendMessageBatch" else None
    ledger = Ledger()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        posting = pool.submit(ledger.post, node, "/notify/user/7", "m")
        until = after(5)
        while node.unread(7) == 0:
            assert not until(), "history waits for delivery"
        assert not posting.done(), "nothing is acknowledged before the queue has it"
        assert posting.result() == 503
    sqs.rule = lambda operation, _: None
    assert ledger.post(node, "/notify/user/7", "again") == 200
    received = [message["msg"] for message in drain(cluster, session)[1]]
    assert "again" in received and set(received) <= {"m", "again"}


def test_one_queue_that_fails_delays_no_other(cluster):
    sqs = cluster.proxy("SQS")
    node = cluster.node(**NO_SPILL, FANFARE_AWS_SQS_ENDPOINT=sqs.url, FANFARE_AWS_PATIENCE="6")
    bad, good = node.create(1, "bad", 7), node.create(1, "good", 8)
    bad_url = bad["sqsUrl"].encode()
    sqs.rule = lambda operation, body: "fail" if operation == "SendMessageBatch" and bad_url in body else None
    ledger = Ledger()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        posting = pool.submit(ledger.post, node, "/notify/user/7", "waits")
        assert ledger.post(node, "/notify/user/8", "passes") == 200
        assert not posting.done()
        assert posting.result() == 503
    assert [message["msg"] for message in drain(cluster, good)[1]] == ["passes"]


@pytest.mark.parametrize("service,operation", [("SQS", "SendMessageBatch"), ("DYNAMODB", "BatchWriteItem")])
def test_what_waits_is_bounded_and_refused_beyond(cluster, service, operation):
    proxy = cluster.proxy(service)
    place = {f"FANFARE_AWS_{service}_ENDPOINT": proxy.url}
    node = cluster.node(**NO_SPILL, FANFARE_AWS_PATIENCE="5", FANFARE_AWS_HOLD_BYTES=str(2 << 20), **place)
    session = node.create(1, "s", 7)
    proxy.rule = lambda called, _: "hang" if called == operation else None
    ledger = Ledger()
    with concurrent.futures.ThreadPoolExecutor(24) as pool:
        text = "x" * 200_000
        posting = [pool.submit(ledger.post, node, "/notify/user/7", f"m{n}", text=text) for n in range(24)]
        until = after(4)
        while sum(post.done() for post in posting) < 10:
            assert not until(), "what does not fit is refused at once"
            time.sleep(0.05)
        assert {post.result() for post in posting if post.done()} == {429}
        assert {post.result() for post in posting} == {429, 503}
    proxy.rule = lambda called, _: None
    assert ledger.post(node, "/notify/user/7", "after") == 200, "it goes on when the service does"
    ledger.check(cluster, session, 7)


def test_a_node_that_is_killed_takes_nothing_acknowledged_with_it(cluster):
    nodes = [cluster.node(), cluster.node()]
    session = nodes[0].create(1, "s", 7)
    ledger = Ledger()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        posting = [pool.submit(ledger.post, nodes[n % 2], "/notify/user/7", f"m{n}") for n in range(300)]
        while sum(post.done() for post in posting) < 100:
            time.sleep(0.01)
        nodes[0].server.kill()
        concurrent.futures.wait(posting)
    assert len(ledger.acknowledged) > 150 and ledger.refused, "it was killed in the middle"
    assert ledger.post(nodes[1], "/notify/user/7", "last") == 200
    third = cluster.node()
    assert ledger.post(third, "/notify/user/7", "newcomer") == 200
    ledger.check(cluster, session, 7)


def test_a_batch_is_no_longer_than_sqs_takes(cluster):
    sqs, sizes = cluster.proxy("SQS"), []

    def note(operation, body):
        if operation == "SendMessageBatch":
            sizes.append([len(entry["MessageBody"]) for entry in json.loads(body)["Entries"]])

    sqs.rule = note
    node = cluster.node(FANFARE_AWS_SQS_ENDPOINT=sqs.url)
    session = node.create(1, "s", 7)
    ledger = Ledger()
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        text = "x" * 200_000
        posting = [pool.submit(ledger.post, node, "/notify/user/7", f"m{n}", text=text) for n in range(12)]
        assert {post.result() for post in posting} == {200}
    assert max(len(batch) for batch in sizes) > 1, "some went together"
    assert all(sum(batch) <= 1 << 20 for batch in sizes)
    ledger.check(cluster, session, 7)


def test_a_session_that_others_always_change_first_is_refused(cluster):
    dynamodb = cluster.proxy("DYNAMODB")
    node = cluster.node(FANFARE_AWS_DYNAMODB_ENDPOINT=dynamodb.url)
    before = cluster.sqs.list_queues(QueueNamePrefix=f"{cluster.env}-").get("QueueUrls", [])
    dynamodb.rule = lambda operation, _: "conflict" if operation == "UpdateItem" else None
    refused = node.signed("GET", "/create/1/s/7")
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "1")
    assert cluster.sqs.list_queues(QueueNamePrefix=f"{cluster.env}-").get("QueueUrls", []) == before
    assert [row for row in cluster.table("sessions") if "kind" in row] == []
    dynamodb.rule = lambda operation, _: None
    assert node.create(1, "s", 7)["userId"] == 7
