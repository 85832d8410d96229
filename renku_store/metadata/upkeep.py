"""What compaction, streams over compacted events, and statistics ask of the metadata store."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final, Protocol

from msgspec import Struct

from renku_store.metadata.retirement import RetirementReads
from renku_store.records.events import Event

KINDS: Final = frozenset({"input", "artefact", "run"})


class Selection(Struct, frozen=True):
    """Which events are meant: of some kinds, of one run, or about one input, artefact or job.

    Rows only beyond the number `after`, archived events only beyond the id `after_id`.
    """

    kinds: frozenset[str] = KINDS
    run: str | None = None
    about: str | None = None
    after: int = 0
    after_id: str = ""

    def wants(self, event: Mapping[str, Any]) -> bool:
        """Whether an event, given as its JSON form, is meant."""
        if event.get("type") not in self.kinds or str(event.get("id")) <= self.after_id:
            return False
        if self.run is not None:
            return event.get("run") == self.run
        return self.about is None or self.about in (event.get("input"), event.get("artefact"), event.get("job"))


class CompactedRun(Struct, frozen=True):
    """A run some of whose rows have left: its archive has the hash `hash` and begins with the id `first_id`.

    One that `published` has taken the movie-wide edits in its archive. The archive of an `expired` one may be gone.
    """

    run: str
    hash: str
    first_id: str
    published: bool
    expired: bool


class EndedRun(Struct, frozen=True):
    """A run that is published, as revision `number` with the manifest hash `hash`, or abandoned (both None)."""

    run: str
    number: int | None
    hash: str | None
    expired: bool


class Growth(Struct, frozen=True):
    """What one revision brought: bytes of blobs that no earlier one names, as they are and on the disk."""

    number: int
    bytes: int
    stored_bytes: int


class BlobTotals(Struct, frozen=True):
    """Blobs, their bytes, and their bytes on the disk."""

    count: int
    bytes: int
    stored_bytes: int


class ArtefactTotals(Struct, frozen=True):
    """How many the newest revision has; of all kept revisions the bytes of each, and of each content once."""

    count: int
    bytes: int
    distinct_bytes: int


class UpkeepReads(Protocol):
    """Looking."""

    def last_used(self) -> int:
        """The last number that was ever given to an event."""
        ...

    def compactions(self) -> int:
        """Grows with every compaction of a run; 0 before the first."""
        ...

    def compacted(self, run: str | None = None) -> list[CompactedRun]:
        """The runs some of whose rows have left; only one run if it is named."""
        ...

    def in_id_order(self, after: str, limit: int, selection: Selection, through: int) -> list[Event]:
        """Rows that are meant, with numbers up to `through`, in the order of their ids, beyond `after`."""
        ...

    def publishing_event(self, revision: int) -> str | None:
        """The id of the event that tells of a revision's publishing."""
        ...

    def ended_runs(self) -> list[EndedRun]:
        """Runs that are published and booked, or abandoned, newest first."""
        ...

    def rows_of(self, run: str) -> int:
        """How many event rows a run has."""
        ...

    def may_leave(self, run: str) -> bool:
        """Whether a run has rows that nothing points at, other than the one that says that it has published."""
        ...

    def late_runs(self) -> list[str]:
        """The ended runs that have results which came after their claim was lost."""
        ...

    def trace_blobs(self, number: int, limit: int) -> list[tuple[int, str | None, list[str]]]:
        """Results beyond a number, in order, at most `limit`: their numbers, their runs, and the blobs they name."""
        ...

    def superseded_edits(self) -> set[str]:
        """The ids of movie-wide events that are neither pending nor pointed at."""
        ...

    def count_leaving(self, run: str, ids: Collection[str], *, edits: bool) -> int:
        """How many rows `drop` would remove."""
        ...

    def artefact_totals(self) -> ArtefactTotals:
        """The artefacts of the newest revision, and the bytes of those of all kept ones."""
        ...

    def growth(self) -> list[Growth]:
        """What each revision brought, for those that brought blobs that are still there, oldest first."""
        ...

    def blob_totals(self) -> tuple[BlobTotals, BlobTotals]:
        """All blobs that have a row, and those of them that no kept revision names."""
        ...

    def spent(self) -> float:
        """What all producer calls took, in US dollars, published or not, as far as the index knows."""
        ...

    def past_costs(self, producers: Iterable[str], newest: int) -> dict[str, tuple[float, float]]:
        """The least and the most that a result of each producer took, in US dollars, among the `newest` results."""
        ...

    def with_results(self, signatures: Iterable[str]) -> list[str]:
        """Those of the signatures for which there is a result, usable or not."""
        ...


class UpkeepWrites(UpkeepReads, Protocol):
    """Dropping rows that an archive holds. Keeps invariant 4: by id, and only those that nothing points at."""

    def release_expired(self) -> int:
        """Let go of the events that only expired revisions point at; gives how many look-ups did."""
        ...

    def drop(self, run: str, ids: Iterable[str], *, edits: bool, archive: str, first_id: str) -> int:
        """Drop those rows of an ended run that its archive lists by these ids; gives how many.

        With `edits` also movie-wide ones. Rows that a look-up points at or that are pending stay.
        """
        ...


class UpkeepReading(Protocol):
    """A moment of the store that can be asked so."""

    @property
    def retirement(self) -> RetirementReads:
        """What old runs leave."""
        ...

    @property
    def upkeep(self) -> UpkeepReads:
        """Compaction and statistics."""
        ...


class UpkeepWriting(Protocol):
    """A writer that can drop rows."""

    @property
    def upkeep(self) -> UpkeepWrites:
        """Compaction and statistics."""
        ...


class Space(Protocol):
    """The disk space of a metadata store."""

    def disk_bytes(self) -> int:
        """Bytes that the store takes on the disk now."""
        ...

    def reclaim(self, *, rewrite: bool) -> None:
        """Give free space back; with `rewrite`, by rewriting the store where more than a quarter of it is free.

        What keeps it from being given back, such as a reader or a full disk, is no error.
        """
        ...
