"""Collection: what is needed stays, all else goes, whoever writes meanwhile. Invariants 5, 8, 9 and 11."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from renku_store import (
    BadInputError,
    BlobCorruptError,
    BlobMissingError,
    CollectionProgress,
    CollectionReport,
    DamageError,
    InvalidValueError,
    Job,
    Movie,
    RetentionPolicy,
    StoreUnavailableError,
    abandon,
    bounds,
    collect,
    compact,
    hash_bytes,
    open_store,
    prune,
    run_movie,
    set_inputs,
)
from renku_store.blobs.removal import finish_deleting
from renku_store.drivers.memory.batch import MemoryBatch
from renku_store.drivers.memory.driver import MemoryDriver
from renku_store.drivers.staging import LocalBatch
from renku_store.metadata.sqlite.blobs import BlobTable
from renku_store.records.blob import BlobRow, BlobState
from renku_store.records.events import ArtefactEvent
from renku_store.running.deciding import Decider, Decision
from tests.authoring import (
    LONG,
    artefact_event,
    check_whole,
    connection_of,
    intend,
    modified_at,
    next_one,
    opened,
    publish,
    texts,
)
from tests.roots import Root
from tests.running.conftest import BLUEPRINT, SEGMENTS, Studio

pytestmark = pytest.mark.backdates

LENGTHY = [{**segment, "text": f"{segment['text']} " * 900} for segment in SEGMENTS]
"""Segments whose narrations are blobs."""


@pytest.fixture
def movie(any_root: Root) -> Iterator[Movie]:
    with open_store(any_root) as store:
        yield store.create_movie("film")


def age(movie: Movie, seconds: float = 7_200.0) -> None:
    """Let everything that is stored have been touched longer ago."""
    with movie.metadata.write():
        connection_of(movie).execute("UPDATE blobs SET touched_at = touched_at - ?", (round(seconds * 1000),))
    for found in [*movie.driver.list(""), *movie.driver.list("locks/"), *movie.driver.list("tmp/")]:
        modified_at(movie, found.name, found.modified - seconds)


def swept(movie: Movie, grace_seconds: float = 3_600.0, **options: object) -> CollectionReport:
    return collect(movie, grace_seconds=grace_seconds, force=True, **options)  # type: ignore[arg-type]


def row(movie: Movie, digest: str) -> BlobRow | None:
    with movie.metadata.read() as reader:
        return reader.blobs.get([digest]).get(digest)


def set_state(movie: Movie, digest: str, state: BlobState) -> None:
    with movie.metadata.write():
        connection_of(movie).execute("UPDATE blobs SET state = ? WHERE hash = ?", (state, bytes.fromhex(digest)))


def objects(movie: Movie) -> set[str]:
    return set(movie.blobs.digests())


def at(step: str, action: Callable[[], object]) -> Callable[[CollectionProgress], None]:
    """Do something once, when a collection comes to a step."""
    done: list[str] = []

    def told(progress: CollectionProgress) -> None:
        if progress.step == step and not done:
            done.append(step)
            action()

    return told


def run(movie: Movie, studio: Studio, **options: object):  # type: ignore[no-untyped-def]
    return asyncio.run(run_movie(movie, produce=studio, **options))  # type: ignore[arg-type]


def test_what_nothing_names_goes_and_everything_published_stays(movie: Movie) -> None:
    """Objects, rows and the space of what was put and never used are gone; every revision is read and verified."""
    publish(movie, {"a.out": "first " + LONG}, {"text": "an input " * 500})
    publish(movie, {"a.out": "second " + LONG}, {"text": "another input " * 500})
    waste = [movie.blobs.put(b"waste %d " % number * 1_000) for number in range(3)]
    size = sum(movie.blobs.stat(blob).stored_size for blob in waste)
    before = objects(movie)
    age(movie)
    report = swept(movie)
    assert (report.removed, report.removed_bytes, report.condemned, report.kept) == (3, size, 3, 4)
    assert objects(movie) == before - {blob.hash for blob in waste}
    assert [row(movie, blob.hash) for blob in waste] == [None] * 3
    assert texts(movie, "rev-0001")["a.out"] == "first " + LONG
    check_whole(movie)
    assert swept(movie).removed == 0


def test_what_is_young_stays(movie: Movie) -> None:
    """Bytes between a put and the event that names them are younger than the grace time."""
    old, young = movie.blobs.put(b"old"), None
    age(movie)
    young = movie.blobs.put(b"young")
    assert swept(movie).removed == 1
    assert not movie.blobs.has(old)
    assert movie.blobs.read(young) == b"young"


def test_a_dedup_hit_makes_a_blob_young(movie: Movie) -> None:
    """Invariant 9: who puts bytes that are there already may rest on them (fails without the touch)."""
    movie.blobs.put(b"again")
    age(movie)
    blob = movie.blobs.put(b"again")
    assert swept(movie).removed == 0
    assert movie.blobs.read(blob) == b"again"


def test_pending_edits_and_intents_are_roots(movie: Movie) -> None:
    """What a person said, and what a dead publisher had meant to publish, can still be had."""
    publish(movie, {"a": "first " + LONG})
    movie.events.append_input("long", "words " * 1_000)
    movie.events.append_artefact(artefact_event(movie, "b", "by hand " + LONG))
    manifest, _ = next_one(movie, "meant " + LONG)
    intend(movie, manifest)
    with movie.metadata.write():
        connection_of(movie).execute("DELETE FROM pending_artefacts")
    age(movie)
    assert swept(movie).removed == 0
    assert movie.committer.finish(manifest.run) is not None
    assert texts(movie)["a"] == "meant " + LONG


def test_a_failed_run_keeps_its_results_until_it_is_abandoned(movie: Movie) -> None:
    """However long its lease has been over; afterwards its results leave the disk and the reuse index."""
    studio = Studio()
    studio.broken = {"film"}
    set_inputs(movie, {"@blueprint": BLUEPRINT, "segments": LENGTHY})
    failed = run(movie, studio)
    age(movie)
    assert swept(movie).removed == 0
    signature = failed.jobs["say[0]"].signature
    assert movie.events.find_trace(signature) is not None
    abandon(movie, failed.run)
    age(movie)
    report = swept(movie)
    assert report.removed == 7
    assert report.traces == 6
    with movie.metadata.read() as reader:
        assert reader.events.traces(signature) == []
    studio.broken = set()
    assert run(movie, studio).status == "published"
    check_whole(movie)


def test_events_of_a_run_that_nobody_knows_are_roots(movie: Movie) -> None:
    """A caller may append under a run of its own and publish later."""
    mine = movie.events.new_id()
    movie.events.append_artefact(artefact_event(movie, "a", LONG, run=mine))
    age(movie)
    assert swept(movie).removed == 0
    manifest = movie.manifests.build_from_events("rev-0001", run=mine)
    movie.manifests.save_manifest(manifest, previous_hash=None)
    check_whole(movie)


Steps = st.lists(
    st.tuples(st.sampled_from(["put", "publish", "edit", "fail", "abandon", "private"]), st.integers(0, 3)), max_size=6
)


@settings(max_examples=25)
@given(steps=Steps)
def test_after_a_collection_every_root_is_read_and_nothing_else_is_there(
    steps: list[tuple[str, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever was done before, with no grace time at all."""
    with open_store(tmp_path_factory.mktemp("gc")) as store:
        movie = store.create_movie("film")
        runs: list[str] = []
        for action, number in steps:
            text = f"{action} {number} " + LONG
            match action:
                case "put":
                    movie.blobs.put(text.encode())
                case "publish":
                    publish(movie, {f"a{number}": text}, {"long": text})
                case "edit":
                    movie.events.append_input(f"i{number}", text)
                case "private" | "fail":
                    run = movie.events.new_id()
                    token = movie.leases.start(run, base_revision=None, edits_through=0)
                    movie.events.append_input("own", text, run=run)
                    movie.events.append_artefact(artefact_event(movie, "x", text, run=run))
                    movie.archiver.archive(run, 0)
                    movie.leases.release(token)
                    runs.append(run)
                case "abandon":
                    if runs:
                        abandon(movie, runs.pop())
        needed = {b for manifest, _ in movie.manifests.revisions() for b in _named(manifest)}
        unended = [event for run in runs for event in movie.events.stream(run=run)]
        for event in [*movie.events.pending(), *unended]:
            value = event.value if isinstance(event, ArtefactEvent) else event
            if getattr(value, "blob", None):
                needed.add(value.blob)  # type: ignore[union-attr, arg-type]
        time.sleep(0.003)
        report = swept(movie, grace_seconds=0.0)
        assert objects(movie) == needed
        assert report.kept == len(needed)
        assert all(hash_bytes(movie.blobs.read(digest)) == digest for digest in needed)
        check_whole(movie)


def _named(manifest) -> set[str]:  # type: ignore[no-untyped-def]
    values = [*manifest.inputs.values(), *manifest.artefacts.values()]
    return {value.blob for value in values if value.blob} | ({manifest.graph} if manifest.graph else set())


def test_a_collection_in_the_middle_of_a_run_takes_nothing_from_it(movie: Movie) -> None:
    """A producer that collects, without a grace time, from another store: the grace covers the run, and it is said."""
    set_inputs(movie, {"@blueprint": BLUEPRINT, "segments": LENGTHY})
    studio, reports = Studio(), []

    def during(job: Job) -> None:
        with opened(movie.root) as other:
            reports.append(swept(other, grace_seconds=0.0))

    studio.during = during
    assert run(movie, studio, concurrency=2).status == "published"
    assert len(reports) == 10
    assert all("A run has been going" in report.notes[0] for report in reports)
    check_whole(movie)
    assert run(movie, studio).status == "unchanged"


AFTER = ["leftovers", "roots", "surveyed", "condemned", "deleting", "deleted", "temporary", "traces"]


@pytest.mark.parametrize("step", AFTER)
@pytest.mark.parametrize("content", [os.urandom(5_000), LONG.encode()], ids=["raw", "zstd"])
def test_a_put_of_condemned_bytes_is_never_lost(movie: Movie, step: str, content: bytes) -> None:
    """At each step of a collection somebody puts the very bytes that are about to go (fails without the re-check)."""
    blob = movie.blobs.put(content)
    publish(movie, {"a": LONG[1:]})
    age(movie)
    with opened(movie.root) as other:
        putting = threading.Thread(target=other.blobs.put, args=(content,))

        def start() -> None:
            putting.start()
            # What is being deleted has to be waited for; all else is done at once.
            putting.join(0.1 if step == "deleting" else None)

        swept(movie, on_progress=at(step, start))
        putting.join()
        assert movie.blobs.read(blob) == content
        found = row(movie, blob.hash)
        assert found is not None
        assert found.state == "live"


def test_what_is_between_its_object_and_its_row_is_nobodys_orphan(
    movie: Movie, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the grace time: a writer that is held up there is waited for, and its object left alone."""
    publish(movie, {"a": LONG})
    monkeypatch.setattr(bounds, "GC_WAIT_SECONDS", 0.05)
    reports = list[CollectionReport]()
    kind = MemoryBatch if isinstance(movie.driver, MemoryDriver) else LocalBatch
    commit = kind.commit

    def held_up(batch: LocalBatch | MemoryBatch) -> frozenset[str]:
        existing = commit(batch)  # type: ignore[arg-type]
        age(movie)
        reports.append(swept(movie))
        return existing

    with opened(movie.root) as other, monkeypatch.context() as patch:
        patch.setattr(kind, "commit", held_up)
        blob = other.blobs.put(LONG[1:].encode())
    assert [report.removed for report in reports] == [0]
    assert "Objects that nobody names stay for now (1)" in reports[0].notes[-1]
    assert movie.blobs.read(blob) == LONG[1:].encode()
    age(movie)
    assert swept(movie).removed == 1


@pytest.mark.parametrize("step", ["roots", "surveyed", "condemned"])
def test_a_choice_that_is_made_meanwhile_keeps_every_output_of_what_was_chosen(movie: Movie, step: str) -> None:
    """Also those that its event does not name."""
    publish(movie, {"a": "x" + LONG, "b": "y" + LONG, "c": "z" + LONG})
    token = movie.leases.start(movie.events.new_id(), base_revision="rev-0001", edits_through=0)
    first, second = (artefact_event(movie, f"film.{name}", name + LONG, run=token.run) for name in ("sound", "video"))
    same = {"job": "film", "signature": first.signature, "result": first.result}
    first, second = (event.replace(**same, output=event.artefact[5:]) for event in (first, second))
    with movie.metadata.write() as writer:
        writer.events.append([first, second])
    movie.leases.release(token)
    abandon(movie, token.run)
    age(movie)
    choice = first.replace(id=movie.events.new_id(), run=None, status="chosen")

    def choose() -> None:
        with movie.metadata.write() as writer:
            writer.events.append([choice])

    swept(movie, on_progress=at(step, choose))
    assert second.value is not None
    found = row(movie, second.value.hash)
    assert found is not None
    assert found.state == "live"


def test_choices_are_read_once_as_long_as_nobody_chooses(movie: Movie, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many batches there are: each is a transaction that others wait for."""
    monkeypatch.setattr(bounds, "GC_BATCH_BLOBS", 1)
    reads: list[int] = []
    chosen = BlobTable.chosen
    monkeypatch.setattr(BlobTable, "chosen", lambda table: reads.append(1) or chosen(table))
    publish(movie, {"a": LONG})
    movie.blobs.put_many([os.urandom(50) for _ in range(8)])
    age(movie)
    assert swept(movie).removed == 8
    assert len(reads) == 1


@pytest.mark.parametrize("step", ["roots", "surveyed", "condemned"])
def test_an_event_that_comes_meanwhile_keeps_its_blob(movie: Movie, step: str) -> None:
    """Even if its blob was put long before: roots that appear are seen until the blob is being deleted."""
    publish(movie, {"a": "x" + LONG})
    event = artefact_event(movie, "b", LONG)
    age(movie)

    def append() -> None:
        with movie.metadata.write() as writer:  # as a runner does, which has just put the blob
            writer.events.append([event])

    report = swept(movie, on_progress=at(step, append))
    assert (report.removed, report.condemned) == (0, int(step == "condemned"))
    assert event.value is not None
    found = row(movie, event.value.hash)
    assert found is not None
    assert found.state == "live"
    publish(movie, {})
    assert texts(movie)["b"] == LONG
    check_whole(movie)


@pytest.mark.parametrize("step", ["surveyed", "condemned", "deleting", "deleted", "traces"])
def test_a_result_that_is_being_collected_is_reused_or_made_again(movie: Movie, step: str) -> None:
    """A run that finds an earlier result while that goes publishes all the same, and whole."""
    set_inputs(movie, {"@blueprint": BLUEPRINT, "segments": LENGTHY})
    studio = Studio()
    studio.broken = {"film"}
    abandon(movie, run(movie, studio).run)
    age(movie)
    studio.broken = set()
    with opened(movie.root) as other:
        running = threading.Thread(target=run, args=(other, studio))

        def start() -> None:
            running.start()
            running.join(0.3 if step == "deleting" else None)

        swept(movie, on_progress=at(step, start))
        running.join()
    check_whole(movie)
    assert run(movie, studio).status == "unchanged"


def test_a_result_that_goes_between_look_up_and_reuse_is_made_again(
    movie: Movie, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run does not fail for it, and nor do the results that are stored together with it."""
    set_inputs(movie, {"@blueprint": BLUEPRINT, "segments": LENGTHY})
    studio = Studio()
    studio.broken = {"film"}
    abandon(movie, run(movie, studio).run)
    age(movie)
    studio.broken, collected = set(), []
    studio.calls.clear()
    decide = Decider.decide

    async def decide_then_collect(self: Decider, job_id: str) -> tuple[Decision, bool]:
        decision, cancelled = await decide(self, job_id)
        if decision.trace is not None and not collected:
            collected.append(job_id)
            assert swept(movie, grace_seconds=0.0).removed > 0
        return decision, cancelled

    monkeypatch.setattr(Decider, "decide", decide_then_collect)
    report = run(movie, studio)
    assert (report.status, len(collected)) == ("published", 1)
    assert set(collected) <= set(studio.calls)
    check_whole(movie)


def test_two_collectors_do_not_meet(movie: Movie, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one waits a little, and says who collects; once the first has ended it finds nothing to do."""
    monkeypatch.setattr("renku_store.bounds.GC_WAIT_SECONDS", 0.05)
    movie.blobs.put(b"waste")
    age(movie)

    def second() -> None:
        with opened(movie.root) as other:
            with pytest.raises(StoreUnavailableError, match=f"collect.*process {os.getpid()}"):
                swept(other)
            assert swept(other, dry_run=True).removed == 1

    assert swept(movie, on_progress=at("condemned", second)).removed == 1
    assert swept(movie).removed == 0


def _damage_manifest(movie: Movie) -> None:
    data = movie.driver.read("manifests/rev-0001.json")
    movie.driver.replace("manifests/rev-0001.json", data.replace(b"text/plain", b"text/plaim"))


def _remove_manifest(movie: Movie) -> None:
    movie.driver.delete("manifests/rev-0001.json")


def _remove_newest_manifest(movie: Movie) -> None:
    movie.driver.delete("manifests/rev-0002.json")


def _remove_archive(movie: Movie) -> None:
    archive = movie.manifests.load("rev-0001").archive
    assert archive is not None
    movie.driver.delete(archive.name)


def _damage_plan(movie: Movie) -> None:
    run = movie.events.new_id()
    movie.leases.release(movie.leases.start(run, base_revision=None, edits_through=0))
    movie.driver.replace(f"runs/{run}-plan.json", b"{")


@pytest.mark.parametrize(
    "damage", [_damage_manifest, _remove_manifest, _remove_newest_manifest, _remove_archive, _damage_plan]
)
def test_what_cannot_be_read_ends_it_before_anything_is_condemned(
    movie: Movie, damage: Callable[[Movie], None]
) -> None:
    """It might name anything: every row and object stays as it was."""
    publish(movie, {"a": "first " + LONG})
    publish(movie, {"a": "second " + LONG})
    waste = movie.blobs.put(b"waste")
    damage(movie)
    age(movie)
    before = objects(movie)
    with pytest.raises(DamageError):
        swept(movie)
    assert objects(movie) == before
    found = row(movie, waste.hash)
    assert found is not None
    assert found.state == "live"


def test_pages_of_large_manifests_are_roots_and_read(movie: Movie, monkeypatch: pytest.MonkeyPatch) -> None:
    """What only a page names stays; a damaged page ends the collection."""
    monkeypatch.setattr("renku_store.bounds.MANIFEST_PAGE_MIN_ARTEFACTS", 2)
    publish(movie, {f"a{number}": f"{number} " + LONG for number in range(4)})
    publish(movie, {"a1": "changed " + LONG})
    age(movie)
    assert swept(movie).removed == 0
    check_whole(movie)
    page = (movie.manifests.load("rev-0001").pages or [])[0]
    path = movie.blobs.stat(page.hash).path
    movie.driver.replace(path, movie.driver.read(path)[::-1])
    with pytest.raises(BlobCorruptError):
        swept(movie)


def test_removing_more_than_half_needs_force(movie: Movie) -> None:
    """A brake against a mistake in what is needed; nothing is condemned by then."""
    publish(movie, {"a": LONG})
    waste = movie.blobs.put(os.urandom(50_000))
    age(movie)
    with pytest.raises(BadInputError, match="more than half") as error:
        collect(movie, grace_seconds=3_600)
    assert "--force" in error.value.hint
    found = row(movie, waste.hash)
    assert found is not None
    assert found.state == "live"
    assert collect(movie, grace_seconds=3_600, force=True).removed == 1


def _tree(movie: Movie) -> dict[str, tuple[int, float]]:
    parts = ("", "tmp/", "locks/")
    found = [found for part in parts for found in movie.driver.list(part) if not found.name.startswith("metadata.db")]
    return {one.name: (one.size, one.modified) for one in found}


def test_a_dry_run_names_every_blob_and_changes_nothing(movie: Movie) -> None:
    """What it was, which run or revision used it last, how many bytes, what it cost; tree and rows are as before."""
    studio = Studio()
    studio.broken = {"film"}
    set_inputs(movie, {"@blueprint": BLUEPRINT, "segments": LENGTHY})
    failed = run(movie, studio)
    abandon(movie, failed.run)
    waste = movie.blobs.put(b"waste")
    age(movie)
    with movie.metadata.read() as reader:
        before = _tree(movie), reader.blobs.page("", 100)
    report = collect(movie, grace_seconds=3_600, dry_run=True)
    with movie.metadata.read() as reader:
        assert (_tree(movie), reader.blobs.page("", 100)) == before
    told = {blob.hash: blob for blob in report.blobs or []}
    kinds = sorted(blob.kind for blob in told.values())
    assert (report.removed, len(told)) == (len(kinds), len(kinds))
    assert (kinds.count("artefact"), kinds.count("graph"), kinds.count("unknown")) == (6, 1, 1)
    assert told[waste.hash].bytes == 5
    said = next(blob for blob in told.values() if blob.id == "say[0].audio")
    assert (said.run, said.revision, said.cost) == (failed.run, None, pytest.approx(0.01))
    assert "--force" in report.notes[-1]
    assert swept(movie).removed == report.removed


def test_a_dry_run_counts_results_plans_and_runs_as_well(movie: Movie) -> None:
    """Those of a run that was given up, whose archive nothing needs."""
    set_inputs(movie, {"@blueprint": BLUEPRINT, "segments": SEGMENTS})
    publish(movie, {"a": LONG})
    set_inputs(movie, {"@blueprint": BLUEPRINT, "segments": LENGTHY})
    studio = Studio()
    studio.broken = {"film"}
    abandon(movie, run(movie, studio).run)
    idle = movie.events.new_id()
    movie.leases.release(movie.leases.start(idle, base_revision="rev-0001", edits_through=0))
    abandon(movie, idle)
    age(movie)
    time.sleep(0.01)
    looked = collect(movie, grace_seconds=3_600, keep_runs_seconds=0, dry_run=True)
    done = swept(movie, keep_runs_seconds=0)
    assert (looked.removed, looked.traces, looked.plans) == (done.removed, done.traces, done.plans)
    assert looked.traces > 0
    assert looked.plans == 1
    assert 0 < looked.runs <= done.runs


def test_a_plan_of_no_run_goes_once_it_is_old(movie: Movie) -> None:
    """The database that told of its run is lost. A younger one stays, and so does that of a run begun meanwhile."""
    set_inputs(movie, {"@blueprint": BLUEPRINT, "segments": SEGMENTS})
    known = run(movie, Studio()).run or ""
    plan = movie.plans.load(known)
    lost, begun = (movie.plans.save(plan.replace(run=None)).run or "" for _ in range(2))
    movie.leases.release(movie.leases.start(begun, base_revision=None, edits_through=0))
    (movie.driver.replace("runs/notes-plan.json", b"{}"), movie.driver.replace("runs/other.txt", b""))
    age(movie)
    young = movie.plans.save(plan.replace(run=None)).run or ""
    for grace, keep in ((3_600, 10_000), (10_000, 3_600)):
        assert swept(movie, grace, keep_runs_seconds=keep).plans == 0
    looked = collect(movie, grace_seconds=3_600, keep_runs_seconds=3_600, dry_run=True)
    assert (looked.plans, swept(movie, keep_runs_seconds=3_600).plans) == (1, 1)
    left = {f"{each}-plan.json" for each in (known, begun, young)}
    assert {*movie.driver.children("runs/")} == {*left, "notes-plan.json", "other.txt"}
    assert f"{lost}-plan.json" not in left


def test_times_in_the_future_count_as_young_and_it_is_said(movie: Movie) -> None:
    """A clock that was wrong takes nothing away."""
    waste = movie.blobs.put(b"waste")
    stray = movie.blobs.put(b"stray")
    age(movie, -10_000)
    with movie.metadata.write() as writer:
        writer.blobs.forget([stray.hash])
    report = swept(movie, grace_seconds=0.0)
    assert report.removed == 0
    assert "2 of the blobs that nothing needs are dated in the future" in report.notes[0]
    assert movie.blobs.has(waste)
    assert movie.blobs.has(stray)


def test_objects_without_a_row_go_unless_something_names_them(movie: Movie) -> None:
    """A writer died before the row: an orphan. A row was lost: what a revision names stays all the same."""
    publish(movie, {"a": LONG})
    orphan = movie.blobs.put(b"orphan")
    young = movie.blobs.put(b"young")
    named = movie.manifests.load("latest").artefacts["a"].hash
    with movie.metadata.write() as writer:
        writer.blobs.forget([orphan.hash, young.hash, named])
    age(movie)
    modified_at(movie, movie.blobs.stat(young).path)
    foreign = "blobs/aa/notes.txt"
    movie.driver.create(foreign, b"mine")
    modified_at(movie, foreign, 0)
    assert swept(movie).removed == 1
    assert not movie.blobs.has(orphan)
    assert movie.blobs.has(young)
    assert movie.driver.read(foreign) == b"mine"
    assert texts(movie) == {"a": LONG}
    with movie.metadata.read() as reader:
        assert reader.blobs.get([orphan.hash]) == {}


@pytest.mark.files
def test_temporary_files_of_killed_processes_go(movie: Movie) -> None:
    """Old ones; a folder of a job is judged by when it was changed, whatever times its program gave the files."""
    movie.blobs.put(b"x")
    folder = Path(movie.root, movie.id, "tmp")
    (folder / "dead").write_bytes(b"half")
    age(movie)
    (folder / "alive").write_bytes(b"half")
    (folder / "stale").write_bytes(b"half")
    a_while_ago = time.time() - 2 * bounds.TEMPORARY_MIN_SECONDS
    os.utime(folder / "stale", (a_while_ago, a_while_ago))
    job = folder / "scratch" / "job-1"
    job.mkdir(parents=True)
    (job / "old").write_bytes(b"unpacked")
    os.utime(job / "old", (0, 0))
    os.utime(job, (0, 0))
    assert swept(movie).temporary == 1
    assert sorted(path.name for path in folder.iterdir()) == ["alive", "scratch", "stale"]
    assert (job / "old").exists()
    time.sleep(0.02)
    assert swept(movie, grace_seconds=0.0).temporary == 2
    assert sorted(path.name for path in folder.iterdir()) == ["alive", "scratch"], "it may be about to get its name"
    assert not job.exists()


def test_what_a_dead_collector_left_is_finished_or_revived(movie: Movie) -> None:
    """Deleting: finished. Condemned: swept if nothing needs it, live again if something does."""
    publish(movie, {"a": LONG})
    needed = movie.manifests.load("latest").artefacts["a"].hash
    waste, half = movie.blobs.put(b"waste"), movie.blobs.put(b"half")
    age(movie)
    set_state(movie, needed, "condemned")
    set_state(movie, waste.hash, "condemned")
    set_state(movie, half.hash, "deleting")
    assert swept(movie).removed == 2
    assert not movie.blobs.has(waste)
    assert not movie.blobs.has(half)
    found = row(movie, needed)
    assert found is not None
    assert found.state == "live"


@pytest.mark.parametrize("named_by", ["a revision", "the trash", "an edit", "an intent"])
def test_the_mark_of_a_dead_collector_is_taken_back_from_what_is_needed(movie: Movie, named_by: str) -> None:
    """A restored database, or a hand, can mark what roots name: no collection deletes it, old as it may be."""
    if named_by == "an edit":
        event = artefact_event(movie, "a", LONG)
        movie.events.append_artefact(event)
        assert event.value is not None
        needed = event.value.hash
    elif named_by == "an intent":
        publish(movie, {"a": "short"})
        intend(movie, next_one(movie, LONG)[0])
        needed = hash_bytes(LONG.encode())
    else:
        publish(movie, {"a": LONG})
        needed = movie.manifests.load("latest").artefacts["a"].hash
        if named_by == "the trash":
            publish(movie, {"a": "short"})
            prune(movie, RetentionPolicy(), expire=["rev-0001"])
    age(movie)
    set_state(movie, needed, "deleting")
    assert collect(movie, dry_run=True, grace_seconds=0.0).removed == 0
    assert swept(movie, grace_seconds=0.0).removed == 0
    found = row(movie, needed)
    assert found is not None
    assert found.state == "live"
    assert movie.blobs.read(needed) == LONG.encode()


def test_a_mark_on_what_is_needed_and_gone_is_no_promise(movie: Movie) -> None:
    """Row and object are gone then; the loss is for fsck to tell."""
    publish(movie, {"a": LONG})
    needed = movie.manifests.load("latest").artefacts["a"].hash
    movie.driver.delete(movie.blobs.stat(needed).path)
    set_state(movie, needed, "deleting")
    assert swept(movie).removed == 0
    assert row(movie, needed) is None


def test_roots_that_cannot_be_read_keep_what_a_dead_collector_had_marked(movie: Movie) -> None:
    """Whether it is needed cannot be told then."""
    publish(movie, {"a": LONG})
    needed = movie.manifests.load("latest").artefacts["a"].hash
    set_state(movie, needed, "deleting")
    data = movie.driver.read("manifests/rev-0001.json")
    movie.driver.replace("manifests/rev-0001.json", data[:-9])
    with pytest.raises(BlobCorruptError):
        swept(movie)
    movie.driver.replace("manifests/rev-0001.json", data)
    swept(movie)
    assert movie.blobs.read(needed) == LONG.encode()


def test_a_put_finishes_what_a_dead_collector_was_deleting(movie: Movie) -> None:
    """Invariant 11: nobody has to collect first before the same bytes can be put, or the movie be opened."""
    blob = movie.blobs.put(LONG.encode())
    set_state(movie, blob.hash, "deleting")
    with opened(movie.root) as other:
        assert other.blobs.put(LONG.encode()) == blob
        assert other.blobs.read(blob) == LONG.encode()
    found = row(movie, blob.hash)
    assert found is not None
    assert found.state == "live"


def test_a_put_never_deletes_what_it_is_about_to_write(movie: Movie) -> None:
    """It takes the mark back: killed, or on a full disk, it leaves the bytes that were there."""
    blob = movie.blobs.put(LONG.encode())
    path = movie.blobs.stat(blob.hash).path
    modified_at(movie, path, 1_000)
    set_state(movie, blob.hash, "deleting")
    movie.blobs.put(LONG.encode())
    found = movie.driver.stat(path)
    assert found is not None
    assert found.modified == 1_000


def test_only_what_is_marked_is_deleted(movie: Movie) -> None:
    """Whoever finishes for a dead collector may come too late: by then the bytes were written anew."""
    blob = movie.blobs.put(b"anew")
    assert finish_deleting(movie.driver, movie.metadata, [blob.hash]) == 0
    assert movie.blobs.read(blob) == b"anew"


def test_an_event_of_a_blob_that_was_collected_is_refused(movie: Movie) -> None:
    """What was put and not named within the grace time has to be put again: no event names a missing blob."""
    event = artefact_event(movie, "a", LONG)
    age(movie)
    assert swept(movie).removed == 1
    with pytest.raises(BlobMissingError):
        movie.events.append_artefact(event)


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf")])
def test_a_grace_time_is_a_number_of_seconds(movie: Movie, seconds: float) -> None:
    """Anything else is refused by name."""
    with pytest.raises(InvalidValueError):
        collect(movie, grace_seconds=seconds)


def test_a_missing_artefact_is_no_reason_to_stop(movie: Movie) -> None:
    """It is damage, but what needs it is known: the rest is collected."""
    publish(movie, {"a": LONG})
    named = movie.manifests.load("latest").artefacts["a"].hash
    movie.driver.delete(movie.blobs.stat(named).path)
    waste = movie.blobs.put(b"waste")
    age(movie)
    assert swept(movie).removed == 1
    assert not movie.blobs.has(waste)
    with pytest.raises(BlobMissingError):
        movie.blobs.read(named)


def test_after_a_compaction_a_dry_run_still_says_what_a_blob_was(any_root: Root) -> None:
    """The rows have left; the archive of the abandoned run tells."""
    with open_store(any_root) as store:
        movie = store.create_movie("film")
        run = movie.events.new_id()
        token = movie.leases.start(run, base_revision=None, edits_through=0)
        movie.events.append_many(
            [artefact_event(movie, "a.out", LONG, run=run), artefact_event(movie, "a.out", "b", run=run)]
        )
        movie.leases.release(token)
        abandon(movie, run)
        age(movie)  # in memory all of this may take less than the millisecond in which times are counted
        before = collect(movie, grace_seconds=0, dry_run=True).blobs
        assert compact(movie).rows
        blobs = collect(movie, grace_seconds=0, dry_run=True).blobs
        assert blobs is not None
        assert [(blob.kind, blob.id, blob.run) for blob in blobs] == [("artefact", "a.out", run)]
        assert before is not None
        assert blobs[0].cost == before[0].cost == 0.5
