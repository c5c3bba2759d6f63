"""The backend of `egglogu-offline-sync.md`, its deltas and today's whole set: collections of records with
`_updatedAt` and `_deletedAt`, nested names, single objects; the newest record wins."""
from datetime import datetime, timezone
from base import Backend, serve

COLLECTIONS = ["flocks", "dailyProduction", "feed.purchases", "clients", "finances.income", "auditLog", "farm"]


def iso(millis):
    return datetime.fromtimestamp(millis / 1000, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Egglogu(Backend):
    routes = {
        ("GET", "/api/v1/sync/delta"): "pull",
        ("POST", "/api/v1/sync/delta"): "push",
        ("POST", "/api/v1/sync"): "replace",
    }

    def __init__(self):
        super().__init__()
        self.tables = {name: {} for name in COLLECTIONS}

    def state(self):
        live = lambda rows: {id: row for id, row in rows.items() if not row.get("_deletedAt")}
        return {"tables": {name: live(rows) for name, rows in self.tables.items()}}

    def deltas(self, since):
        found = lambda rows: [row for row in rows.values() if row["_updatedAt"] > since]
        return [{"collection": name, "records": found(rows)} for name, rows in self.tables.items() if found(rows)]

    def pull(self, request):
        now = iso(self.now())
        return {"deltas": self.deltas(request.query.get("since", "")), "synced_at": now}

    def push(self, request):
        latest, rejected = iso(self.now() + 60_000), []
        for group in request.body:
            rows = self.tables[group["collection"]]
            for record in group["records"]:
                id = record.get("id", "the only one")
                known = rows.get(id)
                reason = None
                if record["_updatedAt"] > latest:
                    reason = "future"
                elif known and known["_updatedAt"] > record["_updatedAt"]:
                    reason = "stale"
                if reason:
                    rejected.append({"collection": group["collection"], "id": id, "reason": reason})
                    continue
                rows[id] = {**(known or {}), "_deletedAt": None, **record}
        return {"status": "ok", "deltas": [], "synced_at": iso(self.now()), "rejected": rejected}

    def replace(self, request):
        """Today's way: the whole data set takes the place of what was there."""
        self.bodies = getattr(self, "bodies", 0) + 1
        for name in COLLECTIONS:
            found = request.body
            for part in name.split("."):
                found = (found or {}).get(part)
            records = found if isinstance(found, list) else [found] if found else []
            self.tables[name] = {record.get("id", "the only one"): {"_updatedAt": "", **record} for record in records}
        return {"status": "ok", "synced_at": iso(self.now())}

    # What a test does to it.

    def put(self, name, record):
        id = record.get("id", "the only one")
        self.tables[name][id] = {**self.tables[name].get(id, {}), **record, "_updatedAt": iso(self.now())}
        return {}


serve(Egglogu())
