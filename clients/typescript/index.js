// Asks the Homing agent on this machine, over its Unix socket.
//
// A client holds one connection for calls, which run side by side, and one for events. Nothing
// is ever sent twice: a connection that breaks in the middle of a call rejects it, and whoever
// called decides. The connection for events comes back by itself, from where it was.

import net from "node:net";
import os from "node:os";
import path from "node:path";
import fs from "node:fs";

/** The agent said no. `hint` says what to do next. */
export class HomingError extends Error {
  constructor(error) {
    const data = error.data ?? {};
    super(data.hint ? `${error.message}; ${data.hint}` : error.message);
    this.name = "HomingError";
    this.reason = data.reason ?? "internal";
    this.hint = data.hint ?? "";
    this.retryable = Boolean(data.retryable);
    this.retryAt = data.retry_at ?? null;
  }
}

/** Nobody listens on the socket, or whoever did has gone. */
export class NoAgent extends Error {
  constructor(text) {
    super(text);
    this.name = "NoAgent";
  }
}

/** Where the agent of this user listens. */
export function socketPath() {
  if (process.env.HOMING_SOCKET) return process.env.HOMING_SOCKET;
  if (process.platform === "darwin") {
    return path.join(os.homedir(), "Library/Application Support/Homing/agent.sock");
  }
  const own = process.env.XDG_RUNTIME_DIR && path.join(process.env.XDG_RUNTIME_DIR, "homing/agent.sock");
  return own && fs.existsSync(own) ? own : "/run/homing/agent.sock";
}

/** A row's key as the agent writes it: a JSON array of the key columns, in order. */
export function keyOf(...values) {
  const plain = (value) => (value instanceof Uint8Array ? { blob: Buffer.from(value).toString("hex") } : value);
  return JSON.stringify(values.map(plain), (_, value) => (typeof value === "bigint" ? Number(value) : value));
}

/** Reads lines from a socket; `onLine` gets each as JSON, `onEnd` the end, once. */
function connect(at, onLine, onEnd) {
  const socket = net.connect(at);
  let rest = "";
  socket.setEncoding("utf8");
  socket.on("data", (part) => {
    const lines = (rest + part).split("\n");
    rest = lines.pop();
    for (const line of lines) onLine(JSON.parse(line));
  });
  socket.on("error", () => {});
  socket.on("close", onEnd);
  return socket;
}

const RETRY_MS = 500;

export class Homing {
  #path;
  #timeoutMs;
  #socket = null;
  #waiting = new Map();
  #lastId = 0;
  #listeners = new Set();
  #stream = null;
  #retry = null;
  #seq = null;
  #closed = false;

  constructor({ path: at, timeoutMs = 30_000 } = {}) {
    this.#path = at ?? socketPath();
    this.#timeoutMs = timeoutMs;
  }

  /** Any method of the agent; parameters that are undefined are left out. */
  call(method, params = {}, { timeoutMs = this.#timeoutMs } = {}) {
    return new Promise((resolve, reject) => {
      const id = ++this.#lastId;
      const given = Object.fromEntries(Object.entries(params).filter(([, value]) => value !== undefined));
      const timer = setTimeout(() => {
        this.#waiting.delete(id);
        reject(new NoAgent(`the agent did not answer ${method} within ${timeoutMs} ms`));
      }, timeoutMs);
      this.#waiting.set(id, { resolve, reject, timer });
      this.#connection().write(JSON.stringify({ jsonrpc: "2.0", id, method, params: given }) + "\n");
    });
  }

  #connection() {
    if (this.#socket) return this.#socket;
    const socket = connect(
      this.#path,
      (answer) => {
        const asked = this.#waiting.get(answer.id);
        if (!asked) return;
        this.#waiting.delete(answer.id);
        clearTimeout(asked.timer);
        if (answer.error) asked.reject(new HomingError(answer.error));
        else asked.resolve(answer.result);
      },
      () => {
        this.#socket = null;
        const text = `no agent answers on ${this.#path}; start it with \`homing agent\``;
        for (const { reject, timer } of this.#waiting.values()) {
          clearTimeout(timer);
          reject(new NoAgent(text));
        }
        this.#waiting.clear();
      },
    );
    return (this.#socket = socket);
  }

  close() {
    this.#closed = true;
    clearTimeout(this.#retry);
    this.#socket?.destroy();
    this.#stream?.destroy();
  }

  // How things stand

  async statuses() {
    return (await this.call("replica.status")).replicas;
  }

  async status(replica) {
    return (await this.call("replica.status", { replica })).replicas[0];
  }

  network() {
    return this.call("network.status");
  }

  async metrics() {
    return (await this.call("metrics.get")).replicas;
  }

  /** Past cycles, newest first. */
  async history({ replica, limit } = {}) {
    return (await this.call("history.list", { replica, limit })).cycles;
  }

  // Syncing

  /** Starts a cycle and returns at once. */
  async sync(replica) {
    await this.call("sync.now", { replica });
  }

  /**
   * Resolves when what was written before is at the remote, and what was there is here. Each
   * replica's outcome says in `in_step` whether it went so, and in `reason` why not.
   */
  async syncAndWait(replica, { timeoutMs = 60_000 } = {}) {
    const params = { replica, timeout_ms: timeoutMs };
    return (await this.call("sync.wait", params, { timeoutMs: timeoutMs + 30_000 })).replicas;
  }

  async pause(replica) {
    await this.call("sync.pause", { replica });
  }

  async resume(replica) {
    await this.call("sync.resume", { replica });
  }

  /** The app came to the front: a good moment to sync. */
  async foreground(replica) {
    await this.call("app.foreground", { replica });
  }

  // What waits

  /** Asks the backend for something that is no row; `folded`: the same waited already. */
  async enqueue(replica, action, payload, { key } = {}) {
    return await this.call("action.enqueue", { replica, action, payload, key });
  }

  async queue({ replica, table, limit } = {}) {
    return (await this.call("queue.list", { replica, table, limit })).changes;
  }

  /** Sends again what was set aside; all of it without a table. */
  async retry(replica, table, key) {
    return (await this.call("queue.retry", { replica, table, key, all: table === undefined ? true : undefined })).changes;
  }

  /** Gives one row's unsent change up for the remote's version; it stays in the ledger. */
  async discard(replica, table, key) {
    return (await this.call("queue.discard", { replica, table, key })).changes;
  }

  /** `synced`, or the state of the row's unsent change. */
  async rowState(replica, table, key) {
    const changes = await this.queue({ replica, table });
    return changes.find((change) => change.key === key)?.state ?? "synced";
  }

  /** The life of one row; `verdict` says in one sentence where it stands. */
  explain(replica, table, key) {
    return this.call("row.explain", { replica, table, key });
  }

  // Conflicts

  async conflicts({ replica, open, limit } = {}) {
    return (await this.call("conflicts.list", { replica, open, limit })).conflicts;
  }

  conflict(id, replica) {
    return this.call("conflicts.get", { id, replica });
  }

  /** Settles one: `take` a side, then single `columns` from a side, then values to `set`. */
  resolve(id, { take, columns, set, replica, force } = {}) {
    return this.call("conflicts.resolve", { id, take, columns, set, replica, force });
  }

  /** Takes a settled one back: what lost stands, and goes to all devices. */
  undo(id, { replica, force } = {}) {
    return this.call("conflicts.undo", { id, replica, force });
  }

  // Events

  /**
   * Tells `listener` of each event of these topics (all of them without) until the function
   * that is returned is called. An event with the topic `snapshot` has the whole state: it
   * comes first, and again wherever events may have gone by unheard.
   */
  watch(topics, listener) {
    const entry = { topics: topics ? new Set(topics) : null, listener };
    this.#listeners.add(entry);
    this.#listen();
    return () => {
      this.#listeners.delete(entry);
      if (this.#listeners.size === 0) this.#stream?.destroy();
    };
  }

  #listen() {
    if (this.#stream || this.#closed || this.#listeners.size === 0) return;
    const tell = (event) => {
      for (const { topics, listener } of [...this.#listeners]) {
        if (!topics || topics.has(event.topic) || event.topic === "snapshot") listener(event);
      }
    };
    const stream = connect(
      this.#path,
      (told) => {
        if (told.method === "event") {
          this.#seq = told.params.seq;
          tell(told.params);
        } else if (told.method === "lagged") {
          this.call("replica.status").then((data) => tell({ topic: "snapshot", seq: this.#seq, data }), () => {});
        } else if (told.result) {
          this.#seq = told.result.seq;
          tell({ topic: "snapshot", seq: told.result.seq, data: told.result.snapshot });
        }
      },
      () => {
        this.#stream = null;
        if (this.#closed || this.#listeners.size === 0) return;
        this.#retry = setTimeout(() => this.#listen(), RETRY_MS);
        this.#retry.unref?.();
      },
    );
    this.#stream = stream;
    const params = this.#seq === null ? {} : { since: this.#seq };
    stream.write(JSON.stringify({ jsonrpc: "2.0", id: 1, method: "events.subscribe", params }) + "\n");
  }

  /** The same as a stream: `for await (const event of homing.events(["cycle"])) …` */
  async *events(topics) {
    const heard = [];
    let wake = () => {};
    const stop = this.watch(topics, (event) => {
      heard.push(event);
      wake();
    });
    try {
      for (;;) {
        if (heard.length === 0) await new Promise((resolve) => (wake = resolve));
        while (heard.length > 0) yield heard.shift();
      }
    } finally {
      stop();
    }
  }
}
