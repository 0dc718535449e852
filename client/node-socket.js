/** A WebSocket for Node 20, which has none of its own: as much of it as MQTT needs. Browsers never load this. */

import { randomBytes } from "node:crypto";
import { request as http } from "node:http";
import { request as https } from "node:https";

const LONGEST_MESSAGE = 16 << 20;

/** The part of `WebSocket` that {@link MqttConnection} uses. */
export class NodeSocket {
  readyState = 0;
  binaryType = "arraybuffer";
  onopen = () => {};
  onclose = () => {};
  onerror = () => {};
  /** @type {(event: { data: ArrayBuffer }) => void} */
  onmessage = () => {};

  /** @type {import("node:net").Socket | undefined} */
  #stream;
  /** @type {Buffer} */
  #bytes = Buffer.alloc(0);
  /** @type {Buffer[]} */
  #parts = [];
  #request;

  /** @param {string} url @param {string} protocol */
  constructor(url, protocol) {
    const headers = {
      connection: "Upgrade",
      upgrade: "websocket",
      "sec-websocket-version": "13",
      "sec-websocket-key": randomBytes(16).toString("base64"),
      "sec-websocket-protocol": protocol,
    };
    const request = url.startsWith("wss:") ? https : http;
    this.#request = request(url.replace(/^ws/, "http"), { headers, agent: false })
      .on("upgrade", (_answer, stream, head) => this.#open(stream, head))
      .on("response", (answer) => {
        answer.resume();
        this.#closed();
      })
      .on("error", () => this.#closed());
    this.#request.end();
  }

  /** @param {import("node:stream").Duplex} stream @param {Buffer} head */
  #open(stream, head) {
    this.#stream = /** @type {import("node:net").Socket} */ (stream);
    this.#stream.setNoDelay(true);
    stream.on("data", (data) => this.#read(data));
    stream.on("error", () => {});
    stream.on("close", () => this.#closed());
    if (this.readyState > 1) return void stream.destroy();
    this.readyState = 1;
    this.onopen();
    if (head.length) this.#read(head);
  }

  /** @param {Uint8Array} data */
  send(data) {
    this.#frame(2, data);
  }

  close() {
    if (this.readyState > 1) return;
    if (this.readyState === 1) {
      this.readyState = 2;
      this.#frame(8, new Uint8Array());
      this.#stream?.end();
    } else {
      this.#request.destroy();
      this.#closed();
    }
  }

  #closed() {
    if (this.readyState === 3) return;
    this.readyState = 3;
    this.onclose();
  }

  /** @param {number} opcode @param {Uint8Array} data */
  #frame(opcode, data) {
    const length = data.length;
    const head = Buffer.alloc(length < 126 ? 2 : length < 65_536 ? 4 : 10);
    head[0] = 0x80 | opcode;
    head[1] = 0x80 | (length < 126 ? length : length < 65_536 ? 126 : 127);
    if (length >= 65_536) head.writeBigUInt64BE(BigInt(length), 2);
    else if (length >= 126) head.writeUInt16BE(length, 2);
    const mask = randomBytes(4);
    this.#stream?.write(Buffer.concat([head, mask, data.map((byte, at) => byte ^ mask[at & 3])]));
  }

  /** @param {Buffer} data */
  #read(data) {
    this.#bytes = this.#bytes.length ? Buffer.concat([this.#bytes, data]) : data;
    for (;;) {
      const bytes = this.#bytes;
      if (bytes.length < 2) return;
      const short = bytes[1] & 127;
      const start = short < 126 ? 2 : short === 126 ? 4 : 10;
      if (bytes.length < start) return;
      const length = short < 126 ? short : short === 126 ? bytes.readUInt16BE(2) : Number(bytes.readBigUInt64BE(2));
      if (length > LONGEST_MESSAGE) return void this.#stream?.destroy();
      if (bytes.length < start + length) return;
      this.#bytes = bytes.subarray(start + length);
      this.#take(bytes[0] & 15, (bytes[0] & 128) !== 0, bytes.subarray(start, start + length));
    }
  }

  /** @param {number} opcode @param {boolean} last @param {Buffer} data */
  #take(opcode, last, data) {
    if (opcode === 8) return this.close();
    if (opcode === 9) return this.#frame(10, data);
    if (opcode > 2) return;
    this.#parts.push(data);
    if (!last || this.readyState !== 1) return;
    const whole = new Uint8Array(Buffer.concat(this.#parts));
    this.#parts = [];
    this.onmessage({ data: whole.buffer });
  }
}
