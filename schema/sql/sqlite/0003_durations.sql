-- How long a result took to make, in seconds: the next run starts first what takes longest. Null where nobody noted it.
ALTER TABLE traces ADD COLUMN duration_seconds REAL;

-- How long calls of a producer take: a mean in which the last twenty or so count, kept while results arrive, so that
-- nobody has to go through a million of them before a run begins.
CREATE TABLE durations (
    producer TEXT NOT NULL PRIMARY KEY,
    calls    INTEGER NOT NULL,
    seconds  REAL NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TRIGGER traces_tell_durations AFTER INSERT ON traces
WHEN NEW.duration_seconds IS NOT NULL AND NEW.producer IS NOT NULL
BEGIN
    INSERT INTO durations (producer, calls, seconds) VALUES (NEW.producer, 1, NEW.duration_seconds)
    ON CONFLICT (producer) DO UPDATE SET
        seconds = seconds + (excluded.seconds - seconds) / min(calls + 1, 20),
        calls = calls + 1;
END;
