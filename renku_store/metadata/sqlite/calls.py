"""Calls in flight, by the clock of the database. Keeps invariant 10: only who holds a signature's claim notes one."""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Mapping
from typing import Final

import apsw
import orjson

from renku_store.metadata.calls import CallInFlight
from renku_store.metadata.sqlite.rows import Row, all_rows, json_list
from renku_store.records._base import Json
from renku_store.records.run import LeaseToken

_CALL: Final = "SELECT signature, request_id, data, run, job, noted_at FROM calls"
GET_CALL: Final = f"{_CALL} WHERE signature = ?"
CALLS_AMONG: Final = (
    "SELECT c.signature, c.request_id, c.data, c.run, c.job, c.noted_at"
    " FROM json_each(?) AS j CROSS JOIN calls AS c ON c.signature = unhex(j.value)"
)
LIST_CALLS: Final = f"{_CALL} ORDER BY noted_at, signature"
NOTE_CALL: Final = (
    "INSERT OR REPLACE INTO calls (signature, request_id, data, run, job, noted_at)"
    " SELECT signature, ?5, ?6, run, ?7, CAST(unixepoch('subsec') * 1000 AS INTEGER) FROM claims"
    " WHERE signature = ?1 AND run = ?2 AND epoch = ?3 AND counter = ?4 AND job = ?7"
)
FORGET_CALL: Final = (
    "DELETE FROM calls WHERE signature = ?1"
    " AND EXISTS (SELECT 1 FROM claims WHERE signature = ?1 AND run = ?2 AND epoch = ?3 AND counter = ?4 AND job = ?5)"
)
RESTORE_CALL: Final = (
    "INSERT INTO calls (signature, request_id, data, run, job, noted_at) VALUES (?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (signature) DO NOTHING"
)
# A forced job is in flight though there are results for its signature: only its own result says that it has come.
RETIRE_CALLS: Final = (
    "DELETE FROM calls WHERE (noted_at < ?1 OR EXISTS (SELECT 1 FROM traces AS t"
    " WHERE t.signature = calls.signature AND t.request_id = calls.request_id))"
    " AND NOT EXISTS (SELECT 1 FROM claims AS c CROSS JOIN leases AS l"
    " ON l.run = c.run AND l.epoch = c.epoch AND l.counter = c.counter"
    " WHERE c.signature = calls.signature AND l.expires_at > CAST(unixepoch('subsec') * 1000 AS INTEGER))"
)


class CallTable:
    """Calls in flight."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._db = connection

    def get(self, signature: str) -> CallInFlight | None:
        """The call in flight for a signature."""
        return next(map(_call, all_rows(self._db.execute(GET_CALL, (bytes.fromhex(signature),)))), None)

    def among(self, signatures: Iterable[str]) -> dict[str, CallInFlight]:
        """The calls in flight for some signatures, as far as there are any."""
        found = map(_call, all_rows(self._db.execute(CALLS_AMONG, (json_list(signatures),))))
        return {call.signature: call for call in found}

    def list(self) -> builtins.list[CallInFlight]:
        """Every call in flight, oldest first."""
        return [_call(row) for row in all_rows(self._db.execute(LIST_CALLS))]

    def note(self, signature: str, request_id: str, data: Json, token: LeaseToken, job: str) -> bool:
        """Note the call in flight for a signature, in place of any other; False, and nothing noted, without its claim.

        The claim is that of the job. `data` has a canonical JSON form.
        """
        written = orjson.dumps(data).decode()
        given = (bytes.fromhex(signature), token.run, token.epoch, token.counter, request_id, written, job)
        self._db.execute(NOTE_CALL, given)
        return bool(self._db.changes())

    def forget(self, signature: str, token: LeaseToken, job: str) -> bool:
        """Drop the call in flight for a signature; False, and nothing dropped, without this job's claim of it."""
        self._db.execute(FORGET_CALL, (bytes.fromhex(signature), token.run, token.epoch, token.counter, job))
        return bool(self._db.changes())

    def forget_all(self, jobs: Mapping[str, str], token: LeaseToken) -> None:
        """Drop the calls in flight for those of some signatures whose claims are still their jobs'."""
        given = [(bytes.fromhex(known), token.run, token.epoch, token.counter, job) for known, job in jobs.items()]
        self._db.executemany(FORGET_CALL, given)

    def restore(self, calls: Iterable[CallInFlight]) -> None:
        """Note calls as another database has them, where this one has none for their signature."""
        self._db.executemany(
            RESTORE_CALL,
            [
                (bytes.fromhex(c.signature), c.request_id, orjson.dumps(c.data).decode(), c.run, c.job, c.noted_at)
                for c in calls
            ],
        )

    def retire(self, before_ms: int) -> int:
        """Drop those whose result has come, and those noted before a moment, where nobody holds the claim; how many."""
        self._db.execute(RETIRE_CALLS, (before_ms,))
        return self._db.changes()


def _call(row: Row) -> CallInFlight:
    signature, request_id, data, run, job, noted_at = row
    return CallInFlight(signature.hex(), request_id, orjson.loads(data), run, job, noted_at)
