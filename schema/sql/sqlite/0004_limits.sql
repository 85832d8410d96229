-- Limits that all processes share which work on this movie. What each column means: schema/README.md. Numbers are never
-- given again: who comes back late with one must not end what is another's by now.

-- Calls that go on under a limit's key. A row counts while the lease is unexpired that it was made under, and its process
-- is not seen to be gone.
CREATE TABLE limit_slots (
    slot          INTEGER PRIMARY KEY AUTOINCREMENT,
    key           TEXT NOT NULL,
    run           TEXT NOT NULL,
    epoch         INTEGER NOT NULL,
    counter       INTEGER NOT NULL,
    host          TEXT NOT NULL,
    pid           INTEGER NOT NULL,
    process_start TEXT NOT NULL,
    weight        INTEGER NOT NULL CHECK (weight > 0),
    taken_at      INTEGER NOT NULL
) STRICT;

CREATE INDEX limit_slots_by_key ON limit_slots (key);

-- Who waits for a key, one row for each key of a call: the highest priority first, then the lowest ticket. A row counts
-- as long as a slot would.
CREATE TABLE limit_queue (
    place         INTEGER PRIMARY KEY,
    ticket        INTEGER NOT NULL,
    key           TEXT NOT NULL,
    priority      REAL NOT NULL,
    run           TEXT NOT NULL,
    epoch         INTEGER NOT NULL,
    counter       INTEGER NOT NULL,
    host          TEXT NOT NULL,
    pid           INTEGER NOT NULL,
    process_start TEXT NOT NULL
) STRICT;

CREATE INDEX limit_queue_by_key ON limit_queue (key);
CREATE INDEX limit_queue_by_ticket ON limit_queue (ticket);

-- When calls have started under a key that has a rate, in Unix milliseconds by the clock of the database.
CREATE TABLE limit_starts (
    start      INTEGER PRIMARY KEY AUTOINCREMENT,
    key        TEXT NOT NULL,
    weight     INTEGER NOT NULL CHECK (weight > 0),
    started_at INTEGER NOT NULL
) STRICT;

CREATE INDEX limit_starts_by_key ON limit_starts (key, started_at);

-- Until when a provider has asked everybody under a key to wait.
CREATE TABLE limit_pauses (
    key        TEXT NOT NULL PRIMARY KEY,
    until      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
