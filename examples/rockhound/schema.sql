-- The app's own tables: eleven kinds of entity. Times are milliseconds since 1970.
CREATE TABLE field_session(id TEXT PRIMARY KEY, place TEXT, started_at INTEGER, notes TEXT, updated_at INTEGER);
CREATE TABLE find_log(
    id TEXT PRIMARY KEY, session_id TEXT NOT NULL REFERENCES field_session(id), latitude REAL, longitude REAL, notes TEXT,
    updated_at INTEGER
);
CREATE TABLE capture_session(
    id TEXT PRIMARY KEY, session_id TEXT REFERENCES field_session(id), camera TEXT, updated_at INTEGER
);
CREATE TABLE raw_capture(
    id TEXT PRIMARY KEY, capture_session_id TEXT NOT NULL REFERENCES capture_session(id), path TEXT, updated_at INTEGER
);
CREATE TABLE processed_capture(
    id TEXT PRIMARY KEY, raw_capture_id TEXT NOT NULL REFERENCES raw_capture(id), path TEXT, updated_at INTEGER
);
CREATE TABLE specimen(
    id TEXT PRIMARY KEY, find_log_id TEXT REFERENCES find_log(id),
    processed_capture_id TEXT REFERENCES processed_capture(id), name TEXT, mass_g REAL, notes TEXT, updated_at INTEGER
);
CREATE TABLE storage_location(id TEXT PRIMARY KEY, label TEXT, updated_at INTEGER);
CREATE TABLE collection_group(id TEXT PRIMARY KEY, name TEXT, updated_at INTEGER);
CREATE TABLE tag(id TEXT PRIMARY KEY, name TEXT, updated_at INTEGER);
CREATE TABLE export(id TEXT PRIMARY KEY, format TEXT, updated_at INTEGER);
CREATE TABLE analytics_cache(id TEXT PRIMARY KEY, content TEXT, updated_at INTEGER);
