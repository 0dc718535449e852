/** The messages to the session's user: as they come, as they were, and which of them are read. */

import { ready } from "./tabs.js";

/** @typedef {import("./fanfare.js").InboxMessage} InboxMessage */

/** The fields that Fanfare adds to an entry of history; the others are the sender's. */
const ADDED = ["messageId", "created", "is_read", "ttl", "accountId", "userId", "sessionId"];

/** @param {any} entry @param {number} now @returns {InboxMessage} */
function message(entry, now) {
  const data = Object.fromEntries(Object.entries(entry).filter(([name]) => !ADDED.includes(name)));
  return { id: entry.messageId, ts: entry.created ? entry.created * 1000 : now, data, read: entry.is_read === 1 };
}

/** The inbox of one relay. */
export class Inbox {
  #link;
  #emit;
  /** @type {number | undefined} Unread messages; known once somebody asked. */
  #unread;

  /**
   * @param {import("./tabs.js").AnyLink} link
   * @param {(name: string, detail: any) => void} emit
   */
  constructor(link, emit) {
    this.#link = link;
    this.#emit = emit;
    link.on("inbox", (entry) => this.#take(entry));
  }

  /** @param {any} entry */
  #take(entry) {
    if (entry._type === "message-read-receipt") {
      const ids = entry["messages-receipted"] ?? [];
      this.#emit("read", { ids });
      return this.#count(-ids.length);
    }
    this.#emit("message", message(entry, this.#link.serverTime()));
    // What history does not keep can not be read later, and so is not unread.
    if (!("_sqs_only" in entry)) this.#count(1);
  }

  /** @param {number} change */
  #count(change) {
    if (this.#unread === undefined) return;
    this.#unread = Math.max(0, this.#unread + change);
    this.#emit("unread", this.#unread);
  }

  get #user() {
    const user = this.#link.session?.userId;
    if (user === undefined) throw new Error("this session has no user, and so no history");
    return user;
  }

  /** @param {{ before?: string, limit?: number, types?: string[] }} [options] */
  async history({ before, limit = 50, types } = {}) {
    const query = new URLSearchParams({ limit: `${limit}` });
    if (before) query.set("nextToken", before);
    if (types) query.set("_type", types.join(","));
    await ready(this.#link);
    const { messages, nextToken } = await this.#link.call("GET", `/messages/user/${this.#user}?${query}`);
    return { messages: messages.map((/** @type {any} */ entry) => message(entry, 0)), before: nextToken };
  }

  /** @param {string | string[] | { upTo: number }} what */
  async markRead(what) {
    await ready(this.#link);
    const path = `/messages/set-read/user/${this.#user}`;
    const answer = await (typeof what === "object" && "upTo" in what
      ? this.#link.call("GET", `${path}/asof/${Math.floor(what.upTo / 1000)}`)
      : this.#link.call("POST", path, [what].flat()));
    return answer.messages_receipted;
  }

  async unread() {
    await ready(this.#link);
    const { unread } = await this.#link.call("GET", `/messages/unread/user/${this.#user}`);
    this.#unread = unread;
    this.#emit("unread", unread);
    return unread;
  }
}
