"""What AWS promises, in the form of checks that several test files share."""

import hashlib
import time

import pytest
from botocore.exceptions import ClientError


#: Keys that were replaced or whose session is gone: unknown, and an unknown key is not told from a bad signature.
ENDED_KEYS = ("InvalidClientTokenId", "SignatureDoesNotMatch", "ExpiredToken")


def md5(text):
    """The hex MD5 of a text's UTF-8, as SQS reports it."""
    return hashlib.md5(text.encode()).hexdigest()


def refused(code, call, *, status=None, message=None, **arguments):
    """Calls a boto3 operation that has to fail with `code` (one, or a tuple); returns the error's message."""
    codes = (code,) if isinstance(code, str) else code
    with pytest.raises(ClientError) as raised:
        call(**arguments)
    response = raised.value.response
    assert response["Error"]["Code"] in codes, response
    if status is not None:
        assert response["ResponseMetadata"]["HTTPStatusCode"] == status, response
    text = response["Error"].get("Message", "")
    if message is not None:
        assert text == message
    assert text, "an error without a text helps nobody"
    return text


def eventually(check, within=10, every=0.1):
    """Waits until `check()` is true and returns what it gave."""
    deadline = time.monotonic() + within
    while True:
        found = check()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {within} s; last seen: {found!r}"
        time.sleep(every)
