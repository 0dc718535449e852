"""A proxy before a service that spoils calls as it is told."""

import http.client
import json
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

#: How a service says "not now", by the protocol's prefix.
THROTTLED = {
    "DynamoDB_20120810": ("com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException", 400),
    "AmazonSQS": ("com.amazonaws.sqs#RequestThrottled", 403),
    "Kinesis_20131202": ("ProvisionedThroughputExceededException", 400),
    "AWSCognitoIdentityService": ("TooManyRequestsException", 400),
}


class Proxy:
    """`rule(operation, body)` says what to do with a call: one of the names below, or `None` to leave it alone.

    `throttle`, `fail` (500), `cut` (the connection ends and the service has not heard of it), `lose` (the service has
    done it, and its answer is lost), `part` (a batch is done in part), `hang` (no answer for 20 s), `conflict` (a
    condition does not hold), `deny` (refused for good), `expire` (an iterator is too old), `age` (the service says that
    what it tells of was made long ago). `others` are places that have operations which the service has not: each gets its own.
    """

    def __init__(self, target, others=None):
        self.rule = lambda operation, body: None
        #: What time answers say it is, if not the right one.
        self.date = None
        self.calls = {}
        self.spoiled = {}
        #: Operations that came without a signature.
        self.unsigned = set()
        self._lock = threading.Lock()
        places = {None: target, **(others or {})}
        self._places = {operation: urllib.parse.urlsplit(place).netloc for operation, place in places.items()}
        self._hanging = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self):
        """Ends it, and whatever hangs."""
        self._hanging.set()
        self._server.shutdown()
        self._server.server_close()

    def _note(self, where, operation):
        with self._lock:
            where[operation] = where.get(operation, 0) + 1

    def _forward(self, headers, body):
        operation = headers.get("X-Amz-Target", "").rpartition(".")[2]
        place = self._places.get(operation, self._places[None])
        connection = http.client.HTTPConnection(place, timeout=30)
        # With the host that it was signed for.
        kept = {name: value for name, value in headers.items() if name.lower() != "content-length"}
        connection.request("POST", "/", body, kept)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, dict(answer.headers), content

    def _in_part(self, operation, headers, body):
        """Has half of a batch done, and answers as the service does when it does not do the rest."""
        call = json.loads(body)
        if operation == "BatchWriteItem":
            (table, rows), = call["RequestItems"].items()
            done, left = rows[1::2], rows[0::2]
            if done:
                call["RequestItems"] = {table: done}
                self._forward(headers, json.dumps(call).encode())
            return {"UnprocessedItems": {table: left}}
        entries = call["Entries"]
        done, left = entries[1::2], entries[0::2]
        answer = {"Successful": [], "Failed": []}
        if done:
            call["Entries"] = done
            status, _, content = self._forward(headers, json.dumps(call).encode())
            assert status == 200, content
            answer = {"Failed": [], **json.loads(content)}
        answer["Failed"] += [{"Id": e["Id"], "SenderFault": False, "Code": "InternalError"} for e in left]
        return answer

    def _handler(proxy):
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def date_time_string(self, timestamp=None):
                return proxy.date or super().date_time_string(timestamp)

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                # A call of the Query protocol says in its form what it is.
                target = self.headers.get("X-Amz-Target", "Query.form")
                prefix, operation = target.split(".")
                proxy._note(proxy.calls, operation)
                if "Authorization" not in self.headers:
                    proxy.unsigned.add(operation)
                spoil = proxy.rule(operation, body)
                if spoil:
                    proxy._note(proxy.spoiled, operation)
                if spoil == "throttle":
                    code, status = THROTTLED[prefix]
                    return self._answer(status, {"__type": code, "message": "slow down"})
                if spoil == "fail":
                    return self._answer(500, {"__type": "InternalServerError", "message": "oh"})
                if spoil == "conflict":
                    code = "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException"
                    return self._answer(400, {"__type": code, "message": "The conditional request failed"})
                if spoil == "deny":
                    return self._answer(400, {"__type": "AccessDeniedException", "message": "no"})
                if spoil == "expire":
                    return self._answer(400, {"__type": "ExpiredIteratorException", "message": "too late"})
                if spoil == "part":
                    return self._answer(200, proxy._in_part(operation, self.headers, body))
                if spoil == "hang":
                    proxy._hanging.wait(20)
                    return self._cut()
                if spoil == "cut":
                    return self._cut()
                status, headers, content = proxy._forward(self.headers, body)
                if spoil == "lose":
                    return self._cut()
                if spoil == "age":
                    told = json.loads(content)
                    for identity in told.get("Identities", []):
                        identity["CreationDate"] = 1000000000
                    if "Attributes" in told:
                        told["Attributes"]["CreatedTimestamp"] = "1000000000"
                    return self._answer(200, told)
                self.send_response(status)
                for name in ("Content-Type", "x-amz-crc32", "x-amzn-RequestId"):
                    if name in headers:
                        self.send_header(name, headers[name])
                self._end(content)

            def _answer(self, status, body):
                self.send_response(status)
                self.send_header("Content-Type", "application/x-amz-json-1.0")
                self._end(json.dumps(body).encode())

            def _end(self, content):
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def _cut(self):
                self.close_connection = True

        return Handler


def after(seconds):
    """Whether so many seconds have passed since this was made."""
    until = time.monotonic() + seconds
    return lambda: time.monotonic() >= until
