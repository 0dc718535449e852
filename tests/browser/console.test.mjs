// The operator's console: who gets in, whether its numbers are the server's, what it finds, and one message's way.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Sample } from "../../console/metrics.js";
import { assertAccessible, call, createSession, freshId, OPERATOR, screenshot, startBrowser, startServer } from "./harness.mjs";

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

const PHONE = { viewport: { width: 390, height: 780 }, colorScheme: "dark", hasTouch: true };

async function signIn(page, secret = OPERATOR.secretAccessKey) {
  await page.fill("#access-key", OPERATOR.accessKeyId);
  await page.fill("#secret-key", secret);
  await page.press("#secret-key", "Enter");
}

/** An operator at a view of the console. */
async function operator(t, view = "overview", { url = server.url, ...options } = {}) {
  const page = await browser.open(t, `${url}/console#${view}`, options);
  await signIn(page);
  await page.locator(`#${view.split("/")[0]}`).waitFor();
  return page;
}

/** Somebody in the chat: a session whose queue is read by MQTT, with subscriptions. */
async function inChat(t, name) {
  const page = await browser.open(t, `${server.url}/chat`);
  await page.fill("#name", `${name} ${freshId()}`);
  await page.press("#name", "Enter");
  await page.getByText("Connected").waitFor();
  await page.locator("#subtitle", { hasText: "here" }).waitFor();
  return { page, ...(await page.evaluate(() => JSON.parse(sessionStorage.getItem("chat")))) };
}

const metrics = async () => new Sample(await (await fetch(`${server.url}/metrics`)).text(), Date.now());

/** The present value of a line of a graph. */
const shown = (page, graph, line) =>
  page.locator(".chart", { has: page.locator("h3", { hasText: graph }) }).locator(".legend li", { hasText: line }).locator(".value").textContent();

/** Tries until what `check` asserts holds: the page looks once a second. */
async function eventually(check) {
  const end = Date.now() + 15_000;
  for (;;) {
    try {
      return await check();
    } catch (error) {
      if (Date.now() > end) throw error;
      await new Promise((done) => setTimeout(done, 200));
    }
  }
}

/** A term's value in a list of facts. */
const fact = (page, list, term) => page.locator(`${list} div`, { has: page.locator("dt", { hasText: new RegExp(`^${term}$`) }) }).locator("dd");

describe("who gets in", () => {
  test("nobody with a wrong secret, a session neither; the operator does, and nothing is stored", async (t) => {
    const page = await browser.open(t, `${server.url}/console`, { allow: [/403 \(Forbidden\)/] });
    await assertAccessible(page);
    await signIn(page, "wrong");
    await page.getByText("These keys are not the operator's").waitFor();
    await signIn(page);
    await page.locator("#overview").waitFor();
    await page.getByText("Ready, up").waitFor();
    const stored = await page.evaluate(() => [localStorage.length, sessionStorage.length, document.cookie, location.href]);
    assert.deepEqual(stored, [0, 0, "", `${server.url}/console`]);
    await page.getByRole("button", { name: "Sign out" }).click();
    await page.locator("#sign-in").waitFor();
    assert.equal(await page.locator("#secret-key").inputValue(), "");
    await page.locator("#app").waitFor({ state: "hidden" });
    const session = await createSession(server.url);
    await page.fill("#access-key", session.accessKey);
    await page.fill("#secret-key", session.secretKey);
    await page.press("#secret-key", "Enter");
    await page.getByText("These keys are not the operator's").waitFor();
  });
});

describe("the overview", () => {
  test("shows the numbers of /metrics and of the API", async (t) => {
    const user = freshId();
    await createSession(server.url, { user });
    // Somebody who was there and has gone: what there is differs from what there was.
    await (await inChat(t, "Eve")).page.close();
    await inChat(t, "Ada");
    for (let n = 0; n < 3; n++) await call(server.url, "POST", `/notify/user/${user}`, { n });
    const page = await operator(t);
    await eventually(async () => {
      const now = await metrics();
      assert.equal(Number(await shown(page, "Connections", "MQTT")), now.sum("fanfare_mqtt_connections"));
      assert.equal(Number(await shown(page, "Messages that wait", "in queues")), now.sum("fanfare_queue_messages"));
      assert.equal(await fact(page, "#facts", "Rooms").textContent(), String(now.sum("fanfare_rooms")));
      assert.ok(now.sum("fanfare_mqtt_connects_total") > now.sum("fanfare_mqtt_connections"));
      assert.ok(now.sum("fanfare_mqtt_connections") >= 1 && now.sum("fanfare_queue_messages") >= 3 && now.sum("fanfare_rooms") >= 1);
      const notified = page.locator("#requests tr", { has: page.locator("td", { hasText: /^\/notify\/user\/\{user\}$/ }) }).locator("td");
      const counted = now.sum("fanfare_requests_total", { operation: "/notify/user/{user}" });
      assert.equal(Number(await notified.nth(3).textContent()), counted);
    });
    const { sessions } = await call(server.url, "GET", "/admin");
    assert.equal(await fact(page, "#facts", "Sessions").textContent(), String(sessions));
  });

  test("draws what happens, and says when something needs attention", async (t) => {
    const page = await operator(t);
    await page.getByText("Nothing: no refusal, no failure and no panic").waitFor();
    const user = freshId();
    await createSession(server.url, { user });
    let going = true;
    const load = (async () => {
      for (let n = 0; going; n++) await call(server.url, "POST", `/notify/user/${user}`, { n });
    })();
    await eventually(async () => assert.ok(Number(await shown(page, "Messages in", "to sessions")) > 1));
    await eventually(async () => assert.match(await shown(page, "From acceptance to the sender", "p99"), /ms|µs/));
    await eventually(async () => assert.match(await shown(page, "A commit", "p50"), /ms|µs/));
    await page.waitForTimeout(3000);
    const drawn = await page.locator(".chart path.line-0").first().getAttribute("d");
    assert.ok(drawn.split("L").length > 3, drawn);
    await page.locator(".chart svg").first().hover();
    await assertAccessible(page);
    await screenshot(page, "console", { fullPage: true });
    going = false;
    await load;
    // Panics can not be made from outside: what the server would say is put in its mouth.
    await page.route("**/metrics", async (route) => {
      const answer = await route.fetch();
      await route.fulfill({ response: answer, body: `${await answer.text()}\nfanfare_handler_panics_total{wire="http"} 1\n` });
    });
    await page.locator("#attention .bad", { hasText: "1 requests ended in a panic" }).waitFor();
  });

  test("fits a phone in the dark", async (t) => {
    for (const view of ["overview", "sessions", "topics", "trace"]) {
      const page = await operator(t, view, { context: PHONE });
      await page.waitForTimeout(1200);
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert.ok(wide <= 0, `${view} is ${wide} px too wide`);
      await assertAccessible(page);
      await screenshot(page, `console-phone-${view}`);
    }
  });

  test("says that the server is gone, and goes on when it is back", async (t) => {
    const lost = /ERR_CONNECTION_REFUSED|ERR_EMPTY_RESPONSE|ERR_CONNECTION_RESET/;
    const page = await operator(t, "overview", { allow: [lost] });
    await page.getByText("Ready, up").waitFor();
    await server.restart(() => page.locator("#banner", { hasText: "does not answer" }).waitFor());
    await page.getByText("Ready, up").waitFor();
    await eventually(async () => assert.equal(await page.locator("#banner").textContent(), ""));
  });
});

describe("sessions and topics", () => {
  test("a session is found by its user, with queue, keys' end and history", async (t) => {
    const [user, account] = [freshId(), freshId()];
    const session = await createSession(server.url, { user, account });
    const { messageId } = await call(server.url, "POST", `/notify/user/${user}`, { text: "<b>hello</b>" });
    const page = await operator(t, "sessions");
    await page.fill("#session-wanted", String(user));
    await page.press("#session-wanted", "Enter");
    await page.getByText("1 session.").waitFor();
    await page.getByRole("link", { name: session.sessionId }).click();
    await page.getByRole("heading", { name: `Session ${session.sessionId} of account ${account}` }).waitFor();
    assert.equal(await fact(page, "#session", "Can be handed out").textContent(), "1");
    assert.match(await fact(page, "#session", "Keys end").textContent(), /^in 3 h 59 min$|^in 4 h 0 min$/);
    assert.equal(await fact(page, "#session", "Keys").textContent(), session.accessKey);
    const queue = page.getByRole("region", { name: "Messages in the queue" });
    await queue.getByText('"text":"<b>hello</b>"').waitFor();
    await page.getByRole("heading", { name: `History of user ${user}: 1 unread` }).waitFor();
    await page.getByRole("region", { name: "History" }).getByRole("link", { name: messageId }).waitFor();
    const text = await page.locator("body").textContent();
    for (const secret of [session.secretKey, session.sessionToken, session.aesKey]) assert.ok(!text.includes(secret));
    await assertAccessible(page);
    await screenshot(page, "console-session", { fullPage: true });
    // What changes is seen without asking again.
    await call(server.url, "POST", `/notify/user/${user}`, { n: 2 });
    await fact(page, "#session", "Can be handed out").getByText("2").waitFor();
    // An address can be handed on, and says so if there is nothing any more.
    const gone = await operator(t, `sessions/${account}/nobody`, { allow: [/404 \(Not Found\)/] });
    await gone.getByText("there is no such session").first().waitFor();
  });

  test("who is connected, what they subscribe to, and who else does", async (t) => {
    const ada = await inChat(t, "Ada");
    const page = await operator(t, "sessions");
    await page.fill("#session-wanted", String(ada.user));
    await page.press("#session-wanted", "Enter");
    await page.getByText("1 session.").waitFor();
    await page.locator("#session-rows a").click();
    await page.getByRole("region", { name: "Connections" }).getByRole("link").click();
    await page.getByRole("region", { name: "Subscriptions", exact: true }).getByRole("link", { name: "chat/lobby", exact: true }).click();
    await page.getByRole("heading", { name: "chat/lobby", exact: true }).waitFor();
    const subscribers = page.getByRole("region", { name: "Subscribers" });
    await subscribers.getByRole("link").first().waitFor();
    const told = await call(server.url, "GET", "/admin/subscribers?filter=chat%2Flobby");
    assert.equal(await subscribers.locator("tbody tr").count(), told.total);
    await page.fill("#topic-prefix", "chat/lo");
    await page.press("#topic-prefix", "Enter");
    await page.getByText("1 filter.").waitFor();
    const cells = await page.locator("#topic-rows td").allTextContents();
    assert.deepEqual(cells, ["chat/lobby", String(told.total), "0"]);
    await assertAccessible(page);
    await screenshot(page, "console-topics", { fullPage: true });
  });
});

const steps = (page) => page.locator("#timeline .steps strong");

describe("a trace", () => {
  test("follows one message from its acceptance to PUBACK and to its reader", async (t) => {
    const ada = await inChat(t, "Ada");
    const page = await operator(t, "trace");
    await page.fill("#follow-wanted", String(ada.user));
    await page.press("#follow-wanted", "Enter");
    await page.getByText(`Following messages for user ${ada.user}`).waitFor();
    await eventually(async () => assert.equal((await call(server.url, "GET", "/admin/traces")).watches.length, 1));
    const { messageId } = await call(server.url, "POST", `/notify/user/${ada.user}`, { _type: "direct", from: "test", text: "follow me" });
    await page.getByRole("link", { name: messageId }).click();
    await steps(page).getByText("Acknowledged, gone from disk").waitFor();
    await page.locator("#timeline").getByText("with PUBACK").waitFor();
    await ada.page.getByRole("button", { name: /Messages to me/ }).click();
    await steps(page).getByText("Read").waitFor();
    const seen = await steps(page).allTextContents();
    assert.deepEqual([...seen].sort(), ["Accepted", "Acknowledged, gone from disk", "Handed out", "On disk, sender answered", "Read"]);
    assert.equal(seen[0], "Accepted");
    await page.getByText("Acknowledged by 1 of 1 session.").waitFor();
    await assertAccessible(page);
    await screenshot(page, "console-trace", { fullPage: true });
    await page.getByRole("button", { name: "Stop" }).click();
    // Nothing is followed any more as soon as the server has not been asked for a while.
    await page.getByText(/^Followed until|^Nothing is followed/).waitFor();
  });

  test("test messages are not for a console that may only read", async (t) => {
    const page = await operator(t, "trace");
    await page.getByText("The console is for reading only.").waitFor();
    assert.equal(await page.getByRole("button", { name: "Send and follow" }).isDisabled(), true);
    const sent = call(server.url, "POST", "/admin/messages", { userId: 1, message: {} });
    await assert.rejects(sent, /409 .*ReadOnlyException/);
  });

  test("test messages are sent and followed where that is enabled", async (t) => {
    const writable = await startServer({ settings: { FANFARE_CONSOLE_PUBLISH: "true", FANFARE_LOG_FILTER: "warn" } });
    const user = freshId();
    await createSession(writable.url, { user });
    const page = await operator(t, "trace", { url: writable.url });
    // After the page is closed: it would complain of a server that ends.
    t.after(() => writable.stop());
    await page.fill("#publish-to", String(user));
    await page.fill("#publish-message", '{"text": ');
    await page.getByRole("button", { name: "Send and follow" }).click();
    await page.locator("#publish-problem", { hasText: "JSON" }).waitFor();
    await page.fill("#publish-message", '{"text": "from the console"}');
    await page.getByRole("button", { name: "Send and follow" }).click();
    await steps(page).getByText("On disk, sender answered").waitFor();
    await page.getByText("Acknowledged by 0 of 1 session.").waitFor();
    const { messages } = await call(writable.url, "GET", `/messages/user/${user}`);
    assert.deepEqual(messages.map(({ text }) => text), ["from the console"]);
    await page.selectOption("#publish-kind", "topic");
    await page.fill("#publish-to", "a/b");
    await page.getByRole("button", { name: "Send and follow" }).click();
    await steps(page).getByText("Published, sender answered").waitFor();
    await page.getByText("to 0 connections; 0 sessions without one").waitFor();
  });
});
