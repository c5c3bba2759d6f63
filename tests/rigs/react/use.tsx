// How an app uses the client, for the compiler to look at.
import { Homing, HomingError, keyOf, type Status } from "homing-client";
import {
  HomingProvider, useBatchSync, useConflictResolution, useEntitySync, useOfflineStatus, useRealtimeSyncState, useSync,
  useSyncConflicts, useSyncHistory, useSyncMetrics, useSyncMonitor, useSyncQueue, useSyncState,
} from "homing-client/react";

const homing = new Homing({ timeoutMs: 1000 });

export async function plain(): Promise<string[]> {
  const document = await homing.call<Status>("replica.status");
  const [outcome] = await homing.syncAndWait("notes");
  const reason: string | undefined = outcome.reason?.code;
  try {
    await homing.resolve(1, { take: "local", columns: { title: "remote" }, set: { done: 1 } });
  } catch (error) {
    if (error instanceof HomingError && error.reason === "row_changed") throw error;
  }
  for await (const event of homing.events(["changed"])) {
    if (event.topic === "snapshot") return event.data.replicas.map((one) => one.state);
  }
  // @ts-expect-error there is no such side
  await homing.resolve(1, { take: "theirs" });
  return [document.schema, reason ?? "", keyOf(1, "a")];
}

function Row({ id }: { id: string }) {
  const { state, sync, isSyncing } = useEntitySync("notes", "tasks", keyOf(id));
  return <button disabled={isSyncing} onClick={() => sync()}>{state}</button>;
}

function All() {
  const { isSyncing, pause } = useSync("notes");
  const { status } = useSyncState("notes");
  const { changes, discard } = useSyncQueue("notes", { table: "tasks" });
  const { conflicts } = useSyncConflicts("notes");
  const { resolve } = useConflictResolution(conflicts[0]?.id ?? 0, "notes");
  const { cycles } = useSyncHistory();
  const { metrics } = useSyncMetrics("notes");
  const { syncBatch } = useBatchSync("notes");
  const { isOffline, links } = useOfflineStatus();
  const { last } = useRealtimeSyncState(["cycle"]);
  const { pendingCount } = useSyncMonitor();
  const age: number = Date.now() - (cycles[0]?.at ?? 0) + metrics[0].pushed + pendingCount + links[0].failures;
  return (
    <p onClick={async () => {
      await pause();
      await discard("tasks", changes[0].key);
      await resolve({ take: "merged" });
      await syncBatch(() => undefined);
    }}>
      {status?.state} {isSyncing} {isOffline} {last?.topic} {age}
    </p>
  );
}

export const app = <HomingProvider client={homing}><Row id="1" /><All /></HomingProvider>;
