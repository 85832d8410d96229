"""What a check asks of a metadata store beyond what its users do: the tables held against each other.

`CheckReads` tells what no other reader needs: faults of the file, look-ups that lead nowhere, state that nobody can
have meant. `CheckWrites` notes when blobs were verified, and ends leftovers.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple, Protocol

from msgspec import Struct

from renku_store.metadata.derived import DerivedReads, DerivedWrites
from renku_store.records.events import Event

EventKind = Literal["input", "artefact", "run"]


class StaleClaim(Struct, frozen=True):
    """A claim whose lease does not exist, or exists under another token."""

    signature: str
    run: str
    job: str


class EventKey(NamedTuple):
    """An event by its number in this database and its id, and the run that it is of."""

    seq: int
    id: str
    run: str | None


class TableSizes(Struct, frozen=True):
    """How many events of all kinds, blobs, runs and revisions an index holds."""

    events: int
    blobs: int
    runs: int
    revisions: int


class CheckReads(DerivedReads, Protocol):
    """The tables, held against each other at one moment."""

    def faults(self, limit: int, *, thorough: bool) -> list[str]:
        """What the store finds wrong with its own file, at most `limit` sentences; reads all of it.

        `thorough` holds its indexes against its tables, too.
        """
        ...

    def schema_differences(self) -> list[str]:
        """The parts of the schema that are missing or other than a new store has them, as `trigger NAME`."""
        ...

    def compaction_active(self) -> bool:
        """Whether the append-only triggers stand open (invariant 4); only ever within one transaction."""
        ...

    def lost_rows(self, limit: int) -> list[str]:
        """Look-ups that point at an event which is not there, as `TABLE ID`, at most `limit`."""
        ...

    def events_by_id(self, ids: Iterable[str]) -> dict[str, Event]:
        """The events there are, by id."""
        ...

    def keys_after(self, kind: EventKind, seq: int, limit: int) -> list[EventKey]:
        """The events of a kind beyond `seq`, oldest first, at most `limit`, without what they say."""
        ...

    def absent(self, ids: Iterable[str]) -> set[str]:
        """Those of the ids that no event has."""
        ...

    def sizes(self) -> TableSizes:
        """How much there is."""
        ...

    def compacted_runs(self) -> dict[str, str]:
        """The runs some of whose rows have left, with the hash of the archive that holds them."""
        ...

    def stale_claims(self, limit: int) -> list[StaleClaim]:
        """Claims that no lease stands behind (invariant 10), at most `limit`."""
        ...

    def impossible_leases(self, limit: int) -> list[str]:
        """Runs whose lease has a token that was never given out, or that are not there, at most `limit`."""
        ...

    def impossible_runs(self, limit: int) -> list[tuple[str, str]]:
        """Runs in a state that no step leads to, and what is impossible about it, at most `limit`."""
        ...

    def underived_traces(self, number: int, limit: int) -> list[tuple[int, str]]:
        """Traces from beyond `number` that no event tells of: their numbers and results, at most `limit`."""
        ...

    def deleting(self, limit: int) -> list[str]:
        """Blobs whose row says `deleting`, at most `limit`."""
        ...

    def verified(self, digests: Iterable[str]) -> dict[str, int]:
        """When blobs were last verified (Unix milliseconds), by hash; those that never were are left out."""
        ...

    def verified_before(self, before_ms: int, after: tuple[int, str], limit: int) -> list[tuple[int, str]]:
        """Blobs last verified before a moment, least recently first, beyond `after`, at most `limit`."""
        ...


class CheckWrites(CheckReads, DerivedWrites, Protocol):
    """Noting and ending."""

    def note_verified(self, digests: Iterable[str]) -> None:
        """These were found right just now."""
        ...

    def keep_verified(self, times: Iterable[tuple[int, str]]) -> None:
        """Blobs, each with the time (Unix milliseconds) at which another database had noted that it was right."""
        ...

    def forget_verified(self, digests: Iterable[str]) -> None:
        """These are gone, or wrong."""
        ...

    def end_stale(self) -> int:
        """Drop claims that no lease stands behind and leases that cannot be; gives how many."""
        ...
