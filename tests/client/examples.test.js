// The backends of examples/, as they stand there, with the client as a page would have it.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { freshId, relayFor, startServer, until } from "./setting.js";

const REPOSITORY = resolve(fileURLToPath(import.meta.url), "../../..");
const PYTHON = process.env.FANFARE_TEST_PYTHON ?? join(REPOSITORY, "target/test-env/examples/bin/python");
const BACKENDS = {
  express: [process.execPath, ["server.mjs"]],
  fastapi: [PYTHON, ["-m", "uvicorn", "main:app", "--port", "0"]],
};

let server;
before(async () => (server = await startServer({ settings: { FANFARE_LOG_FILTER: "warn" } })));
after(async () => server.stop());

/** Starts a backend; answers where it listens. */
async function start(t, name) {
  const [program, args] = BACKENDS[name];
  const child = spawn(program, args, { cwd: join(REPOSITORY, "examples", name), env: { ...process.env, FANFARE_ENDPOINT: server.url, PORT: "0" } });
  const ended = once(child, "exit");
  t.after(async () => {
    child.kill();
    await ended;
  });
  let log = "";
  return new Promise((found, failed) => {
    child.once("error", failed);
    child.once("exit", (code) => failed(new Error(`${name} ended with ${code}: ${log}`)));
    for (const stream of [child.stdout, child.stderr]) {
      createInterface({ input: stream }).on("line", (line) => {
        log += `${line}\n`;
        const [url] = /http:\/\/127\.0\.0\.1:\d+/.exec(line) ?? [];
        if (url) found(url);
      });
    }
  });
}

for (const name of Object.keys(BACKENDS)) {
  test(`${name}: a session, its renewal, a message, and nobody who is not signed in`, async (t) => {
    const url = await start(t, name);
    const cookie = `user=${freshId() % 1e15}`;
    const post = async (path, body, headers = { cookie }) => {
      const init = { method: "POST", headers: { ...headers, "content-type": "application/json" }, body: JSON.stringify(body) };
      return fetch(url + path, init);
    };
    const describe = async (current) => (await post("/session", { session: current?.sessionId })).json();
    const { relay, got } = relayFor(t, { describe });
    await relay.connect();
    const reminded = await post("/remind", { text: "tea" });
    assert.deepEqual(await reminded.json(), { sessions: 1 });
    await until(() => got.length === 1);
    assert.deepEqual(got[0].data, { _type: "reminder", text: "tea" });

    const { session } = await describe(relay.session);
    assert.equal(session.sqsUrl, relay.session.sqsUrl);
    const other = await describe({ sessionId: "web-1-somebody-elses" });
    assert.notEqual(other.session.sqsUrl, session.sqsUrl);
    assert.equal(await (await post("/session", {}, {})).json(), null);
    assert.equal((await post("/remind", { text: "tea" }, {})).status, 401);
  });
}
