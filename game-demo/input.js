// Keys, and a thumb on a stick: where the player steers, and when it pushes.

const KEYS = new Map([
  ["ArrowUp", [0, -1]], ["KeyW", [0, -1]], ["ArrowDown", [0, 1]], ["KeyS", [0, 1]],
  ["ArrowLeft", [-1, 0]], ["KeyA", [-1, 0]], ["ArrowRight", [1, 0]], ["KeyD", [1, 0]],
]);

/** What the player wants. */
export class Input {
  x = 0;
  y = 0;
  /** @type {Set<string>} */
  #held = new Set();

  /** @param {any} arena @param {any} stick @param {any} knob @param {any} button @param {() => void} push */
  constructor(arena, stick, knob, button, push) {
    arena.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
      if (event.code === "Space") push();
      else if (!KEYS.has(event.code)) return;
      event.preventDefault();
      this.#held.add(event.code);
      this.#keys();
    });
    arena.addEventListener("keyup", (/** @type {KeyboardEvent} */ event) => {
      this.#held.delete(event.code);
      this.#keys();
    });
    // Keys that are let go elsewhere are not told here.
    arena.addEventListener("blur", () => {
      this.#held.clear();
      this.#keys();
    });
    button.addEventListener("pointerdown", push);
    const steer = (/** @type {PointerEvent} */ event) => {
      const { left, top, width, height } = stick.getBoundingClientRect();
      const [dx, dy] = [(event.clientX - left - width / 2) / (width / 2), (event.clientY - top - height / 2) / (height / 2)];
      const length = Math.max(1, Math.hypot(dx, dy));
      [this.x, this.y] = [dx / length, dy / length];
      knob.style.transform = `translate(${(this.x * width) / 3}px, ${(this.y * height) / 3}px)`;
    };
    const rest = () => {
      [this.x, this.y] = [0, 0];
      knob.style.transform = "";
    };
    stick.addEventListener("pointerdown", (/** @type {PointerEvent} */ event) => {
      stick.setPointerCapture(event.pointerId);
      steer(event);
    });
    stick.addEventListener("pointermove", (/** @type {PointerEvent} */ event) => event.buttons && steer(event));
    for (const end of ["pointerup", "pointercancel"]) stick.addEventListener(end, rest);
  }

  #keys() {
    [this.x, this.y] = [0, 0];
    for (const code of this.#held) {
      const [x, y] = KEYS.get(code) ?? [0, 0];
      this.x += x;
      this.y += y;
    }
  }
}
