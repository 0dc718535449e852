/**
 * Fanfare's client: a session's inbox and history, and rooms with presence, over MQTT 5 in a WebSocket, with long polling of
 * the session's queue to fall back on. README.md teaches by example; this file says what each thing means.
 */

/** What a backend got from `/create/…` or `/renew/…` for this client; a guest's keys from `/iot/keys` will do for rooms. */
export interface Session {
  accessKey: string;
  secretKey: string;
  sessionToken?: string;
  /** When the keys end, in seconds since the epoch. Fresh ones are asked for before. */
  expires?: number;
  region?: string;
  accountId?: number;
  userId?: number;
  sessionId?: string;
  /** The queue, which is polled where WebSockets do not get through. */
  sqsUrl?: string;
  /** The MQTT topic that brings what is in the queue. */
  topic?: string;
  /** What opens the messages of the inbox. */
  aesKey?: string;
  iotEndpoint?: string;
  /** What `POST /mqtt/token` gave the backend: connects pages that can not sign, because they came over plain HTTP. They have rooms and no inbox. */
  connectToken?: string;
}

/** Settings of a relay. */
export interface RelayOptions {
  /**
   * Asks your backend for the session's description (or the whole answer that has it in `session`). Called at the start, before
   * the keys end, and when they were refused; with the one so far, if there is one. Answer `null` when the user is signed out: the relay
   * is `failed` then. If it throws, it is called again later.
   */
  session: (current?: Session) => Promise<Session | { session: Session } | null | undefined>;
  /** Where the server is, such as `https://relay.example`. If it is not set, where the session's queue is. */
  url?: string;
  /** `auto` (the default): MQTT, and long polling where that fails. */
  transport?: "auto" | "mqtt" | "sqs";
  /**
   * Tabs of one browser that give the same text share one connection (where there are Web Locks and BroadcastChannel). It must say
   * whose session it is: tabs of different users must not share.
   */
  shared?: string;
  /** Publications that may wait for the server; more are refused. 100. */
  queueLimit?: number;
  /** The MQTT client id, which is the member id in rooms. By default a random one, which lasts as long as this relay. */
  clientId?: string;
  /** Another `fetch`. */
  fetch?: typeof fetch;
  /** Another `WebSocket`. */
  WebSocket?: typeof WebSocket;
}

/** What the connection is doing. */
export type State =
  /** Not started. */
  | { name: "idle" }
  | { name: "connecting" }
  /** Rooms need `mqtt`; the inbox has either. */
  | { name: "open"; transport: "mqtt" | "sqs" }
  /** Waits `nextInMs` before it tries again; `attempt` counts from 1. */
  | { name: "reconnecting"; attempt: number; nextInMs: number; reason: string }
  /** It will not try again: signed out, or fresh keys were refused, too. */
  | { name: "failed"; reason: string }
  /** By {@link Relay.close}. */
  | { name: "closed" };

/** A message to the user. */
export interface InboxMessage {
  id: string;
  /** When it was accepted (in history) or arrived (live), in milliseconds since the epoch. */
  ts: number;
  /** What the sender posted. */
  data: any;
  read: boolean;
}

/** Events of a relay. */
export interface RelayEvents {
  state: State;
  /** A message arrived. Each is told once and, when the listeners return, leaves the queue. */
  message: InboxMessage;
  /** Messages were marked as read, here, in another tab, or on another device. */
  read: { ids: string[] };
  /** The number of unread messages, once {@link Relay.unread} was asked. */
  unread: number;
  /** Something went wrong that does not end the relay: keys could not be renewed yet, or a message can not be opened. */
  error: Error;
}

/** A session's connection. */
export interface Relay {
  readonly state: State;
  readonly session: Session | undefined;
  /** This client's id: the member id in rooms. */
  readonly id: string;
  readonly transport: "mqtt" | "sqs" | undefined;
  /** The last round trip, in milliseconds; measured every half minute and by {@link Relay.ping}. */
  readonly rtt: number | undefined;
  /** Connects; resolves when it is open for the first time, rejects when it `failed`. */
  connect(): Promise<void>;
  /** Ends for good. What waits to be sent is refused. */
  close(): void;
  /** Listens; the answer ends it. */
  on<K extends keyof RelayEvents>(event: K, listener: (detail: RelayEvents[K]) => void): () => void;
  /** The next event. */
  once<K extends keyof RelayEvents>(event: K): Promise<RelayEvents[K]>;
  /** Changes the transport; nothing is lost or told twice. */
  use(transport: "auto" | "mqtt" | "sqs"): void;
  /** Tries again now instead of later. */
  retry(): void;
  /** Round trip in milliseconds. */
  ping(): Promise<number>;
  /** The server's time in milliseconds since the epoch: the own clock, corrected if it is more than two seconds wrong. */
  serverTime(): number;
  /** The user's messages, newest first; `before` is the one of the last answer, and missing in the answer that has the oldest. */
  history(options?: { before?: string; limit?: number; types?: string[] }): Promise<{ messages: InboxMessage[]; before?: string }>;
  /** Marks as read: one, several, or all up to a time in milliseconds. Resolves with the ids that were not read before. */
  markRead(what: string | string[] | { upTo: number }): Promise<string[]>;
  /** How many are unread. From then on the event `unread` keeps up. */
  unread(): Promise<number>;
  /** Enters a room; resolves when it is known who is there and what was missed. Rejects if it is refused. */
  join(name: string, options?: RoomOptions): Promise<Room>;
}

/** How to enter a room. */
export interface RoomOptions {
  /** Your data as others see it, such as `{ name }`; without it you see the room and are no member. */
  presence?: unknown;
  /** Whether to learn who is there and what they do. `true` if not set. */
  members?: boolean;
  /** Whether to learn members' values ({@link Room.set}). */
  state?: boolean;
  /** How many of the newest messages to bring first; 50. `false` for rooms that keep none. */
  history?: number | false;
  /** Go on from here, as {@link Room.position} said it before the page was loaded again. */
  since?: { epoch: string; offset: number };
}

/** Somebody in a room. */
export interface Member {
  id: string;
  data: any;
  /** Since when, in milliseconds. */
  since: number;
  seat?: number;
}

/** What was said in a room. */
export interface RoomMessage {
  /** The publisher's mark ({@link PublishOptions.id}). */
  id?: string;
  /** Its place in the room's history, if that is kept. */
  offset?: number;
  ts: number;
  /** The client id of who said it. */
  member?: string;
  data: any;
  /** Whether you said it. */
  own: boolean;
  /** Whether it was said before you came (back). */
  replayed: boolean;
}

/** Whether what was missed could be recovered. If not, what the page shows may have a gap: empty it, and show what follows. */
export interface Recovery {
  recovered: boolean;
  missed: number;
  /** So many messages follow that were said before. */
  replayed: number;
  /** Why not: PROTOCOL.md has the list; `new` when you come for the first time. */
  reason?: string;
}

/** Events of a room. */
export interface RoomEvents {
  message: RoomMessage;
  join: Member;
  update: Member;
  leave: { id: string; reason: "left" | "lost" | "removed" };
  /** How many are there; large rooms tell nothing else. */
  count: number;
  typing: { member: string; typing: boolean };
  /** What {@link Room.signal} sent. */
  event: { name: string; member: string; data: any };
  /** A member's value changed; `undefined`: it is gone. */
  state: { member: string; key: string; value: any };
  /** After each reconnect, before the messages that were missed. */
  recovery: Recovery;
  /** The room could not be entered again. */
  error: Error;
}

/** How to publish. */
export interface PublishOptions {
  /** 1 (the default): waits for a connection if need be, and resolves when the server has it for good. 0: now or never. */
  qos?: 0 | 1;
  /** A mark of your own, by which you know the message again when it comes back. */
  id?: string;
}

/** A room that was entered. It is entered again after each reconnect. */
export interface Room {
  readonly name: string;
  /** Who is there, by id. Empty in rooms too large to list. */
  readonly members: ReadonlyMap<string, Member>;
  readonly count: number;
  /** Members' values, by member and key. */
  readonly states: ReadonlyMap<string, ReadonlyMap<string, any>>;
  /** The newest message seen. */
  readonly position: { epoch: string; offset: number } | undefined;
  /** What entering brought, the last time. */
  readonly recovery: Recovery | undefined;
  on<K extends keyof RoomEvents>(event: K, listener: (detail: RoomEvents[K]) => void): () => void;
  once<K extends keyof RoomEvents>(event: K): Promise<RoomEvents[K]>;
  /** Says something: anything that JSON can say, or bytes. You hear it, too. */
  publish(data: unknown, options?: PublishOptions): Promise<void>;
  /** Sends a moment that is not kept; others hear it as `event`. */
  signal(name: string, data: unknown): Promise<void>;
  /** Sets a value of yours, which who comes later learns, too; `undefined` removes it. */
  set(key: string, value: unknown): Promise<void>;
  /** Tells the others that you are typing. Call it with every key; it is told every 3 s. */
  typing(typing: boolean): void;
  /** Replaces your data. */
  update(data: unknown): Promise<void>;
  /** What was said earlier, in order. */
  history(options?: { before?: number; after?: number; limit?: number }): Promise<{ messages: Pick<RoomMessage, "offset" | "ts" | "member" | "data">[]; more: boolean }>;
  /** Takes one of the room's seats, or leaves it; `seat` is `null` if there is none for you. */
  seat(take: boolean): Promise<{ seat: number | null; seats: number; taken: number; full?: boolean }>;
  /** Leaves. */
  leave(): Promise<void>;
}

/** Makes a relay. Nothing happens until {@link Relay.connect}. */
export function createRelay(options: RelayOptions): Relay;

/**
 * Opens an envelope of a session's queue, for those who poll it themselves.
 * @returns the JSON text in it
 */
export function openEnvelope(envelope: string, session: { aesKey: string; sessionId: string }): Promise<string>;
