"""How much there is: sums over the index, without reading a manifest or an event."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import apsw

from renku_store.metadata.sqlite.rows import all_rows, json_list
from renku_store.metadata.upkeep import ArtefactTotals, BlobTotals, Growth

# `before` counts the kept revisions below a number, so that a difference of two says how many are in a span. Of a value
# that no event tells of, the table of blobs knows the size.
ARTEFACTS: Final = """
WITH counted AS MATERIALIZED (
    SELECT number, sum(1 - expired) OVER (ORDER BY number) - (1 - expired) AS before FROM revisions
), entries AS (
    SELECT artefact, hash, seq, revision, lead(revision) OVER (PARTITION BY artefact ORDER BY revision) AS until
    FROM revision_artefacts
)
SELECT coalesce(sum(newest), 0), coalesce(sum(whole), 0), coalesce(sum(size) FILTER (WHERE kept), 0)
FROM (
    SELECT sum(newest) AS newest, sum(size * times) AS whole, max(size) AS size, max(times) > 0 AS kept
    FROM (
        SELECT n.hash, n.until IS NULL AS newest,
            coalesce(e.size, (SELECT b.size FROM blobs AS b WHERE b.hash = n.hash), 0) AS size,
            coalesce(t.before, (SELECT sum(1 - expired) FROM revisions)) - f.before AS times
        FROM entries AS n
        CROSS JOIN counted AS f ON f.number = n.revision
        LEFT JOIN counted AS t ON t.number = n.until
        LEFT JOIN artefact_events AS e ON e.seq = n.seq
        WHERE n.hash IS NOT NULL
    ) GROUP BY hash
)
"""
GROWTH: Final = """
SELECT m.first, sum(b.size), sum(b.stored_size)
FROM (SELECT hash, min(first) AS first FROM manifest_blobs GROUP BY hash) AS m
CROSS JOIN blobs AS b ON b.hash = m.hash
WHERE b.state <> 'deleting'
GROUP BY m.first ORDER BY m.first
"""
_KEPT: Final = """EXISTS (
    SELECT 1 FROM manifest_blobs AS m CROSS JOIN revisions AS v
    WHERE m.hash = b.hash AND v.expired = 0 AND v.number >= m.first AND (m.last IS NULL OR v.number <= m.last)
)"""
BLOBS: Final = (
    "SELECT count(*), coalesce(sum(b.size), 0), coalesce(sum(b.stored_size), 0) FROM blobs AS b"
    " WHERE b.state <> 'deleting'"
)
UNNAMED: Final = f"{BLOBS} AND NOT {_KEPT}"
# The cost of a call is written at the first of its results; where that row has left, the trace still tells.
SPENT: Final = """
SELECT coalesce((SELECT sum(cost) FROM artefact_events), 0) + coalesce((
    SELECT sum(t.cost) FROM traces AS t
    WHERE t.cost <> 0 AND t.result NOT IN (
        SELECT e.result FROM artefact_events AS e WHERE e.cost IS NOT NULL AND e.result IS NOT NULL
    )
), 0)
"""
PAST_COSTS: Final = (
    "SELECT producer, min(cost), max(cost) FROM (SELECT producer, cost FROM traces ORDER BY number DESC LIMIT ?2)"
    " WHERE producer IN (SELECT value FROM json_each(?1)) GROUP BY producer"
)
WITH_RESULTS: Final = (
    "SELECT j.value FROM json_each(?) AS j WHERE EXISTS (SELECT 1 FROM traces AS t WHERE t.signature = unhex(j.value))"
    " OR EXISTS (SELECT 1 FROM choices AS c WHERE c.signature = unhex(j.value))"
)


class Measuring:
    """The sums that statistics are made of."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection

    def artefact_totals(self) -> ArtefactTotals:
        """The artefacts of the newest revision, and the bytes of those of all kept ones."""
        row: Any = self._connection.execute(ARTEFACTS).fetchone()
        return ArtefactTotals(*row)

    def growth(self) -> list[Growth]:
        """What each revision brought, for those that brought blobs that are still there, oldest first."""
        return [Growth(*row) for row in all_rows(self._connection.execute(GROWTH))]

    def blob_totals(self) -> tuple[BlobTotals, BlobTotals]:
        """All blobs that have a row, and those of them that no kept revision names."""
        every: Any = self._connection.execute(BLOBS).fetchone()
        unnamed: Any = self._connection.execute(UNNAMED).fetchone()
        return BlobTotals(*every), BlobTotals(*unnamed)

    def spent(self) -> float:
        """What all producer calls took, in US dollars, published or not, as far as the index knows."""
        return float(self._connection.execute(SPENT).get)

    def past_costs(self, producers: Iterable[str], newest: int) -> dict[str, tuple[float, float]]:
        """The least and the most that a result of each producer took, in US dollars, among the `newest` results."""
        rows = all_rows(self._connection.execute(PAST_COSTS, (json_list(producers), newest)))
        return {producer: (low, high) for producer, low, high in rows}

    def with_results(self, signatures: Iterable[str]) -> list[str]:
        """Those of the signatures for which there is a result, usable or not."""
        return [row[0] for row in all_rows(self._connection.execute(WITH_RESULTS, (json_list(signatures),)))]
