-- Whatever the wall clock does: starts and pauses are told by the clock of their boot, too, in milliseconds that count on
-- while the machine sleeps. Those of other boots, and where none is known, are told by the wall clock, as before.

ALTER TABLE starts ADD COLUMN boot TEXT;
ALTER TABLE starts ADD COLUMN moment INTEGER;
ALTER TABLE pauses ADD COLUMN boot TEXT;
ALTER TABLE pauses ADD COLUMN moment INTEGER;

CREATE INDEX starts_by_moment ON starts (key, boot, moment);

-- A call that waits stands in the way of others as long as it goes on asking, and only of those under the same rule of a
-- key under which it was refused itself. The end of that is `until` and `expires_at`, as those of its holder.

ALTER TABLE waiters ADD COLUMN until INTEGER NOT NULL DEFAULT 0;
ALTER TABLE waiters ADD COLUMN expires_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE waits ADD COLUMN rule TEXT NOT NULL DEFAULT '';
