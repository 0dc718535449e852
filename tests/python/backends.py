"""Which backend the scenarios run on, and what of them the `aws` backend does not promise (ARCHITECTURE, "Two backends")."""

import os
import pathlib
import sys

import pytest

#: As Fanfare's own setting says it; `cargo xtask test --only aws` starts the services that the other one needs.
IS_AWS = os.environ.get("FANFARE_BACKEND", "embedded") == "aws"

#: What describes a job of the session plane or of the topic plane from its begin to its end, and so runs on both.
SCENARIOS = [
    "test_history.py",
    "test_iot_data.py",
    "test_kinesis.py",
    "test_mqtt.py",
    "test_notify.py",
    "test_one_queue.py",
    "test_policy.py",
    "test_receipts.py",
    "test_session_keys.py",
    "test_sessions.py",
]

#: Why a scenario does not run on `aws`.
not_on_aws = pytest.mark.not_on_aws
ANSWERED_BY_SQS = not_on_aws("clients ask SQS itself; here that is ElasticMQ, which checks no keys and keeps no times")
NO_ORDER = not_on_aws("a standard queue at SQS keeps no order")
NO_ONE_COUNTER = not_on_aws("each node leases counters of its own, so they are unique and do not rise")
KEYS_BY_STS = not_on_aws("STS gives no keys for less than 15 minutes")
NOT_SERVED = not_on_aws("STS and Cognito are AWS's own")
KNOWN_TO_NO_NODE = not_on_aws("retained messages and connected clients are known to no single node")
ONE_TRANSPORT = not_on_aws("a session chooses its transport, so its topic is no second way to its queue")
NO_DURABLE_SESSIONS = not_on_aws("no MQTT session outlives its connection")
NO_QOS_2 = not_on_aws("what goes through a broker is of quality of service 1 at most")
NOT_OFFERED = not_on_aws("shared subscriptions, no local and retain as published are not offered")
OF_ONE_NODE = not_on_aws("metrics and client ids are each node's own", nodes=2)

if IS_AWS:
    sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "aws"))


def is_left_out(item):
    """Why a case does not run, if so."""
    if not IS_AWS:
        return None
    for marker in item.iter_markers("not_on_aws"):
        nodes = marker.kwargs.get("nodes")
        if nodes is None or item.callspec.params.get("nodes") == nodes:
            return marker.args[0]
    return None
