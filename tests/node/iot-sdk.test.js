// AWS IoT's own SDKs, unchanged: the device SDK of 2015 and its last release, the device SDK v2 on the AWS CRT, and the
// data plane by HTTP. They insist on TLS, so the server has a certificate of its own.

import assert from "node:assert/strict";
import { once } from "node:events";
import { after, before, describe, test } from "node:test";
import { IoTDataPlaneClient, ListRetainedMessagesCommand, PublishCommand, GetRetainedMessageCommand } from "@aws-sdk/client-iot-data-plane";
import AWS from "aws-sdk";
import device from "aws-iot-device-sdk";
import seed from "aws-iot-device-sdk-seed";
import v2 from "aws-iot-device-sdk-v2";
import { freshName, OPERATOR, REGION, startServer } from "./fanfare.js";

let server;
before(async () => (server = await startServer({ tls: true, config: '[guests]\nallow = ["/serverless/*", "/game/*"]\n' })));
after(async () => server.stop());

/** A guest's keys, as the front ends of the prior art ask for them. */
const guestKeys = async () => (await fetch(`${server.url}/dev/iot/keys`)).json();

for (const [name, sdk] of Object.entries({ "1.0.14": seed, "2.2.16": device })) {
  describe(`aws-iot-device-sdk ${name}`, () => {
    const open = (keys) =>
      sdk.device({
        region: REGION,
        protocol: "wss",
        port: server.ports.https,
        host: "localhost",
        accessKeyId: keys.accessKey,
        secretKey: keys.secretKey,
        sessionToken: keys.sessionToken,
        websocketOptions: { protocol: "mqttv3.1", ca: server.ca },
      });

    for (const topic of ["/serverless/pubsub", "/game/pubsub"]) {
      test(`a guest talks on ${topic} and hears itself once, however often it subscribes`, async () => {
        const client = open(await guestKeys());
        await once(client, "connect");
        for (let n = 0; n < 2; n++) await new Promise((done) => client.subscribe(topic, { qos: 0 }, done));
        const got = [];
        client.on("message", (from, payload) => got.push([from, payload.toString()]));
        client.publish(topic, '{"playerId":1}');
        client.publish(topic, '{"playerId":2}');
        while (got.length < 2) await once(client, "message");
        await new Promise((done) => setTimeout(done, 300));
        assert.deepEqual(got, [[topic, '{"playerId":1}'], [topic, '{"playerId":2}']]);
        client.end(true);
      });
    }

    test("a bad signature closes the connection, and is no error of the page", async () => {
      const client = open({ ...(await guestKeys()), secretKey: "wrong" });
      client.on("error", () => {});
      client.on("connect", () => assert.fail("connected"));
      await once(client, "close");
      client.end(true);
    });
  });
}

describe("aws-iot-device-sdk-v2 1.28", () => {
  const { auth, iot, mqtt, mqtt5 } = v2;
  const provider = (keys) => auth.AwsCredentialsProvider.newStatic(keys.accessKeyId, keys.secretAccessKey, keys.sessionToken);

  test("MQTT 3.1.1", async () => {
    const builder = iot.AwsIotMqttConnectionConfigBuilder.new_with_websockets({
      region: REGION,
      credentials_provider: provider(OPERATOR),
    })
      .with_certificate_authority(server.ca.toString())
      .with_clean_session(true)
      .with_client_id(freshName("crt"))
      .with_endpoint("localhost")
      .with_port(server.ports.https);
    const connection = new mqtt.MqttClient().new_connection(builder.build());
    await connection.connect();
    const topic = freshName("t");
    let found;
    const heard = new Promise((resolve) => (found = resolve));
    await connection.subscribe(topic, mqtt.QoS.AtLeastOnce, (_topic, payload) => found(Buffer.from(payload).toString()));
    await connection.publish(topic, "hello", mqtt.QoS.AtLeastOnce);
    assert.equal(await heard, "hello");
    await connection.disconnect();
  });

  const modern = (keys) => {
    const builder = iot.AwsIotMqtt5ClientConfigBuilder.newWebsocketMqttBuilderWithSigv4Auth("localhost", {
      region: REGION,
      credentialsProvider: provider(keys),
    });
    builder.withCertificateAuthority(server.ca.toString()).withPort(server.ports.https);
    builder.withConnectProperties({ clientId: freshName("crt"), keepAliveIntervalSeconds: 30 });
    return new mqtt5.Mqtt5Client(builder.build());
  };

  test("MQTT 5", async () => {
    const client = modern(OPERATOR);
    const ready = once(client, "connectionSuccess");
    client.start();
    await ready;
    const topicName = freshName("t");
    await client.subscribe({ subscriptions: [{ topicFilter: topicName, qos: mqtt5.QoS.AtLeastOnce }] });
    const heard = once(client, "messageReceived");
    const puback = await client.publish({ topicName, qos: mqtt5.QoS.AtLeastOnce, payload: "hello", contentType: "text/plain" });
    assert.equal(puback.reasonCode, 0);
    const [{ message }] = await heard;
    assert.deepEqual([Buffer.from(message.payload).toString(), message.contentType], ["hello", "text/plain"]);
    const stopped = once(client, "stopped");
    client.stop();
    await stopped;
    client.close();
  });

  test("a bad signature is a failed upgrade", async () => {
    const client = modern({ ...OPERATOR, secretAccessKey: "wrong" });
    const failed = once(client, "connectionFailure");
    client.start();
    const [{ error }] = await failed;
    assert.match(String(error), /UPGRADE_FAILURE|upgrade/i);
    const stopped = once(client, "stopped");
    client.stop();
    await stopped;
    client.close();
  });
});

test("the data plane by HTTP, client-iot-data-plane v3 and aws-sdk v2", async () => {
  const v3 = new IoTDataPlaneClient({ endpoint: server.url, region: REGION, credentials: OPERATOR, maxAttempts: 1 });
  const old = new AWS.IotData({ endpoint: server.url, region: REGION, credentials: OPERATOR, maxRetries: 0 });
  const topic = `rooms/${freshName("é ")}/x`;
  const userProperties = JSON.stringify([{ a: "1" }]);
  await v3.send(new PublishCommand({ topic, qos: 1, retain: true, payload: Buffer.from("hello"), userProperties }));
  const found = await old.getRetainedMessage({ topic }).promise();
  assert.deepEqual([found.topic, found.payload.toString(), found.qos], [topic, "hello", 1]);
  const again = await v3.send(new GetRetainedMessageCommand({ topic }));
  assert.equal(Buffer.from(again.payload).toString(), "hello");
  assert.deepEqual(JSON.parse(Buffer.from(again.userProperties).toString()), [{ a: "1" }]);
  const { retainedTopics } = await v3.send(new ListRetainedMessagesCommand({}));
  assert.ok(retainedTopics.some((message) => message.topic === topic && message.payloadSize === 5));
  await old.publish({ topic, qos: 1, retain: true, payload: "" }).promise();
  await assert.rejects(v3.send(new GetRetainedMessageCommand({ topic })), { name: "ResourceNotFoundException" });
  await assert.rejects(old.getRetainedMessage({ topic }).promise(), { code: "ResourceNotFoundException" });
  await assert.rejects(v3.send(new PublishCommand({ topic: "a/#", qos: 0 })), { name: "InvalidRequestException" });
});
