// The page's backend: hands over a session, and posts a message to its user. One's own is in examples/.

/** @typedef {{ accessKey: string, secretKey: string, sessionToken: string, region: string, sessionId: string, sqsUrl: string, topic: string, aesKey: string, connectToken: string }} Session */

/** Nobody else has this name: what is posted to it reaches this page alone. */
const NAME = `compat ${Math.random().toString(36).slice(2, 10)}`;

/** @type {Session | undefined} */ let session;

/** @param {string} path @param {object} body */
async function post(path, body) {
  const answer = await fetch(path, { method: "POST", body: JSON.stringify(body) });
  const told = await answer.json();
  if (!answer.ok) throw new Error(`The backend answered ${answer.status}: ${told.message}`);
  return told;
}

/** Signs in, with the same session each time. */
export async function signIn() {
  const told = await post("/demo/session", { name: NAME, session: session?.sessionId });
  session = /** @type {Session} */ (told.session);
  for (const key of /** @type {const} */ (["accessKey", "secretKey", "sessionToken", "sqsUrl", "topic", "aesKey", "connectToken"])) {
    if (!session[key]) throw new Error(`The session has no ${key}.`);
  }
}

/** The session that signing in brought. */
export function current() {
  if (!session) throw new Error("There is no session.");
  return session;
}

/** Its keys in the form that AWS's SDKs take. */
export function credentials() {
  const { accessKey: accessKeyId, secretKey: secretAccessKey, sessionToken } = current();
  return { accessKeyId, secretAccessKey, sessionToken };
}

/** Posts to the session's user, as a backend does. @param {string} text */
export async function notify(text) {
  const { sessions } = await post("/demo/notify", { session: current().sessionId, to: NAME, text });
  if (sessions !== 1) throw new Error(`The message went to ${sessions} sessions, not to one.`);
}
