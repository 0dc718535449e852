// Topics through MQTT.js 5, over TCP and over WebSockets whose URL is signed (WIRE 4.2), in both versions of MQTT.

import assert from "node:assert/strict";
import { createHash, createHmac } from "node:crypto";
import { once } from "node:events";
import { after, before, describe, test } from "node:test";
import mqtt from "mqtt";
import { call, createSession, freshName, keysOf, openEnvelope, OPERATOR, REGION, startServer } from "./fanfare.js";

const ANYONE = '{"Statement":{"Effect":"Allow","Action":"iot:*","Resource":"*"}}';
const GUESTS = `[guests]\nallow = ["/serverless/*", "/game/*"]\nanonymous_policy = '''${ANYONE}'''\n`;

let server;
before(async () => (server = await startServer({ config: GUESTS })));
after(async () => server.stop());

const sha256 = (text) => createHash("sha256").update(text).digest("hex");
const hmac = (key, text) => createHmac("sha256", key).update(text).digest();

/** A signed URL as pages make it: the token comes after the signature, or before it and signed. */
function presigned(url, keys, { service = "iotdevicegateway", signedToken = false } = {}) {
  const { host } = new URL(url);
  const stamp = new Date().toISOString().replace(/[-:]|\.\d+/g, "");
  const scope = [stamp.slice(0, 8), REGION, service, "aws4_request"];
  const token = keys.sessionToken && `X-Amz-Security-Token=${encodeURIComponent(keys.sessionToken)}`;
  const query = [
    "X-Amz-Algorithm=AWS4-HMAC-SHA256",
    `X-Amz-Credential=${encodeURIComponent([keys.accessKeyId, ...scope].join("/"))}`,
    `X-Amz-Date=${stamp}`,
    signedToken && token ? ["X-Amz-Expires=300", token] : [],
    "X-Amz-SignedHeaders=host",
  ].flat();
  const canonical = ["GET", "/mqtt", query.join("&"), `host:${host}`, "", "host", sha256("")].join("\n");
  const text = ["AWS4-HMAC-SHA256", stamp, scope.join("/"), sha256(canonical)].join("\n");
  const key = scope.reduce(hmac, `AWS4${keys.secretAccessKey}`);
  query.push(`X-Amz-Signature=${hmac(key, text).toString("hex")}`);
  if (token && !signedToken) query.push(token);
  return `${url.replace(/^http/, "ws")}/mqtt?${query.join("&")}`;
}

const connect = (url, options = {}) =>
  mqtt.connectAsync(url, { reconnectPeriod: 0, connectTimeout: 10_000, ...options }, false);

/** Collects a client's messages; `next` waits for one more. */
function inbox(client) {
  const waiting = [];
  let wake = () => {};
  client.on("message", (topic, payload, packet) => {
    waiting.push({ topic, text: payload.toString(), packet });
    wake();
  });
  return {
    waiting,
    async next() {
      if (!waiting.length) await new Promise((found) => (wake = found));
      return waiting.shift();
    },
  };
}

for (const protocolVersion of [4, 5]) {
  for (const way of ["tcp", "ws"]) {
    describe(`MQTT.js, version ${protocolVersion} over ${way}`, () => {
      const address = () => (way === "tcp" ? `mqtt://127.0.0.1:${server.ports.mqtt}` : `${server.url.replace("http", "ws")}/mqtt`);
      const open = (options) => connect(address(), { protocolVersion, ...options });

      test("each quality of service, in order", async () => {
        const [reader, writer] = await Promise.all([open(), open()]);
        const got = inbox(reader);
        const room = freshName("room");
        for (const qos of [0, 1, 2]) {
          const [granted] = await reader.subscribeAsync(`${room}/${qos}`, { qos });
          assert.equal(granted.qos, qos);
          for (let n = 0; n < 10; n++) await writer.publishAsync(`${room}/${qos}`, `${n}`, { qos });
          for (let n = 0; n < 10; n++) {
            const { text, packet } = await got.next();
            assert.deepEqual([text, packet.qos], [`${n}`, qos]);
          }
        }
        await Promise.all([reader.endAsync(), writer.endAsync()]);
      });

      test("retained messages and wills", async () => {
        const topic = freshName("t");
        const doomed = await open({ will: { topic, payload: "lost", qos: 1, retain: true } });
        doomed.stream.destroy();
        const late = await open();
        const got = inbox(late);
        await late.subscribeAsync(topic);
        assert.equal((await got.next()).text, "lost");
        await late.endAsync();
      });

      test("a session goes on where it was", async () => {
        const topic = freshName("t");
        const options = { clientId: freshName("c"), clean: false, properties: { sessionExpiryInterval: 60 } };
        const first = await open(options);
        await first.subscribeAsync(topic, { qos: 1 });
        await first.endAsync();
        const writer = await open();
        await writer.publishAsync(topic, "while you were away", { qos: 1 });
        await writer.endAsync();
        const client = mqtt.connect(address(), { protocolVersion, reconnectPeriod: 0, ...options });
        const got = inbox(client);
        const [connack] = await once(client, "connect");
        assert.equal(connack.sessionPresent, true);
        assert.equal((await got.next()).text, "while you were away");
        await client.endAsync();
      });
    });
  }

  describe(`signed URLs, version ${protocolVersion}`, () => {
    const forms = [{}, { service: "iotdata" }, { signedToken: true }];
    for (const form of forms) {
      test(`a session reads its queue with ${JSON.stringify(form)}`, async () => {
        const session = await createSession(server.url);
        await call(server.url, "POST", `/notify/user/${session.userId}`, { msg: "é😀" });
        const client = await connect(presigned(server.url, keysOf(session), form), { protocolVersion });
        const got = inbox(client);
        await client.subscribeAsync(session.topic, { qos: 1 });
        const { text, packet } = await got.next();
        assert.equal(JSON.parse(await openEnvelope(session.aesKey, text)).msg, "é😀");
        assert.equal(packet.qos, 1);
        await client.endAsync();
      });
    }

    test("a guest with the keys of /iot/keys plays", async () => {
      const keys = await (await fetch(`${server.url}/dev/iot/keys`)).json();
      const guest = { accessKeyId: keys.accessKey, secretAccessKey: keys.secretKey, sessionToken: keys.sessionToken };
      const client = await connect(presigned(server.url, guest), { protocolVersion });
      const got = inbox(client);
      for (const topic of ["/serverless/pubsub", "/game/pubsub"]) {
        await client.subscribeAsync(topic);
        await client.publishAsync(topic, topic);
        assert.equal((await got.next()).text, topic);
      }
      const refused = await client.subscribeAsync("elsewhere").catch((error) => error);
      assert.ok(refused instanceof Error || refused[0].qos >= 0x80, JSON.stringify(refused));
      await client.endAsync();
    });

    test("a bad signature is refused at the upgrade", async () => {
      const url = presigned(server.url, { ...OPERATOR, secretAccessKey: "wrong" });
      const client = mqtt.connect(url, { protocolVersion, reconnectPeriod: 0 });
      client.on("connect", () => assert.fail("connected"));
      const [error] = await once(client.stream, "error");
      assert.match(error.message, /403/);
      await client.endAsync(true);
    });
  });
}

test("request and response with the properties of MQTT 5", async () => {
  const url = `mqtt://127.0.0.1:${server.ports.mqtt}`;
  const [asker, answerer] = await Promise.all([1, 2].map(() => connect(url, { protocolVersion: 5 })));
  const topic = freshName("service");
  await answerer.subscribeAsync(topic);
  answerer.on("message", (_topic, payload, { properties }) =>
    answerer.publish(properties.responseTopic, payload.toString().toUpperCase(), {
      properties: { correlationData: properties.correlationData, userProperties: { a: ["1", "2"] } },
    }),
  );
  const got = inbox(asker);
  const responseTopic = freshName("answers");
  await asker.subscribeAsync(responseTopic, { properties: { subscriptionIdentifier: 7 } });
  const correlationData = Buffer.from([0, 1, 255]);
  await asker.publishAsync(topic, "x", { properties: { responseTopic, correlationData } });
  const { text, packet } = await got.next();
  assert.equal(text, "X");
  assert.deepEqual(Buffer.from(packet.properties.correlationData), correlationData);
  assert.deepEqual([...packet.properties.userProperties.a], ["1", "2"]);
  assert.equal(packet.properties.subscriptionIdentifier, 7);
  await Promise.all([asker.endAsync(), answerer.endAsync()]);
});
