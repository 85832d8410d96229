"""One long job in parts: idle slots of the run help, and each part that is done is stored, so that a crash loses few.

A part is a result under a signature of its own, which follows from the job's signature and from what is divided; the
bounds are the name of its output. What is stored covers ranges, whoever made them and however they were cut; only the
rest is divided. Parts belong to no artefact, and are collected once the run of their job has ended.

Keeps invariants 3 (a part's blob is durable before the event that names it) and 10 (no part is made of a job that is
known to be another's).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from renku_store import bounds as limits
from renku_store.answers import wrong_file
from renku_store.calls import Division, MakePart, Part, PartMaker
from renku_store.errors import DamageError, ProducerError, UnusableError
from renku_store.hashing import hash_value
from renku_store.movie import Movie
from renku_store.records._base import Json
from renku_store.records.events import Trace
from renku_store.records.graph import GraphNode, GraphOutput
from renku_store.records.run import LeaseToken
from renku_store.running.claiming import HeldClaim
from renku_store.running.concurrency import ConcurrencyLimiter
from renku_store.running.earlier import EarlierResults
from renku_store.running.results import Outcome, ResultWriter

Bounds = tuple[int, int]
"""From the first number of a range to the one after its last."""

_MIME_TYPE: Final = "application/octet-stream"
_AFTER_ALL_JOBS: Final = -math.inf
"""The priority of helpers: a job that is ready goes before any part."""


class Ranges:
    """What of `range(total)` is left to be made, in parts of `at_least` numbers where there are as many together. Pure.

    Who has made a part goes on behind it, if nobody else does. Others begin in the middle of the largest range that is
    left, and so leave its first half to whoever works before it.
    """

    def __init__(self, total: int, made: Iterable[Bounds], at_least: int) -> None:
        self._at_least = at_least
        self._left: list[Bounds] = []
        self._busy: set[int] = set()
        start = 0
        for begin, end in [*sorted(made), (total, total)]:
            if start < begin:
                self._left.append((start, begin))
            start = end

    @property
    def left(self) -> int:
        """How many parts there still are, if nobody divides the ranges further."""
        return sum(max(1, (stop - start) // self._at_least) for start, stop in self._left)

    def take(self, after: int | None = None) -> Bounds | None:
        """The next part for somebody whose last one ended at `after`; None where everything is taken."""
        if not self._left:
            return None
        chosen = next((found for found in self._left if found[0] == after), None)
        start, stop = chosen or max(self._left, key=lambda found: found[1] - found[0])
        self._left.remove((start, stop))
        if start in self._busy and stop - start >= 2 * self._at_least:
            middle = start + (stop - start) // 2
            self._left.append((start, middle))
            start = middle
        end = start + self._at_least if stop - start >= 2 * self._at_least else stop
        if end < stop:
            self._left.append((end, stop))
        self._busy.add(end)
        return start, end

    def done(self, part: Bounds) -> None:
        """Say that a part is no longer being made."""
        self._busy.discard(part[1])


class StoredParts(PartMaker):
    """The parts of one job in one run. One that is `forced` finds only those that its own run has made.

    Before each part that is to be made it is seen that the `claim` of the job is ours still.
    """

    def __init__(
        self,
        movie: Movie,
        token: LeaseToken,
        writer: ResultWriter,
        limiter: ConcurrencyLimiter,
        node: GraphNode,
        known: str,
        claim: HeldClaim,
        *,
        forced: bool,
    ) -> None:
        self._movie = movie
        self._writer = writer
        self._limiter = limiter
        self._node = node
        self._known = known
        self._claim = claim
        self._forced = forced
        self._token = token
        self._divisions = 0

    @property
    def _earlier(self) -> EarlierResults:
        return EarlierResults(self._movie, self._token)

    def _identity(self) -> list[Json]:
        return [self._known, self._token.run if self._forced else None]

    @property
    def under_way(self) -> bool:
        """Whether parts are being made: then the job's folder is theirs."""
        return self._divisions > 0

    async def made(self, directory: Path, division: Division, make: MakePart) -> list[Part]:
        """Every part, in order, as a file below `directory`; those that are stored already are not made again."""
        shelf = _Shelf(
            hash_value(["part", *self._identity(), division.name, division.total]),
            directory,
            directory / "parts" / division.name,
        )
        parts = await asyncio.to_thread(self._found, shelf, division.total)
        ranges = Ranges(division.total, [(part.start, part.stop) for part in parts], division.at_least)

        async def one(bounds: Bounds) -> None:
            await self._claim.confirm()
            parts.append(await self._store(shelf, bounds, await make(*bounds)))

        self._divisions += 1
        try:
            await _Crew(ranges, one, self._limiter).work()
        finally:
            self._divisions -= 1
        return sorted(parts, key=lambda part: part.start)

    def _found(self, shelf: _Shelf, total: int) -> list[Part]:
        """What is stored, as files; of parts that overlap the earlier one is taken, and of damaged ones none."""
        shelf.folder.mkdir(parents=True, exist_ok=True)
        parts: list[Part] = []
        for trace in self._earlier.touched(self._stored(shelf, total)):
            for name, value in trace.outputs.items():
                try:
                    parts.append(self._file(shelf, _bounds(name), value.hash))
                except DamageError:
                    self._earlier.mend(trace)
        return parts

    def _stored(self, shelf: _Shelf, total: int) -> list[Trace]:
        """Parts that do not overlap, in order."""
        stored = {_bounds(name): trace for trace in self._earlier.all_usable(shelf.signature) for name in trace.outputs}
        chosen: list[Trace] = []
        end = 0
        for start, stop in sorted(stored, key=lambda found: (found[0], -found[1])):
            if end <= start < stop <= total:
                chosen.append(stored[start, stop])
                end = stop
        return chosen

    async def _store(self, shelf: _Shelf, bounds: Bounds, content: bytes | Path) -> Part:
        """Make one part durable; raises `ProducerError` where it is neither bytes nor a file of the job's."""
        name = f"{bounds[0]}-{bounds[1]}"
        self._check(shelf, name, content)
        output = GraphOutput(id=f"{self._node.job_id} (parts)", name=name, mime_type=_MIME_TYPE)
        node = self._node.replace(produces=[output])
        outcome = Outcome(node, shelf.signature, {name: content}, {name: _MIME_TYPE}, part=True)
        stored, cancelled = await self._writer.store_to_the_end(outcome)
        if cancelled:
            raise asyncio.CancelledError
        return await asyncio.to_thread(self._file, shelf, bounds, stored.values[name].hash, content)

    def _file(self, shelf: _Shelf, bounds: Bounds, digest: str, given: bytes | Path = b"") -> Part:
        """The stored part as a file, in place of the one that was handed over."""
        path = shelf.folder / f"{bounds[0]}-{bounds[1]}"
        for old in (path, given):
            if isinstance(old, Path):
                old.unlink(missing_ok=True)
        self._movie.blobs.copy_to(digest, path)
        return Part(*bounds, path)

    def _check(self, shelf: _Shelf, name: str, content: object) -> None:
        wrong = None
        if isinstance(content, Path):
            if not content.is_absolute() or not content.parent.resolve().is_relative_to(shelf.directory.resolve()):
                wrong = f"The part {name} is a file outside the job's directory."
            else:
                wrong = wrong_file(content, name, self._node.max_output_bytes or limits.OUTPUT_MAX_BYTES)
        elif not isinstance(content, bytes):
            wrong = f"The part {name} is of type {type(content).__name__}, not bytes or a path."
        if wrong is not None:
            raise ProducerError(f"{self._node.producer}: {wrong}")


def _bounds(name: str) -> Bounds:
    """The bounds of a part by the name of its output."""
    start, _, stop = name.partition("-")
    return int(start), int(stop)


@dataclass(frozen=True, slots=True)
class _Shelf:
    """Where the parts of one division are: under which signature, of which job's directory, in which folder there."""

    signature: str
    directory: Path
    folder: Path


class _Crew:
    """Makes all parts: one after another in the job's own slot, and beside it in every slot that nobody else wants."""

    def __init__(self, ranges: Ranges, one: Callable[[Bounds], Awaitable[None]], limiter: ConcurrencyLimiter) -> None:
        self._ranges = ranges
        self._one = one
        self._limiter = limiter
        self._queued: set[asyncio.Task[None]] = set()

    async def work(self) -> None:
        """Until all is made. The first that goes wrong ends all of it; whoever is at a part is cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(self._limiter.limit, self._ranges.left) - 1):
                    self._queued.add(group.create_task(self._help()))
                await self._on_and_on()
                for task in self._queued:
                    task.cancel()
        except BaseExceptionGroup as errors:
            raise _first(errors) from None

    async def _on_and_on(self) -> None:
        after: int | None = None
        while (bounds := self._ranges.take(after)) is not None:
            await self._make(bounds)
            after = bounds[1]

    async def _help(self) -> None:
        """A part at a time, and the slot goes back in between: to a job that has become ready, if there is one."""
        task = asyncio.current_task()
        after: int | None = None
        while task is not None and self._ranges.left:
            self._queued.add(task)
            async with self._limiter.slot(_AFTER_ALL_JOBS):
                self._queued.discard(task)
                bounds = self._ranges.take(after)
                if bounds is None:
                    return
                await self._make(bounds)
                after = bounds[1]

    async def _make(self, bounds: Bounds) -> None:
        try:
            await self._one(bounds)
        finally:
            self._ranges.done(bounds)


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """Of what went wrong at once what the store says of itself, else the first."""
    return next((error for error in errors.exceptions if isinstance(error, UnusableError)), errors.exceptions[0])
