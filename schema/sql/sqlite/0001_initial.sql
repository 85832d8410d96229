-- The tables of a movie. What each column means, and why it has its type: schema/README.md.
-- Hashes are the 32 bytes of a BLAKE3 digest; the views at the end show them as text.

-- Facts about this database: `epoch` grows with every rebuild, `token` with every lease taken.
CREATE TABLE meta (
    key   TEXT NOT NULL PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO meta (key, value) VALUES ('epoch', CAST(unixepoch('subsec') * 1000 AS INTEGER)), ('token', 0);

-- Events: appended, never changed (invariant 4). `seq` counts through all three tables: it is the order in which events
-- became durable. AUTOINCREMENT remembers the last number beyond the removal of its row.

CREATE TABLE input_events (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT NOT NULL UNIQUE,
    run        TEXT,
    input      TEXT NOT NULL,
    hash       BLOB NOT NULL CHECK (length(hash) = 32),
    value      TEXT,
    blob       BLOB CHECK (length(blob) = 32),
    edited_by  TEXT NOT NULL,
    created_at TEXT NOT NULL,
    CHECK ((value IS NULL) <> (blob IS NULL))
) STRICT;

CREATE INDEX input_events_by_input ON input_events (input, seq);
CREATE INDEX input_events_by_run ON input_events (run, seq) WHERE run IS NOT NULL;

CREATE TABLE artefact_events (
    seq              INTEGER PRIMARY KEY AUTOINCREMENT,
    id               TEXT NOT NULL UNIQUE,
    run              TEXT,
    artefact         TEXT NOT NULL,
    status           TEXT NOT NULL,
    output           TEXT,
    job              TEXT,
    producer         TEXT,
    signature        BLOB CHECK (length(signature) = 32),
    result           TEXT,
    hash             BLOB CHECK (length(hash) = 32),
    size             INTEGER CHECK (size >= 0),
    mime_type        TEXT,
    inline           TEXT,
    blob             BLOB CHECK (length(blob) = 32),
    cost             REAL,
    attempts         INTEGER,
    request_id       TEXT,
    duration_seconds REAL,
    failure          TEXT,
    edited_by        TEXT,
    created_at       TEXT NOT NULL
) STRICT;

CREATE INDEX artefact_events_by_artefact ON artefact_events (artefact, seq);
CREATE INDEX artefact_events_by_job ON artefact_events (job, seq) WHERE job IS NOT NULL;
CREATE INDEX artefact_events_by_run ON artefact_events (run, seq) WHERE run IS NOT NULL;

CREATE TABLE run_events (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT NOT NULL UNIQUE,
    run        TEXT NOT NULL,
    kind       TEXT NOT NULL,
    data       TEXT NOT NULL,
    created_at TEXT NOT NULL
) STRICT;

CREATE INDEX run_events_by_run ON run_events (run, seq);

-- Look-ups derived from the events, in the transaction that appends or books them.

CREATE TABLE latest_inputs (
    input TEXT NOT NULL PRIMARY KEY,
    seq   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE latest_artefacts (
    artefact TEXT NOT NULL PRIMARY KEY,
    seq      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE pending_inputs (
    seq INTEGER NOT NULL PRIMARY KEY
) STRICT;

CREATE TABLE pending_artefacts (
    seq INTEGER NOT NULL PRIMARY KEY
) STRICT;

CREATE TABLE traces (
    number     INTEGER PRIMARY KEY,
    result     TEXT NOT NULL UNIQUE,
    signature  BLOB NOT NULL CHECK (length(signature) = 32),
    run        TEXT,
    job        TEXT,
    producer   TEXT,
    outputs    TEXT NOT NULL,
    cost       REAL NOT NULL,
    request_id TEXT,
    kept       INTEGER NOT NULL CHECK (kept IN (0, 1)),
    created_at TEXT NOT NULL
) STRICT;

CREATE INDEX traces_by_signature ON traces (signature);

CREATE TABLE failures (
    signature BLOB NOT NULL PRIMARY KEY CHECK (length(signature) = 32),
    seq       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Published revisions.

CREATE TABLE revisions (
    number       INTEGER NOT NULL PRIMARY KEY,
    hash         BLOB NOT NULL CHECK (length(hash) = 32),
    base_hash    BLOB CHECK (length(base_hash) = 32),
    run          TEXT NOT NULL,
    created_at   TEXT NOT NULL,
    made         INTEGER NOT NULL,
    reused       INTEGER NOT NULL,
    cost         REAL NOT NULL,
    last_seq     INTEGER NOT NULL
) STRICT;

CREATE TABLE revision_inputs (
    input    TEXT NOT NULL,
    revision INTEGER NOT NULL REFERENCES revisions (number),
    hash     BLOB CHECK (length(hash) = 32),
    seq      INTEGER,
    PRIMARY KEY (input, revision)
) STRICT, WITHOUT ROWID;

CREATE TABLE revision_artefacts (
    artefact TEXT NOT NULL,
    revision INTEGER NOT NULL REFERENCES revisions (number),
    hash     BLOB CHECK (length(hash) = 32),
    seq      INTEGER,
    PRIMARY KEY (artefact, revision)
) STRICT, WITHOUT ROWID;

-- A blob is named by every manifest from `first` through `last` (NULL: still, in the newest one).
CREATE TABLE manifest_blobs (
    hash  BLOB NOT NULL CHECK (length(hash) = 32),
    first INTEGER NOT NULL REFERENCES revisions (number),
    last  INTEGER,
    PRIMARY KEY (hash, first)
) STRICT, WITHOUT ROWID;

CREATE INDEX manifest_blobs_open ON manifest_blobs (hash) WHERE last IS NULL;

CREATE TABLE intents (
    run        TEXT NOT NULL PRIMARY KEY,
    number     INTEGER NOT NULL,
    hash       BLOB NOT NULL CHECK (length(hash) = 32),
    manifest   BLOB NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

-- Live state. Times are Unix milliseconds by the clock of the database.

CREATE TABLE blobs (
    hash        BLOB NOT NULL PRIMARY KEY CHECK (length(hash) = 32),
    size        INTEGER NOT NULL CHECK (size >= 0),
    stored_size INTEGER NOT NULL CHECK (stored_size >= 0),
    encoding    TEXT NOT NULL CHECK (encoding IN ('raw', 'zstd')),
    state       TEXT NOT NULL DEFAULT 'live' CHECK (state IN ('live', 'condemned', 'deleting')),
    touched_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX blobs_not_live ON blobs (state) WHERE state <> 'live';

CREATE TABLE runs (
    run           TEXT NOT NULL PRIMARY KEY,
    status        TEXT NOT NULL CHECK (status IN ('planned', 'running', 'published', 'failed', 'abandoned')),
    base_revision TEXT,
    edits_through INTEGER NOT NULL,
    revision      TEXT,
    created_at    TEXT NOT NULL,
    ended_at      TEXT
) STRICT, WITHOUT ROWID;

CREATE INDEX runs_by_time ON runs (created_at, run);
CREATE INDEX runs_unfinished ON runs (created_at, run) WHERE status NOT IN ('published', 'abandoned');

CREATE TABLE leases (
    run           TEXT NOT NULL PRIMARY KEY,
    epoch         INTEGER NOT NULL,
    counter       INTEGER NOT NULL,
    host          TEXT NOT NULL,
    pid           INTEGER NOT NULL,
    process_start TEXT NOT NULL,
    command       TEXT NOT NULL,
    expires_at    INTEGER NOT NULL,
    cancelled     INTEGER NOT NULL DEFAULT 0 CHECK (cancelled IN (0, 1))
) STRICT, WITHOUT ROWID;

CREATE TABLE claims (
    signature  BLOB NOT NULL PRIMARY KEY CHECK (length(signature) = 32),
    run        TEXT NOT NULL,
    job        TEXT NOT NULL,
    epoch      INTEGER NOT NULL,
    counter    INTEGER NOT NULL,
    claimed_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX claims_by_run ON claims (run);

-- Append-only by triggers. `compaction.active` is set to 1, and back to 0, within one transaction: nobody else ever sees it
-- set. Even then a row stays that a look-up points at or that no archive can hold yet.

CREATE TABLE compaction (
    only   INTEGER NOT NULL PRIMARY KEY CHECK (only = 1),
    active INTEGER NOT NULL CHECK (active IN (0, 1))
) STRICT;

INSERT INTO compaction (only, active) VALUES (1, 0);

CREATE TRIGGER input_events_never_change BEFORE UPDATE ON input_events
BEGIN
    SELECT RAISE(ABORT, 'input_events is append-only');
END;

CREATE TRIGGER input_events_leave_by_compaction BEFORE DELETE ON input_events
WHEN (SELECT active FROM compaction) IS NOT 1
    OR EXISTS (SELECT 1 FROM latest_inputs WHERE input = OLD.input AND seq = OLD.seq)
    OR EXISTS (SELECT 1 FROM revision_inputs WHERE input = OLD.input AND seq = OLD.seq)
    OR EXISTS (SELECT 1 FROM pending_inputs WHERE seq = OLD.seq)
BEGIN
    SELECT RAISE(ABORT, 'input_events is append-only');
END;

CREATE TRIGGER artefact_events_never_change BEFORE UPDATE ON artefact_events
BEGIN
    SELECT RAISE(ABORT, 'artefact_events is append-only');
END;

CREATE TRIGGER artefact_events_leave_by_compaction BEFORE DELETE ON artefact_events
WHEN (SELECT active FROM compaction) IS NOT 1
    OR EXISTS (SELECT 1 FROM latest_artefacts WHERE artefact = OLD.artefact AND seq = OLD.seq)
    OR EXISTS (SELECT 1 FROM revision_artefacts WHERE artefact = OLD.artefact AND seq = OLD.seq)
    OR EXISTS (SELECT 1 FROM pending_artefacts WHERE seq = OLD.seq)
BEGIN
    SELECT RAISE(ABORT, 'artefact_events is append-only');
END;

CREATE TRIGGER run_events_never_change BEFORE UPDATE ON run_events
BEGIN
    SELECT RAISE(ABORT, 'run_events is append-only');
END;

CREATE TRIGGER run_events_leave_by_compaction BEFORE DELETE ON run_events
WHEN (SELECT active FROM compaction) IS NOT 1
BEGIN
    SELECT RAISE(ABORT, 'run_events is append-only');
END;

-- For people: the same rows, hashes as the 64 hex digits that everything else shows.

CREATE VIEW input_history AS
SELECT seq, created_at, input, run, edited_by, lower(hex(hash)) AS hash, value,
    CASE WHEN blob IS NOT NULL THEN lower(hex(blob)) END AS blob, id
FROM input_events;

CREATE VIEW artefact_history AS
SELECT seq, created_at, artefact, status, run, job, producer, mime_type, size,
    CASE WHEN hash IS NOT NULL THEN lower(hex(hash)) END AS hash,
    CASE WHEN signature IS NOT NULL THEN lower(hex(signature)) END AS signature,
    inline, cost, attempts, duration_seconds, failure, edited_by, result, id
FROM artefact_events;

CREATE VIEW trace_list AS
SELECT number, created_at, lower(hex(signature)) AS signature, job, producer, run, cost, request_id, kept, outputs,
    result
FROM traces;

CREATE VIEW revision_list AS
SELECT number, lower(hex(hash)) AS hash, CASE WHEN base_hash IS NOT NULL THEN lower(hex(base_hash)) END AS base_hash,
    run, created_at, made, reused, cost
FROM revisions;

CREATE VIEW blob_list AS
SELECT lower(hex(hash)) AS hash, size, stored_size, encoding, state,
    strftime('%Y-%m-%dT%H:%M:%fZ', touched_at / 1000.0, 'unixepoch') AS touched_at
FROM blobs;

CREATE VIEW claim_list AS
SELECT lower(hex(signature)) AS signature, run, job,
    strftime('%Y-%m-%dT%H:%M:%fZ', claimed_at / 1000.0, 'unixepoch') AS claimed_at
FROM claims;
