"""Movies copied to another build root: byte for byte, only what is missing, whole at any moment, usable there."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from random import Random
from urllib.parse import quote

import pytest
from zstandard import ZstdCompressor

from renku_store import (
    BlobCorruptError,
    BlobMissingError,
    CopyProgress,
    InputEvent,
    InvalidValueError,
    Json,
    Manifest,
    ManifestConflictError,
    ManifestStub,
    Movie,
    NotFoundError,
    RetentionPolicy,
    Store,
    check_movie,
    collect,
    copy_movies,
    list_takes,
    open_store,
    prune,
    run_movie,
    set_inputs,
    tag_revision,
)
from renku_store.bounds import BLOB_HOLD_MAX_BYTES
from renku_store.commit import Committer
from renku_store.drivers.base import Driver
from renku_store.drivers.objects.options import S3Place
from renku_store.errors import DamageError
from renku_store.testing.invariants import check_invariants
from tests import children
from tests.authoring import LONG, let_age, lose_database, opened, publish, texts
from tests.publishing import publish_files
from tests.roots import Root
from tests.running.conftest import BLUEPRINT, SEGMENTS, Studio
from tests.test_two_machines import Machines

pytestmark = pytest.mark.long_away
INPUTS: dict[str, Json] = {"@blueprint": BLUEPRINT, "segments": [{**segment} for segment in SEGMENTS]}
PUBLISHED = ("manifests/", "blobs/", "tags/", "events/")


def objects(driver: Driver, parts: tuple[str, ...] = PUBLISHED) -> dict[str, bytes]:
    """Everything that is published, by name."""
    return {found.name: driver.read(found.name) for part in parts for found in driver.list(part)}


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Store]:
    """A folder with a movie of three revisions, the second in pages, large blobs, and a tag."""
    with open_store(tmp_path / "source") as store:
        movie = store.create_movie("film")
        publish(movie, {"a.out": "one", "b.out": LONG}, {"voice": "en", "large": LONG})
        publish(movie, {f"many[{number}].out": f"{number}" for number in range(1_100)})
        publish(movie, {"a.out": "two " + LONG})
        tag_revision(movie, "rev-0001", "first-cut")
        yield store


@pytest.fixture
def target(any_root: Root) -> Iterator[Store]:
    """An empty root of each kind."""
    with open_store(any_root) as store:
        yield store


def check(movie: Movie) -> None:
    """Nothing is wrong with a movie."""
    check_invariants(movie)
    assert check_movie(movie).problems == []


def test_a_copy_has_the_same_bytes_and_is_whole(source: Store, target: Store) -> None:
    """Manifests, archives, tags, and blobs as they were stored; the pointer, the index, and every check agree."""
    report = copy_movies(source, target)
    [copied] = report.movies
    assert report.problem is None
    assert (copied.id, copied.revision, copied.revisions, copied.archives, copied.tags) == ("film", "rev-0003", 3, 3, 1)
    there, here = target.movie("film"), source.movie("film")
    assert objects(there.driver) == objects(here.driver)
    assert (copied.blobs, copied.skipped) == (len([*here.driver.list("blobs/")]), 0)
    assert copied.bytes == sum(found.size for found in here.driver.list("blobs/"))
    assert [digest for _, digest in there.manifests.history()] == [digest for _, digest in here.manifests.history()]
    assert texts(there) == texts(here)
    assert there.manifests.resolve("first-cut") == "rev-0001"
    with there.metadata.read() as reader:
        assert [row.number for row in reader.revisions.list(limit=10)] == [3, 2, 1]
    check(there)


def test_copying_again_copies_nothing_and_later_what_is_new(source: Store, target: Store) -> None:
    """Three counts: all is there; then one revision and its blobs are not."""
    copy_movies(source, target)
    movie = source.movie("film")
    [again] = copy_movies(source, target).movies
    assert (again.revisions, again.blobs, again.bytes, again.archives, again.tags) == (0, 0, 0, 0, 0)
    assert again.skipped == len([*movie.driver.list("blobs/")])
    before = {found.name for found in movie.driver.list("blobs/")}
    publish(movie, {"a.out": "three " + LONG})
    tag_revision(movie, "rev-0004", "final-cut")
    new = {found.name for found in movie.driver.list("blobs/")} - before
    [later] = copy_movies(source, target).movies
    assert (later.revision, later.revisions, later.blobs, later.tags) == ("rev-0004", 1, len(new), 1)
    assert objects(target.movie("film").driver) == objects(movie.driver)
    check(target.movie("film"))


def test_a_dry_run_foresees_the_copy_and_writes_nothing(source: Store, target: Store) -> None:
    """The same counts as the copy itself; the target has no movie afterwards."""
    report = copy_movies(source, target, dry_run=True)
    assert target.ids() == []
    assert {**report.to_json(), "dryRun": False} == copy_movies(source, target).to_json()


def test_results_of_failed_runs_are_reused_where_they_were_copied_to(target: Store, tmp_path: Path) -> None:
    """A run that failed in the source is gone on with in the target: nothing is paid for twice, takes are there."""
    studio = Studio()
    with open_store(tmp_path / "source") as source:
        movie = source.create_movie("film")
        set_inputs(movie, INPUTS)
        asyncio.run(run_movie(movie, produce=studio))
        set_inputs(movie, {"voice": "fr"})
        studio.broken = {"film"}
        assert asyncio.run(run_movie(movie, produce=studio)).status == "failed"
        report = copy_movies(source, target)
        assert report.problem is None
        assert report.movies[0].archives == 2
    studio.broken = set()
    before = studio.calls.copy()
    there = target.movie("film")
    set_inputs(there, {"voice": "fr"})
    assert asyncio.run(run_movie(there, produce=studio)).status == "published"
    assert {job for job, count in studio.calls.items() if count > before[job]} == {"film"}
    assert len(list_takes(there, "say[0].audio")) == 2
    check(there)


def failed_run(movie: Movie, studio: Studio, voice: str) -> str:
    """A run that takes an edit and fails at the last job; its id."""
    set_inputs(movie, {"voice": voice})
    studio.broken = {"film"}
    run = asyncio.run(run_movie(movie, produce=studio)).run
    studio.broken = set()
    assert run is not None
    return run


def cut_off_copy(source: Store, target: Store) -> None:
    """A copy that dies when all objects are there, before the index hears of the runs among them."""

    def dead(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Committer, "take_in", dead)
        with pytest.raises(KeyboardInterrupt):
            copy_movies(source, target)


def test_a_copy_that_died_before_the_index_had_a_run_takes_it_in_when_it_is_repeated(tmp_path: Path) -> None:
    """Its edits are pending, its results are paid for once, the report tells of it; a third copy has nothing to do."""
    studio = Studio()
    with open_store(tmp_path / "source") as source, open_store(tmp_path / "target") as target:
        movie = source.create_movie("film")
        set_inputs(movie, INPUTS)
        asyncio.run(run_movie(movie, produce=studio))
        copy_movies(source, target)
        run = failed_run(movie, studio, "fr")
        cut_off_copy(source, target)
        there = target.movie("film")
        assert [*there.events.pending()] == []
        [again] = copy_movies(source, target).movies
        assert (again.archives, [note for note in again.notes if run in note]) == (1, again.notes[-1:])
        [third] = copy_movies(source, target).movies
        assert (third.archives, [note for note in third.notes if run in note]) == (0, [])
        assert [event.value for event in there.events.pending() if isinstance(event, InputEvent)] == ["fr"]
        before = studio.calls.copy()
        assert asyncio.run(run_movie(there, produce=studio)).status == "published"
        assert {job for job, count in studio.calls.items() if count > before[job]} == {"film"}
        assert check_movie(there).notes == []
        check(there)


@pytest.mark.parametrize("database", [True, False])
def test_an_edit_of_a_run_that_is_indexed_late_is_not_published_over_a_newer_one(
    tmp_path: Path, database: bool
) -> None:
    """Rebuilt, with the old database or without, the edit of another input is pending, and the older one is not."""
    studio = Studio()
    with open_store(tmp_path / "source") as source, open_store(tmp_path / "target") as target:
        movie = source.create_movie("film")
        set_inputs(movie, INPUTS)
        asyncio.run(run_movie(movie, produce=studio))
        copy_movies(source, target)
        set_inputs(movie, {"segments": [{**segment} for segment in SEGMENTS[:2]]})
        failed_run(movie, studio, "fr")
        cut_off_copy(source, target)
        there = target.movie("film")
        set_inputs(there, {"voice": "it"})
        assert asyncio.run(run_movie(there, produce=studio)).status == "published"
        set_inputs(there, {"voice": "de"})
        there.close()
        if not database:
            lose_database(tmp_path / "target")
        target.rebuild("film")
        there = target.movie("film")
        pending = [event.input for event in there.events.pending() if isinstance(event, InputEvent)]
        assert pending == ["segments", *(["voice"] if database else [])]
        asyncio.run(run_movie(there, produce=studio))
        assert there.manifests.load_current()[0].inputs["voice"].value == ("de" if database else "it")
        check(there)


def test_what_a_failed_run_made_since_goes_over_with_the_next_copy(target: Store, tmp_path: Path) -> None:
    """Its archive is replaced by the one that holds more, also where the target has an index already."""
    studio = Studio()
    with open_store(tmp_path / "source") as source:
        movie = source.create_movie("film")
        set_inputs(movie, INPUTS)
        copy_movies(source, target)
        studio.broken = {"film", "draw[2]"}
        asyncio.run(run_movie(movie, produce=studio))
        copy_movies(source, target)
        studio.broken = {"film"}
        asyncio.run(run_movie(movie, produce=studio))
        copy_movies(source, target)
        there = target.movie("film")
        assert objects(there.driver, ("events/", "blobs/")) == objects(movie.driver, ("events/", "blobs/"))
        check(there)
    calls = studio.calls.copy()
    studio.broken = set()
    set_inputs(there, INPUTS)
    asyncio.run(run_movie(there, produce=studio))
    assert {job for job, count in studio.calls.items() if count > calls[job]} == {"film"}


def test_a_target_that_went_its_own_way_is_left_alone(source: Store, target: Store) -> None:
    """The first revision that differs is named; the other movies are copied."""
    other = target.create_movie("film")
    publish(other, {"a.out": "mine"})
    kept = objects(other.driver)
    publish(source.create_movie("second"), {"a.out": "x"})
    report = copy_movies(source, target)
    film, second = report.movies
    assert isinstance(film.problem, ManifestConflictError)
    assert "rev-0001" in film.problem.message
    assert film.problem.expected == [digest for _, digest in source.movie("film").manifests.history()][-1]
    assert (second.problem, second.revisions) == (None, 1)
    assert objects(other.driver) == kept


def test_a_target_that_is_ahead_is_a_conflict(source: Store, target: Store) -> None:
    """What only the target has is named; nothing is changed."""
    copy_movies(source, target)
    there = target.movie("film")
    publish(there, {"a.out": "on"})
    kept = objects(there.driver)
    problem = copy_movies(source, target).problem
    assert isinstance(problem, ManifestConflictError)
    assert "rev-0004" in problem.message
    assert objects(there.driver) == kept


@pytest.mark.parametrize("what", ["missing", "damaged"])
def test_a_lost_blob_stops_the_copy_before_the_first_revision_that_needs_it(
    source: Store, target: Store, what: str
) -> None:
    """It is named with every revision that needs it; what came before is there, whole; other movies are copied."""
    movie = source.movie("film")
    entry = movie.artefact("a.out", "rev-0003")
    publish(movie, {"c.out": "later " + LONG})
    name = movie.blobs.stat(entry.hash).path
    movie.driver.delete(name)
    if what == "damaged":
        movie.driver.create(name, b"something else")
    publish(source.create_movie("second"), {"a.out": "x"})
    film, second = copy_movies(source, target).movies
    assert isinstance(film.problem, DamageError)
    assert "rev-0003" in film.problem.message
    assert [(lost.object, lost.revisions) for lost in film.uncopied] == [(entry.hash, ["rev-0003", "rev-0004"])]
    assert (film.revision, film.revisions, second.revisions) == ("rev-0002", 2, 1)
    check(target.movie("film"))
    movie.driver.delete(name)
    movie.blobs.put(("two " + LONG).encode())
    assert copy_movies(source, target).problem is None
    assert objects(target.movie("film").driver) == objects(movie.driver)


@pytest.mark.parametrize("kind", ["raw", "packed", "large", "large packed"])
def test_other_bytes_under_the_name_of_a_blob_are_not_copied(target: Store, tmp_path: Path, kind: str) -> None:
    """Of the right size, and a sound frame: only the hash tells."""
    size = 10_000 if kind in {"raw", "packed"} else BLOB_HOLD_MAX_BYTES + 10
    data, other = (bytes(size), b"x" * size) if "packed" in kind else (Random(1).randbytes(size), bytes(size))
    with open_store(tmp_path / "source") as source:
        movie = source.create_movie("film")
        publish_files(movie, {"a.out": ("video/mp4", data)})
        blob = movie.blobs.stat(movie.artefact("a.out").hash)
        assert blob.encoding == ("zstd" if "packed" in kind else "raw")
        movie.driver.delete(blob.path)
        movie.driver.create(blob.path, ZstdCompressor().compress(other) if "packed" in kind else other)
        [film] = copy_movies(source, target).movies
    assert isinstance(film.problem, BlobCorruptError)
    assert [lost.object for lost in film.uncopied] == [blob.hash]
    assert film.revision is None
    assert not any(blob.hash in found.name for found in target.movie("film").driver.list(""))


def test_a_damaged_manifest_stops_the_copy_before_it(source: Store, target: Store) -> None:
    """Those before it are verified by themselves and copied."""
    driver = source.driver.sub("film")
    source.movie("film").close()
    driver.replace("manifests/rev-0002.json", b"{}")
    [film] = copy_movies(source, target).movies
    assert film.revision == "rev-0001"
    assert [lost.object for lost in film.uncopied] == ["manifests/rev-0002.json"]
    check(target.movie("film"))


@pytest.mark.parametrize("named", ["rev-0003", "rev-0005", "rev-999999999999"])
def test_a_newest_revision_whose_manifest_is_lost_is_missed(source: Store, target: Store, named: str) -> None:
    """`current.json` still names it, or a damaged one names any: the loss is told, what is there is copied."""
    driver = source.driver.sub("film")
    source.movie("film").close()
    kept = driver.read("manifests/rev-0003.json")
    driver.delete("manifests/rev-0003.json")
    driver.replace("current.json", driver.read("current.json").replace(b"rev-0003", named.encode()))
    [film] = copy_movies(source, target).movies
    assert isinstance(film.problem, BlobMissingError)
    assert "rev-0003" in film.problem.message
    assert (film.revision, film.revisions) == ("rev-0002", 2)
    assert [lost.object for lost in film.uncopied] == ["manifests/rev-0003.json"]
    check(target.movie("film"))
    target.movie("film").close()
    assert isinstance(copy_movies(source, target).problem, BlobMissingError)
    driver.create("manifests/rev-0003.json", kept)
    driver.replace("current.json", driver.read("current.json").replace(named.encode(), b"rev-0003"))
    assert copy_movies(source, target).problem is None
    assert objects(target.movie("film").driver) == objects(driver)


def test_a_target_that_still_has_the_newest_revision_is_no_conflict(source: Store, target: Store) -> None:
    """It is whole there; that the source has lost it is told."""
    copy_movies(source, target)
    driver = source.driver.sub("film")
    source.movie("film").close()
    driver.delete("manifests/rev-0003.json")
    [film] = copy_movies(source, target).movies
    assert isinstance(film.problem, BlobMissingError)
    assert film.revision == "rev-0003"
    assert [lost.object for lost in film.uncopied] == ["manifests/rev-0003.json"]


def test_what_the_target_lost_comes_back(source: Store, target: Store) -> None:
    """A blob of an old revision and an archive that were removed by hand."""
    copy_movies(source, target)
    there = target.movie("film")
    blob = there.blobs.stat(there.artefact("b.out", "rev-0001").hash).path
    archive = there.manifests.load("rev-0001").archive
    assert archive is not None
    there.driver.delete(blob)
    there.driver.delete(archive.name)
    [healed] = copy_movies(source, target).movies
    assert (healed.blobs, healed.archives, healed.revisions) == (1, 1, 0)
    check(there)


def test_expired_revisions_and_those_in_the_trash_are_so_in_the_copy(source: Store, target: Store) -> None:
    """Stubs, marks and the chain go over; the copy does not bring back what the target has let go."""
    movie = source.movie("film")
    publish(movie, {"c.out": "later " + LONG})
    prune(movie, RetentionPolicy(keep_last=2))
    collect(movie, trash_seconds=0, grace_seconds=0, force=True)
    publish(movie, {"c.out": "last " + LONG})
    prune(movie, RetentionPolicy(keep_last=2))
    assert copy_movies(source, target).problem is None
    there = target.movie("film")
    assert objects(there.driver) == objects(movie.driver)
    assert [entry.revision for entry, _ in there.manifests.history()] == [f"rev-{n:04d}" for n in (5, 4, 3, 2, 1)]
    check(there)
    collect(there, trash_seconds=0, grace_seconds=0, force=True)
    [again] = copy_movies(source, target).movies
    assert (again.blobs, again.revisions, again.problem) == (0, 0, None)
    check(there)


def test_revisions_may_expire_and_appear_in_the_source_meanwhile(source: Store, target: Store) -> None:
    """Those that have gone before they were copied are stubs in the copy, which ends with one that has not."""
    movie = source.movie("film")
    done: list[str] = []

    def meanwhile(progress: CopyProgress) -> None:
        if progress.revisions == 1 and not done:
            done.append(publish(movie, {"c.out": "last " + LONG}).revision)
            prune(movie, RetentionPolicy(keep_last=1))
            assert collect(movie, trash_seconds=0, grace_seconds=0, force=True).expired == 2

    [first] = copy_movies(source, target, on_progress=meanwhile).movies
    there = target.movie("film")
    assert done == ["rev-0004"]
    assert (first.problem, first.uncopied, first.revision) == (None, [], "rev-0004")
    check(there)
    [second] = copy_movies(source, target).movies
    assert (second.problem, second.revisions, second.blobs) == (None, 0, 0)


def test_large_blobs_pass_through_a_file(target: Store, tmp_path: Path) -> None:
    """One that is stored as it is, one that is compressed, and a small frame of a large content."""
    with open_store(tmp_path / "source") as source:
        movie = source.create_movie("film")
        noise = bytes(range(256)) * (BLOB_HOLD_MAX_BYTES // 256 // 2)
        random = b"".join(n.to_bytes(4, "big") * 1 for n in range(BLOB_HOLD_MAX_BYTES // 4 + 7))
        files = {"zeros.out": bytes(2 * BLOB_HOLD_MAX_BYTES), "noise.out": noise, "raw.out": random}
        publish_files(movie, {name: ("video/mp4", data) for name, data in files.items()})
        assert copy_movies(source, target).problem is None
        there = target.movie("film")
        assert objects(there.driver) == objects(movie.driver)
        assert {name: there.read(there.artefact(name)) for name in files} == files


def test_a_collector_in_the_target_takes_nothing_that_a_revision_needs(
    source: Store, target: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It removes, without a grace time, the blobs that have come over before their manifest; the copy ends whole."""
    there = target.create_movie("film")
    adopt = Committer.adopt
    removed: dict[str, int] = {}

    def adopted(self: Committer, published: Manifest | ManifestStub, data: bytes, fresh: Collection[str]) -> None:
        if published.revision not in removed:
            let_age(there)
            removed[published.revision] = collect(there, grace_seconds=0, force=True).removed
        adopt(self, published, data, fresh)

    monkeypatch.setattr(Committer, "adopt", adopted)
    assert copy_movies(source, target).problem is None
    assert removed["rev-0002"] > 0  # pages: what events name, the archives protect already
    assert [*removed] == ["rev-0001", "rev-0002", "rev-0003"]
    check(there)


def test_blobs_left_by_a_dead_copy_may_be_collected_by_another_machine_meanwhile(
    source: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has no row of ours and takes what is old; what it took after our look comes over once more."""
    adopt = Committer.adopt
    machines = Machines(tmp_path)
    removed: list[int] = []

    def dead(*_: object) -> None:
        raise KeyboardInterrupt

    def adopted(self: Committer, published: Manifest | ManifestStub, data: bytes, fresh: Collection[str]) -> None:
        if published.revision == "rev-0002" and not removed:
            removed.append(collect(machines.open("there"), force=True).removed)
        adopt(self, published, data, fresh)

    with closing(machines):
        away = machines.store("here")
        assert copy_movies(source, away, dry_run=True, clock=machines.timeline).problem is None
        movie = source.movie("film")
        monkeypatch.setattr(Committer, "adopt", dead)
        with pytest.raises(KeyboardInterrupt):
            copy_movies(source, away, clock=machines.timeline)
        there = machines.open("there")
        pages = {page.hash for page in movie.manifests.load("rev-0002").pages or ()}
        there.blobs.carry(movie.driver, pages, lambda _size: None)
        machines.timeline.pass_by(3 * 86_400.0)
        monkeypatch.setattr(Committer, "adopt", adopted)
        report = copy_movies(source, away, clock=machines.timeline)
        assert report.problem is None
        assert removed[0] >= len(pages)
        assert objects(away.driver.sub("film")) == objects(movie.driver)
        assert [*away.driver.sub("film").list("intents/")] == []
        check_invariants(machines.open("there"), with_fsck=True)


def test_progress_tells_how_far_it_is(source: Store, target: Store) -> None:
    """The last report has all revisions and all blobs; none goes back."""
    told: list[CopyProgress] = []
    [copied] = copy_movies(source, target, on_progress=told.append).movies
    assert (told[-1].revisions, told[-1].of, told[-1].blobs, told[-1].bytes) == (3, 3, copied.blobs, copied.bytes)
    assert [one.blobs for one in told] == sorted(one.blobs for one in told)


def test_what_only_the_database_knows_is_said_to_stay_behind(source: Store, target: Store) -> None:
    """An edit that no run has taken."""
    set_inputs(source.movie("film"), {"voice": "later"})
    [copied] = copy_movies(source, target).movies
    assert [note for note in copied.notes if "stay behind: 1" in note]
    assert target.movie("film").events.pending() is not None
    assert [*target.movie("film").events.pending()] == []


def test_only_the_movies_that_are_named_are_copied(source: Store, target: Store) -> None:
    """One that is not there is an error before anything is copied."""
    source.create_movie("second")
    with pytest.raises(NotFoundError):
        copy_movies(source, target, ["second", "third"])
    assert target.ids() == []
    assert [movie.id for movie in copy_movies(source, target, ["second"]).movies] == ["second"]
    assert target.ids() == ["second"]


def test_a_root_is_not_copied_to_itself(source: Store, tmp_path: Path) -> None:
    """However it is named."""
    (tmp_path / "other").symlink_to(tmp_path / "source")
    for name in ("source", "other"):
        with open_store(tmp_path / name) as same, pytest.raises(InvalidValueError):
            copy_movies(source, same)


def test_no_movie_is_copied_into_a_movie(source: Store, target: Store) -> None:
    """Nor is one made there: it would be nobody's, and go along with every copy of the other one."""
    copy_movies(source, target)
    before = objects(target.driver, ("",))
    for dry_run in (False, True):
        with open_store(f"{target.root}/film") as inside:
            with pytest.raises(InvalidValueError, match="is a movie itself"):
                copy_movies(source, inside, dry_run=dry_run)
            with pytest.raises(InvalidValueError, match="is a movie itself"):
                inside.create_movie("film")
    assert objects(target.driver, ("",)) == before


def test_no_movie_is_copied_to_a_folder_of_a_movie(source: Store, tmp_path: Path) -> None:
    """At any depth, and by any link."""
    (tmp_path / "way").symlink_to(tmp_path / "source/film")
    for name in ("source/film/deep/builds", "way/deep"):
        with open_store(tmp_path / name) as inside, pytest.raises(InvalidValueError, match="is a movie itself"):
            copy_movies(source, inside)
        assert not (tmp_path / name).exists()


READ_ONLY = """
    import sys
    from renku_store import copy_movies, open_store
    with open_store(sys.argv[1]) as source, open_store(sys.argv[2]) as target:
        report = copy_movies(source, target)
        assert report.problem is None
        print(report.movies[0].revision)
"""


@pytest.mark.parametrize("database", [True, False])
def test_a_source_that_can_only_be_read_is_copied(source: Store, tmp_path: Path, database: bool) -> None:
    """With or without its index; nothing in it changes."""
    source.close()
    folder = tmp_path / "source"
    if not database:
        lose_database(folder)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    ended = children.run(READ_ONLY, folder, tmp_path / "target", prefix=children.on_read_only(folder))
    assert (ended.code, ended.out) == (0, "rev-0003\n"), ended.err
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    with opened(tmp_path / "target") as movie:
        check(movie)


KILLED = """
    import sys
    from pathlib import Path
    from renku_store import check_movie, copy_movies, open_store
    from renku_store.testing.crash_points import killed_at_each_point
    from renku_store.testing.invariants import check_invariants

    place = Path(sys.argv[1])

    def operate(folder, acknowledge):
        with open_store(place / "source") as source, open_store(folder) as target:
            report = copy_movies(source, target)
            assert report.problem is None, report.problem

    points = 0
    for crash in killed_at_each_point(place / "template", place / "killed", operate, stride=int(sys.argv[2])):
        points += 1
        if (crash.folder / "film" / "format.json").exists():
            with open_store(crash.folder) as target:
                movie = target.movie("film")
                check_invariants(movie)
                assert check_movie(movie).problems == [], (crash.point, check_movie(movie).problems)
        operate(crash.folder, None)
        with open_store(crash.folder) as target:
            movie = target.movie("film")
            check_invariants(movie)
            assert movie.manifests.load_current()[0].revision == "rev-0002"
            assert check_movie(movie).problems == []
    print(points)
"""


@pytest.mark.parametrize(
    ("template", "stride"), [("nothing", 9), ("one", 5), pytest.param("nothing", 1, marks=pytest.mark.long)]
)
def test_a_copy_that_is_killed_anywhere_leaves_a_whole_movie_and_goes_on(
    tmp_path: Path, template: str, stride: int
) -> None:
    """Before and after its durable steps: what is there is valid, and the next copy ends it."""
    (tmp_path / "template").mkdir()
    with open_store(tmp_path / "source") as source, open_store(tmp_path / "template") as target:
        movie = source.create_movie("film")
        publish(movie, {"a.out": "one", "b.out": LONG})
        if template == "one":
            copy_movies(source, target)
        publish(movie, {"a.out": "two " + LONG})
        tag_revision(movie, "rev-0001", "first-cut")
    ended = children.run(KILLED, tmp_path, stride, timeout_seconds=900)
    assert ended.code == 0, ended.err
    assert int(ended.out) > 5


def url_of(place: S3Place) -> str:
    """The root as a user names it."""
    options = f"endpoint={quote(place.endpoint or '', safe='')}&region={place.region}&path_style=true"
    return f"s3://{place.bucket}/{place.prefix}?{options}"


@pytest.mark.parametrize("server", ["seaweed_place", "moto_place"])
def test_movies_go_up_to_s3_and_down_again(
    source: Store, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, server: str
) -> None:
    """Byte for byte; another machine goes on from the copy, and a second copy up brings nothing."""
    monkeypatch.setenv("RENKU_STORE_CACHE", str(tmp_path / "cache"))
    place: S3Place = request.getfixturevalue(server)
    url = url_of(place)
    movie = source.movie("film")
    with open_store(url) as away:
        assert copy_movies(source, away).problem is None
        assert objects(away.driver.sub("film")) == objects(movie.driver)
        [again] = copy_movies(source, away).movies
        assert (again.revisions, again.blobs) == (0, 0)
        assert [*away.driver.sub("film").list("intents/")] == []
        check(away.movie("film"))
    monkeypatch.setenv("RENKU_STORE_CACHE", str(tmp_path / "other"))
    with open_store(url) as away, open_store(tmp_path / "back") as back:
        assert copy_movies(away, back).problem is None
        assert objects(back.movie("film").driver) == objects(movie.driver)
        check(back.movie("film"))


def test_buckets_of_one_name_on_two_servers_are_two_roots(
    tmp_path: Path, seaweed_place: S3Place, moto_place: S3Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is on the one is copied to the other; one of them is still itself, through whichever client."""
    monkeypatch.setenv("RENKU_STORE_CACHE", str(tmp_path / "cache"))
    here = url_of(seaweed_place)
    there = url_of(replace(moto_place, bucket=seaweed_place.bucket, prefix=seaweed_place.prefix))
    assert here.partition("?")[0] == there.partition("?")[0]
    with open_store(here) as source, open_store(there) as target:
        publish(source.create_movie("film"), {"a": LONG})
        assert copy_movies(source, target).problem is None
        assert objects(target.driver.sub("film")) == objects(source.driver.sub("film"))
        with open_store(here.replace("s3:", "s3+fsspec:")) as same, pytest.raises(InvalidValueError, match="the same"):
            copy_movies(source, same)


@pytest.mark.long
def test_ten_thousand_blobs_go_up_to_s3_and_are_verified(
    tmp_path: Path, seaweed_place: S3Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every one of them is there with the bytes that its name says."""
    monkeypatch.setenv("RENKU_STORE_CACHE", str(tmp_path / "cache"))
    with open_store(tmp_path / "source") as source, open_store(url_of(seaweed_place)) as away:
        movie = source.create_movie("film")
        publish(movie, {f"many[{number}].out": f"{number} {LONG}" for number in range(10_000)})
        [copied] = copy_movies(source, away).movies
        assert copied.problem is None
        assert copied.blobs > 10_000
        assert objects(away.driver.sub("film")) == objects(movie.driver)
