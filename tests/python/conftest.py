"""Fixtures: a server for the whole run, servers for one test, and clients of both."""

import collections
import os
import pathlib

import boto3
import pytest

from backends import IS_AWS, SCENARIOS, is_left_out
from fanfare import QUERY_PROTOCOL, Fanfare, fresh_name
from server import ExternalServer, Server

if IS_AWS:
    import planes


#: What the old environment has no clients for, and no case of.
NEWER = ["test_iot_data.py", "test_iot_sdk.py", "test_mqtt.py", "test_one_queue.py", "test_rooms.py"]
collect_ignore = NEWER if QUERY_PROTOCOL else []
if IS_AWS:
    here = pathlib.Path(__file__).parent
    collect_ignore = [path.name for path in here.glob("test_*.py") if path.name not in SCENARIOS]

#: How many cases were left out, by the reason.
LEFT_OUT = collections.Counter()


def pytest_report_header(config):
    """Says which SQS protocol this run exercises, and which backend."""
    backend = "aws, one node and two behind a round-robin" if IS_AWS else "embedded"
    return f"boto3 {boto3.__version__}: SQS by {'Query' if QUERY_PROTOCOL else 'JSON 1.0'}; backend: {backend}"


def pytest_generate_tests(metafunc):
    """On the `aws` backend each scenario runs on one node and on two."""
    if IS_AWS and "nodes" in metafunc.fixturenames:
        metafunc.parametrize("nodes", [1, 2], ids=["one node", "two nodes"], scope="session")


def pytest_collection_modifyitems(config, items):
    """An old boto3 may run only the cases made for it: any other would prove nothing there."""
    if QUERY_PROTOCOL:
        strangers = [item.nodeid for item in items if not item.get_closest_marker("sqs_query")]
        selected = "sqs_query" in (config.getoption("-m") or "")
        if strangers and not selected:
            raise pytest.UsageError("this boto3 speaks the Query protocol: run `pytest -m sqs_query`")
    for item in items:
        if reason := is_left_out(item):
            LEFT_OUT[reason] += 1
            item.add_marker(pytest.mark.skip(reason=reason))


def pytest_terminal_summary(terminalreporter):
    """Says what was not asked of the `aws` backend."""
    for reason, count in sorted(LEFT_OUT.items()):
        terminalreporter.write_line(f"{count} cases are not promised on aws: {reason}")


@pytest.fixture(scope="session")
def nodes():
    """How many nodes share the work on the `aws` backend; the embedded one is always alone."""
    return None


@pytest.fixture(scope="session")
def make_server(nodes):
    """Makes what is started and ended as one server, on the backend of this run."""

    def make(*arguments, **settings):
        return planes.Nodes(nodes, *arguments, **settings) if nodes else Server(*arguments, **settings)

    return make


@pytest.fixture(scope="session")
def server(make_server):
    """The server that most tests share; `FANFARE_TEST_URL` names one that already runs."""
    if url := os.environ.get("FANFARE_TEST_URL"):
        yield ExternalServer(url)
        return
    running = make_server().start()
    yield running
    running.stop()
    running.remove()


@pytest.fixture(scope="session")
def fanfare(server):
    """The shared server as its users see it."""
    return Fanfare(server.url)


def _servers(make_server):
    """Starts servers, and ends those that still run when the fixture does."""
    started = []

    def start(*arguments, **settings):
        running = make_server(*arguments, **settings)
        started.append(running)
        return running.start()

    yield start
    for running in started:
        if running.is_running:
            running.stop()
        running.remove()


@pytest.fixture
def start_server(make_server):
    """Starts servers that only this test uses: `start_server(*arguments, **{SETTING: value})`."""
    yield from _servers(make_server)


@pytest.fixture(scope="module")
def module_server(make_server):
    """Starts servers that the tests of one file share: `module_server(*arguments, **{SETTING: value})`."""
    yield from _servers(make_server)


@pytest.fixture(scope="session")
def sqs(fanfare):
    """The operator's SQS client."""
    return planes.sqs() if IS_AWS else fanfare.client("sqs")


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
