// What the chat is made of, beside what all pages share.

import { make } from "/site/dom.js";

export { find, make, plural } from "/site/dom.js";

/** A round face for a name: its first letters, on a colour that belongs to it. @param {string} name */
export function face(name) {
  const letters = name.split(/\s+/, 2).map((word) => [...word][0] ?? "").join("");
  const element = make("span", { className: "face", textContent: letters.toUpperCase() });
  element.setAttribute("aria-hidden", "true");
  let sum = 0;
  for (const letter of name) sum = (sum * 31 + (letter.codePointAt(0) ?? 0)) % 360;
  element.style.backgroundColor = `hsl(${sum} 70% 75%)`;
  return element;
}

const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });

/** @param {number} ts */
export const clock = (ts) => CLOCK.format(ts);
