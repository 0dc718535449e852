// WebSockets that a check can break underneath the client that opened them, as a network does.

/** @type {WebSocket | undefined} */ let newest;

// Before any client is loaded: some look the constructor up only once.
globalThis.WebSocket = class extends WebSocket {
  /** @param {string | URL} url @param {string | string[]} [protocols] */
  constructor(url, protocols) {
    super(url, protocols);
    newest = this;
  }
};

/** What breaks the connection that was opened last. */
export function breaker() {
  const socket = newest;
  return () => socket?.close();
}
