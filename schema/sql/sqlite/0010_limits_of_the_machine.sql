-- Limits that processes share are the machine's, not a movie's: they have a database of their own (sql/limits). The tables
-- limit_slots, limit_queue, limit_starts and limit_pauses stay, and nothing of this version reads them: a process of an
-- older one may be at work on this movie right now, and what it has paid for is stored in one transaction with giving back
-- its slots. Some databases have lost them to an earlier form of this file.

SELECT 1;
