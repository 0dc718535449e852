// Parts that the views share: tables, texts that are looked up, and what somebody wants to find.

import { make } from "/site/dom.js";

/** A table's row. Numbers stand to the right. @param {...(Node | string | number)} cells */
export function row(...cells) {
  const cell = (/** @type {Node | string | number} */ content) =>
    typeof content === "number" ? make("td", { className: "number", textContent: content.toLocaleString("en") }) : make("td", {}, content);
  return make("tr", {}, ...cells.map(cell));
}

/** @param {string} text @param {string} hash */
export const link = (text, hash) => make("a", { textContent: text, href: `#${hash}` });

/** Terms with what they are. @param {[string, Node | string][]} pairs */
export function facts(pairs) {
  return pairs.map(([term, content]) => make("div", {}, make("dt", { textContent: term }), make("dd", {}, content)));
}

/** A table of its own. @param {string} name @param {string[]} heads @param {Node[]} rows */
export function table(name, heads, rows) {
  const scroll = make("div", { className: "wide", tabIndex: 0 });
  scroll.setAttribute("role", "region");
  scroll.setAttribute("aria-label", name);
  const head = make("tr", {}, ...heads.map((text) => Object.assign(make("th", { textContent: text }), { scope: "col" })));
  scroll.append(make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows)));
  return scroll;
}

/** Puts the parts of an address behind each other. @param {...(string | number)} parts */
export const hash = (...parts) => parts.map((part) => encodeURIComponent(part)).join("/");

/**
 * What somebody wants to find: a number is a user's, a text with a slash after a number an account's session, any other a
 * session's id.
 * @param {string} text @returns {{ account?: number, user?: number, session?: string }}
 */
export function wanted(text) {
  const trimmed = text.trim();
  if (!trimmed) return {};
  if (/^-?\d+$/.test(trimmed)) return { user: Number(trimmed) };
  const [, account, session] = /^(-?\d+)\/(.+)$/.exec(trimmed) ?? [];
  return session ? { account: Number(account), session } : { session: trimmed };
}

/** The same as a body of the server's routes. @param {ReturnType<typeof wanted>} target */
export const target = ({ account, user, session }) => ({ accountId: account, userId: user, sessionId: session });

/** What it means, in words. @param {{ accountId?: number, userId?: number, sessionId?: string }} target */
export function whom({ accountId, userId, sessionId }) {
  const parts = [];
  if (sessionId !== undefined) parts.push(`session ${sessionId}`);
  if (userId !== undefined) parts.push(`user ${userId}`);
  if (accountId !== undefined) parts.push(`account ${accountId}`);
  return parts.join(", ") || "everyone";
}

/**
 * Does something now and again and again, one after the other, until it is stopped; not while nobody looks at the page.
 * @param {() => Promise<void>} work @param {number} pause in milliseconds
 */
export function repeat(work, pause) {
  let stopped = false;
  const run = async () => {
    if (stopped) return;
    if (document.visibilityState === "visible") await work();
    setTimeout(run, pause);
  };
  run();
  return () => (stopped = true);
}
