// Makes compat/dist: the stock clients that /compat tries, as their users would bundle them, and the licences of all that is
// in them. Run as a program it writes the files; compat.test.mjs compares.

import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const REPOSITORY = resolve(fileURLToPath(import.meta.url), "../../..");
/** Where the clients under test are installed: their versions are pinned there and nowhere else. */
export const CLIENTS = join(REPOSITORY, "tests/node/node_modules");
const DIST = join(REPOSITORY, "compat/dist");
/** What the page names by its version. */
const SHOWN = ["mqtt", "aws-iot-device-sdk-v2", "@aws-sdk/client-sqs"];
/** Bundled by its makers already, which hides what is in it: all that it depends on may be. */
const BUNDLED = ["mqtt"];

/** How a page's script is built here. */
export const PAGE = {
  nodePaths: [CLIENTS],
  bundle: true,
  write: false,
  platform: "browser",
  define: { global: "globalThis" },
  logLevel: "error",
};

const describe = (folder) => JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));

/** Names and texts of the files. */
export async function bundleClients() {
  const { outputFiles, metafile } = await build({
    ...PAGE,
    absWorkingDir: REPOSITORY,
    entryPoints: ["mqtt", "iot", "aws"].map((name) => `compat/clients/${name}.js`),
    outdir: DIST,
    format: "esm",
    target: "es2022",
    minify: true,
    metafile: true,
    legalComments: "none",
  });
  const files = Object.fromEntries(outputFiles.map(({ path, text }) => [path.slice(DIST.length + 1), text]));
  const versions = Object.fromEntries(SHOWN.map((name) => [name, describe(join(CLIENTS, name)).version]));
  files["versions.js"] = `// Made by tests/browser/bundle.mjs.\nexport const VERSIONS = ${JSON.stringify(versions, null, 2)};\n`;
  files["LICENSES.txt"] = licences(Object.keys(metafile.inputs));
  return files;
}

/** The folder of the package that a module belongs to. */
const packageOf = (module) => /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(module)?.[0];

/** Where a package finds another that it depends on, as Node looks for it. */
function dependency(folder, name) {
  for (let at = folder; at !== REPOSITORY; at = resolve(at, "..")) {
    const found = join(at, "node_modules", name);
    if (existsSync(found)) return found;
  }
  throw new Error(`${folder} depends on ${name}, which is not installed`);
}

/** The package and all that it depends on. */
function withDependencies(folder, all = new Set()) {
  if (all.has(folder)) return all;
  all.add(folder);
  for (const name of Object.keys(describe(folder).dependencies ?? {})) withDependencies(dependency(folder, name), all);
  return all;
}

/** The notices of the packages that these modules come from; packages with the same text share it. */
function licences(modules) {
  // What a package has disabled for browsers is not in there.
  const used = modules.filter((module) => !module.startsWith("(disabled):"));
  const named = used.map(packageOf).filter(Boolean).map((folder) => join(REPOSITORY, folder));
  const folders = new Set([...named, ...BUNDLED.flatMap((name) => [...withDependencies(join(CLIENTS, name))])]);
  const texts = new Map();
  for (const folder of folders) {
    const { name, version, license } = describe(folder);
    const own = readdirSync(folder).filter((file) => /^(licen[cs]e|copying|notice)/i.test(file)).sort();
    if (!license && !own.length) throw new Error(`${name} does not say under which licence it is`);
    const text = own.map((file) => readFileSync(join(folder, file), "utf8").trim()).join("\n\n") || `Licence: ${license}`;
    texts.set(text, [...(texts.get(text) ?? []), `${name} ${version}`]);
  }
  const notices = [...texts].map(([text, packages]) => `${[...new Set(packages)].sort().join("\n")}\n\n${text}\n`);
  return `What is in the bundles beside this file, and under which terms.\n\n${notices.sort().join(`\n${"-".repeat(80)}\n\n`)}`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  mkdirSync(DIST, { recursive: true });
  for (const [name, text] of Object.entries(await bundleClients())) writeFileSync(join(DIST, name), text);
}
