-- How long a result took to make, in seconds: the next run starts what takes longest first. Null where nobody noted it.
ALTER TABLE traces ADD COLUMN duration_seconds REAL;
