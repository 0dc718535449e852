// Keys that end, are refused, or can not be had, and clocks that are wrong.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { freshSession, operator, relayFor, startServer, until } from "./setting.js";

let server;
before(async () => (server = await startServer({ settings: { FANFARE_SESSIONS_KEY_LIFETIME: "4", FANFARE_LOG_FILTER: "warn" } })));
after(async () => server.stop());

for (const transport of ["mqtt", "sqs"]) {
  test(`keys are renewed before they end, and the connection stays: ${transport}`, async (t) => {
    const session = await freshSession(server);
    const { relay, got, states } = relayFor(t, session, { transport });
    relay.on("error", (error) => assert.fail(error));
    await relay.connect();
    const first = relay.session.accessKey;
    for (let n = 0; n < 9; n++) {
      await session.notify({ n });
      await new Promise((done) => setTimeout(done, 1000));
    }
    await until(() => got.length === 9);
    assert.deepEqual(got.map(({ data }) => data.n), [...Array(9).keys()]);
    assert.ok(session.calls.count >= 3, `asked ${session.calls.count} times`);
    assert.notEqual(relay.session.accessKey, first);
    assert.deepEqual(states.map(({ name }) => name), ["connecting", "open"], "never without a connection");
    assert.equal((await relay.history()).messages.length, 9);
  });
}

test("keys that somebody else renewed are refused, and replaced", async (t) => {
  const session = await freshSession(server);
  const { relay } = relayFor(t, session);
  await relay.connect();
  const before = session.calls.count;
  await operator(server, "GET", `/renew/${session.path}`);
  assert.deepEqual((await relay.history()).messages, []);
  assert.equal(session.calls.count, before + 1);
});

test("a backend that fails is asked again; one that says no is believed", async (t) => {
  const session = await freshSession(server);
  let answers = 0;
  const describe = async () => {
    if (answers++ === 0) throw new Error("the backend is away");
    return session.describe();
  };
  const { relay, states } = relayFor(t, { describe });
  await relay.connect();
  assert.deepEqual(states.map(({ name }) => name), ["connecting", "reconnecting", "connecting", "open"]);
  assert.equal(states[1].reason, "the backend is away");

  const refused = relayFor(t, { describe: async () => null });
  await assert.rejects(refused.relay.connect(), /signed out/);
  assert.deepEqual(refused.relay.state, { name: "failed", reason: "signed out" });
});

test("keys that are never good are given up", async (t) => {
  const session = await freshSession(server);
  const describe = async () => ({ ...(await session.describe()), secretKey: "wrong" });
  const { relay } = relayFor(t, { describe });
  const retry = setInterval(() => relay.retry(), 50);
  t.after(() => clearInterval(retry));
  await assert.rejects(relay.connect());
  assert.equal(relay.state.name, "failed");
});

test("a session that was made anew is another queue", async (t) => {
  const session = await freshSession(server);
  const { relay, got } = relayFor(t, session);
  await relay.connect();
  const topic = relay.session.topic;
  await operator(server, "GET", `/destroy/${session.path}`);
  await until(() => (relay.retry(), relay.state.name === "open" && relay.session.topic !== topic));
  await session.notify({ n: 1 });
  await until(() => got.length === 1);
});

test("a wrong clock is found out", async (t) => {
  const session = await freshSession(server);
  const now = Date.now;
  t.mock.method(Date, "now", () => now() - 3_600_000);
  const { relay } = relayFor(t, session, { transport: "mqtt" });
  const retry = setInterval(() => relay.retry(), 50);
  t.after(() => clearInterval(retry));
  await relay.connect();
  assert.ok(Math.abs(relay.serverTime() - now()) < 3000);
});

test("a page that can not sign connects with a token", async (t) => {
  const session = await freshSession(server);
  const { subtle } = crypto;
  const { token } = await operator(server, "POST", "/mqtt/token");
  const description = { ...(await session.describe()), connectToken: token };
  Object.defineProperty(crypto, "subtle", { value: undefined, configurable: true });
  t.after(() => Object.defineProperty(crypto, "subtle", { value: subtle, configurable: true }));
  const { relay } = relayFor(t, { describe: async () => description });
  await relay.connect();
  assert.ok((await relay.ping()) >= 0);
});
