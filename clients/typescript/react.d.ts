import type { ReactNode } from "react";
import type {
  Change,
  Conflict,
  Decision,
  Explanation,
  Heard,
  HistoryEntry,
  Homing,
  NetworkReplica,
  ReplicaMetrics,
  ReplicaStatus,
  RowState,
  SyncOutcome,
  Topic,
} from "./index.js";

interface Answered {
  error: Error | null;
  loading: boolean;
}
interface Refreshed extends Answered {
  refresh(): void;
}

export function HomingProvider(props: { client: Homing; children?: ReactNode }): ReactNode;
export function useHoming(): Homing;

export function useSync(replica?: string): {
  sync(): Promise<void>;
  syncAndWait(options?: { timeoutMs?: number }): Promise<SyncOutcome[]>;
  pause(): Promise<void>;
  resume(): Promise<void>;
  isSyncing: boolean;
  error: Error | null;
};
export function useSyncState(replica: string): Answered & { status: ReplicaStatus | undefined };
export function useSyncQueue(
  replica?: string,
  options?: { table?: string; limit?: number },
): Refreshed & {
  changes: Change[];
  retry(table?: string, key?: string): Promise<number>;
  discard(table: string, key: string): Promise<number>;
};
export function useSyncConflicts(
  replica?: string,
  options?: { open?: boolean; limit?: number },
): Refreshed & { conflicts: Conflict[] };
export function useConflictResolution(
  id: number,
  replica?: string,
): {
  conflict: Conflict | undefined;
  resolve(decision: Decision): Promise<Conflict>;
  undo(options?: { force?: boolean }): Promise<Conflict>;
  isResolving: boolean;
  error: Error | null;
};
export function useSyncHistory(replica?: string, options?: { limit?: number }): Refreshed & { cycles: HistoryEntry[] };
export function useSyncMetrics(replica?: string): Answered & { metrics: ReplicaMetrics[] };
export function useEntitySync(
  replica: string,
  table: string,
  key: string,
): {
  state: RowState | undefined;
  change: Change | null;
  isSyncing: boolean;
  sync(): Promise<SyncOutcome[]>;
  explain(): Promise<Explanation>;
  error: Error | null;
};
export function useBatchSync(replica?: string): {
  syncBatch(write: () => void | Promise<void>): Promise<SyncOutcome[]>;
  isSyncing: boolean;
  error: Error | null;
};
export function useOfflineStatus(replica?: string): {
  isOnline: boolean | undefined;
  isOffline: boolean;
  links: NetworkReplica[];
  error: Error | null;
};
export function useRealtimeSyncState(
  topics?: Topic[],
  options?: { limit?: number },
): { events: Heard[]; last: Heard | undefined };
export function useSyncMonitor(): Answered & {
  isOnline: boolean;
  pendingCount: number;
  conflictCount: number;
  setAsideCount: number;
  lastSyncAt: number | null;
  replicas: ReplicaStatus[];
};
