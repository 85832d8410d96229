"""The tables of limits that the processes of a machine share, by the clock of the database."""

# ruff: noqa: S608 (statements are put together from constants)

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

import apsw

from renku_store import bounds
from renku_store.metadata.limits import HeldPlace, Occupancy
from renku_store.metadata.sqlite.rows import all_rows
from renku_store.records.run import Holder

_BOOT_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", None)
_NOW: Final = "CAST(unixepoch('subsec') * 1000 AS INTEGER)"
NOW: Final = f"SELECT {_NOW}"
_FAR_MS: Final = 86_400_000
# An end that is far off is one from before the clock was set back.
_LIVE: Final = f"CASE WHEN boot = ?1 THEN until > ?2 ELSE expires_at > {_NOW} AND expires_at <= {_NOW} + {_FAR_MS} END"
_HELD: Final = _LIVE.replace("until", "h.until").replace("expires_at", "h.expires_at")
_ASKING: Final = _LIVE.replace("until", "w.until").replace("expires_at", "w.expires_at")
SLOTS: Final = (
    f"SELECT slot, weight, host, pid, process_start FROM slots JOIN holders USING (holder) WHERE key = ?3 AND {_LIVE}"
)
QUEUE: Final = (
    "SELECT ticket, priority, host, pid, process_start, rule FROM waits CROSS JOIN waiters AS w USING (ticket)"
    f" CROSS JOIN holders AS h USING (holder) WHERE key = ?3 AND ({_ASKING}) AND ({_HELD})"
)
# Neither from the same boot, nor where none is known, can the clock of a boot tell how long ago something was.
_OTHER_BOOT: Final = "(boot = ?1) IS NOT TRUE"
# How long ago. By the wall clock, a start that is in the future is one from before that was set back: it counts as now.
STARTS: Final = (
    "SELECT ?2 - moment AS age, weight, start FROM starts WHERE key = ?3 AND boot = ?1 AND moment > ?2 - ?4"
    f" UNION ALL SELECT max(0, {_NOW} - started_at), weight, start FROM starts WHERE key = ?3 AND {_OTHER_BOOT}"
    f" AND started_at > {_NOW} - ?4 AND started_at < {_NOW} + ?4 ORDER BY age DESC, start"
)
# For how long yet. One that is longer than anybody may ask is from before the clock was set back.
PAUSE: Final = f"SELECT CASE WHEN boot = ?1 THEN moment - ?2 ELSE until - {_NOW} END FROM pauses WHERE key = ?3"
JOIN: Final = (
    "INSERT INTO holders (host, pid, process_start, boot, until, expires_at)"
    f" VALUES (?1, ?2, ?3, ?4, ?5 + ?6, {_NOW} + ?6) RETURNING holder"
)
RENEW: Final = f"UPDATE holders SET until = ?2 + ?3, expires_at = {_NOW} + ?3 WHERE holder = ?1 RETURNING holder"
HOLDERS: Final = "SELECT holder, host, pid, process_start FROM holders"
DROP: Final = "DELETE FROM holders WHERE holder = ?"
TAKE: Final = f"INSERT INTO slots (key, holder, weight, taken_at) VALUES (?, ?, ?, {_NOW}) RETURNING slot"
GIVE: Final = "DELETE FROM slots WHERE slot = ?"
START: Final = f"INSERT INTO starts (boot, moment, key, weight, started_at) VALUES (?, ?, ?, ?, {_NOW}) RETURNING start"
UNSTART: Final = "DELETE FROM starts WHERE start = ?"
DROP_STARTS: Final = (
    "DELETE FROM starts WHERE key = ?3 AND boot = ?1 AND moment < ?2 - ?4",
    f"DELETE FROM starts WHERE key = ?3 AND {_OTHER_BOOT} AND started_at < {_NOW} - ?4 AND ?2 IS NOT NULL",
)
SET_PAUSE: Final = f"INSERT OR REPLACE INTO pauses (boot, moment, key, until) VALUES (?1, ?2 + ?4, ?3, {_NOW} + ?4)"
ENQUEUE: Final = "INSERT INTO waiters (holder, priority) VALUES (?, ?) RETURNING ticket"
WAIT: Final = "INSERT INTO waits (key, rule, ticket) VALUES (?, ?, ?)"
UNWAIT: Final = "DELETE FROM waits WHERE ticket = ?"
ASK: Final = f"UPDATE waiters SET until = ?2 + ?3, expires_at = {_NOW} + ?3 WHERE ticket = ?1 RETURNING ticket"
LEAVE: Final = "DELETE FROM waiters WHERE ticket = ?"
TIDY: Final = f"DELETE FROM holders WHERE NOT {_LIVE}"
HELD: Final = "SELECT 1 FROM slots WHERE slot = ?"
WAITING: Final = (
    f"SELECT 1 FROM waiters AS w JOIN holders AS h USING (holder) WHERE ticket = ?3 AND ({_ASKING}) AND ({_HELD})"
)
WAITS_FOR: Final = "SELECT key, rule FROM waits WHERE ticket = ?"
_KEPT_MS: Final = round(bounds.LIMIT_PERIOD_MAX_SECONDS * 1000)
_PAUSE_MS: Final = round(bounds.RETRY_AFTER_MAX_SECONDS * 1000)


def _now_with_sleep() -> float:
    return time.monotonic() if _BOOT_CLOCK is None else time.clock_gettime(_BOOT_CLOCK)


class LimitTables:
    """Holders and their slots, who waits, starts and pauses. What a holder has goes with it.

    `now_of_boot` are the seconds of the monotonic clock, which all processes share since `boot`; `now_with_sleep` those
    of one that counts on while the machine sleeps.
    """

    def __init__(
        self,
        connection: apsw.Connection,
        boot: str | None,
        now_of_boot: Callable[[], float] = time.monotonic,
        now_with_sleep: Callable[[], float] = _now_with_sleep,
    ) -> None:
        self._db = connection
        self._boot = boot
        self._now_of_boot = now_of_boot
        self._now_with_sleep = now_with_sleep

    def now_ms(self) -> int:
        """The database's clock, Unix milliseconds."""
        return int(self._db.execute(NOW).get)

    def occupancy(self, key: str, window_ms: int) -> Occupancy:
        """What holds a key up now; starts of the last `window_ms`."""
        now = self.now_ms()
        starts = all_rows(self._db.execute(STARTS, (*self._start_moment(), key, window_ms)))
        return Occupancy(
            slots=self._places(SLOTS, key),
            queue=self._places(QUEUE, key),
            starts=[(now - age, weight) for age, weight, _ in starts],
            paused_until_ms=now + paused if (paused := self._pause(key)) else 0,
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

    def waits(self, ticket: int, rules: Mapping[str, str], milliseconds: int) -> bool:
        """Whether this ticket waits under just these rules, by their keys, and for so long from now at least."""
        boot, now = self._moment()
        if self._db.execute(WAITING, (boot, now + milliseconds, ticket)).get is None:
            return False
        return dict(all_rows(self._db.execute(WAITS_FOR, (ticket,)))) == rules

    def give(self, slots: Iterable[int]) -> None:
        """Give slots back; no error for what is gone."""
        self._db.executemany(GIVE, [(slot,) for slot in slots])

    def start(self, key: str, weight: int) -> int:
        """Note that a call starts now; gives its number. What no window can hold any more leaves."""
        moment = self._start_moment()
        for statement in DROP_STARTS:
            self._db.execute(statement, (*moment, key, _KEPT_MS))
        return int(self._db.execute(START, (*moment, key, weight)).get)

    def unstart(self, starts: Iterable[int]) -> None:
        """Take back what was noted: the call has not started."""
        self._db.executemany(UNSTART, [(start,) for start in starts])

    def pause(self, key: str, milliseconds: int) -> None:
        """Let nobody start under a key for so long from now, at most as long as anybody may ask; a longer one stays."""
        asked = min(milliseconds, _PAUSE_MS)
        if asked > self._pause(key):
            self._db.execute(SET_PAUSE, (*self._start_moment(), key, asked))

    def enqueue(self, priority: float, holder: int) -> int:
        """Wait; gives the ticket, which is higher than any before."""
        return int(self._db.execute(ENQUEUE, (holder, priority)).get)

    def ask(self, ticket: int, rules: Mapping[str, str], milliseconds: int) -> bool:
        """Stand in the way under rules, by their keys, for so long from now; False for a ticket that is gone."""
        if self._db.execute(ASK, (ticket, self._moment()[1], milliseconds)).get is None:
            return False
        self._db.execute(UNWAIT, (ticket,))
        self._db.executemany(WAIT, [(key, rule, ticket) for key, rule in rules.items()])
        return True

    def leave(self, tickets: Iterable[int]) -> None:
        """Wait no longer; no error for what is gone."""
        self._db.executemany(LEAVE, [(ticket,) for ticket in tickets])

    def _places(self, statement: str, key: str) -> list[HeldPlace]:
        rows = all_rows(self._db.execute(statement, (*self._moment(), key)))
        return [HeldPlace(row[0], row[1], Holder(row[2], row[3], row[4], ""), *row[5:]) for row in rows]

    def _pause(self, key: str) -> int:
        """Milliseconds until a pause ends; 0 where there is none."""
        left = int(self._db.execute(PAUSE, (*self._start_moment(), key)).get or 0)
        return left if 0 < left <= _PAUSE_MS else 0

    def _start_moment(self) -> tuple[str | None, int]:
        """Now, by the clock of starts and pauses: a provider's day goes on while this machine sleeps."""
        return self._boot, int(self._now_with_sleep() * 1000)

    def _moment(self) -> tuple[str | None, int]:
        return self._boot, int(self._now_of_boot() * 1000)
