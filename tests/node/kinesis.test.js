// Kinesis through the JavaScript SDKs. v3 speaks HTTP/2 without TLS (h2c, prior knowledge) and signs
// `:authority`; v2 speaks HTTP/1.1.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import * as v3 from "@aws-sdk/client-kinesis";
import AWS from "aws-sdk";
import { call, createSession, freshId, openEnvelope, keysOf, OPERATOR, REGION, startServer, STREAM } from "./fanfare.js";

let server;
before(async () => (server = await startServer()));
after(async () => server.stop());

const clients = {
  "v3 over h2c": (credentials = OPERATOR) => {
    const client = new v3.KinesisClient({ endpoint: server.url, region: REGION, credentials, maxAttempts: 1 });
    return { run: (name, input) => client.send(new v3[`${name}Command`](input)), end: () => client.destroy() };
  },
  "v2 over HTTP/1.1": (credentials = OPERATOR) => {
    const client = new AWS.Kinesis({ endpoint: server.url, region: REGION, credentials, maxRetries: 0 });
    return { run: (name, input) => client[name[0].toLowerCase() + name.slice(1)](input).promise(), end: () => {} };
  },
};
const nameOf = (error) => error.code ?? error.name;

/** The messages waiting for a session, oldest first. */
async function take(session, count) {
  const sqs = new AWS.SQS({ endpoint: server.url, region: REGION, credentials: keysOf(session), maxRetries: 0 });
  const QueueUrl = session.sqsUrl;
  const taken = [];
  while (taken.length < count) {
    const receive = { QueueUrl, MaxNumberOfMessages: 10, WaitTimeSeconds: 5 };
    const { Messages = [] } = await sqs.receiveMessage(receive).promise();
    assert.ok(Messages.length, `${taken.length} messages instead of ${count}`);
    for (const { Body, ReceiptHandle } of Messages) {
      taken.push(JSON.parse(await openEnvelope(session.aesKey, Body)).msg);
      await sqs.deleteMessage({ QueueUrl, ReceiptHandle }).promise();
    }
  }
  return taken;
}

for (const [name, connect] of Object.entries(clients)) {
  describe(`Kinesis ${name}`, () => {
    test("PutRecord and PutRecords reach the session in order", async () => {
      const kinesis = connect();
      const session = await createSession(server.url);
      const record = (msg) => ({
        Data: Buffer.from(JSON.stringify({ userId: session.userId, msg })),
        PartitionKey: "same",
      });
      const first = await kinesis.run("PutRecord", { StreamName: STREAM, ...record("0 é😀") });
      assert.match(first.SequenceNumber, /^(0|[1-9]\d{0,128})$/);
      const batch = await kinesis.run("PutRecords", { StreamName: STREAM, Records: [1, 2, 3].map(record) });
      assert.equal(batch.FailedRecordCount, 0);
      const rising = [first, ...batch.Records].map((r) => BigInt(r.SequenceNumber));
      assert.ok(rising.every((n, i) => i === 0 || n > rising[i - 1]));
      assert.deepEqual(await take(session, 4), ["0 é😀", 1, 2, 3]);
      kinesis.end();
    });

    test("the stream describes itself", async () => {
      const kinesis = connect();
      const { StreamDescriptionSummary: summary } = await kinesis.run("DescribeStreamSummary", { StreamName: STREAM });
      assert.equal(summary.StreamName, STREAM);
      assert.equal(summary.StreamStatus, "ACTIVE");
      assert.ok(summary.StreamCreationTimestamp instanceof Date);
      const { StreamDescription } = await kinesis.run("DescribeStream", { StreamName: STREAM });
      const { Shards } = await kinesis.run("ListShards", { StreamName: STREAM });
      assert.equal(Shards.length, summary.OpenShardCount);
      assert.equal(StreamDescription.Shards.length, Shards.length);
      assert.ok((await kinesis.run("ListStreams", {})).StreamNames.includes(STREAM));
      kinesis.end();
    });

    test("errors bear their names", async () => {
      const kinesis = connect();
      const record = { Data: Buffer.from("{}"), PartitionKey: "p" };
      await assert.rejects(kinesis.run("PutRecord", { StreamName: "missing", ...record }), (error) => {
        assert.equal(nameOf(error), "ResourceNotFoundException");
        return true;
      });
      kinesis.end();
      const wrong = connect({ ...OPERATOR, secretAccessKey: "wrong" });
      await assert.rejects(wrong.run("PutRecord", { StreamName: STREAM, ...record }), (error) => {
        assert.match(nameOf(error), /^(UnrecognizedClient|InvalidSignature)Exception$/);
        return true;
      });
      wrong.end();
      const session = connect(keysOf(await createSession(server.url)));
      await assert.rejects(session.run("PutRecord", { StreamName: STREAM, ...record }), (error) => {
        assert.equal(nameOf(error), "AccessDeniedException");
        return true;
      });
      session.end();
    });

    test("many calls at once share the connection", async () => {
      const kinesis = connect();
      const session = await createSession(server.url);
      const user = freshId();
      const put = (userId, msg) =>
        kinesis.run("PutRecord", {
          StreamName: STREAM,
          Data: Buffer.from(JSON.stringify({ userId, msg })),
          PartitionKey: `${msg}`,
        });
      await Promise.all(Array.from({ length: 40 }, (_, n) => put(n % 2 ? session.userId : user, n)));
      const odd = Array.from({ length: 20 }, (_, n) => 2 * n + 1);
      assert.deepEqual((await take(session, 20)).sort((a, b) => a - b), odd);
      assert.equal((await call(server.url, "GET", `/messages/unread/user/${user}`)).unread, 20);
      kinesis.end();
    });
  });
}
