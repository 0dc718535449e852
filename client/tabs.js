/** One connection for all tabs of a browser: one of them has it, the others ask that one. */

import { Emitter } from "./events.js";
import { Link } from "./link.js";
import { place } from "./room.js";

/** @typedef {import("./fanfare.js").RelayOptions} RelayOptions */
/** @typedef {Link | SharedLink} AnyLink */

/** What a tab may ask of the one with the connection. */
const ASKED = new Set(["publish", "subscribe", "unsubscribe", "call", "ping"]);
const TOLD = ["state", "inbox", "publication", "error"];

/** Has what {@link Link} has, wherever the connection is. */
export class SharedLink extends Emitter {
  /** @type {import("./fanfare.js").State} */
  state = { name: "idle" };
  /** @type {import("./fanfare.js").Session | undefined} */
  session;
  /** @type {"mqtt" | "sqs" | undefined} */
  transport;
  /** @type {number | undefined} */
  rtt;
  clientId = "";

  #options;
  #name;
  #me = Math.random().toString(36).slice(2);
  /** @type {BroadcastChannel} */
  #channel;
  /** @type {Link | undefined} */
  #link;
  #offset = 0;
  #number = 0;
  /** @type {Map<number, { message: any, done: (value: any) => void, failed: (error: Error) => void }>} */
  #asked = new Map();
  /** @type {Map<string, Set<string>>} Who subscribes to what; the connection's tab has it. */
  #filters = new Map();
  /** @type {Map<string, string[]>} Whose answer comes next, by room. */
  #recoveries = new Map();
  #release = () => {};
  #end = new AbortController();

  /** @param {RelayOptions} options @param {string} name */
  constructor(options, name) {
    super();
    this.#options = options;
    this.#name = `fanfare:${name}`;
    this.#channel = new BroadcastChannel(this.#name);
    this.#channel.onmessage = ({ data }) => this.#heard(data);
    /** @type {any} Node: it keeps no process alive. */ (this.#channel).unref?.();
  }

  start() {
    if (this.state.name !== "idle") return;
    this.#become({ state: { name: "connecting" } });
    const { locks } = navigator;
    const { signal } = this.#end;
    // Held for as long as this tab is there: whoever waits for it learns when it has gone, whatever the reason.
    const alive = () => new Promise((/** @type {(value?: unknown) => void} */ gone) => signal.addEventListener("abort", gone));
    void locks.request(`${this.#name}:${this.#me}`, alive);
    const lead = () => {
      this.#lead();
      return new Promise((/** @type {(value?: unknown) => void} */ release) => (this.#release = release));
    };
    locks.request(this.#name, { signal }, lead).catch((error) => signal.aborted || this.emit("error", error));
    this.#post({ what: "hello" });
  }

  close() {
    if (this.state.name === "closed") return;
    const link = this.#link;
    // Its end is this tab's alone: the others go on with a connection of theirs.
    this.#link = undefined;
    link?.close();
    this.#post({ what: "bye" });
    this.#end.abort();
    this.#release();
    this.#become({ state: { name: "closed" } });
    for (const { failed } of this.#asked.values()) failed(new Error("closed"));
    this.#asked.clear();
    this.#channel.close();
  }

  serverTime() {
    return this.#link?.serverTime() ?? Date.now() + this.#offset;
  }

  /** @param {string} topic @param {Uint8Array} payload @param {import("./link.js").PublishOptions} [options] @returns {Promise<void>} */
  publish(topic, payload, options) {
    return this.#ask("publish", [topic, payload, options]);
  }
  /** @param {string} filter @param {number} options @param {import("./packets.js").Pairs} [user] @returns {Promise<void>} */
  subscribe(filter, options, user) {
    return this.#ask("subscribe", [filter, options, user]);
  }
  /** @param {string} filter @returns {Promise<void>} */
  unsubscribe(filter) {
    return this.#ask("unsubscribe", [filter]);
  }
  /** @param {string} method @param {string} path @param {object} [body] @returns {Promise<any>} */
  call(method, path, body) {
    return this.#ask("call", [method, path, body]);
  }
  /** @returns {Promise<number>} */
  ping() {
    return this.#ask("ping", []);
  }
  /** @param {"auto" | "mqtt" | "sqs"} kind */
  use(kind) {
    if (this.#link) this.#link.use(kind);
    else this.#post({ what: "use", kind });
  }
  retry() {
    if (this.#link) this.#link.retry();
    else this.#post({ what: "retry" });
  }

  /** This tab has the connection from now on. */
  #lead() {
    if (this.#end.signal.aborted) return;
    const link = (this.#link = new Link(this.#options));
    this.clientId = link.clientId;
    for (const name of TOLD) link.on(name, (detail) => this.#tell(name, detail));
    link.start();
    for (const { message, done, failed } of this.#asked.values()) this.#answer(this.#me, message).then(done, failed);
    this.#asked.clear();
  }

  /** Something happened on the connection: all tabs learn of it. @param {string} name @param {any} detail */
  #tell(name, detail) {
    const link = this.#link;
    if (!link) return;
    if (name === "state") {
      // A new connection has none of the old one's subscriptions; every tab subscribes again.
      this.#filters.clear();
      this.#recoveries.clear();
      const { state } = link;
      // Secrets stay where the connection is.
      const { accountId, userId, sessionId } = link.session ?? /** @type {any} */ ({});
      const about = { state, transport: link.transport, session: { accountId, userId, sessionId }, clientId: link.clientId };
      this.#post({ what: "state", about, offset: link.serverTime() - Date.now() });
      return this.#become({ ...about, session: link.session });
    }
    this.rtt = link.rtt;
    const { kind, room } = name === "publication" ? place(detail.topic) : { kind: "", room: "" };
    const to = kind === "recovery" ? this.#recoveries.get(room)?.shift() : undefined;
    const shown = name === "error" ? { message: String(detail) } : detail;
    this.#post({ what: "told", name, detail: shown, to, rtt: link.rtt });
    if (!to || to === this.#me) this.emit(name, detail);
  }

  /** @param {{ state: import("./fanfare.js").State, transport?: any, session?: any, clientId?: string }} about */
  #become(about) {
    Object.assign(this, about);
    this.emit("state", this.state);
  }

  /** @param {string} operation @param {any[]} input @returns {Promise<any>} */
  #ask(operation, input) {
    const message = { operation, input };
    if (this.#link) return this.#answer(this.#me, message);
    return new Promise((done, failed) => {
      const number = this.#number++;
      this.#asked.set(number, { message, done, failed });
      this.#post({ what: "ask", number, message });
    });
  }

  /** Does what a tab asks. @param {string} tab @param {{ operation: string, input: any[] }} message @returns {Promise<any>} */
  async #answer(tab, { operation, input }) {
    const link = /** @type {any} */ (this.#link);
    if (!ASKED.has(operation)) throw new Error(`no tab may ask for ${operation}`);
    const [filter, , user] = input;
    const tabs = this.#filters.get(filter) ?? new Set();
    if (operation === "subscribe") {
      this.#filters.set(filter, tabs.add(tab));
      if (user) this.#recoveries.set(filter, [...(this.#recoveries.get(filter) ?? []), tab]);
    }
    // What another tab still hears stays.
    if (operation === "unsubscribe" && tabs.delete(tab) && tabs.size) return;
    return link[operation](...input);
  }

  /** @param {any} message */
  #post(message) {
    this.#channel.postMessage({ ...message, from: this.#me });
  }

  /** @param {any} message */
  #heard({ what, from, number, message, about, offset, name, detail, to, rtt, value, error, kind }) {
    if (this.state.name === "idle" || this.state.name === "closed") return;
    if (this.#link) {
      if (what === "hello") this.#welcome(from);
      else if (what === "bye") this.#gone(from);
      else if (what === "use") this.#link.use(kind);
      else if (what === "retry") this.#link.retry();
      else if (what === "ask") {
        this.#answer(from, message).then(
          (value) => this.#post({ what: "answer", to: from, number, value }),
          ({ message, code, status, refused }) => this.#post({ what: "answer", to: from, number, error: { message, code, status, refused } }),
        );
      }
      return;
    }
    if (what === "state" && (!to || to === this.#me)) {
      const other = this.clientId && about.clientId !== this.clientId;
      // What the tab that had the connection left undone is asked of the one that has it now.
      if (other) for (const [number, { message }] of this.#asked) this.#post({ what: "ask", number, message });
      this.#offset = offset;
      this.#become(about);
    } else if (what === "told" && (!to || to === this.#me)) {
      this.rtt = rtt;
      this.emit(name, detail);
    } else if (what === "answer" && to === this.#me) {
      const asked = this.#asked.get(number);
      this.#asked.delete(number);
      if (error) asked?.failed(Object.assign(new Error(error.message), error));
      else asked?.done(value);
    }
  }

  /** @param {string} tab */
  #welcome(tab) {
    const link = /** @type {Link} */ (this.#link);
    const { accountId, userId, sessionId } = link.session ?? /** @type {any} */ ({});
    const about = { state: link.state, transport: link.transport, session: { accountId, userId, sessionId }, clientId: link.clientId };
    this.#post({ what: "state", to: tab, about, offset: link.serverTime() - Date.now() });
    void navigator.locks.request(`${this.#name}:${tab}`, () => this.#gone(tab));
  }

  /** @param {string} tab */
  #gone(tab) {
    for (const [filter, tabs] of this.#filters) {
      if (!tabs.delete(tab) || tabs.size) continue;
      this.#filters.delete(filter);
      this.#link?.unsubscribe(filter).catch(() => {});
    }
  }
}

/** Resolves when the link is open, by MQTT if that is asked for; rejects when it never will be. @param {AnyLink} link @param {boolean} [mqtt] */
export function ready(link, mqtt) {
  return new Promise((/** @type {(value?: undefined) => void} */ done, failed) => {
    const look = () => {
      const { state } = link;
      if (state.name === "open" && (!mqtt || state.transport === "mqtt")) done();
      else if (state.name === "failed" || state.name === "closed") failed(new Error(state.name === "failed" ? state.reason : "closed"));
      else return;
      off();
    };
    const off = link.on("state", look);
    queueMicrotask(look);
  });
}

/** Whether tabs can share here. */
export const canShare = () => Boolean(globalThis.navigator?.locks && globalThis.BroadcastChannel);
