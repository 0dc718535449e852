#!/usr/bin/env node
// Opens Fanfare's envelopes: the encrypted text that a session's queue or topic delivers.
//
// In a page or a program, with WebCrypto and nothing else:
//
//     import { openEnvelope } from './decrypt.mjs';
//     const message = JSON.parse(await openEnvelope(session.aesKey, body));
//
// (browsers offer WebCrypto on https:// and localhost only). On the command line, with Node 20 or later:
//
//     decrypt.mjs --key BASE64 [--session-id ID] ENVELOPE
//     some-command | decrypt.mjs --key BASE64 -          # one envelope per line
//
// The key is `aesKey` of the session description; FANFARE_AES_KEY stands in for --key.

/**
 * Opens an envelope of either format; answers the message's JSON text.
 * A client that asked for v2 should call openV2 instead, and so refuse v1.
 */
export function openEnvelope(aesKey, envelope, sessionId) {
  if (!envelope.startsWith('v2|')) return openV1(aesKey, envelope);
  if (sessionId === undefined) return Promise.reject(new Error('a v2 envelope needs the session id'));
  return openV2(aesKey, envelope, sessionId);
}

/** Opens `counter|base64`, AES-256-CTR. There is no integrity: a wrong key gives other text, or an error if it is not UTF-8. */
export async function openV1(aesKey, envelope) {
  const [, counter, sealed] = /^(0|[1-9][0-9]{0,15})\|([A-Za-z0-9+/]*=*)$/.exec(envelope) ?? [];
  if (counter === undefined || !Number.isSafeInteger(Number(counter))) {
    throw new Error('not a v1 envelope (counter|base64)');
  }
  const key = await crypto.subtle.importKey('raw', keyBytes(aesKey), 'AES-CTR', false, ['decrypt']);
  const firstBlock = new Uint8Array(16);
  new DataView(firstBlock.buffer).setBigUint64(8, BigInt(counter));
  // length: all 128 bits count, so that a carry runs through the whole block.
  const algorithm = { name: 'AES-CTR', counter: firstBlock, length: 128 };
  return utf8(await crypto.subtle.decrypt(algorithm, key, fromBase64(sealed)));
}

/**
 * Opens `v2|sequence|base64`, AES-256-GCM, of a session created with `envelope=gcm`.
 * Rejects unless exactly this session sealed exactly this envelope.
 */
export async function openV2(aesKey, envelope, sessionId) {
  const [, sequence, sealed] = /^v2\|(0|[1-9][0-9]{0,15})\|([A-Za-z0-9+/]*=*)$/.exec(envelope) ?? [];
  if (sequence === undefined || !Number.isSafeInteger(Number(sequence))) {
    throw new Error('not a v2 envelope (v2|sequence|base64)');
  }
  const encode = (text) => new TextEncoder().encode(text);
  const secret = await crypto.subtle.importKey('raw', keyBytes(aesKey), 'HKDF', false, ['deriveKey']);
  const derivation = { name: 'HKDF', hash: 'SHA-256', salt: encode(sessionId), info: encode('fanfare-envelope/2') };
  const key = await crypto.subtle.deriveKey(derivation, secret, { name: 'AES-GCM', length: 256 }, false, ['decrypt']);

  const iv = new Uint8Array(12);
  new DataView(iv.buffer).setBigUint64(4, BigInt(sequence));
  const context = [];
  for (const part of ['v2', sessionId, sequence].map(encode)) {
    const length = new DataView(new ArrayBuffer(4));
    length.setUint32(0, part.length);
    context.push(...new Uint8Array(length.buffer), ...part);
  }
  const algorithm = { name: 'AES-GCM', iv, additionalData: new Uint8Array(context), tagLength: 128 };
  try {
    return utf8(await crypto.subtle.decrypt(algorithm, key, fromBase64(sealed)));
  } catch {
    throw new Error('not sealed by this session, or altered since');
  }
}

function keyBytes(aesKey) {
  const bytes = fromBase64(aesKey);
  if (bytes.length !== 32) throw new Error('the key must be the base64 of 32 bytes');
  return bytes;
}

function fromBase64(text) {
  const binary = atob(text);
  // atob also takes text without padding and stray bits in the last character: one spelling is enough.
  if (btoa(binary) !== text) throw new Error('not canonical base64');
  return Uint8Array.from(binary, (character) => character.charCodeAt(0));
}

function utf8(bytes) {
  return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
}

function keyProblem(aesKey) {
  if (!aesKey) return "give the session's aesKey with --key or FANFARE_AES_KEY";
  try {
    keyBytes(aesKey);
    return null;
  } catch {
    return 'the key must be the base64 of 32 bytes';
  }
}

async function main(process) {
  const { parseArgs } = await import('node:util');
  const { createInterface } = await import('node:readline');
  const usage = 'usage: decrypt.mjs --key BASE64 [--session-id ID] ENVELOPE|-';
  const options = { key: { type: 'string' }, 'session-id': { type: 'string' }, help: { type: 'boolean', short: 'h' } };
  let parsed;
  try {
    parsed = parseArgs({ options, allowPositionals: true });
  } catch (error) {
    console.error(`${usage}\ndecrypt.mjs: error: ${error.message}`);
    return 2;
  }
  const { values, positionals } = parsed;
  if (values.help) {
    console.log(usage);
    return 0;
  }
  const key = values.key ?? process.env.FANFARE_AES_KEY;
  const problem = positionals.length !== 1 ? 'give one envelope, or - for standard input' : keyProblem(key);
  if (problem) {
    console.error(`${usage}\ndecrypt.mjs: error: ${problem}`);
    return 2;
  }
  const lines = positionals[0] === '-' ? createInterface({ input: process.stdin }) : positionals;
  let failed = false;
  for await (const line of lines) {
    try {
      console.log(await openEnvelope(key, line.trim(), values['session-id']));
    } catch (error) {
      console.error(`decrypt.mjs: ${error.message}`);
      failed = true;
    }
  }
  return failed ? 1 : 0;
}

// Only as a program under Node; a browser, or an import, gets the functions alone.
if (globalThis.process?.argv?.[1] !== undefined) {
  const { realpathSync } = await import('node:fs');
  const { pathToFileURL } = await import('node:url');
  const script = globalThis.process.argv[1];
  let url;
  try {
    url = pathToFileURL(realpathSync(script)).href;
  } catch {
    // Run with --eval or from a bundle: there is no such file, so this is an import.
  }
  if (import.meta.url === url) globalThis.process.exitCode = await main(globalThis.process);
}
