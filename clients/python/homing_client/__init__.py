"""Asks the Homing agent on this machine, over its Unix socket.

A client holds one connection and asks one thing at a time; it may be used from one thread.
Nothing is ever sent twice: a connection that breaks in the middle of a call is an error, and
whoever called decides. What the agent answers are plain dictionaries, as docs/ipc.md has them,
which may grow: ignore members you do not know.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from typing import Any, Dict, Iterable, Iterator, List, Optional, Sequence, Union

__all__ = ["Client", "HomingError", "NoAgent", "key_of", "socket_path"]

Json = Dict[str, Any]


class HomingError(Exception):
    """The agent said no. `hint` says what to do next."""

    def __init__(self, error: Json) -> None:
        data = error.get("data") or {}
        self.reason: str = data.get("reason", "internal")
        self.hint: str = data.get("hint", "")
        self.retryable: bool = bool(data.get("retryable"))
        self.retry_at: Optional[int] = data.get("retry_at")
        super().__init__(error.get("message", "") + (f"; {self.hint}" if self.hint else ""))


class NoAgent(ConnectionError):
    """Nobody listens on the socket, or whoever did has gone."""


def socket_path() -> str:
    """Where the agent of this user listens."""
    named = os.environ.get("HOMING_SOCKET")
    if named:
        return named
    if sys.platform == "darwin":
        return os.path.expanduser("~/Library/Application Support/Homing/agent.sock")
    own = os.environ.get("XDG_RUNTIME_DIR")
    path = os.path.join(own, "homing", "agent.sock") if own else ""
    return path if path and os.path.exists(path) else "/run/homing/agent.sock"


def key_of(*values: Union[str, int, float, bytes, None]) -> str:
    """A row's key as the agent writes it: a JSON array of the key columns, in order."""
    plain = [{"blob": value.hex()} if isinstance(value, bytes) else value for value in values]
    return json.dumps(plain, separators=(",", ":"), ensure_ascii=False)


class Client:
    """A connection to the agent; closes itself at the end of a `with`."""

    def __init__(self, path: Optional[str] = None, timeout: Optional[float] = 30.0) -> None:
        self._path = path or socket_path()
        self._timeout = timeout
        self._last_id = 0
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(timeout)
        try:
            self._socket.connect(self._path)
        except (FileNotFoundError, ConnectionRefusedError) as error:
            self._socket.close()
            raise NoAgent(f"no agent listens on {self._path}; start it with `homing agent`") from error
        self._lines = self._socket.makefile("rb")

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._lines.close()
        self._socket.close()

    def call(self, method: str, timeout: Optional[float] = None, **params: Any) -> Any:
        """Any method of the agent; parameters that are None are left out."""
        self._last_id += 1
        given = {name: value for name, value in params.items() if value is not None}
        request = {"jsonrpc": "2.0", "id": self._last_id, "method": method, "params": given}
        self._socket.settimeout(self._timeout if timeout is None else timeout)
        self._socket.sendall(json.dumps(request).encode() + b"\n")
        answer = self._read()
        if "error" in answer:
            raise HomingError(answer["error"])
        return answer["result"]

    # How things stand

    def statuses(self) -> List[Json]:
        """Every replica's status."""
        return self.call("replica.status")["replicas"]

    def status(self, replica: str) -> Json:
        return self.call("replica.status", replica=replica)["replicas"][0]

    def network(self) -> Json:
        """Whether the remotes can be reached, and how good each link is."""
        return self.call("network.status")

    def metrics(self) -> List[Json]:
        """Counters since the agent started, for each replica."""
        return self.call("metrics.get")["replicas"]

    def history(self, replica: Optional[str] = None, limit: Optional[int] = None) -> List[Json]:
        """Past cycles, newest first."""
        return self.call("history.list", replica=replica, limit=limit)["cycles"]

    # Syncing

    def sync(self, replica: Optional[str] = None) -> None:
        """Starts a cycle and returns at once."""
        self.call("sync.now", replica=replica)

    def sync_and_wait(self, replica: Optional[str] = None, timeout: float = 60.0) -> List[Json]:
        """Returns when what was written before is at the remote, and what was there is here.

        Each replica's outcome says in `in_step` whether it went so, and in `reason` why not.
        """
        answer = self.call("sync.wait", timeout=timeout + 30, replica=replica, timeout_ms=int(timeout * 1000))
        return answer["replicas"]

    def pause(self, replica: Optional[str] = None) -> None:
        self.call("sync.pause", replica=replica)

    def resume(self, replica: Optional[str] = None) -> None:
        self.call("sync.resume", replica=replica)

    def foreground(self, replica: Optional[str] = None) -> None:
        """The app came to the front: a good moment to sync."""
        self.call("app.foreground", replica=replica)

    # What waits

    def enqueue(self, replica: str, action: str, payload: Any = None, key: Optional[str] = None) -> Json:
        """Asks the backend for something that is no row; `id` and `key` say which it is, and
        `folded` that the same waited already."""
        return self.call("action.enqueue", replica=replica, action=action, payload=payload, key=key)

    def queue(self, replica: Optional[str] = None, table: Optional[str] = None, limit: Optional[int] = None) -> List[Json]:
        return self.call("queue.list", replica=replica, table=table, limit=limit)["changes"]

    def retry(self, replica: str, table: Optional[str] = None, key: Optional[str] = None) -> int:
        """Sends again what was set aside; all of it without a table."""
        return self.call("queue.retry", replica=replica, table=table, key=key, all=True if table is None else None)["changes"]

    def discard(self, replica: str, table: str, key: str) -> int:
        """Gives one row's unsent change up for the remote's version; it stays in the ledger."""
        return self.call("queue.discard", replica=replica, table=table, key=key)["changes"]

    def row_state(self, replica: str, table: str, key: str) -> str:
        """`synced`, or the state of the row's unsent change: `pending`, `in_flight`,
        `waiting_for_parent`, `set_aside`."""
        changes = self.queue(replica, table)
        return next((change["state"] for change in changes if change["key"] == key), "synced")

    def explain(self, replica: str, table: str, key: str) -> Json:
        """The life of one row; `verdict` says in one sentence where it stands."""
        return self.call("row.explain", replica=replica, table=table, key=key)

    # Conflicts

    def conflicts(self, replica: Optional[str] = None, open_only: bool = False, limit: Optional[int] = None) -> List[Json]:
        return self.call("conflicts.list", replica=replica, open=open_only, limit=limit)["conflicts"]

    def conflict(self, conflict: int, replica: Optional[str] = None) -> Json:
        """One conflict with all its sides."""
        return self.call("conflicts.get", id=conflict, replica=replica)

    def resolve(
        self,
        conflict: int,
        take: Optional[str] = None,
        columns: Optional[Dict[str, str]] = None,
        values: Optional[Json] = None,
        replica: Optional[str] = None,
        force: bool = False,
    ) -> Json:
        """Settles one: `take` a side (`local`, `remote`, `merged`), then single `columns` from a
        side, then `values` by column. Refused with `row_changed`, unless `force`, where the row
        is not as it was."""
        chosen = {"take": take, "columns": columns, "set": values, "force": force or None}
        return self.call("conflicts.resolve", id=conflict, replica=replica, **chosen)

    def undo(self, conflict: int, replica: Optional[str] = None, force: bool = False) -> Json:
        """Takes a settled one back: what lost stands, and goes to all devices."""
        return self.call("conflicts.undo", id=conflict, replica=replica, force=force or None)

    # Events

    def events(self, topics: Optional[Sequence[str]] = None, since: Optional[int] = None) -> Iterator[Json]:
        """Every event from now on; the first is the whole state, as topic `snapshot`.

        Takes the connection over: ask other things over another client. An item with the
        topic `lagged` says how many events went by unheard; ask for the status then.
        """
        chosen: Optional[Iterable[str]] = list(topics) if topics is not None else None
        subscribed = self.call("events.subscribe", topics=chosen, since=since)
        self._socket.settimeout(None)
        yield {"topic": "snapshot", "seq": subscribed["seq"], "data": subscribed["snapshot"]}
        while True:
            told = self._read()
            if told.get("method") == "event":
                yield told["params"]
            elif told.get("method") == "lagged":
                yield {"topic": "lagged", "data": told["params"]}

    def _read(self) -> Json:
        line = self._lines.readline()
        if not line:
            raise NoAgent("the agent closed the connection")
        return json.loads(line)
