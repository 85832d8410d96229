"""Two machines, each with an index of its own, on the same objects: what one does, the other finds and continues."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pytest

from renku_store import (
    BlobMissingError,
    Job,
    JobContext,
    LeaseLostError,
    ManifestConflictError,
    Movie,
    NotFoundError,
    Produced,
    ProducerError,
    RetentionPolicy,
    RunReport,
    StoreUnavailableError,
    abandon,
    bounds,
    check_movie,
    collect,
    compact,
    prune,
    restore_expired,
    rollback,
    run_movie,
    set_inputs,
    tag_revision,
)
from renku_store.announcing import Announcer
from renku_store.hashing import hash_bytes
from renku_store.records.blob import SUFFIX, blob_path
from renku_store.store import Store
from renku_store.testing.interleaving import Storage, Timeline
from renku_store.testing.interleaving.shared_objects import SharedObjects
from renku_store.testing.invariants import check_invariants
from tests.authoring import LONG, artefact_event, publish
from tests.test_gc import at

DAY = 86_400.0
BLUEPRINT = """
inputs: {a: {type: integer}, b: {type: integer, default: 0}}
producers:
  first: {run: test/say, inputs: {a: a}, outputs: {out: {mimeType: application/octet-stream}}}
  second: {run: test/say, inputs: {b: b}, outputs: {out: {mimeType: application/octet-stream}}}
"""


@dataclass
class Machines:
    """Two machines, `here` and `there`, on one storage whose clock is `timeline`."""

    folder: Path
    timeline: Timeline = field(default_factory=Timeline)
    calls: list[str] = field(default_factory=list)
    requests: Counter[str] = field(default_factory=Counter)
    failing: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.storage = Storage(self.timeline, self.folder)
        self._opened: list[Store] = []

    def store(self, name: str) -> Store:
        """The root as a process of a machine has it that has just opened it."""
        driver = SharedObjects(self.storage, self.folder / name, step=self._count)
        store = Store("shared://objects", driver, self.timeline)
        self._opened.append(store)
        return store

    def open(self, name: str) -> Movie:
        """The movie as a process of a machine has it that has just opened it."""
        return self.store(name).movie("film")

    def run(self, movie: Movie, **options: object) -> RunReport:
        """Run the movie; `calls` note which jobs were made."""
        return asyncio.run(run_movie(movie, produce=self._produce, **options))  # type: ignore[arg-type]

    async def _produce(self, job: Job, context: JobContext) -> Produced:
        if job.job_id in self.failing:
            raise ProducerError(f"{job.job_id} fails.")
        self.calls.append(job.job_id)
        return Produced({"out": f"{job.job_id} of {job.signature}".encode() * 100})

    def _count(self, what: str, name: str) -> None:
        self.requests[f"{what} {name.split('/')[-2 if name.count('/') else -1]}"] += 1

    def close(self) -> None:
        """Close whatever was opened."""
        for store in self._opened:
            store.close()


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[Machines]:
    machines = Machines(tmp_path)
    with closing(machines):
        yield machines


@pytest.fixture
def here(machines: Machines) -> Movie:
    return machines.store("here").create_movie("film")


def film(movie: Movie) -> None:
    """The inputs of a movie with two jobs."""
    set_inputs(movie, {"@blueprint": BLUEPRINT, "a": 1})


def test_a_plan_of_a_run_that_another_machine_knows_stays(machines: Machines, here: Movie) -> None:
    """However old it is: there it can be taken up again."""
    film(here)
    run = machines.run(here).run or ""
    plan = here.plans.load(run)
    begun = here.events.new_id()
    here.plans.save(
        plan.replace(run=begun), here.leases.kept(here.leases.start(begun, base_revision=None, edits_through=0))
    )
    machines.timeline.pass_by(200 * 86_400.0)
    there = machines.open("there")
    assert collect(there, grace_seconds=0, keep_runs_seconds=0, force=True).plans == 0
    assert here.plans.load(begun).run == begun


def hashes(movie: Movie) -> set[str]:
    """The blobs that are there."""
    return set(movie.blobs.digests())


def objects(machines: Machines, folder: str) -> list[str]:
    """The names of the objects below a folder of the movie."""
    return sorted(n.removeprefix("film/") for n in machines.storage.objects if n.startswith(f"film/{folder}/"))


# Taking in what others have done


def test_the_first_opening_has_all_that_was_published(machines: Machines, here: Movie) -> None:
    """A machine that never saw the movie has its revisions, history and results, and continues it."""
    film(here)
    machines.run(here)
    there = machines.open("there")
    assert there.manifests.load_current() == here.manifests.load_current()
    check_invariants(there, with_fsck=True)
    assert machines.run(there).status == "unchanged"
    set_inputs(there, {"a": 2})
    report = machines.run(there)
    assert (report.revision, report.made) == ("rev-0002", 1)
    assert machines.calls == ["first", "second", "first"] or machines.calls == ["second", "first", "first"]
    here.committer.repair()
    check_invariants(here, with_fsck=True)


def test_what_an_unfinished_run_elsewhere_has_made_is_never_paid_for_twice(machines: Machines, here: Movie) -> None:
    """Its run is not taken up, its plan is left alone, and what it has made is reused."""
    film(here)
    there = machines.open("there")
    machines.failing = {"second"}
    failed = machines.run(here)
    assert failed.status == "failed"
    machines.failing = set()
    machines.calls.clear()
    # Its edits were archived with it: they are the movie's.
    report = machines.run(there)
    assert report.status == "published"
    assert report.run != failed.run
    assert machines.calls == ["second"]
    assert report.jobs["first"].status == "reused"
    assert f"runs/{failed.run}-plan.json" in objects(machines, "runs")
    assert [(record.run, record.elsewhere) for record in there.leases.unfinished()] == [(failed.run, True)]
    with pytest.raises(LeaseLostError, match="another machine's"):
        there.leases.take_over(failed.run or "")
    # Where it was begun it is taken up, finds all of it made, and there is nothing to publish.
    machines.calls.clear()
    assert machines.run(here).status == "unchanged"
    assert machines.calls == []
    there.committer.repair()
    assert there.leases.unfinished() == []


def test_catching_up_costs_as_much_as_is_new(machines: Machines, here: Movie) -> None:
    """What was read is not read again: no archive and no manifest, unless it is new."""
    film(here)
    machines.run(here)
    machines.failing = {"first"}
    for number in range(3):
        set_inputs(here, {"a": 2 + number})
        machines.run(here)
        abandon(here, here.leases.unfinished()[0].run)
    machines.failing = set()
    there = machines.open("there")
    machines.requests.clear()
    there.committer.repair()
    assert machines.requests["get events"] == 0
    assert sum(machines.requests.values()) <= 10
    for _ in range(2):
        set_inputs(here, {"a": 9})
        machines.run(here)
        machines.requests.clear()
        there.committer.repair()
        assert machines.requests["get events"] == 1
        assert machines.requests["list blobs"] == 0
        machines.failing = {"first"}
        set_inputs(here, {"a": 10})
        machines.run(here)
        there.committer.repair()
        abandon(here, here.leases.unfinished()[0].run)
        machines.requests.clear()
        there.committer.repair()
        assert machines.requests["get events"] == 1, "an archive that was written anew is read again"
        machines.failing = set()
        set_inputs(here, {"a": 1})
        machines.run(here)
        there.committer.repair()


def test_a_run_that_met_a_revision_of_another_machine_goes_on_top_of_it(machines: Machines, here: Movie) -> None:
    """It takes in what was published meanwhile, by its own, and makes nothing twice."""
    film(here)
    machines.run(here)
    there = machines.open("there")
    publish(there, {}, {"b": 5})
    set_inputs(here, {"a": 2})
    machines.calls.clear()
    create = SharedObjects.create
    published: list[str] = []

    def late(self: SharedObjects, name: str, data: bytes) -> bool:
        if name == "manifests/rev-0003.json" and not published:
            published.append("there")
            publish(there, {}, {"b": 6})
        return create(self, name, data)

    with mock.patch.object(SharedObjects, "create", late):
        report = machines.run(here)
    assert (report.revision, published) == ("rev-0004", ["there"])
    assert Counter(machines.calls) == {"first": 1, "second": 2}
    assert here.manifests.load_current()[0].inputs["b"].value == 6
    there.committer.repair()
    check_invariants(there)


def test_a_run_of_another_machine_is_given_up_here_alone(machines: Machines, here: Movie) -> None:
    """Not while that may be going on with it; then its results need not stay, as far as this machine knows."""
    film(here)
    machines.failing = {"second"}
    failed = machines.run(here).run or ""
    there = machines.open("there")
    here.announcer.announce(failed)
    with pytest.raises(LeaseLostError, match="another machine's"):
        abandon(there, failed)
    here.announcer.withdraw([failed])
    machines.timeline.pass_by(3 * DAY)
    collect(there, force=True)
    made = hashes(there)
    abandon(there, failed)
    assert there.leases.unfinished() == []
    assert collect(there, force=True).removed >= 1
    assert hashes(there) < made
    machines.failing = set()
    machines.calls.clear()
    report = machines.run(here)
    assert report.status == "published"
    assert sorted(machines.calls) == ["first", "second"], "what was removed is made anew"
    check_invariants(here)


def test_a_new_index_of_a_machine_keeps_its_own_runs(machines: Machines, here: Movie) -> None:
    """Made anew, it knows from the old one which runs are its own; without that, they are another machine's."""
    film(here)
    machines.failing = {"second"}
    failed = machines.run(here).run
    here.close()
    store = machines.store("here")
    store.rebuild("film")
    assert [(r.run, r.elsewhere) for r in store.movie("film").leases.unfinished()] == [(failed, False)]
    lost = machines.open("a machine that lost its folder")
    assert [(r.run, r.elsewhere) for r in lost.leases.unfinished()] == [(failed, True)]


# What a collection elsewhere leaves alone


def test_an_edit_that_no_revision_has_taken_stays_on_every_machine(machines: Machines, here: Movie) -> None:
    """Its bytes cannot be made again: a collection elsewhere keeps them for weeks, until a revision has taken it."""
    publish(here, {"a": LONG})
    there = machines.open("there")
    here.events.append_artefact(artefact_event(here, "b", LONG + "of a person"))
    machines.timeline.pass_by(30 * DAY)
    report = collect(there, force=True)
    assert report.removed == 0
    assert len(objects(machines, "intents")) == 1
    publish(here, {"c": LONG + "c"})
    assert objects(machines, "intents") == []
    machines.timeline.pass_by(30 * DAY)
    assert collect(there, force=True).removed == 0
    check_invariants(here)


def test_a_collection_takes_nothing_from_a_run_that_goes_on_elsewhere(machines: Machines, here: Movie) -> None:
    """However long it has been going on, if less than a week; and something of it once nobody hears of it any more."""
    publish(here, {"a": LONG})
    there = machines.open("there")
    run = here.events.new_id()
    here.leases.start(run, base_revision="rev-0001", edits_through=0)
    machines.timeline.pass_by(60.0)
    blob = here.blobs.put(b"made by a run" * 300)
    machines.timeline.pass_by(6 * DAY)
    report = collect(there, force=True)
    assert report.removed == 0
    assert any("on some machine" in note for note in report.notes)
    machines.timeline.pass_by(2 * DAY)
    assert collect(there, force=True).removed == 1
    assert not here.blobs.has(blob)
    assert objects(machines, "intents") == []


def test_a_run_that_says_again_that_it_goes_on_is_not_forgotten(machines: Machines, here: Movie) -> None:
    """A day later its intent is young again, and still says since when the run goes on."""
    publish(here, {"a": LONG})
    there = machines.open("there")
    run = here.events.new_id()
    here.leases.start(run, base_revision="rev-0001", edits_through=0)
    blob = here.blobs.put(b"made by a run" * 300)
    for _ in range(10):
        machines.timeline.pass_by(1.1 * DAY)
        assert here.announcer.is_due(run)
        here.announcer.renew(run)
        assert not here.announcer.is_due(run)
    assert collect(there, force=True).removed == 0
    assert here.blobs.has(blob)


def test_putting_what_is_old_makes_it_young(machines: Machines, here: Movie) -> None:
    """A row of this machine promises nothing to others; the age of the object does."""
    publish(here, {"a": LONG})
    there = machines.open("there")
    data = b"nobody needs this" * 300
    blob = here.blobs.put(data)
    machines.timeline.pass_by(DAY - 60.0)
    here.blobs.put(data)
    machines.timeline.pass_by(DAY / 2)
    assert collect(there, force=True).removed == 0
    machines.timeline.pass_by(DAY)
    assert collect(there, force=True).removed == 1
    # Its row here says that it is there: a put looks.
    assert not here.blobs.has(blob)
    assert here.blobs.put(data) == blob
    assert here.blobs.read(blob) == data


def test_an_earlier_result_that_is_gone_is_made_anew(machines: Machines, here: Movie) -> None:
    """Though the index here has it: what was collected elsewhere is seen to be gone before anybody rests on it."""
    film(here)
    machines.run(here)
    set_inputs(here, {"a": 2})
    machines.run(here)
    there = machines.open("there")
    prune(there, RetentionPolicy(keep_last=1))
    machines.timeline.pass_by(30 * DAY)
    assert collect(there, force=True).removed >= 1
    set_inputs(here, {"a": 1})
    machines.calls.clear()
    assert machines.run(here).status == "published"
    assert machines.calls == ["first"]
    check_invariants(here)
    with here.metadata.read() as reader:
        assert reader.revisions.get(1) is not None
        assert reader.revisions.get(1).expired  # type: ignore[union-attr]


def test_what_a_collection_removed_elsewhere_is_no_damage_here(machines: Machines, here: Movie) -> None:
    """A check tells it apart from a blob that something needs."""
    publish(here, {"a": LONG})
    there = machines.open("there")
    unneeded = here.blobs.put(b"nobody needs this" * 300)
    machines.timeline.pass_by(3 * DAY)
    assert collect(there, force=True).removed == 1
    assert check_movie(here).ok
    there.driver.delete(blob_path(hash_bytes(LONG.encode()), "zstd"))
    assert not here.blobs.has(unneeded)
    assert [problem.invariant for problem in check_movie(here).problems] == [5]


def test_a_revision_that_lost_a_blob_on_the_way_is_made_anew_in_part(machines: Machines, here: Movie) -> None:
    """What is found missing when a run publishes is made again by the same run."""
    film(here)
    announce = Announcer.announce
    lost: list[str] = []

    def late(self: Announcer, run: str, blobs: object = ()) -> None:
        if blobs and not lost:
            first = next(b for b in here.blobs.digests() if b"first of" in here.blobs.read(b))
            lost.append(first)
            for encoding in SUFFIX:
                here.driver.delete(blob_path(first, encoding))
        announce(self, run, blobs)  # type: ignore[arg-type]

    with mock.patch.object(Announcer, "announce", late):
        report = machines.run(here)
    assert report.status == "published"
    assert Counter(machines.calls) == {"first": 2, "second": 1}
    assert len(lost) == 1
    check_invariants(here)


# Markers, and those who died


def test_who_publishes_waits_until_a_dead_collector_is_over(machines: Machines, here: Movie) -> None:
    """A marker names the blob, and nobody removes it: it ends by the storage's clock, and the blob is seen then."""
    publish(here, {"a": LONG})
    there = machines.open("there")
    named = hash_bytes(LONG.encode())
    sweep = there.announcer.sweep()
    with suppress(KeyboardInterrupt), sweep.over([named]):
        raise KeyboardInterrupt
    assert objects(machines, "gc") == [sweep.path]
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        machines.timeline.pass_by(60.0)

    with mock.patch("renku_store.announcing.time.sleep", sleep):
        publish(here, {"b": LONG})
    assert bounds.SWEEP_SECONDS / 60 - 2 <= len(slept) <= bounds.SWEEP_SECONDS / 60 + 1
    # Its own machine does not wait so long.
    assert objects(machines, "gc") == [sweep.path]
    collect(there)
    assert objects(machines, "gc") == []


def test_a_marker_that_never_ends_is_told(machines: Machines, here: Movie) -> None:
    """Whoever waits is told after a bounded time, and can try again: nothing was published."""
    publish(here, {"a": LONG})
    there = machines.open("there")
    sweep = there.announcer.sweep()
    named = hash_bytes(LONG.encode())

    def sleep(seconds: float) -> None:
        machines.timeline.pass_by(60.0)
        with suppress(RuntimeError), sweep.over([named]):
            raise RuntimeError

    sleep(0.0)
    with (
        mock.patch("renku_store.announcing.time.sleep", sleep),
        pytest.raises(StoreUnavailableError, match="does not come to an end") as caught,
    ):
        publish(here, {"b": LONG})
    assert caught.value.reason == "busy"
    assert here.manifests.resolve("latest") == "rev-0001"


def test_what_another_machine_publishes_during_a_collection_stays(machines: Machines, here: Movie) -> None:
    """After the collector has looked, before it deletes: its bytes are old, and nothing had named them until then."""
    publish(here, {"b": "first"})
    there = machines.open("there")
    there.blobs.put(LONG.encode())
    machines.timeline.pass_by(60.0)
    report = collect(here, grace_seconds=0.0, force=True, on_progress=at("roots", lambda: publish(there, {"a": LONG})))
    assert report.condemned > report.removed
    assert there.blobs.read(there.artefact("a").hash) == LONG.encode()
    check_invariants(there)


def test_who_publishes_what_is_being_deleted_waits_and_has_to_put_it_again(machines: Machines, here: Movie) -> None:
    """The collector has looked for the last time; the marker is all that tells of it."""
    publish(here, {"b": "first"})
    there = machines.open("there")
    there.blobs.put(LONG.encode())
    machines.timeline.pass_by(2 * bounds.SWEEP_SECONDS)
    waiting, over = threading.Event(), threading.Event()
    refused: list[BlobMissingError] = []

    def told(_seconds: float) -> None:
        waiting.set()
        over.wait(600)

    def publish_there() -> None:
        try:
            publish(there, {"a": LONG})
        except BlobMissingError as error:
            refused.append(error)
            publish(there, {"a": LONG})
        finally:
            waiting.set()

    publishing = threading.Thread(target=publish_there)

    def beside() -> None:
        publishing.start()
        waiting.wait(600)

    with mock.patch("renku_store.announcing.time", SimpleNamespace(sleep=told)):
        removed = collect(here, grace_seconds=0.0, force=True, on_progress=at("deleting", beside)).removed
        over.set()
        publishing.join()
    assert removed > 0
    assert len(refused) == 1
    assert there.blobs.read(there.artefact("a").hash) == LONG.encode()
    check_invariants(there)


def test_a_collector_that_was_held_up_removes_nothing(machines: Machines, here: Movie) -> None:
    """Others may have taken it for dead: it looks at the time before it deletes."""
    publish(here, {"a": LONG})
    here.blobs.put(b"nobody needs this" * 300)
    machines.timeline.pass_by(3 * DAY)
    there = machines.open("there")
    stat_many = SharedObjects.stat_many
    before = hashes(here)

    def suspended(self: SharedObjects, names: list[str]) -> object:
        found = stat_many(self, names)
        if objects(machines, "gc"):
            machines.timeline.pass_by(bounds.SWEEP_WORK_SECONDS + 1)
        return found

    with (
        mock.patch.object(SharedObjects, "stat_many", suspended),
        pytest.raises(StoreUnavailableError, match="held up"),
    ):
        collect(there, force=True)
    assert hashes(here) == before
    machines.timeline.pass_by(DAY)
    assert collect(there, force=True).removed == 1


def test_a_publication_that_died_is_finished_on_its_machine(machines: Machines, here: Movie) -> None:
    """With exactly its bytes, as long as all that it needs is there; else its run is taken up, and makes it anew."""
    film(here)
    create = SharedObjects.create

    def dying(self: SharedObjects, name: str, data: bytes) -> bool:
        if name.startswith("manifests/"):
            raise KeyboardInterrupt
        return create(self, name, data)

    with mock.patch.object(SharedObjects, "create", dying), pytest.raises(KeyboardInterrupt):
        machines.run(here)
    here.close()
    there = machines.open("there")
    machines.timeline.pass_by(3 * DAY)
    assert collect(there, force=True).removed == 0
    machines.timeline.pass_by(30 * DAY)
    run = here.events  # the movie is closed: what it had meant is in the database of its machine
    assert run is not None
    machines.calls.clear()
    again = machines.open("here")
    report = machines.run(again)
    assert (report.status, report.revision) == ("published", "rev-0001")
    assert machines.calls == []
    assert objects(machines, "intents") == []
    check_invariants(again)


def test_a_publication_that_died_long_ago_is_not_published_without_its_blobs(machines: Machines, here: Movie) -> None:
    """Nobody heard of it for weeks, and another machine has removed them: its run makes them anew."""
    film(here)
    machines.run(here)
    set_inputs(here, {"a": 2})
    create = SharedObjects.create

    def dying(self: SharedObjects, name: str, data: bytes) -> bool:
        if name.startswith("manifests/"):
            raise KeyboardInterrupt
        return create(self, name, data)

    with mock.patch.object(SharedObjects, "create", dying), pytest.raises(KeyboardInterrupt):
        machines.run(here)
    here.close()
    for name in objects(machines, "events"):  # as if it had died before it was archived
        if not machines.storage.objects["film/manifests/rev-0001.json"][0].count(name.encode()):
            machines.storage.set(f"film/{name}", None)
    there = machines.open("there")
    machines.timeline.pass_by(30 * DAY)
    assert collect(there, force=True).removed >= 1
    machines.calls.clear()
    again = machines.open("here")
    report = machines.run(again)
    assert (report.status, report.revision, machines.calls) == ("published", "rev-0002", ["first"])
    check_invariants(again)


def test_the_lost_reply_of_a_publication_is_a_publication(machines: Machines, here: Movie) -> None:
    """The manifest is there with our bytes: we had won."""
    create = SharedObjects.create

    def lost(self: SharedObjects, name: str, data: bytes) -> bool:
        won = create(self, name, data)
        return won and not name.startswith("manifests/")

    with mock.patch.object(SharedObjects, "create", lost):
        assert publish(here, {"a": LONG}).revision == "rev-0001"
    check_invariants(here)
    assert objects(machines, "intents") == []


def test_a_loser_leaves_no_intent_behind(machines: Machines, here: Movie) -> None:
    """Whoever publishes by hand, and finds the base replaced, keeps no collector waiting."""
    publish(here, {"a": LONG})
    there = machines.open("there")
    there.events.append_artefact(artefact_event(there, "b", "short"))
    manifest = there.manifests.build_from_events("rev-0002")
    publish(here, {"c": LONG + "c"})
    with pytest.raises(ManifestConflictError):
        there.manifests.save_manifest(manifest, previous_hash=manifest.base_hash)
    assert objects(machines, "intents") == []


# Retention


def test_a_refused_edit_leaves_no_intent_behind(machines: Machines, here: Movie) -> None:
    """What was said of an edit whose bytes had been collected would keep a name that nothing will ever need."""
    edit = artefact_event(here, "a", LONG)
    assert edit.value is not None
    gone = edit.replace(value=edit.value.replace(hash="f" * 64, blob="f" * 64))
    with pytest.raises(BlobMissingError):
        here.events.append_artefact(gone)
    assert objects(machines, "intents") == []


def test_a_tag_and_the_end_of_the_trash_on_two_machines_agree(machines: Machines, here: Movie) -> None:
    """Whichever comes first: the revision is whole and tagged, or gone and the tag refused."""
    publish(here, {"a": LONG})
    publish(here, {"a": LONG + "2"})
    there = machines.open("there")
    prune(there, RetentionPolicy(keep_last=1))
    machines.timeline.pass_by(30 * DAY)
    replace = SharedObjects.replace
    tagged: list[str] = []

    def tag_first(self: SharedObjects, name: str, data: bytes) -> None:
        replace(self, name, data)
        if name.endswith(".sweeping") and b"rev-0001" in data and not tagged:
            tagged.append("a tag")
            with mock.patch.object(Announcer, "wait_for_sweeps"):
                tag_revision(here, "rev-0001", "first-cut")

    with mock.patch.object(SharedObjects, "replace", tag_first):
        collect(there, force=True)
    assert tagged
    assert here.manifests.load("first-cut").artefacts["a"].size == len(LONG)
    check_invariants(there)


def test_what_has_gone_for_good_elsewhere_cannot_be_brought_back_or_tagged(machines: Machines, here: Movie) -> None:
    """This machine learns of it when it looks at the manifest, or opens the movie."""
    publish(here, {"a": LONG})
    publish(here, {"a": LONG + "2"})
    prune(here, RetentionPolicy(keep_last=1))
    there = machines.open("there")
    machines.timeline.pass_by(30 * DAY)
    assert collect(there, force=True).expired == 1
    with pytest.raises(NotFoundError):
        restore_expired(here, ["rev-0001"])
    with pytest.raises(NotFoundError):
        tag_revision(here, "rev-0001", "first-cut")
    assert objects(machines, "tags") == []
    assert check_movie(here).ok


def test_archives_and_plans_of_other_machines_stay(machines: Machines, here: Movie) -> None:
    """However old: this machine cannot know what the others have compacted, or would take up again."""
    film(here)
    machines.failing = {"second"}
    machines.run(here)
    abandon(here, here.leases.unfinished()[0].run)
    machines.failing = set()
    set_inputs(here, {"a": 2})
    machines.run(here)
    there = machines.open("there")
    archives, plans = objects(machines, "events"), objects(machines, "runs")
    machines.timeline.pass_by(400 * DAY)
    collect(there, force=True, keep_runs_seconds=0.0)
    compact(there)
    assert (objects(machines, "events"), objects(machines, "runs")) == (archives, plans)
    # Its own plans go.
    collect(here, force=True, keep_runs_seconds=0.0)
    assert objects(machines, "runs") == []
    check_invariants(here)
    check_invariants(there)


def test_a_rollback_goes_on_top_of_what_another_machine_has_published(machines: Machines, here: Movie) -> None:
    """Of a revision that this machine has never indexed."""
    publish(here, {"a": LONG})
    there = machines.open("there")
    publish(here, {"a": LONG + "2"})
    publish(here, {"a": LONG + "3"})
    published = rollback(there, "rev-0002")
    assert published is not None
    assert published.revision == "rev-0004"
    assert there.manifests.load("rev-0004").content_hash == here.manifests.load("rev-0002").content_hash
    check_invariants(there)
    assert objects(machines, "intents") == []


def test_a_manifest_never_names_a_blob_that_is_not_there(machines: Machines, here: Movie) -> None:
    """Whatever the rows of the publisher say."""
    publish(here, {"a": LONG})
    here.events.append_artefact(artefact_event(here, "b", LONG + "b"))
    here.driver.delete(blob_path(hash_bytes((LONG + "b").encode()), "zstd"))
    manifest = here.manifests.build_from_events("rev-0002")
    with pytest.raises(BlobMissingError):
        here.manifests.save_manifest(manifest, previous_hash=manifest.base_hash)
    assert here.manifests.resolve("latest") == "rev-0001"
