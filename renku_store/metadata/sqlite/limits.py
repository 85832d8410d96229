"""Limits that several processes share, by the clock of the database."""

# ruff: noqa: S608 (statements are put together from constants)

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import apsw

from renku_store import bounds
from renku_store.metadata.limits import HeldPlace, Occupancy
from renku_store.metadata.sqlite.rows import all_rows
from renku_store.metadata.sqlite.runs import NEXT_TOKEN
from renku_store.records.run import Holder, LeaseToken

_NOW: Final = "CAST(unixepoch('subsec') * 1000 AS INTEGER)"
_LIVE: Final = (
    "EXISTS (SELECT 1 FROM leases AS l WHERE l.run = t.run AND l.epoch = t.epoch AND l.counter = t.counter"
    f" AND l.expires_at > {_NOW})"
)
SLOTS: Final = f"SELECT slot, weight, host, pid, process_start FROM limit_slots AS t WHERE key = ? AND {_LIVE}"
QUEUE: Final = f"SELECT ticket, priority, host, pid, process_start FROM limit_queue AS t WHERE key = ? AND {_LIVE}"
# A start in the future is one from before the clock was set back: it would hold everybody up until then.
STARTS: Final = (
    f"SELECT started_at, weight FROM limit_starts WHERE key = ?1 AND started_at > {_NOW} - ?2 AND started_at <= {_NOW}"
    " ORDER BY started_at, start"
)
PAUSE: Final = f"SELECT until FROM limit_pauses WHERE key = ?1 AND until <= {_NOW} + ?2"
TAKE: Final = (
    "INSERT INTO limit_slots (key, run, epoch, counter, host, pid, process_start, weight, taken_at)"
    f" VALUES (?, ?, ?, ?, ?, ?, ?, ?, {_NOW}) RETURNING slot"
)
GIVE: Final = "DELETE FROM limit_slots WHERE slot = ?"
START: Final = f"INSERT INTO limit_starts (key, weight, started_at) VALUES (?, ?, {_NOW}) RETURNING start"
UNSTART: Final = "DELETE FROM limit_starts WHERE start = ?"
DROP_STARTS: Final = f"DELETE FROM limit_starts WHERE key = ?1 AND started_at < {_NOW} - ?2"
SET_PAUSE: Final = (
    f"INSERT INTO limit_pauses (key, until) VALUES (?1, {_NOW} + ?2)"
    f" ON CONFLICT (key) DO UPDATE SET until = CASE WHEN until <= {_NOW} + ?3 THEN max(until, excluded.until)"
    " ELSE excluded.until END"
)
ENQUEUE: Final = (
    "INSERT INTO limit_queue (ticket, key, priority, run, epoch, counter, host, pid, process_start)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
LEAVE: Final = "DELETE FROM limit_queue WHERE ticket = ?"
TIDY_SLOTS: Final = f"DELETE FROM limit_slots AS t WHERE NOT {_LIVE}"
TIDY_QUEUE: Final = f"DELETE FROM limit_queue AS t WHERE NOT {_LIVE}"
_KEPT_MS: Final = round(bounds.LIMIT_PERIOD_MAX_SECONDS * 1000)
_PAUSE_MS: Final = round(bounds.RETRY_AFTER_MAX_SECONDS * 1000)


class LimitTables:
    """Slots, starts, pauses, and who waits."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._db = connection

    def occupancy(self, key: str, window_ms: int) -> Occupancy:
        """What holds a key up now; starts of the last `window_ms`."""
        return Occupancy(
            slots=self._places(SLOTS, key),
            queue=self._places(QUEUE, key),
            starts=[(row[0], row[1]) for row in all_rows(self._db.execute(STARTS, (key, window_ms)))],
            paused_until_ms=int(self._db.execute(PAUSE, (key, _PAUSE_MS)).get or 0),
        )

    def take(self, key: str, weight: int, token: LeaseToken, holder: Holder) -> int:
        """Take a slot; gives its number, which nobody has again."""
        return int(self._db.execute(TAKE, (key, *_owner(token, holder), weight)).get)

    def give(self, slots: Iterable[int]) -> None:
        """Give slots back; no error for what is gone."""
        self._db.executemany(GIVE, [(slot,) for slot in slots])

    def start(self, key: str, weight: int) -> int:
        """Note that a call starts now; gives its number. What no window can hold any more leaves."""
        self._db.execute(DROP_STARTS, (key, _KEPT_MS))
        return int(self._db.execute(START, (key, weight)).get)

    def unstart(self, starts: Iterable[int]) -> None:
        """Take back what was noted: the call has not started."""
        self._db.executemany(UNSTART, [(start,) for start in starts])

    def pause(self, key: str, milliseconds: int) -> None:
        """Let nobody start under a key for so long from now, at most as long as anybody may ask; a longer one stays."""
        self._db.execute(SET_PAUSE, (key, min(milliseconds, _PAUSE_MS), _PAUSE_MS))

    def enqueue(self, keys: Sequence[str], priority: float, token: LeaseToken, holder: Holder) -> int:
        """Wait for keys; gives the ticket, which is higher than any before."""
        ticket = int(self._db.execute(NEXT_TOKEN).get)
        rows = [(ticket, key, priority, *_owner(token, holder)) for key in keys]
        self._db.executemany(ENQUEUE, rows)
        return ticket

    def leave(self, tickets: Iterable[int]) -> None:
        """Wait no longer; no error for what is gone."""
        self._db.executemany(LEAVE, [(ticket,) for ticket in tickets])

    def tidy(self) -> None:
        """Drop slots and tickets whose leases have ended."""
        self._db.execute(TIDY_SLOTS)
        self._db.execute(TIDY_QUEUE)

    def _places(self, statement: str, key: str) -> list[HeldPlace]:
        rows = all_rows(self._db.execute(statement, (key,)))
        return [HeldPlace(row[0], row[1], Holder(row[2], row[3], row[4], "")) for row in rows]


def _owner(token: LeaseToken, holder: Holder) -> tuple[str, int, int, str, int, str]:
    return (token.run, token.epoch, token.counter, holder.host, holder.pid, holder.process_start)
