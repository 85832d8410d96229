"""One check under way: the movie, what it may ask, what it has found, and what is known of names so far."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, TypeVar

from renku_store import bounds
from renku_store.blobs import BlobStore
from renku_store.drivers.base import Driver, shares_index
from renku_store.errors import DamageError
from renku_store.fsck.naming import Named
from renku_store.fsck.reports import REBUILD, CheckProgress, CheckStep, Findings
from renku_store.manifests import ManifestStore
from renku_store.metadata.base import Reader, RevisionRow
from renku_store.movie import Movie
from renku_store.records.manifest import ArchiveRef

T = TypeVar("T")

DATABASE: Final = "metadata.db"


@dataclass(frozen=True, slots=True)
class Published:
    """A revision of the chain, as its manifest or stub says."""

    number: int
    hash: str
    run: str
    archive: ArchiveRef | None
    state: str
    """`kept`, `trash` or `stub`."""


@dataclass(slots=True)
class Examination:
    """What the parts of a check share. Without an index (`indexed` False) only objects are looked at."""

    movie: Movie
    tell: Callable[[CheckProgress], None]
    findings: Findings = field(default_factory=Findings)
    indexed: bool = True
    booked: int = 0
    chain: dict[int, Published] = field(default_factory=dict)
    kept: Named = field(default_factory=Named)
    trash: Named = field(default_factory=Named)
    pending: Named = field(default_factory=Named)
    suspect_pages: set[str] = field(default_factory=set)

    @property
    def driver(self) -> Driver:
        """Where the objects are."""
        return self.movie.driver

    @property
    def promises(self) -> bool:
        """Whether rows of blobs promise anything: not where other machines collect, which have indexes of their own."""
        return self.indexed and shares_index(self.driver)

    def blobs(self) -> BlobStore:
        """The blobs by their objects alone, whatever the index says of them."""
        return BlobStore(self.driver, None)

    def manifests(self) -> ManifestStore:
        """The manifests, complete."""
        return ManifestStore(self.driver, self.blobs().read)

    def say(self, step: CheckStep, done: int) -> None:
        """Tell how far a step has come."""
        self.tell(CheckProgress(step, done, self.findings.checked_bytes))

    def looked(self, things: int = 1) -> None:
        """Count what was looked at."""
        self.findings.checked += things

    def ask(self, question: Callable[[Reader], T], otherwise: T) -> T:
        """What the index answers, or `otherwise` without one; one that turns out to be unreadable becomes a problem."""
        if self.indexed:
            try:
                with self.movie.metadata.read() as reader:
                    return question(reader)
            except (DamageError, ValueError, TypeError, AttributeError) as error:  # values of other types than columns
                self.unreadable(error)
        return otherwise

    def row(self, number: int) -> RevisionRow | None:
        """What the index says of a revision; None where it does not know it, or cannot be read."""
        return self.ask(lambda reader: reader.revisions.get(number), None)

    def unreadable(self, error: Exception, repair: str = REBUILD) -> None:
        """Note that the index cannot be read, and go on without it."""
        self.indexed = False
        self.findings.problem(11, DATABASE, f"{DATABASE} cannot be read: {str(error).splitlines()[0]}", repair)

    @contextmanager
    def still(self) -> Iterator[Reader | None]:
        """A moment in which no row changes: the write lock, or on a read-only root just a moment; or None."""
        if not self.indexed:
            yield None
        elif self.driver.read_only:
            with self.movie.metadata.read() as reader:
                yield reader
        else:
            with self.movie.metadata.write() as writer:
                yield writer

    def settled(self, look: Callable[[], list[str]]) -> list[str]:
        """Those names that a look gives each time, with pauses: what a living process leaves in a moment is none."""
        found = look()
        for _ in range(bounds.FSCK_LOOKS - 1):
            if found:
                time.sleep(bounds.FSCK_PAUSE_SECONDS)
                again = set(look())
                found = [name for name in found if name in again]
        return found
