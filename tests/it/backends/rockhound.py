"""The backend of `rockhound-sync-engine.md`: a batch of operations with an outcome each,
a checksum, an idempotency key an operation, conflicts by version."""
import hashlib
import json
from base import Backend, Refused, serve

TYPES = [
    "field_session", "find_log", "specimen", "capture_session", "raw_capture", "processed_capture",
    "storage_location", "collection_group", "tag", "export", "analytics_cache",
]
PARENTS = {
    "find_log": {"session_id": "field_session"},
    "specimen": {"find_log_id": "find_log", "processed_capture_id": "processed_capture"},
    "capture_session": {"session_id": "field_session"},
    "raw_capture": {"capture_session_id": "capture_session"},
    "processed_capture": {"raw_capture_id": "raw_capture"},
}
BATCH_MAX = 50


class Rockhound(Backend):
    routes = {("POST", "/api/sync/batch"): "batch"}

    def __init__(self):
        super().__init__()
        self.tables = {name: {} for name in TYPES}
        self.keys = {}
        self.replays = 0
        self.order = []

    def state(self):
        return {"tables": self.tables, "replays": self.replays, "order": self.order}

    def batch(self, request):
        operations = request.body["operations"]
        if len(operations) > BATCH_MAX:
            raise Refused(413, "too many operations")
        text = json.dumps(operations, separators=(",", ":"), ensure_ascii=False)
        if hashlib.sha256(text.encode()).hexdigest() != request.body["checksum"]:
            raise Refused(400, "the checksum is wrong")
        return {"results": [self.once(operation) for operation in operations]}

    def once(self, operation):
        key = operation["idempotency_key"]
        if key in self.keys:
            self.replays += 1
        else:
            self.keys[key] = self.perform(operation)
        return {"operation_id": operation["id"], **self.keys[key]}

    def perform(self, operation):
        type, id, data = operation["entity_type"], operation["entity_id"], operation.get("data", {})
        rows = self.tables[type]
        known = rows.get(id)
        if data.get("notes") == "poison":
            return {"status": "error", "error": {"code": "invalid", "message": "the notes are poison"}}
        for column, parent in PARENTS.get(type, {}).items():
            if data.get(column) is not None and data[column] not in self.tables[parent]:
                return {"status": "error", "error": {"code": "invalid", "message": "no such " + parent}}
        if operation["operation"] == "update" and known is None:
            return {"status": "error", "error": {"code": "not_found", "message": "no such row"}}
        if known is not None and known["version"] != operation["base_version"]:
            return {"status": "conflict", "version": known["version"], "server_data": known}
        self.order.append([type, id, operation["operation"], operation["priority"], sorted(data)])
        if operation["operation"] == "delete":
            rows.pop(id, None)
            return {"status": "success"}
        version = (known or {"version": 0})["version"] + 1
        rows[id] = {**(known or {}), **data, "version": version}
        return {"status": "success", "version": version}

    # What a test does to it.

    def put(self, type, record):
        known = self.tables[type].get(record["id"], {"version": 0})
        self.tables[type][record["id"]] = {**known, **record, "version": known["version"] + 1}
        return {}

    def drop(self, type, id):
        self.tables[type].pop(id)
        return {}


serve(Rockhound())
