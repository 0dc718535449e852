// SQS through the JavaScript SDK v3: the current client (JSON) and the last one of the Query protocol.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import * as current from "@aws-sdk/client-sqs";
import * as legacy from "@aws-sdk/client-sqs-query";
import { call, createSession, freshName, keysOf, openEnvelope, OPERATOR, REGION, startServer } from "./fanfare.js";

let server;
before(async () => (server = await startServer()));
after(async () => server.stop());

// What an unknown queue is called by each client (WIRE 0).
const NO_QUEUE = { json: "QueueDoesNotExist", query: "AWS.SimpleQueueService.NonExistentQueue" };

for (const [protocol, sdk] of Object.entries({ json: current, query: legacy })) {
  describe(`client-sqs, ${protocol}`, () => {
    const client = (credentials = OPERATOR) =>
      new sdk.SQSClient({ endpoint: server.url, region: REGION, credentials, maxAttempts: 1 });
    const send = (sqs, name, input) => sqs.send(new sdk[`${name}Command`](input));
    const newQueue = async (sqs, QueueName = freshName("js3"), Attributes = undefined) =>
      (await send(sqs, "CreateQueue", { QueueName, Attributes })).QueueUrl;

    test("a queue from creation to deletion", async () => {
      const sqs = client();
      const QueueName = freshName("js3");
      const QueueUrl = await newQueue(sqs, QueueName);
      assert.equal((await send(sqs, "GetQueueUrl", { QueueName })).QueueUrl, QueueUrl);
      assert.deepEqual((await send(sqs, "ListQueues", { QueueNamePrefix: QueueName })).QueueUrls, [QueueUrl]);
      await send(sqs, "SetQueueAttributes", { QueueUrl, Attributes: { VisibilityTimeout: "60" } });
      const { Attributes } = await send(sqs, "GetQueueAttributes", { QueueUrl, AttributeNames: ["All"] });
      assert.equal(Attributes.VisibilityTimeout, "60");
      await send(sqs, "TagQueue", { QueueUrl, Tags: { team: "red" } });
      assert.deepEqual((await send(sqs, "ListQueueTags", { QueueUrl })).Tags, { team: "red" });
      await send(sqs, "UntagQueue", { QueueUrl, TagKeys: ["team"] });
      await send(sqs, "AddPermission", {
        QueueUrl, Label: "l", AWSAccountIds: ["210987654321"], Actions: ["SendMessage"],
      });
      await send(sqs, "RemovePermission", { QueueUrl, Label: "l" });
      await send(sqs, "PurgeQueue", { QueueUrl });
      await send(sqs, "DeleteQueue", { QueueUrl });
      await assert.rejects(send(sqs, "ReceiveMessage", { QueueUrl }), { name: NO_QUEUE[protocol] });
    });

    test("a message from sending to deletion; the client checks each MD5", async () => {
      const sqs = client();
      const QueueUrl = await newQueue(sqs);
      const MessageAttributes = {
        text: { DataType: "String", StringValue: "é😀" },
        bytes: { DataType: "Binary", BinaryValue: new Uint8Array([0, 1, 255]) },
      };
      const sent = await send(sqs, "SendMessage", { QueueUrl, MessageBody: "hello é😀", MessageAttributes });
      const receive = { QueueUrl, MessageAttributeNames: ["All"], AttributeNames: ["All"], WaitTimeSeconds: 2 };
      const [message] = (await send(sqs, "ReceiveMessage", receive)).Messages;
      assert.equal(message.Body, "hello é😀");
      assert.equal(message.MessageId, sent.MessageId);
      assert.equal(message.Attributes.ApproximateReceiveCount, "1");
      assert.equal(message.MessageAttributes.text.StringValue, "é😀");
      assert.deepEqual([...message.MessageAttributes.bytes.BinaryValue], [0, 1, 255]);
      const { ReceiptHandle } = message;
      await send(sqs, "ChangeMessageVisibility", { QueueUrl, ReceiptHandle, VisibilityTimeout: 0 });
      const [again] = (await send(sqs, "ReceiveMessage", receive)).Messages;
      await send(sqs, "DeleteMessage", { QueueUrl, ReceiptHandle: again.ReceiptHandle });
      assert.equal((await send(sqs, "ReceiveMessage", { QueueUrl })).Messages, undefined);
    });

    test("the three batches", async () => {
      const sqs = client();
      const QueueUrl = await newQueue(sqs);
      const entries = Array.from({ length: 10 }, (_, n) => ({ Id: `e${n}`, MessageBody: `body ${n}` }));
      const sent = await send(sqs, "SendMessageBatch", { QueueUrl, Entries: entries });
      assert.equal(sent.Successful.length, 10);
      const { Messages } = await send(sqs, "ReceiveMessage", { QueueUrl, MaxNumberOfMessages: 10 });
      assert.deepEqual(Messages.map((m) => m.Body).sort(), entries.map((e) => e.MessageBody).sort());
      const handles = Messages.map((m, n) => ({ Id: `${n}`, ReceiptHandle: m.ReceiptHandle }));
      const seen = handles.map((entry) => ({ ...entry, VisibilityTimeout: 60 }));
      assert.equal((await send(sqs, "ChangeMessageVisibilityBatch", { QueueUrl, Entries: seen })).Successful.length, 10);
      const Entries = [...handles.slice(1), { Id: "bad", ReceiptHandle: "nonsense" }];
      const deleted = await send(sqs, "DeleteMessageBatch", { QueueUrl, Entries });
      assert.equal(deleted.Successful.length, 9);
      assert.deepEqual(deleted.Failed.map((f) => [f.Id, f.Code, f.SenderFault]), [
        ["bad", "ReceiptHandleIsInvalid", true],
      ]);
    });

    test("a FIFO queue keeps order and drops repetitions", async () => {
      const sqs = client();
      const QueueUrl = await newQueue(sqs, freshName("js3") + ".fifo", { FifoQueue: "true" });
      const post = (body) =>
        send(sqs, "SendMessage", {
          QueueUrl, MessageBody: body, MessageGroupId: "g", MessageDeduplicationId: body,
        });
      const first = await post("a");
      for (const body of ["b", "a", "c"]) await post(body);
      assert.equal((await post("a")).SequenceNumber, first.SequenceNumber);
      const { Messages } = await send(sqs, "ReceiveMessage", { QueueUrl, MaxNumberOfMessages: 10 });
      assert.deepEqual(Messages.map((m) => m.Body), ["a", "b", "c"]);
    });

    test("dead letters and their way back", async () => {
      const sqs = client();
      const dead = await newQueue(sqs);
      const arnOf = async (QueueUrl) =>
        (await send(sqs, "GetQueueAttributes", { QueueUrl, AttributeNames: ["QueueArn"] })).Attributes.QueueArn;
      const deadLetterTargetArn = await arnOf(dead);
      const RedrivePolicy = JSON.stringify({ deadLetterTargetArn, maxReceiveCount: 1 });
      const source = await newQueue(sqs, undefined, { RedrivePolicy });
      assert.deepEqual((await send(sqs, "ListDeadLetterSourceQueues", { QueueUrl: dead })).queueUrls, [source]);
      await send(sqs, "SendMessage", { QueueUrl: source, MessageBody: "x" });
      const receive = { QueueUrl: source, VisibilityTimeout: 0 };
      assert.equal((await send(sqs, "ReceiveMessage", receive)).Messages.length, 1);
      assert.equal((await send(sqs, "ReceiveMessage", receive)).Messages, undefined);
      await send(sqs, "StartMessageMoveTask", { SourceArn: deadLetterTargetArn });
      const { Results } = await send(sqs, "ListMessageMoveTasks", { SourceArn: deadLetterTargetArn });
      assert.ok(["RUNNING", "COMPLETED"].includes(Results[0].Status));
      const back = await send(sqs, "ReceiveMessage", { QueueUrl: source, WaitTimeSeconds: 10 });
      assert.equal(back.Messages[0].Body, "x");
      await assert.rejects(send(sqs, "CancelMessageMoveTask", { TaskHandle: "nonsense" }), {
        name: "ResourceNotFoundException",
      });
    });

    test("errors bear the name this client knows", async () => {
      const sqs = client();
      const QueueUrl = await newQueue(sqs);
      const missing = QueueUrl + "-missing";
      await assert.rejects(send(sqs, "SendMessage", { QueueUrl: missing, MessageBody: "x" }), (error) => {
        assert.equal(error.name, NO_QUEUE[protocol]);
        assert.equal(error.Code, "AWS.SimpleQueueService.NonExistentQueue");
        assert.equal(error.$metadata.httpStatusCode, 400);
        assert.ok(error.$metadata.requestId);
        assert.ok(error.message);
        return true;
      });
      await assert.rejects(send(sqs, "ReceiveMessage", { QueueUrl, MaxNumberOfMessages: 11 }), (error) => {
        assert.match(error.message, /^Value 11 for parameter MaxNumberOfMessages is invalid/);
        return error.$metadata.httpStatusCode === 400;
      });
      await assert.rejects(send(sqs, "DeleteMessage", { QueueUrl, ReceiptHandle: "nonsense" }), {
        name: "ReceiptHandleIsInvalid",
      });
      const wrong = client({ ...OPERATOR, secretAccessKey: "wrong" });
      await assert.rejects(send(wrong, "ListQueues", {}), (error) => error.$metadata.httpStatusCode === 403);
    });

    test("a session reads its own queue with its own keys and opens the envelope", async () => {
      const session = await createSession(server.url);
      await call(server.url, "POST", `/notify/user/${session.userId}`, { msg: "é ✓ 😀" });
      const sqs = client(keysOf(session));
      const QueueUrl = session.sqsUrl;
      const [message] = (await send(sqs, "ReceiveMessage", { QueueUrl, WaitTimeSeconds: 5 })).Messages;
      assert.equal(JSON.parse(await openEnvelope(session.aesKey, message.Body)).msg, "é ✓ 😀");
      await send(sqs, "DeleteMessage", { QueueUrl, ReceiptHandle: message.ReceiptHandle });
      await assert.rejects(send(sqs, "SendMessage", { QueueUrl, MessageBody: "forged" }), (error) => {
        assert.match(error.name, /^AccessDenied(Exception)?$/);
        return error.$metadata.httpStatusCode === 403;
      });
    });

    test("a long poll can be given up, and takes no message with it", async () => {
      const session = await createSession(server.url);
      const sqs = client(keysOf(session));
      const QueueUrl = session.sqsUrl;
      const abort = new AbortController();
      setTimeout(() => abort.abort(), 500);
      const poll = sqs.send(new sdk.ReceiveMessageCommand({ QueueUrl, WaitTimeSeconds: 20 }), {
        abortSignal: abort.signal,
      });
      await assert.rejects(poll, { name: "AbortError" });
      await new Promise((done) => setTimeout(done, 300));
      await call(server.url, "GET", `/notify/user/${session.userId}?msg=next`);
      const { Messages } = await send(sqs, "ReceiveMessage", { QueueUrl, WaitTimeSeconds: 5 });
      assert.equal(Messages.length, 1);
    });

    test("a long poll wakes at once", async () => {
      const session = await createSession(server.url);
      const sqs = client(keysOf(session));
      const poll = send(sqs, "ReceiveMessage", { QueueUrl: session.sqsUrl, WaitTimeSeconds: 20 });
      await new Promise((done) => setTimeout(done, 500));
      const posted = Date.now();
      await call(server.url, "GET", `/notify/user/${session.userId}?msg=now`);
      assert.equal((await poll).Messages.length, 1);
      assert.ok(Date.now() - posted < 1500);
    });
  });
}
