#!/usr/bin/env python3
"""Fanfare with two worker threads beside one: how much more two can serve.

A machine with two processors can not show that by the clock, since the load generator needs one of them. So what each worker
thread spends is read (`/proc/PID/task`): as long as every thread has a processor, a server is as fast as its busiest
worker, and that one's processor time per delivery says how many deliveries a second there can be. What two workers
cost each other (locks, messages from one to the other, an uneven share of the connections) is all in it.

    cargo build --release
    python3 tests/peers/workers.py

Prints a Markdown table: medians of as many rounds, one and two workers in turns. Standard library only.
"""

import argparse
import json
import os
import statistics
import subprocess
from pathlib import Path

import peers

ANYBODY = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "iot:*", "Resource": "*"}]}
LOADS = {
    "20 Hz to 1000 subscribers": ["fan-out", "--subscribers", "1000", "--rate", "20"],
    "1 → 1000, publisher ahead": ["fan-out", "--subscribers", "1000"],
    "100 rooms × 10 players × 20 Hz": ["rooms", "--rate", "20"],
    "QoS 1 to persistent sessions": ["durable"],
}
#: What Linux shows of the name of an actix worker, `actix-rt|system:0|arbiter:1`.
WORKER = "actix-rt|system"


class Fanfare(peers.Fanfare):
    """Not held to one processor."""

    def __init__(self, options, workers):
        super().__init__(options)
        self.workers = workers

    def environment(self):
        return {
            **super().environment(),
            "FANFARE_HTTP_WORKERS": str(self.workers),
            "FANFARE_GUESTS_ANONYMOUS_POLICY": json.dumps(ANYBODY),
        }

    def spent(self):
        """Nanoseconds of processor time of each worker thread."""
        found = {}
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():
            if (task / "comm").read_text().startswith(WORKER):
                found[task.name] = int((task / "schedstat").read_text().split()[0])
        return found


def measure(options, workers, load):
    """Nanoseconds that the busiest worker spends per delivery, and its share of what all spend."""
    server = Fanfare(options, workers)
    try:
        server.start(durable=False, pinned=False)
        before = server.spent()
        command = [options.fanfare, "bench", "--json", "mqtt", "--url", server.url("tcp"), *LOADS[load]]
        done = subprocess.run([*command, "--seconds", str(options.seconds)], capture_output=True, text=True, timeout=180)
        if done.returncode != 0:
            raise RuntimeError(done.stderr)
        spent = [after - before.get(task, 0) for task, after in server.spent().items()]
        deliveries = json.loads(done.stdout)["measures"][0]["count"]
        return max(spent) / deliveries, max(spent) / sum(spent)
    finally:
        server.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fanfare", default=str(peers.ROOT / "target/release/fanfare"), help="the release binary")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6, help="of each measurement; connecting counts, too")
    options = parser.parse_args()
    options.fanfare_setting, options.username = [], None
    rows = []
    for load in LOADS:
        found = {1: [], 2: []}
        for _ in range(options.rounds):
            for workers, values in found.items():
                values.append(measure(options, workers, load))
        one, two = (statistics.median(cost for cost, _ in found[workers]) for workers in (1, 2))
        share = statistics.median(share for _, share in found[2])
        rows.append([load, f"{one / 1000:.3f}", f"{two / 1000:.3f}", f"{share:.0%}", f"{one / two:.2f} ×"])
    print(f"Medians of {options.rounds} rounds of {options.seconds:g} s over TCP, {os.cpu_count()} processors.\n")
    peers.table(["load", "one worker: µs per delivery", "two: the busier one's", "its share", "two serve"], rows)


if __name__ == "__main__":
    main()
