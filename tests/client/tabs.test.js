// One connection for several tabs. Node has BroadcastChannel; the locks are made here, as browsers have them.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { freshName, freshSession, operator, relayFor, startServer, until } from "./setting.js";

/** Browsers take a moment to notice that a tab has gone. */
const MOMENT_MS = 50;

/** Web Locks, exclusive ones only. */
class Locks {
  #held = new Map();
  async request(name, ...rest) {
    const work = rest.pop();
    const { signal } = rest.pop() ?? {};
    const before = this.#held.get(name)?.then(() => new Promise((done) => setTimeout(done, MOMENT_MS))) ?? Promise.resolve();
    const turn = before.then(() => (signal?.aborted ? undefined : work()));
    this.#held.set(name, turn.catch(() => {}));
    return turn;
  }
}

let server;
before(async () => {
  Object.defineProperty(globalThis, "navigator", { value: { locks: new Locks() }, configurable: true });
  server = await startServer({ settings: { FANFARE_LOG_FILTER: "warn" } });
});
after(async () => server.stop());

const numbers = (got) => got.map(({ data }) => data.n);

test("three tabs have one connection, hear the same, and go on when the one that has it is closed", async (t) => {
  const topic = freshName("plain");
  const session = await freshSession(server, `?topics=${topic}`);
  const shared = freshName("user");
  const tabs = [1, 2, 3].map(() => relayFor(t, session, { shared }));
  const errors = [];
  for (const { relay } of tabs) relay.on("error", (error) => errors.push(error));
  await Promise.all(tabs.map(({ relay }) => relay.connect()));
  assert.equal(session.calls.count, 1, "one of them asked for keys");
  assert.equal(new Set(tabs.map(({ relay }) => relay.id)).size, 1);
  assert.deepEqual(tabs.map(({ relay }) => Boolean(relay.session.secretKey)), [true, false, false], "secrets stay in one tab");

  await session.notify({ n: 0 });
  await until(() => tabs.every(({ got }) => got.length === 1));
  assert.equal((await tabs[2].relay.history()).messages.length, 1);
  assert.equal(await tabs[1].relay.unread(), 1);

  const plain = { history: false, members: false };
  const rooms = await Promise.all(tabs.slice(1).map(({ relay }) => relay.join(topic, plain)));
  const heard = [[], []];
  rooms.forEach((room, at) => room.on("message", ({ data }) => heard[at].push(data)));
  await rooms[1].publish("one");
  await until(() => heard.every((all) => all.length === 1));

  tabs[0].relay.close();
  // What they ask for while nobody has the connection is done by the next who has it, for itself and for the others.
  await Promise.all([rooms[0].publish("two"), rooms[1].publish("two, too")]);
  await until(() => heard[0].includes("two") && heard[0].includes("two, too"));
  // A topic without history brings nothing that was said before the other tab was back.
  await until(async () => (await rooms[0].publish("back?"), heard[1].includes("back?")));
  assert.equal(session.calls.count, 2);
  await session.notify({ n: 1 });
  await until(() => tabs.slice(1).every(({ got }) => got.length === 2));
  assert.deepEqual(tabs.map(({ got }) => numbers(got)), [[0], [0, 1], [0, 1]]);

  // One leaves the room; the other still hears it.
  await rooms[1].leave();
  await rooms[0].publish("three");
  await until(() => heard[0].includes("three"));
  await assert.rejects(tabs[2].relay.join("elsewhere", plain), (error) => error.code === 0x87);
  assert.deepEqual(errors, []);
});

test("a tab that is closed takes its subscriptions with it", async (t) => {
  const topic = freshName("plain");
  const session = await freshSession(server, `?topics=${topic}`);
  const shared = freshName("user");
  const [one, two] = [1, 2].map(() => relayFor(t, session, { shared }));
  await one.relay.connect();
  await two.relay.connect();
  const plain = { history: false, members: false };
  const there = await two.relay.join(topic, plain);
  const path = `/connections/${one.relay.id}/subscriptions`;
  const subscribed = async () => (await operator(server, "GET", path, undefined, "iotdata")).subscriptions.some(({ topicFilter }) => topicFilter === topic);
  assert.ok(await subscribed());
  two.relay.close();
  await assert.rejects(there.publish(1), /closed/);
  await until(async () => !(await subscribed()));
  const here = await one.relay.join(topic, plain);
  const heard = here.once("message");
  await here.publish(2);
  assert.equal((await heard).data, 2);
});

test("each tab is told what it has missed itself", async (t) => {
  const name = `chat/${freshName("tabs")}`;
  const session = await freshSession(server, "?topics=chat/%23");
  const shared = freshName("user");
  const tabs = [1, 2, 3].map(() => relayFor(t, session, { shared }).relay);
  await Promise.all(tabs.map((relay) => relay.connect()));
  const first = await tabs[0].join(name);
  for (let n = 0; n < 4; n++) await first.publish(n);
  const rooms = await Promise.all([1, 3].map((history, at) => tabs[at + 1].join(name, { history })));
  assert.deepEqual(rooms.map(({ recovery }) => recovery.replayed), [1, 3]);
});
