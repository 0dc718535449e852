"""Fixtures: clusters of nodes, and brokers for their topics."""

import contextlib
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "python"))

from brokers import Mosquitto, Nats  # noqa: E402
from cluster import COGNITO, MADE, SETTINGS, Cluster, client, command, run, url_of  # noqa: E402, F401 (tests import them from here)


@pytest.fixture(scope="session", autouse=True)
def nodes_of_all_tests_do_only_what_their_policy_allows():
    """What one test would miss, others may do."""
    yield
    from test_permissions import allowed_operations

    assert MADE and MADE <= allowed_operations(), f"not in deploy/aws/policies/node.json: {MADE - allowed_operations()}"


@pytest.fixture
def cluster(start):
    """Tables of this test's own, and nodes on them. They end before the brokers do."""
    running = Cluster()
    yield running
    running.end()


@pytest.fixture
def start():
    """Starts brokers that end with the test."""
    with contextlib.ExitStack() as stack:

        def one(broker):
            stack.callback(broker.end)
            return broker.start()

        yield one


@pytest.fixture(params=[Mosquitto, Nats], ids=["mosquitto", "nats"])
def broker(request, start):
    """One of each kind."""
    return start(request.param())


@pytest.fixture
def mosquitto(start):
    """The one that says what is subscribed to."""
    return start(Mosquitto())
