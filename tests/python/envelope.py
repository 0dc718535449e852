"""Opens what a session's queue carries, independently of Fanfare's own code (SEMANTICS 5)."""

import base64
import json

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

BLOCK_BYTES = 16

#: v1 counters start where no legacy client draws, and stay exact in a JavaScript number.
FIRST_COUNTER, LAST_COUNTER = 10**10, 2**53 - 1


def open_v1(aes_key, envelope):
    """The plaintext text of `{counter}|{base64}`."""
    counter, ciphertext = envelope.split("|")
    initial_block = int(counter).to_bytes(BLOCK_BYTES, "big")
    decryptor = Cipher(algorithms.AES(base64.b64decode(aes_key)), modes.CTR(initial_block)).decryptor()
    return decryptor.update(base64.b64decode(ciphertext, validate=True)).decode("utf-8")


def blocks_v1(envelope):
    """The range of counter blocks that a v1 envelope used up."""
    counter, ciphertext = envelope.split("|")
    size = len(base64.b64decode(ciphertext, validate=True))
    return range(int(counter), int(counter) + -(-size // BLOCK_BYTES))


def open_v2(aes_key, session_id, envelope):
    """The plaintext text of `v2|{seq}|{base64}`; raises `InvalidTag` when anything was altered."""
    version, sequence, ciphertext = envelope.split("|")
    assert version == "v2", envelope
    session = session_id.encode()
    key = HKDF(hashes.SHA256(), 32, salt=session, info=b"fanfare-envelope/2").derive(base64.b64decode(aes_key))
    iv = bytes(4) + int(sequence).to_bytes(8, "big")
    fields = [b"v2", session, sequence.encode()]
    bound = b"".join(len(field).to_bytes(4, "big") + field for field in fields)
    return AESGCM(key).decrypt(iv, base64.b64decode(ciphertext, validate=True), bound).decode("utf-8")


def open_message(session, body):
    """The JSON object in the body of a message of `session` (its description)."""
    if body.startswith("v2|"):
        text = open_v2(session["aesKey"], session["sessionId"], body)
    else:
        text = open_v1(session["aesKey"], body)
    assert text.isascii(), "old clients mangle anything but ASCII"
    return json.loads(text)
