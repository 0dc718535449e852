// The picture: the floor, notes, players, pushes, sparks.

import { HEIGHT, NOTES, PUSH_REACH, RADIUS, WIDTH, noteAt } from "./world.js";

const SPARKS = 120;
/** Smaller than this nobody recognises anything. */
const LEAST_SCALE = 0.48;

/** Where the arena begins on the screen: in the middle if it fits, else so that the focus is. @param {number} screen @param {number} all @param {number} focus */
const inView = (screen, all, focus) => (all <= screen ? (screen - all) / 2 : Math.max(screen - all, Math.min(0, screen / 2 - focus)));

/** The colour of a seat: neighbours in number are far apart in colour. @param {number} seat */
export const colour = (seat) => `hsl(${(seat * 137.5 + 40) % 360} 85% 66%)`;

/** @typedef {{ x: number, y: number, name: string, seat: number, own: boolean, ghost?: boolean }} Figure */

/** Draws on a canvas of any size. */
export class Picture {
  #context;
  #canvas;
  /** @type {{ x: number, y: number, vx: number, vy: number, until: number, colour: string }[]} */
  #sparks = [];
  /** @type {{ x: number, y: number, at: number, colour: string }[]} */
  #rings = [];
  #still = matchMedia("(prefers-reduced-motion: reduce)");

  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    this.#canvas = canvas;
    this.#context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d", { alpha: false }));
  }

  /** @param {number} x @param {number} y @param {string} colour @param {number} [count] */
  burst(x, y, colour, count = 12) {
    if (this.#still.matches) return;
    for (let at = 0; at < count && this.#sparks.length < SPARKS; at++) {
      const [angle, speed] = [Math.random() * 2 * Math.PI, 60 + Math.random() * 240];
      this.#sparks.push({ x, y, vx: Math.cos(angle) * speed, vy: Math.sin(angle) * speed, until: performance.now() + 500, colour });
    }
  }

  /** @param {number} x @param {number} y @param {string} colour */
  ring(x, y, colour) {
    if (this.#rings.length < SPARKS) this.#rings.push({ x, y, at: performance.now(), colour });
  }

  /**
   * @param {number} now @param {number} seconds @param {import("./world.js").Notes} notes @param {Figure[]} figures
   * @param {{ x: number, y: number }} focus who is in the middle where not all of the arena fits
   */
  draw(now, seconds, notes, figures, focus) {
    const { clientWidth, clientHeight } = this.#canvas;
    const dense = Math.min(devicePixelRatio, 2);
    const [width, height] = [Math.round(clientWidth * dense), Math.round(clientHeight * dense)];
    if (this.#canvas.width !== width || this.#canvas.height !== height) Object.assign(this.#canvas, { width, height });
    // On a phone held upright all of it would be too small: then the picture goes along.
    const scale = Math.max(Math.min(width / WIDTH, height / HEIGHT), LEAST_SCALE * dense);
    const left = inView(width, WIDTH * scale, focus.x * scale);
    const top = inView(height, HEIGHT * scale, focus.y * scale);
    const c = this.#context;
    c.setTransform(1, 0, 0, 1, 0, 0);
    c.fillStyle = "#0e0922";
    c.fillRect(0, 0, width, height);
    c.setTransform(scale, 0, 0, scale, left, top);
    this.#floor(c);
    for (let place = 0; place < NOTES; place++) this.#note(c, now, place, notes.lives[place]);
    this.#effects(c, now, seconds);
    for (const figure of figures) this.#figure(c, figure);
  }

  /** @param {CanvasRenderingContext2D} c */
  #floor(c) {
    const shade = c.createRadialGradient(WIDTH / 2, HEIGHT / 2, 100, WIDTH / 2, HEIGHT / 2, WIDTH * 0.6);
    shade.addColorStop(0, "#33236f");
    shade.addColorStop(1, "#1b123f");
    c.fillStyle = shade;
    c.beginPath();
    c.roundRect(0, 0, WIDTH, HEIGHT, 34);
    c.fill();
    c.strokeStyle = "rgb(255 255 255 / 7%)";
    c.lineWidth = 2;
    c.beginPath();
    for (let x = 100; x < WIDTH; x += 100) c.moveTo(x, 0), c.lineTo(x, HEIGHT);
    for (let y = 100; y < HEIGHT; y += 100) c.moveTo(0, y), c.lineTo(WIDTH, y);
    c.stroke();
  }

  /** @param {CanvasRenderingContext2D} c @param {number} now @param {number} place @param {number} life */
  #note(c, now, place, life) {
    const { x, y } = noteAt(place, life);
    const bob = this.#still.matches ? 0 : Math.sin(now / 300 + place) * 4;
    c.fillStyle = "#ffd166";
    c.strokeStyle = "#ffd166";
    c.lineWidth = 5;
    c.beginPath();
    c.ellipse(x - 5, y + 10 + bob, 11, 8, -0.3, 0, 2 * Math.PI);
    c.fill();
    c.beginPath();
    c.moveTo(x + 4, y + 8 + bob);
    c.lineTo(x + 4, y - 18 + bob);
    c.quadraticCurveTo(x + 10, y - 10 + bob, x + 17, y - 8 + bob);
    c.stroke();
  }

  /** @param {CanvasRenderingContext2D} c @param {number} now @param {number} seconds */
  #effects(c, now, seconds) {
    this.#rings = this.#rings.filter(({ at }) => now - at < 350);
    for (const { x, y, at, colour } of this.#rings) {
      const part = (now - at) / 350;
      c.globalAlpha = 1 - part;
      c.strokeStyle = colour;
      c.lineWidth = 10 * (1 - part) + 2;
      c.beginPath();
      c.arc(x, y, RADIUS + (PUSH_REACH - RADIUS) * part, 0, 2 * Math.PI);
      c.stroke();
    }
    this.#sparks = this.#sparks.filter(({ until }) => now < until);
    for (const spark of this.#sparks) {
      spark.x += spark.vx * seconds;
      spark.y += spark.vy * seconds;
      c.globalAlpha = (spark.until - now) / 500;
      c.fillStyle = spark.colour;
      c.fillRect(spark.x - 4, spark.y - 4, 8, 8);
    }
    c.globalAlpha = 1;
  }

  /** @param {CanvasRenderingContext2D} c @param {Figure} figure */
  #figure(c, { x, y, name, seat, own, ghost }) {
    c.globalAlpha = ghost ? 0.45 : 1;
    c.beginPath();
    c.arc(x, y, RADIUS, 0, 2 * Math.PI);
    if (ghost) {
      c.setLineDash([8, 8]);
      c.strokeStyle = "#ffffff";
      c.lineWidth = 4;
      c.stroke();
      c.setLineDash([]);
    } else {
      c.fillStyle = colour(seat);
      c.fill();
      c.lineWidth = own ? 6 : 3;
      c.strokeStyle = own ? "#ffffff" : "rgb(0 0 0 / 45%)";
      c.stroke();
      c.fillStyle = "#170f33";
      for (const side of [-10, 10]) {
        c.beginPath();
        c.arc(x + side, y - 5, 5, 0, 2 * Math.PI);
        c.fill();
      }
      c.font = "600 24px system-ui, sans-serif";
      c.textAlign = "center";
      c.fillStyle = "#ffffff";
      c.fillText(name, x, y - RADIUS - 12);
    }
    c.globalAlpha = 1;
  }
}
