-- The app's collections as tables.
CREATE TABLE flocks(id TEXT PRIMARY KEY, name TEXT NOT NULL, count INTEGER, breed TEXT);
CREATE TABLE daily_production(
    id TEXT PRIMARY KEY, flock_id TEXT NOT NULL REFERENCES flocks(id), date TEXT NOT NULL, eggs INTEGER NOT NULL
);
CREATE TABLE feed_purchases(id TEXT PRIMARY KEY, kind TEXT, kilos REAL, price REAL);
CREATE TABLE clients(id TEXT PRIMARY KEY, name TEXT NOT NULL, phone TEXT);
CREATE TABLE finances_income(id TEXT PRIMARY KEY, amount REAL NOT NULL, client_id TEXT REFERENCES clients(id));
CREATE TABLE audit_log(id TEXT PRIMARY KEY, at TEXT NOT NULL, what TEXT NOT NULL);
CREATE TABLE farm(id INTEGER PRIMARY KEY CHECK (id = 1), name TEXT, currency TEXT);
