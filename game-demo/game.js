// The arena: own player at once, the others a tenth of a second ago, bots while there are few.

import { Picture, colour } from "./draw.js";
import { Input } from "./input.js";
import { enter } from "./net.js";
import { qr } from "./qr.js";
import { BEHIND_MS, HEIGHT, Notes, PUSH_EVERY_MS, RADIUS, Track, WIDTH, botSteers, move, pushed } from "./world.js";

/** @param {string} id @returns {any} */
const find = (id) => document.getElementById(id);
const query = new URLSearchParams(location.search);
const place = (query.get("room") ?? "arena").replace(/[^\w-]/g, "").slice(0, 32) || "arena";

const TELL_MS = 50;
/** Who stands still says so from time to time, for those who missed it. */
const STILL_MS = 1000;
const FEED_MS = 4000;
/** With fewer players bots join in. */
const COMPANY = 4;
const LOST_NOTES = 2;

const arena = find("arena");
const picture = new Picture(arena);
const notes = new Notes();
/** @type {Map<string, { track: Track, name: string, seat: number, score: number }>} Others, and bots, by member and key. */
const others = new Map();
/** @type {Map<string, { body: any, score: number }>} Bots of this page, by key. */
const bots = new Map();
/** @type {any} */ const me = { x: WIDTH / 2, y: HEIGHT / 2, vx: 0, vy: 0, name: "", seat: 0, score: 0, pushedAt: 0 };
/** @type {import("./net.js").Line | undefined} */ let line;
/** @type {{ x: number, y: number } | undefined} What the server said last of one's own place. */ let echo;
const input = new Input(arena, find("stick"), find("knob"), find("push"), push);

// ---- entering ----

find("enter").addEventListener("submit", async (/** @type {Event} */ event) => {
  event.preventDefault();
  me.name = find("name").value.trim();
  find("enter-problem").textContent = "";
  try {
    line = await enter(me.name, place, connection);
  } catch (error) {
    find("enter-problem").textContent = /** @type {Error} */ (error).message;
    return;
  }
  find("enter").hidden = true;
  arena.focus();
  await arrive(line.room);
});

/** @param {any} room */
async function arrive(room) {
  room.on("join", (/** @type {any} */ { id, data }) => id !== line?.relay.id && feed(`${data?.name} came`));
  room.on("leave", (/** @type {any} */ { id }) => left(id));
  room.on("state", (/** @type {any} */ { member, key, value }) => line?.worsen(() => told(member, key, value)));
  room.on("event", (/** @type {any} */ { name, data }) => name === "push" && line?.worsen(() => wasPushed(data)));
  room.on("recovery", () => sit(room));
  line?.relay.on("state", (/** @type {any} */ state) => state.name === "open" && setTimeout(() => sit(room)));
  await sit(room);
  if (me.seat) {
    me.x = 200 + ((me.seat * 431) % (WIDTH - 400));
    me.y = 150 + ((me.seat * 277) % (HEIGHT - 300));
  }
  find("link").textContent = me.seat ? "Playing" : "All seats are taken: you are watching";
}

/** Takes a seat, or the same again. @param {any} room */
async function sit(room) {
  try {
    me.seat = (await room.seat(true)).seat ?? 0;
  } catch (error) {
    if (line?.relay.state.name === "open") feed(`No seat: ${/** @type {Error} */ (error).message}`);
  }
}

/** @param {any} state */
function connection(state) {
  const words = state.name === "open" ? "Playing" : state.name === "reconnecting" ? "Reconnecting; your seat is kept" : state.name;
  find("link").textContent = words;
}

// ---- what others say ----

/** @param {string} member @param {string} key @param {any} value */
function told(member, key, value) {
  line?.numbers.count("in");
  const own = member === line?.relay.id;
  if (own && key === "p" && Array.isArray(value)) {
    line?.echo(value[0]);
    echo = { x: value[1], y: value[2] };
  }
  if (key === "notes") return notes.merge(value);
  if (own) return;
  const id = `${member} ${key}`;
  if (value === undefined) return void others.delete(id);
  if (!Array.isArray(value) || !value.slice(0, 5).every(Number.isFinite)) return;
  const [, x, y, score, seat, name] = value;
  const known = others.get(id) ?? { track: new Track(), name: "", seat: 0, score: 0 };
  known.track.add(performance.now(), x, y);
  others.set(id, Object.assign(known, { name: String(name ?? line?.room.members.get(member)?.data?.name ?? ""), seat, score }));
}

/** @param {string} member */
function left(member) {
  for (const [id, { name, track, seat }] of others) {
    if (!id.startsWith(`${member} `)) continue;
    const { x, y } = track.newest ?? me;
    picture.burst(x, y, colour(seat), 30);
    if (id.endsWith(" p")) feed(`${name} left`);
    others.delete(id);
  }
}

/** @param {any} at */
function wasPushed(at) {
  if (!Number.isFinite(at?.x) || !Number.isFinite(at?.y)) return;
  picture.ring(at.x, at.y, "#ffffff");
  for (const who of [me, ...bots.values()]) {
    const body = who.body ?? who;
    if ((who === me && !me.seat) || !pushed(body, at.x, at.y)) continue;
    who.score = Math.max(0, who.score - LOST_NOTES);
    picture.burst(body.x, body.y, "#ffd166");
  }
}

function push() {
  const now = performance.now();
  if (!line || !me.seat || now - me.pushedAt < PUSH_EVERY_MS) return;
  me.pushedAt = now;
  picture.ring(me.x, me.y, colour(me.seat));
  line.signal("push", { x: Math.round(me.x), y: Math.round(me.y) });
  for (const bot of bots.values()) {
    if (pushed(bot.body, me.x, me.y)) bot.score = Math.max(0, bot.score - LOST_NOTES);
  }
}

// ---- bots ----

/** The member who is there longest has the bots; when it leaves, the next one has. */
function keepBots() {
  const members = [...(line?.room.members.values() ?? [])].sort((a, b) => a.since - b.since || (a.id < b.id ? -1 : 1));
  const wanted = members[0]?.id === line?.relay.id ? Math.max(0, COMPANY - members.length) : 0;
  for (let at = 0; at < COMPANY; at++) {
    const key = `bot${at}`;
    if (at < wanted && !bots.has(key)) bots.set(key, { body: { x: 300 + at * 300, y: 200 + at * 150, vx: 0, vy: 0 }, score: 0 });
    if (at >= wanted && bots.delete(key)) line?.set(key, undefined);
  }
}

// ---- time ----

let before = performance.now();
/** @param {number} now */
function frame(now) {
  const seconds = Math.min(0.1, (now - before) / 1000);
  before = now;
  if (me.seat) {
    move(me, input.x, input.y, seconds);
    collect(me, me);
  }
  for (const bot of bots.values()) {
    const { x, y } = botSteers(bot.body, notes);
    move(bot.body, x, y, seconds);
    collect(bot.body, bot);
  }
  picture.draw(now, seconds, notes, figures(now), me);
  requestAnimationFrame(frame);
}

/** @param {any} body @param {{ score: number }} who */
function collect(body, who) {
  const reached = notes.collect(body);
  who.score += reached.length;
  for (const { x, y } of reached) picture.burst(x, y, "#ffd166");
  if (reached.length) line?.set("notes", notes.lives);
}

/** @param {number} now */
function figures(now) {
  /** @type {import("./draw.js").Figure[]} */
  const all = [];
  const smooth = find("smooth").checked;
  for (const { track, name, seat } of others.values()) {
    const at = smooth ? track.where(now - BEHIND_MS) : track.newest;
    if (at) all.push({ ...at, name, seat, own: false });
  }
  [...bots.values()].forEach(({ body }, at) => all.push({ ...body, name: `Bot ${at + 1}`, seat: 20 + at, own: false }));
  if (echo && find("ghosts").checked) all.push({ ...echo, name: "", seat: 0, own: true, ghost: true });
  if (me.seat) all.push({ ...me, own: true });
  return all;
}

const last = { x: 0, y: 0, at: 0 };
setInterval(() => {
  if (!line || line.relay.state.name !== "open") return;
  const now = performance.now();
  const [x, y] = [Math.round(me.x), Math.round(me.y)];
  if (me.seat && (x !== last.x || y !== last.y || now - last.at > STILL_MS)) {
    line.place([x, y, me.score, me.seat, me.name]);
    Object.assign(last, { x, y, at: now });
  }
  [...bots.entries()].forEach(([key, { body, score }], at) => {
    line?.set(key, [0, Math.round(body.x), Math.round(body.y), score, 20 + at, `Bot ${at + 1}`]);
  });
}, TELL_MS);

// ---- what is written on the screen ----

/** @param {number | undefined} value @param {string} unit */
const shown = (value, unit) => (value === undefined ? "–" : `${value < 10 ? value.toFixed(1) : Math.round(value)} ${unit}`);

setInterval(() => {
  if (!line) return;
  keepBots();
  const { numbers } = line;
  const rows = [
    ["Round trip, median", shown(numbers.percentile(0.5), "ms")],
    ["Round trip, p99", shown(numbers.percentile(0.99), "ms")],
    ["Jitter", shown(numbers.jitter, "ms")],
    ["Messages in", shown(numbers.rates.in, "/s")],
    ["Messages out", shown(numbers.rates.out, "/s")],
    ["Here", String(line.room.count)],
  ];
  find("numbers").replaceChildren(...rows.flatMap(([what, value]) => [element("dt", what), element("dd", value)]));
  const players = [...others.values(), ...[...bots.values()].map(({ score }, at) => ({ name: `Bot ${at + 1}`, score, seat: 20 + at }))];
  if (me.seat) players.push(me);
  players.sort((a, b) => b.score - a.score);
  find("scores").replaceChildren(
    ...players.slice(0, 8).map(({ name, score, seat }) => {
      const dot = element("i", "");
      dot.style.backgroundColor = colour(seat);
      const item = element("li", "");
      item.append(dot, element("span", name), element("b", String(score)));
      return item;
    }),
  );
}, 500);

/** @param {string} tag @param {string} text */
function element(tag, text) {
  const made = document.createElement(tag);
  made.textContent = text;
  return made;
}

/** @type {ReturnType<typeof setTimeout>} */ let quiet;
/** @param {string} text */
function feed(text) {
  find("feed").textContent = text;
  clearTimeout(quiet);
  quiet = setTimeout(() => (find("feed").textContent = ""), FEED_MS);
}

for (const [id, unit] of /** @type {const} */ ([["lag", "ms"], ["loss", "%"]])) {
  find(id).addEventListener("input", () => {
    if (line) line[id] = Number(find(id).value);
    find(`${id}-now`).textContent = `${find(id).value} ${unit}`;
  });
}
find("stats-open").addEventListener("click", () => {
  find("stats").hidden = !find("stats").hidden;
  find("stats-open").setAttribute("aria-expanded", String(!find("stats").hidden));
});
find("share-open").addEventListener("click", () => {
  const link = `${location.origin}/game?room=${place}`;
  Object.assign(find("share-link"), { href: link, textContent: link });
  drawCode(qr(link));
  find("share").showModal();
});

/** @param {boolean[][]} rows */
function drawCode(rows) {
  const canvas = find("qr");
  // Four light modules around it belong to the code.
  canvas.width = canvas.height = rows.length + 8;
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.fillStyle = "#000";
  rows.forEach((row, y) => row.forEach((dark, x) => dark && context.fillRect(x + 4, y + 4, 1, 1)));
}

if (query.get("split") === "2") {
  const frames = [1, 2].map((n) => {
    const frame = document.createElement("iframe");
    frame.src = `/game?${new URLSearchParams({ room: place, name: `Player ${n}` })}`;
    frame.title = `Player ${n}`;
    return frame;
  });
  find("game").replaceChildren(...frames);
  find("game").className = "split";
} else {
  requestAnimationFrame(frame);
  const name = query.get("name");
  if (name) {
    find("name").value = name;
    find("enter").requestSubmit();
  }
}

// For tests, and for whoever opens the console.
arena.arena = { me, others, bots, notes, get line() { return line; }, reach: RADIUS };
