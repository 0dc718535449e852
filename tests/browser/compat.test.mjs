// The compatibility page: stock clients in Chromium, each check green; and red where the server does not do what it should.

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { bundleClients } from "./bundle.mjs";
import { signHeaders } from "../../client/sign.js";
import { assertAccessible, OPERATOR, REGION, screenshot, setUp } from "./harness.mjs";

// One retained message, and no more, in the whole server: the second test takes its place.
const here = setUp({ tls: true, settings: { FANFARE_LOG_FILTER: "warn", FANFARE_MQTT_MAX_RETAINED_MESSAGES: "1" } });

/** Opens the page and waits until everything was tried; answers the rows: client, check, result, remark. */
async function tried(t, url, options) {
  const page = await here.browser.open(t, `${url}/compat`, options);
  await page.locator("#summary", { hasText: /passed|did not pass/ }).waitFor({ timeout: 90_000 });
  const rows = await page.locator("tbody tr").evaluateAll((all) =>
    all.map((row) => {
      const [check, result, time, remark] = [...row.cells].map((cell) => cell.textContent);
      return { client: row.closest("section").querySelector("h2").textContent, check, state: row.className, result, time, remark };
    }),
  );
  return { page, rows };
}

const PHONE = { viewport: { width: 390, height: 780 }, colorScheme: "dark" };
for (const [way, name, context] of [["plain", "compat", {}], ["in TLS", "compat-phone", PHONE]]) {
  test(`every check of every client passes, ${way}`, async (t) => {
    const { page, rows } = await tried(t, way === "plain" ? here.server.url : here.server.tlsUrl, { context });
    assert.deepEqual(rows.filter(({ state }) => state !== "passed"), []);
    assert.ok(rows.every(({ result, time }) => result === "✓ Passed" && /^\d+ ms$/.test(time)));
    assert.equal(rows.length, 31);
    await page.getByText("All 31 passed.").waitFor();
    for (const name of ["MQTT.js 5.16.0, MQTT 5", "MQTT.js 5.16.0, MQTT 3.1.1", "aws-iot-device-sdk-v2 1.28.0", "@aws-sdk/client-sqs 3.1169.0"]) {
      assert.ok(rows.some(({ client }) => client === name), name);
    }
    const refused = rows.filter(({ check }) => check.startsWith("is refused with a wrong user name"));
    assert.equal(refused.length, 3);
    for (const { remark } of refused) assert.match(remark, /user ?name or password|0x86/i);
    await assertAccessible(page);
    await screenshot(page, name, { fullPage: true });
    // Again, in the same session.
    await page.getByRole("button", { name: "Run again" }).click();
    await page.getByText("Running…").first().waitFor();
    await page.getByText("All 31 passed.").waitFor({ timeout: 60_000 });
  });
}

/** The operator's one retained message, or none. */
async function retain(body) {
  const url = `${here.server.url}/topics/taken?qos=1&retain=true`;
  const keys = { accessKey: OPERATOR.accessKeyId, secretKey: OPERATOR.secretAccessKey };
  const headers = await signHeaders({ method: "POST", url, body, keys, region: REGION, service: "iotdata" });
  assert.equal((await fetch(url, { method: "POST", body, headers })).status, 200);
}

test("what the server refuses is red, with the reason; all else is green", async (t) => {
  await retain("taken");
  t.after(() => retain(""));
  const { page, rows } = await tried(t, here.server.url);
  const red = rows.filter(({ state }) => state !== "passed");
  assert.deepEqual(red.map(({ check, result }) => [check, result]), Array(3).fill(["a retained message waits, until it is removed", "✗ Failed"]));
  const reasons = [/Quota exceeded \(reason code 0x97\)/, /was not acknowledged within/, /\(reason code 0x97\)/];
  reasons.forEach((reason, at) => assert.match(red[at].remark, reason));
  await page.getByText("3 of 31 did not pass.").waitFor();
  await assertAccessible(page);
  await screenshot(page, "compat-red", { fullPage: true });
});

test("without a session nothing else is tried", async (t) => {
  const before = (page) => page.route("**/demo/session", (route) => route.fulfill({ status: 429, json: { message: "too many sessions" } }));
  const { rows } = await tried(t, here.server.url, { before, allow: [/status of 429/] });
  assert.deepEqual(rows[0].remark, "The backend answered 429: too many sessions");
  assert.ok(rows.slice(1).every(({ state }) => state === "untried"));
});

test("the clients are those that the lock file says: `npm run bundle` makes them", async () => {
  const dist = new URL("../../compat/dist/", import.meta.url);
  const files = await bundleClients();
  assert.deepEqual(readdirSync(dist).sort(), Object.keys(files).sort());
  for (const [name, text] of Object.entries(files)) assert.equal(readFileSync(new URL(name, dist), "utf8") === text, true, `dist/${name} is not current`);
  for (const name of ["mqtt 5.16.0", "aws-crt 1.33.1", "crypto-js 4.2.0", "Permission is hereby granted", "Apache License"]) {
    assert.ok(files["LICENSES.txt"].includes(name), `${name} is missing in the notices`);
  }
});
