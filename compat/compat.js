// The page: a table of checks for each client, and their verdicts as they come.

import "./socket.js";
import { find, make } from "/site/dom.js";
import { signIn } from "./backend.js";
import { run } from "./check.js";
import { VERSIONS } from "./dist/versions.js";
import { mqttChecks } from "./mqtt.js";
import { deviceSdk, mqttJs } from "./peers.js";
import { sqsChecks } from "./sqs.js";

/** @typedef {import("./check.js").Check} Check */
/** @typedef {import("./check.js").Group} Group */
/** @typedef {import("./check.js").Verdict} Verdict */

/** @type {Group[]} The first is what all others need. */
const GROUPS = [
  {
    client: "A session",
    about: "from the page’s backend, as yours would hand it over: temporary keys, a queue, a topic, a key to decrypt with",
    checks: [{ what: "keys, queue and topic are handed over", run: signIn }],
  },
  { client: `MQTT.js ${VERSIONS.mqtt}, MQTT 5`, about: "over WebSocket", checks: mqttChecks(mqttJs(5)) },
  { client: `MQTT.js ${VERSIONS.mqtt}, MQTT 3.1.1`, about: "over WebSocket", checks: mqttChecks(mqttJs(4)) },
  { client: `aws-iot-device-sdk-v2 ${VERSIONS["aws-iot-device-sdk-v2"]}`, about: "AWS IoT’s SDK for browsers, MQTT 5", checks: mqttChecks(deviceSdk) },
  { client: `@aws-sdk/client-sqs ${VERSIONS["@aws-sdk/client-sqs"]}`, about: "with the session’s keys, on its own queue", checks: sqsChecks },
];

const WORDS = { waiting: "Waiting", running: "Running…", passed: "Passed", failed: "Failed", untried: "Not tried" };
const MARKS = { waiting: "·", running: "…", passed: "✓", failed: "✗", untried: "–" };

/** @type {Map<Check, { row: any, verdict: Verdict }>} */
const rows = new Map();

/** @param {Group} group @param {number} at */
function table({ client, about, checks }, at) {
  const heads = ["Check", "Result", "Time", "Remark"].map((textContent) => make("th", { textContent, scope: "col" }));
  const body = make("tbody");
  for (const check of checks) {
    const row = make("tr", {}, make("th", { scope: "row", textContent: check.what }), ...Array.from({ length: 3 }, () => make("td")));
    rows.set(check, { row, verdict: { state: "waiting" } });
    body.append(row);
  }
  const title = make("h2", { id: `client-${at}`, textContent: client });
  const section = make("section", { className: "client" }, title, make("p", { textContent: about }), make("table", {}, make("thead", {}, make("tr", {}, ...heads)), body));
  section.setAttribute("aria-labelledby", title.id);
  return section;
}

/** @param {Check} check @param {Verdict} verdict */
function show(check, verdict) {
  const entry = /** @type {{ row: any, verdict: Verdict }} */ (rows.get(check));
  entry.verdict = verdict;
  const { state, ms, remark = "" } = verdict;
  const [, result, time, why] = entry.row.cells;
  entry.row.className = state;
  const mark = make("span", { className: "sign", textContent: MARKS[state] });
  mark.setAttribute("aria-hidden", "true");
  result.replaceChildren(mark, ` ${WORDS[state]}`);
  time.textContent = ms === undefined ? "" : `${Math.round(ms)} ms`;
  why.textContent = remark;
}

/** @param {Verdict["state"]} state */
const count = (state) => [...rows.values()].filter(({ verdict }) => verdict.state === state).length;

async function all() {
  find("again").disabled = true;
  find("summary").textContent = "Running…";
  find("summary").className = "";
  for (const check of rows.keys()) show(check, { state: "waiting" });
  for (const group of GROUPS) {
    const [first] = GROUPS[0].checks;
    if (rows.get(first)?.verdict.state === "failed") {
      for (const check of group.checks) show(check, { state: "untried", remark: "Not tried: there is no session." });
    } else {
      await run(group, show);
    }
  }
  const [passed, failed] = [count("passed"), rows.size - count("passed")];
  find("summary").textContent = failed ? `${failed} of ${rows.size} did not pass.` : `All ${passed} passed.`;
  find("summary").className = failed ? "bad" : "good";
  find("again").disabled = false;
}

find("clients").append(...GROUPS.map(table));
find("again").addEventListener("click", all);
await all();

export {};
