"""How many messages a node relays in a second on local servers, and what calls to AWS a thousand of them cost.

    cargo xtask speed

Starts the servers and the node, a release build, on this machine, and prints a Markdown table. What is measured is mostly
those servers.
"""

import itertools
import json
import pathlib
import re
import statistics
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "python"))

from cluster import Cluster  # noqa: E402

ROUNDS = 3
RECORDS = 500
CALLS = ("SendMessageBatch", "BatchWriteItem", "UpdateItem", "Query")


class Measured:
    """A node, and what calls it makes."""

    def __init__(self, cluster):
        self.node = cluster.node(FANFARE_BENCH_ENABLED="true")
        self.kinesis = self.node.client("kinesis")
        self.cluster = cluster
        self.numbers = itertools.count()
        self.unread = []

    def counts(self):
        """Calls so far, by operation."""
        text = self.node.raw("GET", "/metrics").text
        calls = dict.fromkeys(CALLS, 0)
        counted = re.findall(r'^fanfare_aws_calls_total\{[^}]*operation="(\w+)"[^}]*\} (\d+)', text, re.MULTILINE)
        for operation, count in counted:
            calls[operation] = calls.get(operation, 0) + int(count)
        return calls

    def dispatched(self):
        """Messages so far."""
        text = self.node.raw("GET", "/metrics").text
        # There is no such line before the first.
        found = re.search(r"^fanfare_messages_dispatched_total (\d+)", text, re.MULTILINE)
        return int(found[1]) if found else 0

    def measure(self, what, least, load, prepare=lambda: None):
        """Runs `load` several times, after `prepare`. It answers how many messages, or receipts, and how many a second."""
        rounds = []
        for _ in range(ROUNDS):
            prepare()
            before = self.counts()
            done, rate = load()
            after = self.counts()
            rounds.append((rate, {name: (after[name] - before[name]) * 1000 / done for name in CALLS}))
        each = [statistics.median(calls[name] for _, calls in rounds) for name in CALLS]
        row = [what, f"{statistics.median(rate for rate, _ in rounds):,.0f}", *(f"{count:.1f}" for count in each), least]
        print("| " + " | ".join(row) + " |", flush=True)

    def post(self):
        """Many post at a time, to one session."""
        load = ["bench", "notify", "--json", "--connections", "64", "--rounds", "1", "--duration", "10"]
        before = self.dispatched()
        report = json.loads(self.cluster.command(*load, "--endpoint", self.node.url))
        rate = next(one["per_second"] for one in report["measures"] if "notify" in one["name"])
        return self.dispatched() - before, rate

    def put(self, users):
        """Messages for so many users in turns, 500 in a call; their ids rise."""
        ids = [f"m{next(self.numbers)}" for _ in range(RECORDS)]
        records = [
            {"Data": json.dumps({"userId": n % users, "messageId": each}), "PartitionKey": "p"}
            for n, each in enumerate(ids)
        ]
        begin = time.monotonic()
        put = self.kinesis.put_records(StreamName=f"{self.cluster.env}-sqs-browser-event-dispatcher", Records=records)
        assert put["FailedRecordCount"] == 0
        self.unread = ids
        return RECORDS, RECORDS / (time.monotonic() - begin)

    def read(self):
        """Receipts for the messages that were put last."""
        begin = time.monotonic()
        read = self.node.post("/messages/set-read/user/0", self.unread)["messages_receipted"]
        assert len(read) == RECORDS
        return RECORDS, RECORDS / (time.monotonic() - begin)


def main():
    """Prints the table."""
    cluster = Cluster()
    try:
        measured = Measured(cluster)
        for user in range(50):
            measured.node.create(1, f"s{user}", user)
        print(f"Medians of {ROUNDS} rounds. Calls to AWS for 1,000 of them:\n")
        print(f"| what | a second | {' | '.join(CALLS)} | the least |")
        print("|---" * (len(CALLS) + 3) + "|")
        least = "100 sends, 40 writes"
        measured.measure("posts by 64 connections, to one session", least, measured.post)
        measured.measure("records, 500 in a call, to one session", least, lambda: measured.put(1))
        measured.measure("records, 500 in a call, to 50 sessions", least, lambda: measured.put(50))
        put = lambda: measured.put(1)  # noqa: E731
        measured.measure("receipts, 500 in a call", "1,000 updates, 4 sends", measured.read, put)
    finally:
        cluster.end()


if __name__ == "__main__":
    main()
