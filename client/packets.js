/** The packets of MQTT 5 that a client of quality of service 0 and 1 needs. */

/** @typedef {[string, string][]} Pairs */
/** @typedef {Record<number, any> & { user: Pairs }} Properties */
/** @typedef {{ type: number, flags: number, id?: number, code?: number, present?: boolean, codes?: number[], topic?: string,
 *   payload?: Uint8Array<ArrayBuffer>, properties: Properties }} Packet */

/** Packet types. */
export const CONNECT = 1, CONNACK = 2, PUBLISH = 3, PUBACK = 4, SUBSCRIBE = 8, SUBACK = 9;
export const UNSUBSCRIBE = 10, UNSUBACK = 11, PINGREQ = 12, PINGRESP = 13, DISCONNECT = 14;

/** Identifiers of properties. */
export const SESSION_EXPIRY = 0x11, ASSIGNED_ID = 0x12, SERVER_KEEP_ALIVE = 0x13, REASON = 0x1f, RECEIVE_MAXIMUM = 0x21;
const USER = 0x26;

/** How the values of properties are written: a number of bytes, V for a variable number, S for text, B for bytes. */
/** @type {Record<number, number | "V" | "S" | "B">} */
const FORMS = {
  0x01: 1, 0x02: 4, 0x03: "S", 0x08: "S", 0x09: "B", 0x0b: "V", 0x11: 4, 0x12: "S", 0x13: 2, 0x15: "S", 0x16: "B", 0x17: 1,
  0x18: 4, 0x19: 1, 0x1a: "S", 0x1c: "S", 0x1f: "S", 0x21: 2, 0x22: 2, 0x23: 2, 0x24: 1, 0x25: 1, 0x27: 4, 0x28: 1, 0x29: 1,
  0x2a: 1,
};

/** @param {number} value @param {number} length */
const number = (value, length) => Array.from({ length }, (_, at) => (value >>> (8 * (length - 1 - at))) & 255);

/** @param {number} value */
function variable(value) {
  const out = [];
  do out.push((value & 127) | (value > 127 ? 128 : 0));
  while ((value >>>= 7));
  return out;
}

/** @param {string} value */
function text(value) {
  const bytes = new TextEncoder().encode(value);
  if (bytes.length > 65_535) throw new RangeError("a text is longer than MQTT can carry");
  return [...number(bytes.length, 2), ...bytes];
}

/** @param {Record<number, number | string>} [values] @param {Pairs} [user] */
function properties(values = {}, user = []) {
  const out = Object.entries(values).flatMap(([id, value]) => [
    Number(id),
    ...(typeof value === "string" ? text(value) : number(value, Number(FORMS[Number(id)]))),
  ]);
  for (const [name, value] of user) out.push(USER, ...text(name), ...text(value));
  return [...variable(out.length), ...out];
}

/** @param {number} type @param {number} flags @param {number[]} head @param {Uint8Array} [payload] */
function packet(type, flags, head, payload = new Uint8Array()) {
  const start = [(type << 4) | flags, ...variable(head.length + payload.length), ...head];
  const out = new Uint8Array(start.length + payload.length);
  out.set(start);
  out.set(payload, start.length);
  return out;
}

/** @param {string} clientId @param {number} keepAlive @param {Pairs} user */
export const connect = (clientId, keepAlive, user) =>
  packet(CONNECT, 0, [...text("MQTT"), 5, 2, ...number(keepAlive, 2), ...properties({}, user), ...text(clientId)]);

/** @param {number} id @param {string} topic @param {Uint8Array} payload @param {{ qos?: number, retain?: boolean, user?: Pairs, dup?: boolean }} options */
export const publish = (id, topic, payload, { qos = 0, retain, user, dup }) =>
  packet(
    PUBLISH,
    (dup ? 8 : 0) | (qos << 1) | (retain ? 1 : 0),
    [...text(topic), ...(qos ? number(id, 2) : []), ...properties({}, user)],
    payload,
  );

/** @param {number} id */
export const puback = (id) => packet(PUBACK, 0, number(id, 2));

/** @param {number} id @param {string} filter @param {number} options @param {Pairs} [user] */
export const subscribe = (id, filter, options, user) =>
  packet(SUBSCRIBE, 2, [...number(id, 2), ...properties({}, user), ...text(filter), options]);

/** @param {number} id @param {string} filter */
export const unsubscribe = (id, filter) => packet(UNSUBSCRIBE, 2, [...number(id, 2), 0, ...text(filter)]);

/** A ping. */
export const pingreq = () => packet(PINGREQ, 0, []);

/** An orderly end. */
export const disconnect = () => packet(DISCONNECT, 0, []);

/** What has arrived of one packet, read from the front. */
class Reader {
  /** @param {Uint8Array<ArrayBuffer>} bytes */
  constructor(bytes) {
    this.bytes = bytes;
    this.at = 0;
  }
  get left() {
    return this.bytes.length - this.at;
  }
  /** @param {number} length */
  take(length) {
    if (length > this.left) throw new RangeError("a packet ends too early");
    this.at += length;
    return this.bytes.subarray(this.at - length, this.at);
  }
  /** @param {number} length */
  number(length) {
    return this.take(length).reduce((value, byte) => value * 256 + byte, 0);
  }
  variable() {
    for (let value = 0, shift = 0; shift < 28; shift += 7) {
      const byte = this.number(1);
      value |= (byte & 127) << shift;
      if (byte < 128) return value;
    }
    throw new RangeError("a length has too many bytes");
  }
  text() {
    return new TextDecoder().decode(this.take(this.number(2)));
  }
  properties() {
    /** @type {Properties} */
    const found = Object.assign(Object.create(null), { user: [] });
    if (!this.left) return found;
    const end = this.variable() + this.at;
    while (this.at < end) {
      const id = this.variable();
      const form = FORMS[id];
      if (id === USER) found.user.push([this.text(), this.text()]);
      else if (form === "S") found[id] = this.text();
      else if (form === "B") found[id] = this.take(this.number(2));
      else if (form === "V") found[id] = this.variable();
      else if (form) found[id] = this.number(form);
      else throw new RangeError(`unknown property ${id}`);
    }
    return found;
  }
}

/** @param {number} type @param {number} flags @param {Reader} body @returns {Packet} */
function read(type, flags, body) {
  if (type === PUBLISH) {
    const topic = body.text();
    const id = flags & 6 ? body.number(2) : 0;
    const properties = body.properties();
    return { type, flags, topic, id, properties, payload: body.take(body.left) };
  }
  if (type === CONNACK) {
    const present = body.number(1) === 1;
    return { type, flags, present, code: body.number(1), properties: body.properties() };
  }
  if (type === DISCONNECT) return { type, flags, code: body.left ? body.number(1) : 0, properties: body.properties() };
  if (type === PINGRESP) return { type, flags, properties: body.properties() };
  if (![PUBACK, SUBACK, UNSUBACK].includes(type)) throw new RangeError(`a packet of type ${type} is not for clients`);
  const id = body.number(2);
  if (type === PUBACK) return { type, flags, id, code: body.left ? body.number(1) : 0, properties: body.properties() };
  const properties = body.properties();
  return { type, flags, id, properties, codes: [...body.take(body.left)] };
}

/** Makes packets of bytes, however these are cut into pieces. */
export class Decoder {
  #rest = new Uint8Array();

  /**
   * The packets that are whole with these bytes.
   * @param {Uint8Array<ArrayBuffer>} more
   * @returns {Packet[]}
   */
  push(more) {
    let all = more;
    if (this.#rest.length) {
      all = new Uint8Array(this.#rest.length + more.length);
      all.set(this.#rest);
      all.set(more, this.#rest.length);
    }
    const packets = [];
    let at = 0;
    for (;;) {
      let length = 0;
      let head = 1;
      for (; head <= 4 && at + head < all.length; head++) {
        length |= (all[at + head] & 127) << (7 * (head - 1));
        if (all[at + head] < 128) break;
        if (head === 4) throw new RangeError("a length has too many bytes");
      }
      const start = at + head + 1;
      if (start > all.length || start + length > all.length) break;
      packets.push(read(all[at] >> 4, all[at] & 15, new Reader(all.subarray(start, start + length))));
      at = start + length;
    }
    this.#rest = all.slice(at);
    return packets;
  }
}
