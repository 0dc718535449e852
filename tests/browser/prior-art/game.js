// A game with the contract of the second prior-art front end: keys by `awsAccessKey` and `awsSecretAccessKey`, positions of
// at most 120 bytes whenever a player has moved by more than 3 pixels, and the time a message takes is measured by one's own
// echo. Who plays which number is its backend's business; here `?player=` says it.

"use strict";

const TOPIC = "/game/pubsub";
const STEP = 4;
const MAX_BYTES = 120;
const KEYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const playerId = Number(page.get("player"));
const field = document.getElementById("field");
const state = document.getElementById("state");
const drawing = field.getContext("2d");
const me = { x: 40 * playerId, y: 100, frame: 0 };
let told = { x: -100, y: -100 };

/** What the test looks at: the players as they are drawn, and how many messages came from each. */
const arena = { players: {}, heard: {}, longest: 0 };

function draw() {
  drawing.clearRect(0, 0, field.width, field.height);
  for (const [id, { x, y, bomb }] of Object.entries(arena.players)) {
    drawing.fillStyle = `hsl(${(id * 137) % 360} 70% 40%)`;
    drawing.fillRect(x, y, 24, 24);
    drawing.fillText(bomb ? `${id} *` : id, x, y - 4);
  }
}

function tell(client, bomb) {
  const message = { x: me.x, y: me.y, visible: true, frame: me.frame, timestamp: Date.now() };
  if (bomb) message.bomb = true;
  const payload = JSON.stringify({ playerId, message });
  arena.longest = Math.max(arena.longest, payload.length);
  if (payload.length > MAX_BYTES) throw new Error(`${payload} is too long`);
  told = { x: me.x, y: me.y };
  client.publish(TOPIC, payload);
}

guestKeys((keys) => {
  const client = openDevice(keys, keys.awsAccessKey, keys.awsSecretAccessKey);
  client.on("connect", () => {
    client.subscribe(TOPIC);
    state.textContent = "connected";
  });
  client.on("close", () => (state.textContent = "not connected"));
  client.on("message", (_topic, payload) => {
    const { playerId: who, message } = JSON.parse(payload.toString());
    arena.heard[who] = (arena.heard[who] ?? 0) + 1;
    if (message.visible) arena.players[who] = message;
    else delete arena.players[who];
    if (who === playerId) document.getElementById("echo").textContent = `${Date.now() - message.timestamp} ms`;
    draw();
  });
  field.addEventListener("keydown", ({ key }) => {
    if (key === " ") return tell(client, true);
    const [dx, dy] = KEYS[key] ?? [0, 0];
    me.x += dx * STEP;
    me.y += dy * STEP;
    me.frame = (me.frame + 1) % 4;
    if (Math.hypot(me.x - told.x, me.y - told.y) > 3) tell(client, false);
  });
}, (problem) => (state.textContent = problem));
