"""The `aws` backend with the face of one server, for the scenarios of both planes in `tests/python`: one node, or two behind
a round-robin, on tables and a broker of their own."""

import shutil

from brokers import Mosquitto
from cluster import Cluster, client, url_of
from server import STREAM, Server
from ways import RoundRobin

#: What these nodes are told beside where their services are.
SETTINGS = {"FANFARE_MQTT_ENABLED": "true", "FANFARE_KINESIS_STREAM": STREAM}

#: What guests' keys and connect tokens are sealed with: the same on all nodes.
SECRETS = "data/token-secrets"


def sqs():
    """The operator's client of the service that has the queues."""
    return client("sqs", url_of("SQS"))


class Nodes:
    """So many nodes, started and ended as one `Server` is."""

    def __init__(self, count, *arguments, **settings):
        self._broker = Mosquitto().start()
        more = {**SETTINGS, "FANFARE_AWS_BROKER_URL": self._broker.url, **settings}
        settings = Cluster().settings(**more)
        self._servers = [Server(*arguments, **settings) for _ in range(count)]
        self._robin = RoundRobin() if count > 1 else None

    @property
    def url(self):
        """Where HTTP is served."""
        return (self._robin or self._servers[0]).url

    @property
    def mqtt(self):
        """Host and port of MQTT over TCP."""
        return (self._robin or self._servers[0]).mqtt

    @property
    def log(self):
        """Everything that the nodes have printed."""
        return "".join(server.log for server in self._servers)

    @property
    def is_running(self):
        """Whether any of them is."""
        return any(server.is_running for server in self._servers)

    def start(self):
        """Starts the nodes one after the other, and waits until they are ready to serve."""
        first, *others = self._servers
        first.start()
        for other in others:
            secrets = other.directory / SECRETS
            secrets.parent.mkdir(exist_ok=True)
            shutil.copyfile(first.directory / SECRETS, secrets)
            other.start()
        if self._robin:
            self._robin.lead_to(self._servers)
        return self

    def stop(self):
        """Ends the nodes by SIGTERM; each has to drain in time and exit with 0."""
        for server in self._servers:
            server.stop()

    def restart(self):
        """Stops the nodes and starts them again."""
        self.stop()
        return self.start()

    def kill(self):
        """Ends the processes without a chance to tidy up."""
        for server in self._servers:
            server.kill()

    def remove(self):
        """Ends the broker, and deletes what the nodes have on disk."""
        self._broker.end()
        if self._robin:
            self._robin.close()
        for server in self._servers:
            server.remove()
