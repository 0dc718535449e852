"""A stream at Kinesis that nodes read: what was put into it, and who reads it."""

import json
import re
import threading
import time

from queues import drain_placed

#: What a node is told that reads the stream.
CONSUME = {"FANFARE_AWS_CONSUME": "trim_horizon"}

#: Hash keys are below this.
HASH_KEYS = 2**128


class Stream:
    """The stream of a cluster, with a ledger of what was put."""

    def __init__(self, cluster, shards):
        self.cluster = cluster
        self.kinesis = cluster.kinesis
        self.name = f"{cluster.env}-sqs-browser-event-dispatcher"
        self.kinesis.create_stream(StreamName=self.name, ShardCount=shards)
        self.wait_until_active()
        made = cluster.command("aws", "provision", "--only", "table", **CONSUME)
        assert made.count(": made") == 1, made
        #: What was put, by the id that its message gets: whom it is for, and which of theirs it is.
        self.put_records = {}
        #: What each user's session was sent: the place in the order of sending, and the id of the message.
        self.received = {}
        self._next = {}
        self._lock = threading.Lock()

    def wait_until_active(self):
        """Waits until the stream takes changes."""
        wait_for(lambda: self.describe()["StreamStatus"] == "ACTIVE", 15)

    def describe(self):
        """What Kinesis says of the stream."""
        return self.kinesis.describe_stream_summary(StreamName=self.name)["StreamDescriptionSummary"]

    def put(self, users, **more):
        """One call with a message for each of these users, whose id is its key: to none of them two, which need not stay
        in order."""
        with self._lock:
            messages = []
            for user in users:
                self._next[user] = n = self._next.get(user, 0) + 1
                messages.append({"userId": user, "n": n, **more})
            records = [{"PartitionKey": str(message["userId"]), "Data": json.dumps(message)} for message in messages]
            answer = self.kinesis.put_records(StreamName=self.name, Records=records)
            assert answer["FailedRecordCount"] == 0, answer
            for message, put in zip(messages, answer["Records"]):
                self.put_records[f"{put['ShardId']}:{put['SequenceNumber']}"] = (message["userId"], message["n"])

    def wait_for_more(self):
        """Waits until somebody has put a good deal more."""
        before = len(self.put_records)
        wait_for(lambda: len(self.put_records) >= before + 100, 20)

    def put_raw(self, data, key="1"):
        """A record of any bytes."""
        self.kinesis.put_record(StreamName=self.name, PartitionKey=key, Data=data)

    def split(self, shard):
        """Splits a shard in the middle."""
        [found] = [one for one in self.kinesis.list_shards(StreamName=self.name)["Shards"] if one["ShardId"] == shard]
        hash_keys = found["HashKeyRange"]
        middle = (int(hash_keys["StartingHashKey"]) + int(hash_keys["EndingHashKey"]) + 1) // 2
        self.kinesis.split_shard(StreamName=self.name, ShardToSplit=shard, NewStartingHashKey=str(middle))
        self.wait_until_active()

    def merge(self, shard, adjacent):
        """Merges two shards."""
        self.kinesis.merge_shards(StreamName=self.name, ShardToMerge=shard, AdjacentShardToMerge=adjacent)
        self.wait_until_active()

    def leases(self):
        """Shards, who reads them, and how far."""
        rows = self.cluster.dynamodb.scan(TableName=f"{self.cluster.env}-fanfare-leases", ConsistentRead=True)["Items"]
        rows = [row for row in rows if row["stream"]["S"] == self.name and row["lease"]["S"].startswith("shard/")]
        return {
            row["lease"]["S"].removeprefix("shard/"): (row.get("leaseOwner", {}).get("S"), row["checkpoint"]["S"])
            for row in rows
        }

    def owners(self):
        """How many shards that are not at their end each node reads; `None` stands for nobody."""
        counts = {}
        for owner, checkpoint in self.leases().values():
            if checkpoint != "SHARD_END":
                counts[owner] = counts.get(owner, 0) + 1
        return counts

    def missing(self, sessions):
        """What was put for these users and was not relayed yet, after a look into their queues."""
        there = set()
        for user, session in sessions.items():
            received = self.received.setdefault(user, [])
            received += [(place, message["messageId"]) for place, message in drain_placed(self.cluster, session)]
            there |= {id for _, id in received}
        return {id for id, (user, _) in self.put_records.items() if user in sessions} - there

    def check(self, sessions, within=30, in_order=True):
        """Everything that was put is relayed in time, each user's in order; what came twice, by its id."""
        until = time.monotonic() + within
        while missing := self.missing(sessions):
            assert time.monotonic() < until, f"lost: {len(missing)}, such as {sorted(missing)[:3]}"
            time.sleep(0.1)
        twice = []
        for user in sessions:
            ids = [id for _, id in sorted(self.received[user])]
            assert set(ids) <= set(self.put_records), "nothing is relayed that was not put"
            first = list(dict.fromkeys(ids))
            numbers = [self.put_records[id][1] for id in first]
            assert numbers == sorted(numbers) or not in_order, f"user {user}: {numbers}"
            twice += [id for id in first if ids.count(id) > 1]
        return twice


class Load:
    """Puts messages for users, one after the other, until it is stopped."""

    def __init__(self, stream, users, pause=0.02):
        self._stop = threading.Event()
        self.error = None

        def run():
            try:
                while not self._stop.wait(pause):
                    stream.put(users)
            except Exception as error:
                self.error = error

        self._thread = threading.Thread(target=run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()
        assert self.error is None, self.error


def wait_for(condition, within):
    """Waits until it holds; how long that took."""
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < within, f"not within {within} s"
        time.sleep(0.1)
    return time.monotonic() - begun


def metric(node, name):
    """The sum of a metric over its labels."""
    lines = node.raw("GET", "/metrics").text.splitlines()
    values = [line.rsplit(" ", 1)[1] for line in lines if re.match(name + r"(\{.*\})? ", line)]
    return sum(float(value) for value in values)
