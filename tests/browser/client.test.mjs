// Our client in a page: what only a browser tells it. All else is tested in Node (../client).

import assert from "node:assert/strict";
import { test } from "node:test";
import { startProxy } from "../client/setting.js";
import { AWAY, setUp } from "./harness.mjs";

const here = setUp({ settings: { FANFARE_LOG_FILTER: "warn" } });

/** A page with an open `relay`, on a way to the server that can be cut; `states` has what the relay became, and when. */
async function connected(t, options) {
  const proxy = await startProxy(t, here.server.ports.http);
  const page = await here.browser.open(t, proxy.url, options);
  await page.getByText("The server is ready.").waitFor();
  await page.evaluate(async () => {
    const { createRelay } = await import("/client/fanfare.js");
    const session = async (current) => {
      const body = JSON.stringify({ name: "Ada", session: current?.sessionId });
      return (await fetch("/demo/session", { method: "POST", body })).json();
    };
    Object.assign(globalThis, { relay: createRelay({ session, transport: "mqtt" }), states: [] });
    relay.on("state", (state) => states.push({ ...state, at: performance.now() }));
    await relay.connect();
  });
  return { page, proxy };
}

const wakes = {
  "the network is back": async (page) => {
    await page.context().setOffline(true);
    await page.context().setOffline(false);
  },
  "somebody looks at the page again": (page) => page.evaluate(() => document.dispatchEvent(new Event("visibilitychange"))),
};
for (const [what, wake] of Object.entries(wakes)) {
  test(`the wait for the next try ends when ${what}`, async (t) => {
    const { page, proxy } = await connected(t, { allow: [AWAY] });
    // The longest that chance allows: 1, 2, 4 s.
    await page.evaluate(() => (Math.random = () => 1));
    proxy.closed = true;
    proxy.cut();
    await page.waitForFunction(() => relay.state.nextInMs === 4000);
    proxy.closed = false;
    await wake(page);
    await page.waitForFunction(() => relay.state.name === "open");
    const waited = await page.evaluate(() => states.at(-1).at - states.findLast(({ nextInMs }) => nextInMs === 4000).at);
    assert.ok(waited < 3500, `${waited} ms`);
  });
}

test("a connection that died while nobody looked is found out when somebody does", async (t) => {
  const { page, proxy } = await connected(t);
  // The ping of the beginning has been answered.
  await page.waitForFunction(() => relay.rtt !== undefined);
  proxy.mute = true;
  await page.evaluate(() => document.dispatchEvent(new Event("visibilitychange")));
  await page.waitForFunction(() => relay.state.name === "reconnecting", undefined, { timeout: 8000 });
  proxy.mute = false;
  await page.waitForFunction(() => relay.state.name === "open");
});
