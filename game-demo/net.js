// The arena's network: one room, in which each player says twenty times a second where it is, and numbers about that.

import { createRelay } from "/client/fanfare.js";

const SAMPLES = 200;
/** An echo that took longer was lost. */
const LOST_MS = 5000;

/** The numbers of the overlay. */
export class Numbers {
  /** @type {number[]} */
  #trips = [];
  #in = 0;
  #out = 0;
  #since = performance.now();
  rates = { in: 0, out: 0 };

  /** @param {number} ms */
  trip(ms) {
    this.#trips.push(ms);
    if (this.#trips.length > SAMPLES) this.#trips.shift();
  }
  /** @param {"in" | "out"} way */
  count(way) {
    if (way === "in") this.#in++;
    else this.#out++;
    const now = performance.now();
    const seconds = (now - this.#since) / 1000;
    if (seconds < 1) return;
    this.rates = { in: this.#in / seconds, out: this.#out / seconds };
    [this.#in, this.#out, this.#since] = [0, 0, now];
  }
  /** @param {number} part 0.5 for the median */
  percentile(part) {
    const sorted = [...this.#trips].sort((a, b) => a - b);
    return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))];
  }
  /** How different one trip is from the next. */
  get jitter() {
    const steps = this.#trips.slice(1).map((trip, at) => Math.abs(trip - this.#trips[at]));
    return steps.length ? steps.reduce((sum, step) => sum + step, 0) / steps.length : undefined;
  }
}

/** The line to the others; what passes it can be delayed and lost on purpose. */
export class Line {
  numbers = new Numbers();
  lag = 0;
  loss = 0;
  /** @type {Map<number, number>} When each of one's positions was sent. */
  #sent = new Map();
  #number = 0;

  /** @param {any} relay @param {any} room */
  constructor(relay, room) {
    this.relay = relay;
    this.room = room;
  }

  /** Half of the lag each way, and losses. @param {() => void} pass */
  worsen(pass) {
    if (Math.random() * 100 < this.loss) return;
    if (this.lag) setTimeout(pass, this.lag / 2);
    else pass();
  }

  /** Sets a value that others see. What can not be sent now is old the next time. @param {string} key @param {unknown} value */
  set(key, value) {
    this.numbers.count("out");
    this.worsen(() => void this.room.set(key, value).catch(() => {}));
  }

  /** Says where one is, with a number by which the echo is known. @param {number[]} position */
  place(position) {
    const now = performance.now();
    this.#sent.set(++this.#number, now);
    for (const [number, at] of this.#sent) if (now - at > LOST_MS) this.#sent.delete(number);
    this.set("p", [this.#number, ...position]);
  }

  /** One's own position came back. @param {number} number */
  echo(number) {
    const at = this.#sent.get(number);
    if (at === undefined) return;
    this.#sent.delete(number);
    this.numbers.trip(performance.now() - at);
  }

  /** @param {string} name @param {unknown} data */
  signal(name, data) {
    this.numbers.count("out");
    this.worsen(() => void this.room.signal(name, data).catch(() => {}));
  }
}

/**
 * Signs in and enters the arena. The client id is kept with the tab, so that the seat is still there after a reload; a
 * tab that was duplicated takes another.
 * @param {string} name @param {string} place @param {(state: any) => void} told
 */
export async function enter(name, place, told) {
  const kept = JSON.parse(sessionStorage.getItem(`arena:${place}`) ?? "{}");
  let session = kept.name === name ? kept.session : undefined;
  const clientId = await claim(kept.clientId);
  const relay = createRelay({
    clientId,
    transport: "mqtt",
    session: async () => {
      const answer = await fetch("/demo/session", { method: "POST", body: JSON.stringify({ name, session }) });
      const described = await answer.json();
      if (!answer.ok) throw new Error(described.message);
      session = described.session.sessionId;
      sessionStorage.setItem(`arena:${place}`, JSON.stringify({ name, session, clientId }));
      return described;
    },
  });
  relay.on("state", told);
  await relay.connect();
  const room = await relay.join(`game/${place}`, { presence: { name }, history: false, state: true });
  return new Line(relay, room);
}

/** An id that no other tab of this browser uses. @param {string | undefined} kept @returns {Promise<string>} */
async function claim(kept) {
  const fresh = () => `arena-${Math.random().toString(36).slice(2)}${Math.random().toString(36).slice(2)}`;
  const id = kept ?? fresh();
  if (!navigator.locks) return kept ? fresh() : id;
  const isMine = await new Promise((told) => {
    void navigator.locks.request(id, { ifAvailable: true }, (lock) => {
      told(lock !== null);
      // Held until the page is gone.
      return lock && new Promise(() => {});
    });
  });
  return isMine ? id : claim(undefined);
}
