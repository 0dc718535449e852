// A Fanfare server for the JavaScript clients, and signed requests to its own routes.

import AWS from "aws-sdk";
import { freshId, freshName, OPERATOR, REGION } from "./server.js";

export * from "./server.js";

/** The JSON answer to a request signed as an operator's backend does it (SigV4, service execute-api). */
export async function call(url, method, path, body) {
  const target = new URL(path, url);
  const request = new AWS.HttpRequest(new AWS.Endpoint(target.href), REGION);
  request.method = method;
  request.body = body === undefined ? "" : JSON.stringify(body);
  request.headers = { host: target.host, "content-type": "application/json" };
  new AWS.Signers.V4(request, "execute-api").addAuthorization(OPERATOR, new Date());
  const { host, ...headers } = request.headers;
  const answer = await fetch(target, { method, body: request.body || undefined, headers });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`);
  return JSON.parse(text);
}

/** Creates a session; returns its description. */
export async function createSession(url, { account = freshId(), user = freshId(), query = "" } = {}) {
  return (await call(url, "GET", `/create/${account}/${freshName("s")}/${user}${query}`)).session;
}

/** A session's keys in the form that the SDKs take. */
export const keysOf = (session) => ({
  accessKeyId: session.accessKey,
  secretAccessKey: session.secretKey,
  sessionToken: session.sessionToken,
});

/** Opens a `{counter}|{base64}` envelope with WebCrypto, as a browser does. */
export async function openEnvelope(aesKey, envelope) {
  const [counter, text] = envelope.split("|");
  const block = Buffer.from(BigInt(counter).toString(16).padStart(32, "0"), "hex");
  const key = await crypto.subtle.importKey("raw", Buffer.from(aesKey, "base64"), "AES-CTR", false, ["decrypt"]);
  const algorithm = { name: "AES-CTR", counter: block, length: 128 };
  return Buffer.from(await crypto.subtle.decrypt(algorithm, key, Buffer.from(text, "base64"))).toString();
}
