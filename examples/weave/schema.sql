-- The app's own tables. Times are milliseconds since 1970.
CREATE TABLE user_profile(id TEXT PRIMARY KEY, archetype TEXT, birthday TEXT, created_at INTEGER, updated_at INTEGER);
CREATE TABLE user_progress(id TEXT PRIMARY KEY, streak INTEGER NOT NULL DEFAULT 0, achievements TEXT, created_at INTEGER, updated_at INTEGER);
CREATE TABLE friends(
    id TEXT PRIMARY KEY, name TEXT NOT NULL, tier TEXT, weave_score REAL, is_dormant INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER, updated_at INTEGER
);
CREATE TABLE interactions(
    id TEXT PRIMARY KEY, activity TEXT NOT NULL, note TEXT, interaction_date INTEGER, created_at INTEGER, updated_at INTEGER
);
CREATE TABLE intentions(id TEXT PRIMARY KEY, description TEXT, status TEXT, created_at INTEGER, updated_at INTEGER);
CREATE TABLE life_events(
    id TEXT PRIMARY KEY, friend_id TEXT NOT NULL REFERENCES friends(id), kind TEXT, event_date INTEGER,
    created_at INTEGER, updated_at INTEGER
);
CREATE TABLE interaction_friends(
    id TEXT PRIMARY KEY, interaction_id TEXT NOT NULL REFERENCES interactions(id),
    friend_id TEXT NOT NULL REFERENCES friends(id), created_at INTEGER, updated_at INTEGER
);
CREATE TABLE intention_friends(
    id TEXT PRIMARY KEY, intention_id TEXT NOT NULL REFERENCES intentions(id),
    friend_id TEXT NOT NULL REFERENCES friends(id), created_at INTEGER, updated_at INTEGER
);
CREATE TABLE weekly_reflections(id TEXT PRIMARY KEY, week_start INTEGER, gratitude TEXT, created_at INTEGER, updated_at INTEGER);
CREATE TABLE journal_entries(id TEXT PRIMARY KEY, title TEXT, content TEXT, created_at INTEGER, updated_at INTEGER);
