-- The app's own tables. Times are ISO 8601 text.
CREATE TABLE forms(id TEXT PRIMARY KEY, title TEXT NOT NULL, active INTEGER NOT NULL DEFAULT 1, updated_at TEXT);
CREATE TABLE submissions(
    id TEXT PRIMARY KEY, form_id TEXT NOT NULL REFERENCES forms(id), status TEXT NOT NULL, store TEXT, updated_at TEXT
);
CREATE TABLE submission_answers(
    id TEXT PRIMARY KEY, submission_id TEXT NOT NULL REFERENCES submissions(id), question TEXT, answer TEXT, updated_at TEXT
);
CREATE TABLE team(id TEXT PRIMARY KEY, name TEXT NOT NULL, role TEXT, updated_at TEXT);
CREATE TABLE kpi_data(id TEXT PRIMARY KEY, name TEXT NOT NULL, value REAL, updated_at TEXT);
