"""Published revisions, as the index knows them, and intents. Booking moves the look-ups by revision."""

# ruff: noqa: S608 (statements are put together from constants)

from __future__ import annotations

import builtins
from collections.abc import Iterable, Mapping
from typing import Final

import apsw

from renku_store.errors import DamageError, ManifestConflictError, RevisionExistsError
from renku_store.metadata.base import BlobSpan, Intent, RevisionRow
from renku_store.metadata.sqlite.rows import Row, all_rows, json_list, json_map, to_bytes, to_hex
from renku_store.records.ids import revision_name

_COLUMNS: Final = "number, hash, base_hash, run, created_at, made, reused, cost, saved"

NEWEST: Final = f"SELECT {_COLUMNS}, expired FROM revisions ORDER BY number DESC LIMIT 1"
GET: Final = f"SELECT {_COLUMNS}, expired FROM revisions WHERE number = ?"
LIST: Final = f"SELECT {_COLUMNS}, expired FROM revisions WHERE number < ? ORDER BY number DESC LIMIT ?"
INTENTS: Final = "SELECT run, number, hash, manifest FROM intents ORDER BY number, run"
PUT_INTENT: Final = (
    "INSERT OR REPLACE INTO intents (run, number, hash, manifest, created_at)"
    " VALUES (?, ?, ?, ?, CAST(unixepoch('subsec') * 1000 AS INTEGER))"
)
DROP_INTENT: Final = "DELETE FROM intents WHERE run = ?"
EXPIRE: Final = "UPDATE revisions SET expired = 1 WHERE number = ?"
ADD: Final = (
    f"INSERT INTO revisions ({_COLUMNS}, last_seq)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, (SELECT coalesce(max(seq), 0) FROM sqlite_sequence))"
)


def _add_changed(kind: str, given: str) -> str:
    """Note what a revision (?2) of a run (?3) changed: ids with hashes (?1), each with the event that tells where from.

    Of several events with the same value the run's own says it best, then the newest. Both are found from the end of
    those of one id; a plus keeps the index by run out, which would lead through all of a run.
    """
    events = f"SELECT e.seq FROM {kind}_events AS e WHERE e.{kind} = j.key AND e.hash = unhex(j.value){given}"
    newest = "ORDER BY e.seq DESC LIMIT 1"
    return (
        f"INSERT INTO revision_{kind}s ({kind}, revision, hash, seq) SELECT j.key, ?2, unhex(j.value),"
        f" coalesce(({events} AND +e.run = ?3 {newest}), ({events} {newest})) FROM json_each(?1) AS j"
    )


ADD_INPUTS: Final = _add_changed("input", "")
ADD_ARTEFACTS: Final = _add_changed("artefact", " AND e.status <> 'kept'")
POINT_PRIVATE_INPUTS: Final = (
    "INSERT INTO latest_inputs (input, seq) SELECT input, max(seq) FROM input_events WHERE run = ? GROUP BY input"
    " ON CONFLICT (input) DO UPDATE SET seq = excluded.seq WHERE excluded.seq > latest_inputs.seq"
)
TAKE_INPUTS: Final = (
    "DELETE FROM pending_inputs WHERE seq IN"
    " (SELECT e.seq FROM json_each(?) AS j CROSS JOIN input_events AS e ON e.id = j.value)"
)
TAKE_ARTEFACTS: Final = (
    "DELETE FROM pending_artefacts WHERE seq IN"
    " (SELECT e.seq FROM json_each(?) AS j CROSS JOIN artefact_events AS e ON e.id = j.value)"
)
_GIVEN: Final = "IN (SELECT unhex(value) FROM json_each(?1))"
CLOSE_OTHERS: Final = f"UPDATE manifest_blobs SET last = ?2 WHERE last IS NULL AND hash NOT {_GIVEN}"
CLOSE_BLOBS: Final = f"UPDATE manifest_blobs SET last = ?2 WHERE last IS NULL AND hash {_GIVEN}"
OPEN_BLOBS: Final = (
    "INSERT INTO manifest_blobs (hash, first) SELECT DISTINCT unhex(j.value), ?2 FROM json_each(?1) AS j"
    " WHERE NOT EXISTS (SELECT 1 FROM manifest_blobs AS m WHERE m.hash = unhex(j.value) AND m.last IS NULL)"
)
DOUBTFUL: Final = (
    "SELECT lower(hex(m.hash)) FROM manifest_blobs AS m WHERE m.last IS NULL"
    " AND NOT EXISTS (SELECT 1 FROM blobs AS b WHERE b.hash = m.hash AND b.state = 'live')"
)
BLOB_SPANS: Final = (
    "SELECT lower(hex(m.hash)), m.first, m.last, coalesce(b.stored_size, 0)"
    " FROM manifest_blobs AS m LEFT JOIN blobs AS b ON b.hash = m.hash"
    " WHERE (m.hash, m.first) > (?, ?) ORDER BY m.hash, m.first LIMIT ?"
)


class RevisionTables:
    """Revisions and intents."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._db = connection

    def newest(self) -> RevisionRow | None:
        """The newest booked revision."""
        return next(map(_revision, all_rows(self._db.execute(NEWEST))), None)

    def get(self, number: int) -> RevisionRow | None:
        """One booked revision."""
        return next(map(_revision, all_rows(self._db.execute(GET, (number,)))), None)

    def intents(self) -> list[Intent]:
        """Every intent."""
        return [Intent(row[0], row[1], row[2].hex(), row[3]) for row in all_rows(self._db.execute(INTENTS))]

    def doubtful(self) -> builtins.list[str]:
        """The blobs that the newest booked revision names and that have no live row."""
        return [row[0] for row in all_rows(self._db.execute(DOUBTFUL))]

    def blob_spans(self, after: tuple[str, int], limit: int) -> builtins.list[BlobSpan]:
        """Which revisions name which blobs: spans beyond (hash, first revision), in that order, at most `limit`."""
        bindings = (bytes.fromhex(after[0]), after[1], limit)
        return [BlobSpan(*row) for row in all_rows(self._db.execute(BLOB_SPANS, bindings))]

    def put_intent(self, intent: Intent) -> None:
        """Record what a run is about to publish; replaces an earlier intent of the same run."""
        self._db.execute(PUT_INTENT, (intent.run, intent.number, bytes.fromhex(intent.hash), intent.manifest))

    def drop_intent(self, run: str) -> None:
        """Forget a run's intent."""
        self._db.execute(DROP_INTENT, (run,))

    def expire(self, number: int) -> None:
        """Note that a booked revision's manifest is a stub by now."""
        self._db.execute(EXPIRE, (number,))

    def book(
        self,
        row: RevisionRow,
        *,
        blobs: Iterable[str],
        left: Iterable[str] | None = None,
        inputs: Mapping[str, str | None],
        artefacts: Mapping[str, str | None],
        taken: Iterable[str],
    ) -> None:
        """Index a published revision; again is no harm. Revisions are booked in rising order.

        `blobs` are all that its manifest names; or, where `left` gives those that the newest booked revision names and
        this one does not, at least those that this one names and that one does not. `inputs` and `artefacts` map the
        ids that changed against the base to their new hash, None where the revision has them no more; `taken` are the
        ids of the movie-wide events that the run took, pending no longer. The run's private inputs become latest
        values, where no edit came after them.

        Raises `ManifestConflictError` if the number is booked with another hash, `RevisionExistsError` if it is not and
        a later one is.
        """
        booked, newest = self.get(row.number), self.newest()
        if booked is not None:
            _refuse_other(booked, row)
            return
        if newest is not None and newest.number > row.number:
            raise RevisionExistsError(
                f"{revision_name(row.number)} cannot be booked after {revision_name(newest.number)}.",
                hint="`renku-store rebuild` indexes what is published anew, from the objects.",
            )
        try:
            self._add(row, inputs, artefacts)
        except apsw.ConstraintError as error:
            raise DamageError(
                f"The index knows what {revision_name(row.number)} changed, and not the revision itself.",
                hint="`renku-store rebuild` indexes what is published anew, from the objects.",
            ) from error
        self._db.execute(POINT_PRIVATE_INPUTS, (row.run,))
        self.take(taken)
        # In the order of their keys, so that those that come together are put side by side.
        digests, before = json_list(sorted(blobs)), 0 if newest is None else newest.number
        if left is None:
            self._db.execute(CLOSE_OTHERS, (digests, before))
        else:
            self._db.execute(CLOSE_BLOBS, (json_list(left), before))
        self._db.execute(OPEN_BLOBS, (digests, row.number))

    def _add(self, row: RevisionRow, inputs: Mapping[str, str | None], artefacts: Mapping[str, str | None]) -> None:
        self._db.execute(
            ADD,
            (
                row.number, bytes.fromhex(row.hash), to_bytes(row.base_hash), row.run, row.created_at, row.made,
                row.reused, row.cost, row.saved,
            ),
        )  # fmt: skip
        for statement, changed in ((ADD_INPUTS, inputs), (ADD_ARTEFACTS, artefacts)):
            if changed:
                self._db.execute(statement, (json_map(changed), row.number, row.run))

    def take(self, ids: Iterable[str]) -> None:
        """Let movie-wide events be pending no longer."""
        given = json_list(ids)
        self._db.execute(TAKE_INPUTS, (given,))
        self._db.execute(TAKE_ARTEFACTS, (given,))

    def list(self, *, before: int | None = None, limit: int) -> list[RevisionRow]:
        """Booked revisions, newest first, below `before`."""
        bindings = (2**63 - 1 if before is None else before, limit)
        return [_revision(row) for row in all_rows(self._db.execute(LIST, bindings))]


def _refuse_other(booked: RevisionRow, row: RevisionRow) -> None:
    if booked.hash != row.hash:
        raise ManifestConflictError(
            f"{revision_name(row.number)} is booked as {booked.hash}, not as {row.hash}.",
            expected=row.hash,
            actual=booked.hash,
            hint="`renku-store rebuild` indexes what is published anew, from the objects.",
        )


def _revision(row: Row) -> RevisionRow:
    number, digest, base_hash, run, created_at, made, reused, cost, saved, expired = row
    return RevisionRow(
        number, digest.hex(), to_hex(base_hash), run, created_at, made, reused, cost, bool(expired), saved
    )
