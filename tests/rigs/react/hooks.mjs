// The twelve hooks in a real React, against a real agent: each shows what is so, and shows
// another thing when that has changed, without being asked again.
import assert from "node:assert";
import { execFileSync } from "node:child_process";
import { createElement } from "react";
import { act, create } from "react-test-renderer";
import { Homing, keyOf } from "homing-client";
import * as hooks from "homing-client/react";

globalThis.IS_REACT_ACT_ENVIRONMENT = true;
// The agent's events come when they come, and not within `act`.
const { error } = console;
console.error = (text, ...rest) => String(text).includes("not wrapped in act") || error(text, ...rest);
const [homing, other] = [new Homing(), new Homing({ path: process.env.OTHER_SOCKET })];
const sql = (database, text) => execFileSync("sqlite3", ["-cmd", ".timeout 5000", database, text]);
const seen = {};

function All({ conflict }) {
  seen.sync = hooks.useSync("notes");
  seen.state = hooks.useSyncState("notes");
  seen.queue = hooks.useSyncQueue("notes");
  seen.conflicts = hooks.useSyncConflicts("notes");
  seen.resolution = hooks.useConflictResolution(conflict, "notes");
  seen.history = hooks.useSyncHistory("notes");
  seen.metrics = hooks.useSyncMetrics("notes");
  seen.entity = hooks.useEntitySync("notes", "tasks", keyOf("1"));
  seen.batch = hooks.useBatchSync("notes");
  seen.offline = hooks.useOfflineStatus("notes");
  seen.events = hooks.useRealtimeSyncState(["cycle"]);
  seen.monitor = hooks.useSyncMonitor();
  return null;
}

async function until(what, isSo) {
  const deadline = Date.now() + 30_000;
  while (!isSo()) {
    assert(Date.now() < deadline, `never: ${what}\n${JSON.stringify(seen, null, 1)}`);
    await act(() => new Promise((resolve) => setTimeout(resolve, 20)));
  }
  console.log(`well: ${what}`);
}

const tree = (conflict) => createElement(hooks.HomingProvider, { client: homing }, createElement(All, { conflict }));
let root;
await act(async () => void (root = create(tree(1))));
await until("useSyncState shows a replica in step", () => seen.state.status?.state === "in_step");
await until("useOfflineStatus shows a link", () => seen.offline.isOnline === true && seen.offline.links.length === 1);
assert.equal(seen.offline.isOffline, false);

await act(() => seen.batch.syncBatch(() => sql(process.env.DATABASE, "INSERT INTO tasks VALUES ('1', 'base'), ('2', 'two')")));
await until("useBatchSync wrote and waited", () => seen.metrics.metrics[0]?.pushed === 2);
await until("useSyncHistory has the cycle", () => seen.history.cycles.some((cycle) => cycle.pushed === 2));
await until("useRealtimeSyncState heard of it", () => seen.events.events.some((event) => event.topic === "cycle"));
await until("useEntitySync shows a synced row", () => seen.entity.state === "synced");
assert.equal((await seen.entity.explain()).table, "tasks");
await other.syncAndWait("notes");

await act(() => seen.sync.pause());
await until("useSync paused it", () => seen.state.status?.state === "paused");
sql(process.env.DATABASE, "UPDATE tasks SET title = 'mine' WHERE id = '1'");
await act(() => homing.statuses());
await until("useEntitySync shows an unsent row", () => seen.entity.state === "pending");
await until("useSyncQueue lists it", () => seen.queue.changes.length === 1 && seen.queue.changes[0].key === '["1"]');
await until("useSyncMonitor counts it", () => seen.monitor.pendingCount === 1 && seen.monitor.isOnline);

sql(process.env.OTHER, "UPDATE tasks SET title = 'theirs' WHERE id = '1'");
await other.syncAndWait("notes");
await act(() => seen.sync.resume());
await act(() => seen.sync.syncAndWait());
await until("useSyncConflicts shows what met what", () => seen.conflicts.conflicts.length === 1);
const { id } = seen.conflicts.conflicts[0];
await act(async () => root.update(tree(id)));
await until("useConflictResolution has both sides", () => seen.resolution.conflict?.local?.title === "mine" && seen.resolution.conflict?.remote?.title === "theirs");
await until("useSyncMonitor counts the conflict", () => seen.monitor.conflictCount === 1);
await act(() => seen.resolution.resolve({ take: "local" }));
await until("settled, it is gone from the list", () => seen.conflicts.conflicts.length === 0);
await act(() => seen.sync.syncAndWait());
await until("and the row is synced", () => seen.entity.state === "synced");

await act(async () => root.unmount());
homing.close();
other.close();
