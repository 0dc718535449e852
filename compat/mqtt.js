// What any MQTT client must be able to do here. Each check has connections of its own, so that what is broken is one row.

import { openEnvelope } from "/client/fanfare.js";
import { credentials, current, notify } from "./backend.js";
import { same, words } from "./check.js";

/** @typedef {import("./peers.js").Open} Open */
/** @typedef {import("./peers.js").Peer} Peer */

const MQTT = `${location.origin.replace(/^http/, "ws")}/mqtt`;
const freshTopic = () => `compat/${Math.random().toString(36).slice(2)}`;

async function signedUrl() {
  const { presign } = await import("/compat/dist/aws.js");
  return presign(MQTT, current().region, credentials());
}

/**
 * Does something with a client, and ends it.
 * @param {Open} open
 * @param {(peer: Peer, topic: string) => Promise<string | void>} work
 * @param {string} [url]
 */
async function connected(open, work, url) {
  const peer = await open(url ?? (await signedUrl()));
  try {
    return await work(peer, freshTopic());
  } finally {
    await peer.end();
  }
}

/** Publishes, and waits for it. @param {Peer} peer @param {string} topic @param {0 | 1} qos */
async function echo(peer, topic, qos) {
  const text = `hello é😀 ${qos}`;
  await peer.publish(topic, text, { qos });
  const heard = await peer.heard.next(topic);
  same([heard.text, heard.retain], [text, false], "What came back");
}

/** @param {0 | 1} qos @returns {(peer: Peer, topic: string) => Promise<void>} */
const talks = (qos) => async (peer, topic) => {
  await peer.subscribe(topic);
  await echo(peer, topic, qos);
};

/** @param {Peer} peer @param {string} topic */
async function retained(peer, topic) {
  await peer.publish(topic, "kept", { qos: 1, retain: true });
  await peer.subscribe(topic);
  const kept = await peer.heard.next(topic);
  same([kept.text, kept.retain], ["kept", true], "What waited");
  await peer.unsubscribe(topic);
  await peer.publish(topic, "", { qos: 1, retain: true });
  // If it were still there, it would come before this.
  await talks(1)(peer, topic);
}

/** @param {Peer} peer @param {string} topic */
async function reconnects(peer, topic) {
  await peer.subscribe(topic);
  const back = peer.returned();
  peer.sever();
  await back;
  await echo(peer, topic, 1);
}

/** @param {Peer} peer @param {string} topic */
async function readsQueue(peer, topic) {
  const session = current();
  await peer.subscribe(session.topic);
  await notify("by MQTT");
  const { text } = await peer.heard.next(session.topic);
  const { text: said } = JSON.parse(await openEnvelope(text, session));
  same(said, "by MQTT", "What was in the envelope");
  // A client that is ended at once may not have acknowledged it, and it would come again; this goes after that.
  await talks(1)(peer, topic);
}

/** @param {Open} open @param {Peer} peer @param {string} topic */
async function will(open, peer, topic) {
  await peer.subscribe(topic);
  const dying = await open(await signedUrl(), { will: { topic, payload: "gone" } });
  try {
    dying.sever();
    same((await peer.heard.next(topic)).text, "gone", "The will");
  } finally {
    await dying.end();
  }
}

/** Who is let in by a password is the configuration's to say; that nobody else is can be tried anywhere. @param {Open} open */
async function strangerRefused(open) {
  const login = { username: `stranger-${Math.random().toString(36).slice(2)}`, password: "guessed" };
  const peer = await open(MQTT, { login }).catch((error) => error);
  if (!(peer instanceof Error)) {
    await peer.end();
    throw new Error("It was let in.");
  }
  const told = words(peer);
  // 0x86, which MQTT 3.1.1 has as 4.
  if (!/user ?name or password|0x86/i.test(told)) throw new Error(`It did not learn why: ${told}`);
  return told;
}

/** @param {Open} open @returns {import("./check.js").Check[]} */
export const mqttChecks = (open) => [
  { what: "connects by a presigned URL", run: () => connected(open, async () => {}) },
  { what: "publishes and hears, QoS 0", run: () => connected(open, talks(0)) },
  { what: "publishes and hears, QoS 1", run: () => connected(open, talks(1)) },
  { what: "a retained message waits, until it is removed", run: () => connected(open, retained) },
  { what: "its will is sent when its connection breaks", run: () => connected(open, (peer, topic) => will(open, peer, topic)) },
  { what: "comes back after its connection broke", run: () => connected(open, reconnects) },
  { what: "reads the session’s queue and decrypts", run: () => connected(open, readsQueue) },
  {
    what: "connects with a token, as pages do that can not sign",
    run: () => connected(open, talks(1), `${MQTT}?token=${current().connectToken}`),
  },
  { what: "is refused with a wrong user name and password, and learns why", run: () => strangerRefused(open) },
];
