// Checks: each passes, fails with the reason in words, or is not tried because there is no use in it.

/** What a client may take for one thing, and what a whole check may. */
const PATIENCE_MS = 8000;
const CHECK_MS = 30_000;

/**
 * @typedef {object} Check
 * @property {string} what
 * @property {() => Promise<string | void>} run fails by throwing; may answer a remark
 */

/**
 * Checks of one client. If the first fails, the others are not tried.
 * @typedef {object} Group
 * @property {string} client
 * @property {string} about how the client is used here
 * @property {Check[]} checks
 */

/** @typedef {{ state: "waiting" | "running" | "passed" | "failed" | "untried", ms?: number, remark?: string }} Verdict */

/**
 * Runs a group, one check after the other, and tells of each as it goes.
 * @param {Group} group
 * @param {(check: Check, verdict: Verdict) => void} tell
 */
export async function run(group, tell) {
  let hopeless = false;
  for (const check of group.checks) {
    if (hopeless) {
      tell(check, { state: "untried", remark: `Not tried: “${group.checks[0].what}” failed.` });
      continue;
    }
    tell(check, { state: "running" });
    const began = performance.now();
    const ms = () => performance.now() - began;
    try {
      const remark = (await within(check.run(), "It did not end", CHECK_MS)) ?? "";
      tell(check, { state: "passed", ms: ms(), remark });
    } catch (error) {
      tell(check, { state: "failed", ms: ms(), remark: words(error) });
      hopeless = check === group.checks[0];
    }
  }
}

/** Fails when it takes too long. @template T @param {Promise<T>} work @param {string} what has not happened then @param {number} [ms] @returns {Promise<T>} */
export function within(work, what, ms = PATIENCE_MS) {
  /** @type {ReturnType<typeof setTimeout>} */ let timer;
  const late = new Promise((_, failed) => {
    timer = setTimeout(() => failed(new Error(`${what} within ${ms / 1000} s.`)), ms);
  });
  return /** @type {Promise<T>} */ (Promise.race([work, late])).finally(() => clearTimeout(timer));
}

/** Why something failed. Clients throw all sorts of things. @param {any} error */
export function words(error) {
  const text = String(error?.message || error?.name || error);
  const code = error?.code ?? error?.reasonCode;
  return typeof code === "number" && code ? `${text} (reason code 0x${code.toString(16)})` : text;
}

/** Fails with both if they differ. @param {unknown} is @param {unknown} expected @param {string} what */
export function same(is, expected, what) {
  const [one, other] = [is, expected].map((value) => JSON.stringify(value));
  if (one !== other) throw new Error(`${what} is ${one} and should be ${other}.`);
}
