"""The tables of limits that the processes of a machine share, by the clock of the database."""

# ruff: noqa: S608 (statements are put together from constants)

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

import apsw

from renku_store import bounds
from renku_store.metadata.limits import HeldPlace, Occupancy
from renku_store.metadata.sqlite.rows import all_rows
from renku_store.records.run import Holder

_NOW: Final = "CAST(unixepoch('subsec') * 1000 AS INTEGER)"
NOW: Final = f"SELECT {_NOW}"
_FAR_MS: Final = 86_400_000
# An end that is far off is one from before the clock was set back.
_LIVE: Final = f"CASE WHEN boot = ?1 THEN until > ?2 ELSE expires_at > {_NOW} AND expires_at <= {_NOW} + {_FAR_MS} END"
SLOTS: Final = (
    f"SELECT slot, weight, host, pid, process_start FROM slots JOIN holders USING (holder) WHERE key = ?3 AND {_LIVE}"
)
QUEUE: Final = (
    "SELECT ticket, priority, host, pid, process_start FROM waits CROSS JOIN waiters USING (ticket)"
    f" CROSS JOIN holders USING (holder) WHERE key = ?3 AND {_LIVE}"
)
# A start in the future is one from before the clock was set back: it would hold everybody up until then.
STARTS: Final = (
    f"SELECT started_at, weight FROM starts WHERE key = ?1 AND started_at > {_NOW} - ?2 AND started_at <= {_NOW}"
    " ORDER BY started_at, start"
)
PAUSE: Final = f"SELECT until FROM pauses WHERE key = ?1 AND until <= {_NOW} + ?2"
JOIN: Final = (
    "INSERT INTO holders (host, pid, process_start, boot, until, expires_at)"
    f" VALUES (?1, ?2, ?3, ?4, ?5 + ?6, {_NOW} + ?6) RETURNING holder"
)
RENEW: Final = f"UPDATE holders SET until = ?2 + ?3, expires_at = {_NOW} + ?3 WHERE holder = ?1 RETURNING holder"
HOLDERS: Final = "SELECT holder, host, pid, process_start FROM holders"
DROP: Final = "DELETE FROM holders WHERE holder = ?"
TAKE: Final = f"INSERT INTO slots (key, holder, weight, taken_at) VALUES (?, ?, ?, {_NOW}) RETURNING slot"
GIVE: Final = "DELETE FROM slots WHERE slot = ?"
START: Final = f"INSERT INTO starts (key, weight, started_at) VALUES (?, ?, {_NOW}) RETURNING start"
UNSTART: Final = "DELETE FROM starts WHERE start = ?"
DROP_STARTS: Final = f"DELETE FROM starts WHERE key = ?1 AND started_at < {_NOW} - ?2"
SET_PAUSE: Final = (
    f"INSERT INTO pauses (key, until) VALUES (?1, {_NOW} + ?2)"
    f" ON CONFLICT (key) DO UPDATE SET until = CASE WHEN until <= {_NOW} + ?3 THEN max(until, excluded.until)"
    " ELSE excluded.until END"
)
ENQUEUE: Final = "INSERT INTO waiters (holder, priority) VALUES (?, ?) RETURNING ticket"
WAIT: Final = "INSERT INTO waits (key, ticket) VALUES (?, ?)"
LEAVE: Final = "DELETE FROM waiters WHERE ticket = ?"
TIDY: Final = f"DELETE FROM holders WHERE NOT {_LIVE}"
HELD: Final = "SELECT 1 FROM slots WHERE slot = ?"
WAITING: Final = "SELECT 1 FROM waiters WHERE ticket = ?"
_KEPT_MS: Final = round(bounds.LIMIT_PERIOD_MAX_SECONDS * 1000)
_PAUSE_MS: Final = round(bounds.RETRY_AFTER_MAX_SECONDS * 1000)


class LimitTables:
    """Holders and their slots, who waits, starts and pauses. What a holder has goes with it.

    `now_of_boot` are the seconds of the monotonic clock, which all processes share since `boot`.
    """

    def __init__(
        self, connection: apsw.Connection, boot: str | None, now_of_boot: Callable[[], float] = time.monotonic
    ) -> None:
        self._db = connection
        self._boot = boot
        self._now_of_boot = now_of_boot

    def now_ms(self) -> int:
        """The database's clock, Unix milliseconds."""
        return int(self._db.execute(NOW).get)

    def occupancy(self, key: str, window_ms: int) -> Occupancy:
        """What holds a key up now; starts of the last `window_ms`."""
        return Occupancy(
            slots=self._places(SLOTS, key),
            queue=self._places(QUEUE, key),
            starts=[(row[0], row[1]) for row in all_rows(self._db.execute(STARTS, (key, window_ms)))],
            paused_until_ms=int(self._db.execute(PAUSE, (key, _PAUSE_MS)).get or 0),
        )

    def join(self, holder: Holder, milliseconds: int) -> int:
        """Take part, for so long unless it is renewed; gives the number under which a run holds what it takes."""
        owner = (holder.host, holder.pid, holder.process_start, *self._moment(), milliseconds)
        return int(self._db.execute(JOIN, owner).get)

    def renew(self, number: int, milliseconds: int) -> bool:
        """Let a holder count for so long from now; False for one that was dropped."""
        return self._db.execute(RENEW, (number, self._moment()[1], milliseconds)).get is not None

    def holders(self) -> Iterator[tuple[int, Holder]]:
        """All who take part, expired or not, by their numbers."""
        for number, host, pid, start in all_rows(self._db.execute(HOLDERS)):
            yield number, Holder(host, pid, start, "")

    def drop(self, numbers: Iterable[int]) -> None:
        """Let holders go with all that they hold; no error for one that is gone."""
        self._db.executemany(DROP, [(number,) for number in numbers])

    def tidy(self) -> None:
        """Drop holders that have not renewed in time."""
        self._db.execute(TIDY, self._moment())

    def take(self, key: str, weight: int, holder: int) -> int:
        """Take a slot; gives its number, which nobody has again."""
        return int(self._db.execute(TAKE, (key, holder, weight)).get)

    def holds(self, slots: Iterable[int]) -> bool:
        """Whether all of these slots are still held."""
        return all(self._db.execute(HELD, (slot,)).get for slot in slots)

    def waits(self, ticket: int) -> bool:
        """Whether this ticket is still in the queue."""
        return self._db.execute(WAITING, (ticket,)).get is not None

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

    def enqueue(self, keys: Sequence[str], priority: float, holder: int) -> int:
        """Wait for keys; gives the ticket, which is higher than any before."""
        ticket = int(self._db.execute(ENQUEUE, (holder, priority)).get)
        self._db.executemany(WAIT, [(key, ticket) for key in keys])
        return ticket

    def leave(self, tickets: Iterable[int]) -> None:
        """Wait no longer; no error for what is gone."""
        self._db.executemany(LEAVE, [(ticket,) for ticket in tickets])

    def _places(self, statement: str, key: str) -> list[HeldPlace]:
        rows = all_rows(self._db.execute(statement, (*self._moment(), key)))
        return [HeldPlace(row[0], row[1], Holder(row[2], row[3], row[4], "")) for row in rows]

    def _moment(self) -> tuple[str | None, int]:
        return self._boot, int(self._now_of_boot() * 1000)
