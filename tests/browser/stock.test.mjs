// The stock clients for browsers, in one: AWS IoT's old device SDK, MQTT.js, SQS and Cognito of the SDK for JavaScript.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import {
  browserBundle, bundle, call, createSession, freshName, keysOf, OPERATOR, REGION, startBrowser, startServer, startSite,
} from "./harness.mjs";

const ROOM = "/serverless/pubsub";
const OLD = { "1.0.14": "aws-iot-device-sdk-seed", "2.2.16": "aws-iot-device-sdk" };
const page = (script) => `<!doctype html><html lang="en"><title>Client</title><script src="${script}"></script></html>`;
/** Chromium reports a WebSocket that fails; no page can prevent that. */
const SOCKET_FAILED = /WebSocket connection to .* failed/;

let server, browser, site;
before(async () => {
  server = await startServer({ tls: true, config: `[guests]\nallow = ["${ROOM}"]\n` });
  browser = await startBrowser();
  const files = { "/clients.html": page("/clients.js"), "/clients.js": await bundle("clients.mjs") };
  files["/decrypt.mjs"] = readFileSync(new URL("../../examples/decrypt.mjs", import.meta.url), "utf8");
  for (const [version, folder] of Object.entries(OLD)) {
    files[`/${version}.js`] = await browserBundle(folder, "aws-iot-device-sdk");
    files[`/${version}.html`] = page(`/${version}.js`);
  }
  site = await startSite({ files });
});
after(async () => {
  await browser.close();
  await site.stop();
  await server.stop();
});

for (const version of Object.keys(OLD)) {
  describe(`aws-iot-device-sdk ${version} over wss with a presigned URL`, () => {
    /** Opens a page with a connected guest; what happens to it is in the page's `happened`, what it heard in `got`. */
    const connected = async (t, { secretKey, allow } = {}) => {
      const keys = await (await fetch(`${server.url}/dev/iot/keys`)).json();
      const opened = await browser.open(t, `${site.url}/${version}.html`, { allow });
      await opened.evaluate(([keys, port, topic]) => {
        Object.assign(globalThis, { got: [], happened: [] });
        globalThis.client = require("aws-iot-device-sdk").device({
          region: keys.region, protocol: "wss", port, host: "localhost",
          accessKeyId: keys.accessKey, secretKey: keys.secretKey, sessionToken: keys.sessionToken,
        });
        for (const event of ["connect", "close", "offline", "error"]) client.on(event, () => happened.push(event));
        client.on("message", (topic, payload) => got.push(`${topic} ${payload}`));
        client.subscribe(topic, { qos: 0 }, () => happened.push("subscribed"));
      }, [{ ...keys, secretKey: secretKey ?? keys.secretKey }, server.ports.https, ROOM]);
      return opened;
    };
    const times = (opened, event, count) =>
      opened.waitForFunction(([event, count]) => happened.filter((one) => one === event).length >= count, [event, count]);

    test("it connects, subscribes, publishes and hears itself once", async (t) => {
      const opened = await connected(t);
      await times(opened, "subscribed", 1);
      // As the front ends of the prior art do: once by itself, once when it is connected.
      await opened.evaluate((topic) => new Promise((done) => client.subscribe(topic, { qos: 0 }, done)), ROOM);
      await opened.evaluate((topic) => ["1", "é😀"].forEach((text) => client.publish(topic, text)), ROOM);
      await opened.waitForFunction(() => got.length >= 2);
      await opened.waitForTimeout(300);
      assert.deepEqual(await opened.evaluate(() => got), [`${ROOM} 1`, `${ROOM} é😀`]);
    });

    test("it is back after the server was started again, with its subscription and what it could not send", async (t) => {
      const opened = await connected(t, { allow: [SOCKET_FAILED] });
      await times(opened, "subscribed", 1);
      await server.restart(async () => {
        await times(opened, "close", 2);
        await opened.evaluate((topic) => client.publish(topic, "sent while it was down"), ROOM);
      });
      await times(opened, "connect", 2);
      await opened.waitForFunction(() => got.length >= 1);
      assert.deepEqual(await opened.evaluate(() => got), [`${ROOM} sent while it was down`]);
    });

    test("a bad signature is a closed connection, not an error of the page", async (t) => {
      const opened = await connected(t, { secretKey: "wrong", allow: [SOCKET_FAILED] });
      await times(opened, "close", 2);
      const happened = await opened.evaluate(() => happened);
      assert.ok(!happened.includes("connect") && !happened.includes("error"), `${happened}`);
    });
  });
}

/** A page with MQTT.js, SQS and Cognito. */
const clients = (t, allow = []) => browser.open(t, `${site.url}/clients.html`, { allow });

for (const protocolVersion of [4, 5]) {
  for (const way of ["ws", "wss"]) {
    test(`MQTT.js, version ${protocolVersion} over ${way}, talks and comes back with a new signature`, async (t) => {
      const opened = await clients(t, [SOCKET_FAILED]);
      const url = (way === "ws" ? server.url : server.tlsUrl).replace("http", "ws");
      const topic = freshName("t");
      await opened.evaluate(async ([url, region, keys, topic, protocolVersion]) => {
        Object.assign(globalThis, { got: [], opened: 0, failed: 0 });
        // A URL is good for a few minutes: a new one is made for each attempt.
        let signed = await presign(url, region, keys);
        globalThis.client = mqtt.connect(url, { protocolVersion, reconnectPeriod: 200, transformWsUrl: () => signed });
        client.on("close", async () => {
          failed += 1;
          signed = await presign(url, region, keys);
        });
        client.on("connect", () => (opened += 1));
        client.on("message", (topic, payload, packet) => got.push([topic, `${payload}`, packet.qos]));
        await client.subscribeAsync(topic, { qos: 2 });
        for (const qos of [0, 1, 2]) await client.publishAsync(topic, `é😀 ${qos}`, { qos });
      }, [url, REGION, OPERATOR, topic, protocolVersion]);
      await opened.waitForFunction(() => got.length >= 3);
      assert.deepEqual(await opened.evaluate(() => got), [0, 1, 2].map((qos) => [topic, `é😀 ${qos}`, qos]));
      await server.restart(() => opened.waitForFunction(() => failed >= 2));
      await opened.waitForFunction(() => opened >= 2);
      await opened.evaluate((topic) => client.publishAsync(topic, "back", { qos: 1 }), topic);
      await opened.waitForFunction(() => got.length >= 4);
      assert.deepEqual((await opened.evaluate(() => got)).at(-1), [topic, "back", 1]);
    });
  }
}

test("a guest by Cognito plays with MQTT.js", async (t) => {
  const opened = await clients(t);
  const heard = await opened.evaluate(async ([endpoint, region, operator, topic]) => {
    const backend = new cognito.CognitoIdentityClient({ endpoint, region, credentials: operator });
    const { IdentityPools } = await backend.send(new cognito.ListIdentityPoolsCommand({ MaxResults: 1 }));
    const pool = IdentityPools[0].IdentityPoolId;
    const client = new cognito.CognitoIdentityClient({ endpoint, region, maxAttempts: 1 });
    const { IdentityId } = await client.send(new cognito.GetIdCommand({ IdentityPoolId: pool }));
    const { Credentials } = await client.send(new cognito.GetCredentialsForIdentityCommand({ IdentityId }));
    const { AccessKeyId, SecretKey, SessionToken } = Credentials;
    const keys = { accessKeyId: AccessKeyId, secretAccessKey: SecretKey, sessionToken: SessionToken };
    const player = await mqtt.connectAsync(await presign(endpoint.replace("http", "ws"), region, keys));
    const message = new Promise((found) => player.on("message", (_topic, payload) => found(`${payload}`)));
    await player.subscribeAsync(topic);
    await player.publishAsync(topic, "hello");
    const text = await message;
    await player.endAsync();
    return text;
  }, [server.url, REGION, OPERATOR, ROOM]);
  assert.equal(heard, "hello");
});

describe("client-sqs across origins", () => {
  /** A page with an SQS client in `queue`, and what Chromium sent: the methods, preflights among them. */
  const polling = async (t, session, options) => {
    const opened = await clients(t, options?.allow);
    const sent = [];
    const chrome = await opened.context().newCDPSession(opened);
    await chrome.send("Network.enable");
    chrome.on("Network.requestWillBeSent", ({ request }) => sent.push(request.method));
    await opened.evaluate(([endpoint, region, credentials]) => {
      globalThis.queue = new sqs.SQSClient({ endpoint, region, credentials, maxAttempts: 1 });
    }, [options?.url ?? server.url, REGION, keysOf(session)]);
    return { opened, sent };
  };
  const receive = (opened, session, seconds) =>
    opened.evaluate(async ([QueueUrl, WaitTimeSeconds]) => {
      const { Messages } = await queue.send(new sqs.ReceiveMessageCommand({ QueueUrl, WaitTimeSeconds }));
      return Messages ?? [];
    }, [session.sqsUrl, seconds]);

  for (const way of ["plain", "in TLS"]) {
    test(`a session's queue is long-polled, decrypted and emptied, ${way}`, async (t) => {
      const session = await createSession(server.url);
      const url = way === "plain" ? server.url : server.tlsUrl;
      const { opened, sent } = await polling(t, session, { url });
      const waiting = receive(opened, session, 20);
      await opened.waitForTimeout(500);
      await call(server.url, "POST", `/notify/user/${session.userId}`, { msg: "é😀" });
      const [message] = await waiting;
      const text = await opened.evaluate(
        async ([key, body]) => (await import("/decrypt.mjs")).openEnvelope(key, body),
        [session.aesKey, message.Body],
      );
      assert.equal(JSON.parse(text).msg, "é😀");
      await opened.evaluate(
        ([QueueUrl, ReceiptHandle]) => queue.send(new sqs.DeleteMessageCommand({ QueueUrl, ReceiptHandle })),
        [session.sqsUrl, message.ReceiptHandle],
      );
      // Without a word of the server Chromium would ask again after 5 s.
      await opened.waitForTimeout(6000);
      for (let n = 0; n < 3; n++) assert.deepEqual(await receive(opened, session, 0), []);
      const count = (method) => sent.filter((one) => one === method).length;
      assert.equal(count("POST"), 5, `${sent}`);
      // Its answer holds for the requests that follow.
      assert.equal(count("OPTIONS"), 1, `${sent}`);
    });
  }

  test("the page sees by its name why it is refused", async (t) => {
    const [session, other] = [await createSession(server.url), await createSession(server.url)];
    const { opened } = await polling(t, session, { allow: [/status of 403/] });
    const refused = (QueueUrl) =>
      opened.evaluate(
        (QueueUrl) => queue.send(new sqs.ReceiveMessageCommand({ QueueUrl })).then(() => "received", (error) => error.name),
        QueueUrl,
      );
    assert.match(await refused(other.sqsUrl), /^AccessDenied/);
    await call(server.url, "POST", `/destroy/${session.accountId}/${session.sessionId}/${session.userId}`);
    // Keys that are not known are not told apart from wrong ones.
    assert.equal(await refused(session.sqsUrl), "SignatureDoesNotMatch");
  });

  test("what is delivered to a page that is gone goes to the next", async (t) => {
    const session = await createSession(server.url);
    const first = await polling(t, session);
    receive(first.opened, session, 20).catch(() => {});
    await first.opened.waitForTimeout(500);
    await first.opened.close();
    const second = await polling(t, session);
    await call(server.url, "POST", `/notify/user/${session.userId}`, { msg: "for whoever is there" });
    const [message] = await receive(second.opened, session, 10);
    assert.equal(message.Body.includes("|"), true);
  });
});
