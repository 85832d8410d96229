-- Paid calls that a provider works on: its name for the call, noted before it is waited for, so that whoever takes over
-- asks for the result instead of paying again. `data` is what the handler wants to find again (JSON). A row leaves in the
-- transaction that stores the result.
CREATE TABLE calls (
    signature  BLOB NOT NULL PRIMARY KEY CHECK (length(signature) = 32),
    request_id TEXT NOT NULL,
    data       TEXT NOT NULL,
    run        TEXT NOT NULL,
    job        TEXT NOT NULL,
    noted_at   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
