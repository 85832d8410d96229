"""A movie under random use, against a model of dicts: put, append, plan, run, publish, reopen; on all kinds of root."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from typing import ClassVar
from uuid import uuid4

import pytest
from blake3 import blake3
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from renku_store import (
    Job,
    JobContext,
    ManifestConflictError,
    Produced,
    ProducerError,
    Store,
    forget_memory,
    open_store,
    plan_movie,
    run_movie,
    set_inputs,
)
from tests.authoring import lose_database as remove_database
from tests.authoring import read_objects_by_another_hand
from tests.drivers.servers import Server
from tests.running.conftest import words

READS = {"p": ("a",), "q": ("b", "p"), "r": ("c", "q"), "s": ("p", "r")}


def _producer(name: str, reads: tuple[str, ...]) -> str:
    inputs = ", ".join(f"{read}: {read if read in 'abc' else read + '.out'}" for read in reads)
    return f"  {name}: {{run: test/{name}, inputs: {{{inputs}}}, outputs: {{out: {{mimeType: text/plain}}}}}}\n"


BLUEPRINT = "inputs: {a: {type: integer}, b: {type: integer}, c: {type: integer}}\nproducers:\n" + "".join(
    _producer(name, reads) for name, reads in READS.items()
)


def expected(inputs: dict[str, int]) -> dict[str, str]:
    """What every artefact must be: the whole engine, as a function of three numbers."""
    made: dict[str, str] = {}
    for name, reads in READS.items():
        given = "|".join(f"{read}={inputs[read] if read in inputs else made[read]}" for read in reads)
        # `q` forgets most of what it reads, so that early cutoff has something to cut.
        made[name] = str(len(given) % 2) if name == "q" else f"{name}({given})" * (60 if name == "r" else 1)
    return {f"{name}.out": text for name, text in made.items()}


class MovieMachine(RuleBasedStateMachine):
    """Random use of two movies of one store: `made` by the runner, `manual` through the stores alone.

    A subclass says where: in an empty root of its kind. `looks_always`: everything that was ever published or put is
    read back after every step; else after those that published, put or opened something, and once more in the end.
    """

    looks_always: ClassVar[bool] = True

    def new_root(self) -> str:
        """Make an empty root."""
        raise NotImplementedError

    def drop_root(self) -> None:
        """Remove the root again."""
        raise NotImplementedError

    def opened(self) -> Store:
        """Open the root."""
        return open_store(self.root)

    def lose_index(self) -> None:
        """Lose what only the database knows, while the movies are closed."""
        for movie in ("made", "manual"):
            remove_database(self.root, movie)

    @initialize(a=st.integers(0, 2), b=st.integers(0, 2), c=st.integers(0, 2))
    def create(self, a: int, b: int, c: int) -> None:
        """A store with two movies."""
        self.root = self.new_root()
        self.inputs = {"a": a, "b": b, "c": c}
        self.revisions: list[dict[str, str]] = []
        self.published: list[dict[str, int]] = []
        self.calls: Counter[str] = Counter()
        self.paid: Counter[str] = Counter()
        self.blobs: set[bytes] = set()
        self.waiting: dict[str, int] | None = None
        self.notes: list[dict[str, int]] = []
        self.pending_notes: dict[str, int] = {}
        self.openings = 0
        self.looked: dict[str, tuple[int, ...]] = {}
        self.open()
        self.store.create_movie("made")
        self.store.create_movie("manual")
        set_inputs(self.made, {"@blueprint": BLUEPRINT, **self.inputs})

    def open(self) -> None:
        """Open what is there."""
        self.store = self.opened()
        self.openings += 1

    def due(self, look: str) -> bool:
        """Whether there is anything to look at that has not been looked at."""
        if not hasattr(self, "store"):
            return False
        there = (len(self.revisions), len(self.notes), len(self.blobs), self.openings)
        before, self.looked[look] = self.looked.get(look), there
        return self.looks_always or before != there

    @property
    def made(self):  # type: ignore[no-untyped-def]
        """The movie that the runner makes."""
        return self.store.movie("made")

    @property
    def manual(self):  # type: ignore[no-untyped-def]
        """The movie that is made through the stores."""
        return self.store.movie("manual")

    @rule(key=st.sampled_from("abc"), value=st.integers(0, 2))
    def edit(self, key: str, value: int) -> None:
        """A person sets an input."""
        set_inputs(self.made, {key: value})
        self.inputs[key] = value

    @rule()
    def plan(self) -> None:
        """Dirty are exactly the jobs whose inputs, direct or not, changed; of those upstream counts as changed."""
        dirty = set(plan_movie(self.made).dirty)
        if not self.published:
            assert dirty == set(READS)
            return
        changed = {key for key in "abc" if self.inputs[key] != self.published[-1][key]}
        for name, reads in READS.items():
            changed |= {name} if changed & set(reads) else set()
        assert dirty == changed - set("abc")

    @rule(broken=st.sets(st.sampled_from("pqrs"), max_size=2), concurrency=st.integers(1, 3))
    def run(self, broken: set[str], concurrency: int) -> None:
        """A run makes what is missing, pays for nothing twice, and publishes if all went well and anything differs."""

        async def produce(job: Job, context: JobContext) -> Produced:
            if job.job_id in broken:
                raise ProducerError(f"{job.job_id} is broken")
            given = "|".join(f"{name}={words(item)}" for name, item in job.inputs.items())
            text = (
                str(len(given) % 2)
                if job.producer == "q"
                else f"{job.producer}({given})" * (60 if job.producer == "r" else 1)
            )
            self.paid[f"{job.producer}:{given}"] += 1
            return Produced({"out": text}, cost=1.0)

        report = asyncio.run(run_movie(self.made, produce=produce, concurrency=concurrency))
        self.waiting = None if report.status != "failed" else dict(self.inputs)
        if report.status == "published":
            self.published.append(dict(self.inputs))
            self.revisions.append(expected(self.inputs))
        elif report.status == "unchanged":
            assert self.published[-1] == self.inputs
        else:
            assert report.status == "failed"
            assert any(report.jobs[job].status == "failed" for job in broken)
        assert max(self.paid.values(), default=1) == 1, "something was paid for twice"

    @rule(data=st.binary(max_size=5_000) | st.text("ab", min_size=3_000, max_size=6_000).map(str.encode))
    def put(self, data: bytes) -> None:
        """A blob is what it was put as."""
        assert self.manual.blobs.put(data).hash == blake3(data).hexdigest()
        self.blobs.add(data)

    @rule(key=st.sampled_from("xyz"), value=st.integers(0, 5))
    def note(self, key: str, value: int) -> None:
        """An input event is the latest value at once."""
        self.manual.events.append_input(key, value)
        self.pending_notes[key] = value
        latest = self.manual.events.latest_input(key)
        assert latest is not None
        assert latest.value == value

    @precondition(lambda self: self.pending_notes)
    @rule(rivals=st.integers(0, 1))
    def publish(self, rivals: int) -> None:
        """Folding the pending events over the base and saving it gives the next revision.

        Of those who have built it at the same time one publishes it; others are told so, and change nothing.
        """
        target = f"rev-{len(self.notes) + 1:04d}"
        manifests = self.manual.manifests
        ours, *others = [manifests.build_from_events(target) for _ in range(1 + rivals)]
        previous = manifests.current()
        published = manifests.save_manifest(ours, previous_hash=previous[1] if previous else None)
        self.notes.append({**(self.notes[-1] if self.notes else {}), **self.pending_notes})
        self.pending_notes = {}
        for other in others:
            with pytest.raises(ManifestConflictError) as caught:
                manifests.save_manifest(other, previous_hash=previous[1] if previous else None)
            assert caught.value.actual == published.hash

    @rule(lose_database=st.booleans())
    def reopen(self, lose_database: bool) -> None:
        """Everything published survives closing; it survives the loss of the database, too.

        And so does what a failed run had seen: an edit since then that took it back is lost.
        """
        self.store.close()
        if lose_database and not self.pending_notes and (not self.published or self.published[-1] == self.inputs):
            self.lose_index()
            if not self.published:
                self.open()
                set_inputs(self.made, {"@blueprint": BLUEPRINT, **self.inputs})
                return
            self.inputs = self.waiting or self.inputs
        self.open()

    @invariant()
    def every_revision_is_what_the_model_says(self) -> None:
        """Each revision, read back through the store, holds the artefacts of its inputs, on one chain."""
        if not self.due("history"):
            return
        history = list(self.made.manifests.revisions())
        assert len(history) == len(self.revisions)
        for (manifest, _), artefacts in zip(reversed(history), self.revisions, strict=True):
            assert {key: self.made.read(entry).decode() for key, entry in manifest.artefacts.items()} == artefacts
        for (later, _), (earlier, digest) in itertools.pairwise(history):
            assert (later.base_revision, later.base_hash) == (earlier.revision, digest)
        values = [
            {key: entry.value for key, entry in manifest.inputs.items()}
            for manifest, _ in self.manual.manifests.revisions()
        ]
        assert list(reversed(values)) == self.notes

    @invariant()
    def another_reader_sees_the_same(self) -> None:
        """From current.json alone, without this project."""
        if self.due("reader") and self.revisions:
            assert read_objects_by_another_hand(self.made.driver) == self.revisions[-1]
            pointer = json.loads(self.made.driver.read("current.json"))
            assert pointer["revision"] == f"rev-{len(self.revisions):04d}"

    @invariant()
    def no_blob_is_lost(self) -> None:
        """Every blob that was put is there, whole."""
        for data in self.blobs if self.due("blobs") else ():
            assert self.manual.blobs.read(blake3(data).hexdigest()) == data

    def look_at_the_end(self) -> None:
        """Look at everything once more, where that has not been done after each step."""

    def teardown(self) -> None:
        """Remove the root; what has gone wrong already is not covered up by a last look."""
        if hasattr(self, "store"):
            try:
                if sys.exc_info()[0] is None:
                    self.look_at_the_end()
            finally:
                self.store.close()
                self.drop_root()


class LocalMovieMachine(MovieMachine):
    """In a folder."""

    def new_root(self) -> str:
        self.folder = tempfile.mkdtemp(prefix="machine-")
        return f"{self.folder}/root"

    def drop_root(self) -> None:
        shutil.rmtree(self.folder)


class MemoryMovieMachine(MovieMachine):
    """In memory."""

    def new_root(self) -> str:
        return f"memory://{uuid4().hex}"

    def drop_root(self) -> None:
        forget_memory(self.root)


class S3MovieMachine(MovieMachine):
    """On a real server. A lost database is another machine that goes on; in the end one that has nothing looks."""

    server: ClassVar[Server]
    looks_always = False

    def new_root(self) -> str:
        self.caches = [tempfile.mkdtemp(prefix="machine-")]
        return self.server.place().url

    def drop_root(self) -> None:
        for cache in self.caches:
            shutil.rmtree(cache)

    def opened(self) -> Store:
        return open_store(self.root, cache=self.caches[-1])

    def lose_index(self) -> None:
        self.caches.append(tempfile.mkdtemp(prefix="machine-"))

    def look_at_the_end(self) -> None:
        self.store.close()
        self.lose_index()
        self.open()
        self.every_revision_is_what_the_model_says()
        self.another_reader_sees_the_same()
        self.no_blob_is_lost()


@pytest.fixture
def _s3_machine(seaweed: Server, s3_environment: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The server for all examples, each of which has a prefix of its own."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", seaweed.endpoint)
    monkeypatch.setenv("AWS_REGION", seaweed.environment["AWS_REGION"])
    monkeypatch.setattr(S3MovieMachine, "server", seaweed, raising=False)


SETTINGS = settings(max_examples=25, stateful_step_count=20, deadline=None)
S3_SETTINGS = settings(
    max_examples=100 if os.environ.get("HYPOTHESIS_PROFILE") == "long" else 20, stateful_step_count=30, deadline=None
)

TestLocalMovieMachine = LocalMovieMachine.TestCase
TestLocalMovieMachine.settings = SETTINGS
TestMemoryMovieMachine = MemoryMovieMachine.TestCase
TestMemoryMovieMachine.settings = SETTINGS
TestS3MovieMachine = pytest.mark.usefixtures("_s3_machine")(S3MovieMachine.TestCase)
TestS3MovieMachine.settings = S3_SETTINGS
