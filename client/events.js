/** Named events. */

/** Listeners by event name. */
export class Emitter {
  /** @type {Map<string, Set<(detail: any) => void>>} */
  #listeners = new Map();

  /**
   * Calls `listener` with every event of this name; answers what ends that.
   * @param {string} name
   * @param {(detail: any) => void} listener
   */
  on(name, listener) {
    const all = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, all.add(listener));
    return () => void all.delete(listener);
  }

  /**
   * The next event of this name.
   * @param {string} name
   * @returns {Promise<any>}
   */
  once(name) {
    return new Promise((found) => {
      const off = this.on(name, (detail) => {
        off();
        found(detail);
      });
    });
  }

  /**
   * Tells everyone who listens. A listener that throws is the page's error, and keeps it from nobody else.
   * @param {string} name
   * @param {any} [detail]
   */
  emit(name, detail) {
    for (const listener of [...(this.#listeners.get(name) ?? [])]) {
      try {
        listener(detail);
      } catch (error) {
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }
}
