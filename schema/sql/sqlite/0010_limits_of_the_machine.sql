-- Limits that processes share are the machine's, not a movie's: they have a database of their own (sql/limits).

DROP TABLE limit_slots;
DROP TABLE limit_queue;
DROP TABLE limit_starts;
DROP TABLE limit_pauses;
