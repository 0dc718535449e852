"""The envelope's published vectors, and the decryption examples users are told to copy."""

import base64
import json
import pathlib
import shutil
import subprocess
import sys

import pytest
from cryptography.exceptions import InvalidTag

from envelope import open_v1, open_v2
from fanfare import fresh_id

KEY = "LkWUsGQKi8E9QoMJEeY1HLL8rdJNJr3fzDp+F9CpkCY="
EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples"
PROGRAMS = {"python": [sys.executable, EXAMPLES / "decrypt.py"], "node": ["node", EXAMPLES / "decrypt.mjs"]}


@pytest.mark.parametrize(
    ("envelope", "text"),
    [("9734675727|nw7xCnVR0m/YrGgG", "this is test"), ("5|hbTFISt3Qi0Irkci8w==", '{"a":"é✓"}')],
)
def test_the_published_vectors_open(envelope, text):
    assert open_v1(KEY, envelope) == text


def test_every_altered_byte_of_v2_is_noticed(fanfare):
    session = fanfare.create(user=fresh_id(), envelope="gcm")
    fanfare.get(f"/notify/user/{session['userId']}", msg="hello")
    (body,) = session.bodies(1)
    assert json.loads(open_v2(session["aesKey"], session["sessionId"], body))["msg"] == "hello"
    version, sequence, text = body.split("|")
    sealed = base64.b64decode(text)
    for place in range(len(sealed)):
        altered = bytearray(sealed)
        altered[place] ^= 1
        with pytest.raises(InvalidTag):
            forged = "|".join([version, sequence, base64.b64encode(bytes(altered)).decode()])
            open_v2(session["aesKey"], session["sessionId"], forged)
    with pytest.raises(InvalidTag):
        open_v2(session["aesKey"], session["sessionId"], f"{version}|{int(sequence) + 1}|{text}")


@pytest.mark.parametrize("language", PROGRAMS)
@pytest.mark.parametrize("kind", ["ctr", "gcm"])
def test_the_example_programs_open_real_messages(fanfare, language, kind):
    assert shutil.which(str(PROGRAMS[language][0])), f"{language} is missing"
    options = {"envelope": "gcm"} if kind == "gcm" else {}
    session = fanfare.create(user=fresh_id(), **options)
    fanfare.post(f"/notify/user/{session['userId']}", {"msg": "é ✓ 😀", "n": [1, 2]})
    (body,) = session.bodies(1)
    command = [*PROGRAMS[language], "--key", session["aesKey"], "--session-id", session["sessionId"], body]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert ended.returncode == 0, ended.stderr
    opened = json.loads(ended.stdout)
    assert opened["msg"] == "é ✓ 😀" and opened["n"] == [1, 2] and opened["userId"] == session["userId"]
