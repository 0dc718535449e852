/** Envelopes: the encrypted texts that a session's queue and topic deliver. */

/** @param {string} text */
const bytes = (text) => new TextEncoder().encode(text);

/** @param {string} text */
function fromBase64(text) {
  const binary = atob(text);
  // atob also takes text without padding and stray bits at the end: one spelling is enough.
  if (btoa(binary) !== text) throw new Error("not canonical base64");
  return Uint8Array.from(binary, (character) => character.charCodeAt(0));
}

/**
 * Opens an envelope of either form; answers the JSON text inside. A text that is no envelope, or was not sealed by this
 * session, is refused; the older form (`counter|base64`) has no integrity, so a change to it may go unseen.
 * @param {string} envelope
 * @param {{ aesKey: string, sessionId: string }} session
 */
export async function openEnvelope(envelope, { aesKey, sessionId }) {
  const [, v2, number, sealed] = /^(v2\|)?(0|[1-9]\d{0,15})\|([A-Za-z0-9+/]*=*)$/.exec(envelope) ?? [];
  if (number === undefined || !Number.isSafeInteger(Number(number))) throw new Error("not an envelope");
  const secret = fromBase64(aesKey);
  if (secret.length !== 32) throw new Error("the key must be the base64 of 32 bytes");
  const opened = await (v2 ? openV2(secret, sessionId, number, fromBase64(sealed)) : openV1(secret, number, fromBase64(sealed)));
  return new TextDecoder("utf-8", { fatal: true }).decode(opened);
}

/** @param {Uint8Array<ArrayBuffer>} secret @param {string} counter @param {Uint8Array<ArrayBuffer>} sealed */
async function openV1(secret, counter, sealed) {
  const key = await crypto.subtle.importKey("raw", secret, "AES-CTR", false, ["decrypt"]);
  const block = new Uint8Array(16);
  new DataView(block.buffer).setBigUint64(8, BigInt(counter));
  // All 128 bits count, so that a carry runs through the whole block.
  return crypto.subtle.decrypt({ name: "AES-CTR", counter: block, length: 128 }, key, sealed);
}

/** @param {Uint8Array<ArrayBuffer>} secret @param {string} session @param {string} sequence @param {Uint8Array<ArrayBuffer>} sealed */
async function openV2(secret, session, sequence, sealed) {
  const base = await crypto.subtle.importKey("raw", secret, "HKDF", false, ["deriveKey"]);
  const derivation = { name: "HKDF", hash: "SHA-256", salt: bytes(session), info: bytes("fanfare-envelope/2") };
  const key = await crypto.subtle.deriveKey(derivation, base, { name: "AES-GCM", length: 256 }, false, ["decrypt"]);
  const iv = new Uint8Array(12);
  new DataView(iv.buffer).setBigUint64(4, BigInt(sequence));
  const parts = ["v2", session, sequence].map(bytes).flatMap((part) => [0, 0, part.length >> 8, part.length & 255, ...part]);
  return crypto.subtle.decrypt({ name: "AES-GCM", iv, additionalData: new Uint8Array(parts) }, key, sealed);
}
