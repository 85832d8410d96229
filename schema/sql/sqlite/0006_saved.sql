-- What the results that a revision reused had taken, in US dollars: it survives the compaction of the run's events.
ALTER TABLE revisions ADD COLUMN saved REAL NOT NULL DEFAULT 0;
