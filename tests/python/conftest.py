"""Fixtures: a server for the whole run, servers for one test, and clients of both."""

import os

import boto3
import pytest

from fanfare import QUERY_PROTOCOL, Fanfare, fresh_name
from server import ExternalServer, Server


#: What the old environment has no clients for, and no case of.
NEWER = ["test_iot_data.py", "test_iot_sdk.py", "test_mqtt.py", "test_one_queue.py", "test_rooms.py"]
collect_ignore = NEWER if QUERY_PROTOCOL else []


def pytest_report_header(config):
    """Says which SQS protocol this run exercises."""
    return f"boto3 {boto3.__version__}: SQS by {'Query' if QUERY_PROTOCOL else 'JSON 1.0'}"


def pytest_collection_modifyitems(config, items):
    """An old boto3 may run only the cases made for it: any other would prove nothing there."""
    if QUERY_PROTOCOL:
        strangers = [item.nodeid for item in items if not item.get_closest_marker("sqs_query")]
        selected = "sqs_query" in (config.getoption("-m") or "")
        if strangers and not selected:
            raise pytest.UsageError("this boto3 speaks the Query protocol: run `pytest -m sqs_query`")


@pytest.fixture(scope="session")
def server():
    """The server that most tests share; `FANFARE_TEST_URL` names one that already runs."""
    if url := os.environ.get("FANFARE_TEST_URL"):
        yield ExternalServer(url)
        return
    running = Server().start()
    yield running
    running.stop()
    running.remove()


@pytest.fixture(scope="session")
def fanfare(server):
    """The shared server as its users see it."""
    return Fanfare(server.url)


def _servers():
    """Starts servers, and ends those that still run when the fixture does."""
    started = []

    def start(*arguments, **settings):
        running = Server(*arguments, **settings)
        started.append(running)
        return running.start()

    yield start
    for running in started:
        if running.process is not None and running.process.poll() is None:
            running.stop()
        running.remove()


@pytest.fixture
def start_server():
    """Starts servers that only this test uses: `start_server(*arguments, **{SETTING: value})`."""
    yield from _servers()


@pytest.fixture(scope="module")
def module_server():
    """Starts servers that the tests of one file share: `module_server(*arguments, **{SETTING: value})`."""
    yield from _servers()


@pytest.fixture(scope="session")
def sqs(fanfare):
    """The operator's SQS client."""
    return fanfare.client("sqs")


@pytest.fixture
def new_queue(sqs):
    """Creates queues that are gone after the test: `new_queue(suffix='', **attributes)` gives a URL."""
    urls = []

    def create(suffix="", **attributes):
        given = {name: str(value) for name, value in attributes.items()}
        url = sqs.create_queue(QueueName=fresh_name("q") + suffix, Attributes=given)["QueueUrl"]
        urls.append(url)
        return url

    yield create
    for url in urls:
        try:
            sqs.delete_queue(QueueUrl=url)
        except sqs.exceptions.QueueDoesNotExist:
            pass


@pytest.fixture
def queue(new_queue):
    """The URL of a standard queue with default attributes."""
    return new_queue()


@pytest.fixture
def fifo(new_queue):
    """The URL of a FIFO queue without content-based deduplication."""
    return new_queue(".fifo", FifoQueue="true")
