"""Runs, their leases and their claims, by the clock of the database. Keeps invariant 10."""

# ruff: noqa: S608 (statements are put together from constants)

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import apsw

from renku_store.errors import NotFoundError
from renku_store.metadata.sqlite.rows import Row, all_rows, json_list
from renku_store.records.run import Holder, LeaseToken, RunRecord

_NOW: Final = "CAST(unixepoch('subsec') * 1000 AS INTEGER)"
_RUN: Final = (
    "SELECT r.run, r.status, r.base_revision, r.edits_through, r.revision, r.created_at, r.ended_at,"
    " r.elsewhere, l.host, l.pid, l.command,"
    " coalesce(l.expires_at > CAST(unixepoch('subsec') * 1000 AS INTEGER), 0)"
    " FROM runs AS r LEFT JOIN leases AS l ON l.run = r.run"
)
GET: Final = f"{_RUN} WHERE r.run = ?"
LIST: Final = f"{_RUN} ORDER BY r.created_at, r.run"
LIST_UNFINISHED: Final = f"{_RUN} WHERE r.status NOT IN ('published', 'abandoned') ORDER BY r.created_at, r.run"
CREATE: Final = (
    "INSERT INTO runs (run, status, base_revision, edits_through, created_at, elsewhere)"
    " VALUES (?, 'planned', ?, ?, ?, ?)"
)
UPDATE: Final = (
    "UPDATE runs SET status = coalesce(?2, status), base_revision = coalesce(?3, base_revision),"
    " edits_through = coalesce(?4, edits_through), revision = coalesce(?5, revision),"
    " ended_at = coalesce(?6, ended_at), elsewhere = coalesce(?7, elsewhere) WHERE run = ?1"
)
HOLDER: Final = "SELECT host, pid, process_start, command FROM leases WHERE run = ?"
HELD: Final = f"SELECT 1 FROM leases WHERE run = ? AND expires_at > {_NOW}"
NEXT_TOKEN: Final = "UPDATE meta SET value = value + 1 WHERE key = 'token' RETURNING value"  # noqa: S105 (not a secret)
EPOCH: Final = "SELECT value FROM meta WHERE key = 'epoch'"
TAKE_LEASE: Final = (
    "INSERT OR REPLACE INTO leases (run, epoch, counter, host, pid, process_start, command, expires_at)"
    f" VALUES (?, ?, ?, ?, ?, ?, ?, {_NOW} + ?)"
)
RENEW: Final = f"UPDATE leases SET expires_at = {_NOW} + ?4 WHERE run = ?1 AND epoch = ?2 AND counter = ?3 RETURNING 1"
HOLDS: Final = "SELECT 1 FROM leases WHERE run = ? AND epoch = ? AND counter = ?"
CANCEL: Final = f"UPDATE leases SET cancelled = 1 WHERE run = ? AND expires_at > {_NOW} RETURNING 1"
CANCELLED: Final = "SELECT 1 FROM leases WHERE run = ? AND epoch = ? AND counter = ? AND cancelled"
RELEASE: Final = "DELETE FROM leases WHERE run = ? AND epoch = ? AND counter = ?"
DROP_CLAIMS: Final = "DELETE FROM claims WHERE run = ? AND epoch = ? AND counter = ?"
DROP_OLDER_CLAIMS: Final = "DELETE FROM claims WHERE run = ? AND (epoch, counter) <> (?, ?)"
CLAIMED_BY: Final = (
    "SELECT c.run, c.job FROM claims AS c CROSS JOIN leases AS l"
    " ON l.run = c.run AND l.epoch = c.epoch AND l.counter = c.counter"
    f" WHERE c.signature = ?1 AND (l.expires_at > {_NOW} OR (c.run = ?2 AND c.epoch = ?3 AND c.counter = ?4))"
)
CLAIM: Final = (
    f"INSERT OR REPLACE INTO claims (signature, run, job, epoch, counter, claimed_at) VALUES (?, ?, ?, ?, ?, {_NOW})"
)
CLAIM_FREE: Final = (
    "INSERT INTO claims (signature, run, job, epoch, counter, claimed_at)"
    f" SELECT ?1, ?2, ?3, ?4, ?5, {_NOW} WHERE NOT EXISTS (SELECT 1 FROM traces WHERE signature = ?1)"
    " AND NOT EXISTS (SELECT 1 FROM choices WHERE signature = ?1)"
    " ON CONFLICT (signature) DO NOTHING RETURNING signature"
)
CLAIMS_HELD: Final = (
    "SELECT j.value, c.job FROM json_each(?) AS j CROSS JOIN claims AS c ON c.signature = unhex(j.value)"
    " WHERE c.run = ? AND c.epoch = ? AND c.counter = ?"
)
HOLDS_CLAIM: Final = (
    "SELECT 1 FROM claims WHERE signature = ?1 AND run = ?2 AND epoch = ?3 AND counter = ?4 AND job = coalesce(?5, job)"
)
SEEN_ARCHIVES: Final = "SELECT run, size, modified FROM seen_archives"
SAW_ARCHIVE: Final = "INSERT OR REPLACE INTO seen_archives (run, size, modified) VALUES (?, ?, ?)"
UNCLAIM: Final = (
    "DELETE FROM claims WHERE signature = ?1 AND run = ?2 AND epoch = ?3 AND counter = ?4 AND job = coalesce(?5, job)"
)


class RunTables:
    """Runs, leases and claims."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._db = connection

    def get(self, run: str) -> RunRecord | None:
        """One run; `alive` says whether its lease is held and unexpired."""
        return next(map(_record, all_rows(self._db.execute(GET, (run,)))), None)

    def list(self, *, unfinished: bool = False) -> list[RunRecord]:
        """Runs, oldest first; only those neither published nor abandoned if asked."""
        return [_record(row) for row in all_rows(self._db.execute(LIST_UNFINISHED if unfinished else LIST))]

    def holder(self, run: str) -> Holder | None:
        """Who holds the lease of a run, expired or not; None where nobody does."""
        row: Any = self._db.execute(HOLDER, (run,)).fetchone()
        return None if row is None else Holder(*row)

    def seen_archives(self) -> dict[str, tuple[int, float]]:
        """What was read of other machines, as it was: bytes, and Unix seconds.

        Archives by run, manifests of revisions in the trash by revision.
        """
        return {row[0]: (row[1], row[2]) for row in all_rows(self._db.execute(SEEN_ARCHIVES))}

    def saw_archive(self, run: str, size: int, modified: float) -> None:
        """Note that an archive, or a manifest in the trash, was read, as it was; `run`: its name in `seen_archives`."""
        self._db.execute(SAW_ARCHIVE, (run, size, modified))

    def create(
        self, run: str, *, base_revision: str | None, edits_through: int, created_at: str, elsewhere: bool = False
    ) -> None:
        """Insert a run, `planned`; `elsewhere`: it is another machine's."""
        self._db.execute(CREATE, (run, base_revision, edits_through, created_at, int(elsewhere)))

    def update(
        self,
        run: str,
        *,
        status: str | None = None,
        base_revision: str | None = None,
        edits_through: int | None = None,
        revision: str | None = None,
        ended_at: str | None = None,
        elsewhere: bool | None = None,
    ) -> None:
        """Change what is given, leave the rest. Raises `NotFoundError` for a run that is not there."""
        self._db.execute(UPDATE, (run, status, base_revision, edits_through, revision, ended_at, elsewhere))
        if not self._db.changes():
            raise NotFoundError(f"There is no run {run}.", hint="`renku-store status` lists the runs.")

    def acquire(self, run: str, holder: Holder, seconds: float, *, steal: bool = False) -> LeaseToken | None:
        """Take the lease of a run if nobody holds it unexpired (or `steal`); the token is greater than any before.

        Claims made under an earlier token of the run end with it.
        """
        if not steal and self._found(HELD, run):
            return None
        token = LeaseToken(run, int(self._db.execute(EPOCH).get), int(self._db.execute(NEXT_TOKEN).get))
        self._db.execute(
            TAKE_LEASE,
            (
                run, token.epoch, token.counter, holder.host, holder.pid, holder.process_start, holder.command,
                _milliseconds(seconds),
            ),
        )  # fmt: skip
        self._db.execute(DROP_OLDER_CLAIMS, (run, token.epoch, token.counter))
        return token

    def renew(self, token: LeaseToken, seconds: float) -> bool:
        """Extend a lease, overdue or not; False if it is held under another token by now, or given up."""
        return self._found(RENEW, token.run, token.epoch, token.counter, _milliseconds(seconds))

    def holds(self, token: LeaseToken) -> bool:
        """Whether this token is the lease's present one (even if overdue: nobody has taken it)."""
        return self._found(HOLDS, token.run, token.epoch, token.counter)

    def cancelled(self, token: LeaseToken) -> bool:
        """Whether the holder of this lease was asked to stop; a lease that is taken anew was not."""
        return self._found(CANCELLED, token.run, token.epoch, token.counter)

    def cancel(self, run: str) -> bool:
        """Ask whoever holds the lease of a run to stop; False if nobody holds it unexpired."""
        return self._found(CANCEL, run)

    def release(self, token: LeaseToken) -> None:
        """Give a lease up, and all claims made under it; no error if it is not ours any more."""
        self._db.execute(DROP_CLAIMS, (token.run, token.epoch, token.counter))
        self._db.execute(RELEASE, (token.run, token.epoch, token.counter))

    def claim(self, signature: str, token: LeaseToken, job: str, *, steal: bool = False) -> str | None:
        """Claim a signature for a run's job; None if it is ours now, else the run that holds it unexpired.

        That may be the run itself, for another of its jobs or from another of its processes. A claim lasts as long as
        the lease that it was made under, and for who asks under that very lease even if it is overdue; `steal` takes
        it whoever holds it, for a caller that has seen the holder's process gone.
        """
        asked = (bytes.fromhex(signature), token.run, token.epoch, token.counter)
        row: Any = self._db.execute(CLAIMED_BY, asked).fetchone()
        if row is not None and not steal:
            return str(row[0])
        self._db.execute(CLAIM, (bytes.fromhex(signature), token.run, job, token.epoch, token.counter))
        return None

    def claim_free(self, wanted: Iterable[tuple[str, str]], token: LeaseToken) -> set[str]:
        """Claim those of some signatures, each with its job, that have no result and no claim, not even one overdue.

        Gives those that are ours now; of a signature that is named twice the first job has it.
        """
        rows = [(bytes.fromhex(known), token.run, job, token.epoch, token.counter) for known, job in wanted]
        return {row[0].hex() for row in all_rows(self._db.executemany(CLAIM_FREE, rows))}

    def claims_held(self, jobs: Mapping[str, str], token: LeaseToken) -> set[str]:
        """Those of some signatures whose claims are still their jobs', as `holds_claim` says of one."""
        given = (json_list(jobs), token.run, token.epoch, token.counter)
        return {row[0] for row in all_rows(self._db.execute(CLAIMS_HELD, given)) if row[1] == jobs[row[0]]}

    def holds_claim(self, signature: str, token: LeaseToken, job: str | None = None) -> bool:
        """Whether the claim is still ours (even if overdue: nobody has taken it), and that of this job if it is given.

        Another job of the run may have taken it since: then there are two that would make the same.
        """
        return self._found(HOLDS_CLAIM, bytes.fromhex(signature), token.run, token.epoch, token.counter, job)

    def unclaim(self, signature: str, token: LeaseToken, job: str | None = None) -> None:
        """Release a claim of ours, and only that of this job if it is given; no error if it is not."""
        self._db.execute(UNCLAIM, (bytes.fromhex(signature), token.run, token.epoch, token.counter, job))

    def unclaim_all(self, jobs: Mapping[str, str], token: LeaseToken) -> None:
        """Release those claims, by signature, that are still their jobs'; no error for what is not."""
        given = [(bytes.fromhex(known), token.run, token.epoch, token.counter, job) for known, job in jobs.items()]
        self._db.executemany(UNCLAIM, given)

    def _found(self, statement: str, *bindings: str | int | bytes | None) -> bool:
        return self._db.execute(statement, bindings).get is not None


def _record(row: Row) -> RunRecord:
    elsewhere, host, pid, command, alive = row[7:]
    return RunRecord(
        run=row[0],
        status=row[1],
        base_revision=row[2],
        edits_through=row[3],
        revision=row[4],
        created_at=row[5],
        ended_at=row[6],
        holder=None if host is None else f"{command} (process {pid} on {host})",
        alive=bool(alive),
        elsewhere=bool(elsewhere),
    )


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
