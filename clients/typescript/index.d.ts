import type * as types from "./types.js";
export type * from "./types.js";

export class HomingError extends Error {
  reason: types.ReasonCode;
  hint: string;
  retryable: boolean;
  retryAt: number | null;
}
export class NoAgent extends Error {}

export function socketPath(): string;
export function keyOf(...values: (string | number | bigint | Uint8Array | null)[]): string;

export type Heard = types.Event | { topic: "snapshot"; seq: number; data: types.Status };
export type RowState = "synced" | "pending" | "in_flight" | "waiting_for_parent" | "set_aside";
export interface Decision {
  take?: types.Side;
  columns?: Record<string, types.Side>;
  set?: Record<string, unknown>;
  replica?: string;
  force?: boolean;
}

export class Homing {
  constructor(options?: { path?: string; timeoutMs?: number });
  call<T = unknown>(method: string, params?: Record<string, unknown>, options?: { timeoutMs?: number }): Promise<T>;
  close(): void;

  statuses(): Promise<types.ReplicaStatus[]>;
  status(replica: string): Promise<types.ReplicaStatus>;
  network(): Promise<types.Network>;
  metrics(): Promise<types.ReplicaMetrics[]>;
  history(options?: { replica?: string; limit?: number }): Promise<types.HistoryEntry[]>;

  sync(replica?: string): Promise<void>;
  syncAndWait(replica?: string, options?: { timeoutMs?: number }): Promise<types.SyncOutcome[]>;
  pause(replica?: string): Promise<void>;
  resume(replica?: string): Promise<void>;
  foreground(replica?: string): Promise<void>;

  enqueue(replica: string, action: string, payload?: unknown, options?: { key?: string }): Promise<types.Enqueued>;
  queue(options?: { replica?: string; table?: string; limit?: number }): Promise<types.Change[]>;
  retry(replica: string, table?: string, key?: string): Promise<number>;
  discard(replica: string, table: string, key: string): Promise<number>;
  rowState(replica: string, table: string, key: string): Promise<RowState>;
  explain(replica: string, table: string, key: string): Promise<types.Explanation>;

  conflicts(options?: { replica?: string; open?: boolean; limit?: number }): Promise<types.Conflict[]>;
  conflict(id: number, replica?: string): Promise<types.Conflict>;
  resolve(id: number, decision: Decision): Promise<types.Conflict>;
  undo(id: number, options?: { replica?: string; force?: boolean }): Promise<types.Conflict>;

  watch(topics: types.Topic[] | null, listener: (event: Heard) => void): () => void;
  events(topics?: types.Topic[]): AsyncGenerator<Heard, void, void>;
}
