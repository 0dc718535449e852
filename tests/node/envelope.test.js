// The envelope in WebCrypto: the published vectors.

import assert from "node:assert/strict";
import { test } from "node:test";
import { openEnvelope } from "./fanfare.js";

const KEY = "LkWUsGQKi8E9QoMJEeY1HLL8rdJNJr3fzDp+F9CpkCY=";

test("the published vectors open", async () => {
  assert.equal(await openEnvelope(KEY, "9734675727|nw7xCnVR0m/YrGgG"), "this is test");
  assert.equal(await openEnvelope(KEY, "5|hbTFISt3Qi0Irkci8w=="), '{"a":"é✓"}');
});
