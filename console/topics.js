// Topics: what is subscribed to, by whom, and what is known of one client.

import { find, make, plural } from "/site/dom.js";
import { when, whole } from "./format.js";
import { facts, hash, link, row, table } from "./parts.js";

/** Who subscribes, in one line. @param {any} topic */
const topicRow = (topic) => row(link(topic.filter, hash("topics", "filter", topic.filter)), topic.connected, topic.away);

const TOO_MANY = " There are more subscriptions than one answer looks at: the numbers are too small.";

/** The view. @param {import("./console.js").Context} context */
export function topics(context) {
  const { api } = context;
  let prefix = "";
  /** @type {string | undefined} */
  let nextToken;

  /** @param {boolean} more */
  async function list(more) {
    const told = await api.get("/admin/topics", { prefix, nextToken: more ? nextToken : undefined });
    nextToken = told.nextToken;
    if (!more) find("topic-rows").replaceChildren();
    find("topic-rows").append(...told.topics.map(topicRow));
    const count = find("topic-rows").childElementCount;
    find("topics-found").textContent = `${plural(count, "filter")}${nextToken ? ", and there are more" : ""}.${told.complete ? "" : TOO_MANY}`;
    find("more-topics").hidden = !nextToken;
  }

  /** @param {string} filter */
  async function subscribers(filter) {
    const told = await api.get("/admin/subscribers", { filter });
    const rows = told.subscribers.map((/** @type {any} */ { clientId, qos, connected }) => row(link(clientId, hash("topics", "client", clientId)), qos, connected ? "connected" : "away"));
    const shown = told.total > rows.length ? `, the first ${rows.length} of them` : "";
    find("topic").replaceChildren(
      make("h2", { textContent: filter }),
      make("p", { className: "note", textContent: `${plural(told.total, "subscriber")}${shown}.${told.complete ? "" : TOO_MANY}` }),
      table("Subscribers", ["Client", "QoS", "State"], rows),
    );
  }

  /** What AWS IoT's data plane says of a client. @param {string} id */
  async function client(id) {
    find("client-wanted").value = id;
    const path = `/connections/${encodeURIComponent(id)}`;
    let parts;
    try {
      const told = await api.get(path, { includeSocketInformation: true }, "iotdata");
      const { subscriptions } = await api.get(`${path}/subscriptions`, { maxResults: 200 }, "iotdata");
      const since = told.connected ? told.connectedSince : told.disconnectedSince;
      parts = [
        make(
          "dl",
          { className: "facts" },
          ...facts([
            [told.connected ? "Connected" : "Disconnected", since ? when(since) : "before this server began"],
            ["From", told.sourceIp ? `${told.sourceIp}:${told.sourcePort}` : "–"],
            ["Keep alive", told.keepAliveDuration === undefined ? "–" : `${told.keepAliveDuration} s`],
            ["Session", told.cleanSession ? "ends with the connection" : `outlives the connection by ${told.sessionExpiry === 0xffffffff ? "any time" : `${whole(told.sessionExpiry)} s`}`],
            ["Ended because", told.disconnectReason ?? "–"],
          ]),
        ),
        subscriptions.length
          ? table("Subscriptions", ["Filter", "QoS"], subscriptions.map((/** @type {any} */ { topicFilter, qos }) => row(link(topicFilter, hash("topics", "filter", topicFilter)), qos)))
          : make("p", { className: "note", textContent: "No subscriptions." }),
      ];
    } catch (error) {
      if (!context.refused(error)) throw error;
      parts = [make("p", { className: "problem", textContent: /** @type {Error} */ (error).message })];
    }
    find("client").replaceChildren(make("h2", { textContent: `Client ${id}` }), ...parts);
  }

  find("find-topics").onsubmit = context.guarded(() => {
    prefix = find("topic-prefix").value;
    return list(false);
  });
  find("more-topics").onclick = context.guarded(() => list(true));
  find("find-client").onsubmit = context.guarded(async () => context.go(hash("topics", "client", find("client-wanted").value)));

  return {
    /** @param {string[]} parts */
    show([kind, name]) {
      if (!context.about.mqtt) {
        find("topics-found").textContent = "There is no MQTT (mqtt.enabled).";
        return;
      }
      context.guarded(async () => {
        if (kind === "filter") await subscribers(name);
        if (kind === "client") await client(name);
        if (!find("topic-rows").childElementCount) await list(false);
      })();
    },
    hide() {},
    end() {},
  };
}
