// Traces: messages that are followed from their acceptance to their acknowledgement, and test messages.

import { find, make } from "/site/dom.js";
import { bytes, clock, day, when, whole } from "./format.js";
import { hash, link, repeat, row, target, wanted, whom } from "./parts.js";

const LOOK_MS = 1000;
/** How long the server follows without being asked again; the page asks again until it is told to stop, or is gone. */
const FOLLOW_S = 15;
const ASK_MS = 5000;

/** @typedef {any} Step one of `/admin/traces/{message}` */

/** @param {number} n @param {string} what */
const count = (n, what) => `${whole(n)} ${n === 1 ? what : `${what}s`}`;

/** A step in words. @param {Step} step */
function words(step) {
  const where = step.topic === undefined ? whom(step) : `topic ${step.topic}`;
  const how = /** @type {Record<string, string>} */ ({ sqs: "SQS", mqtt: "MQTT" })[step.via] ?? "";
  switch (step.what) {
    case "accepted":
      return ["Accepted", `for ${where}, ${bytes(step.bytes)}`];
    case "stored":
      return ["On disk, sender answered", `${count(step.sessions, "session")}${step.refused ? `, ${whole(step.refused)} left out: queue full` : ""}${step.kept ? ", kept in history" : ""}`];
    case "published":
      return ["Published, sender answered", `to ${count(step.connected, "connection")}; ${count(step.away, "session")} without one`];
    case "refused":
      return ["Refused", step.reason];
    case "handed out":
      return ["Handed out", `to ${where} by ${how}${step.count > 1 ? `, for the ${step.count}. time` : ""}`];
    case "returned":
      return ["Returned to the queue", `${where} had gone before it was seen`];
    case "acknowledged":
      return ["Acknowledged, gone from disk", `by ${where} with ${step.via === "mqtt" ? "PUBACK" : "DeleteMessage"}`];
    case "read":
      return ["Read", `by ${where}`];
    default:
      return [step.what, ""];
  }
}

/** @param {number} ms */
const later = (ms) => (ms < 1000 ? `+${ms.toFixed(2)} ms` : `+${(ms / 1000).toFixed(2)} s`);

/** A message's way, step by step. @param {any} told */
function timeline(told) {
  const first = told.steps[0]?.at ?? 0;
  const steps = [...told.steps].sort((one, other) => one.at - other.at);
  const items = steps.map((step) => {
    const [name, more] = words(step);
    const at = make("time", { textContent: later(step.at - first), title: day(step.at) });
    return make("li", { className: step.what.replace(" ", "-") }, at, make("strong", { textContent: name }), make("span", { textContent: more }));
  });
  const acknowledged = steps.filter(({ what }) => what === "acknowledged").length;
  const sessions = Math.max(0, ...steps.map(({ sessions = 0 }) => sessions));
  const state = sessions ? `Acknowledged by ${whole(acknowledged)} of ${count(sessions, "session")}.` : "";
  return [
    make("h2", { textContent: told.messageId }),
    make("p", { className: "note", textContent: `${steps.length ? `Accepted ${day(first)}. ` : "Not accepted yet. "}${state}` }),
    make("ol", { className: "steps" }, ...items),
    ...(told.leftOut ? [make("p", { className: "note", textContent: `${whole(told.leftOut)} more steps were not kept.` })] : []),
  ];
}

/** The view. @param {import("./console.js").Context} context */
export function trace(context) {
  const { api, about } = context;
  /** @type {{ accountId?: number, userId?: number, sessionId?: string } | undefined} */
  let followed;
  let asked = 0;
  let shown = "";
  let stop = () => {};

  async function ask() {
    if (!followed || Date.now() - asked < ASK_MS) return;
    asked = Date.now();
    await api.post("/admin/traces", { ...followed, seconds: FOLLOW_S });
  }

  async function look() {
    await ask();
    const told = await api.get("/admin/traces", { limit: 50 });
    const others = told.watches.map((/** @type {any} */ watch) => `${whom(watch)} (${when(watch.until)})`);
    const idle = "Nothing is followed: it costs nothing until you ask.";
    const text = followed ? `Following messages for ${whom(followed)} as long as this view is open.` : others.length ? `Followed until: ${others.join("; ")}.` : idle;
    if (find("following").textContent !== text) find("following").textContent = text;
    showTraces(told.traces);
    if (shown) await one(shown);
    context.problem("");
  }

  /** Rows that stay as they are stay where they are: somebody may be about to click. @param {any[]} traces */
  function showTraces(traces) {
    const body = find("trace-rows");
    const known = new Map([...body.children].map((line) => [line.dataset.is, line]));
    const lines = traces.map((trace) => known.get(JSON.stringify([trace, trace.messageId === shown])) ?? traceRow(trace));
    if (lines.length === known.size && lines.every((line, n) => line === body.children[n])) return;
    const focused = /** @type {HTMLElement | null} */ (document.activeElement);
    body.replaceChildren(...lines);
    if (focused && body.contains(focused)) focused.focus();
  }

  /** @param {any} trace */
  function traceRow(trace) {
    const last = trace.last ? words(trace.last)[0] : "expected";
    const line = row(link(trace.messageId, hash("trace", trace.messageId)), trace.at ? clock(trace.at) : "–", trace.steps, last);
    line.dataset.is = JSON.stringify([trace, trace.messageId === shown]);
    if (trace.messageId === shown) line.setAttribute("aria-current", "true");
    return line;
  }

  /** @param {string} message */
  async function one(message) {
    const box = find("timeline");
    let parts;
    try {
      parts = timeline(await api.get(`/admin/traces/${encodeURIComponent(message)}`));
    } catch (error) {
      if (!context.refused(error)) throw error;
      parts = [make("h2", { textContent: message }), make("p", { className: "problem", textContent: /** @type {Error} */ (error).message })];
    }
    // Read aloud only when there is something new.
    const text = parts.map((part) => part.textContent).join("\n");
    if (box.dataset.text !== text) box.replaceChildren(...parts);
    box.dataset.text = text;
  }

  /** @param {string} text */
  async function follow(text) {
    followed = target(wanted(text));
    asked = 0;
    find("follow-button").textContent = "Stop";
    await look().catch((error) => {
      followed = undefined;
      find("follow-button").textContent = "Follow";
      throw error;
    });
  }

  find("follow").onsubmit = context.guarded(async () => {
    if (!followed) return follow(find("follow-wanted").value);
    followed = undefined;
    find("follow-button").textContent = "Follow";
    await look();
  });

  function allowPublishing() {
    find("publish-fields").disabled = !about.mayPublish;
    find("publish-note").textContent = about.mayPublish
      ? "It is followed, whatever else is."
      : "The console is for reading only. [console] publish = true in the server's configuration allows test messages.";
  }

  /** @param {string} kind @param {string} to */
  function addressee(kind, to) {
    const number = () => {
      if (!/^\s*-?\d+\s*$/.test(to)) throw new Error(`the ${kind} is a whole number`);
      return Number(to);
    };
    if (kind === "user") return { userId: number() };
    if (kind === "account") return { accountId: number() };
    if (kind === "topic") return { topic: to, qos: 1 };
    return target(/^-?\d+\//.test(to) ? wanted(to) : { session: to });
  }

  find("publish").onsubmit = context.guarded(async () => {
    const problem = find("publish-problem");
    problem.textContent = "";
    try {
      const message = JSON.parse(find("publish-message").value);
      const sent = await api.post("/admin/messages", { ...addressee(find("publish-kind").value, find("publish-to").value), message });
      context.go(hash("trace", sent.messageId));
    } catch (error) {
      problem.textContent = /** @type {Error} */ (error).message;
    }
  });
  allowPublishing();

  return {
    /** @param {string[]} parts */
    show([message, whose]) {
      stop();
      shown = message && message !== "follow" ? message : "";
      if (!shown) find("timeline").replaceChildren();
      stop = repeat(context.guarded(look), LOOK_MS);
      if (message === "follow") {
        find("follow-wanted").value = whose;
        context.guarded(() => follow(whose))();
      }
    },
    hide: () => stop(),
    end: () => stop(),
  };
}
