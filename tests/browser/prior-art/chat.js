// A page of messages with the contract of the first prior-art front end: keys by `accessKey` and `secretKey`, one topic,
// text as it was typed, and everybody hears what they said themselves.

"use strict";

const TOPIC = "/serverless/pubsub";
const state = document.getElementById("state");
const log = document.getElementById("log");
const text = document.getElementById("text");

guestKeys((keys) => {
  const client = openDevice(keys, keys.accessKey, keys.secretKey);
  client.on("connect", () => {
    client.subscribe(TOPIC);
    state.textContent = "connected";
  });
  client.on("close", () => (state.textContent = "not connected"));
  client.on("message", (_topic, payload) => {
    const line = document.createElement("li");
    line.textContent = payload.toString();
    log.append(line);
  });
  document.querySelector("form").addEventListener("submit", (event) => {
    event.preventDefault();
    client.publish(TOPIC, text.value);
    text.value = "";
  });
}, (problem) => (state.textContent = problem));
