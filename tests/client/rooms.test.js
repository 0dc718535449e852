// Rooms: what is said and recovered, who is there, what they do, values, seats.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { freshId, freshSession, relayFor, startProxy, startServer, until } from "./setting.js";

let server;
// As by default, but for how soon a lost connection counts as gone.
const RULES = `
[[rooms]]
filter = "chat/#"
grace_seconds = 1
[[rooms]]
filter = "game/#"
history_messages = 0
grace_seconds = 1
last_value = true
seats = 16
`;
before(async () => (server = await startServer({ config: RULES, settings: { FANFARE_LOG_FILTER: "warn" } })));
after(async () => server.stop());

const GRANT = "?topics=chat/%23,game/%23";

/** A relay that may use rooms. */
async function person(t, options) {
  const session = await freshSession(server, GRANT);
  const { relay } = relayFor(t, session, options);
  await relay.connect();
  return relay;
}

const freshRoom = (kind = "chat") => `${kind}/t${freshId()}`;
const names = (room) => [...room.members.values()].map(({ data }) => data.name).sort();
const texts = (heard) => heard.map(({ data }) => data);

/** Collects what a room tells. */
function hear(room, event = "message") {
  const heard = [];
  room.on(event, (detail) => heard.push(detail));
  return heard;
}

describe("what is said", () => {
  test("everybody hears it in one order, whoever said it; who comes later hears what was said before", async (t) => {
    const [ada, bob] = [await person(t), await person(t)];
    const name = freshRoom();
    const [one, two] = [await ada.join(name), await bob.join(name)];
    assert.deepEqual([one.recovery.recovered, one.recovery.reason], [false, "new"]);
    const [first, second] = [hear(one), hear(two)];
    for (let n = 0; n < 10; n++) await (n % 2 ? one : two).publish({ n }, { id: `m${n}` });
    await until(() => first.length === 10 && second.length === 10);
    assert.deepEqual(first.map(({ offset, id, data }) => [offset, id, data.n]), first.map((_, n) => [n + 1, `m${n}`, n]));
    assert.deepEqual(first.map(({ own }) => own), first.map((_, n) => n % 2 === 1));
    assert.deepEqual(second.map(({ own }) => own), first.map((_, n) => n % 2 === 0));
    assert.equal(first[0].member, bob.id);
    assert.ok(Math.abs(first[0].ts - Date.now()) < 60_000);

    const late = await (await person(t)).join(name, { history: 4 });
    const third = hear(late);
    await until(() => third.length === 4);
    assert.deepEqual(third.map(({ data, replayed }) => [data.n, replayed]), [6, 7, 8, 9].map((n) => [n, true]));
    const page = await late.history({ before: third[0].offset, limit: 4 });
    assert.deepEqual([texts(page.messages).map(({ n }) => n), page.more], [[2, 3, 4, 5], true]);
    const rest = await late.history({ before: page.messages[0].offset, limit: 4 });
    assert.deepEqual([texts(rest.messages).map(({ n }) => n), rest.more], [[0, 1], false]);
  });

  test("after a reconnect the page learns what was missed, and hears it", async (t) => {
    const proxy = await startProxy(t, server.ports.http);
    const [ada, bob] = [await person(t, { url: proxy.url }), await person(t)];
    const name = freshRoom();
    const [one, two] = [await ada.join(name), await bob.join(name)];
    const heard = hear(one);
    const nothing = one.once("recovery");
    proxy.cut();
    await until(() => (ada.retry(), ada.state.name === "open"));
    assert.equal((await nothing).recovered, true, "in a room in which nothing was said yet, too");
    await two.publish(0);
    await until(() => heard.length === 1);
    proxy.closed = true;
    proxy.cut();
    await until(() => ada.state.name === "reconnecting");
    for (let n = 1; n <= 5; n++) await two.publish(n);
    const mine = one.publish("written offline");
    const recovery = one.once("recovery");
    proxy.closed = false;
    await until(() => (ada.retry(), ada.state.name === "open"));
    assert.deepEqual(await recovery, { recovered: true, reason: undefined, missed: 5, replayed: 5 });
    await mine;
    await until(() => heard.length === 7);
    assert.deepEqual(texts(heard), [0, 1, 2, 3, 4, 5, "written offline"]);
    assert.deepEqual(heard.map(({ replayed }) => replayed), [false, true, true, true, true, true, false]);
  });

  test("who was alone where nothing had been said misses nothing of what is said meanwhile, however much", async (t) => {
    const proxy = await startProxy(t, server.ports.http);
    const [ada, bob] = [await person(t, { url: proxy.url, transport: "mqtt" }), await person(t)];
    const name = freshRoom();
    const [one, two] = [await ada.join(name), await bob.join(name)];
    const near = hear(one);
    proxy.closed = true;
    proxy.cut();
    // More than is shown to somebody who comes for the first time.
    const said = Array.from({ length: 80 }, (_, n) => n);
    for (const n of said) await two.publish(n);
    proxy.closed = false;
    await until(() => (ada.retry(), near.length >= 80));
    assert.deepEqual(texts(near), said);
    assert.deepEqual([one.recovery.recovered, one.recovery.missed], [true, 80]);
  });

  test("a page that was loaded again goes on where it was; one from another time is told so", async (t) => {
    const [ada, bob] = [await person(t), await person(t)];
    const name = freshRoom();
    const [one, two] = [await ada.join(name), await bob.join(name)];
    for (let n = 0; n < 3; n++) await one.publish(n);
    await until(() => two.position?.offset === 3);
    const since = two.position;
    await two.leave();
    await one.publish(3);
    const again = await bob.join(name, { since });
    const heard = hear(again);
    await until(() => heard.length === 1);
    assert.deepEqual([again.recovery.recovered, texts(heard)], [true, [3]]);
    await again.leave();
    const lost = await bob.join(name, { since: { epoch: "0123456789abcdef", offset: 2 }, history: 2 });
    const newest = hear(lost);
    await until(() => newest.length === 2);
    assert.deepEqual([lost.recovery.recovered, lost.recovery.reason, texts(newest)], [false, "epoch", [2, 3]]);
  });

  test("a connection that is cut again and again misses nothing and tells nothing twice", async (t) => {
    const proxy = await startProxy(t, server.ports.http);
    const [ada, bob] = [await person(t, { url: proxy.url, transport: "mqtt" }), await person(t)];
    const name = freshRoom();
    const [one, two] = [await ada.join(name), await bob.join(name)];
    const [near, far] = [hear(one), hear(two)];
    const sent = [];
    for (let n = 0; n < 60; n++) {
      sent.push(two.publish(`b${n}`), one.publish(`a${n}`));
      await sent.at(-2);
      if (n % 3 === 0) proxy.cut();
      ada.retry();
    }
    await until(() => (ada.retry(), far.length >= 120 && near.length >= 120));
    await Promise.all(sent);
    const wanted = Array.from({ length: 60 }, (_, n) => [`a${n}`, `b${n}`]).flat().sort();
    assert.deepEqual(texts(far).sort(), wanted);
    assert.deepEqual(texts(near).sort(), wanted);
    assert.deepEqual(texts(near), texts(far), "in one order");
  });
});

describe("who is there", () => {
  test("coming, changing, leaving; a short loss is none", async (t) => {
    const proxy = await startProxy(t, server.ports.http);
    const [ada, bob] = [await person(t), await person(t, { url: proxy.url })];
    const name = freshRoom();
    const one = await ada.join(name, { presence: { name: "Ada" } });
    const [joins, leaves, updates] = ["join", "leave", "update"].map((event) => hear(one, event));
    const two = await bob.join(name, { presence: { name: "Bob" } });
    await until(() => names(two).length === 2 && joins.some(({ id }) => id === bob.id));
    assert.deepEqual([names(one), names(two), one.count], [["Ada", "Bob"], ["Ada", "Bob"], 2]);
    await two.update({ name: "Bob", away: true });
    await until(() => updates.length);
    assert.deepEqual(one.members.get(bob.id).data, { name: "Bob", away: true });

    const before = joins.length;
    proxy.cut();
    await until(() => bob.state.name === "reconnecting");
    await until(() => (bob.retry(), bob.state.name === "open"));
    const back = one.once("message");
    await two.publish("back");
    await back;
    // Longer than a lost connection may be away.
    await new Promise((done) => setTimeout(done, 2500));
    assert.deepEqual([leaves.length, joins.length, names(one)], [0, before, ["Ada", "Bob"]]);

    await two.leave();
    await until(() => leaves.length);
    assert.deepEqual([leaves[0].id, leaves[0].reason, names(one)], [bob.id, "left", ["Ada"]]);
  });

  test("typing is told, not too often, and is over by itself or when something was said", async (t) => {
    const [ada, bob] = [await person(t), await person(t)];
    const name = freshRoom();
    const [one, two] = [await ada.join(name, { presence: {} }), await bob.join(name, { presence: {} })];
    const typing = hear(one, "typing");
    for (let n = 0; n < 20; n++) two.typing(true);
    await until(() => typing.length);
    await two.publish("there");
    await until(() => typing.length === 2);
    assert.deepEqual(typing, [true, false].map((typing) => ({ member: bob.id, typing })));
    two.typing(true);
    await until(() => typing.length === 4, "over by itself", 15_000);
    assert.deepEqual(typing[3], { member: bob.id, typing: false });
    const events = hear(one, "event");
    await two.signal("wave", { hand: "left" });
    await until(() => events.length);
    assert.deepEqual(events[0], { name: "wave", member: bob.id, data: { hand: "left" } });
  });
});

describe("games", () => {
  const options = { presence: { name: "x" }, history: false, state: true };

  test("who comes late sees everything at once; who leaves takes it along", async (t) => {
    const [ada, bob] = [await person(t), await person(t)];
    const name = freshRoom("game");
    const one = await ada.join(name, options);
    await one.set("pos", { x: 1 });
    await one.set("hat", "red");
    const two = await bob.join(name, options);
    await until(() => two.states.get(ada.id)?.size === 2);
    assert.deepEqual(Object.fromEntries(two.states.get(ada.id)), { pos: { x: 1 }, hat: "red" });
    await one.set("pos", { x: 2 });
    await one.set("hat", undefined);
    await until(() => two.states.get(ada.id).size === 1 && two.states.get(ada.id).get("pos").x === 2);
    assert.deepEqual(Object.fromEntries(two.states.get(ada.id)), { pos: { x: 2 } });
    await one.leave();
    await until(() => !two.states.has(ada.id));
  });

  test("seats are taken, kept over a reconnect, and left", async (t) => {
    const proxy = await startProxy(t, server.ports.http);
    const [ada, bob] = [await person(t, { url: proxy.url }), await person(t)];
    const name = freshRoom("game");
    const [one, two] = [await ada.join(name, options), await bob.join(name, options)];
    const { seat, seats, taken } = await one.seat(true);
    assert.deepEqual([seat, seats, taken], [1, 16, 1]);
    assert.equal((await two.seat(true)).seat, 2);
    proxy.cut();
    await until(() => ada.state.name === "reconnecting");
    await until(() => (ada.retry(), ada.state.name === "open"));
    assert.equal((await one.seat(true)).seat, 1);
    assert.equal((await one.seat(false)).seat, null);
  });
});
