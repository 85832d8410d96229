"""Tables that derive from others, against what they derive from: look-ups, the reuse index, which revision names what.

Keeps no more than the names of one revision: from the newest on, each is compared with the one before by what differs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from functools import partial

from renku_store import bounds
from renku_store.fsck.examination import Examination
from renku_store.fsck.reports import REBUILD
from renku_store.metadata.base import Reader
from renku_store.metadata.derived import SpanSide
from renku_store.records.ids import revision_name

_SPANS = "manifest_blobs"


def check_derived(exam: Examination) -> None:
    """Look-ups and the reuse index against the events that are still rows."""
    exam.ask(lambda reader: _check_events(exam, reader), None)


def _check_events(exam: Examination, reader: Reader) -> None:
    limit, checks = bounds.FSCK_PROBLEMS_MAX, reader.checks
    for name in checks.stale_lookups(limit):
        exam.findings.problem(4, name, f"{name} does not lead to the newest event.", REBUILD)
    for result in checks.lost_traces(limit):
        message = f"The result {result} is missing in the reuse index, though an event tells of it."
        exam.findings.problem(10, result, message, REBUILD)
    for result in checks.differing_traces(limit):
        message = f"The reuse index says something else of the result {result} than its events."
        exam.findings.problem(10, result, message, REBUILD)
    if unlisted := checks.unlisted_traces():
        exam.findings.note(
            f"Results whose bytes are there again after a collection, not in the reuse index: {unlisted:,}."
            f" `{REBUILD}` brings them back."
        )


class Spans:
    """Which revision names which blobs, as the index says, against manifests that come newest first."""

    def __init__(self, exam: Examination) -> None:
        self._exam = exam
        nothing: tuple[int, tuple[dict[int, int], dict[int, int]]] = (0, ({}, {}))
        self._booked, (self._firsts, self._lasts) = exam.ask(_spans, nothing)
        self._above: int | None = None
        self._parts: Mapping[str, frozenset[bytes]] = {}
        self._names: Counter[bytes] = Counter()
        self._wrong: list[int] = []

    def skip(self) -> None:
        """A revision that cannot be read, or that the index does not know: nothing is compared with it."""
        self._above = None

    def look(self, number: int, parts: Mapping[str, frozenset[bytes]]) -> None:
        """Compare what the index says of one revision with what the parts of its manifest name: pages, and the rest.

        One that was booked since is left out: the counts are those of before.
        """
        if number > self._booked:
            self.skip()
            return
        came, went = self._turn_to(parts)
        if self._above == number + 1:
            # Named from the next revision on, and not by this one; and the other way round.
            right = self._ends(number + 1, "first", self._firsts, went)
            right = right and self._ends(number, "last", self._lasts, came)
        else:
            right = len(self._names) == self._covering(number) and self._all(self._names, number, "covers")
        if number == 1:
            right = right and self._ends(1, "first", self._firsts, set(self._names))
        if not right:
            self._wrong.append(number)
        self._above = number

    def report(self) -> None:
        """Say of which revisions the index names other blobs than their manifests."""
        if self._wrong:
            names = [revision_name(number) for number in sorted(self._wrong)]
            message = f"The index says of {names[-1]} that it names other blobs than its manifest does."
            self._exam.findings.problem(6, _SPANS, message, REBUILD, revisions=names)

    def _turn_to(self, given: Mapping[str, frozenset[bytes]]) -> tuple[set[bytes], set[bytes]]:
        """Let the names be those of another revision; gives what this one has and the last one had not, and reverse."""
        came = [digests for name, digests in given.items() if self._parts.get(name) != digests]
        left = [digests for name, digests in self._parts.items() if given.get(name) != digests]
        touched = frozenset[bytes]().union(*came, *left)
        before = {digest for digest in touched if digest in self._names}
        for digests in came:
            self._names.update(digests)
        for digests in left:
            self._names.subtract(digests)
        after = {digest for digest in touched if self._names[digest] > 0}
        for digest in touched - after:
            del self._names[digest]
        self._parts = given
        return after - before, before - after

    def _ends(self, number: int, side: SpanSide, counts: dict[int, int], digests: set[bytes]) -> bool:
        """Whether the spans that begin, or end, with a revision are those of these blobs."""
        return counts.get(number, 0) == len(digests) and self._all(digests, number, side)

    def _covering(self, number: int) -> int:
        begun = sum(count for first, count in self._firsts.items() if first <= number)
        return begun - sum(count for last, count in self._lasts.items() if last < number)

    def _all(self, digests: Iterable[bytes], number: int, side: SpanSide) -> bool:
        """Whether each blob has such a span."""
        names = [digest.hex() for digest in digests]
        for start in range(0, len(names), bounds.EVENT_PAGE_ROWS):
            group = names[start : start + bounds.EVENT_PAGE_ROWS]
            if self._exam.ask(partial(_without, group, number, side), 0):
                return False
        return True


def _spans(reader: Reader) -> tuple[int, tuple[dict[int, int], dict[int, int]]]:
    """The newest revision that is booked, and how many spans begin and end with each, as of one moment."""
    newest = reader.revisions.newest()
    return (newest.number if newest else 0, reader.checks.span_ends())


def _without(digests: list[str], number: int, side: SpanSide, reader: Reader) -> int:
    return reader.checks.without_span(digests, number, side)
