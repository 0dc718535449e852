// The server's metrics as Prometheus reads them: parsed, and what follows from two looks at them. No page is needed here.

/** @typedef {{ labels: Record<string, string>, value: number }} Series */

const LINE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/;
const LABEL = /([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"/g;
const ESCAPES = new Map([["n", "\n"]]);

/** One look at the metrics. */
export class Sample {
  /** @param {string} text @param {number} at when, in milliseconds */
  constructor(text, at) {
    this.at = at;
    /** @type {Map<string, Series[]>} */
    this.series = new Map();
    for (const line of text.split("\n")) {
      const [, name, labels = "", value] = LINE.exec(line) ?? [];
      if (!name) continue;
      const found = [...labels.matchAll(LABEL)].map(([, key, text]) => [key, text.replace(/\\(.)/g, (_, c) => ESCAPES.get(c) ?? c)]);
      const series = { labels: Object.fromEntries(found), value: Number(value) };
      const known = this.series.get(name);
      if (known) known.push(series);
      else this.series.set(name, [series]);
    }
  }

  /** @param {string} name */
  all(name) {
    return this.series.get(name) ?? [];
  }

  /** The sum of a metric's series; of those with these labels, if there are any. @param {string} name @param {Record<string, string>} [labels] */
  sum(name, labels = {}) {
    const wanted = Object.entries(labels);
    const meant = this.all(name).filter((series) => wanted.every(([key, value]) => series.labels[key] === value));
    return meant.reduce((sum, { value }) => sum + value, 0);
  }

  /** How many were not longer than each bound, by bound. @param {string} name */
  buckets(name) {
    /** @type {Map<number, number>} */
    const buckets = new Map();
    for (const { labels, value } of this.all(`${name}_bucket`)) {
      const bound = labels.le === "+Inf" ? Infinity : Number(labels.le);
      buckets.set(bound, (buckets.get(bound) ?? 0) + value);
    }
    return buckets;
  }
}

/**
 * How much a counter rose between two looks. A process that was started again begins anew.
 * @param {Sample} before @param {Sample} now @param {string} name @param {Record<string, string>} [labels]
 */
export function rise(before, now, name, labels) {
  const [then, later] = [before.sum(name, labels), now.sum(name, labels)];
  return later >= then ? later - then : later;
}

/** The same for a second. @param {Sample} before @param {Sample} now @param {string} name @param {Record<string, string>} [labels] */
export function rate(before, now, name, labels) {
  const seconds = (now.at - before.at) / 1000;
  return seconds > 0 ? rise(before, now, name, labels) / seconds : 0;
}

/**
 * The time that a part `q` of what was measured between two looks did not exceed, as Prometheus's histogram_quantile has it:
 * evenly spread within each bucket. `undefined` if nothing was measured.
 * @param {Sample} before @param {Sample} now @param {string} name @param {number} q
 */
export function quantile(before, now, name, q) {
  const then = before.buckets(name);
  const later = [...now.buckets(name)].sort(([one], [other]) => one - other);
  const isNew = later.some(([bound, count]) => count < (then.get(bound) ?? 0));
  const counts = later.map(([bound, count]) => ({ bound, count: count - (isNew ? 0 : then.get(bound) ?? 0) }));
  const total = counts.at(-1)?.count ?? 0;
  if (total <= 0) return undefined;
  const rank = q * total;
  let [low, under] = [0, 0];
  for (const { bound, count } of counts) {
    if (count >= rank) {
      // Longer than the longest bound: that is all that is known.
      if (bound === Infinity) return low;
      return low + ((bound - low) * (rank - under)) / (count - under || 1);
    }
    [low, under] = [bound, count];
  }
  return low;
}

/** Counters that should stand still, and what it means when they rise. */
const ALARMS = [
  ["bad", "fanfare_store_refused_full_total", "writes were refused: the disk is nearly full"],
  ["bad", "fanfare_handler_panics_total", "requests ended in a panic: see the log"],
  ["bad", "fanfare_actor_panics_total", "messages to actors were given up in a panic: see the log"],
  ["bad", "fanfare_queue_panics_total", "queue actors panicked: see the log"],
  ["bad", "fanfare_tls_reload_failures_total", "new certificates could not be used; the last good one stays"],
  ["warn", "fanfare_mqtt_connections_refused_total", "MQTT connections were refused: there are too many (mqtt.max_connections)"],
  ["warn", "fanfare_mqtt_dropped_total", "publications were dropped on their way to clients"],
  ["warn", "fanfare_logins_failed_total", "MQTT logins failed"],
  ["warn", "fanfare_receipt_messages_refused_total", "receipts found a session's queue full"],
  ["warn", "fanfare_stream_records_skipped_total", "stream records were no messages"],
];

/** From this on a commit is slow: the disk does not keep up. */
const SLOW_COMMIT_S = 0.25;
/** So many messages more within the time that is looked at are worth a look. */
const GROWTH = 1000;
const LITTLE_BYTES = 2 * 2 ** 30;

/**
 * What an operator should look at, worst first: what happened between two looks, a minute or so apart.
 * @param {Sample} before @param {Sample} now @param {{ ready: boolean, reason?: string }} health
 * @returns {{ level: string, text: string }[]}
 */
export function attention(before, now, health) {
  const found = [];
  if (!health.ready) found.push({ level: "bad", text: `The server is not ready: ${health.reason}` });
  for (const [level, name, text] of ALARMS) {
    const count = rise(before, now, name);
    if (count > 0) found.push({ level, text: `${count.toLocaleString("en")} ${text}` });
  }
  const failed = rise(before, now, "fanfare_requests_total", { status: "5xx" });
  if (failed > 0) found.push({ level: "bad", text: `${failed.toLocaleString("en")} requests failed (5xx): the table below says which` });
  const commit = quantile(before, now, "fanfare_store_commit_seconds", 0.99);
  if (commit !== undefined && commit > SLOW_COMMIT_S) found.push({ level: "warn", text: `Commits are slow: ${Math.round(commit * 1000)} ms at p99` });
  const free = now.all("fanfare_store_free_bytes")[0]?.value;
  if (free !== undefined && free < LITTLE_BYTES) found.push({ level: "warn", text: `Little disk space is left: ${Math.round(free / 2 ** 20)} MiB` });
  const more = now.sum("fanfare_queue_messages") - before.sum("fanfare_queue_messages");
  if (more >= GROWTH && more > before.sum("fanfare_queue_messages") / 10) {
    found.push({ level: "warn", text: `Queues have grown by ${more.toLocaleString("en")} messages: clients do not keep up, or are gone` });
  }
  return found.sort((one, other) => Number(one.level !== "bad") - Number(other.level !== "bad"));
}

/**
 * Requests by wire and operation, the busiest first.
 * @param {Sample} before @param {Sample} now
 */
export function requests(before, now) {
  /** @type {Map<string, { wire: string, operation: string, rate: number, total: number, refused: number, failed: number }>} */
  const rows = new Map();
  for (const { labels, value } of now.all("fanfare_requests_total")) {
    const { wire, operation, status } = labels;
    const row = rows.get(`${wire} ${operation}`) ?? { wire, operation, rate: rate(before, now, "fanfare_requests_total", { wire, operation }), total: 0, refused: 0, failed: 0 };
    row.total += value;
    if (status === "4xx") row.refused += value;
    if (status === "5xx") row.failed += value;
    rows.set(`${wire} ${operation}`, row);
  }
  return [...rows.values()].filter(({ total }) => total > 0).sort((one, other) => other.rate - one.rate || other.total - one.total);
}
