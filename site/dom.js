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

/** @param {number} n @param {string} one @param {string} [more] */
export const plural = (n, one, more = `${one}s`) => `${n} ${n === 1 ? one : more}`;
