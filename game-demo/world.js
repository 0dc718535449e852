// The arena's rules, without network and screen: how things move, where notes lie, where others are seen.

export const WIDTH = 1600;
export const HEIGHT = 900;
export const RADIUS = 30;
export const NOTES = 14;
/** Others are shown as they were this long ago: then there mostly is a position before and one after. */
export const BEHIND_MS = 100;
export const PUSH_REACH = 210;
export const PUSH_EVERY_MS = 900;

const SPEED = 520;
const ANSWER = 9;
const NOTE_REACH = RADIUS + 16;
const KEPT = 40;

/** @typedef {{ x: number, y: number, vx: number, vy: number }} Body */

/** @param {number} value @param {number} least @param {number} most */
export const clamp = (value, least, most) => Math.max(least, Math.min(most, value));

/**
 * Moves a body towards where its player steers, and keeps it inside.
 * @param {Body} body @param {number} steerX -1 to 1 @param {number} steerY @param {number} seconds
 */
export function move(body, steerX, steerY, seconds) {
  const length = Math.max(1, Math.hypot(steerX, steerY));
  const ease = 1 - Math.exp(-ANSWER * seconds);
  body.vx += ((steerX / length) * SPEED - body.vx) * ease;
  body.vy += ((steerY / length) * SPEED - body.vy) * ease;
  body.x += body.vx * seconds;
  body.y += body.vy * seconds;
  for (const [at, by, most] of /** @type {const} */ ([["x", "vx", WIDTH], ["y", "vy", HEIGHT]])) {
    const inside = clamp(body[at], RADIUS, most - RADIUS);
    if (inside !== body[at]) body[by] *= -0.5;
    body[at] = inside;
  }
}

/** A push from there moves the body away; answers whether it was near enough. @param {Body} body @param {number} x @param {number} y */
export function pushed(body, x, y) {
  const [dx, dy] = [body.x - x, body.y - y];
  const distance = Math.hypot(dx, dy);
  if (distance > PUSH_REACH) return false;
  const strength = 1500 * (1 - distance / (PUSH_REACH * 1.3));
  body.vx += (dx / (distance || 1)) * strength;
  body.vy += (dy / (distance || 1)) * strength;
  return true;
}

/** Where the note of a place lies in its n-th life: the same for everybody, without anybody saying so. @param {number} place @param {number} life */
export function noteAt(place, life) {
  let hash = (place + 1) * 0x9e3779b1 + (life + 1) * 0x85ebca6b;
  const next = () => {
    hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d);
    hash = Math.imul(hash ^ (hash >>> 12), 0x297a2d39);
    hash ^= hash >>> 15;
    return (hash >>> 0) / 2 ** 32;
  };
  return { x: 60 + next() * (WIDTH - 120), y: 60 + next() * (HEIGHT - 120) };
}

/** The notes, by the number of lives that each place has had. Everybody counts, and the highest count is right. */
export class Notes {
  lives = Array(NOTES).fill(0);

  /** Takes over what somebody else counted. @param {unknown} lives */
  merge(lives) {
    if (!Array.isArray(lives)) return;
    this.lives = this.lives.map((own, place) => (Number.isSafeInteger(lives[place]) ? Math.max(own, lives[place]) : own));
  }

  /** The places whose notes a body reaches; they have new notes afterwards. @param {Body} body */
  collect(body) {
    const reached = [];
    for (let place = 0; place < NOTES; place++) {
      const { x, y } = noteAt(place, this.lives[place]);
      if (Math.hypot(body.x - x, body.y - y) > NOTE_REACH) continue;
      this.lives[place]++;
      reached.push({ place, x, y });
    }
    return reached;
  }
}

/** What is known of somebody else's way, and where that one was a moment ago. */
export class Track {
  /** @type {{ at: number, x: number, y: number }[]} */
  #points = [];

  /** @param {number} at when it was there, in milliseconds of this page @param {number} x @param {number} y */
  add(at, x, y) {
    const last = this.#points.at(-1);
    if (last && at <= last.at) return;
    this.#points.push({ at, x, y });
    if (this.#points.length > KEPT) this.#points.shift();
  }

  /** The newest position. */
  get newest() {
    return this.#points.at(-1);
  }

  /** Between the positions before and after; a little beyond the newest if there is none after. @param {number} at */
  where(at) {
    const after = this.#points.findIndex((point) => point.at > at);
    if (after === 0) return this.#points[0];
    if (after === -1) return this.#points.at(-1);
    const [from, to] = [this.#points[after - 1], this.#points[after]];
    const part = (at - from.at) / (to.at - from.at);
    return { at, x: from.x + (to.x - from.x) * part, y: from.y + (to.y - from.y) * part };
  }
}

/** Where a bot steers: to the nearest note. @param {Body} body @param {Notes} notes */
export function botSteers(body, notes) {
  const all = notes.lives.map((life, place) => noteAt(place, life));
  const distance = (/** @type {{ x: number, y: number }} */ note) => Math.hypot(note.x - body.x, note.y - body.y);
  const nearest = all.reduce((best, note) => (distance(note) < distance(best) ? note : best));
  const length = distance(nearest) || 1;
  return { x: ((nearest.x - body.x) / length) * 0.6, y: ((nearest.y - body.y) / length) * 0.6 };
}
