/** When to try again. */

const LEAST_MS = 500;
const MOST_MS = 20_000;

/**
 * How long to wait before the next try: anything between half a second and a bound that doubles up to 20 s. All of it is
 * chance, so that clients that were cut off together do not come back together.
 * @param {number} attempt 0 for the first
 * @param {() => number} [random]
 */
export function backoff(attempt, random = Math.random) {
  const bound = Math.min(MOST_MS, LEAST_MS * 2 ** Math.min(attempt + 1, 10));
  return Math.round(LEAST_MS + random() * (bound - LEAST_MS));
}

/** A wait that ends early when the network is back, when somebody looks at the page again, or by `wake`. */
export class Pause {
  /** @type {() => void} */
  #wake = () => {};

  /** Ends the wait, if there is one. */
  wake() {
    this.#wake();
  }

  /** @param {number} ms */
  wait(ms) {
    return new Promise((/** @type {(value?: unknown) => void} */ done) => {
      const timer = setTimeout(done, ms);
      this.#wake = () => {
        clearTimeout(timer);
        done();
      };
    });
  }
}

/**
 * Calls `back` when the network is back or the page is looked at again; answers what ends that.
 * @param {() => void} back
 */
export function onReturn(back) {
  const { document } = globalThis;
  if (!document) return () => {};
  const seen = () => document.visibilityState === "visible" && back();
  globalThis.addEventListener("online", back);
  document.addEventListener("visibilitychange", seen);
  return () => {
    globalThis.removeEventListener("online", back);
    document.removeEventListener("visibilitychange", seen);
  };
}
