// What the console makes of the server's metrics. Its pages are tested in tests/browser/console.test.mjs.

import assert from "node:assert/strict";
import { test } from "node:test";
import { bytes, latency, span } from "../../console/format.js";
import { Sample, attention, quantile, rate, requests, rise } from "../../console/metrics.js";

const READY = { ready: true };
const sample = (/** @type {string} */ text, at = 0) => new Sample(text, at);

test("metrics are read as Prometheus writes them", () => {
  const found = sample('# HELP a_total {b="c"} 9\n# TYPE a_total counter\na_total{x="1",y="a \\"b\\" \\\\ , } \\n"} 2\na_total{x="2"} 3.5e1\nb 7\n\nc{le="+Inf"} 4\n');
  assert.deepEqual(found.all("a_total")[0], { labels: { x: "1", y: 'a "b" \\ , } \n' }, value: 2 });
  assert.deepEqual([found.sum("a_total"), found.sum("a_total", { x: "2" }), found.sum("b"), found.sum("none")], [37, 35, 7, 0]);
});

test("rates are of the time between two looks, and begin anew with the process", () => {
  const [before, now] = [sample("a 10", 1000), sample("a 30", 3000)];
  assert.equal(rate(before, now, "a"), 10);
  assert.equal(rise(now, sample("a 4"), "a"), 4);
  assert.equal(rate(before, sample("a 30", 1000), "a"), 0);
});

test("percentiles are of what was measured between two looks", () => {
  const buckets = (/** @type {number[]} */ ...counts) => sample(["0.001", "0.01", "0.1", "+Inf"].map((le, n) => `t_bucket{le="${le}"} ${counts[n]}`).join("\n"));
  const before = buckets(1000, 1000, 1000, 1000);
  const now = buckets(1050, 1090, 1100, 1100);
  assert.equal(quantile(before, now, "t", 0.5), 0.001);
  assert.ok(Math.abs((quantile(before, now, "t", 0.7) ?? 0) - 0.0055) < 1e-9);
  assert.ok(Math.abs((quantile(before, now, "t", 0.95) ?? 0) - 0.055) < 1e-9);
  assert.equal(quantile(now, now, "t", 0.5), undefined);
  assert.equal(quantile(before, now, "none", 0.5), undefined);
  // Longer than any bound: at least the last one.
  assert.equal(quantile(buckets(0, 0, 0, 0), buckets(0, 0, 0, 5), "t", 0.5), 0.1);
  // The process was started again.
  assert.equal(quantile(now, buckets(4, 4, 4, 4), "t", 1), 0.001);
});

test("what stands still needs no attention, what rises does, and the worst comes first", () => {
  const quiet = sample('fanfare_handler_panics_total{wire="http"} 3\nfanfare_queue_messages 5\nfanfare_store_free_bytes 1e12');
  assert.deepEqual(attention(quiet, quiet, READY), []);
  const texts = (/** @type {string} */ now, health = READY) => attention(quiet, sample(now), health).map(({ level, text }) => `${level} ${text}`);
  assert.match(texts("fanfare_handler_panics_total 4")[0], /^bad 1 requests ended in a panic/);
  assert.match(texts('fanfare_requests_total{status="5xx"} 2')[0], /^bad 2 requests failed/);
  assert.match(texts("fanfare_queue_messages 1005")[0], /^warn Queues have grown by 1,000/);
  assert.deepEqual(texts("fanfare_queue_messages 1004"), []);
  assert.match(texts("fanfare_store_free_bytes 1e9")[0], /^warn Little disk space is left: 954 MiB/);
  assert.match(texts("", /** @type {any} */ ({ ready: false, reason: "draining" }))[0], /^bad The server is not ready: draining/);
  assert.deepEqual(texts('fanfare_mqtt_dropped_total{reason="x"} 1\nfanfare_store_refused_full_total 1').map((text) => text.slice(0, 4)), ["bad ", "warn"]);
  const slow = sample('fanfare_store_commit_seconds_bucket{le="0.1"} 1\nfanfare_store_commit_seconds_bucket{le="2.5"} 100\nfanfare_store_commit_seconds_bucket{le="+Inf"} 100');
  assert.match(attention(quiet, slow, READY)[0].text, /^Commits are slow: \d+ ms at p99/);
});

test("requests are told by operation, the busiest first", () => {
  const line = (/** @type {string} */ operation, /** @type {string} */ status, /** @type {number} */ n) => `fanfare_requests_total{wire="w",operation="${operation}",status="${status}"} ${n}`;
  const before = sample([line("a", "2xx", 100), line("b", "2xx", 1)].join("\n"), 0);
  const now = sample([line("a", "2xx", 100), line("b", "2xx", 5), line("b", "4xx", 2), line("c", "2xx", 0)].join("\n"), 2000);
  assert.deepEqual(requests(before, now), [
    { wire: "w", operation: "b", rate: 3, total: 7, refused: 2, failed: 0 },
    { wire: "w", operation: "a", rate: 0, total: 100, refused: 0, failed: 0 },
  ]);
});

test("numbers are told as people read them", () => {
  assert.deepEqual([0, 1023, 1536, 300 * 2 ** 20].map(bytes), ["0 B", "1023 B", "1.5 KiB", "300 MiB"]);
  assert.deepEqual([0.00025, 0.0042, 0.25, 2.5].map(latency), ["250 µs", "4.2 ms", "250 ms", "2.5 s"]);
  assert.deepEqual([59, 60, 3 * 3600 + 120, 5 * 86_400].map(span), ["59 s", "1 min", "3 h 2 min", "5 days"]);
});
