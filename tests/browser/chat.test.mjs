// The chat of the demos, and the landing page, as people use them.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { assertAccessible, AWAY, PATIENCE_MS, screenshot, setUp, startSite } from "./harness.mjs";

const here = setUp({ settings: { FANFARE_LOG_FILTER: "warn" } });

const PHONE = { viewport: { width: 390, height: 780 }, colorScheme: "dark", hasTouch: true };
let people = 0;

/** Somebody with a name of their own in the chat, or `as` somebody who is there. */
async function person(t, name, { as = `${name} ${process.pid} ${people++}`, ...options } = {}) {
  const page = await here.browser.open(t, `${here.server.url}/chat`, options);
  page.person = as;
  await page.fill("#name", page.person);
  await page.press("#name", "Enter");
  await page.getByText("Connected").waitFor();
  await page.locator("#subtitle", { hasText: "here" }).waitFor();
  return page;
}

/** A room that no other test uses, opened by all. */
async function meet(room, ...pages) {
  for (const page of pages) {
    const side = page.locator("#side-open");
    if (await side.isVisible()) await side.click();
    await page.fill("#room-name", room);
    await page.press("#room-name", "Enter");
    await page.locator("#title", { hasText: `# ${room}` }).waitFor();
  }
  const here = new RegExp(`^${pages.length} `);
  for (const page of pages) await page.locator("#subtitle", { hasText: here }).waitFor();
}

async function say(page, text) {
  await page.fill("#text", text);
  await page.press("#text", "Enter");
}

const bubble = (page, text) => page.locator(".bubble", { hasText: text });

describe("two people", () => {
  test("see each other, what they type and say, and what became of it", async (t) => {
    const ada = await person(t, "Ada");
    const bob = await person(t, "Bob", { context: PHONE });
    await meet("first", ada, bob);
    await ada.locator("#people", { hasText: bob.person }).waitFor();

    await bob.locator("#text").pressSequentially("hel");
    await ada.getByText(`${bob.person} is typing…`).waitFor();
    await say(bob, "hello <b>Ada</b> 😀");
    await bubble(ada, "hello <b>Ada</b> 😀").waitFor();
    assert.equal(await ada.locator(".bubble b").count(), 0, "text stays text");
    assert.equal(await ada.locator("#typing").textContent(), "");
    await say(ada, "hello Bob");
    await bubble(bob, "hello Bob").waitFor();
    await ada.bringToFront();
    await bob.locator("#scroll").evaluate((element) => element.dispatchEvent(new Event("scroll")));
    await ada.locator(".fate", { hasText: /Read by 1|Delivered to 1/ }).waitFor();
    // Only what arrives is read aloud, not what one wrote.
    assert.match(await ada.locator("#log").textContent(), /hello <b>Ada/);
    assert.doesNotMatch(await ada.locator("#log").textContent(), /hello Bob/);

    await assertAccessible(ada);
    await assertAccessible(bob);
    await screenshot(ada, "chat");
    await screenshot(bob, "chat-phone");

    await bob.close();
    await ada.locator("#subtitle", { hasText: /^1 person/ }).waitFor();
  });

  test("count what they have not read, and jump to it", async (t) => {
    const [ada, bob] = [await person(t, "Ada"), await person(t, "Bob")];
    await meet("second", ada, bob);
    await ada.getByRole("button", { name: "# lobby" }).click();
    for (let n = 0; n < 3; n++) await say(bob, `news ${n}`);
    const badge = ada.locator('#rooms button[data-room="second"] .badge');
    await badge.getByText("3").waitFor();
    assert.match(await ada.title(), /^\(3\)/);
    // What has arrived and nobody has looked at is delivered; then it is read.
    await bob.locator(".fate", { hasText: "Delivered to 1" }).waitFor();
    await ada.getByRole("button", { name: "# second" }).click();
    await ada.getByText("New messages").waitFor();
    await badge.waitFor({ state: "hidden" });
    await bob.locator(".fate", { hasText: "Read by 1" }).waitFor();
  });

  test("scroll back to what was said long ago, and stay where they look", async (t) => {
    const [ada, bob] = [await person(t, "Ada"), await person(t, "Bob")];
    await meet("third", ada);
    for (let n = 0; n < 70; n++) await say(ada, `line ${n}.`);
    await ada.locator(".fate", { hasText: "Sent" }).waitFor();
    await meet("third", bob, ada);
    await bubble(bob, "line 69.").waitFor();
    assert.equal(await bubble(bob, "line 5.").count(), 0);
    for (const line of ["line 30.", "line 0."]) {
      while ((await bubble(bob, line).count()) === 0) {
        await bob.locator("#scroll").evaluate((element) => (element.scrollTop = 0));
        await bob.waitForTimeout(50);
      }
    }
    await bob.getByText("This is where it begins.").waitFor({ state: "attached" });
    const lines = await bob.locator(".bubble").allTextContents();
    assert.deepEqual(lines, Array.from({ length: 70 }, (_, n) => `line ${n}.`));
    await bob.locator("#scroll").evaluate((element) => (element.scrollTop = 400));
    await say(ada, "while you read");
    await bob.locator("#jump").click();
    await bubble(bob, "while you read").waitFor();
  });

  test("write to each other's inbox; a backend does, too", async (t) => {
    const [ada, bob] = [await person(t, "Ada"), await person(t, "Bob")];
    await ada.getByRole("button", { name: "Messages to me" }).click();
    await ada.fill("#to", bob.person);
    await say(ada, "just for you");
    await bob.locator("#inbox-badge", { hasText: "1" }).waitFor();
    await bob.locator("#banner", { hasText: `${ada.person} wrote to you: just for you` }).waitFor();
    await bob.getByRole("button", { name: /Messages to me/ }).click();
    await bubble(bob, "just for you").waitFor();
    await bob.locator("#inbox-badge").waitFor({ state: "hidden" });
    assert.match(await bob.locator("#curl").textContent(), /\/notify\/user\/\d+ --json/);
    await assertAccessible(bob);
    // It is read on other devices, too, and after the page was loaded again.
    await bob.reload();
    await bob.getByText("Connected").waitFor();
    await bob.getByRole("button", { name: /Messages to me/ }).click();
    await bubble(bob, "just for you").waitFor();
    await bob.locator("#inbox-badge").waitFor({ state: "hidden" });
  });
});

test("the server is killed and started again: a banner says what came back, and what was written meanwhile is sent", async (t) => {
  const [ada, bob] = [await person(t, "Ada", { allow: [AWAY] }), await person(t, "Bob", { allow: [AWAY] })];
  await meet("fourth", ada, bob);
  await say(ada, "before");
  await bubble(bob, "before").waitFor();
  await here.server.restart(async () => {
    for (const page of [ada, bob]) {
      const failed = page.waitForEvent("console", { predicate: (message) => AWAY.test(message.text()) });
      await page.locator("#banner button", { hasText: "Try now" }).click();
      await failed;
    }
    await say(ada, "written while it was down");
    await ada.locator(".fate", { hasText: "Sending…" }).waitFor();
    await screenshot(ada, "chat-reconnecting");
    // Bob's network is away a little longer.
    await bob.context().setOffline(true);
  }, { kill: true });
  await ada.locator("#banner button", { hasText: "Try now" }).click({ timeout: PATIENCE_MS }).catch(() => {});
  await ada.locator("#banner", { hasText: "Connected again" }).waitFor();
  await ada.locator(".fate", { hasText: "Sent" }).waitFor();
  await say(ada, "and one more");
  await bob.context().setOffline(false);
  await bob.locator("#banner", { hasText: "Connected again: 2 missed messages recovered." }).waitFor();
  await screenshot(bob, "chat-recovered");
  const said = await bob.locator(".bubble").allTextContents();
  assert.deepEqual(said, ["before", "written while it was down", "and one more"]);
  assert.deepEqual(await ada.locator(".bubble").allTextContents(), said);
});

test("two tabs of one person have one connection between them; when the tab that has it is closed, the other goes on", async (t) => {
  const sockets = [];
  const counted = (tab) => ({ before: async (page) => page.on("websocket", () => sockets.push(tab)) });
  const one = await person(t, "Ada", counted("first tab"));
  const two = await person(t, "Ada", { ...counted("second tab"), as: one.person, beside: one });
  const bob = await person(t, "Bob");
  for (const page of [one, two, bob]) {
    await page.fill("#room-name", "tabs");
    await page.press("#room-name", "Enter");
  }
  // Two tabs are one member.
  for (const page of [one, two, bob]) await page.locator("#subtitle", { hasText: /^2 people/ }).waitFor();
  assert.deepEqual(sockets, ["first tab"]);

  await say(bob, "to both tabs");
  await say(two, "from the second tab");
  for (const page of [one, two, bob]) {
    await bubble(page, "to both tabs").waitFor();
    await bubble(page, "from the second tab").waitFor();
  }
  await one.close();
  await bob.locator("#subtitle", { hasText: /^2 people/ }).waitFor();
  await say(two, "from the tab that is left");
  await bubble(bob, "from the tab that is left").waitFor();
  await say(bob, "still there?");
  await bubble(two, "still there?").waitFor();
  const said = ["to both tabs", "from the second tab", "from the tab that is left", "still there?"];
  for (const page of [two, bob]) assert.deepEqual(await page.locator(".bubble").allTextContents(), said);
  assert.deepEqual(sockets, ["first tab", "second tab"]);
});

test("a name that is none is refused with the reason, and the page can be used by keyboard", async (t) => {
  const page = await here.browser.open(t, `${here.server.url}/chat`, { allow: [/400 \(Bad Request\)/] });
  await assertAccessible(page);
  await page.locator("#name").fill("   ");
  await page.keyboard.press("Enter");
  await page.getByText("name must have 1 to 24 characters").waitFor();
  await page.locator("#name").fill("Keyboard");
  await page.keyboard.press("Enter");
  await page.getByText("Connected").waitFor();
  await page.waitForFunction(() => document.activeElement?.id === "text");
});

test("the page of the README works, from another origin", async (t) => {
  const [, html] = /```html\n([^]*?)```/.exec(readFileSync(new URL("../../README.md", import.meta.url), "utf8"));
  assert.ok(html.trim().split("\n").length < 30, "it is short");
  const site = await startSite({ files: { "/hello.html": html.replaceAll("http://127.0.0.1:8080", here.server.url) } });
  t.after(() => site.stop());
  const [one, two] = [await here.browser.open(t, `${site.url}/hello.html`), await here.browser.open(t, `${site.url}/hello.html`)];
  await one.waitForFunction(() => document.querySelector("form").onsubmit);
  await two.waitForFunction(() => document.querySelector("form").onsubmit);
  await one.fill("#text", "from my own page");
  await one.press("#text", "Enter");
  await two.getByText("from my own page").waitFor();
});

test("the landing page leads on, and its script for a page is one that works", async (t) => {
  const page = await here.browser.open(t, here.server.url);
  await page.getByText("The server is ready.").waitFor();
  await assertAccessible(page);
  await screenshot(page, "landing");
  const links = await page.locator(".cards a").evaluateAll((all) => all.map((link) => link.href));
  for (const link of links) assert.equal((await fetch(link)).status, 200, link);
  const script = await page.locator("#page").textContent();
  const own = await here.browser.open(t, `${here.server.url}/`, {
    before: (page) =>
      page.route("**/site/landing.js", (route) => route.fulfill({ contentType: "text/javascript", body: script })),
  });
  const said = await own.waitForEvent("console", { predicate: (message) => message.text() === "Ada hello" });
  assert.ok(said);
});
