/** AWS Signature Version 4 by WebCrypto: URLs for MQTT over WebSockets, headers for HTTP. */

/** @typedef {{ accessKey: string, secretKey: string, sessionToken?: string }} Keys */

const ALGORITHM = "AWS4-HMAC-SHA256";

/** @param {string} text */
const bytes = (text) => new TextEncoder().encode(text);

/** @param {ArrayBuffer} buffer */
const hex = (buffer) => [...new Uint8Array(buffer)].map((byte) => byte.toString(16).padStart(2, "0")).join("");

/** @param {string} text */
const sha256 = async (text) => hex(await crypto.subtle.digest("SHA-256", bytes(text)));

/** @param {string} text */
export const encode = (text) =>
  encodeURIComponent(text).replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);

/** @param {ArrayBuffer | Uint8Array<ArrayBuffer>} key @param {string} text */
async function hmac(key, text) {
  const imported = await crypto.subtle.importKey("raw", key, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  return crypto.subtle.sign("HMAC", imported, bytes(text));
}

/**
 * The signature of a canonical request.
 * @param {Keys} keys @param {string[]} scope @param {string} stamp @param {string} canonical
 */
async function signature(keys, scope, stamp, canonical) {
  const text = [ALGORITHM, stamp, scope.join("/"), await sha256(canonical)].join("\n");
  /** @type {ArrayBuffer | Uint8Array<ArrayBuffer>} */
  let key = bytes(`AWS4${keys.secretKey}`);
  for (const part of scope) key = await hmac(key, part);
  return hex(await hmac(key, text));
}

/** @param {number} now @param {string} region @param {string} service */
function scopeOf(now, region, service) {
  const stamp = new Date(now).toISOString().replace(/[-:]|\.\d+/g, "");
  return { stamp, scope: [stamp.slice(0, 8), region, service, "aws4_request"] };
}

/**
 * A signed URL for a WebSocket. As AWS IoT wants it, the session token stands behind the signature and is not signed.
 * @param {string} url `wss://host/mqtt`
 * @param {Keys} keys
 * @param {{ region: string, now?: number, service?: string }} options
 */
export async function presign(url, keys, { region, now = Date.now(), service = "iotdevicegateway" }) {
  const { host, pathname } = new URL(url);
  const { stamp, scope } = scopeOf(now, region, service);
  const query = [
    `X-Amz-Algorithm=${ALGORITHM}`,
    `X-Amz-Credential=${encode([keys.accessKey, ...scope].join("/"))}`,
    `X-Amz-Date=${stamp}`,
    "X-Amz-SignedHeaders=host",
  ].join("&");
  const canonical = ["GET", pathname, query, `host:${host}`, "", "host", await sha256("")].join("\n");
  const token = keys.sessionToken ? `&X-Amz-Security-Token=${encode(keys.sessionToken)}` : "";
  return `${url}?${query}&X-Amz-Signature=${await signature(keys, scope, stamp, canonical)}${token}`;
}

/**
 * The headers of a signed request.
 * @param {{ method: string, url: string, body?: string, headers?: Record<string, string>, keys: Keys, region: string,
 *   service: string, now?: number }} request
 */
export async function signHeaders({ method, url, body = "", headers = {}, keys, region, service, now = Date.now() }) {
  const { host, pathname, searchParams } = new URL(url);
  const { stamp, scope } = scopeOf(now, region, service);
  /** @type {Record<string, string>} */
  const signed = { ...headers, host, "x-amz-date": stamp };
  if (keys.sessionToken) signed["x-amz-security-token"] = keys.sessionToken;
  const names = Object.keys(signed).sort();
  const canonical = [
    method,
    pathname.split("/").map(encode).join("/"),
    [...searchParams].map((pair) => pair.map(encode).join("=")).sort().join("&"),
    ...names.map((name) => `${name}:${signed[name].trim()}`),
    "",
    names.join(";"),
    await sha256(body),
  ].join("\n");
  const credential = [keys.accessKey, ...scope].join("/");
  // The browser sets Host by itself, and lets nobody else do it.
  delete signed.host;
  const proof = await signature(keys, scope, stamp, canonical);
  signed.authorization = `${ALGORITHM} Credential=${credential}, SignedHeaders=${names.join(";")}, Signature=${proof}`;
  return signed;
}
