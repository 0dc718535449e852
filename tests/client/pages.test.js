// Parts of the demos' pages that need no browser: types, the arena's rules, QR codes.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import jsQR from "jsqr";
import { qr } from "../../game-demo/qr.js";
import { HEIGHT, NOTES, Notes, RADIUS, Track, WIDTH, move, noteAt, pushed } from "../../game-demo/world.js";

test("the types of the pages hold", () => {
  const here = (/** @type {string} */ path) => fileURLToPath(new URL(path, import.meta.url));
  try {
    execFileSync(process.execPath, [here("node_modules/typescript/bin/tsc"), "--project", here("tsconfig.pages.json")], { encoding: "utf8" });
  } catch (error) {
    assert.fail(error.stdout);
  }
});

test("QR codes of every size are read as what they say", () => {
  for (let length = 1; length <= 106; length++) {
    const text = `http://127.0.0.1:8080/game?room=${"abcdefghij".repeat(11)}`.slice(0, length);
    const rows = qr(text);
    const [scale, quiet] = [4, 4];
    const size = (rows.length + 2 * quiet) * scale;
    const pixels = new Uint8ClampedArray(size * size * 4).fill(255);
    for (let y = 0; y < size; y++) {
      for (let x = 0; x < size; x++) {
        if (rows[Math.floor(y / scale) - quiet]?.[Math.floor(x / scale) - quiet]) pixels.fill(0, (y * size + x) * 4, (y * size + x) * 4 + 3);
      }
    }
    assert.equal(jsQR(pixels, size, size)?.data, text, `${length} characters`);
  }
  assert.throws(() => qr("x".repeat(107)), RangeError);
});

test("nobody leaves the arena, whatever they steer and whoever pushes", () => {
  const body = { x: WIDTH / 2, y: HEIGHT / 2, vx: 0, vy: 0 };
  for (let step = 0; step < 2000; step++) {
    if (step % 50 === 0) pushed(body, body.x - 3, body.y + 2);
    move(body, Math.sin(step / 90) * 5, Math.cos(step / 70) * 5, 0.02);
    assert.ok(body.x >= RADIUS && body.x <= WIDTH - RADIUS && body.y >= RADIUS && body.y <= HEIGHT - RADIUS, JSON.stringify(body));
  }
  assert.equal(pushed({ ...body }, body.x + 1000, body.y), false);
});

test("notes lie where everybody thinks, and counts come together in whatever order", () => {
  for (let life = 0; life < 500; life++) {
    const { x, y } = noteAt(3, life);
    assert.ok(x > 0 && x < WIDTH && y > 0 && y < HEIGHT);
  }
  const [one, two] = [new Notes(), new Notes()];
  assert.equal(one.collect({ ...noteAt(2, 0), vx: 0, vy: 0 }).some(({ place }) => place === 2), true);
  two.lives[5] = 7;
  const before = [...one.lives];
  one.merge(two.lives);
  two.merge(before);
  assert.deepEqual(one.lives, two.lives);
  for (const wrong of [null, "x", [1.5, "2", -1], Array(NOTES + 5).fill(0)]) one.merge(wrong);
  assert.deepEqual(one.lives, two.lives);
});

test("others are shown between where they were and where they are", () => {
  const track = new Track();
  assert.equal(track.where(5), undefined);
  for (const [at, x] of [[100, 0], [150, 50], [150, 999], [120, 999], [200, 100]]) track.add(at, x, 0);
  assert.deepEqual([50, 100, 125, 175, 300].map((at) => track.where(at)?.x), [0, 0, 25, 75, 100]);
});
