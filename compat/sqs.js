// AWS's client for SQS on the session's own queue, with the session's temporary keys.

import { openEnvelope } from "/client/fanfare.js";
import { credentials, current, notify } from "./backend.js";
import { same } from "./check.js";

/** So long the poll waits before there is something to receive. */
const QUIET_MS = 300;

/** @type {any} The message that was received; the checks after the first work with it. */ let message;

async function queue() {
  const { SQSClient, ...commands } = await import("/compat/dist/aws.js");
  const { region, sqsUrl: QueueUrl } = current();
  const client = new SQSClient({ endpoint: location.origin, region, credentials: credentials(), maxAttempts: 1 });
  return {
    receive: async (/** @type {number} */ WaitTimeSeconds) => {
      const { Messages = [] } = await client.send(new commands.ReceiveMessageCommand({ QueueUrl, WaitTimeSeconds, VisibilityTimeout: 1 }));
      return Messages;
    },
    remove: (/** @type {string} */ ReceiptHandle) => client.send(new commands.DeleteMessageCommand({ QueueUrl, ReceiptHandle })),
  };
}

async function polls() {
  const polling = (await queue()).receive(20);
  await new Promise((done) => setTimeout(done, QUIET_MS));
  const sent = performance.now();
  // Whichever fails first says why.
  const [messages] = await Promise.all([polling, notify("by SQS")]);
  same(messages.length, 1, "The number of messages");
  message = messages[0];
  return `It came ${Math.round(performance.now() - sent)} ms after it was sent.`;
}

async function decrypts() {
  const { text } = JSON.parse(await openEnvelope(message.Body, current()));
  same(text, "by SQS", "What was in the envelope");
}

async function removes() {
  const { receive, remove } = await queue();
  await remove(message.ReceiptHandle);
  // Longer than it would have been invisible.
  same(await receive(2), [], "What is still in the queue");
}

/** @type {import("./check.js").Check[]} */
export const sqsChecks = [
  { what: "a long poll gets a message as it is sent", run: polls },
  { what: "it is decrypted with WebCrypto", run: decrypts },
  { what: "it is deleted, and does not come again", run: removes },
];
