// What a user of the package sees, as its types say: a page that compiles, and one that must not.

import { createRelay, openEnvelope } from "../../client/fanfare.js";

const relay = createRelay({ session: async () => (await fetch("/session")).json(), shared: "ada" });
relay.on("message", ({ id, data }) => void relay.markRead([id, data.other]));
relay.on("state", (state) => state.name === "reconnecting" && console.log(state.nextInMs));
const room = await relay.join("chat/lobby", { presence: { name: "Ada" } });
room.on("leave", ({ reason }) => reason === "lost");
const sent: Promise<void> = room.publish({ text: "hi" }, { id: "1" });
const text: Promise<string> = openEnvelope("1|", { aesKey: "", sessionId: "" });
void [sent, text];

// @ts-expect-error no such event
relay.on("mesage", () => {});
// @ts-expect-error no such quality of service
void room.publish("x", { qos: 2 });
// @ts-expect-error a relay needs a session
createRelay({});
