-- The exact bytes of the newest booked manifest: if its file is lost, they can be put back, and its hash proves them.
-- Older revisions are held by the chain; nothing names the newest one but the index and the pointer.
CREATE TABLE newest_manifest (
    only     INTEGER NOT NULL PRIMARY KEY CHECK (only = 1),
    number   INTEGER NOT NULL,
    hash     BLOB NOT NULL CHECK (length(hash) = 32),
    manifest BLOB NOT NULL
) STRICT;

-- Up to which event results may have left the reuse index, because their bytes were collected. What an earlier version
-- removed nobody noted: so all that was there before this table counts.
INSERT OR IGNORE INTO meta (key, value) SELECT 'traces_dropped', coalesce(max(seq), 0) FROM sqlite_sequence;
