// The harness itself: a test that can not fail proves nothing, so what has to fail is seen failing here.

import assert from "node:assert/strict";
import { existsSync, rmSync } from "node:fs";
import { after, before, test } from "node:test";
import { assertAccessible, screenshot, startBrowser, startServer, startSite } from "./harness.mjs";

const page = (body, title = "A page") =>
  `<!doctype html><html lang="en"><title>${title}</title><main><h1>${title}</h1>${body}</main></html>`;

let server, browser, site;
before(async () => {
  server = await startServer({ tls: true });
  browser = await startBrowser();
  site = await startSite({
    files: {
      "/index.html": page("<p>hello</p>"),
      "/uncaught.html": page("<script>setTimeout(() => { throw new Error('not caught'); })</script>"),
      "/rejected.html": page("<script>Promise.reject(new Error('nobody waits'))</script>"),
      "/console.html": page("<script>console.error('complaint')</script>"),
      "/missing.html": page("<script src='/nowhere.js'></script>"),
      "/image.html": page("<img src='/favicon.ico'>"),
    },
  });
});
after(async () => {
  await browser.close();
  await site.stop();
  await server.stop();
});

/** Opens a page as a test would; returns how that test would have ended. */
async function outcome(url, options, body = async () => {}) {
  const hooks = [];
  const t = { name: "inner", passed: true, after: (hook) => hooks.push(hook) };
  const opened = await browser.open(t, url, options);
  await opened.waitForTimeout(300);
  await body(opened);
  for (const hook of hooks) {
    try {
      await hook();
    } catch (error) {
      return error.message;
    }
  }
  return "passed";
}

test("a page that complains fails its test", async () => {
  assert.equal(await outcome(`${site.url}/`), "passed");
  for (const [name, expected] of [
    ["uncaught", /not caught/],
    ["rejected", /nobody waits/],
    ["console", /complaint/],
    ["missing", /404/],
  ]) {
    assert.match(await outcome(`${site.url}/${name}.html`), expected);
    assert.equal(await outcome(`${site.url}/${name}.html`, { allow: [expected] }), "passed");
  }
  assert.match(await outcome(`${site.url}/`, { allow: [/something/] }), /expected to complain/);
});

test("axe finds what is not accessible", async (t) => {
  const good = await browser.open(t, `${site.url}/`);
  await assertAccessible(good);
  const bad = await browser.open(t, `${site.url}/image.html`);
  await assert.rejects(assertAccessible(bad), /image-alt/);
  await assertAccessible(bad, { without: ["image-alt"] });
});

test("a screenshot is a file", async (t) => {
  const path = await screenshot(await browser.open(t, `${site.url}/`), "harness");
  assert.ok(existsSync(path));
  rmSync(path);
});

test("the server is reached across origins, plain and in TLS", async (t) => {
  const opened = await browser.open(t, `${site.url}/`);
  for (const url of [server.url, server.tlsUrl]) {
    const status = await opened.evaluate(async (at) => (await fetch(`${at}/health/ready`)).status, url);
    assert.equal(status, 200, url);
  }
});

test("a server that was started again is where it was", async () => {
  let refused = false;
  await server.restart(async () => {
    refused = await fetch(server.url).then(() => false, () => true);
  });
  assert.ok(refused, "it was not down");
  assert.equal((await fetch(`${server.url}/health/ready`)).status, 200);
});
