"""What a check asks of tables that derive from others: where they disagree; and of the newest manifest's bytes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, Protocol

from msgspec import Struct

from renku_store.records.events import ArtefactEvent, InputEvent

SpanSide = Literal["covers", "first", "last"]
"""How a span of revisions has to lie to a revision: it holds it, begins with it, or ends with it."""


class KeptManifest(Struct, frozen=True):
    """The exact bytes of a manifest, as they were published, and their hash."""

    number: int
    hash: str
    data: bytes


class Held(Struct, frozen=True):
    """An input or artefact of a revision: its hash, `since` which revision it is that, and its event's number."""

    hash: str
    since: int
    seq: int | None


class DerivedReads(Protocol):
    """Look-ups, results and spans, held against what they derive from."""

    def stale_lookups(self, limit: int) -> list[str]:
        """Look-ups that miss, or are behind, the newest event that they should point at, as `TABLE ID`."""
        ...

    def lost_traces(self, limit: int) -> list[str]:
        """Results that events tell of and that the reuse index should hold but does not, at most `limit`."""
        ...

    def unlisted_traces(self) -> int:
        """How many results could be reused and are not in the index; their bytes may have been collected once."""
        ...

    def differing_traces(self, limit: int) -> list[str]:
        """Results of which the reuse index says something else than the events, at most `limit`."""
        ...

    def span_ends(self) -> tuple[dict[int, int], dict[int, int]]:
        """How many spans of named blobs begin, and how many end, with each revision."""
        ...

    def without_span(self, digests: Iterable[str], number: int, side: SpanSide) -> int:
        """How many of the blobs have no span that lies so to a revision."""
        ...

    def revision_state(self, number: int) -> tuple[dict[str, Held], dict[str, Held]]:
        """The inputs and the artefacts of a revision, by id."""
        ...

    def events_at(self, numbers: Iterable[int]) -> list[InputEvent | ArtefactEvent]:
        """The events of inputs and artefacts with these numbers, as far as they are still rows."""
        ...

    def newest_manifest(self) -> KeptManifest | None:
        """The bytes of the newest booked manifest, if they are kept."""
        ...


class DerivedWrites(DerivedReads, Protocol):
    """Keeping."""

    def keep_newest_manifest(self, kept: KeptManifest) -> None:
        """Keep the bytes of a manifest, the newest that is booked, in place of those kept so far."""
        ...
