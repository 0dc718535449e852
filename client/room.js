/** Rooms: what is said in them, who is there, what they are doing. PROTOCOL.md has the wire. */

import { Emitter } from "./events.js";

/** @typedef {import("./fanfare.js").Member} Member */
/** @typedef {import("./fanfare.js").RoomOptions} RoomOptions */
/** @typedef {{ topic: string, payload: Uint8Array, retain: boolean, user: import("./packets.js").Pairs }} Publication */

/** Options of a subscription: quality of service 1; 0 without the own publications. */
const QOS1 = 1, NO_LOCAL = 4;
const TYPING_EVERY_MS = 3000;
const TYPING_FOR_MS = 5000;
const ANSWER_MS = 5000;
/** So much can be asked for (PROTOCOL.md). */
const MOST = 1000;
/** So many ids of messages are remembered, so that one that was sent twice is told once. */
const IDS = 500;

const SIDE = /^\$room\/(?:(event|state)\/([^/]+)|(presence|states|recovery|history|seat))\/(.+)$/s;

/** What a publication's topic says: the room, and what of it. @param {string} topic */
export function place(topic) {
  const [, levelled, name = "", plain, room] = SIDE.exec(topic) ?? [];
  return room === undefined ? { room: topic, kind: "said", name: "" } : { room, kind: levelled ?? plain, name };
}

/** @param {unknown} data */
const bytes = (data) => (data instanceof Uint8Array ? data : new TextEncoder().encode(JSON.stringify(data)));

/** What was published: JSON mostly, text otherwise. @param {string} text */
function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** @param {Uint8Array} payload */
const read = (payload) => parse(new TextDecoder().decode(payload));

/** @param {any} entry */
const kept = ({ offset, ts, member, payload, base64 }) => ({ offset, ts, member, data: payload === undefined ? base64 : parse(payload) });

/** A room. */
export class Room extends Emitter {
  /** @type {Map<string, Member>} */
  members = new Map();
  /** @type {Map<string, Map<string, unknown>>} Values by member and key. */
  states = new Map();
  count = 0;
  /** @type {{ epoch: string, offset: number } | undefined} */
  position;
  /** @type {import("./fanfare.js").Recovery | undefined} */
  recovery;

  #link;
  #options;
  #left = false;
  #waiting = false;
  #replaying = 0;
  #empty = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #patience;
  #version = 0;
  #lastId = 0;
  /** @type {Member[] | undefined} */
  #snapshot;
  /** @type {Set<string>} */
  #ids = new Set();
  #typedAt = 0;
  /** @type {Map<string, ReturnType<typeof setTimeout>>} */
  #typing = new Map();
  /** @type {((answer: any) => void)[]} */
  #seats = [];
  /** @type {Map<string, (answer: any) => void>} */
  #pages = new Map();
  #leave;
  /** @type {[string, any][] | undefined} What happened before whoever joins could listen. */
  #held = [];

  /**
   * @param {import("./tabs.js").AnyLink} link
   * @param {string} name
   * @param {RoomOptions} options
   * @param {() => void} leave told when it was left
   */
  constructor(link, name, options, leave) {
    super();
    this.name = name;
    this.#link = link;
    this.#options = options;
    this.#leave = leave;
    this.position = options.since;
  }

  /** @param {string} name @param {any} [detail] */
  emit(name, detail) {
    if (this.#held && name !== "recovery") this.#held.push([name, detail]);
    else super.emit(name, detail);
  }

  /** Tells what was held back. */
  release() {
    const held = this.#held ?? [];
    this.#held = undefined;
    for (const [name, detail] of held) this.emit(name, detail);
  }

  /** Enters, also after each reconnect; resolves with what could be recovered. */
  async enter() {
    const { presence, members = true, state, history = 50 } = this.#options;
    const asked = [];
    if (presence !== undefined) asked.push(this.#now("presence", presence));
    if (members) asked.push(this.#see(`$room/presence/${this.name}`, QOS1));
    if (members) asked.push(this.#see(`$room/event/+/${this.name}`, NO_LOCAL));
    if (state) asked.push(this.#see(`$room/state/+/${this.name}`, 0));
    const answer = history === false ? this.#see(this.name, QOS1) : this.#recover(Number(history));
    return (await Promise.all([answer, ...asked]))[0];
  }

  /** What a topic that is no room does not have is not missed. @param {string} filter @param {number} options */
  async #see(filter, options) {
    await this.#link.subscribe(filter, options).catch((error) => {
      if (error.code !== 0x8f) throw error;
    });
  }

  /** Subscribes from where we are. @param {number} last @returns {Promise<any>} */
  async #recover(last) {
    // Where nothing had been said there was no place to go on from: all that was said since is missed.
    /** @type {import("./packets.js").Pairs} */
    const user = [["history-last", `${this.#empty ? MOST : last}`]];
    if (this.position) user.push(["since-epoch", this.position.epoch], ["since-offset", `${this.position.offset}`]);
    this.#waiting = true;
    clearTimeout(this.#patience);
    const answered = this.once("recovery");
    await this.#link.subscribe(this.name, QOS1, user);
    this.#patience = setTimeout(() => this.#recovered({ recovered: false, reason: "no-answer", replayed: 0, epoch: "", offset: 0 }), ANSWER_MS);
    return answered;
  }

  /** @param {any} answer */
  #recovered(answer) {
    if (!this.#waiting) return;
    const { replayed, epoch, offset } = answer;
    let { recovered, reason, missed = 0 } = answer;
    // Nothing had been said when the connection ended, and all that was said since follows.
    if (this.#empty && reason === "new" && offset === replayed) [recovered, reason, missed] = [true, undefined, replayed];
    this.#empty = offset === 0;
    this.#waiting = false;
    clearTimeout(this.#patience);
    this.#replaying = replayed;
    if (!answer.recovered) this.position = epoch ? { epoch, offset: offset - replayed } : undefined;
    this.recovery = { recovered, reason, missed, replayed };
    this.emit("recovery", this.recovery);
    if (reason === "busy") setTimeout(() => this.#again(), 1000);
  }

  #again() {
    if (this.#left || this.#waiting) return;
    this.#recover(Number(this.#options.history ?? 50)).catch((error) => this.emit("error", error));
  }

  /**
   * Takes what arrived for this room.
   * @param {string} kind @param {string} name @param {Publication} publication
   */
  take(kind, name, { payload, user }) {
    const about = Object.fromEntries(user);
    if (kind === "said") return this.#said(payload, about);
    if (kind === "event") return this.#event(name, about.member, read(payload));
    if (kind === "state") return this.#state(about.member, name, payload.length ? read(payload) : undefined);
    const told = read(payload);
    if (kind === "presence") return this.#presence(told);
    if (kind === "recovery") return this.#recovered(told);
    if (kind === "seat") return this.#seats.shift()?.(told);
    if (kind === "history") return this.#pages.get(told.id)?.(told);
    for (const { member, key, value, base64 } of told.states ?? []) this.#state(member, key, value ?? base64);
  }

  /** @param {Uint8Array} payload @param {Record<string, string>} about */
  #said(payload, { epoch, offset, ts, member, id }) {
    if (this.#waiting) return;
    const replayed = this.#replaying > 0;
    if (offset) {
      const at = Number(offset);
      const known = this.position?.epoch === epoch ? this.position.offset : at - 1;
      if (at <= known) return;
      if (replayed) this.#replaying--;
      // Something is missing before this one: both come with what is asked for now.
      else if (at > known + 1) return this.#again();
      this.position = { epoch, offset: at };
    }
    if (id && this.#ids.has(id)) return;
    if (id) this.#ids.add(id);
    if (this.#ids.size > IDS) this.#ids.delete(/** @type {string} */ (this.#ids.values().next().value));
    const own = member !== undefined && member === this.#link.clientId;
    const message = { data: read(payload), id, member, own, replayed, ts: ts ? Number(ts) : this.#link.serverTime() };
    this.emit("message", offset ? { ...message, offset: Number(offset) } : message);
  }

  /** @param {string} name @param {string} member @param {unknown} data */
  #event(name, member, data) {
    if (name !== "typing") return this.emit("event", { name, member, data });
    clearTimeout(this.#typing.get(member));
    this.#typing.delete(member);
    if (data) this.#typing.set(member, setTimeout(() => this.#event("typing", member, false), TYPING_FOR_MS));
    this.emit("typing", { member, typing: Boolean(data) });
  }

  /** @param {string} member @param {string} key @param {unknown} value */
  #state(member, key, value) {
    const values = this.states.get(member) ?? new Map();
    if (value === undefined) values.delete(key);
    else this.states.set(member, values.set(key, value));
    this.emit("state", { member, key, value });
  }

  /** @param {any} told */
  #presence({ type, version, count, members, more, changes }) {
    this.count = count;
    if (type === "snapshot") {
      this.#snapshot = [...(this.#snapshot ?? []), ...members];
      this.#version = version;
      if (!more) this.#replace(this.#snapshot);
    } else if (version !== this.#version + 1 && type === "changes") {
      // Some changes are missing: the list comes anew.
      const filter = `$room/presence/${this.name}`;
      this.#link.unsubscribe(filter).then(() => this.#see(filter, QOS1)).catch((error) => this.emit("error", error));
    } else {
      this.#version = version;
      if (type === "counts") this.members.clear();
      for (const change of changes ?? []) this.#change(change);
    }
    this.emit("count", count);
  }

  /** Tells what is different from what was known, which after a reconnect is little. @param {Member[]} members */
  #replace(members) {
    this.#snapshot = undefined;
    const there = new Set(members.map(({ id }) => id));
    for (const id of this.members.keys()) if (!there.has(id)) this.#change({ type: "leave", id, reason: "lost" });
    for (const member of members) {
      const known = this.members.get(member.id);
      if (!known) this.#change({ type: "join", ...member });
      else if (JSON.stringify(known) !== JSON.stringify(member)) this.#change({ type: "update", ...member });
    }
  }

  /** @param {any} change */
  #change({ type, reason, ...member }) {
    if (type === "leave") {
      this.members.delete(member.id);
      this.states.delete(member.id);
      if (this.#typing.has(member.id)) this.#event("typing", member.id, false);
    } else {
      this.members.set(member.id, member);
    }
    this.emit(type, reason ? { ...member, reason } : member);
  }

  /**
   * @param {unknown} data
   * @param {{ qos?: 0 | 1, id?: string }} [options]
   */
  publish(data, { qos = 1, id } = {}) {
    const mark = id ?? `${this.#link.clientId}-${Date.now().toString(36)}-${this.#lastId++}`;
    if (this.#typedAt) this.typing(false);
    return this.#link.publish(this.name, bytes(data), { qos, user: [["id", mark]] });
  }

  /** @param {string} name @param {unknown} data */
  signal(name, data) {
    return this.#link.publish(`$room/event/${name}/${this.name}`, bytes(data));
  }

  /** @param {string} key @param {unknown} value */
  set(key, value) {
    return this.#link.publish(`$room/state/${key}/${this.name}`, value === undefined ? new Uint8Array() : bytes(value));
  }

  /** @param {boolean} typing */
  typing(typing) {
    const now = Date.now();
    if (typing ? now - this.#typedAt < TYPING_EVERY_MS : !this.#typedAt) return;
    this.#typedAt = typing ? now : 0;
    // Nobody misses a sign of typing that could not be sent.
    this.signal("typing", typing).catch(() => {});
  }

  /** @param {unknown} data */
  async update(data) {
    this.#options = { ...this.#options, presence: data };
    // Without a connection it is told when there is one.
    if (this.#link.transport === "mqtt") await this.#now("presence", data);
  }

  /** @param {string} what @param {unknown} data */
  #now(what, data) {
    return this.#link.publish(`$room/${what}/${this.name}`, data === undefined ? new Uint8Array() : bytes(data), { qos: 1, now: true });
  }

  /** @param {{ before?: number, after?: number, limit?: number }} [options] */
  async history(options = {}) {
    const id = `${this.#link.clientId}-${this.#lastId++}`;
    const answer = /** @type {any} */ (await this.#request("history", { ...options, id }, (told) => this.#pages.set(id, told)));
    this.#pages.delete(id);
    const messages = answer.messages.map(kept);
    return { messages, more: messages.length > 0 && messages[0].offset > answer.first };
  }

  /** @param {boolean} take */
  seat(take) {
    return this.#request("seat", { take }, (told) => this.#seats.push(told));
  }

  /** @param {string} what @param {object} data @param {(told: (answer: any) => void) => void} wait @returns {Promise<any>} */
  #request(what, data, wait) {
    return new Promise((done, failed) => {
      const timer = setTimeout(() => failed(new Error(`no answer about the ${what} of ${this.name}`)), ANSWER_MS);
      wait((answer) => {
        clearTimeout(timer);
        done(answer);
      });
      this.#now(what, data).catch(failed);
    });
  }

  async leave() {
    this.#left = true;
    this.#leave();
    clearTimeout(this.#patience);
    this.#typing.forEach((timer) => clearTimeout(timer));
    if (this.#link.transport !== "mqtt") return;
    const { presence, members = true, state } = this.#options;
    if (presence !== undefined) await this.#now("presence", undefined);
    const sides = [members && `$room/presence/${this.name}`, members && `$room/event/+/${this.name}`, state && `$room/state/+/${this.name}`];
    await Promise.all([this.name, ...sides].map((filter) => filter && this.#link.unsubscribe(filter)));
  }
}
