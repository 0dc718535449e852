// Requests to the server, signed with the operator's keys. The keys are here and nowhere else.

import { signHeaders } from "/console/sign.js";

/** @typedef {{ accessKey: string, secretKey: string }} Keys */

/** What the server refuses; with status 0: it does not answer. */
export class Refused extends Error {
  /** @param {number} status @param {string} message @param {string} [code] */
  constructor(status, message, code) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

/** A path and a query that are written in one way only, as signatures want it. @param {string} path @param {Record<string, unknown>} [query] */
export function address(path, query = {}) {
  const pairs = Object.entries(query).filter(([, value]) => value !== undefined && value !== "");
  const text = pairs.map((pair) => pair.map((part) => encodeURIComponent(String(part))).join("=")).join("&");
  return text ? `${path}?${text}` : path;
}

export class Api {
  /** @param {Keys} keys @param {string} region */
  constructor(keys, region) {
    this.keys = keys;
    this.region = region;
  }

  /** @param {string} path @param {Record<string, unknown>} [query] @param {string} [service] */
  get(path, query, service) {
    return this.ask("GET", address(path, query), undefined, service);
  }

  /** @param {string} path @param {unknown} body */
  post(path, body) {
    return this.ask("POST", path, JSON.stringify(body));
  }

  /** @param {string} method @param {string} path @param {string} [body] @param {string} [service] @returns {Promise<any>} */
  async ask(method, path, body, service = "execute-api") {
    const url = new URL(path, location.origin).href;
    const headers = await signHeaders({ method, url, body, keys: this.keys, region: this.region, service });
    const answer = await fetch(url, { method, headers, body, cache: "no-store" }).catch(() => {
      throw new Refused(0, "The server does not answer.");
    });
    const told = await answer.json().catch(() => ({}));
    if (!answer.ok) throw new Refused(answer.status, told.message ?? `HTTP ${answer.status}`, told.code);
    return told;
  }
}
