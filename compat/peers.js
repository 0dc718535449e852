// The MQTT clients, each as its users have it, behind what the checks need of any.

import { within } from "./check.js";
import { breaker } from "./socket.js";

/** @typedef {{ topic: string, text: string, retain: boolean }} Message */
/** @typedef {{ topic: string, payload: string }} Will */
/** @typedef {{ username: string, password: string }} Login */

/**
 * A connected client.
 * @typedef {object} Peer
 * @property {Heard} heard
 * @property {(topic: string, text: string, options: { qos: 0 | 1, retain?: boolean }) => Promise<unknown>} publish
 * @property {(filter: string) => Promise<unknown>} subscribe with quality of service 1
 * @property {(filter: string) => Promise<unknown>} unsubscribe
 * @property {() => void} sever breaks its connection
 * @property {() => Promise<unknown>} returned resolves when it has connected again by itself, and has its subscriptions
 * @property {() => Promise<unknown>} end
 */

/** @typedef {(url: string, more?: { will?: Will, login?: Login }) => Promise<Peer>} Open */

/** What a client was sent, for checks that wait for something. */
export class Heard {
  /** @type {Message[]} */
  #messages = [];
  #wake = () => {};

  /** @param {Message} message */
  add(message) {
    this.#messages.push(message);
    this.#wake();
  }

  /** The next message on a topic. @param {string} topic */
  next(topic) {
    return within(this.#next(topic), "No message came");
  }

  /** @param {string} topic */
  async #next(topic) {
    for (;;) {
      const at = this.#messages.findIndex((message) => message.topic === topic);
      if (at >= 0) return this.#messages.splice(at, 1)[0];
      await new Promise((/** @type {(value?: unknown) => void} */ woken) => (this.#wake = woken));
    }
  }
}

const SOON_MS = 200;
const END_MS = 1000;
const NO_ANSWER = "The server did not answer the subscription";
const NO_ACKNOWLEDGEMENT = "The publication was not acknowledged";
const NOT_BACK = "It did not connect again";
const freshId = () => `compat-${Math.random().toString(36).slice(2)}`;

/** MQTT.js. @param {4 | 5} protocolVersion @returns {Open} */
export const mqttJs = (protocolVersion) => async (url, { will, login } = {}) => {
  const { mqtt } = await import("/compat/dist/mqtt.js");
  const options = {
    protocolVersion,
    clientId: freshId(),
    reconnectPeriod: SOON_MS,
    will: will && { ...will, qos: 0, retain: false },
    ...login,
    // Its other timers run in a worker that is made of text, which this page's content security policy forbids.
    timerVariant: "native",
  };
  const client = await mqtt.connectAsync(url, options, false);
  const heard = new Heard();
  client.on("message", (/** @type {string} */ topic, /** @type {Uint8Array} */ payload, /** @type {any} */ { retain }) =>
    heard.add({ topic, text: String(payload), retain }),
  );
  return {
    heard,
    publish: (topic, text, how) => within(client.publishAsync(topic, text, how), NO_ACKNOWLEDGEMENT),
    subscribe: (filter) => within(client.subscribeAsync(filter, { qos: 1 }), NO_ANSWER),
    unsubscribe: (filter) => within(client.unsubscribeAsync(filter), NO_ANSWER),
    sever: breaker(),
    // It subscribes again before it tells.
    returned: () => within(new Promise((done) => client.once("connect", done)), NOT_BACK),
    // What the server has refused would wait for its answer for ever.
    end: () => within(client.endAsync(), "It did not end", END_MS).catch(() => client.stream.destroy()),
  };
};

/** AWS IoT's device SDK v2, MQTT 5. By itself it signs for port 443 alone, so it is given the signed URL. @type {Open} */
export const deviceSdk = async (url, { will, login } = {}) => {
  const { mqtt5 } = await import("/compat/dist/iot.js");
  const { Mqtt5Client, Mqtt5WebsocketUrlFactoryType, QoS } = mqtt5;
  const client = new Mqtt5Client({
    hostName: location.hostname,
    port: Number(new URL(url).port),
    connectProperties: {
      clientId: freshId(),
      keepAliveIntervalSeconds: 60,
      will: will && { topicName: will.topic, payload: will.payload, qos: QoS.AtMostOnce },
      ...(login && { username: login.username, password: new TextEncoder().encode(login.password) }),
    },
    websocketOptions: { urlFactoryOptions: { urlFactory: Mqtt5WebsocketUrlFactoryType.Custom, customUrlFactory: () => url } },
    minReconnectDelayMs: SOON_MS,
    maxReconnectDelayMs: 5 * SOON_MS,
  });
  const heard = new Heard();
  client.on("messageReceived", (/** @type {any} */ { message: { topicName, payload, retain = false } }) =>
    heard.add({ topic: topicName, text: new TextDecoder().decode(payload), retain }),
  );
  const connected = new Promise((done, failed) => {
    client.once("connectionSuccess", done);
    client.once("connectionFailure", (/** @type {any} */ { error, connack }) =>
      failed(connack ? Object.assign(new Error(connack.reasonString ?? String(error)), { code: connack.reasonCode }) : error),
    );
  });
  client.start();
  try {
    await connected;
  } catch (error) {
    client.stop();
    throw error;
  }
  /** @type {Set<string>} */
  const filters = new Set();
  const subscribe = (/** @type {string} */ topicFilter) =>
    within(client.subscribe({ subscriptions: [{ topicFilter, qos: QoS.AtLeastOnce }] }), NO_ANSWER);
  return {
    heard,
    publish: async (topicName, payload, how) => {
      const puback = await within(client.publish({ topicName, payload, ...how }), NO_ACKNOWLEDGEMENT);
      if (puback?.reasonCode >= 0x80) throw Object.assign(new Error(puback.reasonString ?? "The publication was refused"), { code: puback.reasonCode });
    },
    subscribe: (filter) => (filters.add(filter), subscribe(filter)),
    unsubscribe: (filter) => (filters.delete(filter), within(client.unsubscribe({ topicFilters: [filter] }), NO_ANSWER)),
    sever: breaker(),
    // It comes back to a fresh session; subscribing again is its user's.
    returned: async () => {
      await within(new Promise((done) => client.once("connectionSuccess", done)), NOT_BACK);
      await Promise.all([...filters].map(subscribe));
    },
    end: async () => {
      const stopped = new Promise((done) => client.once("stopped", done));
      client.stop({ reasonCode: 0 });
      await stopped;
      client.close();
    },
  };
};
