"""Ways that tests put between clients and nodes, or nodes and brokers: one that can be cut, and a round-robin."""

import contextlib
import http.client
import itertools
import socket
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from brokers import free_port


def pump(source, sink):
    """Hands on what comes until either side ends, and then ends both."""
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    for end in (source, sink):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def accept(listener, connect):
    """Joins each connection with one that `connect` makes for it, until the listener ends."""
    with contextlib.suppress(OSError):
        while True:
            near, _ = listener.accept()
            try:
                far = connect(near)
            except OSError:
                near.close()
                continue
            for pair in ((near, far), (far, near)):
                threading.Thread(target=pump, args=pair, daemon=True).start()


class Cut:
    """A way to a port on this machine that can be cut: connections end, and new ones are refused."""

    def __init__(self, port):
        self.port = port
        self.sockets = []
        self.listener = None
        self.refused = None
        self.own = free_port()
        self.url = f"mqtt://127.0.0.1:{self.own}"
        self.mend()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.cut()

    def mend(self, refused=None):
        """From now on connections are let through, but for those that begin with a packet in which this is."""
        self.refused = refused
        self.listener = socket.create_server(("127.0.0.1", self.own))
        threading.Thread(target=accept, args=[self.listener, self._connect], daemon=True).start()

    def cut(self):
        """Ends them all."""
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        while self.sockets:
            with contextlib.suppress(OSError):
                self.sockets.pop().shutdown(socket.SHUT_RDWR)

    def _connect(self, near):
        if self.refused and self.refused in near.recv(1024, socket.MSG_PEEK):
            raise ConnectionRefusedError
        far = socket.create_connection(("127.0.0.1", self.port))
        self.sockets += [near, far]
        return far


class RoundRobin:
    """The next node gets the next request of HTTP, and the next connection of a WebSocket or of MQTT over TCP."""

    def __init__(self):
        self._turn = itertools.count()
        self._nodes = []
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._http.daemon_threads = True
        self._mqtt = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        self.mqtt = self._mqtt.getsockname()
        threading.Thread(target=self._http.serve_forever, daemon=True).start()
        connect = lambda _: socket.create_connection(self._next().mqtt)  # noqa: E731
        threading.Thread(target=accept, args=[self._mqtt, connect], daemon=True).start()

    def lead_to(self, nodes):
        """From now on these take turns."""
        self._nodes = list(nodes)

    def close(self):
        """Ends it."""
        self._http.shutdown()
        self._http.server_close()
        self._mqtt.shutdown(socket.SHUT_RDWR)
        self._mqtt.close()

    def _next(self):
        return self._nodes[next(self._turn) % len(self._nodes)]

    def _connect(self):
        target = urllib.parse.urlsplit(self._next().url)
        return socket.create_connection((target.hostname, target.port), 60)

    def _handler(robin):
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, *_):
                pass

            def hand_on(self):
                """The request as it came, for it is signed; and the answer as it came, but for its framing."""
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                lines = [self.requestline, *(f"{name}: {value}" for name, value in self.headers.items())]
                with robin._connect() as node:
                    node.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
                    if "Upgrade" in self.headers:
                        self.close_connection = True
                        node.settimeout(None)
                        threading.Thread(target=pump, args=(self.connection, node), daemon=True).start()
                        return pump(node, self.connection)
                    answer = http.client.HTTPResponse(node, method=self.command)
                    answer.begin()
                    content = answer.read()
                framing = ("transfer-encoding", "connection", "content-length")
                head = [f"HTTP/1.1 {answer.status} {answer.reason}"]
                head += [f"{name}: {value}" for name, value in answer.headers.items() if name.lower() not in framing]
                head.append(f"Content-Length: {len(content)}")
                self.wfile.write("\r\n".join([*head, "", ""]).encode("latin-1") + content)

            do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = hand_on

        return Handler
