/** Fanfare's client. What it offers is described in `fanfare.d.ts`, and by examples in README.md. */

import { Emitter } from "./events.js";
import { Inbox } from "./inbox.js";
import { Link } from "./link.js";
import { Room, place } from "./room.js";
import { SharedLink, canShare, ready } from "./tabs.js";

export { openEnvelope } from "./envelope.js";

/** @typedef {import("./fanfare.js").RelayOptions} RelayOptions */

class Relay extends Emitter {
  #link;
  #inbox;
  /** @type {Map<string, { room: Room, entered: boolean }>} */
  #rooms = new Map();

  /** @param {RelayOptions} options */
  constructor(options) {
    super();
    const link = options.shared && canShare() ? new SharedLink(options, options.shared) : new Link(options);
    this.#link = link;
    this.#inbox = new Inbox(link, (name, detail) => this.emit(name, detail));
    link.on("error", (error) => this.emit("error", error));
    link.on("publication", (publication) => {
      const { room, kind, name } = place(publication.topic);
      this.#rooms.get(room)?.room.take(kind, name, publication);
    });
    link.on("state", (state) => {
      this.emit("state", state);
      if (state.name !== "open" || state.transport !== "mqtt") return;
      for (const { room, entered } of this.#rooms.values()) {
        // Who enters for the first time hears of an error from `join`.
        if (entered) room.enter().catch((error) => room.emit("error", error));
      }
    });
  }

  get state() {
    return this.#link.state;
  }
  get session() {
    return this.#link.session;
  }
  get id() {
    return this.#link.clientId;
  }
  get transport() {
    return this.#link.transport;
  }
  get rtt() {
    return this.#link.rtt;
  }

  async connect() {
    this.#link.start();
    await ready(this.#link);
  }

  close() {
    this.#link.close();
  }

  /** @param {"auto" | "mqtt" | "sqs"} transport */
  use(transport) {
    this.#link.use(transport);
  }

  retry() {
    this.#link.retry();
  }

  ping() {
    return this.#link.ping();
  }

  serverTime() {
    return this.#link.serverTime();
  }

  /** @param {{ before?: string, limit?: number, types?: string[] }} [options] */
  history(options) {
    return this.#inbox.history(options);
  }

  /** @param {string | string[] | { upTo: number }} what */
  markRead(what) {
    return this.#inbox.markRead(what);
  }

  unread() {
    return this.#inbox.unread();
  }

  /** @param {string} name @param {import("./fanfare.js").RoomOptions} [options] */
  async join(name, options = {}) {
    if (this.#rooms.has(name)) throw new Error(`already in ${name}`);
    const room = new Room(this.#link, name, options, () => this.#rooms.delete(name));
    const entry = { room, entered: false };
    this.#rooms.set(name, entry);
    while (!entry.entered) {
      try {
        await ready(this.#link, true);
        await room.enter();
        entry.entered = true;
      } catch (error) {
        // A connection that was lost meanwhile is no reason to give up; a refusal is.
        if (/** @type {any} */ (error).refused || this.#link.state.name !== "reconnecting") {
          this.#rooms.delete(name);
          throw error;
        }
      }
    }
    // Whoever joined listens by then.
    setTimeout(() => room.release());
    return room;
  }
}

/** @type {typeof import("./fanfare.js").createRelay} */
export const createRelay = (options) => /** @type {any} */ (new Relay(options));
