// Publishing: what waits while there is no connection, in what bounds, and what the server refuses.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { freshName, freshSession, relayFor, startProxy, startServer, until } from "./setting.js";

let server;
before(async () => (server = await startServer({ settings: { FANFARE_LOG_FILTER: "warn" } })));
after(async () => server.stop());

/** A topic that is no room, and two sessions that may use it. */
async function setting(t, options) {
  const topic = freshName("plain");
  const [near, far] = await Promise.all([freshSession(server, `?topics=${topic}`), freshSession(server, `?topics=${topic}`)]);
  const one = relayFor(t, near, options).relay;
  const two = relayFor(t, far).relay;
  await Promise.all([one.connect(), two.connect()]);
  const plain = { history: false, members: false };
  const rooms = await Promise.all([one.join(topic, plain), two.join(topic, plain)]);
  const heard = [];
  rooms[1].on("message", (message) => heard.push(message));
  return { one, two, here: rooms[0], there: rooms[1], heard };
}

test("what is said while there is no connection waits, within bounds, and arrives in order, each once", async (t) => {
  const proxy = await startProxy(t, server.ports.http);
  const { one, here, heard } = await setting(t, { url: proxy.url, queueLimit: 20 });
  await here.publish(0);
  proxy.closed = true;
  proxy.cut();
  await until(() => one.state.name === "reconnecting");
  await assert.rejects(here.publish("now or never", { qos: 0 }), /not connected/);
  const waiting = [];
  for (let n = 1; n <= 20; n++) waiting.push(here.publish(n));
  await assert.rejects(here.publish(21), /too many messages wait/);
  proxy.closed = false;
  await until(() => (one.retry(), one.state.name === "open"));
  await Promise.all(waiting);
  await until(() => heard.length === 21);
  assert.deepEqual(heard.map(({ data }) => data), [...Array(21).keys()]);
});

test("what was sent when the connection was cut is sent again, and heard once", async (t) => {
  const proxy = await startProxy(t, server.ports.http);
  const { one, here, heard } = await setting(t, { url: proxy.url });
  for (let n = 0; n < 30; n++) {
    let sent = false;
    void here.publish(n).then(() => (sent = true));
    proxy.cut();
    await until(() => (one.retry(), sent));
  }
  await until(() => heard.length >= 30);
  assert.deepEqual(heard.map(({ data }) => data), [...Array(30).keys()]);
});

test("what the server has, but could not say so, is sent again and heard once", async (t) => {
  const proxy = await startProxy(t, server.ports.http);
  const { one, here, heard } = await setting(t, { url: proxy.url });
  proxy.mute = true;
  const sent = here.publish("once");
  await until(() => heard.length === 1);
  proxy.cut();
  proxy.mute = false;
  await until(() => (one.retry(), one.state.name === "open"));
  await sent;
  await here.publish("next");
  await until(() => heard.some(({ data }) => data === "next"));
  assert.deepEqual(heard.map(({ data }) => data), ["once", "next"]);
});

test("more at once than the server takes at a time", async (t) => {
  const { one, here, heard } = await setting(t, { queueLimit: 1000 });
  const states = [];
  one.on("state", ({ name }) => states.push(name));
  await Promise.all(Array.from({ length: 500 }, (_, n) => here.publish({ n })));
  await until(() => heard.length === 500);
  assert.deepEqual(heard.map(({ data }) => data.n), [...Array(500).keys()]);
  assert.deepEqual(states, [], "the server had no reason to end the connection");
});

test("a room that is not granted is refused, and the connection goes on", async (t) => {
  const { one, here, heard } = await setting(t);
  await assert.rejects(one.join("elsewhere", { history: false, members: false }), (error) => error.code === 0x87);
  await here.publish("still there");
  await until(() => heard.length === 1);
  assert.ok(one.rtt >= 0);
});

test("close refuses what waits", async (t) => {
  const proxy = await startProxy(t, server.ports.http);
  const { one, here } = await setting(t, { url: proxy.url });
  proxy.closed = true;
  proxy.cut();
  const waiting = assert.rejects(here.publish("late"), /closed/);
  one.close();
  await waiting;
  await assert.rejects(here.publish("later"), /closed/);
});
