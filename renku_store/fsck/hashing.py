"""Which blobs are read, in what order, for how long; and noting when each was found right.

Which blobs are in a sample depends on its seed and on their hashes alone, so that it can be drawn again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from renku_store import bounds
from renku_store.blobs.verifying import fault, stored
from renku_store.errors import BlobMissingError, StoreUnavailableError
from renku_store.fsck.examination import Examination
from renku_store.hashing import hash_bytes
from renku_store.records.blob import Encoding

Report = Callable[[str, Mapping[Encoding, str]], None]
_SAMPLE_DIGITS: Final = 16


@dataclass(frozen=True, slots=True)
class Extent:
    """How much is read: the part `sample` (0 to 1) of the blobs that `seed` draws, for `budget_seconds` at most.

    Those verified within `max_age_seconds` are left out.
    """

    sample: float = 1.0
    seed: int = 0
    max_age_seconds: float | None = None
    budget_seconds: float | None = None


class Hashing:
    """Reads blobs and notes when they were verified."""

    def __init__(self, exam: Examination, extent: Extent) -> None:
        self._exam = exam
        self._extent = extent
        self._began = exam.movie.clock.monotonic()
        self._now_ms = exam.ask(lambda reader: reader.now_ms(), 0)
        self._right: list[str] = []
        self._wrong: list[str] = []
        self._waiting = 0
        self._stores = True
        if extent.sample < 1:
            exam.findings.complete = False

    def verify_new(self, objects: Mapping[str, Mapping[Encoding, int]], forced: set[str], report: Report) -> None:
        """Read a folder's objects that were never verified or are `forced`; without a budget all the others too."""
        nothing: dict[str, int] = {}
        verified = self._exam.ask(lambda reader: reader.checks.verified(objects), nothing)
        for digest, sizes in objects.items():
            when = verified.get(digest)
            if digest in forced:
                self._verify(digest, sizes, report)
            elif not self._is_drawn(digest) or (when is not None and self._is_recent(when)):
                self._exam.findings.skipped += 1
            elif self._extent.budget_seconds is not None and when is not None and when < self._now_ms:
                self._waiting += 1
            else:
                self._try(digest, sizes, report)

    def verify_again(self, report: Report) -> None:
        """Read those that wait because they were verified before, least recently first, while there is time."""
        after = (-1, "00")
        while self._waiting and not self._is_over() and (page := self._page(after)):
            after = page[-1]
            for when, digest in page:
                if self._is_drawn(digest) and not self._is_recent(when):
                    sizes = stored(self._exam.driver, digest)
                    if sizes and not self._is_over():
                        self._waiting -= 1
                        self._verify(digest, sizes, report)
        if self._waiting > 0:
            self._exam.findings.skipped += self._waiting
            self._exam.findings.complete = False

    def finish(self) -> None:
        """Note what is left to be noted."""
        self._store()

    def _page(self, after: tuple[int, str]) -> list[tuple[int, str]]:
        nothing: list[tuple[int, str]] = []
        limit = bounds.EVENT_PAGE_ROWS
        return self._exam.ask(lambda reader: reader.checks.verified_before(self._now_ms, after, limit), nothing)

    def _try(self, digest: str, sizes: Mapping[Encoding, int], report: Report) -> None:
        if self._is_over():
            self._exam.findings.skipped += 1
            self._exam.findings.complete = False
        else:
            self._verify(digest, sizes, report)

    def _verify(self, digest: str, sizes: Mapping[Encoding, int], report: Report) -> None:
        faults: dict[Encoding, str] = {}
        for encoding, size in sizes.items():
            try:
                wrong = fault(self._exam.driver, digest, encoding)
            except BlobMissingError:  # whether that is a loss, rows and names tell
                continue
            self._exam.findings.checked_bytes += size
            if wrong is not None:
                faults[encoding] = wrong
        if faults:
            report(digest, faults)
        (self._wrong if faults else self._right).append(digest)
        if len(self._right) >= bounds.FSCK_BATCH_BLOBS or len(self._wrong) >= bounds.FSCK_BATCH_BLOBS:
            self._store()
            self._exam.say("blobs", self._exam.findings.checked)

    def _store(self) -> None:
        right, wrong = self._right, self._wrong
        self._right, self._wrong = [], []
        if not self._stores or not self._exam.indexed or not (right or wrong) or self._exam.driver.read_only:
            return
        try:
            with self._exam.movie.metadata.write() as writer:
                writer.checks.note_verified(right)
                writer.checks.forget_verified(wrong)
        except StoreUnavailableError as error:
            self._stores = False
            self._exam.findings.note(f"What was verified could not be noted: {error.message}")

    def _is_over(self) -> bool:
        budget = self._extent.budget_seconds
        return budget is not None and self._exam.movie.clock.monotonic() - self._began >= budget

    def _is_recent(self, when: int) -> bool:
        age = self._extent.max_age_seconds
        return age is not None and when > self._now_ms - age * 1000

    def _is_drawn(self, digest: str) -> bool:
        return is_drawn(digest, self._extent.sample, self._extent.seed)


def is_drawn(digest: str, sample: float, seed: int) -> bool:
    """Whether a blob is in a sample: independent of all others, and the same for the same seed."""
    if sample >= 1:
        return True
    drawn = int(hash_bytes(f"{seed} {digest}".encode())[:_SAMPLE_DIGITS], 16)
    return drawn < sample * 16.0**_SAMPLE_DIGITS
