#!/usr/bin/env python3
"""Fanfare beside other MQTT brokers: the same load on each, one after the other, on one machine.

The server runs on processor 0, the load generator (`fanfare bench mqtt`) on processor 1. Every measurement starts a
fresh server; the brokers take turns within each round, and the median over the rounds counts. Standard library only.

    cargo build --release
    python3 tests/peers/peers.py > peers.md

Prints Markdown tables; --raw FILE keeps every single report. A broker that is not installed is left out, and said so.
"""

import argparse
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SERVER_CPU, LOAD_CPU = "0", "1"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """One broker: how it is configured, started, and reached. A subclass writes its files into `self.dir`."""

    name = ""
    #: Whether it keeps messages of persistent sessions over a restart, and how.
    durability = None

    def __init__(self, options):
        self.options = options
        self.process = None
        self.dir = None

    def version(self):
        raise NotImplementedError

    def command(self, durable):
        raise NotImplementedError

    def environment(self):
        return {}

    def flags(self, transport):
        """What the load generator needs to be let in."""
        return []

    def start(self, durable, pinned=True):
        self.dir = Path(tempfile.mkdtemp(prefix="fanfare-peers-"))
        self.ports = {"tcp": free_port(), "ws": free_port(), "http": free_port()}
        pin = ["taskset", "-c", SERVER_CPU] if pinned else []
        command = [*pin, *self.command(durable)]
        environment = {**os.environ, **self.environment()}
        log = open(self.dir / "log", "wb")
        self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=self.dir)
        # Later ones can be used a moment after they listen only.
        for transport in ("tcp", "ws"):
            self.wait_for(self.ports[transport])
        time.sleep(0.3)

    def wait_for(self, port):
        end = time.monotonic() + 20
        while time.monotonic() < end:
            if self.process.poll() is not None:
                break
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(0.05)
        raise RuntimeError(f"{self.name} does not start: {(self.dir / 'log').read_text()[-2000:]}")

    def stop(self):
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None
        if self.dir is not None:
            shutil.rmtree(self.dir, ignore_errors=True)

    def url(self, transport):
        port = self.ports[transport]
        return f"mqtt://127.0.0.1:{port}" if transport == "tcp" else f"ws://127.0.0.1:{port}/mqtt"


def first_line(*command):
    found = subprocess.run(command, capture_output=True, text=True)
    lines = (found.stdout + found.stderr).strip().splitlines()
    return lines[0] if lines else ""


class Minimal(Server):
    name = "minimal"
    durability = None

    def version(self):
        return "a server that does nothing but write (`fanfare bench mqtt floor`)"

    def command(self, durable):
        # One port for both.
        self.ports["ws"] = self.ports["tcp"]
        return [self.options.fanfare, "bench", "mqtt", "floor", "--listen", f"127.0.0.1:{self.ports['tcp']}"]


class Fanfare(Server):
    name = "Fanfare"
    durability = "each message on disk (fdatasync) before it is acknowledged"

    def version(self):
        return first_line(self.options.fanfare, "--version")

    def command(self, durable):
        self.ports["ws"] = self.ports["http"]
        return [self.options.fanfare, "serve"]

    def environment(self):
        settings = {
            "FANFARE_HTTP_LISTEN": f"127.0.0.1:{self.ports['http']}",
            "FANFARE_HTTP_WORKERS": "1",
            "FANFARE_MQTT_LISTEN": f"127.0.0.1:{self.ports['tcp']}",
            "FANFARE_STORE_DIR": str(self.dir / "store"),
        }
        if not self.options.username:
            # As the others have it.
            everything = {"Effect": "Allow", "Action": "iot:*", "Resource": "*"}
            policy = {"Version": "2012-10-17", "Statement": [everything]}
            settings["FANFARE_GUESTS_ANONYMOUS_POLICY"] = json.dumps(policy)
        extra = (setting.split("=", 1) for setting in self.options.fanfare_setting)
        return {**settings, **dict(extra)}

    def flags(self, transport):
        if transport == "ws":
            return ["--presign"]
        return ["--username", self.options.username] if self.options.username else []


class Mosquitto(Server):
    name = "Mosquitto"
    durability = "in memory, saved to disk every 30 min (`persistence true`)"

    def version(self):
        return first_line("mosquitto", "-h")

    def command(self, durable):
        text = f"""
            allow_anonymous true
            set_tcp_nodelay true
            log_type none
            sys_interval 0
            max_queued_messages 0
            max_inflight_messages 0
            persistence {"true" if durable else "false"}
            persistence_location {self.dir}/
            listener {self.ports["tcp"]} 127.0.0.1
            listener {self.ports["ws"]} 127.0.0.1
            protocol websockets
            """
        file = self.dir / "mosquitto.conf"
        file.write_text("\n".join(line.strip() for line in text.splitlines()))
        # Started as root it would become a user who can not read its directory.
        if os.geteuid() == 0:
            file.write_text(file.read_text() + "\nuser root\n")
        return ["mosquitto", "-c", str(file)]


class Nats(Server):
    name = "NATS"
    durability = "JetStream file store, no fsync by default"

    def version(self):
        return first_line("nats-server", "--version")

    def command(self, durable):
        file = self.dir / "nats.conf"
        file.write_text(f"""
            server_name: peers
            listen: "127.0.0.1:{self.ports["http"]}"
            max_connections: 65536
            jetstream {{ store_dir: "{self.dir}/js" }}
            mqtt {{ listen: "127.0.0.1:{self.ports["tcp"]}" }}
            websocket {{ listen: "127.0.0.1:{self.ports["ws"]}", no_tls: true }}
            """)
        return ["nats-server", "-c", str(file)]

    def environment(self):
        # As many as it has processors.
        return {"GOMAXPROCS": "1"}


class Rumqttd(Server):
    name = "rumqttd"
    durability = "in memory"

    def version(self):
        # Its --version prints a build date only.
        return "rumqttd 0.20.0 (crates.io)"

    def command(self, durable):
        connection = """
            connection_timeout_ms = 60000
            max_payload_size = 20480
            max_inflight_count = 500
            dynamic_filters = true
            """
        file = self.dir / "rumqttd.toml"
        file.write_text(f"""
            id = 0
            [router]
            id = 0
            max_connections = 20000
            max_outgoing_packet_count = 200
            max_segment_size = 104857600
            max_segment_count = 10
            [v4.1]
            name = "v4-1"
            listen = "127.0.0.1:{self.ports["tcp"]}"
            next_connection_delay_ms = 0
            [v4.1.connections]
            {connection}
            [ws.1]
            name = "ws-1"
            listen = "127.0.0.1:{self.ports["ws"]}"
            next_connection_delay_ms = 0
            [ws.1.connections]
            {connection}
            """)
        return [self.options.rumqttd, "-c", str(file), "-q"]


SERVERS = [Minimal, Fanfare, Mosquitto, Nats, Rumqttd]

#: name: (what is said of it, arguments of `fanfare bench mqtt`)
LOADS = {
    "ahead": ("1 → 1000, publisher ahead", ["fan-out", "--subscribers", "1000"]),
    "one": ("1 → 1000, one in flight", ["fan-out", "--subscribers", "1000", "--in-flight", "1"]),
    "20hz": ("20 Hz to 1000 subscribers", ["fan-out", "--subscribers", "1000", "--rate", "20"]),
    "rooms10": ("100 rooms × 10 players × 10 Hz", ["rooms", "--rate", "10"]),
    "rooms20": ("100 rooms × 10 players × 20 Hz", ["rooms", "--rate", "20"]),
}
OTHERS = {
    "idle": ("resident bytes per idle connection with one subscription, {0} connections", ["idle", "--subscribe", "--seconds", "3"]),
    "storm": ("seconds until {1} clients are back", ["storm"]),
    "durable": ("QoS 1 to persistent sessions, deliveries per second", ["durable"]),
}
TRANSPORTS = ("tcp", "ws")


def arguments(load, options):
    if load in LOADS:
        return [*LOADS[load][1], "--seconds", str(options.seconds)]
    extra = {
        "idle": ["--connections", str(options.connections)],
        "storm": ["--clients", str(options.clients)],
        "durable": ["--seconds", str(options.seconds)],
    }
    return [*OTHERS[load][1], *extra[load]]


def measure(server, load, transport, options):
    """One report, or the reason why there is none."""
    try:
        server.start(durable=load == "durable")
        command = [
            *["taskset", "-c", LOAD_CPU, options.fanfare, "bench", "--json", "mqtt"],
            *["--url", server.url(transport), "--pid", str(server.process.pid), *server.flags(transport)],
            *arguments(load, options),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=180)
        if done.returncode == 0:
            return json.loads(done.stdout)
        return (done.stderr.strip().splitlines() or ["no reason given"])[0]
    except (RuntimeError, subprocess.TimeoutExpired, OSError) as error:
        return str(error)
    finally:
        server.stop()


def ratio(report, what):
    return next((ratio["value"] for ratio in report["ratios"] if ratio["what"] == what), None)


class Results:
    def __init__(self):
        self.reports = {}
        self.failures = {}

    def add(self, load, transport, server, outcome):
        place = (load, transport, server)
        if isinstance(outcome, dict):
            self.reports.setdefault(place, []).append(outcome)
        else:
            self.failures.setdefault(place, []).append(outcome)

    def median(self, load, transport, server, value):
        """The median over the rounds; nothing if a round failed, for the better ones would be what is left."""
        place = (load, transport, server)
        if place in self.failures:
            return None
        values = [value(report) for report in self.reports.get(place, [])]
        values = [value for value in values if value is not None]
        return statistics.median(values) if values else None

    def total(self, load, transport, server, count):
        return sum(report.get("counts", {}).get(count, 0) for report in self.reports.get((load, transport, server), []))


def cpu(report):
    return ratio(report, "server CPU µs per delivery")


def p99(report):
    return report["measures"][0]["p99_ms"]


def shown(value):
    if value is None:
        return "failed"
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def table(head, rows):
    print("| " + " | ".join(head) + " |")
    print("|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print()


def print_cpu(results, names, loads):
    others = [name for name in names if name != "minimal"]
    rows = []
    for load in loads:
        for transport in TRANSPORTS:
            limit = results.median(load, transport, "minimal", cpu)
            row = [LOADS[load][0], transport, shown(limit)]
            for name in others:
                cost = results.median(load, transport, name, cpu)
                row.append(shown(cost) if not cost or not limit else f"{shown(cost)} ({cost / limit:.2f} ×)")
            rows.append(row)
    print("Server CPU per delivery in µs, and × the minimal server's:\n")
    table(["load", "transport", "minimal", *others], rows)


def print_latency(results, names, loads):
    rows = []
    for load in loads:
        for transport in TRANSPORTS:
            row = [LOADS[load][0], transport]
            for name in names:
                late = results.median(load, transport, name, p99)
                lost = results.total(load, transport, name, "deliveries lost")
                row.append(shown(late) + (f" ({lost:,} lost)" if lost else ""))
            rows.append(row)
    print("p99 from publish to delivery in ms; a loss is told where there was one:\n")
    table(["load", "transport", *names], rows)


def print_others(results, names, loads, options):
    per_second = lambda report: report["measures"][0]["per_second"]
    values = {
        "idle": lambda report: ratio(report, "resident bytes per connection"),
        "storm": lambda report: ratio(report, "seconds until all are back"),
        "durable": per_second,
    }
    rows = []
    for load in loads:
        for transport in TRANSPORTS:
            row = [OTHERS[load][0].format(f"{options.connections:,}", f"{options.clients:,}"), transport]
            for name in names:
                if name == "minimal" and load != "storm" and load != "idle":
                    row.append("–")
                    continue
                errors = results.total(load, transport, name, "errors")
                lost = results.total(load, transport, name, "deliveries lost")
                note = f" ({errors:,} errors)" if errors else f" ({lost:,} lost)" if lost else ""
                row.append(shown(results.median(load, transport, name, values[load])) + note)
            rows.append(row)
    table(["what", "transport", *names], rows)


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fanfare", default=str(ROOT / "target/release/fanfare"), help="the release binary")
    parser.add_argument("--rumqttd", default=shutil.which("rumqttd"), help="from `cargo install rumqttd`")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4, help="of each measurement")
    parser.add_argument("--connections", type=int, default=9500, help="at rest")
    parser.add_argument("--clients", type=int, default=5000, help="in the storm")
    parser.add_argument("--only", action="append", choices=[*LOADS, *OTHERS], help="this load; repeat for several")
    parser.add_argument("--server", action="append", help="this broker; repeat for several")
    parser.add_argument("--username", help="of an MQTT account, for Fanfare over TCP; FANFARE_MQTT_PASSWORD has its password")
    parser.add_argument("--fanfare-setting", action="append", default=[], metavar="NAME=VALUE", help="for Fanfare's environment")
    parser.add_argument("--raw", type=Path, help="keep every report in this file, as JSON lines")
    return parser.parse_args()


def available(options):
    programs = {"Mosquitto": shutil.which("mosquitto"), "NATS": shutil.which("nats-server"), "rumqttd": options.rumqttd}
    wanted = [name.lower() for name in options.server or []]
    for kind in SERVERS:
        if wanted and kind.name.lower() not in wanted:
            continue
        if programs.get(kind.name, True):
            yield kind(options)
        else:
            print(f"{kind.name} is not installed and left out", file=sys.stderr)


def main():
    options = parse()
    servers = list(available(options))
    chosen = options.only or [*LOADS, *OTHERS]
    results = Results()
    for turn in range(options.rounds):
        for load in chosen:
            for transport in TRANSPORTS:
                for server in servers:
                    if load == "durable" and server.durability is None:
                        continue
                    print(f"round {turn + 1}: {load} {transport} {server.name}", file=sys.stderr)
                    outcome = measure(server, load, transport, options)
                    results.add(load, transport, server.name, outcome)
                    if isinstance(outcome, str):
                        print(f"  failed: {outcome}", file=sys.stderr)
                    if options.raw:
                        line = {"round": turn, "load": load, "transport": transport, "server": server.name, "outcome": outcome}
                        with options.raw.open("a") as raw:
                            raw.write(json.dumps(line) + "\n")

    names = [server.name for server in servers]
    print(f"Medians of {options.rounds} rounds of {options.seconds:g} s; server on processor {SERVER_CPU}, load on {LOAD_CPU}.")
    print("Servers: " + "; ".join(f"{server.name}: {server.version()}" for server in servers) + ".\n")
    loads = [load for load in chosen if load in LOADS]
    if loads:
        print_cpu(results, names, loads)
        print_latency(results, names, loads)
    others = [load for load in chosen if load in OTHERS]
    if others:
        print_others(results, names, others, options)
    if "durable" in others:
        kept = [server for server in servers if server.durability]
        print("What is durable: " + "; ".join(f"{server.name}: {server.durability}" for server in kept) + ".")
    for (load, transport, server), reasons in results.failures.items():
        print(f"- {server}, {load} over {transport}, failed {len(reasons)} ×: {reasons[0]}")


if __name__ == "__main__":
    main()
