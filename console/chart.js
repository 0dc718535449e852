// A graph of the last minutes: lines over time, with their present values, or those under the pointer, as text.

import { make } from "/site/dom.js";
import { clock, span } from "./format.js";

const SVG = "http://www.w3.org/2000/svg";
const [WIDTH, HEIGHT] = [300, 90];
/** How much is kept, and the least that is shown, in milliseconds. */
const SPAN_MS = 300_000;
const LEAST_MS = 60_000;

/** @typedef {{ at: number, values: (number | undefined)[] }} Point one value for each line; none where nothing was measured */

/** @param {string} name @param {Record<string, string | number>} attributes */
function draw(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value));
  return element;
}

export class Chart {
  /**
   * @param {string} title @param {string[]} lines @param {(value: number) => string} format
   * @param {(most: number) => number} [top] the top of the scale
   */
  constructor(title, lines, format, top = roundUp) {
    this.format = format;
    this.scale = top;
    this.span = LEAST_MS;
    /** @type {Point[]} */
    this.points = [];
    this.values = lines.map(() => make("span", { className: "value", textContent: "–" }));
    this.paths = lines.map((_, n) => draw("path", { class: `line line-${n}`, "vector-effect": "non-scaling-stroke" }));
    this.pointer = draw("line", { class: "pointer", y1: 0, y2: HEIGHT, visibility: "hidden" });
    this.svg = draw("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" });
    this.svg.append(draw("line", { class: "ground", x1: 0, x2: WIDTH, y1: HEIGHT, y2: HEIGHT }), ...this.paths, this.pointer);
    this.top = make("span", { className: "top-of-scale" });
    this.since = make("span");
    this.time = make("span", { textContent: "now" });
    const legend = lines.map((line, n) => make("li", {}, make("span", { className: `swatch line-${n}` }), `${line} `, this.values[n]));
    this.element = make(
      "figure",
      { className: "chart" },
      make("figcaption", {}, make("h3", { textContent: title }), make("ul", { className: "legend" }, ...legend)),
      make("div", { className: "plot" }, this.top, this.svg),
      make("p", { className: "times" }, this.since, this.time),
    );
    this.svg.addEventListener("pointermove", (event) => this.point(/** @type {PointerEvent} */ (event)));
    this.svg.addEventListener("pointerleave", () => this.point(undefined));
  }

  /** Takes in what was measured. @param {number} at @param {(number | undefined)[]} values */
  add(at, values) {
    this.points.push({ at, values });
    while (this.points.length && this.points[0].at < at - SPAN_MS) this.points.shift();
    this.show();
  }

  show() {
    const newest = this.points.at(-1);
    if (!newest) return;
    const most = Math.max(0, ...this.points.flatMap(({ values }) => values.map((value) => value ?? 0)));
    const top = this.scale(most);
    this.span = Math.max(LEAST_MS, newest.at - this.points[0].at);
    this.since.textContent = `${span(this.span / 1000)} ago`;
    this.top.textContent = this.format(top);
    this.paths.forEach((path, n) => path.setAttribute("d", this.line(n, newest.at, top)));
    if (!this.hovered) this.tell(newest);
  }

  /** @param {number} n @param {number} end @param {number} top */
  line(n, end, top) {
    let text = "";
    let isDown = false;
    for (const { at, values } of this.points) {
      const value = values[n];
      if (value === undefined) {
        isDown = false;
        continue;
      }
      const [x, y] = [WIDTH * (1 - (end - at) / this.span), HEIGHT * (1 - value / top)];
      // A single measurement is a dot.
      text += isDown ? `L${x.toFixed(1)} ${y.toFixed(1)}` : `M${x.toFixed(1)} ${y.toFixed(1)}h0.1`;
      isDown = true;
    }
    return text;
  }

  /** @param {Point} point */
  tell({ values }) {
    this.values.forEach((element, n) => (element.textContent = values[n] === undefined ? "–" : this.format(values[n])));
  }

  /** Shows what was where the pointer is. @param {PointerEvent | undefined} event */
  point(event) {
    const newest = this.points.at(-1);
    if (!newest) return;
    const box = this.svg.getBoundingClientRect();
    const part = event && (event.clientX - box.left) / box.width;
    const at = part === undefined ? newest.at : newest.at - (1 - part) * this.span;
    const nearest = this.points.reduce((best, point) => (Math.abs(point.at - at) < Math.abs(best.at - at) ? point : best), newest);
    this.hovered = event !== undefined;
    this.time.textContent = event ? clock(nearest.at) : "now";
    this.pointer.setAttribute("visibility", event ? "visible" : "hidden");
    const x = WIDTH * (1 - (newest.at - nearest.at) / this.span);
    for (const end of ["x1", "x2"]) this.pointer.setAttribute(end, String(x));
    this.tell(nearest);
  }
}

/** The next of 1, 1.5, 2, 3, 5, 8, 10 … with a little room. @param {number} most */
export function roundUp(most) {
  if (most <= 0) return 1;
  const value = most * 1.05;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 1.5, 2, 3, 5, 8, 10].map((step) => step * power).find((step) => step >= value) ?? 10 * power;
}

/** The next power of two, as bytes are counted. @param {number} most */
export const powerOfTwo = (most) => 2 ** Math.ceil(Math.log2(Math.max(1, most * 1.05)));
