-- Where each machine has a database of its own: which runs are others', and which of their archives have been read.

-- 1 for a run that this database knows from its archive alone: it is never taken up here.
ALTER TABLE runs ADD COLUMN elsewhere INTEGER NOT NULL DEFAULT 0 CHECK (elsewhere IN (0, 1));

-- Archives as they were when they were read: one that has another size or time by now (Unix seconds, by the clock of the
-- storage) is read again.
CREATE TABLE seen_archives (
    run      TEXT NOT NULL PRIMARY KEY,
    size     INTEGER NOT NULL,
    modified REAL NOT NULL
) STRICT, WITHOUT ROWID;
