// What the tests of the client share: a server, sessions on it, relays that end with their test, a proxy that cuts.

import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, createServer } from "node:net";
import { createRelay } from "../../client/index.js";
import { signHeaders } from "../../client/sign.js";
import { freshId, freshName, OPERATOR, REGION } from "../node/server.js";

export * from "../node/server.js";

const KEYS = { accessKey: OPERATOR.accessKeyId, secretKey: OPERATOR.secretAccessKey };

/** The answer to a request of the operator. */
export async function operator(server, method, path, data, service = "execute-api") {
  const body = data === undefined ? undefined : JSON.stringify(data);
  const url = server.url + path;
  // Not Date, which a test sets wrong.
  const now = performance.timeOrigin + performance.now();
  const headers = await signHeaders({ method, url, body, keys: KEYS, region: REGION, service, now });
  const answer = await fetch(url, { method, body, headers });
  const text = await answer.text();
  assert.ok(answer.ok, `${method} ${path}: ${answer.status} ${text}`);
  return JSON.parse(text);
}

/** How many messages a queue has, those in flight included. */
export async function queued(server, QueueUrl) {
  const body = JSON.stringify({ QueueUrl, AttributeNames: ["All"] });
  const headers = { "content-type": "application/x-amz-json-1.0", "x-amz-target": "AmazonSQS.GetQueueAttributes" };
  const request = { method: "POST", url: `${server.url}/`, body, headers, keys: KEYS, region: REGION, service: "sqs" };
  const answer = await fetch(request.url, { method: "POST", body, headers: await signHeaders(request) });
  const { Attributes } = await answer.json();
  return Number(Attributes.ApproximateNumberOfMessages) + Number(Attributes.ApproximateNumberOfMessagesNotVisible);
}

/** A session of a fresh user: `describe` is what the user's backend answers, fresh keys each time. */
export async function freshSession(server, query = "") {
  const [account, user, id] = [freshId(), freshId(), freshName("s")];
  const path = `${account}/${id}/${user}`;
  const calls = { count: 0 };
  return {
    user,
    path,
    calls,
    describe: async () => {
      calls.count++;
      return (await operator(server, "GET", `/create/${path}${query}`)).session;
    },
    notify: (data) => operator(server, "POST", `/notify/user/${user}`, data),
  };
}

/** A relay that is closed when the test ends; what arrives is in `got`, states in `states`. */
export function relayFor(t, session, options = {}) {
  const relay = createRelay({ session: session.describe, ...options });
  const got = [];
  const states = [];
  relay.on("message", (message) => got.push(message));
  relay.on("state", (state) => states.push(state));
  t.after(() => relay.close());
  return { relay, got, states };
}

/** Waits until `is` holds. */
export async function until(is, what = is.toString(), patience = 20_000) {
  const end = Date.now() + patience;
  while (!(await is())) {
    assert.ok(Date.now() < end, `in vain for: ${what}`);
    await new Promise((done) => setTimeout(done, 10));
  }
}

/** A way to the server that can be cut: `cut` ends all connections, `closed` refuses new ones, and with `mute` nothing comes back. */
export async function startProxy(t, port) {
  const pairs = new Set();
  const proxy = { closed: false, mute: false, connections: 0 };
  const listener = createServer((near) => {
    proxy.connections++;
    if (proxy.closed) return void near.destroy();
    const far = connect(port, "127.0.0.1");
    const pair = [near, far];
    pairs.add(pair);
    const end = () => {
      pairs.delete(pair);
      pair.forEach((socket) => socket.destroy());
    };
    for (const socket of pair) socket.on("error", end).on("close", end);
    near.pipe(far);
    far.on("data", (data) => proxy.mute || near.write(data));
  });
  await once(listener.listen(0, "127.0.0.1"), "listening");
  proxy.cut = () => [...pairs].forEach((pair) => pair.forEach((socket) => socket.destroy()));
  t.after(() => {
    proxy.cut();
    listener.close();
  });
  proxy.url = `http://127.0.0.1:${listener.address().port}`;
  return proxy;
}
