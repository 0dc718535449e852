"""Fanfare as its users see it: the operator's backend, and a client that reads its own queue."""

import functools
import itertools
import json
import os
import time
import urllib.parse

import boto3
import requests
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials

from envelope import open_message
from server import OPERATOR_ACCESS_KEY, OPERATOR_SECRET_KEY, REGION

#: boto3 from this version on speaks JSON to SQS; before it, Query.
FIRST_JSON_BOTO3 = (1, 28, 81)
QUERY_PROTOCOL = tuple(int(part) for part in boto3.__version__.split(".")[:3]) < FIRST_JSON_BOTO3

OPERATOR = Credentials(OPERATOR_ACCESS_KEY, OPERATOR_SECRET_KEY)
NOBODY = Credentials("FANFARENOBODY", "not-a-secret-of-anyone")

#: Fresh ids for this run, so that tests that share a server never share a session, user or queue.
_NUMBERS = itertools.count(int(time.time()) * 1000 % 10**9 + os.getpid() % 1000)


def fresh_id():
    """An integer that no other test uses: an account, a user, or a part of a name."""
    return next(_NUMBERS)


def fresh_name(prefix="t"):
    """A queue or session name that no other test uses."""
    return f"{prefix}-{fresh_id()}"


def credentials_of(session):
    """The keys in a session description or in a Cognito answer."""
    return Credentials(
        session.get("accessKey") or session["AccessKeyId"],
        session.get("secretKey") or session["SecretKey"],
        session.get("sessionToken") or session["SessionToken"],
    )


class Fanfare:
    """A server, addressed the way the README tells users to."""

    def __init__(self, url, operator=OPERATOR):
        self.url = url
        self.operator = operator
        self._http = requests.Session()
        self._http.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=64))

    def client(self, service, credentials=None, url=None, **config):
        """A stock boto3 client; only the endpoint is ours. It never retries: one call, one answer."""
        credentials = credentials or self.operator
        return _boto3_client(
            url or self.url,
            service,
            credentials.access_key,
            credentials.secret_key,
            credentials.token,
            tuple(sorted(config.items())),
        )

    def signed(self, method, path, body=None, credentials=None, service="execute-api", headers=None, query=None):
        """One request with SigV4 in its headers; `query` is a dict or a list of pairs."""
        url = self.url + path
        if query:
            url += "?" + urllib.parse.urlencode(query, quote_via=urllib.parse.quote)
        content_type = {"Content-Type": "application/json"} if body is not None else {}
        request = AWSRequest(method, url, {**content_type, **(headers or {})}, data=body)
        SigV4Auth(credentials or self.operator, service, REGION).add_auth(request)
        return self.raw(method, url, data=body, headers=dict(request.headers.items()))

    def presigned(self, method, path, credentials=None, service="sqs", expires=60, query=None):
        """A URL that carries its SigV4 in the query."""
        url = self.url + path + "?" + urllib.parse.urlencode(query or {}, quote_via=urllib.parse.quote)
        request = AWSRequest(method, url)
        SigV4QueryAuth(credentials or self.operator, service, REGION, expires).add_auth(request)
        return request.url

    def raw(self, method, url, **arguments):
        """One request exactly as given; `url` may be a path."""
        if url.startswith("/"):
            url = self.url + url
        return self._http.request(method, url, timeout=60, allow_redirects=False, **arguments)

    def get(self, path, **query):
        """The JSON of a signed `GET` that has to succeed."""
        return _success(self.signed("GET", path, query=query))

    def post(self, path, body=None, **query):
        """The JSON of a signed `POST` of a JSON value that has to succeed."""
        return _success(self.signed("POST", path, body=json.dumps(body).encode(), query=query))

    def create(self, account=None, session=None, user=None, **options):
        """Creates (or refreshes) a session; ids that are not given are fresh ones."""
        account = fresh_id() if account is None else account
        session = fresh_name("s") if session is None else session
        path = f"/create/{account}/{urllib.parse.quote(session, safe='')}"
        if user is not None:
            path += f"/{user}"
        return SessionClient(self, self.get(path, **options)["session"])

    def status(self, description):
        """What the server says about a session (by its description), or `None`."""
        return self.get("/status" + session_path(description))["session"]

    def history(self, user, **query):
        """The user's messages, newest first."""
        return self.get(f"/messages/user/{user}", **query)["messages"]

    def unread(self, user):
        """The user's unread count."""
        return self.get(f"/messages/unread/user/{user}")["unread"]


def session_path(description):
    """`/{account}/{session}` or `/{account}/{session}/{user}`."""
    session = urllib.parse.quote(description["sessionId"], safe="")
    path = f"/{description['accountId']}/{session}"
    return path + f"/{description['userId']}" if "userId" in description else path


class SessionClient:
    """The browser's side of one session: its description, and its queue through boto3."""

    def __init__(self, fanfare, description):
        self.fanfare = fanfare
        self.description = description

    def __getitem__(self, key):
        return self.description[key]

    @property
    def credentials(self):
        """The session's current keys."""
        return credentials_of(self.description)

    @property
    def path(self):
        """The session's part of the session manager's routes."""
        return session_path(self.description)

    @property
    def sqs(self):
        """An SQS client with the session's keys, of the service that has its queue."""
        return self.fanfare.client("sqs", self.credentials, self["sqsUrl"].rsplit("/", 2)[0])

    def receive(self, wait=0, **arguments):
        """One ReceiveMessage of at most ten messages, as they are on the wire."""
        arguments = {"MaxNumberOfMessages": 10, "WaitTimeSeconds": wait, **arguments}
        return self.sqs.receive_message(QueueUrl=self["sqsUrl"], **arguments).get("Messages", [])

    def delete(self, messages):
        """Deletes received messages."""
        entries = [{"Id": str(n), "ReceiptHandle": m["ReceiptHandle"]} for n, m in enumerate(messages)]
        failed = self.sqs.delete_message_batch(QueueUrl=self["sqsUrl"], Entries=entries).get("Failed", [])
        assert not failed, failed

    def bodies(self, count, within=10):
        """Takes exactly `count` messages off the queue: sealed, in order of arrival, and not one more."""
        taken = []
        deadline = time.monotonic() + within
        while len(taken) < count and (left := deadline - time.monotonic()) > 0:
            messages = self.receive(wait=max(1, min(5, int(left))))
            if messages:
                self.delete(messages)
            taken += [m["Body"] for m in messages]
        taken += [m["Body"] for m in self.receive()]
        assert len(taken) == count, f"{len(taken)} messages instead of {count}"
        return taken

    def take(self, count, within=10):
        """`bodies`, opened: the messages as the sender meant them."""
        return [open_message(self.description, body) for body in self.bodies(count, within)]

    def texts(self, count, within=10):
        """The `msg` fields of the next `count` messages."""
        return [message["msg"] for message in self.take(count, within)]


def _success(response):
    assert response.status_code == 200, f"{response.status_code} {response.text}"
    answer = response.json()
    assert answer["success"] is True, answer
    return answer


@functools.lru_cache(maxsize=256)
def _boto3_client(url, service, access_key, secret_key, token, config):
    settings = {"retries": {"total_max_attempts": 1}, "read_timeout": 60, "max_pool_connections": 80, **dict(config)}
    return boto3.session.Session().client(
        service,
        endpoint_url=url,
        region_name=REGION,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        aws_session_token=token,
        config=Config(**settings),
    )
