/** One MQTT 5 connection over a WebSocket. */

import * as packets from "./packets.js";

/** @typedef {import("./packets.js").Pairs} Pairs */
/** @typedef {{ code: number, reason: string }} End */
/** @typedef {{ topic: string, payload: Uint8Array<ArrayBuffer>, qos: number, retain: boolean, user: Pairs, ack: () => void }} Publication */

const KEEP_ALIVE_S = 30;
const OPEN_TIMEOUT_MS = 10_000;
const ANSWER_TIMEOUT_MS = 10_000;

/** A connection that ended, or a request that was refused; `code` is MQTT's reason code, 0 for none. */
export class MqttError extends Error {
  /** @param {string} message @param {number} [code] */
  constructor(message, code = 0) {
    super(message);
    this.code = code;
    /** Whether this request was refused, and the connection goes on. */
    this.refused = false;
  }
}

/** A connection. It is used once: a new one is made to reconnect. */
export class MqttConnection {
  /** What arrives. @type {(publication: Publication) => void} */
  onpublication = () => {};
  /** The end, told once, after `open` was fulfilled. @type {(end: End) => void} */
  onend = () => {};
  /** Round trip of the last ping, in milliseconds. @type {number | undefined} */
  rtt;

  /** @type {WebSocket} */
  #socket;
  #decoder = new packets.Decoder();
  /** @type {Map<number, { done: (packet: any) => void, failed: (error: Error) => void }>} Requests that wait for their answer. */
  #asked = new Map();
  /** @type {{ bytes: (id: number) => Uint8Array<ArrayBuffer>, done: (packet: any) => void, failed: (error: Error) => void }[]} */
  #line = [];
  #room = 65_535;
  #lastId = 0;
  /** @type {End | undefined} */
  #end;
  #opened = false;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #pulse;
  /** @type {{ at: number, done: ((ms: number) => void)[] , timer: ReturnType<typeof setTimeout> } | undefined} */
  #ping;

  /** @param {WebSocket} socket not yet open */
  constructor(socket) {
    this.#socket = socket;
    socket.binaryType = "arraybuffer";
  }

  /**
   * Resolves with the properties of CONNACK.
   * @param {string} clientId
   * @param {Pairs} [user]
   * @returns {Promise<import("./packets.js").Properties>}
   */
  open(clientId, user = []) {
    return new Promise((done, failed) => {
      const socket = this.#socket;
      const timer = setTimeout(() => this.#finish(0, "no answer"), OPEN_TIMEOUT_MS);
      this.#asked.set(0, {
        done: (properties) => {
          clearTimeout(timer);
          this.#start(properties);
          done(properties);
        },
        failed: (error) => {
          clearTimeout(timer);
          failed(error);
        },
      });
      socket.onopen = () => this.#send(packets.connect(clientId, KEEP_ALIVE_S, user));
      socket.onclose = () => this.#finish(0, this.#opened ? "connection lost" : "no connection");
      socket.onerror = () => {};
      socket.onmessage = ({ data }) => {
        try {
          for (const packet of this.#decoder.push(new Uint8Array(data))) this.#on(packet);
        } catch (error) {
          this.#finish(0x81, String(error));
        }
      };
    });
  }

  /** @param {import("./packets.js").Properties} properties */
  #start(properties) {
    this.#opened = true;
    this.#room = properties[packets.RECEIVE_MAXIMUM] ?? this.#room;
    const seconds = properties[packets.SERVER_KEEP_ALIVE] ?? KEEP_ALIVE_S;
    this.#pulse = setInterval(() => this.ping().catch(() => {}), (seconds || KEEP_ALIVE_S) * 1000);
    /** @type {any} Node: a connection keeps no process alive that has nothing else to do; its socket does. */ (this.#pulse).unref?.();
  }

  /**
   * Publishes. With quality of service 1 it resolves when the server has it for good.
   * @param {string} topic
   * @param {Uint8Array} payload
   * @param {{ qos?: number, retain?: boolean, user?: Pairs, dup?: boolean }} [options]
   * @returns {Promise<void>}
   */
  async publish(topic, payload, options = {}) {
    if (!options.qos) return this.#send(packets.publish(0, topic, payload, options));
    const { code, properties } = await this.#ask((id) => packets.publish(id, topic, payload, options), true);
    refuse(code, properties, `publishing to ${topic}`);
  }

  /**
   * Subscribes; `options` is MQTT 5's byte of subscription options, whose lowest bits are the quality of service.
   * @param {string} filter
   * @param {number} options
   * @param {Pairs} [user]
   */
  async subscribe(filter, options, user) {
    const { codes, properties } = await this.#ask((id) => packets.subscribe(id, filter, options, user));
    refuse(codes[0], properties, `subscribing to ${filter}`);
  }

  /** @param {string} filter */
  async unsubscribe(filter) {
    await this.#ask((id) => packets.unsubscribe(id, filter));
  }

  /** The time to the server and back, in milliseconds. The connection ends if there is no answer within `timeout`. */
  ping(timeout = ANSWER_TIMEOUT_MS) {
    return new Promise((/** @type {(ms: number) => void} */ done, failed) => {
      if (this.#end) return failed(new MqttError(this.#end.reason));
      if (this.#ping) return this.#ping.done.push(done);
      const timer = setTimeout(() => this.#finish(0, "no answer"), timeout);
      this.#ping = { at: performance.now(), done: [done], timer };
      this.#send(packets.pingreq());
    });
  }

  /** Ends in order. */
  close() {
    this.#send(packets.disconnect());
    this.#finish(0, "closed");
  }

  /** @param {(id: number) => Uint8Array<ArrayBuffer>} bytes @param {boolean} [limited] whether the server's receive maximum holds */
  #ask(bytes, limited = false) {
    return new Promise((/** @type {(packet: any) => void} */ done, failed) => {
      if (this.#end) return failed(new MqttError(this.#end.reason, this.#end.code));
      if (!limited) return this.#request({ bytes, done, failed });
      const free = () => {
        this.#room++;
        const next = this.#line.shift();
        if (next) this.#publish(next);
      };
      const entry = {
        bytes,
        done: (/** @type {any} */ packet) => (free(), done(packet)),
        failed,
      };
      if (this.#room > 0) this.#publish(entry);
      else this.#line.push(entry);
    });
  }

  /** @param {{ bytes: (id: number) => Uint8Array<ArrayBuffer>, done: (packet: any) => void, failed: (error: Error) => void }} entry */
  #publish(entry) {
    this.#room--;
    this.#request(entry);
  }

  /** @param {{ bytes: (id: number) => Uint8Array<ArrayBuffer>, done: (packet: any) => void, failed: (error: Error) => void }} entry */
  #request({ bytes, done, failed }) {
    do this.#lastId = (this.#lastId % 65_535) + 1;
    while (this.#asked.has(this.#lastId));
    this.#asked.set(this.#lastId, { done, failed });
    this.#send(bytes(this.#lastId));
  }

  /** @param {import("./packets.js").Packet} packet */
  #on(packet) {
    const { type, id = 0, code = 0, properties } = packet;
    if (type === packets.PUBLISH) return this.#deliver(packet);
    if (type === packets.PINGRESP) return this.#pong();
    if (type === packets.DISCONNECT) return this.#finish(code, properties[packets.REASON] ?? "ended by the server");
    if (type === packets.CONNACK && code) return this.#finish(code, properties[packets.REASON] ?? "refused by the server");
    const asked = this.#asked.get(type === packets.CONNACK ? 0 : id);
    this.#asked.delete(type === packets.CONNACK ? 0 : id);
    asked?.done(type === packets.CONNACK ? properties : packet);
  }

  /** @param {import("./packets.js").Packet} packet */
  #deliver({ topic = "", payload = new Uint8Array(), flags, id = 0, properties }) {
    const qos = (flags >> 1) & 3;
    let acked = !qos;
    const ack = () => {
      if (!acked) this.#send(packets.puback(id));
      acked = true;
    };
    this.onpublication({ topic, payload, qos, retain: (flags & 1) === 1, user: properties.user, ack });
  }

  #pong() {
    if (!this.#ping) return;
    const { at, done, timer } = this.#ping;
    clearTimeout(timer);
    this.#ping = undefined;
    const ms = (this.rtt = performance.now() - at);
    done.forEach((told) => told(ms));
  }

  /** @param {Uint8Array<ArrayBuffer>} bytes */
  #send(bytes) {
    // 1: open. What is sent later than that is lost with the connection, and its end is told.
    if (this.#socket.readyState === 1) this.#socket.send(bytes);
  }

  /** @param {number} code @param {string} reason */
  #finish(code, reason) {
    if (this.#end) return;
    this.#end = { code, reason };
    clearInterval(this.#pulse);
    clearTimeout(this.#ping?.timer);
    this.#socket.close();
    const error = new MqttError(reason, code);
    for (const { failed } of [...this.#asked.values(), ...this.#line]) failed(error);
    this.#asked.clear();
    this.#line = [];
    if (this.#opened) this.onend(this.#end);
  }
}

/** @param {number} code @param {import("./packets.js").Properties} properties @param {string} what */
function refuse(code, properties, what) {
  if (code < 0x80) return;
  const error = new MqttError(`${what} was refused: ${properties[packets.REASON] ?? `0x${code.toString(16)}`}`, code);
  error.refused = true;
  throw error;
}
