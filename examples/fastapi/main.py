"""A backend for Fanfare's JavaScript client, with FastAPI: hands sessions to signed-in users, and posts messages to them.

    pip install -r requirements.txt && FANFARE_ENDPOINT=http://127.0.0.1:8080 uvicorn main:app --port 3000

In the page: createRelay({ url, session: async () => (await fetch("/session", { method: "POST" })).json() })
"""

import json
import os
import urllib.parse
import uuid
from typing import Annotated

import httpx
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from fastapi import Cookie, FastAPI, HTTPException
from pydantic import BaseModel

FANFARE = os.environ.get("FANFARE_ENDPOINT", "http://127.0.0.1:8080")
# The operator's keys stay here: pages only ever get a session's.
KEYS = Credentials(os.environ.get("OPERATOR_ACCESS_KEY", "FANFAREDEV"), os.environ.get("OPERATOR_SECRET_KEY", "fanfare-dev-secret"))
ACCOUNT = 1

app = FastAPI()
client = httpx.AsyncClient(base_url=FANFARE)


async def fanfare(path: str, body: dict | None = None) -> dict:
    """The answer to a signed request."""
    request = AWSRequest("POST", FANFARE + path, data=json.dumps(body) if body else "")
    SigV4Auth(KEYS, "execute-api", "us-east-1").add_auth(request)
    answer = await client.post(path, content=request.data, headers=dict(request.headers))
    told = answer.json()
    if answer.is_error:
        raise HTTPException(502, f"Fanfare answers {answer.status_code}: {told['message']}")
    return told


# Your own sign-in belongs here; this one believes a cookie.
User = Annotated[int | None, Cookie(alias="user", ge=0)]


class Kept(BaseModel):
    """What a page says of the session that it has."""

    session: str | None = None


class Reminder(BaseModel):
    """What the user is to be reminded of."""

    text: str = ""


@app.post("/session")
async def session(user: User = None, kept: Kept | None = None) -> dict | None:
    """A session for each tab: with the one that it has, a page gets fresh keys for that, and keeps its queue."""
    if user is None:
        # null: signed out. The client stops then.
        return None
    name = kept.session if kept and kept.session else ""
    if not name.startswith(f"web-{user}-"):
        name = f"web-{user}-{uuid.uuid4()}"
    options = urllib.parse.urlencode({"topics": f"chat/#,user/{user}/#", "envelope": "gcm"})
    return await fanfare(f"/create/{ACCOUNT}/{urllib.parse.quote(name, safe='')}/{user}?{options}")


@app.post("/remind")
async def remind(reminder: Reminder, user: User = None) -> dict:
    """Whatever happens in your application that this user should know."""
    if user is None:
        raise HTTPException(401, "sign in first")
    told = await fanfare(f"/notify/user/{user}", {"_type": "reminder", "text": reminder.text})
    return {"sessions": told["sessions"]}
