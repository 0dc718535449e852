// A backend for Fanfare's JavaScript client, with Express: hands sessions to signed-in users, and posts messages to them.
//
//     npm install && FANFARE_ENDPOINT=http://127.0.0.1:8080 node server.mjs        # PORT=3000
//
// In the page: createRelay({ url, session: async () => (await fetch("/session", { method: "POST" })).json() })

import { randomUUID } from "node:crypto";
import { AwsClient } from "aws4fetch";
import express from "express";

const { FANFARE_ENDPOINT = "http://127.0.0.1:8080", PORT = "3000" } = process.env;
const { OPERATOR_ACCESS_KEY = "FANFAREDEV", OPERATOR_SECRET_KEY = "fanfare-dev-secret" } = process.env;
const ACCOUNT = 1;

/** The operator's keys stay here: pages only ever get a session's. */
const operator = new AwsClient({ accessKeyId: OPERATOR_ACCESS_KEY, secretAccessKey: OPERATOR_SECRET_KEY, service: "execute-api", region: "us-east-1" });

async function fanfare(path, body) {
  const answer = await operator.fetch(FANFARE_ENDPOINT + path, { method: "POST", body: body && JSON.stringify(body) });
  const told = await answer.json();
  if (!answer.ok) throw new Error(`Fanfare answers ${answer.status}: ${told.message}`);
  return told;
}

/** Your own sign-in belongs here; this one believes a cookie. */
function user(request) {
  const [, id] = /(?:^|;\s*)user=(\d{1,15})(?:;|$)/.exec(request.headers.cookie ?? "") ?? [];
  return id === undefined ? undefined : Number(id);
}

const app = express().use(express.json());

// A session for each tab: with the one that it has, a page gets fresh keys for that, and keeps its queue.
app.post("/session", async (request, response) => {
  const id = user(request);
  // null: signed out. The client stops then.
  if (id === undefined) return response.json(null);
  const kept = request.body?.session;
  const session = typeof kept === "string" && kept.startsWith(`web-${id}-`) ? kept : `web-${id}-${randomUUID()}`;
  const topics = ["chat/#", `user/${id}/#`].map(encodeURIComponent).join(",");
  response.json(await fanfare(`/create/${ACCOUNT}/${encodeURIComponent(session)}/${id}?topics=${topics}&envelope=gcm`));
});

// Whatever happens in your application that this user should know.
app.post("/remind", async (request, response) => {
  const id = user(request);
  if (id === undefined) return response.status(401).json({ message: "sign in first" });
  const { sessions } = await fanfare(`/notify/user/${id}`, { _type: "reminder", text: String(request.body?.text ?? "") });
  response.json({ sessions });
});

app.listen(Number(PORT), "127.0.0.1", function () {
  console.log(`listening on http://127.0.0.1:${this.address().port}`);
});
