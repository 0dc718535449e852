// The inbox: over MQTT, over SQS, from one to the other, with keys that end, over connections that do not last.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { NodeSocket } from "../../client/node-socket.js";
import { freshSession, operator, queued, relayFor, startProxy, startServer, until } from "./setting.js";

let server;
before(async () => (server = await startServer({ settings: { FANFARE_LOG_FILTER: "warn" } })));
after(async () => server.stop());

const numbers = (got) => got.map(({ data }) => data.n);
const count = (length) => Array.from({ length }, (_, n) => n);

for (const transport of ["mqtt", "sqs"]) {
  describe(`by ${transport}`, () => {
    for (const query of ["", "?envelope=gcm"]) {
      test(`what waits and what comes, in order, each once${query}`, async (t) => {
        const session = await freshSession(server, query);
        await session.describe();
        for (const n of [0, 1, 2]) await session.notify({ n, text: "é😀" });
        const { relay, got, states } = relayFor(t, session, { transport });
        await relay.connect();
        assert.deepEqual([relay.state, relay.transport], [{ name: "open", transport }, transport]);
        await until(() => got.length >= 3);
        for (const n of [3, 4]) await session.notify({ n });
        await until(() => got.length >= 5);
        assert.deepEqual(numbers(got), count(5));
        assert.equal(got[0].data.text, "é😀");
        assert.ok(got[0].id && Math.abs(got[0].ts - Date.now()) < 60_000 && !got[0].read);
        assert.deepEqual(states.map(({ name }) => name), ["connecting", "open"]);
        // What was told leaves the queue.
        await until(async () => (await queued(server, relay.session.sqsUrl)) === 0);
        relay.close();
        assert.equal(relay.state.name, "closed");
        const again = relayFor(t, session, { transport });
        await again.relay.connect();
        await session.notify({ n: 5 });
        await until(() => again.got.length);
        assert.deepEqual(numbers(again.got), [5]);
      });
    }
  });
}

test("history, read marks and the number of unread, in two tabs", async (t) => {
  const session = await freshSession(server);
  const { relay: one, got } = relayFor(t, session);
  await one.connect();
  // Another session of the same user: its own keys and queue.
  const path = session.path.replace(/\/(\d+)$/, "-b/$1");
  const two = relayFor(t, { describe: async () => (await operator(server, "GET", `/create/${path}`)).session });
  await two.relay.connect();
  for (let n = 0; n < 5; n++) await session.notify({ n, _type: n % 2 ? "odd" : "even" });
  await until(() => got.length === 5 && two.got.length === 5);

  const first = await one.history({ limit: 3 });
  const rest = await one.history({ limit: 3, before: first.before });
  assert.deepEqual([numbers(first.messages), numbers(rest.messages)], [[4, 3, 2], [1, 0]]);
  assert.equal(rest.before, undefined);
  assert.deepEqual(numbers((await one.history({ types: ["odd"] })).messages), [3, 1]);

  assert.equal(await two.relay.unread(), 5);
  const told = two.relay.once("read");
  assert.deepEqual(await one.markRead(got[0].id), [got[0].id]);
  assert.deepEqual(await told, { ids: [got[0].id] });
  assert.equal(await two.relay.unread(), 4);
  const unread = two.relay.once("unread");
  assert.equal((await one.markRead({ upTo: Date.now() + 1000 })).length, 4);
  assert.equal(await unread, 0);
  assert.equal(await one.unread(), 0);
  const more = two.relay.once("unread");
  await session.notify({ n: 5 });
  assert.equal(await more, 1);
  assert.ok((await one.history()).messages.slice(1).every(({ read }) => read));
});

test("a message leaves the queue when it was told, not before: a page that goes meanwhile finds it again", async (t) => {
  const session = await freshSession(server);
  const { relay, got } = relayFor(t, session, { transport: "mqtt" });
  relay.on("message", () => relay.close());
  await relay.connect();
  await session.notify({ n: 1 });
  await until(() => got.length === 1);
  const again = relayFor(t, session, { transport: "mqtt" });
  await again.relay.connect();
  await until(() => again.got.length === 1);
  assert.deepEqual(numbers(again.got), [1]);
});

test("from one transport to the other in mid-conversation: nothing is lost, nothing comes twice", async (t) => {
  const session = await freshSession(server);
  const { relay, got, states } = relayFor(t, session);
  await relay.connect();
  const total = 240;
  for (let n = 0; n < total; n++) {
    const posted = session.notify({ n });
    if (n % 40 === 20) relay.use(relay.transport === "mqtt" ? "sqs" : "mqtt");
    await posted;
  }
  await until(() => got.length >= total);
  relay.use("mqtt");
  await session.notify({ n: total });
  await until(() => numbers(got).includes(total));
  assert.deepEqual(numbers(got).sort((a, b) => a - b), count(total + 1));
  const used = new Set(states.filter(({ name }) => name === "open").map(({ transport }) => transport));
  assert.deepEqual([...used].sort(), ["mqtt", "sqs"]);
});

test("where WebSockets do not get through, the queue is polled", async (t) => {
  const session = await freshSession(server);
  let open = false;
  class Closed {
    constructor(url, protocol) {
      if (open) return new NodeSocket(url, protocol);
      setTimeout(() => this.onclose(), 5);
    }
    close() {}
  }
  const { relay, got } = relayFor(t, session, { WebSocket: Closed });
  await relay.connect();
  assert.equal(relay.transport, "sqs");
  await session.notify({ n: 1 });
  await until(() => got.length === 1);
  // As soon as they do, MQTT has it again.
  open = true;
  await until(() => relay.transport === "mqtt");
  await session.notify({ n: 2 });
  await until(() => got.length === 2);
  assert.deepEqual(numbers(got), [1, 2]);
});

test("a connection that is cut again and again: half a minute apart for an hour, in quick motion", async (t) => {
  const session = await freshSession(server);
  const proxy = await startProxy(t, server.ports.http);
  const { relay, got, states } = relayFor(t, session, { url: proxy.url });
  await relay.connect();
  const cuts = 120;
  for (let n = 0; n < cuts; n++) {
    await session.notify({ n });
    // Some cuts meet messages on their way, some a connection that is being made, some a network that is away.
    if (n % 3 === 0) await until(() => (relay.retry(), numbers(got).includes(n)));
    if (n % 10 === 9) {
      proxy.closed = true;
      setTimeout(() => (proxy.closed = false), 30);
    }
    proxy.cut();
    relay.retry();
  }
  await until(() => (relay.retry(), got.length >= cuts));
  assert.deepEqual(numbers(got).sort((a, b) => a - b), count(cuts));
  assert.ok(states.filter(({ name }) => name === "reconnecting").length > 20, "it was cut");
  for (const state of states) {
    if (state.name === "reconnecting") assert.ok(state.nextInMs <= 20_000 && state.reason, JSON.stringify(state));
  }
  // A confirmation that was cut off is made up for when the message comes again.
  await until(async () => (relay.retry(), (await queued(server, relay.session.sqsUrl)) === 0));
  relay.close();
  const late = relayFor(t, session);
  await late.relay.connect();
  await session.notify({ n: cuts });
  await until(() => late.got.length > 0);
  assert.deepEqual(numbers(late.got), [cuts], "what was told is not in the queue any more");
});

test("waits grow while connections do not last, and begin anew after one that did", async (t) => {
  const session = await freshSession(server);
  const proxy = await startProxy(t, server.ports.http);
  const { relay, states } = relayFor(t, session, { url: proxy.url, transport: "mqtt" });
  await relay.connect();
  const attempt = async () => {
    proxy.cut();
    await until(() => relay.state.name === "reconnecting");
    await until(() => (relay.retry(), relay.state.name === "open"));
    return states.findLast(({ name }) => name === "reconnecting").attempt;
  };
  assert.deepEqual([await attempt(), await attempt(), await attempt()], [1, 2, 3]);
  await new Promise((done) => setTimeout(done, 5200));
  assert.equal(await attempt(), 1);
});

test("the server is started again", async (t) => {
  const own = await startServer({ settings: { FANFARE_LOG_FILTER: "warn" } });
  t.after(() => own.stop());
  const session = await freshSession(own);
  const { relay, got, states } = relayFor(t, session);
  await relay.connect();
  await session.notify({ n: 0 });
  await until(() => got.length === 1);
  await own.restart(() => until(() => states.at(-1).name === "reconnecting"));
  relay.retry();
  await until(() => relay.state.name === "open");
  await session.notify({ n: 1 });
  await until(() => got.length === 2);
  assert.deepEqual(numbers(got), [0, 1]);
});
