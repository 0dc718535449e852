"""Nodes whose topics go through a broker, and what their tests say about them."""

import json
import time

from topics import Peer

EVERYTHING = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "iot:*", "Resource": "*"}}

#: Reason codes of MQTT 5.
GRANTED_1, NOT_NOW, NOT_AUTHORIZED, QUOTA_EXCEEDED, NOT_SHARED = 1, 0x83, 0x87, 0x97, 0x9E


def node_on(cluster, broker, **settings):
    """A node whose topics go through this broker."""
    return cluster.node(
        **{
            "FANFARE_MQTT_ENABLED": "true",
            "FANFARE_AWS_BROKER_URL": getattr(broker, "url", broker),
            "FANFARE_GUESTS_ANONYMOUS_POLICY": json.dumps(EVERYTHING),
            "FANFARE_AWS_PATIENCE": "10",
            **settings,
        }
    )


def peer(node, **options):
    """An MQTT client of a node, without keys."""
    return Peer(address=node.server.mqtt, **options)


def until(condition, within=10):
    """Waits for something to be so."""
    deadline = time.monotonic() + within
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not so within {within} s"
        time.sleep(0.05)
    return found


def drained(client):
    """Everything that has come."""
    got = []
    while not client.inbox.empty():
        got.append(client.inbox.get())
    return got


def works(node):
    """Something published comes back."""
    with peer(node) as client:
        client.subscribe("t", qos=1)
        assert client.publish("t", "x", qos=1) == 0
        assert client.texts(1) == ["x"]
