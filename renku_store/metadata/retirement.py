"""What a metadata store does for the retirement of old runs: their rows leave once nothing points at them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol


class RetirementReads(Protocol):
    """Which ended runs are old, and whether anything needs what they left."""

    def ended_before(self, moment: str) -> list[tuple[str, bool]]:
        """Runs that were published or abandoned before a moment (ISO 8601), oldest first.

        With each: whether it stands for no kept revision, as it published none, or one that has expired for good.
        """
        ...

    def with_results(self) -> set[str]:
        """The runs that made results which can still be reused: one pass over the traces."""
        ...

    def needed(self, run: str, ids: Iterable[str], results: Iterable[str]) -> bool:
        """Whether a look-up, a pending edit or a trace still needs one of the rows that `drop_events` would drop."""
        ...


class Retirement(RetirementReads, Protocol):
    """Within a write transaction: the removal of what old runs left, too."""

    def drop_events(self, run: str, ids: Iterable[str], results: Iterable[str]) -> bool:
        """Drop the event rows of an ended run.

        `ids` are those of the events in its archive (invariant 4: that is still there), `results` those of the calls
        that it tells of, whose runs may be others. False, and nothing dropped, where a look-up, a pending edit or a
        trace still needs one of the rows, of `ids` or of `results`, or the archive lacks one of the rows.
        """
        ...

    def forget(self, run: str) -> bool:
        """Drop the record of an ended run; False where it has event rows."""
        ...
