/** The connection of a session: its keys, the transport that serves it, and what waits while there is none. */

import { openEnvelope } from "./envelope.js";
import { Emitter } from "./events.js";
import { MqttConnection, MqttError } from "./mqtt.js";
import { Pause, backoff, onReturn } from "./reconnect.js";
import { presign, signHeaders } from "./sign.js";
import { poll } from "./sqs.js";

/** @typedef {import("./fanfare.js").Session} Session */
/** @typedef {import("./fanfare.js").State} State */
/** @typedef {import("./packets.js").Pairs} Pairs */
/** @typedef {{ qos?: 0 | 1, retain?: boolean, user?: Pairs, now?: boolean }} PublishOptions `now`: it does not wait */

/** @typedef {{ topic: string, payload: Uint8Array, options: PublishOptions, done: (value?: undefined) => void, failed: (error: Error) => void }} Kept */

/** A connection that lasted this long was a good one: the waits begin anew. */
const STABLE_MS = 5000;
/** So often MQTT may fail to connect where HTTP answers, before the queue is polled instead: where it never worked, and where it did. */
const STRIKES = 2;
const STRIKES_LATER = 5;
/** MQTT is tried again after this time, and after twice as long each time, up to the second. */
const MQTT_AGAIN_MS = 2000;
const MQTT_SELDOM_MS = 60_000;
/** So often keys may be refused in a row, fresh ones too. */
const REFUSALS = 3;
/** So many messages are remembered, so that one that comes a second time is told once. */
const SEEN = 1000;
/** How long a sign of life may take after the page was away. */
const PROBE_MS = 3000;

/** Nothing that trying again would mend. */
class Fatal extends Error {}

/** An HTTP answer that is no success. */
export class HttpError extends Error {
  /** @param {number} status @param {string} message */
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** The connection. Tells of `state`, `inbox` (a message), `publication` and `error`. */
export class Link extends Emitter {
  /** @type {State} */
  state = { name: "idle" };
  /** @type {Session | undefined} */
  session;
  /** @type {"mqtt" | "sqs" | undefined} */
  transport;

  /** The client id, the same for every connection. */
  clientId;

  /** @type {import("./fanfare.js").RelayOptions} */
  #options;
  #kind;
  /** @type {MqttConnection | undefined} */
  #mqtt;
  /** @type {AbortController | undefined} */
  #polling;
  #end = new AbortController();
  #pause = new Pause();
  #over = false;
  #switching = false;
  #openedAt = 0;
  #strikes = 0;
  #worked = false;
  #refusals = 0;
  #stale = false;
  #offset = 0;
  /** @type {Promise<void> | undefined} */
  #renewing;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #renewal;
  #unheard = () => {};
  /** @type {Set<string>} */
  #seen = new Set();
  #inOrder = Promise.resolve();
  /** @type {Set<Kept>} */
  #kept = new Set();

  /** @param {import("./fanfare.js").RelayOptions} options */
  constructor(options) {
    super();
    this.#options = options;
    this.#kind = options.transport ?? "auto";
    // Not randomUUID, which pages on plain HTTP do not have.
    const random = crypto.getRandomValues(new Uint8Array(12));
    this.clientId = options.clientId ?? `js-${[...random].map((byte) => byte.toString(16).padStart(2, "0")).join("")}`;
  }

  /** The last round trip, in milliseconds. */
  get rtt() {
    return this.#mqtt?.rtt;
  }

  /** The server's clock, in milliseconds since the epoch, as well as its answers told it. */
  serverTime() {
    return Date.now() + this.#offset;
  }

  /** Begins to connect. */
  start() {
    if (this.state.name !== "idle") return;
    this.#unheard = onReturn(() => this.#returned());
    this.#become({ name: "connecting" });
    void this.#run();
  }

  /** Ends for good. */
  close() {
    this.#stop({ name: "closed" });
  }

  /** @param {"auto" | "mqtt" | "sqs"} kind */
  use(kind) {
    this.#kind = kind;
    this.#strikes = 0;
    if (kind !== this.transport) this.#again();
  }

  /** Does not wait for the next try. */
  retry() {
    this.#pause.wake();
  }

  ping() {
    return this.#mqtt && this.transport ? this.#mqtt.ping() : Promise.reject(new Error("not connected by MQTT"));
  }

  /**
   * Publishes. With quality of service 1 what can not be sent now waits, within bounds, and is sent when it can.
   * @param {string} topic @param {Uint8Array} payload @param {PublishOptions} [options]
   * @returns {Promise<void>}
   */
  async publish(topic, payload, options = {}) {
    if (!options.qos || options.now) return this.#connected().publish(topic, payload, options);
    if (this.#over) throw new Error(this.state.name);
    if (this.#kept.size >= (this.#options.queueLimit ?? 100)) throw new Error("too many messages wait to be sent");
    return new Promise((done, failed) => {
      const entry = { topic, payload, options, done, failed };
      this.#kept.add(entry);
      if (this.transport === "mqtt") this.#send(entry);
    });
  }

  /** @param {string} filter @param {number} options @param {Pairs} [user] */
  async subscribe(filter, options, user) {
    return this.#connected().subscribe(filter, options, user);
  }

  /** @param {string} filter */
  async unsubscribe(filter) {
    return this.#connected().unsubscribe(filter);
  }

  #connected() {
    if (this.#mqtt && this.transport === "mqtt") return this.#mqtt;
    throw new MqttError("not connected by MQTT");
  }

  /** @param {Kept} entry */
  #send(entry) {
    const { topic, payload, options, done, failed } = entry;
    const sent = this.#connected().publish(topic, payload, options);
    sent.then(
      () => {
        this.#kept.delete(entry);
        done();
      },
      (error) => {
        // What the end of a connection has left open is sent again on the next one.
        if (!error.refused) return;
        this.#kept.delete(entry);
        failed(error);
      },
    );
  }

  /**
   * A request to the server's HTTP API, signed; repeated once with fresh keys if these were refused.
   * @param {string} method @param {string} path @param {object} [body]
   */
  call(method, path, body) {
    const headers = body ? { "content-type": "application/json" } : undefined;
    return this.#fetch("execute-api", method, path, body && JSON.stringify(body), headers);
  }

  /**
   * @param {string} service @param {string} method @param {string} path @param {string} [body]
   * @param {Record<string, string>} [headers] @param {AbortSignal} [signal]
   * @returns {Promise<any>}
   */
  async #fetch(service, method, path, body, headers, signal) {
    await this.#freshKeys();
    for (let again = false; ; again = true) {
      const keys = /** @type {Session} */ (this.session);
      const region = keys.region ?? "us-east-1";
      const url = this.#base() + path;
      const signed = await signHeaders({ method, url, body, headers, keys, region, service, now: this.serverTime() });
      const answer = await (this.#options.fetch ?? fetch)(url, { method, body, headers: signed, signal });
      this.#clock(answer);
      const told = await answer.json().catch(() => ({}));
      if (answer.ok) return told;
      const refused = answer.status === 401 || answer.status === 403;
      if (!refused || again) throw new HttpError(answer.status, told.message ?? told.__type ?? `HTTP ${answer.status}`);
      if (keys === this.session) await this.#renew();
    }
  }

  #base() {
    const { url } = this.#options;
    if (url) return url.replace(/\/+$/, "");
    const { sqsUrl, iotEndpoint } = this.session ?? {};
    return sqsUrl ? new URL(sqsUrl).origin : `https://${iotEndpoint}`;
  }

  /** Dates have whole seconds: only a clock that is clearly wrong is corrected by them. @param {Response} answer */
  #clock(answer) {
    const date = Date.parse(answer.headers.get("date") ?? "");
    const offset = date + 500 - Date.now();
    if (date && Math.abs(offset - this.#offset) > 2000) this.#offset = offset;
  }

  async #run() {
    for (let attempt = 0; !this.#over; ) {
      let reason = "";
      this.#switching = false;
      this.#openedAt = 0;
      try {
        await this.#freshKeys();
        if (this.#over) return;
        await (this.#choice() === "mqtt" ? this.#byMqtt() : this.#bySqs());
      } catch (error) {
        if (error instanceof Fatal) return this.#stop({ name: "failed", reason: error.message });
        reason = error instanceof Error ? error.message : String(error);
        if (!this.#over && !this.#switching) await this.#learn(error);
      }
      this.transport = undefined;
      if (this.#over) return;
      if (this.#refusals >= REFUSALS) return this.#stop({ name: "failed", reason });
      if (this.#switching || (this.#openedAt && Date.now() - this.#openedAt > STABLE_MS)) attempt = 0;
      const nextInMs = this.#switching ? 0 : backoff(attempt++);
      this.#become({ name: "reconnecting", attempt, nextInMs, reason });
      if (nextInMs) await this.#pause.wait(nextInMs);
      if (!this.#over) this.#become({ name: "connecting" });
    }
  }

  #choice() {
    if (this.#kind !== "auto") return this.#kind;
    return this.#strikes >= (this.#worked ? STRIKES_LATER : STRIKES) && this.session?.sqsUrl && crypto.subtle ? "sqs" : "mqtt";
  }

  async #byMqtt() {
    const session = /** @type {Session} */ (this.session);
    const mqtt = (this.#mqtt = new MqttConnection(await this.#socket()));
    const ended = new Promise((_, failed) => (mqtt.onend = ({ reason, code }) => failed(new MqttError(reason, code))));
    ended.catch(() => {});
    mqtt.onpublication = (publication) => {
      if (publication.topic === session.topic) return this.#take(new TextDecoder().decode(publication.payload), publication.ack);
      publication.ack();
      const { topic, payload, retain, user } = publication;
      this.emit("publication", { topic, payload, retain, user });
    };
    await mqtt.open(this.clientId);
    if (this.#over || this.#switching) return mqtt.close();
    // Without WebCrypto nothing in it could be read.
    if (session.topic && crypto.subtle) await mqtt.subscribe(session.topic, 1);
    this.#opened("mqtt");
    for (const entry of this.#kept) this.#send(entry);
    void mqtt.ping().catch(() => {});
    await ended;
  }

  /** @returns {Promise<WebSocket>} */
  async #socket() {
    const session = /** @type {Session} */ (this.session);
    const url = `${this.#base().replace(/^http/, "ws")}/mqtt`;
    const signed = crypto.subtle
      ? await presign(url, session, { region: session.region ?? "us-east-1", now: this.serverTime() })
      : `${url}?token=${session.connectToken}`;
    if (!crypto.subtle && !session.connectToken) throw new Fatal("this page can not sign, and the session has no connectToken");
    const Socket = this.#options.WebSocket ?? globalThis.WebSocket;
    if (Socket) return new Socket(signed, "mqtt");
    const { NodeSocket } = await import("./node-socket.js");
    return /** @type {any} */ (new NodeSocket(signed, "mqtt"));
  }

  async #bySqs() {
    const { sqsUrl } = /** @type {Session} */ (this.session);
    if (!sqsUrl) throw new Fatal("this session has no queue to poll");
    const { signal } = (this.#polling = new AbortController());
    const tries = new AbortController();
    if (this.#kind === "auto") void this.#tryMqtt(tries.signal);
    /** @type {import("./sqs.js").Call} */
    const call = (operation, body, signal) => {
      const headers = { "content-type": "application/x-amz-json-1.0", "x-amz-target": `AmazonSQS.${operation}` };
      return this.#fetch("sqs", "POST", "/", JSON.stringify(body), headers, signal);
    };
    const take = (/** @type {string} */ envelope) => this.#take(envelope, () => {});
    const reached = () => this.transport || signal.aborted || this.#opened("sqs");
    // An answer that is on its way has messages in it: the last poll goes on beside the next transport.
    const enough = new Promise((done) => signal.addEventListener("abort", done));
    const polled = poll(sqsUrl, call, take, reached, signal, this.#end.signal);
    polled.catch(() => {});
    await Promise.race([polled, enough]).finally(() => tries.abort());
  }

  /** Goes back to MQTT as soon as it gets through. @param {AbortSignal} signal */
  async #tryMqtt(signal) {
    for (let ms = MQTT_AGAIN_MS; ; ms = Math.min(2 * ms, MQTT_SELDOM_MS)) {
      await new Promise((done) => setTimeout(done, ms));
      if (signal.aborted) return;
      try {
        const probe = new MqttConnection(await this.#socket());
        await probe.open(`${this.clientId}-probe`);
        probe.close();
        if (!signal.aborted) this.use("auto");
        return;
      } catch {
        // Still not: the queue goes on being polled.
      }
    }
  }

  /** @param {"mqtt" | "sqs"} transport */
  #opened(transport) {
    this.#openedAt = Date.now();
    this.#refusals = 0;
    if (transport === "mqtt") [this.#strikes, this.#worked] = [0, true];
    this.transport = transport;
    this.#become({ name: "open", transport });
  }

  /** What a failed try says about the keys, the clock, and whether WebSockets get through at all. @param {any} error */
  async #learn(error) {
    const refused = error.status === 401 || error.status === 403 || error.code === 0x86 || error.code === 0x87;
    if (refused) this.#refusals++;
    this.#stale ||= refused;
    if (this.#openedAt || !(error instanceof MqttError) || !this.session) return;
    try {
      const answer = await (this.#options.fetch ?? fetch)(`${this.#base()}/health/live`, { signal: AbortSignal.timeout(5000) });
      this.#clock(answer);
      // A refusal at the upgrade looks to a page as if there were no network; HTTP tells that there is one.
      this.#strikes++;
      this.#stale = true;
    } catch {
      // No network: the keys are none the worse for it.
    }
  }

  async #freshKeys() {
    const { session } = this;
    const ending = session?.expires && session.expires * 1000 <= this.serverTime() + 1000;
    if (!session || ending || this.#stale) await this.#renew();
  }

  /** Asks the page for keys; all who need them meanwhile wait for the same answer. */
  #renew() {
    this.#renewing ??= this.#ask().finally(() => (this.#renewing = undefined));
    return this.#renewing;
  }

  async #ask() {
    const answer = /** @type {any} */ (await this.#options.session(this.session));
    if (this.#over) return;
    if (!answer) throw new Fatal("signed out");
    const before = this.session;
    const session = answer.session ?? answer;
    const keys = session.awsAccessKey ? { accessKey: session.awsAccessKey, secretKey: session.awsSecretAccessKey } : {};
    this.session = { ...session, ...keys };
    this.#stale = false;
    this.#renewLater(0);
    this.emit("session", this.session);
    // The same session with other keys goes on as it is; another one is another queue.
    if (before && before.topic !== session.topic) this.#again();
  }

  /** Renews before the keys end, after a part of their life that is a little different for everyone. @param {number} attempt */
  #renewLater(attempt) {
    clearTimeout(this.#renewal);
    const { expires } = this.session ?? {};
    if (!expires) return;
    const left = expires * 1000 - this.serverTime();
    const ms = attempt ? backoff(attempt) : Math.max(left * (0.7 + 0.15 * Math.random()), 500);
    this.#renewal = setTimeout(() => {
      this.#renew().catch((error) => {
        if (error instanceof Fatal) return this.#stop({ name: "failed", reason: error.message });
        this.emit("error", error);
        this.#renewLater(attempt + 1);
      });
    }, Math.min(ms, 2 ** 31 - 1));
    /** @type {any} */ (this.#renewal).unref?.();
  }

  /** Opens an envelope and tells of it, in the order of arrival, each once; then it may leave the queue. @param {string} envelope @param {() => void} ack */
  #take(envelope, ack) {
    const session = /** @type {Session} */ (this.session);
    this.#inOrder = this.#inOrder.then(async () => {
      const mark = envelope.slice(0, envelope.lastIndexOf("|"));
      try {
        const text = await openEnvelope(envelope, /** @type {any} */ (session));
        const data = JSON.parse(text);
        if (this.#over) return;
        if (!this.#seen.has(mark)) this.emit("inbox", data);
        this.#seen.add(mark);
        if (this.#seen.size > SEEN) this.#seen.delete(/** @type {string} */ (this.#seen.values().next().value));
      } catch (error) {
        // It would be as unreadable the next time.
        this.emit("error", error);
      }
      ack();
    });
    return this.#inOrder;
  }

  #returned() {
    this.#pause.wake();
    if (this.transport === "mqtt") this.#mqtt?.ping(PROBE_MS).catch(() => {});
  }

  /** Ends the transport, so that the next one begins at once. */
  #again() {
    this.#switching = true;
    this.#polling?.abort();
    this.#mqtt?.close();
    this.#pause.wake();
  }

  /** @param {State} state */
  #stop(state) {
    if (this.#over) return;
    this.#over = true;
    clearTimeout(this.#renewal);
    this.#unheard();
    this.#again();
    this.#end.abort();
    this.transport = undefined;
    for (const { failed } of this.#kept) failed(new Error(state.name));
    this.#kept.clear();
    this.#become(state);
  }

  /** @param {State} state */
  #become(state) {
    this.state = state;
    this.emit("state", state);
  }
}
