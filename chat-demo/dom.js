// What pages are made of. Texts are always texts: nothing here takes HTML.

/** The element of this id. @param {string} id @returns {any} */
export const find = (id) => document.getElementById(id);

/**
 * An element with properties and children.
 * @param {string} tag @param {Record<string, any>} [properties] @param {...(Node | string)} children
 * @returns {any}
 */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  Object.assign(element, properties);
  element.append(...children);
  return element;
}

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

/** @param {number} n @param {string} one @param {string} [more] */
export const plural = (n, one, more = `${one}s`) => `${n} ${n === 1 ? one : more}`;
