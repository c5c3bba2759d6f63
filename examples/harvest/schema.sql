-- The app's own tables, as its SQLite file has them. Times are milliseconds since 1970.
CREATE TABLE series(
    id TEXT PRIMARY KEY, title TEXT NOT NULL, rrule TEXT,
    created_at INTEGER, updated_at INTEGER, deleted_at INTEGER,
    server_revision INTEGER, server_updated_at_ms INTEGER
);
CREATE TABLE tasks(
    id TEXT PRIMARY KEY, series_id TEXT REFERENCES series(id), title TEXT NOT NULL,
    done INTEGER NOT NULL DEFAULT 0, due_at INTEGER,
    created_at INTEGER, updated_at INTEGER, deleted_at INTEGER,
    server_revision INTEGER, server_updated_at_ms INTEGER
);
CREATE TABLE occurrence_overrides(
    id TEXT PRIMARY KEY, series_id TEXT NOT NULL REFERENCES series(id), occurs_on TEXT NOT NULL, skipped INTEGER,
    created_at INTEGER, updated_at INTEGER, deleted_at INTEGER,
    server_revision INTEGER, server_updated_at_ms INTEGER
);
CREATE TABLE harvests(
    id TEXT PRIMARY KEY, plant_id TEXT NOT NULL,
    stage TEXT NOT NULL, -- harvest, drying, curing, inventory
    wet_weight_g INTEGER, dry_weight_g INTEGER, trimmings_weight_g INTEGER, notes TEXT,
    stage_started_at INTEGER NOT NULL, stage_completed_at INTEGER,
    photos TEXT, -- JSON, a list of addresses
    conflict_seen INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER, updated_at INTEGER, deleted_at INTEGER,
    server_revision INTEGER, server_updated_at_ms INTEGER
);
CREATE TABLE inventory(
    id TEXT PRIMARY KEY, plant_id TEXT NOT NULL, harvest_id TEXT NOT NULL UNIQUE REFERENCES harvests(id),
    final_weight_g INTEGER NOT NULL, harvest_date TEXT NOT NULL, total_duration_days INTEGER NOT NULL,
    created_at INTEGER, updated_at INTEGER, deleted_at INTEGER,
    server_revision INTEGER, server_updated_at_ms INTEGER
);
CREATE TABLE harvest_audits(
    id TEXT PRIMARY KEY, harvest_id TEXT NOT NULL REFERENCES harvests(id),
    operation_type TEXT NOT NULL, -- stage_advance, override_skip, revert, undo
    from_stage TEXT, to_stage TEXT, reason TEXT, performed_at INTEGER NOT NULL,
    created_at INTEGER, updated_at INTEGER, deleted_at INTEGER,
    server_revision INTEGER, server_updated_at_ms INTEGER
);
