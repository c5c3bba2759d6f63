"""The backend of `insight-sync-architecture.md`: pull and push of tables with ISO times,
conflicts in the answer to a push, a status with the devices."""
from datetime import datetime, timezone
from base import Backend, serve

TABLES = ["forms", "form_sections", "fields", "submissions", "submission_answers", "team", "kpi_data", "settings"]


def iso(millis):
    return datetime.fromtimestamp(millis / 1000, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Insight(Backend):
    routes = {
        ("POST", "/api/v1/sync/pull"): "pull",
        ("POST", "/api/v1/sync/push"): "push",
        ("GET", "/api/v1/sync/status"): "status",
    }

    def __init__(self):
        super().__init__()
        self.tables = {name: {} for name in TABLES}
        self.devices = {}

    def state(self):
        live = lambda rows: {id: row for id, row in rows.items() if not row.get("deleted_at")}
        return {"tables": {name: live(rows) for name, rows in self.tables.items()}, "devices": self.devices}

    def pull(self, request):
        since, now = request.body["last_sync_timestamp"] or "", iso(self.now())
        self.devices[request.body["device_id"]] = now
        changes = {
            name: [row for row in self.tables[name].values() if row["updated_at"] > since]
            for name in request.body["tables"]
        }
        return {"success": True, "timestamp": now, "changes": changes, "conflicts": None}

    def push(self, request):
        since = request.body["timestamp"] or ""
        applied, conflicts = {}, []
        for name, records in request.body["changes"].items():
            applied[name] = []
            for record in records:
                known = self.tables[name].get(record["id"])
                differs = known and any(known.get(field) != value for field, value in record.items() if field != "updated_at")
                if differs and known["updated_at"] > since:
                    conflict = {"table": name, "record_id": record["id"], "client_data": record, "server_data": known}
                    conflicts.append(conflict)
                    continue
                self.tables[name][record["id"]] = {**(known or {}), **record}
                applied[name].append(record["id"])
        return {"success": True, "timestamp": iso(self.now()), "applied": applied, "conflicts": conflicts}

    def status(self, request):
        return {"status": "online", "version": "1.0.0", "tables": TABLES, "last_sync": self.devices}

    # What a test does to it.

    def put(self, name, record):
        self.tables[name][record["id"]] = {**self.tables[name].get(record["id"], {}), **record, "updated_at": iso(self.now())}
        return {}


serve(Insight())
