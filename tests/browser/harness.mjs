// What every browser test needs: Debian's Chromium, pages that fail the test when they complain, a site for pages of our
// own, bundles of the stock clients, screenshots, and axe. The server is the one of ../node/fanfare.js.

import assert from "node:assert/strict";
import { once } from "node:events";
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { extname, join, resolve, sep } from "node:path";
import { after, before as beforeAll } from "node:test";
import { fileURLToPath } from "node:url";
import browserify from "browserify";
import { build } from "esbuild";
import { chromium } from "playwright-core";
import { CLIENTS, PAGE } from "./bundle.mjs";
import { startServer } from "../node/fanfare.js";

export * from "../node/fanfare.js";

const HERE = resolve(fileURLToPath(import.meta.url), "..");
const REPOSITORY = resolve(HERE, "../..");
const CHROMIUM = "/usr/bin/chromium";
/** Nothing may depend on the network or on what an earlier run left: Playwright gives each browser an empty profile. */
const ARGUMENTS = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];
/** How long anything in a page may take before the test fails: the machine may be busy with other tests. */
export const PATIENCE_MS = 20_000;

/** What Chromium says of a server that is away, and of a network that is: no page can prevent that. */
export const AWAY = /ERR_CONNECTION_REFUSED|WebSocket connection|ERR_INTERNET_DISCONNECTED|ERR_EMPTY_RESPONSE|ERR_CONNECTION_RESET|ERR_SOCKET_NOT_CONNECTED/;

/** A `server` and a `browser` for the tests of one file, from before the first to after the last. */
export function setUp(options) {
  const here = {};
  beforeAll(async () => {
    here.server = await startServer(options);
    here.browser = await startBrowser();
  });
  after(async () => {
    await here.browser?.close();
    await here.server?.stop();
  });
  return here;
}

/** Starts Chromium; `close` it in `after`. */
export async function startBrowser() {
  if (!existsSync(CHROMIUM)) throw new Error(`there is no ${CHROMIUM}: run \`cargo xtask test --only browser\` once`);
  const browser = await chromium.launch({ executablePath: CHROMIUM, args: ARGUMENTS });
  return {
    open: (t, url, options) => open(browser, t, url, options),
    close: () => browser.close(),
  };
}

/**
 * Opens `url` in a profile of its own and returns Playwright's page. When the test `t` ends the page is closed, and the
 * test fails if there was an error on the console or one that nobody caught. `allow` lists regular expressions for
 * complaints that the test provokes on purpose; one that never came is a failure, too. `context` goes to Playwright's
 * `newContext` (viewport, colorScheme, …), `before` may prepare the page (routes, scripts) before it loads. A page
 * `beside` another is a second tab of that one's profile.
 */
async function open(browser, t, url, { allow = [], context = {}, beside, before = async () => {} } = {}) {
  // The certificate of --dev-tls is self-signed; whether it is trusted is the test of curl and the SDKs.
  const profile = beside?.context() ?? (await browser.newContext({ ignoreHTTPSErrors: true, ...context }));
  const page = await profile.newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  const complaints = [];
  page.on("pageerror", (error) => complaints.push(`uncaught: ${error.stack ?? error}`));
  page.on("crash", () => complaints.push("the page crashed"));
  page.on("console", (message) => {
    if (message.type() === "error") complaints.push(`console: ${message.text()} (${message.location().url})`);
  });
  t.after(async () => {
    // A failed test is easier to understand with a look at its page.
    if (t.passed === false) await screenshot(page, `failed-${t.name}`).catch(() => {});
    await (beside ? page : profile).close();
    const unexpected = complaints.filter((text) => !allow.some((pattern) => pattern.test(text)));
    assert.deepEqual(unexpected, [], `${url} complained`);
    const missing = allow.filter((pattern) => !complaints.some((text) => pattern.test(text)));
    assert.deepEqual(missing, [], `${url} was expected to complain`);
  });
  await before(page);
  await page.goto(url);
  return page;
}

/** Saves what a page looks like as target/screenshots/NAME.png and returns the path. */
export async function screenshot(page, name, options = {}) {
  const folder = join(REPOSITORY, "target/screenshots");
  mkdirSync(folder, { recursive: true });
  const path = join(folder, `${name.replace(/[^\w.-]+/g, "-")}.png`);
  await page.screenshot({ path, ...options });
  return path;
}

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
/** WCAG 2.2 A and AA, and what axe calls best practice. */
const RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];

/** Fails with axe's findings in the page as it is now; `without` names rules to leave out, for a reason given there. */
export async function assertAccessible(page, { without = [] } = {}) {
  // Not a script element: the page's content security policy may forbid those.
  await page.evaluate(AXE);
  const { violations, passes } = await page.evaluate(
    ([values, disabled]) =>
      axe.run({ runOnly: { type: "tag", values }, rules: Object.fromEntries(disabled.map((id) => [id, { enabled: false }])) }),
    [RULES, without],
  );
  const found = violations.map(({ id, help, nodes }) => `${id}: ${help}\n  ${nodes.map((node) => node.html).join("\n  ")}`);
  assert.equal(found.join("\n"), "", `${page.url()} is not accessible`);
  assert.ok(passes.length > 0, "axe found nothing to check");
}

const TYPES = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".mjs": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".json": "application/json",
  ".svg": "image/svg+xml",
  ".png": "image/png",
};

/**
 * A site on an origin of its own, so that pages reach the server across origins as those of the prior art do. It serves
 * `files` (path to text) and, where given, a `folder`. An icon is always there: browsers ask for it, and a missing one is
 * an error on the console.
 */
export async function startSite({ folder, files = {} } = {}) {
  const find = (path) => {
    if (path in files) return files[path];
    const file = folder && resolve(folder, `.${path}`);
    if (file && file.startsWith(resolve(folder) + sep) && existsSync(file)) return readFileSync(file);
    return path === "/favicon.ico" ? "" : undefined;
  };
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url, "http://site");
    const path = decodeURIComponent(pathname).replace(/\/$/, "/index.html");
    const found = find(path);
    response.writeHead(found === undefined ? 404 : 200, { "Content-Type": TYPES[extname(path)] ?? "text/plain" });
    response.end(found);
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    files,
    async stop() {
      server.closeAllConnections();
      server.close();
    },
  };
}

/** A script for a page, with stock clients from ../node: esbuild, as their users do it today. `entry` is a path here. */
export async function bundle(entry) {
  const { outputFiles } = await build({ ...PAGE, entryPoints: [join(HERE, entry)], format: "iife" });
  return outputFiles[0].text;
}

/** A script after which a page may `require(name)`: browserify, as the old SDK's own script does it. */
export function browserBundle(folder, name) {
  const bundler = browserify({ basedir: CLIENTS });
  bundler.require(join(CLIENTS, folder), { expose: name });
  return new Promise((done, failed) => bundler.bundle((error, code) => (error ? failed(error) : done(code.toString()))));
}
