"""MQTT as its users see it: paho with the keys, names and URLs that Fanfare's contract gives (WIRE 4.2)."""

import datetime
import hashlib
import hmac
import queue
import threading
import time
import urllib.parse

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from fanfare import fresh_name
from server import REGION

#: Both versions of the protocol.
VERSIONS = {"3.1.1": paho.MQTTv311, "5": paho.MQTTv5}

EMPTY = hashlib.sha256(b"").hexdigest()


def presigned_path(
    credentials, host, service="iotdevicegateway", signed_token=False, headers=None, age=0, region=REGION
):
    """`/mqtt?…` signed as the AWS IoT SDKs do, independently of botocore. `headers` are signed beside `host`."""
    now = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=age)
    stamp, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
    scope = f"{day}/{region}/{service}/aws4_request"
    signed = {"host": host, **(headers or {})}
    names = ";".join(sorted(signed))
    query = {
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": f"{credentials.access_key}/{scope}",
        "X-Amz-Date": stamp,
        "X-Amz-SignedHeaders": names,
    }
    if signed_token and credentials.token:
        query["X-Amz-Security-Token"] = credentials.token
    text = "&".join(f"{name}={urllib.parse.quote(value, safe='')}" for name, value in sorted(query.items()))
    lines = "".join(f"{name}:{signed[name]}\n" for name in sorted(signed))
    canonical = f"GET\n/mqtt\n{text}\n{lines}\n{names}\n{EMPTY}"
    to_sign = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = ("AWS4" + credentials.secret_key).encode()
    for part in (day, region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    path = f"/mqtt?{text}&X-Amz-Signature={hmac.new(key, to_sign.encode(), 'sha256').hexdigest()}"
    if credentials.token and not signed_token:
        path += "&X-Amz-Security-Token=" + urllib.parse.quote(credentials.token, safe="")
    return path


def host_of(url):
    """`host:port` of a URL."""
    return urllib.parse.urlsplit(url).netloc


class Refused(Exception):
    """CONNACK with another reason than success."""

    def __init__(self, reason):
        super().__init__(str(reason))
        self.reason = reason


class Closed(Exception):
    """The connection ended before what was waited for."""


class Peer:
    """One MQTT client. Over TCP at `address`; over WebSocket at `url`, with `path` or signed with `credentials`."""

    def __init__(
        self,
        url=None,
        credentials=None,
        address=None,
        path=None,
        version="5",
        client_id=None,
        clean=True,
        expiry=0,
        will=None,
        login=None,
        manual_ack=False,
        keepalive=60,
        receive_maximum=None,
        ca=None,
    ):
        self.client_id = fresh_name("c") if client_id is None else client_id
        self.is_v5 = version == "5"
        clean_session = {} if self.is_v5 else {"clean_session": clean}
        self.client = paho.Client(
            paho.CallbackAPIVersion.VERSION2,
            client_id=self.client_id,
            protocol=VERSIONS[version],
            transport="tcp" if address else "websockets",
            manual_ack=manual_ack,
            reconnect_on_failure=False,
            **clean_session,
        )
        self.connack = None
        self.gone = None
        self.inbox = queue.Queue()
        self._answers = {}
        self._changed = threading.Condition()
        self.client.on_connect = self._on_connect
        self.client.on_disconnect = self._on_disconnect
        self.client.on_message = lambda _client, _data, message: self.inbox.put(message)
        self.client.on_subscribe = lambda _c, _d, mid, codes, _p: self._answered(mid, codes)
        self.client.on_unsubscribe = lambda _c, _d, mid, codes, _p: self._answered(mid, codes)
        self.client.on_publish = lambda _c, _d, mid, code, _p: self._answered(mid, code)
        if ca:
            self.client.tls_set(ca_certs=ca)
        if login:
            self.client.username_pw_set(*login)
        if will:
            topic, payload, options = will
            delay = options.pop("delay", None)
            if delay is not None:
                options["properties"] = Properties(PacketTypes.WILLMESSAGE)
                options["properties"].WillDelayInterval = delay
            self.client.will_set(topic, payload, **options)
        arguments = {"keepalive": keepalive}
        if self.is_v5:
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = expiry
            if receive_maximum:
                properties.ReceiveMaximum = receive_maximum
            arguments |= {"clean_start": clean, "properties": properties}
        if address is None:
            if credentials is not None:
                path = presigned_path(credentials, host_of(url))
            self.client.ws_set_options(path=path or "/mqtt")
            parts = urllib.parse.urlsplit(url)
            address = (parts.hostname, parts.port)
        self.client.connect(*address, **arguments)
        self.client.loop_start()
        self._wait(lambda: self.connack is not None or self.gone is not None)
        if self.connack is None:
            self.close()
            raise Closed(self.gone)
        self.present, reason, self.properties = self.connack
        if reason.is_failure:
            self.close()
            raise Refused(reason)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _on_connect(self, _client, _data, flags, reason, properties):
        self.connack = (flags.session_present, reason, properties)
        self._notify()

    def _on_disconnect(self, _client, _data, _flags, reason, properties):
        self.gone = reason
        self._notify()

    def _answered(self, mid, codes):
        self._answers[mid] = codes
        self._notify()

    def _notify(self):
        with self._changed:
            self._changed.notify_all()

    def _wait(self, done, within=10):
        with self._changed:
            assert self._changed.wait_for(done, within), f"nothing within {within} s"

    def _answer(self, mid):
        self._wait(lambda: mid in self._answers or self.gone is not None)
        if mid not in self._answers:
            raise Closed(self.gone)
        return self._answers.pop(mid)

    def subscribe(self, *filters, qos=0, **options):
        """Subscribes and returns what was granted, as numbers."""
        if self.is_v5:
            wanted = [(f, SubscribeOptions(qos=qos, **options)) for f in filters]
        else:
            wanted = [(f, qos) for f in filters]
        _, mid = self.client.subscribe(wanted)
        codes = [code.value for code in self._answer(mid)]
        return codes[0] if len(codes) == 1 else codes

    def unsubscribe(self, *filters):
        """Unsubscribes and waits for the answer."""
        _, mid = self.client.unsubscribe(list(filters))
        return self._answer(mid)

    def publish(self, topic, payload, qos=0, retain=False, **properties):
        """Publishes; with QoS 1 and 2 waits for the acknowledgement and returns its reason as a number."""
        more = None
        if properties:
            more = Properties(PacketTypes.PUBLISH)
            for name, value in properties.items():
                setattr(more, name, value)
        info = self.client.publish(topic, payload, qos, retain, more)
        if qos == 0:
            return 0
        return self._answer(info.mid).value

    def take(self, count, within=10, quiet=0.3):
        """Exactly the next `count` messages, and none more for a moment."""
        taken = []
        deadline = time.monotonic() + within
        while len(taken) < count and (left := deadline - time.monotonic()) > 0:
            try:
                taken.append(self.inbox.get(timeout=left))
            except queue.Empty:
                break
        try:
            taken.append(self.inbox.get(timeout=quiet))
        except queue.Empty:
            pass
        assert len(taken) == count, f"{len(taken)} messages instead of {count}, gone: {self.gone}: {taken}"
        return taken

    def texts(self, count, **arguments):
        """The payloads of the next `count` messages."""
        return [message.payload.decode() for message in self.take(count, **arguments)]

    def ack(self, message):
        """Acknowledges a message (with `manual_ack`)."""
        self.client.ack(message.mid, message.qos)

    def ended(self, within=10):
        """Waits until the server has ended the connection; returns the reason."""
        self._wait(lambda: self.gone is not None, within)
        return self.gone

    def addresses(self):
        """Both ends of the connection, as this side sees them: its own, the server's."""
        stream = self.client.socket()
        # paho wraps the socket of a WebSocket.
        stream = getattr(stream, "_socket", stream)
        return stream.getsockname(), stream.getpeername()

    def drop(self):
        """Loses the connection without a goodbye."""
        self.client.loop_stop()
        self.client._sock_close()

    def close(self):
        """Says goodbye."""
        if self.gone is None:
            self.client.disconnect()
        self.client.loop_stop()
