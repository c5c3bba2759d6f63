// What the agent answers, made from its own types. Answers may grow: ignore what you do not know.

/** One change in `homing.queue/1`. */
export interface Change {
  /** Columns that differ from the base; empty for a delete. */
  columns: string[];
  /** The key as a JSON array, in text. */
  key: string;
  next_try_at: number | null;
  operation: string;
  /** 0 (critical) to 4 (background). */
  priority: number;
  reason: Reason | null;
  replica: string;
  /** When the oldest unsent write of this row was made. */
  since: number | null;
  /** `pending`, `in_flight`, `waiting_for_parent` or `set_aside`. */
  state: string;
  table: string;
  tries: number;
}

/** One conflict in `homing.conflicts/1`. Sides are objects by column, or null where the row is not there. */
export interface Conflict {
  at: number;
  base: Record<string, unknown> | null;
  id: number;
  key: string;
  kind: string;
  local: Record<string, unknown> | null;
  /** When this device's version was written. */
  local_at: number | null;
  local_device: string;
  note: string;
  remote: Record<string, unknown> | null;
  /** When the remote's version was written, by its stamp. */
  remote_at: number | null;
  remote_device: string;
  replica: string;
  result: Record<string, unknown> | null;
  /** When a person settled it. */
  settled_at: number | null;
  /** `rule`, `person`, or null while it waits. */
  settled_by: string | null;
  strategy: string;
  table: string;
}

/** `homing.conflicts/1`. */
export interface Conflicts {
  conflicts: Conflict[];
  more: boolean;
  schema: string;
}

/** How many changes a call was about. */
export interface Count {
  changes: number;
}

/** What one cycle did. */
export interface Cycle {
  bytes_down: number;
  bytes_up: number;
  conflicts: number;
  milliseconds: number;
  pulled: number;
  pushed: number;
}

/** Something happened. `seq` grows by one an event, from 1, for one life of the agent. */
export interface Event {
  /** Says in `replica` (or `name`, for a status) which replica it is about. */
  data: unknown;
  seq: number;
  /** Milliseconds since 1970. */
  time: number;
  topic: Topic;
}

/** `homing.explain/1`: the life of one row, oldest first. */
export interface Explanation {
  key: string;
  lines: ExplanationLine[];
  replica: string;
  schema: string;
  table: string;
  /** One sentence: where this row stands now. */
  verdict: string;
}

export interface ExplanationLine {
  at: number | null;
  text: string;
  /** A short word: `here`, `outbox`, `base`, `sent`, `conflict`, `set_aside`, `parked`, `hub`. */
  what: string;
}

/** `system.hello`. */
export interface Hello {
  api: number;
  capabilities: string[];
  /** The agent's version. */
  daemon: string;
  minor: number;
}

/** `homing.history/1`. */
export interface History {
  cycles: HistoryEntry[];
  schema: string;
}

/** One past cycle in `homing.history/1`. */
export interface HistoryEntry {
  apply_milliseconds: number;
  /** When it began. */
  at: number;
  bytes_down: number;
  bytes_up: number;
  /** Why it ran: `start`, `timer`, `write`, `command` … */
  cause: string;
  /** How long ago, when it began, everything was last in step; null when it never was. */
  checkpoint_age_seconds: number | null;
  conflicts: number;
  milliseconds: number;
  /** Waiting for pages. */
  pull_milliseconds: number;
  pulled: number;
  /** Choosing, sending and settling. */
  push_milliseconds: number;
  pushed: number;
  /** Changes that still wait when it ended, by table. */
  queued: Record<string, number>;
  /** Null when it went well. */
  reason: Reason | null;
  /** Changes that the remote refused, by its code. */
  refused: Record<string, number>;
  replica: string;
  /** Conflicts found, by what came of them: `local`, `remote`, `merged`, or `open` where a person is to settle it. */
  resolved: Record<string, number>;
}

export interface Link {
  /** Failed cycles in a row. */
  failures: number;
  latency_ms: number | null;
  /** How far this device's clock is ahead of the remote's, as last measured; negative where it is behind. Stamps are corrected by it. */
  skew_ms: number | null;
}

/** `homing.metrics/1`. What counts something counts from the agent's start. */
export interface Metrics {
  replicas: ReplicaMetrics[];
  schema: string;
  version: string;
}

/** `network.status`. */
export interface Network {
  metered: boolean | null;
  /** True while a battery drains, and where the network is paid for by what goes over it; null where the system does not say, or no replica's schedule asks. */
  on_battery: boolean | null;
  /** False where this machine has no network at all. */
  online: boolean;
  replicas: NetworkReplica[];
}

export interface NetworkReplica {
  bytes_down_per_second: number | null;
  /** As last measured in passing, on a transfer large enough to tell; null until then. */
  bytes_up_per_second: number | null;
  /** Cycles since the agent started, and those of them that the way there made fail. */
  cycles: number;
  failed: number;
  /** Failed cycles in a row. */
  failures: number;
  latency_ms: number | null;
  name: string;
  online: boolean;
  /** `sync`, or `save` or `wait` where its schedule says so for that. */
  saving: string;
}

/** `homing.plan/1`: what the next cycle would send. */
export interface Plan {
  batches: PlanBatch[];
  /** True when there was more than the plan shows. */
  more: boolean;
  replica: string;
  schema: string;
  /** Changes that would stay, and why. */
  staying: Change[];
}

export interface PlanBatch {
  bytes: number;
  changes: PlanChange[];
}

export interface PlanChange {
  /** Why it stands here: `priority high`, `before tasks ["7"] that refers to it` … */
  because: string;
  key: string;
  operation: string;
  priority: number;
  table: string;
}

/** `system.ping`. */
export interface Pong {
  pong: boolean;
}

export interface Progress {
  done: number;
  total: number | null;
  /** "sending" or "receiving". */
  what: string;
}

/** `homing.queue/1`. */
export interface Queue {
  changes: Change[];
  /** True when there are more than `limit` let through. */
  more: boolean;
  schema: string;
}

/** A code for programs, a sentence for people, and the next step. */
export interface Reason {
  code: ReasonCode;
  /** What to do, or what will happen by itself. Empty when there is nothing to say. */
  next: string;
  text: string;
}

export type ReasonCode = "offline_no_network" | "offline_hub_down" | "offline_timeout" | "offline_tls" | "rate_limited" | "auth_refused" | "auth_expired" | "auth_revoked" | "hub_version" | "protocol_error" | "row_refused" | "row_too_large" | "too_old" | "key_unusable" | "mass_deletion" | "queue_full" | "conflict_manual" | "table_missing" | "database_missing" | "database_locked" | "database_read_only" | "database_not_sqlite" | "database_corrupt" | "database_replaced" | "disk_full" | "newer_format" | "paused_by_person" | "detached" | "scope_gone" | "agent_stopping" | "unknown_replica" | "unknown_method" | "bad_request" | "not_found" | "not_allowed" | "timed_out" | "unsent" | "internal" | "pending_debounce" | "pending_schedule" | "pending_parent" | "pending_retry" | "on_battery" | "on_metered" | "offline_not_the_hub" | "remote_trouble" | "auth_missing" | "auth_forbidden" | "auth_plain_http" | "parent_set_aside" | "conflict_settled" | "row_changed" | "parked_parent" | "parked_constraint" | "database_taken" | "unknown";

export interface ReplicaEntry {
  attached: boolean;
  database: string;
  name: string;
  /** The remote's URL; never a token. */
  remote: string;
}

export interface ReplicaMetrics {
  bytes_down: number;
  bytes_up: number;
  conflicts: number;
  cycles: number;
  /** Cycles that did not go well, by reason. */
  failed: Record<string, number>;
  /** Milliseconds since 1970. */
  last_sync_at: number | null;
  latency_ms: number | null;
  /** Spent in cycles. */
  milliseconds: number;
  oldest_pending_seconds: number | null;
  /** Conflicts that wait for a person. */
  open_conflicts: number;
  parked: number;
  pending: number;
  pulled: number;
  pushed: number;
  /** Changes that waited when a cycle last ended, by table. */
  queued: Record<string, number>;
  /** Changes the remote refused, by its code. */
  refused: Record<string, number>;
  replica: string;
  /** Conflicts found, by what came of them. */
  resolved: Record<string, number>;
  set_aside: number;
  state: State;
}

/** One replica in `homing.status/1`. Times are milliseconds since 1970. */
export interface ReplicaStatus {
  /** Conflicts that wait for a person. */
  conflicts: number;
  database: string;
  last_cycle: Cycle | null;
  last_sync_at: number | null;
  /** True once a person should be told: five failed cycles in a row. */
  lasting: boolean;
  link: Link;
  name: string;
  next_sync_at: number | null;
  /** Things a person should know that do not stop anything: tables left out, a file on a network mount, a clock that is off. */
  notes: string[];
  oldest_pending_seconds: number | null;
  online: boolean;
  /** Pulled rows that wait. */
  parked: number;
  pending: number;
  /** Set while a long transfer runs. */
  progress: Progress | null;
  reason: Reason | null;
  set_aside: number;
  state: State;
}

/** `homing.replicas/1`: which replicas a call was about. */
export interface Replicas {
  replicas: ReplicaEntry[];
  schema: string;
}

/** A version of a conflict, or what is made of them. */
export type Side = "local" | "remote" | "merged";

export type State = "in_step" | "pending" | "syncing" | "offline" | "backing_off" | "signed_out" | "paused" | "halted" | "detached";

/** `homing.status/1`, whole. */
export interface Status {
  replicas: ReplicaStatus[];
  schema: string;
  version: string;
}

/** `events.subscribe`. Events follow as notifications, from `seq` + 1 on. */
export interface Subscribed {
  /** How many events between `since` and now are no longer kept; null where `since` is not known here, or was not asked for. */
  missed: number | null;
  /** The newest event the snapshot covers. */
  seq: number;
  snapshot: Status;
  topics: Topic[];
}

/** `homing.sync/1`: how each replica ended up. */
export interface Sync {
  replicas: SyncOutcome[];
  schema: string;
}

export interface SyncOutcome {
  /** Conflicts that wait for a person. */
  conflicts: number;
  /** Everything written before the call is at the remote, and what was there is here, but for what is counted below. */
  in_step: boolean;
  /** Pulled rows that cannot be written here yet. */
  parked: number;
  /** Why it is not in step, or not clean. */
  reason: Reason | null;
  replica: string;
  set_aside: number;
}

/** One table of `homing.verify/1`. */
export interface TableCheck {
  /** Keys that differ, as JSON arrays in text, with what is the matter: `differs`, `missing_here`, `missing_there`. At most 1,000 are named. */
  differing: ([string, string])[];
  rows_here: number;
  rows_there: number;
  table: string;
}

/** `homing.telemetry/1`: what a person agreed to send, all of it. */
export interface Telemetry {
  consent: boolean;
  events: TelemetryEvent[];
  schema: string;
  /** Where it is sent; null: nowhere. */
  url: string | null;
}

/** One record: what happened, in which hour, and counts, times and codes of it. */
export interface TelemetryEvent {
  event: string;
  facts: Record<string, unknown>;
  /** Milliseconds since 1970 at which the hour begins. */
  hour: number;
}

export type Topic = "status" | "changed" | "progress" | "conflict" | "set_aside" | "cycle";

/** `homing.verify/1`. */
export interface Verification {
  /** Rows put right; 0 where nothing was asked to be repaired. */
  repaired: number;
  replica: string;
  schema: string;
  tables: TableCheck[];
}
