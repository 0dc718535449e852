/** Long polls of the session's queue, for where WebSockets do not get through. */

/** @typedef {(operation: string, body: object, signal: AbortSignal) => Promise<any>} Call */

const WAIT_S = 20;
const MOST = 10;
/** So soon a message comes again whose answer was lost on its way. */
const VISIBILITY_S = 10;

/**
 * Reads the queue until `signal` says that it is enough. Messages are deleted when `take` is done with them; what it did
 * not take is visible again after a while.
 * @param {string} queueUrl
 * @param {Call} call an operation of SQS, signed
 * @param {(envelope: string) => Promise<unknown>} take
 * @param {() => void} reached told after each answer
 * @param {AbortSignal} signal told that it is enough; what is under way is still read
 * @param {AbortSignal} end told that nobody waits for that either
 */
export async function poll(queueUrl, call, take, reached, signal, end) {
  const receive = { QueueUrl: queueUrl, MaxNumberOfMessages: MOST, VisibilityTimeout: VISIBILITY_S };
  // The first answer comes at once, so that whoever connects learns soon that it works.
  for (let wait = 0; !signal.aborted; wait = WAIT_S) {
    const { Messages = [] } = await call("ReceiveMessage", { ...receive, WaitTimeSeconds: wait }, end);
    reached();
    const entries = [];
    for (const { Body, ReceiptHandle } of Messages) {
      await take(Body);
      entries.push({ Id: `${entries.length}`, ReceiptHandle });
    }
    // Also when it is enough meanwhile: what was taken must not come again.
    if (entries.length) await call("DeleteMessageBatch", { QueueUrl: queueUrl, Entries: entries }, AbortSignal.timeout(10_000));
  }
}
