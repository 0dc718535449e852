// MQTT.js as a page's own script would bundle it.

export { default as mqtt } from "mqtt";
