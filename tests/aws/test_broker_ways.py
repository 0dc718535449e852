"""Every way to a broker: TLS, WebSockets, passwords, signatures; and what stops the start."""

import datetime
import ipaddress
import subprocess

import pytest
from botocore.credentials import Credentials
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from broker_nodes import NOT_NOW, node_on, peer, works
from brokers import Mosquitto, free_port
from conftest import SETTINGS
from server import Server, binary, clean_environment
from topics import Peer


def certificate(folder):
    """An authority, and a certificate of it for 127.0.0.1: the files of the authority, of that and of its key."""
    now = datetime.datetime.now(datetime.UTC)
    authority, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))

    def made(common_name, public_key, *extensions):
        name = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)]) for text in (common_name, "authority")]
        builder = x509.CertificateBuilder(name[1], name[0], public_key, x509.random_serial_number())
        builder = builder.not_valid_before(now - datetime.timedelta(hours=1))
        builder = builder.not_valid_after(now + datetime.timedelta(hours=1))
        for extension in extensions:
            builder = builder.add_extension(extension, critical=False)
        return builder.sign(authority, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    root = made("authority", authority.public_key(), x509.BasicConstraints(ca=True, path_length=None))
    leaf = made("127.0.0.1", key.public_key(), names)
    private = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    files = [folder / name for name in ("authority.pem", "cert.pem", "key.pem")]
    for file, content in zip(files, (root, leaf, key.private_bytes(*private)), strict=True):
        file.write_bytes(content)
    return files


@pytest.mark.parametrize("scheme", ["mqtts", "ws", "wss"])
def test_every_way_to_a_broker(cluster, start, tmp_path, scheme):
    authority, cert, key = certificate(tmp_path)
    tls = [f"certfile {cert}", f"keyfile {key}"] if scheme in ("mqtts", "wss") else []
    web = ["protocol websockets"] if scheme in ("ws", "wss") else []
    # With a WebSocket alone it takes itself for one without listeners.
    other = [f"listener {free_port()} 127.0.0.1"]
    broker = start(Mosquitto(listeners=lambda port: [*other, f"listener {port} 127.0.0.1", *web, *tls]))
    path = "/mqtt" if web else ""
    url = f"{scheme}://127.0.0.1:{broker.port}{path}"
    trust = {"FANFARE_AWS_BROKER_CA_FILE": str(authority)} if tls else {}
    works(node_on(cluster, url, **trust))
    if tls:
        folder = tmp_path / "stranger"
        folder.mkdir()
        stranger, _, _ = certificate(folder)
        node = node_on(cluster, url, FANFARE_AWS_BROKER_CA_FILE=str(stranger), FANFARE_AWS_PATIENCE="2")
        with peer(node) as client:
            assert client.publish("t", "x", qos=1) == NOT_NOW


def test_a_broker_that_wants_a_password(cluster, start, tmp_path):
    passwords = tmp_path / "passwords"
    subprocess.run(["mosquitto_passwd", "-b", "-c", str(passwords), "node", "right"], check=True)
    passwords.chmod(0o644)
    broker = start(Mosquitto(["allow_anonymous false", f"password_file {passwords}"]))
    secret = tmp_path / "secret"
    secret.write_text("right\n")
    works(
        node_on(
            cluster,
            broker,
            FANFARE_AWS_BROKER_USERNAME="node",
            FANFARE_AWS_BROKER_PASSWORD_FILE=str(secret),
        )
    )
    wrong = node_on(
        cluster,
        broker,
        FANFARE_AWS_BROKER_USERNAME="node",
        FANFARE_AWS_BROKER_PASSWORD="wrong",
        FANFARE_AWS_PATIENCE="2",
    )
    with peer(wrong) as client:
        assert client.publish("t", "x", qos=1) == NOT_NOW
    assert "wrong" not in wrong.server.log.replace("wrong password", "")


def test_a_signed_websocket_as_of_aws_iot_core(cluster):
    """Fanfare itself, on its embedded backend, stands in for AWS IoT Core: it verifies the signature in the same way."""
    # DynamoDB Local has tables of its own for each access key: these are the ones that the tables were made with.
    keys = Credentials(SETTINGS["AWS_ACCESS_KEY_ID"], SETTINGS["AWS_SECRET_ACCESS_KEY"])
    core = Server(
        FANFARE_MQTT_PROFILE="aws",
        FANFARE_OPERATOR_ACCESS_KEY=keys.access_key,
        FANFARE_OPERATOR_SECRET_KEY=keys.secret_key,
    )
    try:
        core.start()
        settings = {
            "FANFARE_AWS_BROKER_PRESIGN": "true",
            "FANFARE_MQTT_PROFILE": "aws",
            "FANFARE_MQTT_LIFECYCLE_EVENTS": "false",
            "FANFARE_AWS_PATIENCE": "3",
        }
        url = core.url.replace("http://", "ws://") + "/mqtt"
        node = node_on(cluster, url, **settings)
        works(node)
        with Peer(url=core.url, credentials=keys) as outside, peer(node) as client:
            outside.subscribe("from/node", qos=1)
            client.subscribe("from/outside", qos=1)
            client.publish("from/node", "a", qos=1)
            outside.publish("from/outside", "b", qos=1)
            assert (outside.texts(1), client.texts(1)) == (["a"], ["b"])
        settings["AWS_SECRET_ACCESS_KEY"] = "not the secret"
        with peer(node_on(cluster, url, **settings)) as client:
            assert client.publish("t", "x", qos=1) == NOT_NOW
    finally:
        core.kill()
        core.remove()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "aws.broker_url"),
        ({"FANFARE_AWS_BROKER_URL": "http://h"}, "mqtt://"),
        ({"FANFARE_AWS_BROKER_URL": "mqtt://h", "FANFARE_AWS_BROKER_PRESIGN": "true"}, "WebSocket"),
    ],
)
def test_what_can_not_be_had_stops_the_start(settings, words):
    ran = subprocess.run(
        [binary(), "serve"],
        env=clean_environment(**{**SETTINGS, "FANFARE_MQTT_ENABLED": "true", **settings}),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode != 0 and words in ran.stderr + ran.stdout
