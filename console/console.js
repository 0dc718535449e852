// The operator's console: signing in, and which view is shown. The address after # says which, so that it can be kept and
// handed on.

import { find } from "/site/dom.js";
import { Api, Refused } from "./api.js";
import { overview } from "./overview.js";
import { sessions } from "./sessions.js";
import { topics } from "./topics.js";
import { trace } from "./trace.js";

/**
 * What every view gets.
 * @typedef {object} Context
 * @property {Api} api
 * @property {any} about what `/admin` says of the server
 * @property {(text: string) => void} problem shows what is wrong; nothing: all is well again
 * @property {(error: unknown) => boolean} refused whether it is an answer of the server about what was asked for
 * @property {<T>(work: () => T | Promise<T>) => (event?: Event) => Promise<void>} guarded the same, with what fails shown
 * @property {(hash: string) => void} go to another address
 */

/** @typedef {{ show: (parts: string[]) => void, hide: () => void, end: () => void }} View */

const VIEWS = { overview, sessions, topics, trace };

/** @type {Record<string, View>} */ let views = {};
let current = "";

/** @param {string} text */
function problem(text) {
  const banner = find("banner");
  if (banner.textContent !== text) banner.textContent = text;
}

/** @param {unknown} error */
const refused = (error) => error instanceof Refused && [400, 404, 409].includes(error.status);

/** @type {Context["guarded"]} */
const guarded = (work) => async (event) => {
  event?.preventDefault();
  try {
    await work();
  } catch (error) {
    problem(/** @type {Error} */ (error).message);
    // Anything else is a mistake of the page's.
    if (!(error instanceof Refused)) throw error;
  }
};

/** Shows what the address says. */
function route() {
  const [name, ...parts] = location.hash.slice(1).split("/").map(decodeURIComponent);
  const wanted = name in views ? name : "overview";
  if (current !== wanted) views[current]?.hide();
  current = wanted;
  for (const view of Object.keys(views)) find(view).hidden = view !== wanted;
  for (const link of document.querySelectorAll(".bar nav a")) {
    if (link.getAttribute("href") === `#${wanted}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${find(`${wanted}-title`).textContent} · Fanfare console`;
  views[wanted].show(parts);
}

/** @param {string} hash */
function go(hash) {
  if (location.hash === `#${hash}`) route();
  else location.hash = hash;
}

/** @param {string} accessKey @param {string} secretKey */
async function signIn(accessKey, secretKey) {
  if (!crypto.subtle) {
    throw new Error("This browser offers no cryptography here: open the console by HTTPS, or by http://localhost (for instance through ssh -L 8080:localhost:8080).");
  }
  const settings = await (await fetch("/console/settings.json")).json();
  const api = new Api({ accessKey, secretKey }, settings.region);
  const about = await api.get("/admin");
  /** @type {Context} */
  const context = { api, about, problem, refused, guarded, go };
  find("server").textContent = `${about.env} · ${about.region} · ${about.version}`;
  find("door").hidden = true;
  find("app").hidden = false;
  views = Object.fromEntries(Object.entries(VIEWS).map(([name, view]) => [name, view(context)]));
  window.addEventListener("hashchange", route);
  route();
}

find("sign-in").onsubmit = async (/** @type {Event} */ event) => {
  event.preventDefault();
  const complaint = find("sign-in-problem");
  complaint.textContent = "";
  try {
    await signIn(find("access-key").value.trim(), find("secret-key").value);
  } catch (error) {
    complaint.textContent =
      error instanceof Refused && error.status === 403 ? `These keys are not the operator's: ${error.message}` : /** @type {Error} */ (error).message;
  }
};

// The keys are in this page's memory only: loading it again forgets them.
find("sign-out").onclick = () => location.reload();
