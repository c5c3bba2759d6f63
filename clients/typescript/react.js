// React hooks over a client: what an interface shows of a sync, kept fresh by events.
//
// A hook asks when it mounts and again at each event that may have changed the answer. It
// keeps the last answer while it asks, and shows an error beside it. Where the interface and
// Node are two processes, as in Electron, give `HomingProvider` anything with the methods of
// `Homing` that are used: they are plain functions of plain data.

import { createContext, createElement, useCallback, useContext, useEffect, useMemo, useState } from "react";

const HomingContext = createContext(null);

export function HomingProvider({ client, children }) {
  return createElement(HomingContext.Provider, { value: client }, children);
}

export function useHoming() {
  const client = useContext(HomingContext);
  if (!client) throw new Error("there is no <HomingProvider client={…}> above");
  return client;
}

/** What `ask` answers, and again whenever an event of `topics` comes. */
function useAnswer(ask, topics, parts) {
  const client = useHoming();
  const [answer, setAnswer] = useState({ data: undefined, error: null, loading: true });
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    let alive = true;
    let asking = false;
    let again = false;
    const go = async () => {
      if (asking) return void (again = true);
      asking = true;
      do {
        again = false;
        try {
          const data = await ask(client);
          if (alive) setAnswer({ data, error: null, loading: false });
        } catch (error) {
          if (alive) setAnswer((last) => ({ data: last.data, error, loading: false }));
        }
      } while (again && alive);
      asking = false;
    };
    go();
    const stop = client.watch(topics, go);
    return () => {
      alive = false;
      stop();
    };
    // What `ask` depends on is in `parts`.
  }, [client, turn, ...parts]);
  const refresh = useCallback(() => setTurn((last) => last + 1), []);
  return { ...answer, refresh };
}

/** Runs an order, and says whether one is under way and how the last one failed. */
function useOrder(order, parts) {
  const client = useHoming();
  const [state, setState] = useState({ busy: false, error: null });
  const run = useCallback(
    async (...given) => {
      setState({ busy: true, error: null });
      try {
        const result = await order(client, ...given);
        setState({ busy: false, error: null });
        return result;
      } catch (error) {
        setState({ busy: false, error });
        throw error;
      }
    },
    [client, ...parts],
  );
  return [run, state];
}

export function useSync(replica) {
  const { data } = useAnswer((client) => (replica ? client.status(replica) : null), ["status"], [replica]);
  const [run, { busy, error }] = useOrder((client, what, options) => client[what](replica, options), [replica]);
  return {
    sync: useCallback(() => run("sync"), [run]),
    syncAndWait: useCallback((options) => run("syncAndWait", options), [run]),
    pause: useCallback(() => run("pause"), [run]),
    resume: useCallback(() => run("resume"), [run]),
    isSyncing: busy || data?.state === "syncing",
    error,
  };
}

export function useSyncState(replica) {
  const { data, error, loading } = useAnswer((client) => client.status(replica), ["status", "progress"], [replica]);
  return { status: data, error, loading };
}

export function useSyncQueue(replica, { table, limit } = {}) {
  const answer = useAnswer(
    (client) => client.queue({ replica, table, limit }),
    ["cycle", "set_aside", "status"],
    [replica, table, limit],
  );
  const [run] = useOrder((client, what, ...given) => client[what](replica, ...given), [replica]);
  return {
    changes: answer.data ?? [],
    error: answer.error,
    loading: answer.loading,
    refresh: answer.refresh,
    retry: useCallback((table, key) => run("retry", table, key), [run]),
    discard: useCallback((table, key) => run("discard", table, key), [run]),
  };
}

export function useSyncConflicts(replica, { open = true, limit } = {}) {
  const answer = useAnswer(
    (client) => client.conflicts({ replica, open, limit }),
    ["conflict", "cycle"],
    [replica, open, limit],
  );
  return { conflicts: answer.data ?? [], error: answer.error, loading: answer.loading, refresh: answer.refresh };
}

export function useConflictResolution(id, replica) {
  const answer = useAnswer((client) => client.conflict(id, replica), ["conflict"], [id, replica]);
  const [run, { busy, error }] = useOrder((client, what, given) => client[what](id, { replica, ...given }), [id, replica]);
  return {
    conflict: answer.data,
    resolve: useCallback((decision) => run("resolve", decision), [run]),
    undo: useCallback((options) => run("undo", options), [run]),
    isResolving: busy,
    error: error ?? answer.error,
  };
}

export function useSyncHistory(replica, { limit = 100 } = {}) {
  const answer = useAnswer((client) => client.history({ replica, limit }), ["cycle"], [replica, limit]);
  return { cycles: answer.data ?? [], error: answer.error, loading: answer.loading, refresh: answer.refresh };
}

export function useSyncMetrics(replica) {
  const answer = useAnswer((client) => client.metrics(), ["cycle"], []);
  const all = answer.data ?? [];
  return { metrics: replica ? all.filter((one) => one.replica === replica) : all, error: answer.error, loading: answer.loading };
}

/** One row: `state` is `synced` or what its unsent change waits for. */
export function useEntitySync(replica, table, key) {
  const answer = useAnswer(
    async (client) => (await client.queue({ replica, table })).find((change) => change.key === key) ?? null,
    ["changed", "cycle", "set_aside", "status"],
    [replica, table, key],
  );
  const [run, { busy, error }] = useOrder((client) => client.syncAndWait(replica), [replica]);
  const client = useHoming();
  return {
    state: answer.data === undefined ? undefined : (answer.data?.state ?? "synced"),
    change: answer.data ?? null,
    isSyncing: busy,
    sync: run,
    explain: useCallback(() => client.explain(replica, table, key), [client, replica, table, key]),
    error: error ?? answer.error,
  };
}

/** Rows that `write` puts into the app's own database in one transaction travel together. */
export function useBatchSync(replica) {
  const [run, { busy, error }] = useOrder(
    async (client, write) => {
      await write();
      return client.syncAndWait(replica);
    },
    [replica],
  );
  return { syncBatch: run, isSyncing: busy, error };
}

export function useOfflineStatus(replica) {
  const { data, error } = useAnswer((client) => client.network(), ["status", "cycle"], []);
  const chosen = (data?.replicas ?? []).filter((one) => !replica || one.name === replica);
  const isOnline = data ? data.online && chosen.every((one) => one.online) : undefined;
  return { isOnline, isOffline: isOnline === false, links: chosen, error };
}

/** The newest events, newest first. */
export function useRealtimeSyncState(topics, { limit = 50 } = {}) {
  const client = useHoming();
  const [events, setEvents] = useState([]);
  const named = topics ? topics.join() : "";
  useEffect(
    () => client.watch(named ? named.split(",") : null, (event) => setEvents((last) => [event, ...last].slice(0, limit))),
    [client, named, limit],
  );
  return { events, last: events[0] };
}

/** What a badge shows, over all replicas. */
export function useSyncMonitor() {
  const { data, error, loading } = useAnswer((client) => client.statuses(), ["status"], []);
  return useMemo(() => {
    const replicas = data ?? [];
    const sum = (member) => replicas.reduce((total, one) => total + one[member], 0);
    const synced = replicas.map((one) => one.last_sync_at).filter((at) => at !== null);
    return {
      isOnline: replicas.every((one) => one.online),
      pendingCount: sum("pending"),
      conflictCount: sum("conflicts"),
      setAsideCount: sum("set_aside"),
      lastSyncAt: synced.length > 0 ? Math.min(...synced) : null,
      replicas,
      error,
      loading,
    };
  }, [data, error, loading]);
}
