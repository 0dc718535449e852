// The contract of the two prior-art front ends, kept by pages of our own with the SDK of theirs, unmodified: keys for
// guests by both namings, a signed URL on the endpoint that the keys name, and one topic each.

import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { after, before, describe, test } from "node:test";
import { assertAccessible, browserBundle, screenshot, startBrowser, startServer, startSite } from "./harness.mjs";

const SOCKET_FAILED = /WebSocket connection to .* failed/;

let server, browser;
before(async () => {
  server = await startServer({ tls: true, config: '[guests]\nallow = ["/serverless/*", "/game/*"]\n' });
  browser = await startBrowser();
});
after(async () => {
  await browser.close();
  await server.stop();
});

const folder = fileURLToPath(new URL("prior-art", import.meta.url));
for (const [version, name] of [["1.0.14", "aws-iot-device-sdk-seed"], ["2.2.16", "aws-iot-device-sdk"]]) {
  describe(`pages with aws-iot-device-sdk ${version}`, () => {
    let site;
    before(async () => {
      site = await startSite({ folder, files: { "/sdk.js": await browserBundle(name, "aws-iot-device-sdk") } });
    });
    after(() => site.stop());

    const open = async (t, path, options) => {
      const api = encodeURIComponent(`${server.tlsUrl}/dev`);
      const opened = await browser.open(t, `${site.url}/${path}${path.includes("?") ? "&" : "?"}api=${api}`, options);
      await opened.getByText("connected", { exact: true }).waitFor();
      return opened;
    };
    const say = async (opened, text) => {
      await opened.getByLabel("Message").fill(text);
      await opened.getByRole("button", { name: "Send" }).click();
    };
    const said = (opened) => opened.locator("#log li").allTextContents();
    const heard = (opened, count) => opened.waitForFunction((count) => document.querySelectorAll("#log li").length >= count, count);

    test("two pages of the chat see what either says, each once", async (t) => {
      const [one, two] = [await open(t, "chat.html"), await open(t, "chat.html")];
      await say(one, "hello é😀");
      await heard(two, 1);
      await say(two, "<b>hello</b>");
      await Promise.all([heard(one, 2), heard(two, 2)]);
      await one.waitForTimeout(300);
      for (const opened of [one, two]) assert.deepEqual(await said(opened), ["hello é😀", "<b>hello</b>"]);
      await assertAccessible(one);
      await screenshot(two, `prior-art-chat-${version}`);
    });

    test("the chat goes on after the server was started again", async (t) => {
      const [one, two] = [
        await open(t, "chat.html", { allow: [SOCKET_FAILED] }),
        await open(t, "chat.html", { allow: [SOCKET_FAILED] }),
      ];
      await server.restart(async () => {
        for (const opened of [one, two]) {
          await opened.getByText("not connected").waitFor();
          // Its first attempt, after a second, finds nobody.
          await opened.waitForEvent("console", (message) => SOCKET_FAILED.test(message.text()));
        }
      });
      for (const opened of [one, two]) await opened.getByText("connected", { exact: true }).waitFor();
      await say(one, "still there?");
      await heard(two, 1);
      assert.deepEqual(await said(two), ["still there?"]);
    });

    test("two players see each other move, and measure their own echo", async (t) => {
      const players = [await open(t, "game.html?player=1"), await open(t, "game.html?player=2")];
      await players[0].locator("#field").focus();
      for (let n = 0; n < 10; n++) await players[0].keyboard.press("ArrowDown");
      await players[1].locator("#field").focus();
      for (let n = 0; n < 5; n++) await players[1].keyboard.press("ArrowRight");
      await players[1].keyboard.press(" ");
      for (const opened of players) {
        await opened.waitForFunction(() => arena.heard[1] >= 10 && arena.heard[2] >= 6);
        await opened.waitForTimeout(200);
        const { players: seen, heard, longest } = await opened.evaluate(() => arena);
        assert.deepEqual(heard, { 1: 10, 2: 6 });
        assert.deepEqual([seen[1].x, seen[1].y, seen[2].x, seen[2].bomb], [40, 140, 100, true]);
        assert.ok(longest > 80 && longest <= 120, `${longest}`);
        assert.match(await opened.locator("#echo").textContent(), /^\d+ ms$/);
      }
      await assertAccessible(players[0]);
      await screenshot(players[0], `prior-art-game-${version}`);
    });
  });
}
