-- What people decided on between results, and what a producer's program was when it made one.

-- The result that people chose, or accepted, for a signature: a look-up gives it before all others, until a call makes
-- another one for that signature. It may have been made for another signature. `chosen_at` is the time of the event.
CREATE TABLE choices (
    signature BLOB NOT NULL PRIMARY KEY CHECK (length(signature) = 32),
    result    TEXT NOT NULL,
    chosen_at TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- The fingerprint of the program files that made the artefact, where its producer has any.
ALTER TABLE artefact_events ADD COLUMN source BLOB CHECK (length(source) = 32);
ALTER TABLE traces ADD COLUMN source BLOB CHECK (length(source) = 32);
