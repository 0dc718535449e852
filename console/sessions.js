// Sessions: found by what is known of them, and each with its keys, its queue, its connections and its user's history.

import { find, make, plural } from "/site/dom.js";
import { bytes, clock, day, when, whole } from "./format.js";
import { facts, hash, link, repeat, row, table, wanted } from "./parts.js";

const LOOK_MS = 2000;
const HISTORY = 20;
const BEGINNING = 400;

/** @param {string} text */
const code = (text) => make("code", { textContent: text });

/** The first of a long text. @param {string} text @param {number} [length] */
const beginning = (text, length = text.length) => (length > BEGINNING ? `${text.slice(0, BEGINNING)}…` : text);

/** When something was, or is to be, with the exact time to hover. @param {number} seconds */
const moment = (seconds) => make("time", { textContent: when(seconds * 1000), title: day(seconds * 1000) });

/** When something ends; that it has ended is to be seen. @param {number} seconds */
function end(seconds) {
  const element = moment(seconds);
  element.classList.toggle("bad", seconds * 1000 < Date.now());
  return element;
}

/** @param {any} session */
const sessionRow = (session) =>
  row(
    link(session.sessionId, hash("sessions", session.accountId, session.sessionId)),
    String(session.accountId),
    String(session.userId ?? "–"),
    end(session.expires),
    end(session.ttl),
  );

/** What is known of a session. @param {any} told */
function described(told) {
  const { session, topics, retention } = told;
  return make(
    "dl",
    { className: "facts" },
    ...facts([
      ["User", session.userId === undefined ? "none" : String(session.userId)],
      ["Keys", code(session.accessKey)],
      ["Keys end", end(session.expires)],
      ["Removed unless renewed", end(session.ttl)],
      ["Created", moment(session.created)],
      ["Envelope", session.envelope],
      ["Messages are kept", `${whole(retention)} s`],
      ["Queue", code(session.queueName)],
      ["Identity", code(session.identityId)],
      ["May use topics", topics.length ? topics.join(", ") : "its own"],
    ]),
  );
}

/** @param {any} queue */
function queued(queue) {
  const counts = make(
    "dl",
    { className: "facts" },
    ...facts([
      ["Can be handed out", whole(queue.visible)],
      ["With a client", whole(queue.inFlight)],
      ["Delayed", whole(queue.delayed)],
      ["Receives that wait", whole(queue.waiting)],
    ]),
  );
  const message = (/** @type {any} */ message) =>
    row(
      make("span", { title: message.sqsMessageId, textContent: clock(message.sent) }),
      message.until ? `${message.state} ${when(message.until)}` : message.state,
      message.receiveCount,
      bytes(message.bytes),
      make("code", { className: "body", textContent: beginning(message.beginning, message.bytes) }),
    );
  const heads = ["Accepted", "State", "Handed out", "Length", "Message, as it is before it is encrypted"];
  const rows = queue.first.map(message);
  return [counts, rows.length ? table("Messages in the queue", heads, rows) : make("p", { className: "note", textContent: "The queue is empty." })];
}

/** @param {any[]} connections @param {number} waiting */
function connected(connections, waiting) {
  if (!connections.length) {
    const text = waiting ? "No MQTT connection; its queue is being polled." : "None: nobody polls its queue now, and it has no MQTT connection.";
    return make("p", { className: "note", textContent: text });
  }
  const rows = connections.map(({ clientId, since, peer }) => row(link(clientId, hash("topics", "client", clientId)), since ? when(since) : "–", peer ?? "–"));
  return table("Connections", ["Client", "Connected", "From"], rows);
}

/** @param {any} told */
function kept(told) {
  const rows = told.messages.map((/** @type {any} */ message) => {
    const { messageId, created, is_read: isRead, userId: _, ttl: __, ...rest } = message;
    return row(clock(created * 1000), isRead ? "read" : "unread", link(messageId, hash("trace", messageId)), make("code", { className: "body", textContent: beginning(JSON.stringify(rest)) }));
  });
  return rows.length ? table("History", ["Created", "State", "Message id", "Message"], rows) : make("p", { className: "note", textContent: "Nothing is kept." });
}

/** The view. @param {import("./console.js").Context} context */
export function sessions(context) {
  const { api } = context;
  /** @type {any} What was asked for, and where the next page begins. */
  let asked = {};
  let stop = () => {};
  /** What the session was when it was last shown. */
  let seen = "";

  /** @param {boolean} more */
  async function list(more) {
    const told = await api.get("/admin/sessions", { ...asked, nextToken: more ? asked.nextToken : undefined });
    let found = told.sessions;
    // A number can be a session's id, too.
    if (!more && asked.user !== undefined) {
      found = found.concat((await api.get("/admin/sessions", { session: String(asked.user) })).sessions);
    }
    asked.nextToken = told.nextToken;
    if (!more) find("session-rows").replaceChildren();
    find("session-rows").append(...found.map(sessionRow));
    const count = find("session-rows").childElementCount;
    find("sessions-found").textContent = `${plural(count, "session")}${told.nextToken ? ", and there are more" : ""}.`;
    find("more-sessions").hidden = !told.nextToken;
  }

  /** @param {string} account @param {string} session */
  async function detail(account, session) {
    const box = find("session");
    const path = `/admin/sessions/${hash(account, session)}`;
    let parts;
    try {
      const told = await api.get(path);
      const user = told.session.userId;
      const history = user === undefined ? undefined : await Promise.all([api.get(`/messages/user/${user}`, { limit: HISTORY }), api.get(`/messages/unread/user/${user}`)]);
      // What somebody is reading, or copying, stays where it is as long as it is true. Times are told by the minute.
      const now = JSON.stringify([told, history, Math.floor(Date.now() / 60_000)]);
      if (now === seen) return;
      seen = now;
      parts = [
        described(told),
        make("p", {}, link("Follow its messages", hash("trace", "follow", `${account}/${session}`))),
        make("h3", { textContent: "Queue" }),
        ...queued(told.queue),
        make("h3", { textContent: "Connections" }),
        connected(told.connections, told.queue.waiting),
        ...(history ? [make("h3", { textContent: `History of user ${user}: ${whole(history[1].unread)} unread` }), kept(history[0])] : []),
      ];
      context.problem("");
    } catch (error) {
      if (!context.refused(error)) throw error;
      parts = [make("p", { className: "problem", textContent: /** @type {Error} */ (error).message })];
    }
    if (box.dataset.path !== path) return;
    box.replaceChildren(make("h2", { textContent: `Session ${session} of account ${account}` }), ...parts);
  }

  find("find-session").onsubmit = context.guarded(async () => {
    asked = wanted(find("session-wanted").value);
    context.go("sessions");
    await list(false);
  });
  find("more-sessions").onclick = context.guarded(() => list(true));

  return {
    /** @param {string[]} parts */
    show([account, session]) {
      stop();
      const box = find("session");
      seen = "";
      box.replaceChildren();
      box.dataset.path = session === undefined ? "" : `/admin/sessions/${hash(account, session)}`;
      if (session !== undefined) stop = repeat(context.guarded(() => detail(account, session)), LOOK_MS);
      else if (!find("session-rows").childElementCount) context.guarded(() => list(false))();
    },
    hide: () => stop(),
    end: () => stop(),
  };
}
