// A Fanfare server for the JavaScript tests; needs nothing but Node.

import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

export const REGION = "us-east-1";
export const ACCOUNT = "123456789012";
export const STREAM = "dev-sqs-browser-event-dispatcher";
export const OPERATOR = { accessKeyId: "FANFAREDEV", secretAccessKey: "fanfare-dev-secret" };

const REPOSITORY = resolve(fileURLToPath(import.meta.url), "../../..");
const START_TIMEOUT_MS = 30_000;
const DRAIN_TIMEOUT_MS = 25_000;

let numbers = (Date.now() % 1_000_000_000) * 100;

/** An integer that no other test uses. */
export const freshId = () => numbers++;

/** A queue or session name that no other test uses. */
export const freshName = (prefix = "t") => `${prefix}-${freshId()}-${randomUUID().slice(0, 8)}`;

/**
 * Starts the binary (or uses the server that FANFARE_TEST_URL names); `stop` ends it and checks its exit code. With a
 * `config` (TOML), further `settings` (variables) or `tls` the server is always one of its own; then there are `ports`,
 * `restart`, `log` and, in TLS, `ca`, too.
 */
export async function startServer({ config = "", settings = {}, tls = false } = {}) {
  const own = config || tls || Object.keys(settings).length > 0;
  if (process.env.FANFARE_TEST_URL && !own) return { url: process.env.FANFARE_TEST_URL, stop: async () => {} };
  const directory = mkdtempSync(join(tmpdir(), "fanfare-test-"));
  writeFileSync(join(directory, "fanfare.toml"), config);
  const wanted = {
    FANFARE_HTTP_LISTEN: "127.0.0.1:0",
    FANFARE_MQTT_LISTEN: "127.0.0.1:0",
    ...(tls ? { FANFARE_HTTP_TLS_LISTEN: "127.0.0.1:0", FANFARE_MQTT_TLS_LISTEN: "127.0.0.1:0" } : {}),
    ...settings,
  };
  let running = await launch(directory, wanted, tls);
  const { ports } = running;
  return {
    url: `http://127.0.0.1:${ports.http}`,
    tlsUrl: tls ? `https://localhost:${ports.https}` : undefined,
    ports,
    ca: tls ? readFileSync(join(directory, "data/dev-tls/cert.pem")) : undefined,
    /** What the server has printed since its last start. */
    log: () => running.log(),
    /** Ends the server (with `kill`: at once, as a crash does) and starts it again on the same data and ports; `between` is awaited while it is down. */
    async restart(between = async () => {}, { kill = false } = {}) {
      await (kill ? running.kill() : running.end());
      await between();
      const again = { ...wanted };
      for (const [name, port] of Object.entries(ports)) again[LISTENERS[name]] = `127.0.0.1:${port}`;
      running = await launch(directory, again, tls);
    },
    async stop() {
      await running.end();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

/** The setting of each listener, by the name that the server prints. */
const LISTENERS = {
  http: "FANFARE_HTTP_LISTEN",
  https: "FANFARE_HTTP_TLS_LISTEN",
  mqtt: "FANFARE_MQTT_LISTEN",
  mqtts: "FANFARE_MQTT_TLS_LISTEN",
};

/** One process, as soon as it listens: its `ports` by listener, `log()`, `kill()`, and `end()`, which has to exit with 0. */
async function launch(directory, settings, tls) {
  const binary = process.env.FANFARE_BIN ?? join(REPOSITORY, "target/debug/fanfare");
  if (!existsSync(binary)) throw new Error(`${binary} is missing: run \`cargo build\` or set FANFARE_BIN`);
  const inherited = Object.entries(process.env).filter(([name]) => !/^(FANFARE|AWS)_/.test(name));
  const child = spawn(resolve(binary), ["serve", "--config", "fanfare.toml", ...(tls ? ["--dev-tls"] : [])], {
    cwd: directory,
    env: {
      ...Object.fromEntries(inherited),
      FANFARE_STORE_DIR: join(directory, "data"),
      FANFARE_AWS_ACCOUNT: ACCOUNT,
      ...settings,
    },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let log = "";
  const ports = {};
  child.stderr.on("data", (chunk) => (log += chunk));
  const ended = once(child, "exit");
  await new Promise((found, failed) => {
    const timer = setTimeout(() => failed(new Error(`no start in time:\n${log}`)), START_TIMEOUT_MS);
    child.once("exit", (code) => failed(new Error(`exit ${code} at the start:\n${log}`)));
    createInterface({ input: child.stdout }).on("line", (line) => {
      log += line + "\n";
      const [, name, address] = /listening (\w+) ([^\s,]+:\d+)/.exec(line) ?? [];
      if (name) ports[name] = Number(address.split(":").at(-1));
      // The last line of the listeners is followed by where the data is.
      if (line.startsWith("data ")) {
        clearTimeout(timer);
        found();
      }
    });
  });
  return {
    ports,
    log: () => log,
    async kill() {
      child.kill("SIGKILL");
      await ended;
    },
    async end() {
      child.kill("SIGTERM");
      const timer = setTimeout(() => child.kill("SIGKILL"), DRAIN_TIMEOUT_MS);
      const [code] = await ended;
      clearTimeout(timer);
      if (code !== 0) throw new Error(`exit ${code} after SIGTERM:\n${log}`);
    },
  };
}
