// SQS through the JavaScript SDK v2: the current one (JSON) and the last one of the Query protocol.
// It follows the host of a queue URL, and checks each body's MD5.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import current from "aws-sdk";
import legacy from "aws-sdk-query";
import { call, createSession, freshName, keysOf, openEnvelope, OPERATOR, REGION, startServer } from "./fanfare.js";

let server;
before(async () => (server = await startServer()));
after(async () => server.stop());

const NO_QUEUE = "AWS.SimpleQueueService.NonExistentQueue";

for (const [protocol, AWS] of Object.entries({ json: current, query: legacy })) {
  describe(`aws-sdk ${AWS.VERSION}, ${protocol}`, () => {
    const client = (credentials = OPERATOR) =>
      new AWS.SQS({ endpoint: server.url, region: REGION, credentials, maxRetries: 0 });
    const newQueue = async (sqs, QueueName = freshName("js2"), Attributes = undefined) =>
      (await sqs.createQueue({ QueueName, Attributes }).promise()).QueueUrl;

    test("speaks the protocol this case is for", () => {
      assert.equal(client().api.protocol, protocol);
    });

    test("a queue from creation to deletion", async () => {
      const sqs = client();
      const QueueName = freshName("js2");
      const QueueUrl = await newQueue(sqs, QueueName);
      assert.equal((await sqs.getQueueUrl({ QueueName }).promise()).QueueUrl, QueueUrl);
      assert.deepEqual((await sqs.listQueues({ QueueNamePrefix: QueueName }).promise()).QueueUrls, [QueueUrl]);
      await sqs.setQueueAttributes({ QueueUrl, Attributes: { DelaySeconds: "1" } }).promise();
      const read = await sqs.getQueueAttributes({ QueueUrl, AttributeNames: ["All"] }).promise();
      assert.equal(read.Attributes.DelaySeconds, "1");
      await sqs.tagQueue({ QueueUrl, Tags: { team: "red" } }).promise();
      assert.deepEqual((await sqs.listQueueTags({ QueueUrl }).promise()).Tags, { team: "red" });
      await sqs.untagQueue({ QueueUrl, TagKeys: ["team"] }).promise();
      await sqs.purgeQueue({ QueueUrl }).promise();
      await sqs.deleteQueue({ QueueUrl }).promise();
      await assert.rejects(sqs.receiveMessage({ QueueUrl }).promise(), { code: NO_QUEUE, statusCode: 400 });
    });

    test("a message from sending to deletion", async () => {
      const sqs = client();
      const QueueUrl = await newQueue(sqs);
      const MessageAttributes = { text: { DataType: "String", StringValue: "é😀" } };
      const sent = await sqs.sendMessage({ QueueUrl, MessageBody: "hello é😀", MessageAttributes }).promise();
      const receive = { QueueUrl, MessageAttributeNames: ["All"], AttributeNames: ["All"], WaitTimeSeconds: 2 };
      const [message] = (await sqs.receiveMessage(receive).promise()).Messages;
      assert.equal(message.Body, "hello é😀");
      assert.equal(message.MessageId, sent.MessageId);
      assert.equal(message.MessageAttributes.text.StringValue, "é😀");
      const { ReceiptHandle } = message;
      await sqs.changeMessageVisibility({ QueueUrl, ReceiptHandle, VisibilityTimeout: 60 }).promise();
      await sqs.deleteMessage({ QueueUrl, ReceiptHandle }).promise();
      assert.equal((await sqs.receiveMessage({ QueueUrl }).promise()).Messages?.length ?? 0, 0);
    });

    test("batches", async () => {
      const sqs = client();
      const QueueUrl = await newQueue(sqs);
      const Entries = Array.from({ length: 10 }, (_, n) => ({ Id: `e${n}`, MessageBody: `body ${n}` }));
      assert.equal((await sqs.sendMessageBatch({ QueueUrl, Entries }).promise()).Successful.length, 10);
      const { Messages } = await sqs.receiveMessage({ QueueUrl, MaxNumberOfMessages: 10 }).promise();
      const handles = Messages.map((m, n) => ({ Id: `${n}`, ReceiptHandle: m.ReceiptHandle }));
      assert.equal((await sqs.deleteMessageBatch({ QueueUrl, Entries: handles }).promise()).Successful.length, 10);
      const empty = sqs.sendMessageBatch({ QueueUrl, Entries: [] }).promise();
      await assert.rejects(empty, { code: "AWS.SimpleQueueService.EmptyBatchRequest" });
    });

    test("errors bear the code this client knows", async () => {
      const sqs = client();
      const QueueUrl = await newQueue(sqs);
      const checks = [
        [sqs.sendMessage({ QueueUrl: QueueUrl + "-missing", MessageBody: "x" }), NO_QUEUE, 400],
        [sqs.receiveMessage({ QueueUrl, MaxNumberOfMessages: 11 }), "InvalidParameterValue", 400],
        [sqs.deleteMessage({ QueueUrl, ReceiptHandle: "nonsense" }), "ReceiptHandleIsInvalid", 404],
        [sqs.getQueueUrl({ QueueName: freshName("missing") }), NO_QUEUE, 400],
      ];
      for (const [request, code, statusCode] of checks) {
        await assert.rejects(request.promise(), (error) => {
          assert.equal(error.code, code);
          assert.equal(error.statusCode, statusCode);
          assert.ok(error.message);
          return true;
        });
      }
      const wrong = client({ ...OPERATOR, secretAccessKey: "wrong" });
      await assert.rejects(wrong.listQueues().promise(), { statusCode: 403 });
    });

    test("a session reads its own queue and nothing else", async () => {
      const session = await createSession(server.url);
      await call(server.url, "POST", `/notify/user/${session.userId}`, { msg: "é ✓ 😀" });
      const sqs = client(keysOf(session));
      const QueueUrl = session.sqsUrl;
      const [message] = (await sqs.receiveMessage({ QueueUrl, WaitTimeSeconds: 5 }).promise()).Messages;
      assert.equal(JSON.parse(await openEnvelope(session.aesKey, message.Body)).msg, "é ✓ 😀");
      await sqs.deleteMessage({ QueueUrl, ReceiptHandle: message.ReceiptHandle }).promise();
      const forged = sqs.sendMessage({ QueueUrl, MessageBody: "forged" }).promise();
      await assert.rejects(forged, { code: "AccessDenied", statusCode: 403 });
      await call(server.url, "GET", `/destroy/${session.accountId}/${session.sessionId}/${session.userId}`);
      await assert.rejects(sqs.receiveMessage({ QueueUrl }).promise(), (error) => error.statusCode >= 400);
    });

    test("a long poll can be given up, and takes no message with it", async () => {
      const session = await createSession(server.url);
      const sqs = client(keysOf(session));
      const QueueUrl = session.sqsUrl;
      const poll = sqs.receiveMessage({ QueueUrl, WaitTimeSeconds: 20 });
      setTimeout(() => poll.abort(), 500);
      // Which of the two depends on the Node version.
      await assert.rejects(poll.promise(), (error) => /^(RequestAborted|Timeout)Error$/.test(error.code));
      await new Promise((done) => setTimeout(done, 300));
      await call(server.url, "GET", `/notify/user/${session.userId}?msg=next`);
      const { Messages } = await sqs.receiveMessage({ QueueUrl, WaitTimeSeconds: 5 }).promise();
      assert.equal(Messages.length, 1);
    });
  });
}
