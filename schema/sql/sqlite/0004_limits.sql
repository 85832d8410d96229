-- Limits that all processes of this machine share. What each column means: schema/README.md.

-- Calls that go on under a limit's key. A row counts while the lease is unexpired that it was made under.
CREATE TABLE limit_slots (
    slot     INTEGER PRIMARY KEY,
    key      TEXT NOT NULL,
    run      TEXT NOT NULL,
    epoch    INTEGER NOT NULL,
    counter  INTEGER NOT NULL,
    weight   INTEGER NOT NULL CHECK (weight > 0),
    taken_at INTEGER NOT NULL
) STRICT;

CREATE INDEX limit_slots_by_key ON limit_slots (key);
CREATE INDEX limit_slots_by_run ON limit_slots (run);

-- When calls have started under a key that has a rate, in Unix milliseconds by the clock of the database.
CREATE TABLE limit_starts (
    start      INTEGER PRIMARY KEY,
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
