// The chat: signing in, rooms, the inbox, and what the connection is doing.

import { createRelay } from "/client/fanfare.js";
import { face, find, make, plural } from "./dom.js";
import { Thread, typingText } from "./thread.js";

const ROOMS = ["lobby", "games", "music"];
const PAGE = 30;
/** So far from the end somebody still reads the newest. */
const NEAR_END_PX = 80;
const LOG_LINES = 20;
const INBOX = "inbox";
const WORDS = new Map([["idle", "Not connected"], ["connecting", "Connecting…"], ["reconnecting", "Reconnecting…"], ["failed", "Signed out"], ["closed", "Closed"]]);

/** @type {any} */ let relay;
/** @type {{ name: string, session?: string, user?: number }} The session is this page's secret; others see name and user. */ let me = { name: "" };
/**
 * @typedef {object} Place
 * @property {Thread} thread
 * @property {Set<string>} typing who is, by member id
 * @property {any} [room]
 * @property {number} old so many messages still come that were said before
 * @property {{ got: number, seen: number }} reached what the others were told
 * @property {ReturnType<typeof setTimeout>} [reaching]
 */

/** @type {Map<string, Place>} */ const places = new Map();
let current = ROOMS[0];
/** @type {ReturnType<typeof setTimeout>} */ let bannerTimer;

const scroll = find("scroll");
const at = (/** @type {string} */ name) => /** @type {Place} */ (places.get(name));
const place = () => at(current);
const isSeen = () => document.visibilityState === "visible" && document.hasFocus();

// ---- signing in ----

async function session() {
  const answer = await fetch("/demo/session", { method: "POST", body: JSON.stringify({ name: me.name, session: me.session }) });
  const told = await answer.json();
  if (answer.status === 400) throw Object.assign(new Error(told.message), { wrong: true });
  if (!answer.ok) throw new Error(told.message ?? `HTTP ${answer.status}`);
  me = { name: told.session.name, session: told.session.sessionId, user: told.session.userId };
  sessionStorage.setItem("chat", JSON.stringify(me));
  return told;
}

/** @param {string} name @param {string} [kept] */
async function start(name, kept) {
  me = { name, session: kept };
  relay?.close();
  const first = await session();
  let used = false;
  // The keys that signing in brought are good for the first connection.
  relay = createRelay({ session: async () => (used ? session() : ((used = true), first)), shared: `chat:${first.session.userId}` });
  find("door").hidden = true;
  find("app").hidden = false;
  find("me").textContent = `You are ${me.name}.`;
  listen();
  document.title = `${me.name} · Fanfare chat`;
  for (const name of [...ROOMS, INBOX]) open(name);
  show(current);
  await relay.connect();
  await loadInbox(first.session.userId);
  try {
    await Promise.all(ROOMS.map(enter));
  } catch (error) {
    // A server may be configured without rooms for the chat; the inbox is there all the same.
    banner(`The rooms can not be entered: ${/** @type {Error} */ (error).message}.`);
  }
}

find("sign-in").addEventListener("submit", async (/** @type {Event} */ event) => {
  event.preventDefault();
  const problem = find("sign-in-problem");
  problem.textContent = "";
  try {
    await start(find("name").value.trim());
    find("text").focus();
  } catch (error) {
    problem.textContent = /** @type {Error} */ (error).message;
  }
});

// ---- the connection ----

function listen() {
  relay.on("state", connection);
  relay.on("message", (/** @type {any} */ message) => direct(message, true));
  relay.on("unread", (/** @type {number} */ n) => badge(find("inbox-badge"), n));
  document.addEventListener("visibilitychange", () => {
    const away = document.visibilityState === "hidden";
    for (const { room } of places.values()) room?.update({ name: me.name, away }).catch(() => {});
    if (!away) read();
  });
  window.addEventListener("focus", read);
  setInterval(() => relay.state.name === "open" && connection(relay.state), 5000);
}

/** @param {any} state */
function connection(state) {
  const open = state.name === "open";
  find("link").className = `link ${state.name}`;
  const rtt = relay.rtt === undefined ? "" : ` · ${Math.max(1, Math.round(relay.rtt))} ms`;
  find("link-text").textContent = open ? `Connected${rtt}` : (WORDS.get(state.name) ?? "");
  if (state.name === "reconnecting") {
    countdown(Date.now() + state.nextInMs);
  } else if (state.name === "failed") {
    banner(`The session is over: ${state.reason}.`, make("button", { type: "button", textContent: "Sign in again", onclick: signOut }));
  }
}

/** @param {number} until */
function countdown(until) {
  const seconds = Math.max(0, Math.ceil((until - Date.now()) / 1000));
  const now = make("button", { type: "button", textContent: "Try now", onclick: () => relay.retry() });
  banner(seconds ? `Reconnecting, next try in ${seconds} s. What you write is sent then.` : "Reconnecting…", now);
  bannerTimer = setTimeout(() => relay.state.name === "reconnecting" && countdown(until), 1000);
}

/** @param {string} text @param {...Node} more */
function banner(text, ...more) {
  clearTimeout(bannerTimer);
  const element = find("banner");
  element.className = "banner";
  // Told once: a countdown that is read aloud each second helps nobody.
  if (text || more.length) element.replaceChildren(make("span", { textContent: text }), ...more);
  else element.replaceChildren();
}

/** What came back with the connection, for a few seconds. @param {string} text */
function backAgain(text) {
  banner(text);
  find("banner").classList.add("good");
  bannerTimer = setTimeout(() => banner(""), 8000);
}

function signOut() {
  sessionStorage.removeItem("chat");
  location.reload();
}

// ---- rooms ----

/** @param {string} name */
function open(name) {
  if (places.has(name)) return;
  places.set(name, { thread: new Thread(), typing: new Set(), old: 0, reached: { got: 0, seen: 0 } });
  if (name === INBOX) return;
  const badge = make("span", { className: "badge", hidden: true });
  const button = make("button", { type: "button", onclick: () => show(name) }, make("span", { textContent: `# ${name}` }), badge);
  button.dataset.room = name;
  find("rooms").append(make("li", {}, button));
}

let missed = 0;

/** @param {string} name */
async function enter(name) {
  const here = at(name);
  const away = document.visibilityState === "hidden";
  const room = await relay.join(`chat/${name}`, { presence: { name: me.name, away }, history: PAGE });
  here.room = room;
  here.old = room.recovery.replayed;
  here.thread.complete = here.old < PAGE;
  room.on("message", (/** @type {any} */ message) => said(name, message));
  room.on("recovery", (/** @type {any} */ recovery) => recovered(here.thread, recovery));
  for (const event of ["join", "leave", "update", "count"]) room.on(event, () => name === current && people());
  room.on("leave", (/** @type {any} */ { id }) => here.thread.reached.delete(id));
  room.on("typing", (/** @type {any} */ { member, typing }) => {
    if (typing) here.typing.add(member);
    else here.typing.delete(member);
    if (name === current) showTyping();
  });
  room.on("event", (/** @type {any} */ event) => {
    if (event.name !== "reached") return;
    here.thread.reached.set(event.member, event.data);
    here.thread.fates();
  });
  if (name === current) show(name);
}

/** @param {Thread} thread @param {any} recovery */
function recovered(thread, recovery) {
  if (recovery.recovered) {
    missed += recovery.missed;
  } else {
    // There may be a gap: what follows is what there is.
    thread.clear();
    thread.note("Some earlier messages can not be shown any more.");
  }
  clearTimeout(bannerTimer);
  // Rooms come back one after the other: one banner for all.
  bannerTimer = setTimeout(() => {
    backAgain(missed ? `Connected again: ${plural(missed, "missed message")} recovered.` : "Connected again. Nothing was missed.");
    missed = 0;
  }, 300);
}

/** @param {string} name @param {any} message */
function said(name, { id, offset, ts, data, own, replayed, member }) {
  const here = at(name);
  const line = { id, offset, ts, name: String(data.name ?? member), text: String(data.text ?? JSON.stringify(data)), own: own || data.from === me.user };
  const atEnd = name === current && isAtEnd();
  here.thread.add(line);
  here.typing.delete(member);
  if (name === current) showTyping();
  const seen = atEnd && isSeen();
  // What was said before one came for the first time is not news.
  const old = replayed && here.old-- > 0;
  if (!line.own && !old) {
    if (!seen) here.thread.unread++;
    aloud(`${line.name}${name === current ? "" : ` in ${name}`}: ${line.text}`);
  }
  if (name === current && (atEnd || line.own)) toEnd();
  if (name === current && !seen) find("jump").hidden = isAtEnd();
  badges();
  reach(name);
}

/** Tells the others how far this room has been received and read, not more often than they need to know. @param {string} name */
function reach(name) {
  const here = at(name);
  if (!here.room || here.reaching) return;
  here.reaching = setTimeout(() => {
    here.reaching = undefined;
    const got = here.room.position?.offset ?? 0;
    const seen = here.thread.unread ? here.reached.seen : got;
    if (got === here.reached.got && seen === here.reached.seen) return;
    here.reached = { got, seen };
    here.room.signal("reached", here.reached).catch(() => {});
  }, 250);
}

/** What is on the screen is read now. */
function read() {
  const { thread } = place();
  if (!isSeen() || !isAtEnd()) return;
  if (current === INBOX) void readInbox();
  if (thread.unread === 0) return;
  thread.unread = 0;
  badges();
  if (current !== INBOX) reach(current);
}

find("new-room").addEventListener("submit", async (/** @type {Event} */ event) => {
  event.preventDefault();
  const name = find("room-name").value.trim().toLowerCase().replace(/[^\p{L}\p{N}]+/gu, "-");
  if (!name || name === INBOX) return;
  find("room-name").value = "";
  const fresh = !places.has(name);
  open(name);
  show(name);
  if (fresh) await enter(name);
});

// ---- what is shown ----

/** @param {string} name */
function show(name) {
  const before = places.get(current);
  if (before && name !== current) before.thread.scrolled = isAtEnd() ? undefined : scroll.scrollTop;
  current = name;
  const { thread, room } = place();
  const inbox = name === INBOX;
  find("title").textContent = inbox ? "Messages to me" : `# ${name}`;
  find("start").textContent = thread.complete && !inbox ? "This is where it begins." : "";
  find("to").hidden = !inbox;
  find("backend").hidden = !inbox;
  find("text").placeholder = inbox ? "A message to one person" : `Message # ${name}`;
  thread.divide();
  scroll.querySelector(".messages").replaceWith(thread.list);
  thread.list.id = "messages";
  if (thread.scrolled === undefined) toEnd();
  else scroll.scrollTop = thread.scrolled;
  for (const button of document.querySelectorAll("#rooms button")) {
    button.setAttribute("aria-current", String(/** @type {HTMLElement} */ (button).dataset.room === name));
  }
  find("open-inbox").setAttribute("aria-current", String(inbox));
  aside(false);
  people();
  showTyping();
  read();
  if (room && scroll.scrollHeight <= scroll.clientHeight) void earlier();
}

function people() {
  const { room } = place();
  const inbox = current === INBOX;
  find("subtitle").textContent = inbox ? "Kept for a day, and marked as read everywhere" : room ? `${plural(room.count, "person", "people")} here` : "";
  const shown = room ?? places.get(ROOMS[0])?.room;
  const seen = new Set();
  const items = [];
  for (const { data } of shown?.members.values() ?? []) {
    const name = String(data?.name ?? "somebody");
    if (seen.has(name)) continue;
    seen.add(name);
    const state = make("span", { className: "state", textContent: name === me.name ? "you" : data.away ? "away" : "" });
    const button = make("button", { type: "button", onclick: () => writeTo(name) }, face(name), make("span", { textContent: name }), state);
    button.classList.toggle("away", Boolean(data.away));
    if (name !== me.name) button.title = `Write to ${name}`;
    items.push(make("li", {}, button));
  }
  find("people").replaceChildren(...items);
}

function showTyping() {
  const { room, typing } = place();
  const names = [...typing].map((member) => room?.members.get(member)?.data?.name).filter((name) => name && name !== me.name);
  find("typing").textContent = typingText([...new Set(names)]);
}

/** @param {any} element @param {number} n */
function badge(element, n) {
  element.hidden = n === 0;
  element.textContent = n > 99 ? "99+" : String(n);
  element.setAttribute("aria-label", plural(n, "unread message"));
  element.setAttribute("role", "img");
}

function badges() {
  let all = 0;
  for (const button of document.querySelectorAll("#rooms button")) {
    const { thread } = at(/** @type {any} */ (button).dataset.room);
    all += thread.unread;
    badge(button.querySelector(".badge"), thread.unread);
  }
  document.title = `${all ? `(${all}) ` : ""}${me.name} · Fanfare chat`;
}

/** Arriving messages are read aloud; those that were there before are not. @param {string} text */
function aloud(text) {
  const log = find("log");
  log.append(make("p", { textContent: text }));
  while (log.children.length > LOG_LINES) log.firstChild.remove();
}

const isAtEnd = () => scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < NEAR_END_PX;

function toEnd() {
  scroll.scrollTop = scroll.scrollHeight;
  find("jump").hidden = true;
}

scroll.addEventListener("scroll", () => {
  if (isAtEnd()) {
    find("jump").hidden = true;
    read();
  } else {
    find("jump").hidden = false;
  }
  if (scroll.scrollTop < 200) void earlier();
});
find("jump").addEventListener("click", () => {
  toEnd();
  read();
  find("text").focus();
});

let fetching = false;

/** Earlier messages, when somebody scrolls up; what is on the screen stays where it is. */
async function earlier() {
  const { thread, room } = place();
  if (fetching || !room || thread.complete || thread.first === undefined) return;
  fetching = true;
  try {
    const { messages, more } = await room.history({ before: thread.first, limit: PAGE });
    const fromEnd = scroll.scrollHeight - scroll.scrollTop;
    thread.prepend(messages.map((/** @type {any} */ { data, ...message }) => ({ ...message, name: String(data.name), text: String(data.text), own: data.from === me.user })));
    thread.complete = !more;
    if (thread === place().thread) {
      scroll.scrollTop = scroll.scrollHeight - fromEnd;
      find("start").textContent = thread.complete ? "This is where it begins." : "";
    }
  } catch {
    // There is no connection: scrolling tries again when there is.
  }
  fetching = false;
}

// ---- the inbox ----

/** @param {number} user */
async function loadInbox(user) {
  const keys = 'curl --aws-sigv4 aws:amz:us-east-1:execute-api --user "FANFAREDEV:fanfare-dev-secret"';
  find("curl").textContent = `${keys} ${location.origin}/notify/user/${user} --json '{"text":"Your parcel is here"}'`;
  const { messages } = await relay.history({ limit: 50 });
  for (const message of messages.reverse()) direct(message, false);
  await relay.unread();
  if (current === INBOX) show(INBOX);
}

const known = new Set();

/** @param {any} message @param {boolean} live */
function direct({ id, data, ts, read: wasRead }, live) {
  if (known.has(id)) return;
  known.add(id);
  const { thread } = at(INBOX);
  const line = { id, ts, name: String(data.from ?? "A backend"), text: String(data.text ?? JSON.stringify(data)), own: false };
  const atEnd = current === INBOX && isAtEnd();
  thread.add(line);
  if (!wasRead) thread.unread++;
  if (live) aloud(`To you, from ${line.name}: ${line.text}`);
  if (live && current !== INBOX) {
    backAgain(`${line.name} wrote to you: ${line.text}`);
    find("banner").append(make("button", { type: "button", textContent: "Open", onclick: () => show(INBOX) }));
  }
  if (atEnd) {
    toEnd();
    read();
  }
}

async function readInbox() {
  await relay.markRead({ upTo: relay.serverTime() + 1000 }).catch(() => {});
}

/** @param {string} name */
function writeTo(name) {
  if (name === me.name) return;
  show(INBOX);
  find("to").value = name;
  find("text").focus();
}

/** @param {string} to @param {string} text */
async function sendDirect(to, text) {
  const body = JSON.stringify({ session: me.session, to, text });
  const answer = await fetch("/demo/notify", { method: "POST", body });
  const told = await answer.json();
  if (!answer.ok) throw new Error(told.message);
}

// ---- writing ----

find("write").addEventListener("submit", (/** @type {Event} */ event) => {
  event.preventDefault();
  const text = find("text").value.trim();
  if (!text) return;
  const { thread, room } = place();
  const id = `${Date.now().toString(36)}-${Math.random().toString(36).slice(2)}`;
  const line = { id, ts: Date.now(), name: me.name, text, own: true };
  if (current === INBOX) {
    const to = find("to").value.trim();
    if (!to) return void find("to").focus();
    thread.send({ ...line, text: `To ${to}: ${text}` }, () => sendDirect(to, text));
  } else {
    if (!room) return;
    thread.send(line, () => room.publish({ name: me.name, text, from: me.user }, { id }));
  }
  find("text").value = "";
  toEnd();
});

find("text").addEventListener("input", () => find("text").value && place().room?.typing(true));
find("open-inbox").addEventListener("click", () => show(INBOX));
find("copy").addEventListener("click", async () => {
  await navigator.clipboard?.writeText(find("curl").textContent);
  find("copy").textContent = "Copied";
  setTimeout(() => (find("copy").textContent = "Copy"), 2000);
});

// ---- the side, on phones ----

/** @param {boolean} open */
function aside(open) {
  find("side").classList.toggle("open", open);
  find("side-open").setAttribute("aria-expanded", String(open));
  if (open) find("side-close").focus();
}
find("side-open").addEventListener("click", () => aside(true));
find("side-close").addEventListener("click", () => {
  aside(false);
  find("side-open").focus();
});
document.addEventListener("keydown", (event) => event.key === "Escape" && aside(false));

// ---- whoever comes back to this tab stays signed in ----

const kept = JSON.parse(sessionStorage.getItem("chat") ?? "null");
if (kept) start(kept.name, kept.session).catch(() => sessionStorage.removeItem("chat"));
