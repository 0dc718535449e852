"""What README.md shows is run as it stands there: the quickstart, the curl lines, the Python client."""

import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

from fanfare import Fanfare
from server import binary, clean_environment

ROOT = pathlib.Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()


def block(after, language):
    """The first code block in `language` after a line of the page."""
    start = README.index(after)
    return re.compile(rf"```{language}\n(.*?)```", re.DOTALL).search(README, start)[1]


@pytest.fixture
def fresh(start_server):
    """A server that has seen nothing yet, as a new user's."""
    return start_server()


@pytest.fixture
def shell(fresh, tmp_path):
    """Runs a block of shell lines in an empty folder, against the fresh server; returns what it printed."""

    def run(lines):
        lines = lines.replace("http://127.0.0.1:8080", fresh.url).replace("target/release/fanfare", binary())
        environment = clean_environment(FANFARE_ENDPOINT=fresh.url)
        ended = subprocess.run(
            ["sh", "-ec", lines], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    return run


def test_the_quickstart_ends_with_a_decrypted_message(shell):
    lines = block("in the same folder:", "sh")
    commands = len(lines.strip().splitlines()) + len(block("## Quickstart", "sh").strip().splitlines())
    assert commands < 5, "from nothing to a decrypted message in under five commands"
    message = json.loads(shell(lines).splitlines()[-1])
    promised = json.loads(block("in the same folder:", "json"))
    assert {**message, "messageId": "…"} == promised


def test_a_retained_message_is_there_for_a_new_subscriber(shell):
    assert '{"text":"hello"}' in shell(block("## Topics", "sh"))


def test_the_curl_lines_and_the_python_client(shell, fresh, tmp_path):
    answer = json.loads(shell(block("### Without Fanfare's command line", "sh")))
    assert answer["success"] and answer["sessions"] == 1
    (tmp_path / "client.py").write_text(block("<!-- run: client.py -->", "python"))
    client = subprocess.Popen(
        [sys.executable, "client.py"],
        cwd=tmp_path,
        env=clean_environment(PYTHONPATH=str(ROOT / "examples"), HOME=str(tmp_path)),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        # It prints each message as it comes, and goes on.
        assert "hello" in client.stdout.readline()
        Fanfare(fresh.url).post("/notify/user/7", {"text": "again"})
        assert "again" in client.stdout.readline()
    finally:
        client.kill()
        client.wait()
        client.stdout.close()


def test_links_lead_somewhere():
    for page in ("README.md", "ARCHITECTURE.md"):
        text = (ROOT / page).read_text()
        headings = {
            re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-")
            for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE)
        }
        for target in re.findall(r"\]\(([^)]+)\)", text):
            path, _, anchor = target.partition("#")
            if target.startswith("http"):
                continue
            assert not path or os.path.exists(ROOT / path), f"{page}: {target}"
            assert path or anchor in headings, f"{page}: {target}"
