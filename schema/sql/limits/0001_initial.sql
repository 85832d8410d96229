-- Limits that the processes of a machine share. What each column means: schema/README.md. Numbers are never given again:
-- who comes back late with one must not end what is another's by now. Times are Unix milliseconds by the clock of the
-- database.

-- Runs that take part. What one holds counts until its end, and while its process is not seen to be gone. Within a boot
-- of the machine the end is `until`, in milliseconds of the monotonic clock, which stands still while the machine sleeps;
-- for others, and where no boot is known, it is `expires_at`.
CREATE TABLE holders (
    holder        INTEGER PRIMARY KEY AUTOINCREMENT,
    host          TEXT NOT NULL,
    pid           INTEGER NOT NULL,
    process_start TEXT NOT NULL,
    boot          TEXT,
    until         INTEGER NOT NULL,
    expires_at    INTEGER NOT NULL
) STRICT;

-- Calls that go on under a key.
CREATE TABLE slots (
    slot     INTEGER PRIMARY KEY AUTOINCREMENT,
    key      TEXT NOT NULL,
    holder   INTEGER NOT NULL REFERENCES holders ON DELETE CASCADE,
    weight   INTEGER NOT NULL CHECK (weight > 0),
    taken_at INTEGER NOT NULL
) STRICT;

CREATE INDEX slots_by_key ON slots (key);
CREATE INDEX slots_by_holder ON slots (holder);

-- Calls that wait, the highest priority first, then the lowest ticket; and the keys that each waits for.
CREATE TABLE waiters (
    ticket   INTEGER PRIMARY KEY AUTOINCREMENT,
    holder   INTEGER NOT NULL REFERENCES holders ON DELETE CASCADE,
    priority REAL NOT NULL
) STRICT;

CREATE INDEX waiters_by_holder ON waiters (holder);

CREATE TABLE waits (
    key    TEXT NOT NULL,
    ticket INTEGER NOT NULL REFERENCES waiters ON DELETE CASCADE,
    PRIMARY KEY (key, ticket)
) STRICT, WITHOUT ROWID;

CREATE INDEX waits_by_ticket ON waits (ticket);

-- When calls have started under a key that has a rate.
CREATE TABLE starts (
    start      INTEGER PRIMARY KEY AUTOINCREMENT,
    key        TEXT NOT NULL,
    weight     INTEGER NOT NULL CHECK (weight > 0),
    started_at INTEGER NOT NULL
) STRICT;

CREATE INDEX starts_by_key ON starts (key, started_at);

-- Until when a provider has asked everybody under a key to wait.
CREATE TABLE pauses (
    key   TEXT NOT NULL PRIMARY KEY,
    until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
