// Makes client/dist of client/*.js: one file for pages, and the WebSocket that only Node 20 needs. Run as a program it
// writes them; the test compares.

import { writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const CLIENT = resolve(fileURLToPath(import.meta.url), "../../../client");

/** Names and texts of the files. */
export async function bundle() {
  const options = { bundle: true, minify: true, format: "esm", target: "es2022", write: false, absWorkingDir: CLIENT, legalComments: "none" };
  const [page, socket] = await Promise.all([
    build({ ...options, entryPoints: ["index.js"], external: ["./node-socket.js"] }),
    build({ ...options, entryPoints: ["node-socket.js"], platform: "node" }),
  ]);
  return { "fanfare.js": page.outputFiles[0].text, "node-socket.js": socket.outputFiles[0].text };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const [name, text] of Object.entries(await bundle())) writeFileSync(join(CLIENT, "dist", name), text);
}
