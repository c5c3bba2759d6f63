"""The backend of `watermelon-sync-plan.md`: two functions, one request for all tables,
tombstones written when a row is deleted and purged later."""
from base import Backend, Refused, serve

TABLES = [
    "user_profile", "user_progress", "friends", "interactions", "intentions", "life_events",
    "interaction_friends", "intention_friends", "weekly_reflections", "journal_entries",
]


class Weave(Backend):
    routes = {("POST", "/functions/v1/sync-pull"): "pull", ("POST", "/functions/v1/sync-push"): "push"}

    def __init__(self):
        super().__init__()
        self.tables = {name: {} for name in TABLES}
        self.deleted_records = []
        self.late = []

    def state(self):
        return {"tables": self.tables}

    def pull(self, request):
        since = request.body["lastPulledAt"]
        assert "schemaVersion" in request.body and "migration" in request.body
        changes = {}
        for name in TABLES:
            mine = [row for row in self.tables[name].values() if row["user_id"] == request.user]
            new = [row for row in mine if since is None or row["changed_at"] > since]
            show = lambda row: {key: value for key, value in row.items() if key not in ("changed_at", "made_at")}
            changes[name] = {
                "created": [show(row) for row in new if since is None or row["made_at"] > since],
                "updated": [show(row) for row in new if since is not None and row["made_at"] <= since],
                "deleted": [
                    stone["record_id"]
                    for stone in self.deleted_records
                    if stone["table_name"] == name and stone["user_id"] == request.user
                    and since is not None and stone["deleted_at"] > since
                ],
            }
        return {"changes": changes, "timestamp": self.now()}

    def push(self, request):
        since = request.body["lastPulledAt"] or 0
        changes = request.body["changes"]
        for name, lists in changes.items():
            if name not in TABLES:
                raise Refused(400, "table not allowed")
            for row in lists["created"] + lists["updated"] + [{"id": id} for id in lists["deleted"]]:
                known = self.tables[name].get(row["id"])
                if known and known["user_id"] != request.user:
                    raise Refused(403, "not yours")
                if known and known["changed_at"] > since:
                    raise Refused(409, "changed since lastPulledAt")
        stats = {"created": 0, "updated": 0, "deleted": 0}
        for name, lists in changes.items():
            for kind in ("created", "updated"):
                for row in lists[kind]:
                    self.put(name, {**row, "user_id": request.user})
                    stats[kind] += 1
            for id in lists["deleted"]:
                if id in self.tables[name]:
                    self.remove(name, id)
                    stats["deleted"] += 1
        return {"success": True, "stats": stats}

    def put(self, name, row):
        now = self.now()
        made = self.tables[name].get(row["id"], {}).get("made_at", now)
        self.tables[name][row["id"]] = {**row, "changed_at": now, "made_at": made}
        return {}

    def remove(self, name, id):
        row = self.tables[name].pop(id)
        stone = {"user_id": row["user_id"], "table_name": name, "record_id": id, "deleted_at": self.now()}
        self.deleted_records.append(stone)
        return {}

    # What a test does to it.

    def begin_late(self, name, row):
        """A transaction takes its time stamp and commits later."""
        now = self.now()
        self.late.append((name, {**row, "changed_at": now, "made_at": now}))
        return {}

    def commit_late(self):
        for name, row in self.late:
            self.tables[name][row["id"]] = row
        self.late = []
        return {}

    def purge_tombstones(self):
        self.deleted_records = []
        return {}


serve(Weave())
