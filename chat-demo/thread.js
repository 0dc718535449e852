// One conversation as it is shown: messages in order, those under way at the end, where the new ones begin.

import { clock, face, make, plural } from "./dom.js";

/**
 * @typedef {object} Line
 * @property {string} [id]
 * @property {number} [offset]
 * @property {number} ts
 * @property {string} name
 * @property {string} text
 * @property {boolean} own
 */

/** So many messages stay on the page; older ones are fetched again. */
const MOST = 500;
/** Messages of one person within this time stand together. */
const TOGETHER_MS = 180_000;

/** A conversation. */
export class Thread {
  list = make("ol", { className: "messages" });
  unread = 0;
  /** Where it was scrolled to; undefined: the end. @type {number | undefined} */
  scrolled;
  /** Whether everything that was ever said is shown. */
  complete = false;
  /** The oldest offset that is shown. @type {number | undefined} */
  first;
  /** What others have got and seen of it, by member. @type {Map<string, { got: number, seen: number }>} */
  reached = new Map();

  /** @type {Map<string, any>} Own messages, by id. */
  #own = new Map();
  #divider = make("li", { className: "divider", textContent: "New messages" });

  /** Empties it. */
  clear() {
    this.list.replaceChildren();
    this.#own.clear();
    this.first = undefined;
    this.complete = false;
  }

  /** A message that arrived; one's own takes the place of what was shown while it was sent. @param {Line} line */
  add(line) {
    const mine = line.id === undefined ? undefined : this.#own.get(line.id);
    if (mine) {
      mine.line = line;
      mine.item.classList.remove("waiting");
      // The order is the server's.
      if (this.list.lastChild !== mine.item && !mine.item.nextSibling?.classList.contains("waiting")) this.list.append(mine.item);
      this.#group(mine.item);
    } else {
      const item = this.#item(line);
      item.classList.add("new");
      const waiting = this.list.querySelector(":scope > .waiting, :scope > .failed");
      this.list.insertBefore(item, waiting);
      this.#group(item);
      if (waiting) this.#group(waiting);
    }
    this.first ??= line.offset;
    while (this.list.children.length > MOST) {
      this.list.firstChild.remove();
      this.complete = false;
      this.first = this.list.querySelector(".message")?.line?.offset;
    }
    this.fates();
  }

  /** Earlier messages, in order. @param {Line[]} lines */
  prepend(lines) {
    const before = this.list.firstChild;
    for (const line of lines) {
      const item = this.#item(line);
      this.list.insertBefore(item, before);
      this.#group(item);
    }
    if (before) this.#group(before);
    this.first = lines[0]?.offset ?? this.first;
  }

  /** Shows one's own message before the server has it. @param {Line} line @param {() => Promise<void>} send */
  send(line, send) {
    const item = this.#item(line);
    this.list.append(item);
    this.#group(item);
    const entry = this.#own.get(/** @type {string} */ (line.id));
    const attempt = async () => {
      item.classList.remove("failed");
      item.classList.add("waiting");
      entry.fate.textContent = "Sending…";
      try {
        await send();
        item.classList.remove("waiting");
        entry.sent = true;
        this.fates();
      } catch (error) {
        item.classList.replace("waiting", "failed");
        const again = make("button", { type: "button", textContent: "Try again", onclick: attempt });
        entry.fate.replaceChildren(`Not sent: ${/** @type {Error} */ (error).message}`, again);
      }
    };
    void attempt();
  }

  /** A remark between messages. @param {string} text */
  note(text) {
    this.list.append(make("li", { className: "note", textContent: text }));
  }

  /** Says where the new ones begin, if there are any and it is not said yet. */
  divide() {
    const items = this.list.querySelectorAll(".message:not(.own)");
    const from = items[items.length - this.unread];
    this.#divider.remove();
    if (this.unread && from) from.before(this.#divider);
  }

  /** What became of one's own messages. Only the newest of each kind says it: the others are understood. */
  fates() {
    const reached = [...this.reached.values()];
    let told = "";
    for (const entry of [...this.#own.values()].reverse()) {
      if (entry.item.classList.contains("waiting") || entry.item.classList.contains("failed")) continue;
      const { offset } = entry.line;
      const seen = offset ? reached.filter((one) => one.seen >= offset).length : 0;
      const got = offset ? reached.filter((one) => one.got >= offset).length : 0;
      const text = seen ? `Read by ${seen}` : got ? `Delivered to ${got}` : entry.sent || offset ? "Sent" : "";
      entry.fate.textContent = text === told ? "" : text;
      told = text;
    }
  }

  /** @param {Line} line */
  #item(line) {
    const { name, text, ts, own, id } = line;
    const who = make("span", { className: "who" }, make("b", { textContent: name }), ` ${clock(ts)}`);
    const bubble = make("span", { className: "bubble", textContent: text, title: new Date(ts).toLocaleString() });
    const item = make("li", { className: "message", line }, face(name), who, bubble);
    if (own) {
      const fate = make("span", { className: "fate" });
      item.classList.add("own");
      item.append(fate);
      if (id !== undefined) this.#own.set(id, { item, fate, line, sent: false });
    }
    return item;
  }

  /** Whether the message begins a group. @param {any} item */
  #group(item) {
    const { line } = item;
    if (!line) return;
    const before = item.previousSibling?.line;
    const follows = before && before.name === line.name && before.own === line.own && line.ts - before.ts < TOGETHER_MS;
    item.classList.toggle("first", !follows);
  }
}

/** Who is typing, in words. @param {string[]} names */
export function typingText(names) {
  if (names.length === 0) return "";
  if (names.length < 3) return `${names.join(" and ")} ${names.length === 1 ? "is" : "are"} typing…`;
  return `${plural(names.length, "person", "people")} are typing…`;
}
