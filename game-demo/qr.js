// QR codes for links: bytes, error correction level L, versions 1 to 5, which is up to 106 characters.

/** Data and correction codewords by version. */
const SIZES = [[19, 7], [34, 10], [55, 15], [80, 20], [108, 26]];

/** @param {number} a @param {number} b In the field of 256 that QR codes calculate in. */
function times(a, b) {
  let product = 0;
  for (let bit = 7; bit >= 0; bit--) {
    product = (product << 1) ^ ((product >> 7) * 0x11d);
    product ^= ((b >> bit) & 1) * a;
  }
  return product;
}

/** The correction codewords: what is left when the data are divided by the generator. @param {number[]} data @param {number} length */
function correction(data, length) {
  let generator = [1];
  for (let at = 0, root = 1; at < length; at++, root = times(root, 2)) {
    const next = [...generator, 0];
    generator.forEach((factor, place) => (next[place + 1] ^= times(factor, root)));
    generator = next;
  }
  const rest = Array(length).fill(0);
  for (const byte of data) {
    const factor = byte ^ rest.shift();
    rest.push(0);
    for (let at = 0; at < length; at++) rest[at] ^= times(generator[at + 1], factor);
  }
  return rest;
}

/** @param {string} text */
function codewords(text) {
  const bytes = [...new TextEncoder().encode(text)];
  const version = SIZES.findIndex(([data]) => bytes.length + 2 <= data);
  if (version === -1) throw new RangeError("the text is too long for a QR code of version 5");
  const [room, extra] = SIZES[version];
  const bits = [0, 1, 0, 0];
  const add = (/** @type {number} */ byte) => {
    for (let bit = 7; bit >= 0; bit--) bits.push((byte >> bit) & 1);
  };
  [bytes.length, ...bytes].forEach(add);
  while (bits.length < room * 8 && (bits.length % 8 || bits.length < (bytes.length + 2) * 8)) bits.push(0);
  for (let pad = 0xec; bits.length < room * 8; pad ^= 0xec ^ 0x11) add(pad);
  const data = Array.from({ length: room }, (_, at) => Number.parseInt(bits.slice(at * 8, at * 8 + 8).join(""), 2));
  return { version: version + 1, all: [...data, ...correction(data, extra)] };
}

/** What every code of this size has, row by row; undefined is for the data. @param {number} version */
function frame(version) {
  const size = 17 + 4 * version;
  /** @type {(boolean | undefined)[][]} */
  const rows = Array.from({ length: size }, () => Array(size).fill(undefined));
  const set = (/** @type {number} */ x, /** @type {number} */ y, /** @type {boolean} */ dark) => {
    if (rows[y]?.[x] === undefined && x >= 0 && y >= 0 && x < size && y < size) rows[y][x] = dark;
  };
  for (const [cx, cy] of [[3, 3], [size - 4, 3], [3, size - 4]]) {
    for (let dy = -4; dy <= 4; dy++) {
      for (let dx = -4; dx <= 4; dx++) {
        const ring = Math.max(Math.abs(dx), Math.abs(dy));
        set(cx + dx, cy + dy, ring !== 2 && ring !== 4);
      }
    }
  }
  const centre = size - 7;
  for (let dy = -2; version > 1 && dy <= 2; dy++) {
    for (let dx = -2; dx <= 2; dx++) set(centre + dx, centre + dy, Math.max(Math.abs(dx), Math.abs(dy)) !== 1);
  }
  for (let at = 8; at < size - 8; at++) {
    set(at, 6, at % 2 === 0);
    set(6, at, at % 2 === 0);
  }
  return { size, rows, set };
}

/** Level L and mask 0, twice, as the standard places it. @param {number} size @param {(x: number, y: number, dark: boolean) => void} set */
function format(size, set) {
  let rest = 8;
  for (let step = 0; step < 10; step++) rest = (rest << 1) ^ ((rest >> 9) * 0x537);
  const word = ((8 << 10) | rest) ^ 0x5412;
  for (let at = 0; at < 15; at++) {
    const dark = ((word >> at) & 1) === 1;
    if (at < 6) set(8, at, dark);
    else if (at < 8) set(8, at + 1, dark);
    else if (at === 8) set(7, 8, dark);
    else set(14 - at, 8, dark);
    if (at < 8) set(size - 1 - at, 8, dark);
    else set(8, size - 15 + at, dark);
  }
  set(8, size - 8, true);
}

/** The code of a text: rows of dark (true) and light. @param {string} text @returns {boolean[][]} */
export function qr(text) {
  const { version, all } = codewords(text);
  const { size, rows, set } = frame(version);
  format(size, set);
  let bit = 0;
  let up = true;
  for (let right = size - 1; right > 0; right -= 2, up = !up) {
    // The column of the clock pattern has no data.
    if (right === 6) right--;
    for (let step = 0; step < size; step++) {
      const y = up ? size - 1 - step : step;
      for (const x of [right, right - 1]) {
        if (rows[y][x] !== undefined) continue;
        const dark = ((all[bit >> 3] ?? 0) >> (7 - (bit & 7))) & 1;
        bit++;
        rows[y][x] = (dark === 1) !== ((x + y) % 2 === 0);
      }
    }
  }
  return rows.map((row) => row.map(Boolean));
}
