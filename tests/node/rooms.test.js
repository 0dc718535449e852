// Rooms through MQTT.js (client/PROTOCOL.md).

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import mqtt from "mqtt";
import { freshName, startServer } from "./fanfare.js";

const ANYONE = '{"Statement":{"Effect":"Allow","Action":"iot:*","Resource":"*"}}';

let server;
before(async () => (server = await startServer({ config: `[guests]\nanonymous_policy = '''${ANYONE}'''\n` })));
after(async () => server.stop());

const open = async (protocolVersion = 5) => {
  const client = await mqtt.connectAsync(`${server.url.replace("http", "ws")}/mqtt`, { reconnectPeriod: 0, protocolVersion }, false);
  const waiting = [];
  let wake = () => {};
  client.on("message", (topic, payload, packet) => {
    waiting.push({ topic, text: payload.toString(), user: { ...packet.properties?.userProperties } });
    wake();
  });
  const next = async () => {
    while (!waiting.length) await new Promise((found) => (wake = found));
    return waiting.shift();
  };
  return { client, next };
};

const recover = (client, room, userProperties) => client.subscribeAsync(room, { qos: 1, properties: { userProperties } });

test("what was missed is recovered, and what comes next comes live", async () => {
  const room = `chat/${freshName("r")}`;
  const [ada, bob] = await Promise.all([open(), open(4)]);
  await ada.client.publishAsync(room, "one", { qos: 1 });
  await recover(ada.client, room, { "history-last": "10" });
  const answer = await ada.next();
  assert.equal(answer.topic, `$room/recovery/${room}`);
  assert.deepEqual(JSON.parse(answer.text).reason, "new");
  const { text, user } = await ada.next();
  assert.deepEqual([text, user.offset], ["one", "1"]);
  await ada.client.endAsync();
  await bob.client.publishAsync(room, "two", { qos: 1 });
  const again = await open();
  await recover(again.client, room, { "since-epoch": user.epoch, "since-offset": user.offset });
  assert.deepEqual(JSON.parse((await again.next()).text), { recovered: true, replayed: 1, missed: 1, epoch: user.epoch, offset: 2 });
  assert.equal((await again.next()).text, "two");
  await bob.client.publishAsync(room, "three", { qos: 0 });
  assert.deepEqual((await again.next()).user.offset, "3");
  await Promise.all([again.client.endAsync(), bob.client.endAsync()]);
});

for (const version of [4, 5]) {
  test(`members, events, values and seats in version ${version}`, async () => {
    const room = `game/${freshName("r")}`;
    const [ada, bob] = await Promise.all([open(version), open(version)]);
    await ada.client.subscribeAsync(`$room/presence/${room}`);
    assert.deepEqual(JSON.parse((await ada.next()).text).members, []);
    await bob.client.publishAsync(`$room/presence/${room}`, '{"name":"Bob"}', { qos: 1 });
    const [joined] = JSON.parse((await ada.next()).text).changes;
    assert.deepEqual([joined.type, joined.data], ["join", { name: "Bob" }]);
    await bob.client.publishAsync(`$room/seat/${room}`, '{"take":true}', { qos: 1 });
    assert.deepEqual(JSON.parse((await bob.next()).text), { seat: 1, seats: 16, taken: 1 });
    const [seated] = JSON.parse((await ada.next()).text).changes;
    assert.deepEqual([seated.type, seated.seat], ["update", 1]);
    await bob.client.publishAsync(`$room/state/pos/${room}`, "[1,2]", { qos: 1 });
    await ada.client.subscribeAsync([`$room/state/+/${room}`]);
    const { states } = JSON.parse((await ada.next()).text);
    assert.deepEqual([states.length, states[0].key, states[0].value], [1, "pos", [1, 2]]);
    await ada.client.subscribeAsync(`$room/event/+/${room}`);
    await bob.client.publishAsync(`$room/event/boom/${room}`, "now", { qos: 1 });
    assert.deepEqual((await ada.next()).topic, `$room/event/boom/${room}`);
    await Promise.all([ada.client.endAsync(), bob.client.endAsync()]);
  });
}
