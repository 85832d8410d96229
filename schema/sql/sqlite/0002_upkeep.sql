-- What checking, expiry and compaction note. What each column means, and why it has its type: schema/README.md.

-- When the bytes of a blob were last found to have the hash that names them, by the clock of the database.
CREATE TABLE verifications (
    hash        BLOB NOT NULL PRIMARY KEY CHECK (length(hash) = 32),
    verified_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX verifications_by_time ON verifications (verified_at, hash);

-- Runs some of whose rows have left the event tables: their archive, whose hash is `hash`, holds all of them.
-- `first_id` is the least id of its events: where in the order of all events the archive begins.
CREATE TABLE compacted_runs (
    run          TEXT NOT NULL PRIMARY KEY,
    hash         BLOB NOT NULL CHECK (length(hash) = 32),
    first_id     TEXT NOT NULL,
    compacted_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX compacted_runs_by_first_id ON compacted_runs (first_id);

-- 1 once the manifest was replaced by a stub.
ALTER TABLE revisions ADD COLUMN expired INTEGER NOT NULL DEFAULT 0 CHECK (expired IN (0, 1));
