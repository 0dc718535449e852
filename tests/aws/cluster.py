"""Nodes of Fanfare on the `aws` backend, over the servers that `cargo xtask test --only aws` has started."""

import os
import re
import subprocess
import urllib.parse
import uuid

import boto3
import pytest
import requests
from botocore.config import Config

from fanfare import Fanfare
from proxy import Proxy
from server import AWS_ACCOUNT, REGION, Server, binary, clean_environment

#: What every node is told, but for the tables.
SETTINGS = {
    "FANFARE_BACKEND": "aws",
    "FANFARE_MQTT_ENABLED": "false",
    "FANFARE_AWS_SESSION_ROLE": f"arn:aws:iam::{AWS_ACCOUNT}:role/fanfare-session",
    "AWS_ACCESS_KEY_ID": "local",
    "AWS_SECRET_ACCESS_KEY": "local",
    "AWS_EC2_METADATA_DISABLED": "true",
}


#: What makes a node have sessions' keys made by Cognito.
COGNITO = {"FANFARE_AWS_SESSION_KEYS": "cognito", "FANFARE_SESSIONS_KEY_LIFETIME": "3600"}

#: Operations that the nodes of all tests have called, as they count them themselves.
MADE = set()


def url_of(service):
    """Where a service is; these tests prove nothing without it."""
    name = f"FANFARE_TEST_{service}"
    if name not in os.environ:
        raise pytest.UsageError(f"{name} is not set: run `cargo xtask test --only aws`")
    return os.environ[name]


def client(service, url):
    """A stock client of a service itself."""
    return boto3.client(
        service,
        endpoint_url=url,
        region_name=REGION,
        aws_access_key_id="local",
        aws_secret_access_key="local",
        config=Config(retries={"total_max_attempts": 1}, read_timeout=30),
    )


def run(*arguments, typed="", **settings):
    """A command that has ended: its exit code, and what it printed."""
    return subprocess.run(
        [binary(), *arguments],
        env=clean_environment(**settings),
        input=typed,
        capture_output=True,
        text=True,
        timeout=60,
    )


def command(*arguments, **settings):
    """What a command prints that succeeds."""
    ran = run(*arguments, **settings)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


class Cluster:
    """Nodes that share tables of their own, each perhaps behind proxies of its own."""

    def __init__(self):
        self.env = "t" + uuid.uuid4().hex[:10]
        self.nodes = []
        self.servers = []
        self.proxies = []
        self.dynamodb = client("dynamodb", url_of("DYNAMODB"))
        self.sqs = client("sqs", url_of("SQS"))
        self.kinesis = client("kinesis", url_of("KINESIS"))
        provision = self.command("aws", "provision", "--only", "table")
        assert provision.count(": made") == len(provision.splitlines()), provision

    def settings(self, **more):
        """What a node, or a command, is told."""
        return {
            **SETTINGS,
            "FANFARE_ENV": self.env,
            "FANFARE_AWS_SQS_ENDPOINT": url_of("SQS"),
            "FANFARE_AWS_DYNAMODB_ENDPOINT": url_of("DYNAMODB"),
            "FANFARE_AWS_STS_ENDPOINT": url_of("STS"),
            "FANFARE_AWS_KINESIS_ENDPOINT": url_of("KINESIS"),
            **more,
        }

    def command(self, *arguments, **settings):
        """What a command prints."""
        return command(*arguments, **self.settings(**settings))

    def node(self, **settings):
        """Another node."""
        server = Server(**self.settings(**settings))
        self.nodes.append(server)
        server.start()
        fanfare = Fanfare(server.url)
        fanfare.server = server
        return fanfare

    def proxy(self, service):
        """A proxy before a service, to be told what to spoil."""
        proxy = Proxy(url_of(service))
        self.proxies.append(proxy)
        return proxy

    def cognito(self):
        """A proxy before servers that have Cognito's operations together: moto makes identities and their keys, MiniStack has
        pools and lists, and Fanfare itself deletes, having verified the signature."""
        fanfare = Server(
            FANFARE_OPERATOR_ACCESS_KEY=SETTINGS["AWS_ACCESS_KEY_ID"],
            FANFARE_OPERATOR_SECRET_KEY=SETTINGS["AWS_SECRET_ACCESS_KEY"],
        )
        self.servers.append(fanfare.start())
        made = {"GetOpenIdTokenForDeveloperIdentity", "GetCredentialsForIdentity"}
        others = {**dict.fromkeys(made, url_of("STS")), "DeleteIdentities": fanfare.url}
        proxy = Proxy(url_of("MINISTACK"), others)
        self.proxies.append(proxy)
        return proxy

    def form_proxy(self, service, asked):
        """A proxy before a service of the Query protocol that notes the forms it is sent."""
        proxy = self.proxy(service)
        proxy.rule = lambda _, body: asked.append(dict(urllib.parse.parse_qsl(body.decode())))
        return proxy

    def table(self, name):
        """All rows of a table."""
        pages = self.dynamodb.get_paginator("scan").paginate(
            TableName=f"{self.env}-sqs-browser-{name}", ConsistentRead=True
        )
        return [row for page in pages for row in page["Items"]]

    def end(self):
        """Stops what runs."""
        try:
            for node in self.nodes:
                if node.process is not None and node.process.poll() is None:
                    metrics = requests.get(node.url + "/metrics", timeout=10).text
                    MADE.update(re.findall(r'fanfare_aws_calls_total\{[^}]*operation="(\w+)"', metrics))
            for node in self.nodes:
                if node.process is not None and node.process.poll() is None:
                    node.stop()
        finally:
            for node in self.nodes:
                if node.process is not None and node.process.poll() is None:
                    node.kill()
                node.remove()
            for server in self.servers:
                server.kill()
                server.remove()
            for proxy in self.proxies:
                proxy.close()
