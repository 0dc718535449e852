"""MQTT brokers that nodes put their topics through: Mosquitto and NATS, each on ports and in a folder of its own."""

import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import pytest


def program(name):
    """The path of a broker's program; these tests prove nothing without it."""
    variable = f"FANFARE_TEST_{name}"
    if variable not in os.environ:
        raise pytest.UsageError(f"{variable} is not set: run `cargo xtask test --only aws`")
    return os.environ[variable]


def free_port():
    """A port that was free a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Broker:
    """A broker that can be killed and started again on the same ports and files."""

    def __init__(self):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="fanfare-broker-"))
        self.port = free_port()
        self.process = None
        self.log = self.directory / "log"

    @property
    def url(self):
        """Where nodes find it."""
        return f"mqtt://127.0.0.1:{self.port}"

    def start(self):
        """Starts it and waits until it listens."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command(), stdout=log, stderr=log)
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return self
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"the broker does not start:\n{self.log.read_text()}") from None
                time.sleep(0.05)

    def kill(self):
        """Ends it without a chance to tidy up."""
        self.process.kill()
        self.process.wait()

    def freeze(self):
        """From now on it takes what is sent and answers nothing."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        """It goes on."""
        self.process.send_signal(signal.SIGCONT)

    def end(self):
        """Ends it, if it runs, and removes its files."""
        if self.process is not None and self.process.poll() is None:
            self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)


class Mosquitto(Broker):
    """Debian's. `more` are lines of its configuration before the listeners; `listeners` replace the one over TCP."""

    def __init__(self, more=(), listeners=None):
        super().__init__()
        self.more = list(more)
        self.listeners = listeners or (lambda port: [f"listener {port} 127.0.0.1"])

    def command(self):
        """How it is started."""
        lines = [
            "persistence false",
            "sys_interval 0",
            "set_tcp_nodelay true",
            "max_queued_messages 0",
            "log_dest stderr",
            "log_type subscribe",
            "log_type unsubscribe",
            "log_type error",
            "log_type notice",
        ]
        if not any(line.startswith("allow_anonymous") for line in self.more):
            lines.append("allow_anonymous true")
        if os.geteuid() == 0:
            # Started as root it would become a user who can not read its folder.
            lines.append("user root")
        file = self.directory / "mosquitto.conf"
        file.write_text("\n".join([*lines, *self.more, *self.listeners(self.port)]) + "\n")
        return [program("MOSQUITTO"), "-c", str(file)]

    def subscribed(self, link="in"):
        """Filters that nodes have subscribed to on this connection of theirs, in order, each as often as they did."""
        return re.findall(rf"\S+-{link} \d (\S+)$", self.log.read_text(), re.MULTILINE)

    def left(self):
        """Clients that have ended their connections in order."""
        return re.findall(r"^\d+: Client (\S+) disconnected\.$", self.log.read_text(), re.MULTILINE)

    def lost(self):
        """Clients whose connections ended without a word, once they had said who they are."""
        return re.findall(r"^\d+: Client ([\w-]+) closed its connection\.$", self.log.read_text(), re.MULTILINE)

    def unsubscribed(self, link="in"):
        """Filters that they have given up."""
        lines = re.findall(rf"^\d+: (\S+-{link}) (\S+)$", self.log.read_text(), re.MULTILINE)
        return [topic for _, topic in lines]


class Nats(Broker):
    """NATS with its MQTT, which is 3.1.1."""

    def command(self):
        """How it is started."""
        file = self.directory / "nats.conf"
        file.write_text(
            f"""
            server_name: broker
            listen: "127.0.0.1:{free_port()}"
            jetstream {{ store_dir: "{self.directory}/js" }}
            mqtt {{ listen: "127.0.0.1:{self.port}" }}
            """
        )
        return [program("NATS"), "-c", str(file)]
