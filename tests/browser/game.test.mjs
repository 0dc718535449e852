// The game of the demos: what two players see of each other, and what a bad network does to it.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { assertAccessible, screenshot, startBrowser, startServer } from "./harness.mjs";

let server;
let browser;
before(async () => {
  server = await startServer({ settings: { FANFARE_LOG_FILTER: "warn" } });
  browser = await startBrowser();
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

let rooms = 0;
const freshRoom = () => `room-${process.pid}-${rooms++}`;

/** A player in the arena. */
async function player(t, room, name, options) {
  const page = await browser.open(t, `${server.url}/game?room=${room}`, options);
  await page.fill("#name", name);
  await page.press("#name", "Enter");
  await page.locator("#link", { hasText: "Playing" }).waitFor();
  return page;
}

/** What a page knows of its own player. */
const self = (page) => page.evaluate(() => ({ ...document.querySelector("#arena").arena.me }));
/** Where a page has somebody, and when that came. */
const seen = (page, name) =>
  page.evaluate((name) => [...document.querySelector("#arena").arena.others.values()].find((other) => other.name === name)?.track.newest, name);
const until = async (page, name, is) => {
  const end = Date.now() + 20_000;
  for (;;) {
    const at = await seen(page, name);
    if (is(at)) return at;
    assert.ok(Date.now() < end, `${name}: ${JSON.stringify(at)}`);
    await page.waitForTimeout(20);
  }
};

test("two players see each other move, by keyboard and by thumb; the overlay says how quickly", async (t) => {
  const room = freshRoom();
  const ada = await player(t, room, "Ada");
  const phone = { viewport: { width: 390, height: 780 }, hasTouch: true, isMobile: true };
  const bob = await player(t, room, "Bob", { context: phone });
  const start = await until(ada, "Bob", (at) => at);
  await until(bob, "Ada", (at) => at);
  assert.notEqual((await self(ada)).seat, (await self(bob)).seat);

  const before = await self(ada);
  const [key, sign] = before.x < 800 ? ["ArrowRight", 1] : ["ArrowLeft", -1];
  await ada.keyboard.down(key);
  await until(bob, "Ada", (at) => at && (at.x - before.x) * sign > 100);
  await ada.keyboard.up(key);

  const stick = await bob.locator("#stick").boundingBox();
  const [x, y] = [stick.x + stick.width / 2, stick.y + stick.height / 2];
  const up = start.y > 450 ? -1 : 1;
  await bob.mouse.move(x, y);
  await bob.mouse.down();
  await bob.mouse.move(x, y + up * 50);
  await until(ada, "Bob", (at) => (at.y - start.y) * up > 80);
  await bob.mouse.up();

  await ada.getByRole("button", { name: "Network" }).click();
  await ada.locator("#numbers dd", { hasText: "ms" }).first().waitFor();
  await ada.keyboard.press("Escape");
  await assertAccessible(ada);
  await assertAccessible(bob);
  await screenshot(ada, "game");
  await screenshot(bob, "game-phone");
});

test("who comes late sees everything at once, and who leaves is gone", async (t) => {
  const room = freshRoom();
  const ada = await player(t, room, "Ada");
  // Bots keep one who is alone company.
  await ada.waitForFunction(() => document.querySelector("#arena").arena.bots.size === 3);
  await ada.waitForFunction(() => document.querySelector("#arena").arena.notes.lives.some((life) => life > 0));
  const bob = await player(t, room, "Bob");
  await until(bob, "Ada", (at) => at);
  await until(bob, "Bot 1", (at) => at);
  await bob.waitForFunction(() => document.querySelector("#arena").arena.notes.lives.some((life) => life > 0));
  await ada.waitForFunction(() => document.querySelector("#arena").arena.bots.size === 2);
  await bob.close();
  await ada.getByText("Bob left").waitFor();
  assert.equal(await seen(ada, "Bob"), undefined);
});

test("a push is felt, and costs notes", async (t) => {
  const room = freshRoom();
  const [ada, bob] = [await player(t, room, "Ada"), await player(t, room, "Bob")];
  await until(ada, "Bob", (at) => at);
  await bob.evaluate(() => Object.assign(document.querySelector("#arena").arena.me, { x: 800, y: 450, vx: 0, vy: 0, score: 10 }));
  await ada.evaluate(() => Object.assign(document.querySelector("#arena").arena.me, { x: 730, y: 450, vx: 0, vy: 0 }));
  await ada.locator("#arena").press("Space");
  await bob.waitForFunction(() => document.querySelector("#arena").arena.me.x > 850);
  assert.ok((await self(bob)).score >= 8);
});

test("the seat is kept over a restart of the server and a reload of the page", async (t) => {
  const room = freshRoom();
  const lost = /ERR_CONNECTION_REFUSED|WebSocket connection|ERR_EMPTY_RESPONSE|ERR_CONNECTION_RESET/;
  const ada = await player(t, room, "Ada", { allow: [lost] });
  const bob = await player(t, room, "Bob", { allow: [lost] });
  const { seat } = await self(bob);
  await bob.reload();
  await bob.fill("#name", "Bob");
  await bob.press("#name", "Enter");
  await bob.locator("#link", { hasText: "Playing" }).waitFor();
  assert.equal((await self(bob)).seat, seat);
  await server.restart(async () => {
    for (const page of [ada, bob]) {
      const failed = page.waitForEvent("console", { predicate: (message) => lost.test(message.text()) });
      await page.locator("#link", { hasText: "Reconnecting; your seat is kept" }).waitFor();
      await page.evaluate(() => document.querySelector("#arena").arena.line.relay.retry());
      await failed;
    }
  });
  for (const page of [ada, bob]) await page.locator("#link", { hasText: "Playing" }).waitFor();
  await until(ada, "Bob", (at) => at);
  await until(bob, "Ada", (at) => at);
});

test("lag and loss on purpose show in the numbers", async (t) => {
  const ada = await player(t, freshRoom(), "Ada");
  await ada.getByRole("button", { name: "Network" }).click();
  await ada.locator("#lag").fill("200");
  await ada.locator("#arena").focus();
  await ada.waitForFunction(() => document.querySelector("#arena").arena.line.numbers.percentile(0.99) >= 200);
  await ada.locator("#loss").fill("50");
  await ada.getByText("50 %").waitFor();
});

test("two players in one page, and an invitation", async (t) => {
  const page = await browser.open(t, `${server.url}/game?room=${freshRoom()}&split=2`);
  for (const n of [1, 2]) await page.frameLocator(`iframe[title="Player ${n}"]`).locator("#link", { hasText: "Playing" }).waitFor();
  await page.waitForTimeout(500);
  await screenshot(page, "game-split");
  const room = freshRoom();
  const ada = await player(t, room, "Ada");
  await ada.getByRole("button", { name: "Invite" }).click();
  assert.equal(await ada.locator("#share-link").textContent(), `${server.url}/game?room=${room}`);
  await assertAccessible(ada);
});
