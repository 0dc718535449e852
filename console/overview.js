// How the server is: what needs attention, graphs, requests. All from /metrics and /health/ready.

import { find, make } from "/site/dom.js";
import { Chart, powerOfTwo } from "./chart.js";
import { bytes, latency, short, span, whole } from "./format.js";
import { Sample, attention, quantile, rate, requests } from "./metrics.js";
import { facts, repeat, row } from "./parts.js";

const LOOK_MS = 1000;
/** Percentiles are of the last so many looks, so that there is something to measure. */
const PERCENTILE_LOOKS = 10;
/** What needs attention is what happened in so many looks. */
const ATTENTION_LOOKS = 60;
const ROWS = 15;

/** @typedef {{ before: Sample, lately: Sample, now: Sample }} Looks */
/** @typedef {{ chart: Chart, measure: (looks: Looks) => (number | undefined)[] }} Graph */

/**
 * @param {string} title @param {string[]} lines @param {(value: number) => string} format @param {Graph["measure"]} measure
 * @param {(most: number) => number} [top] @returns {Graph}
 */
const graph = (title, lines, format, measure, top) => ({ chart: new Chart(title, lines, format, top), measure });

/** @param {string} title @param {[string, string, Record<string, string>?][]} counters @param {(value: number) => string} [format] @param {(most: number) => number} [top] */
const rates = (title, counters, format = short, top) =>
  graph(title, counters.map(([line]) => line), format, ({ before, now }) => counters.map(([, name, labels]) => rate(before, now, name, labels)), top);

/** @param {string} title @param {(value: number) => string} format @param {[string, string][]} gauges @param {(most: number) => number} [top] */
const levels = (title, format, gauges, top) =>
  graph(title, gauges.map(([line]) => line), format, ({ now }) => gauges.map(([, name]) => now.sum(name)), top);

/** @param {string} title @param {string} name @param {number[]} parts */
const percentiles = (title, name, parts) =>
  graph(title, parts.map((part) => `p${part * 100}`), latency, ({ lately, now }) => parts.map((part) => quantile(lately, now, name, part)));

const graphs = () => [
  rates("Messages in, a second", [["to sessions", "fanfare_messages_dispatched_total"], ["to topics", "fanfare_mqtt_publications_received_total"]]),
  rates("Deliveries, a second", [["from queues", "fanfare_queue_messages_received_total"], ["acknowledged", "fanfare_queue_messages_deleted_total"], ["to subscribers", "fanfare_mqtt_publications_sent_total"]]),
  percentiles("From acceptance to a waiting client", "fanfare_delivery_seconds", [0.5, 0.95, 0.99]),
  percentiles("From acceptance to the sender's answer: on disk", "fanfare_dispatch_seconds", [0.5, 0.95, 0.99]),
  levels("Connections", whole, [["MQTT", "fanfare_mqtt_connections"], ["waiting polls", "fanfare_queue_waiting_polls"]]),
  levels("Messages that wait", short, [["in queues", "fanfare_queue_messages"], ["for durable MQTT sessions", "fanfare_store_topic_messages"]]),
  percentiles("A commit, fdatasync included", "fanfare_store_commit_seconds", [0.5, 0.99]),
  rates("Commits, a second", [["commits", "fanfare_store_commits_total"], ["jobs in them", "fanfare_store_commit_jobs_sum"]]),
  rates("Requests, a second", [["answered", "fanfare_requests_total", { status: "2xx" }], ["refused", "fanfare_requests_total", { status: "4xx" }], ["failed", "fanfare_requests_total", { status: "5xx" }]]),
  rates("MQTT traffic, a second", [["in", "fanfare_mqtt_received_bytes_total"], ["out", "fanfare_mqtt_sent_bytes_total"]], bytes, powerOfTwo),
  levels("Memory", bytes, [["resident", "fanfare_process_resident_bytes"]], powerOfTwo),
  graph("Processor", ["of one core"], (part) => `${Math.round(part * 100)} %`, ({ before, now }) => [rate(before, now, "fanfare_process_cpu_seconds")]),
];

/** @param {Sample} now @param {any} about @returns {[string, string][]} */
function numbers(now, about) {
  return [
    ["Sessions", whole(about.sessions)],
    ["Rooms", whole(now.sum("fanfare_rooms"))],
    ["Members in rooms", whole(now.sum("fanfare_room_members"))],
    ["Durable MQTT sessions", whole(now.sum("fanfare_mqtt_durable_sessions"))],
    ["Retained messages", whole(now.sum("fanfare_mqtt_retained_messages"))],
    ["Free disk space", bytes(now.sum("fanfare_store_free_bytes"))],
    ["Open files", whole(now.sum("fanfare_process_open_fds"))],
  ];
}

/** @param {{ good: boolean, text: string }} state */
function tellHealth({ good, text }) {
  find("dot").className = `dot ${good ? "good" : "bad"}`;
  if (find("health").textContent !== text) find("health").textContent = text;
}

/** What is said aloud is said once. @param {{ level: string, text: string }[]} found */
function tellAttention(found) {
  const list = find("attention");
  const lines = found.length ? found : [{ level: "good", text: "Nothing: no refusal, no failure and no panic in the last minute." }];
  const text = lines.map((line) => line.text).join("\n");
  if (list.dataset.text === text) return;
  list.dataset.text = text;
  list.replaceChildren(...lines.map(({ level, text }) => make("li", { className: level, textContent: text })));
}

/** The view. @param {import("./console.js").Context} context */
export function overview(context) {
  const all = graphs();
  find("charts").replaceChildren(...all.map(({ chart }) => chart.element));
  /** @type {Sample[]} */
  const samples = [];
  let stop = () => {};

  async function look() {
    try {
      const [metrics, ready] = await Promise.all([fetch("/metrics", { cache: "no-store" }), fetch("/health/ready", { cache: "no-store" })]);
      if (!metrics.ok) throw new Error(`/metrics: HTTP ${metrics.status}`);
      const now = new Sample(await metrics.text(), Date.now());
      samples.push(now);
      if (samples.length > ATTENTION_LOOKS + 1) samples.shift();
      show(now, await ready.json());
    } catch (error) {
      tellHealth({ good: false, text: "The server does not answer" });
      context.problem(`The server does not answer: ${/** @type {Error} */ (error).message}`);
    }
  }

  /** @param {Sample} now @param {{ ready: boolean, reason?: string }} health */
  function show(now, health) {
    context.problem("");
    const up = span(now.at / 1000 - now.sum("fanfare_process_start_seconds"));
    tellHealth({ good: health.ready, text: health.ready ? `Ready, up ${up}` : `Not ready: ${health.reason}` });
    find("facts").replaceChildren(...facts(numbers(now, context.about)));
    const before = samples.at(-2);
    if (!before) return;
    const lately = samples.at(-1 - PERCENTILE_LOOKS) ?? samples[0];
    for (const { chart, measure } of all) chart.add(now.at, measure({ before, lately, now }));
    tellAttention(attention(samples[0], now, health));
    const rows = requests(lately, now).slice(0, ROWS);
    find("requests").replaceChildren(
      ...rows.map((request) => row(request.wire, request.operation, Math.round(request.rate * 10) / 10, request.total, request.refused, request.failed)),
    );
  }

  // The graphs go on while another view is looked at.
  stop = repeat(look, LOOK_MS);
  return { show() {}, hide() {}, end: () => stop() };
}
