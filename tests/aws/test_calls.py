"""How few calls to the services a thousand messages cost: within a tenth of what full batches would."""

import json
import math
import re

from queues import drain
from streams import CONSUME, Stream
from test_stream import sessions_of

#: How much more than the least is allowed.
ALLOWED = 1.1


class Counted:
    """A node behind proxies that count."""

    def __init__(self, cluster, **settings):
        self.cluster = cluster
        self.sqs, self.dynamodb = cluster.proxy("SQS"), cluster.proxy("DYNAMODB")
        self.leases = []
        self.dynamodb.rule = lambda _, body: self.leases.append(body) if b"counterMark" in body else None
        places = {"FANFARE_AWS_SQS_ENDPOINT": self.sqs.url, "FANFARE_AWS_DYNAMODB_ENDPOINT": self.dynamodb.url}
        self.node = cluster.node(**places, **settings)

    def forget(self):
        """Counts from now on."""
        self.sqs.calls.clear(), self.dynamodb.calls.clear(), self.leases.clear()

    def check(self, messages, sends, writes):
        """No more than a tenth over the least: so many sends and writes for so many messages."""
        made = self.sqs.calls.get("SendMessageBatch", 0), self.dynamodb.calls.get("BatchWriteItem", 0)
        per_thousand = [round(count * 1000 / messages, 1) for count in (*made, sends, writes)]
        print("calls per 1,000 messages: {} sends and {} writes; the least: {} and {}".format(*per_thousand))
        assert sum(made) <= ALLOWED * (sends + writes), f"{made} instead of {(sends, writes)} for {messages} messages"


def test_calls_are_few_when_messages_are_many(cluster):
    """Messages that come in together: the least is what the limits of batches allow, however busy the machine."""
    counted = Counted(cluster)
    sessions = [counted.node.create(1, f"s{n}", n) for n in range(50)]
    counted.forget()
    assert counted.node.post("/notify/1", {"msg": "x"})["sessions"] == 50
    counted.check(1, sends=50, writes=2)
    assert len(counted.leases) == 50, "each session's counters are leased once"
    counted.forget()
    stream = f"{cluster.env}-sqs-browser-event-dispatcher"
    records = [{"Data": json.dumps({"userId": 7, "n": n}), "PartitionKey": "p"} for n in range(500)]
    for _ in range(2):
        assert counted.node.client("kinesis").put_records(StreamName=stream, Records=records)["FailedRecordCount"] == 0
    counted.check(1000, sends=1000 / 10, writes=1000 / 25)
    assert counted.leases == [], "what was leased lasts"
    assert counted.dynamodb.calls["Query"] == 2, "a user is looked up once for all that is for them"
    assert len(drain(cluster, sessions[7])[1]) == 1001


def test_calls_are_few_when_a_stream_is_read(cluster):
    stream = Stream(cluster, shards=1)
    sessions = sessions_of(cluster.node(), [1, 2])
    for _ in range(500):
        stream.put([1, 2])
    counted = Counted(cluster, **CONSUME)
    stream.check(sessions)
    # Each read ends with a call that is not full, for each session and for history.
    checkpoints = 2
    counted.check(1000, sends=1000 / 10 + 2 * checkpoints, writes=1000 / 25 + checkpoints)


def test_calls_are_few_when_many_post_at_a_time(cluster):
    counted = Counted(cluster, FANFARE_BENCH_ENABLED="true")
    load = ["bench", "notify", "--connections", "64", "--rounds", "1", "--duration", "4"]
    report = cluster.command(*load, "--endpoint", counted.node.url)
    print(report)
    text = counted.node.raw("GET", "/metrics").text
    messages = int(re.search(r"^fanfare_messages_dispatched_total (\d+)", text, re.MULTILINE)[1])
    assert messages > 200
    # Two rounds, each to a session of its own, end with a call that is not full.
    counted.check(messages, sends=messages / 10 + 2, writes=messages / 25 + 2)


def test_a_receipt_costs_one_call(cluster):
    counted = Counted(cluster)
    counted.node.create(1, "s", 7)
    stream = f"{cluster.env}-sqs-browser-event-dispatcher"
    records = [{"Data": json.dumps({"userId": 7, "messageId": f"m{n}"}), "PartitionKey": "p"} for n in range(500)]
    counted.node.client("kinesis").put_records(StreamName=stream, Records=records)
    counted.forget()
    read = counted.node.post("/messages/set-read/user/7", [f"m{n}" for n in range(500)])["messages_receipted"]
    assert len(read) == 500
    notices = math.ceil(500 / 300)
    made = counted.dynamodb.calls["UpdateItem"], counted.sqs.calls["SendMessageBatch"]
    assert made == (500, notices), "no batch can hold a condition; the notices are one for 300 receipts"
