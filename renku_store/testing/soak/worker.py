"""One process of a soak: random work on a movie until it is told to end, or is killed.

`python -m renku_store.testing.soak.worker FOLDER SEED LEASE_SECONDS`; `soak` starts these. Whatever is not among the
errors that an operation may end with comes out as a traceback, and is a failure of the soak.
"""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import random
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from renku_store import bounds
from renku_store.calls import Job, JobContext, Produced
from renku_store.clock import timestamp
from renku_store.edits import set_inputs
from renku_store.errors import (
    BlobMissingError,
    ConflictError,
    NotFoundError,
    ProducerError,
    StoreError,
    StoreUnavailableError,
)
from renku_store.hashing import hash_bytes
from renku_store.leases import RunLeases
from renku_store.movie import Movie
from renku_store.records._base import Json
from renku_store.records.events import ArtefactEvent
from renku_store.records.manifest import ArtefactValue
from renku_store.records.plan import Choices, ExecutionPlan
from renku_store.records.run import RunProgress
from renku_store.regenerate import run_movie
from renku_store.runs import abandon, cancel, movie_status
from renku_store.store import Store, open_store
from renku_store.testing.soak.film import MOVIE, NUMBERS, make
from renku_store.testing.soak.journal import END, JOURNAL, ROOT, Journal
from renku_store.testing.soak.upkeep import UPKEEP, Upkeep

_VALUES: Final = 3
_REVISIONS_FOR_EACH_VALUE: Final = 8
_TITLES: Final = ("short", "a long title " * 300, "another long title " * 300)
_FAILING: Final = 0.04
_FAILURE: Final = "failed, as it does now and then"
_PAUSE_SECONDS: Final = 0.1
_SILENT: Final = logging.getLogger("renku_store.soak")
"""For producers that fail as they should: what is on standard error is a failure of the soak."""


class Provider:
    """A producer that writes every call down, takes a moment, and sometimes fails."""

    def __init__(self, journal: Journal, rng: random.Random, plan_of: Callable[[str], ExecutionPlan]) -> None:
        self._journal = journal
        self._plan_of = plan_of
        self._rng = rng
        self.signatures: dict[tuple[str, str], str] = {}

    async def __call__(self, job: Job, context: JobContext) -> Produced:
        """Make what `content` says."""
        self.signatures[context.run, job.job_id] = job.signature
        choices = self._plan_of(context.run).choices
        forced = choices is not None and job.job_id in choices.regen
        self._journal.write("call", signature=job.signature, job=job.job_id, forced=forced)
        try:
            await asyncio.sleep(self._rng.random() * _PAUSE_SECONDS)
        except asyncio.CancelledError:
            self._journal.write("cancelled", signature=job.signature)
            raise
        if self._rng.random() < _FAILING:
            self._journal.write("failed", signature=job.signature)
            raise ProducerError(f"{job.job_id} {_FAILURE}")
        data = make(job)
        large = len(data) > bounds.INLINE_MAX_BYTES
        self._journal.write("produced", signature=job.signature, blobs=[hash_bytes(data)] if large else [])
        return Produced({"out": data}, cost=0.01)

    def listen(self, event: RunProgress) -> None:
        """Write down what was stored."""
        if event.event == "job-finished" and event.status == "made" and event.job is not None:
            self._journal.write("stored", signature=self.signatures[event.run, event.job])


class Worker:
    """Does one random operation after the other."""

    def __init__(self, folder: Path, rng: random.Random, lease_seconds: float) -> None:
        self._folder = folder
        self._rng = rng
        self._lease_seconds = lease_seconds
        self._journal = Journal(folder / JOURNAL)
        self._provider = Provider(self._journal, rng, self._plan_of)
        self._store: Store | None = None
        self.upkeep = Upkeep(folder, rng, self._journal)

    def work(self) -> None:
        """Until the file `end` is there."""
        self._journal.write("started", short_lease=self._lease_seconds < bounds.LEASE_SECONDS)
        table = operations()
        names, weights = [*table], [weight for weight, _, _ in table.values()]
        while not (self._folder / END).exists():
            (name,) = self._rng.choices(names, weights)
            _, operate, allowed = table[name]
            outcome = "done"
            try:
                operate(self)
            except allowed as error:
                outcome = error.kind
            self._journal.write("operation", name=name, outcome=outcome)
        self.reopen()

    def movie(self) -> Movie:
        """The movie, opened if it is not."""
        if self._store is None:
            self._store = open_store(self._folder / ROOT)
        movie = self._store.movie(MOVIE)
        leases = RunLeases(
            movie.metadata, movie.clock, lease_seconds=self._lease_seconds, heartbeat_seconds=self._lease_seconds / 6
        )
        return replace(movie, leases=leases)

    def _plan_of(self, run: str) -> ExecutionPlan:
        return self.movie().plans.load(run)

    def reopen(self) -> None:
        """Close the store; what comes next opens it."""
        if self._store is not None:
            self._store.close()
            self._store = None

    def rebuild(self) -> None:
        """Make the database anew, which is refused as long as others have the movie open."""
        self.reopen()
        with open_store(self._folder / ROOT) as store:
            store.rebuild(MOVIE)

    # Runs

    def run(self, inputs: dict[str, Json] | None = None, choices: Choices | None = None) -> None:
        """Plan, run and publish, with inputs of its own or without."""
        movie = self.movie()
        report = asyncio.run(
            run_movie(
                movie,
                produce=self._provider,
                inputs=inputs,
                choices=choices,
                concurrency=self._rng.choice((1, 3, 8)),
                on_conflict=self._rng.choice(("rebase", "rebase", "fail")),
                on_event=self._provider.listen,
                logger=_SILENT,
            )
        )
        errors = [result.error for result in report.jobs.values() if result.error is not None]
        if any(_FAILURE not in error.message for error in errors):
            raise AssertionError(f"The run {report.run} failed: {errors}")
        if report.status == "published" and report.revision is not None:
            manifest, digest = movie.manifests.load_with_hash(report.revision)
            if manifest.run != report.run:
                raise AssertionError(f"{report.revision} is said to be of {report.run}, and is of {manifest.run}")
            self._journal.write("published", revision=report.revision, hash=digest)

    def run_with_inputs(self) -> None:
        """Run with values that are private until they are published."""
        self.run({name: self._value() for name in self._rng.sample(NUMBERS, self._rng.randint(1, 2))})

    def regenerate(self) -> None:
        """Ask for another take of some job."""
        self.run(choices=Choices(regen=[f"{self._rng.choice(NUMBERS)}{self._rng.randint(1, 3)}"]))

    def set_and_run(self) -> None:
        """Edit for everyone, then run."""
        self.set()
        self.run()

    def set(self) -> None:
        """Edit for everyone."""
        values: dict[str, Json] = {self._rng.choice(NUMBERS): self._value()}
        if self._rng.random() < 0.3:
            values["title"] = self._rng.choice(_TITLES)
        for event in set_inputs(self.movie(), values):
            self._journal.write("edit", id=event.id, input=event.input, hash=event.hash)

    def _value(self) -> int:
        """One of a few values that others choose now, too; later there are others, so that there is always work."""
        with self.movie().metadata.read() as reader:
            newest = reader.revisions.newest()
        return (newest.number if newest else 0) // _REVISIONS_FOR_EACH_VALUE + self._rng.randrange(_VALUES)

    def cancel(self) -> None:
        """Stop a run that is going on anywhere."""
        movie = self.movie()
        running = [record.run for record in movie_status(movie).runs if record.alive]
        if running:
            cancel(movie, self._rng.choice(running), wait_seconds=0.5)

    def abandon(self) -> None:
        """Give a run up that nobody works on."""
        movie = self.movie()
        resting = [record.run for record in movie_status(movie).runs if not record.alive]
        if resting:
            abandon(movie, self._rng.choice(resting))

    def publish_by_hand(self) -> None:
        """Append an artefact of one's own, build the next revision from the events, publish it."""
        movie = self.movie()
        data = f"by hand {self._rng.randrange(20)} ".encode() * 400
        blob = movie.blobs.put(data)
        value = ArtefactValue(hash=blob.hash, size=blob.size, mime_type="text/plain", blob=blob.hash)
        now = timestamp(movie.clock.now())
        event = ArtefactEvent(
            id=movie.events.new_id(), artefact="hand.out", status="succeeded", value=value, created_at=now
        )
        movie.events.append_artefact(event)
        current, digest = movie.manifests.current() or (None, None)
        number = int(current.revision.removeprefix("rev-")) + 1 if current else 1
        manifest = movie.manifests.build_from_events(f"rev-{number:04d}")
        self._journal.write("by hand", run=manifest.run)
        published = movie.manifests.save_manifest(manifest, previous_hash=digest)
        self._journal.write("published", revision=published.revision, hash=published.hash)


Operation = tuple[float, Callable[[Worker], None], tuple[type[StoreError], ...]]


def operations() -> dict[str, Operation]:
    """Every operation: how often it is chosen, what it does, and the errors with which it may end beside others."""
    # A blob that was put and not named yet can be collected without a grace time: the error says so.
    return {
        "run with inputs": (24, Worker.run_with_inputs, (ConflictError,)),
        "set and run": (12, Worker.set_and_run, (ConflictError, BlobMissingError)),
        "run": (12, Worker.run, (ConflictError,)),
        "run --regen": (4, Worker.regenerate, (ConflictError,)),
        "set": (6, Worker.set, (BlobMissingError,)),
        "cancel": (6, Worker.cancel, (NotFoundError,)),
        "abandon": (8, Worker.abandon, (NotFoundError, ConflictError)),
        "publish by hand": (6, Worker.publish_by_hand, (ConflictError, BlobMissingError)),
        "reopen": (6, Worker.reopen, ()),
        "rebuild": (0.3, Worker.rebuild, (StoreUnavailableError,)),
        **{name: (weight, partial(_keep_up, operate), allowed) for name, (weight, operate, allowed) in UPKEEP.items()},
    }


def _keep_up(operate: Callable[[Upkeep, Movie], None], worker: Worker) -> None:
    operate(worker.upkeep, worker.movie())


def main() -> None:
    """Work until the end."""
    folder, seed, lease_seconds = sys.argv[1:]
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    _SILENT.disabled = True
    Worker(Path(folder), random.Random(seed), float(lease_seconds)).work()  # noqa: S311 (replayable, not a secret)


if __name__ == "__main__":
    main()
