// The package itself: what is published is what was built from the sources, small, typed, and free of dependencies.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { bundle } from "./bundle.js";

const CLIENT = resolve(fileURLToPath(import.meta.url), "../../../client");
const { dependencies, exports, files } = JSON.parse(readFileSync(join(CLIENT, "package.json"), "utf8"));

test("what is published is what its sources say: `npm run bundle` in tests/client makes it", async () => {
  for (const [name, text] of Object.entries(await bundle())) {
    assert.equal(readFileSync(join(CLIENT, "dist", name), "utf8"), text, `dist/${name} is not current`);
  }
});

test("under 12 kB, compressed, all of it; no dependencies", () => {
  const all = readdirSync(join(CLIENT, "dist"));
  const sizes = all.map((name) => gzipSync(readFileSync(join(CLIENT, "dist", name)), { level: 9 }).length);
  const total = sizes.reduce((sum, size) => sum + size, 0);
  assert.ok(sizes[all.indexOf("fanfare.js")] < 12_000, "what pages load");
  assert.ok(total < 12 * 1024, `${total} bytes: ${all.map((name, at) => `${name} ${sizes[at]}`)}`);
  assert.equal(dependencies, undefined);
  assert.deepEqual(exports["."], { types: "./fanfare.d.ts", default: "./dist/fanfare.js" });
  assert.ok(files.includes("dist"));
});

test("what is published works", async () => {
  const { createRelay, openEnvelope } = await import("../../client/dist/fanfare.js");
  const session = { aesKey: "LkWUsGQKi8E9QoMJEeY1HLL8rdJNJr3fzDp+F9CpkCY=", sessionId: "s" };
  assert.equal(await openEnvelope("9734675727|nw7xCnVR0m/YrGgG", session), "this is test");
  assert.equal(createRelay({ session: async () => null }).state.name, "idle");
});

test("the types hold: of the sources, and for those who use the package", () => {
  const tsc = resolve(fileURLToPath(import.meta.url), "../node_modules/typescript/bin/tsc");
  const folder = resolve(fileURLToPath(import.meta.url), "..");
  try {
    execFileSync(process.execPath, [tsc, "--project", folder], { encoding: "utf8" });
  } catch (error) {
    assert.fail(error.stdout);
  }
});
