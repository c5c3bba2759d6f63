"""The backend of `harvest-workflow-sync.md`: WatermelonDB's changes in pages, a server
timestamp, owners' rows only, batches with an Idempotency-Key, soft deletes."""
import sys
import uuid
from base import Backend, Refused, serve

TABLES = ["series", "tasks", "occurrence_overrides", "harvests", "inventory", "harvest_audits"]
PARENTS = {
    "tasks": ("series_id", "series"),
    "occurrence_overrides": ("series_id", "series"),
    "inventory": ("harvest_id", "harvests"),
    "harvest_audits": ("harvest_id", "harvests"),
}
CHUNK_MAX = 1000


class Harvest(Backend):
    routes = {("POST", "/sync/pull"): "pull", ("POST", "/sync/push"): "push"}

    def __init__(self, page_rows):
        super().__init__()
        self.page_rows = page_rows
        self.tables = {name: {} for name in TABLES}
        self.answers = {}
        self.replays = 0

    def state(self):
        live = lambda rows: {id: row for id, row in rows.items() if row["deleted_at"] is None}
        return {"tables": {name: live(rows) for name, rows in self.tables.items()}, "replays": self.replays}

    def pull(self, request):
        since = request.body["lastPulledAt"] or 0
        if not isinstance(request.body["schemaVersion"], int):
            raise Refused(400, "schemaVersion is missing")
        now = self.now()
        found = [
            (row["server_updated_at_ms"], name, row)
            for name in TABLES
            for row in self.tables[name].values()
            if row["user_id"] == request.user and row["server_updated_at_ms"] > since
        ]
        place = lambda entry: "%015d/%s/%s" % (entry[0], entry[1], entry[2]["id"])
        after = request.body.get("cursor") or ""
        left = sorted((entry for entry in found if place(entry) > after), key=place)
        page = left[: self.page_rows]
        changes = {name: {"created": [], "updated": [], "deleted": []} for name in TABLES}
        for _, name, row in page:
            if row["deleted_at"] is not None:
                changes[name]["deleted"].append(row["id"])
            else:
                changes[name]["created" if row["made_at"] > since else "updated"].append(row)
        more = len(page) < len(left)
        cursor = place(page[-1]) if more else None
        return {"serverTimestamp": now, "changes": changes, "hasMore": more, "nextCursor": cursor}

    def push(self, request):
        key = request.headers.get("Idempotency-Key", "")
        try:
            uuid.UUID(key)
        except ValueError:
            raise Refused(400, "an Idempotency-Key is needed")
        if (request.user, key) in self.answers:
            self.replays += 1
            return self.answers[request.user, key]
        since = request.body["lastPulledAt"] or 0
        changes = request.body["changes"]
        for name, lists in changes.items():
            if name not in TABLES:
                raise Refused(400, "no such table")
            if list(lists) != ["created", "updated", "deleted"]:
                raise Refused(400, "created, updated, deleted")
            if sum(len(rows) for rows in lists.values()) > CHUNK_MAX:
                raise Refused(413, "too many records")
            for row in lists["created"] + lists["updated"]:
                if row.get("user_id") != request.user:
                    raise Refused(403, "row level security")
                if "server_revision" in row or "conflict_seen" in row:
                    raise Refused(400, "the server's own columns")
                if row.get("notes") == "poison":
                    raise Refused(422, "a row breaks a rule")
                known = self.tables[name].get(row["id"])
                if known and known["user_id"] != request.user:
                    raise Refused(403, "row level security")
                if known and known["server_updated_at_ms"] > since:
                    raise Refused(409, "a row is newer")
            for id in lists["deleted"]:
                if id in self.tables[name] and self.tables[name][id]["user_id"] != request.user:
                    raise Refused(403, "row level security")
        made = {(name, row["id"]) for name, lists in changes.items() for row in lists["created"] + lists["updated"]}
        for name, lists in changes.items():
            if name in PARENTS:
                column, parent = PARENTS[name]
                for row in lists["created"]:
                    id = row.get(column)
                    if id is not None and id not in self.tables[parent] and (parent, id) not in made:
                        raise Refused(422, "its parent is not there")
        for name, lists in changes.items():
            for row in lists["created"] + lists["updated"]:
                self.put(name, row)
            for id in lists["deleted"]:
                if id in self.tables[name]:
                    self.remove(name, id)
        self.answers[request.user, key] = {"success": True}
        return self.answers[request.user, key]

    def put(self, name, row):
        now = self.now()
        known = self.tables[name].get(row["id"], {"made_at": now, "server_revision": 0, "deleted_at": None})
        revision = known["server_revision"] + 1
        merged = {**known, **row, "server_revision": revision, "server_updated_at_ms": now}
        self.tables[name][row["id"]] = merged
        return {}

    def forget_keys(self):
        self.answers = {}
        return {}

    def remove(self, name, id):
        row, now = self.tables[name][id], self.now()
        row.update(deleted_at=now, server_updated_at_ms=now, server_revision=row["server_revision"] + 1)
        return {}


serve(Harvest(int(sys.argv[1]) if len(sys.argv) > 1 else 500))
