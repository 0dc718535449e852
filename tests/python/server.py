"""Runs the real `fanfare` binary for the tests and ends it the way an operator would.

The names of the settings the tests rely on stand here and nowhere else.
"""

import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time

import requests

REGION = "us-east-1"
ENVIRONMENT = "dev"
AWS_ACCOUNT = "123456789012"
OPERATOR_ACCESS_KEY = "FANFAREDEV"
OPERATOR_SECRET_KEY = "fanfare-dev-secret"

#: The Kinesis stream that the server ingests in environment `dev`.
STREAM = f"{ENVIRONMENT}-sqs-browser-event-dispatcher"

# Settings by environment variable.
HTTP_LISTEN = "FANFARE_HTTP_LISTEN"
MQTT_LISTEN = "FANFARE_MQTT_LISTEN"
STORE_DIR = "FANFARE_STORE_DIR"
ACCESS_KEY = "FANFARE_OPERATOR_ACCESS_KEY"
SECRET_KEY = "FANFARE_OPERATOR_SECRET_KEY"
ACCOUNT = "FANFARE_AWS_ACCOUNT"
KEY_LIFETIME = "FANFARE_SESSIONS_KEY_LIFETIME"
SESSION_TTL = "FANFARE_SESSIONS_TTL"
USER_MESSAGE_TTL = "FANFARE_HISTORY_USER_MESSAGE_TTL"

START_TIMEOUT_SECONDS = 30
DRAIN_TIMEOUT_SECONDS = 25

_REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
_LISTENING = re.compile(r"listening http (\S+:\d+)")
_LISTENING_MQTT = re.compile(r"listening mqtt ([^:\s]+):(\d+)")


def seconds(count):
    """A duration setting as the configuration writes it."""
    return str(count)


def binary():
    """The binary under test: `FANFARE_BIN`, else the debug build of this checkout."""
    path = pathlib.Path(os.environ.get("FANFARE_BIN", _REPOSITORY / "target/debug/fanfare"))
    if not path.is_file():
        raise RuntimeError(f"{path} is missing: run `cargo build` or set FANFARE_BIN")
    return str(path.resolve())


def clean_environment(**extra):
    """The caller's environment without anything that would configure Fanfare or an AWS client."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("FANFARE_", "AWS_"))}
    return {**kept, **extra}


class Server:
    """One running `fanfare serve`, on a port of its own choosing and a data directory of its own."""

    def __init__(self, *arguments, **settings):
        self.arguments = arguments
        self.settings = settings
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="fanfare-test-"))
        self.process = None
        self.url = None
        self._log = []
        self._address = threading.Event()

    @property
    def log(self):
        """Everything that the server has printed."""
        return "".join(self._log)

    @property
    def is_running(self):
        """Whether it was started and has not ended."""
        return self.process is not None and self.process.poll() is None

    @property
    def mqtt(self):
        """Host and port of MQTT over TCP."""
        found = _LISTENING_MQTT.findall(self.log)[-1]
        return found[0], int(found[1])

    def port(self, name):
        """The port of another listener, such as `https` or `mqtts`."""
        return int(re.findall(rf"listening {name} \S+:(\d+)", self.log)[-1])

    def start(self):
        """Starts the binary and waits until it is ready to serve."""
        self._address.clear()
        environment = clean_environment(
            **{
                HTTP_LISTEN: "127.0.0.1:0",
                MQTT_LISTEN: "127.0.0.1:0",
                STORE_DIR: str(self.directory / "data"),
                ACCOUNT: AWS_ACCOUNT,
            },
            **self.settings,
        )
        self.process = subprocess.Popen(
            [binary(), "serve", *self.arguments],
            cwd=self.directory,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        threading.Thread(target=self._read_output, daemon=True).start()
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while not self._address.wait(0.05):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"fanfare did not start (exit {self.process.returncode}):\n{self.log}")
        while requests.get(self.url + "/health/ready", timeout=5).status_code != 200:
            if time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"fanfare did not become ready:\n{self.log}")
            time.sleep(0.05)
        return self

    def _read_output(self):
        for line in self.process.stdout:
            self._log.append(line)
            if found := _LISTENING.search(line):
                self.url = f"http://{found[1]}"
                self._address.set()

    def stop(self):
        """Ends the server by SIGTERM; it has to drain in time and exit with 0."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(DRAIN_TIMEOUT_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()
                raise AssertionError(f"no exit within {DRAIN_TIMEOUT_SECONDS} s of SIGTERM:\n{self.log}") from None
        assert self.process.returncode == 0, f"exit {self.process.returncode} after SIGTERM:\n{self.log}"

    def restart(self):
        """Stops the server and starts it again on the same data."""
        self.stop()
        return self.start()

    def kill(self):
        """Ends the process without a chance to tidy up."""
        self.process.kill()
        self.process.wait()

    def remove(self):
        """Deletes the data directory."""
        shutil.rmtree(self.directory, ignore_errors=True)


class ExternalServer:
    """A server that somebody else runs, named by `FANFARE_TEST_URL`."""

    log = "(the server's output is not ours)"

    def __init__(self, url):
        self.url = url.rstrip("/")
