// What README.md shows in JavaScript is run as it stands there.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { call, createSession, startServer } from "./fanfare.js";

const HERE = fileURLToPath(new URL(".", import.meta.url));
const REPOSITORY = resolve(HERE, "../..");

let server;
let folder;
before(async () => {
  server = await startServer();
  folder = mkdtempSync(join(tmpdir(), "fanfare-readme-"));
});
after(async () => {
  rmSync(folder, { recursive: true, force: true });
  await server.stop();
});

test("the JavaScript client prints decrypted messages", { timeout: 60_000 }, async () => {
  const readme = readFileSync(join(REPOSITORY, "README.md"), "utf8");
  const [, code] = /<!-- run: client\.mjs -->\n```js\n([^]*?)```/.exec(readme);
  writeFileSync(join(folder, "client.mjs"), code);
  symlinkSync(join(REPOSITORY, "examples"), join(folder, "examples"));
  symlinkSync(join(HERE, "node_modules"), join(folder, "node_modules"));
  const session = await createSession(server.url);
  writeFileSync(join(folder, "session.json"), JSON.stringify({ session }));

  const client = spawn(process.execPath, ["client.mjs"], { cwd: folder, stdio: ["ignore", "pipe", "ignore"] });
  try {
    const lines = createInterface({ input: client.stdout })[Symbol.asyncIterator]();
    const printed = async (text) => {
      for (;;) {
        const { value, done } = await lines.next();
        assert.ok(!done, `the client ended before it printed ${text}`);
        if (value.includes(text)) return;
      }
    };
    await call(server.url, "POST", `/notify/user/${session.userId}`, { text: "hello é😀" });
    await printed("hello é😀");
    await call(server.url, "POST", `/notify/user/${session.userId}`, { text: "again" });
    await printed("again");
  } finally {
    client.kill();
  }
});
