// Parts that need no server: envelopes, packets, signatures, waits.

import assert from "node:assert/strict";
import { test } from "node:test";
import { openEnvelope } from "../../client/envelope.js";
import { MqttConnection } from "../../client/mqtt.js";
import * as packets from "../../client/packets.js";
import { backoff } from "../../client/reconnect.js";
import { Room } from "../../client/room.js";
import { presign, signHeaders } from "../../client/sign.js";

const SESSION = { aesKey: "LkWUsGQKi8E9QoMJEeY1HLL8rdJNJr3fzDp+F9CpkCY=", sessionId: "s" };

test("envelopes of the first form: the two vectors", async () => {
  assert.equal(await openEnvelope("9734675727|nw7xCnVR0m/YrGgG", SESSION), "this is test");
  assert.equal(await openEnvelope("5|hbTFISt3Qi0Irkci8w==", SESSION), '{"a":"é✓"}');
});

test("what is no envelope is refused", async () => {
  const wrong = ["", "x", "01|AAAA", "-1|AAAA", "9007199254740992|AAAA", "1|AAA", "1|AB==", "v2|1|AAAA", "v3|1|AAAA", "1|AAAA|"];
  for (const text of wrong) await assert.rejects(openEnvelope(text, SESSION), `${text} was opened`);
  await assert.rejects(openEnvelope("1|AAAA", { ...SESSION, aesKey: "AAAA" }), /32 bytes/);
});

test("a signature of AWS's own test suite, and its query in order", async () => {
  // "get-vanilla-query-order-key-case" of the SigV4 test suite, whose service is `service`.
  const keys = { accessKey: "AKIDEXAMPLE", secretKey: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY" };
  const now = Date.UTC(2015, 7, 30, 12, 36);
  const url = "https://example.amazonaws.com/?Param2=value2&Param1=value1";
  const { authorization } = await signHeaders({ method: "GET", url, keys, region: "us-east-1", service: "service", now });
  assert.match(authorization, /Signature=b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500$/);
  const signed = await presign("wss://h/mqtt", { ...keys, sessionToken: "t/+=" }, { region: "us-east-1", now });
  assert.match(signed, /^wss:\/\/h\/mqtt\?X-Amz-Algorithm=.*&X-Amz-Signature=[0-9a-f]{64}&X-Amz-Security-Token=t%2F%2B%3D$/);
});

test("packets come out as they went in, however they are cut", () => {
  const payload = new Uint8Array(300).fill(7);
  const user = [["a", "é"], ["a", ""]];
  const sent = packets.publish(513, "t/é", payload, { qos: 1, retain: true, user });
  const bytes = new Uint8Array([...sent, ...packets.puback(7), 0xd0, 0]);
  for (let cut = 0; cut <= bytes.length; cut++) {
    const decoder = new packets.Decoder();
    const got = [...decoder.push(bytes.slice(0, cut)), ...decoder.push(bytes.slice(cut))];
    assert.equal(got.length, 3, `cut at ${cut}`);
    const [{ topic, id, flags, properties, payload: read }, ack] = got;
    assert.deepEqual([topic, id, flags, properties.user], ["t/é", 513, 3, user]);
    assert.deepEqual(read, payload);
    assert.deepEqual([ack.type, ack.id, ack.code], [packets.PUBACK, 7, 0]);
  }
});

test("what is no packet is refused", () => {
  const wrong = [[0x20, 0xff, 0xff, 0xff, 0xff], [0x30, 2, 0, 9], [0x90, 3, 0, 1, 1], [0x10, 0], [0x20, 5, 0, 0, 2, 0x7f, 0]];
  for (const bytes of wrong) assert.throws(() => new packets.Decoder().push(new Uint8Array(bytes)), RangeError, `${bytes}`);
});

/** An open connection to nobody: what it `sent`, and what `arrives` there. */
async function connected() {
  const sent = [];
  const socket = { readyState: 1, send: (bytes) => sent.push(bytes), close() {} };
  const connection = new MqttConnection(socket);
  const opened = connection.open("c");
  const arrives = (...bytes) => socket.onmessage({ data: new Uint8Array(bytes).buffer });
  socket.onopen();
  // CONNACK with a receive maximum of 2.
  arrives(0x20, 6, 0, 0, 3, 0x21, 0, 2);
  await opened;
  return { connection, sent, arrives };
}

test("a connection that does not answer in time has ended", async () => {
  const { connection, arrives } = await connected();
  const pong = connection.ping(1000);
  arrives(0xd0, 0);
  assert.ok((await pong) >= 0);
  const end = new Promise((told) => (connection.onend = told));
  void connection.ping(20);
  assert.deepEqual(await end, { code: 0, reason: "no answer" });
  await assert.rejects(connection.ping(), /no answer/);
});

test("no more is under way than the server takes at a time", async () => {
  const { connection, sent, arrives } = await connected();
  const done = Array.from({ length: 5 }, (_, n) => connection.publish("t", new Uint8Array([n]), { qos: 1 }));
  const published = () => sent.flatMap((bytes) => (bytes[0] >> 4 === packets.PUBLISH ? new packets.Decoder().push(bytes) : []));
  assert.deepEqual(published().map(({ payload }) => payload[0]), [0, 1]);
  for (let n = 0; n < 5; n++) {
    arrives(0x40, 2, 0, published()[n].id);
    await done[n];
    assert.equal(published().length, Math.min(5, n + 3));
  }
  connection.close();
});

/** A room on a link to nobody: what it `asked` for, `published` and `heard`, and ways to tell it something. */
function quietRoom(options) {
  const asked = [];
  const published = [];
  const link = {
    clientId: "me",
    transport: "mqtt",
    state: { name: "open" },
    serverTime: () => 0,
    publish: async (topic, payload) => void published.push([topic, new TextDecoder().decode(payload)]),
    subscribe: async (...subscription) => void asked.push(subscription),
    unsubscribe: async (filter) => void asked.push(filter),
  };
  const bytes = (data) => new TextEncoder().encode(JSON.stringify(data));
  const room = new Room(link, "chat/x", options, () => {});
  const heard = [];
  room.on("message", ({ offset }) => heard.push(offset));
  return {
    room,
    asked,
    published,
    heard,
    answer: (told) => room.take("recovery", "", { payload: bytes({ epoch: "e", ...told }), retain: false, user: [] }),
    said: (offset, epoch = "e") => room.take("said", "", { payload: bytes(1), retain: false, user: [["epoch", epoch], ["offset", `${offset}`]] }),
    there: (told) => room.take("presence", "", { payload: bytes(told), retain: false, user: [] }),
    event: (name, member, data) => room.take("event", name, { payload: bytes(data), retain: false, user: [["member", member]] }),
    state: (key, member, data) => room.take("state", key, { payload: bytes(data), retain: false, user: [["member", member]] }),
  };
}

test("a room tells each offset once, and asks for what it misses", async () => {
  const { room, asked, heard, answer, said } = quietRoom({ members: false });
  const entered = room.enter();
  said(4);
  await null;
  answer({ recovered: false, reason: "new", replayed: 1, offset: 5 });
  await entered;
  room.release();
  for (const offset of [5, 5, 4, 6]) said(offset);
  assert.deepEqual(heard, [5, 6], "what came before the answer is in it or does not count");
  said(8);
  said(9);
  assert.deepEqual(asked.at(-1), ["chat/x", 1, [["history-last", "50"], ["since-epoch", "e"], ["since-offset", "6"]]]);
  answer({ recovered: true, missed: 3, replayed: 3, offset: 9 });
  for (const offset of [7, 8, 9, 10]) said(offset);
  assert.deepEqual(heard, [5, 6, 7, 8, 9, 10]);
  assert.equal(asked.length, 2);
  // A history that begins anew has its own numbers.
  for (const offset of [1, 2, 2]) said(offset, "f");
  assert.deepEqual(heard.slice(-2), [1, 2]);
  assert.deepEqual(room.position, { epoch: "f", offset: 2 });
  await room.leave();
});

test("a list of members of which a change is missing is asked for anew", async () => {
  const { room, asked, there } = quietRoom({ history: false });
  room.release();
  const member = (id) => ({ id, data: null, since: 1 });
  const filter = "$room/presence/chat/x";
  there({ type: "snapshot", version: 7, count: 2, members: [member("a")], more: true });
  assert.equal(room.members.size, 0, "half a list is none");
  there({ type: "snapshot", version: 7, count: 2, members: [member("b")], more: false });
  there({ type: "changes", version: 8, count: 3, changes: [{ type: "join", ...member("c") }] });
  assert.deepEqual([[...room.members.keys()], asked], [["a", "b", "c"], []]);
  there({ type: "changes", version: 10, count: 2, changes: [{ type: "leave", id: "a", reason: "left" }] });
  await null;
  assert.deepEqual(asked, [filter, [filter, 1]]);
  assert.deepEqual([...room.members.keys()], ["a", "b", "c"], "what follows a gap says nothing by itself");
  there({ type: "snapshot", version: 10, count: 2, members: [member("b"), member("d")], more: false });
  assert.deepEqual([...room.members.keys()].sort(), ["b", "d"]);
});

test("who comes, changes and goes is told in the order of the changes; after a loss, what is different from before", async () => {
  const { room, there, event, state } = quietRoom({ history: false, state: true });
  room.release();
  const told = [];
  for (const name of ["join", "update", "leave", "typing", "state", "count"]) {
    room.on(name, (detail) => told.push([name, detail.id ?? detail.member ?? detail, detail.reason ?? detail.typing].filter((part) => part !== undefined)));
  }
  const heard = () => told.splice(0);
  const member = (id, data = null) => ({ id, data, since: 1 });
  there({ type: "snapshot", version: 1, count: 2, members: [member("a"), member("b")], more: false });
  assert.deepEqual(heard(), [["join", "a"], ["join", "b"], ["count", 2]]);
  event("typing", "a", true);
  state("pos", "a", 1);
  assert.deepEqual(heard(), [["typing", "a", true], ["state", "a"]]);
  const changes = [{ type: "join", ...member("c") }, { type: "update", ...member("b", 1) }, { type: "leave", id: "a", reason: "removed" }];
  there({ type: "changes", version: 2, count: 2, changes });
  assert.deepEqual(heard(), [["join", "c"], ["update", "b"], ["typing", "a", false], ["leave", "a", "removed"], ["count", 2]]);
  assert.equal(room.states.has("a"), false, "who leaves takes its values along");
  // After a reconnect: c is as before, b is another, a is back, and d has come.
  there({ type: "snapshot", version: 9, count: 4, members: [member("a"), member("b", 2), member("c"), member("d")], more: false });
  assert.deepEqual(heard(), [["join", "a"], ["update", "b"], ["join", "d"], ["count", 4]]);
  there({ type: "snapshot", version: 12, count: 1, members: [member("d")], more: false });
  assert.deepEqual(heard(), [["leave", "b", "lost"], ["leave", "c", "lost"], ["leave", "a", "lost"], ["count", 1]]);
  // A crowd is only a number, and its list is a new one when it has gone.
  there({ type: "counts", version: 13, count: 500 });
  assert.deepEqual([heard(), room.members.size], [[["count", 500]], 0]);
  there({ type: "snapshot", version: 14, count: 1, members: [member("d")], more: false });
  assert.deepEqual(heard(), [["join", "d"], ["count", 1]]);
});

test("a member says that it types once in three seconds, however fast it types, and who falls silent types no more", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout", "Date"], now: 1_800_000_000_000 });
  const { room, published, event } = quietRoom({ history: false });
  room.release();
  const typing = [];
  room.on("typing", (told) => typing.push([told.member, told.typing]));
  const said = () => published.splice(0).map(([topic, payload]) => [topic.split("/")[2], payload]);
  for (let ms = 0; ms < 6000; ms += 50) {
    room.typing(true);
    t.mock.timers.tick(50);
  }
  assert.deepEqual(said(), [["typing", "true"], ["typing", "true"]]);
  room.typing(false);
  room.typing(false);
  assert.deepEqual(said(), [["typing", "false"]], "that it is over is said at once, and once");
  room.typing(true);
  await room.publish("there");
  assert.deepEqual(said().map(([, payload]) => payload), ["true", "false", '"there"']);
  // Others: each for itself.
  event("typing", "a", true);
  t.mock.timers.tick(3000);
  event("typing", "b", true);
  event("typing", "a", true);
  t.mock.timers.tick(4999);
  assert.deepEqual(typing.splice(0), [["a", true], ["b", true], ["a", true]]);
  t.mock.timers.tick(1);
  assert.deepEqual(typing.sort(), [["a", false], ["b", false]]);
});

test("a recovery that is not answered is over in time; one that finds the server busy is asked for again", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const { room, asked, heard, answer, said } = quietRoom({ members: false, history: 3 });
  const entered = room.enter();
  await null;
  t.mock.timers.tick(4999);
  assert.equal(room.recovery, undefined);
  t.mock.timers.tick(1);
  assert.deepEqual(await entered, { recovered: false, reason: "no-answer", missed: 0, replayed: 0 });
  room.release();
  // What comes live counts nevertheless.
  said(7);
  assert.deepEqual([heard, room.position], [[7], { epoch: "e", offset: 7 }]);
  said(9);
  answer({ recovered: false, reason: "busy", replayed: 0, epoch: "", offset: 0 });
  assert.equal(asked.length, 2);
  t.mock.timers.tick(999);
  assert.equal(asked.length, 2);
  t.mock.timers.tick(1);
  assert.equal(asked.length, 3);
  await null;
  // Another epoch: the newest come, under numbers of their own.
  answer({ recovered: false, reason: "epoch", replayed: 2, epoch: "f", offset: 4 });
  for (const offset of [3, 4, 5]) said(offset, "f");
  assert.deepEqual([heard, room.position], [[7, 3, 4, 5], { epoch: "f", offset: 5 }]);
  await room.leave();
});

test("waits are chance, between half a second and a bound that doubles to 20 s", () => {
  for (let attempt = 0; attempt < 100; attempt++) {
    assert.equal(backoff(attempt, () => 0), 500);
    assert.equal(backoff(attempt, () => 1), Math.min(20_000, 1000 * 2 ** attempt));
  }
});
