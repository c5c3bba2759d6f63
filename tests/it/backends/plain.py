"""A good backend of WatermelonDB's protocol in pages, and the same with one fault of those
that people build in: `plain.py [FAULT]`. Times are given out under a lock, pages go by
(time, key), a push is taken whole or not at all, owners see their own rows alone."""
import copy
import struct
import sys
import time
import unicodedata
import base
from base import Backend, Refused, serve

TABLES = ["lists", "items"]
PAGE_ROWS = 100


class Plain(Backend):
    routes = {("POST", "/pull"): "pull", ("POST", "/push"): "push", ("POST", "/actions"): "action"}
    live_path = "/live"

    def __init__(self, planted):
        super().__init__()
        self.planted = planted
        self.tables = {name: {} for name in TABLES}
        self.effects, self.answers, self.tried, self.rejections = [], {}, [], []

    def state(self):
        return {"tables": self.tables, "listeners": self.listeners, "effects": self.effects, "rejections": self.rejections}

    def has(self, fault):
        return self.planted == fault

    # Who may see what.

    def mine(self, request, row):
        return self.has("everybody_sees_all") or row["owner"] == request.user

    def action(self, request):
        """What has an effect has it once: a key that was seen is answered as it was then."""
        key = request.headers["Idempotency-Key"]
        self.tried.append(key)
        if key in self.answers:
            return self.answers[key]
        action, payload = request.body["action"], request.body["payload"]
        if action == "bad":
            raise Refused(422, "no such seat")
        if action == "huge" and len(str(payload)) > 1000:
            raise Refused(413, "too large")
        lists = sum(1 for row in self.tables["lists"].values() if not row["deleted"])
        self.effects.append({"action": action, "payload": payload, "key": key, "user": request.user, "lists": lists})
        self.answers[key] = {"number": len(self.effects)}
        return self.answers[key]

    def keys_tried(self):
        return self.tried

    def put_list(self, id):
        """As another device would."""
        now = self.now()
        data = {"id": id, "name": id}
        self.tables["lists"][id] = {"data": data, "owner": "ada", "made_at": now, "changed_at": now, "deleted": False}
        return {}

    def pull(self, request):
        since = request.body["lastPulledAt"] or 0
        if self.has("everything_again"):
            since = 0
        now = self.now()
        found = [
            (row["changed_at"], name, id)
            for name in TABLES
            for id, row in self.tables[name].items()
            if self.mine(request, row) and row["changed_at"] > since
        ]
        found.sort()
        if self.has("offset_pages"):
            start = int(request.body.get("cursor") or 0)
            page = found[start : start + PAGE_ROWS]
            cursor, more = str(start + len(page)), start + len(page) < len(found)
        elif self.has("pages_by_time"):
            # All rows of a push have one time; the next page begins after it.
            after = int(request.body.get("cursor") or 0)
            left = [entry for entry in found if entry[0] > after]
            page = left[:PAGE_ROWS]
            cursor, more = str(page[-1][0]) if page else "0", len(left) > PAGE_ROWS
        else:
            after = request.body.get("cursor")
            left = [entry for entry in found if after is None or list(entry) > after]
            page = left[:PAGE_ROWS]
            cursor, more = list(page[-1]) if page else None, len(left) > PAGE_ROWS
        if self.has("one_page_only"):
            more = False
        if self.has("pages_for_ever") and request.body.get("cursor"):
            cursor, more = request.body["cursor"], True
        changes = {name: {"created": [], "updated": [], "deleted": []} for name in TABLES}
        for _, name, id in page:
            row = self.tables[name][id]
            if row["deleted"] and not self.has("deleted_comes_back"):
                if not self.has("deletes_forgotten"):
                    changes[name]["deleted"].append(id)
            else:
                changes[name]["created" if row["made_at"] > since else "updated"].append(self.shown(row["data"]))
        if self.has("table_missing"):
            changes["lists"] = [changes["lists"]]
        return {"changes": changes, "timestamp": now, "hasMore": more, "nextCursor": cursor}

    def shown(self, data):
        shown = dict(data)
        if self.has("column_dropped"):
            shown.pop("size", None)
            shown.pop("name", None)
        if self.has("null_becomes_empty"):
            shown = {key: "" if value is None else value for key, value in shown.items()}
        if self.has("numbers_as_floats32"):
            narrow = lambda value: int(struct.unpack("f", struct.pack("f", value))[0])
            shown = {key: narrow(value) if type(value) is int else value for key, value in shown.items()}
        if self.has("reals_rounded"):
            shown = {key: round(value, 2) if type(value) is float else value for key, value in shown.items()}
        if self.has("text_trimmed"):
            shown = {key: value.strip() if type(value) is str else value for key, value in shown.items()}
        if self.has("text_normalised"):
            shown = {key: unicodedata.normalize("NFC", value) if type(value) is str else value for key, value in shown.items()}
        if self.has("text_cut"):
            shown = {key: value[:65535] if type(value) is str else value for key, value in shown.items()}
        return shown

    def push(self, request):
        since = request.body["lastPulledAt"] or 0
        before = copy.deepcopy(self.tables) if not self.has("half_a_push") else self.tables
        # One time for the whole push, as now() of one transaction is.
        now = self.now()
        rejected = {name: [] for name in TABLES}
        try:
            for name, lists in request.body["changes"].items():
                if name not in TABLES:
                    raise Refused(400, "no such table")
                for kind in ("created", "updated"):
                    for row in lists[kind]:
                        self.row_by_row(rejected[name], row["id"], self.put, request, name, kind, row, since, now)
                for id in lists["deleted"]:
                    self.row_by_row(rejected[name], id, self.remove, request, name, id, since, now)
        except Refused:
            self.tables = before
            raise
        if self.has("stamped_before_commit"):
            self.commit_late(request, now)
        return {"success": True, "experimentalRejectedIds": rejected}

    def row_by_row(self, rejected, id, take, *args):
        """As good: a row that is newer here is named, and the others are taken."""
        try:
            take(*args)
        except Refused as refused:
            if refused.status != 409 or not self.has("names_what_it_rejects"):
                raise
            rejected.append(id)
            self.rejections.append(id)

    def commit_late(self, request, now):
        """The rows were stamped; they are seen by others only a little later."""
        hidden = []
        for name in TABLES:
            for id, row in list(self.tables[name].items()):
                if row["changed_at"] == now:
                    hidden.append((name, id, self.tables[name].pop(id)))
        self.lock.release()
        time.sleep(0.03)
        self.lock.acquire()
        for name, id, row in hidden:
            self.tables[name][id] = row

    def put(self, request, name, kind, data, since, now):
        rows = self.tables[name]
        known = rows.get(data["id"])
        if self.has("doubles") and kind == "created" and known:
            data = {**data, "id": data["id"] + "-" + str(now)}
            known = None
        if known and known["owner"] != request.user and not self.has("anybody_writes"):
            raise Refused(403, "not yours")
        if self.has("created_must_be_new") and kind == "created" and known and not known["deleted"]:
            raise Refused(422, "duplicate key")
        if self.has("updated_must_exist") and kind == "updated" and not known:
            raise Refused(422, "no such row")
        if self.has("deletion_is_final") and known and known["deleted"]:
            return
        if known and known["changed_at"] > since and not self.has("last_write_wins"):
            raise Refused(409, "newer")
        if self.has("update_replaces") and kind == "updated":
            data = {key: value if key in ("id", "name") else None for key, value in data.items()}
        made = now if known is None else known["made_at"]
        # An edit that does not touch the time is told to nobody.
        changed = known["changed_at"] if known and self.has("update_not_stamped") and kind == "updated" else now
        owner = known["owner"] if known else request.user
        rows[data["id"]] = {"data": data, "owner": owner, "made_at": made, "changed_at": changed, "deleted": False}

    def remove(self, request, name, id, since, now):
        known = self.tables[name].get(id)
        if known is None:
            if self.has("delete_must_exist"):
                raise Refused(422, "no such row")
            return
        if known["owner"] != request.user and not self.has("anybody_writes"):
            raise Refused(403, "not yours")
        if known["changed_at"] > since and not self.has("last_write_wins"):
            raise Refused(409, "newer")
        known.update(deleted=True, changed_at=now)


def who_anybody(status):
    """In place of base.user_of: what becomes of a token that is not good."""
    known = base.user_of

    def user_of(headers):
        try:
            return known(headers)
        except Refused:
            if status is None:
                return "anybody"
            raise Refused(status, "a token is needed")

    return user_of


planted = sys.argv[1] if len(sys.argv) > 1 else ""
if planted == "no_token_needed":
    base.user_of = who_anybody(None)
if planted == "bad_token_is_500":
    base.user_of = who_anybody(500)
serve(Plain(planted))
