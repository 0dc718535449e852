#!/usr/bin/env python3
"""Opens Fanfare's envelopes: the encrypted text that a session's queue or topic delivers.

Copy the functions above `main` into your client; they need `pip install cryptography`. Or run it:

    decrypt.py --key BASE64 [--session-id ID] ENVELOPE
    some-command | decrypt.py --key BASE64 -          # one envelope per line

The key is `aesKey` of the session description; FANFARE_AES_KEY stands in for --key.
"""

import argparse
import base64
import os
import re
import struct
import sys

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

MAX_COUNTER = 2**53 - 1


def open_v1(key: bytes, envelope: str) -> bytes:
    """Opens `counter|base64`, AES-256-CTR. There is no integrity: a wrong key gives other bytes, not an error."""
    match = re.fullmatch(r"(0|[1-9][0-9]{0,15})\|([A-Za-z0-9+/]*=*)", envelope)
    if not match or int(match[1]) > MAX_COUNTER:
        raise ValueError("not a v1 envelope (counter|base64)")
    first_block = int(match[1]).to_bytes(16, "big")
    decryptor = Cipher(algorithms.AES256(key), modes.CTR(first_block)).decryptor()
    return decryptor.update(from_base64(match[2])) + decryptor.finalize()


def open_v2(key: bytes, envelope: str, session_id: str) -> bytes:
    """Opens `v2|sequence|base64`, AES-256-GCM, of a session created with `envelope=gcm`.

    Raises ValueError unless exactly this session sealed exactly this envelope.
    """
    match = re.fullmatch(r"v2\|(0|[1-9][0-9]{0,15})\|([A-Za-z0-9+/]*=*)", envelope)
    if not match or int(match[1]) > MAX_COUNTER:
        raise ValueError("not a v2 envelope (v2|sequence|base64)")
    session = session_id.encode()
    derived = HKDF(hashes.SHA256(), 32, salt=session, info=b"fanfare-envelope/2").derive(key)
    nonce = struct.pack(">IQ", 0, int(match[1]))
    context = b"".join(struct.pack(">I", len(part)) + part for part in (b"v2", session, match[1].encode()))
    try:
        return AESGCM(derived).decrypt(nonce, from_base64(match[2]), context)
    except InvalidTag:
        raise ValueError("not sealed by this session, or altered since") from None


def open_envelope(key: bytes, envelope: str, session_id: str | None = None) -> bytes:
    """Opens an envelope of either format. A client that asked for v2 should call open_v2 instead, and so refuse v1."""
    if not envelope.startswith("v2|"):
        return open_v1(key, envelope)
    if session_id is None:
        raise ValueError("a v2 envelope needs the session id")
    return open_v2(key, envelope, session_id)


def from_base64(text: str) -> bytes:
    """Decodes strictly: b64decode alone ignores stray bits in the last character, so that an altered text passes."""
    data = base64.b64decode(text, validate=True)
    if base64.b64encode(data).decode() != text:
        raise ValueError("not canonical base64")
    return data


def main() -> int:
    parser = argparse.ArgumentParser(description="Decrypt the messages of a Fanfare session.")
    parser.add_argument("--key", default=os.environ.get("FANFARE_AES_KEY"), help="aesKey of the session, base64")
    parser.add_argument("--session-id", help="needed for v2 envelopes")
    parser.add_argument("envelope", help="the envelope, or - for one per line of standard input")
    options = parser.parse_args()
    if not options.key:
        parser.error("give the session's aesKey with --key or FANFARE_AES_KEY")
    try:
        key = from_base64(options.key)
    except ValueError:
        key = b""
    if len(key) != 32:
        parser.error("the key must be the base64 of 32 bytes")

    failed = False
    for line in sys.stdin if options.envelope == "-" else [options.envelope]:
        try:
            print(open_envelope(key, line.strip(), options.session_id).decode(), flush=True)
        except ValueError as error:
            print(f"decrypt.py: {error}", file=sys.stderr)
            failed = True
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
