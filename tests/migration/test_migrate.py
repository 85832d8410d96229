"""`migrate` as a whole: the same bytes afterwards, once, whoever interrupts it, and nothing else touched."""

from __future__ import annotations

import json
import os
import shutil
import threading
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings

from renku_store import (
    InvalidValueError,
    MigrationError,
    MigrationProgress,
    NotFoundError,
    RevisionExistsError,
    Store,
    StoreError,
    StoreUnavailableError,
    compact,
    forget_memory,
    migrate,
    movie_status,
    open_store,
    plan_movie,
)
from renku_store.testing.crash_points import killed_at_each_point
from renku_store.testing.invariants import check_invariants
from renku_store.testing.old_folders import build_manifest_logs, build_revision_folder
from renku_store.testing.old_folders.strategies import manifest_logs, revision_folders
from tests import children
from tests.migration.checking import Old, check_migrated, state_of


def film(path: Path, seed: int = 1, **options: object) -> Path:
    """A generated movie in revision folders."""
    build_revision_folder(path, Random(seed), **options)  # type: ignore[arg-type]
    return path


@settings(max_examples=max(8, settings.default.max_examples // 5))
@given(revision_folders())
def test_each_artefact_of_each_old_revision_has_the_same_bytes(options: dict[str, object]) -> None:
    """Whatever is odd about the folder; a second migration adds nothing, the source stays, every invariant holds."""
    with TemporaryDirectory() as name:
        work = Path(name)
        given_options = {key: value for key, value in options.items() if key != "seed"}
        expected = build_revision_folder(work / "film", Random(options["seed"]), **given_options)  # type: ignore[arg-type]
        before = state_of(work)
        with open_store(work / "root") as store:
            (report,) = migrate(work / "film", store).movies
            assert report.problem is None
            movie = store.movie("film")
            check_migrated(expected, report, movie, work / "out")
            if expected.whole and not expected.failed:
                assert plan_movie(movie).dirty == []
            values = [
                (event.input, movie.events.read_value(event), event.edited_by)
                for event in movie.events.stream_inputs()
                if event.input not in {"@blueprint", "configuration"}
            ]
            assert values == expected.history
            check_invariants(movie)
            events = sum(1 for _ in movie.events.stream())
            (again,) = migrate(work / "film", store).movies
            assert again.added == 0
            assert {**again.to_json(), "added": report.added} == report.to_json()
            assert sum(1 for _ in movie.events.stream()) == events
        shutil.rmtree(work / "root")
        shutil.rmtree(work / "out")
        assert state_of(work).keys() == before.keys()
        assert {key: state for key, state in state_of(work).items() if key != "."} == {
            key: state for key, state in before.items() if key != "."
        }


@settings(max_examples=max(8, settings.default.max_examples // 5))
@given(manifest_logs())
def test_a_movie_of_the_first_manifests_has_the_same_bytes(options: dict[str, object]) -> None:
    """Blobs have new names, the chain is a new one, people's versions stand; a second migration adds nothing."""
    with TemporaryDirectory() as name:
        work = Path(name)
        given_options = {key: value for key, value in options.items() if key != "seed"}
        expected = build_manifest_logs(work / "film", Random(options["seed"]), **given_options)  # type: ignore[arg-type]
        before = state_of(work / "film")
        with open_store(work / "root") as store:
            (report,) = migrate(work / "film", store).movies
            assert report.problem is None
            movie = store.movie("film")
            check_migrated(expected, report, movie, work / "out")
            assert plan_movie(movie).dirty == []
            newest, _ = movie.manifests.load_current()
            assert (newest.artefacts["Artifact:Audio[0]"].edited_by == "user") is options["edited"]
            check_invariants(movie)
            assert migrate(work / "film", store).movies[0].added == 0
        assert state_of(work / "film") == before


def test_a_source_that_cannot_be_written_is_read(tmp_path: Path) -> None:
    """Nothing is changed in it, be it for a moment: a read-only source is a source like others."""
    film(tmp_path / "film", irregularities={"consolidated", "torn", "current"}, revisions=3)
    script = """
        import sys
        from renku_store import migrate, open_store
        with open_store(sys.argv[2]) as store:
            report = migrate(sys.argv[1], store)
        assert report.whole, report.to_json()
        print(report.movies[0].added)
    """
    prefix = children.on_read_only(tmp_path / "film")
    ended = children.run(script, tmp_path / "film", tmp_path / "root", prefix=prefix)
    assert (ended.code, ended.out.strip()) == (0, "3"), ended.err


def test_partial_revisions_save_well_over_half(tmp_path: Path, store: Store) -> None:
    """Against complete revisions, storing each content once pays, and the report says so."""
    film(tmp_path / "film", 5, segments=4, images=4, revisions=8, changes=0.1)
    (report,) = migrate(tmp_path / "film", store).movies
    assert report.bytes.saved > report.bytes.named / 2


def test_a_new_old_revision_follows_on_the_migrated_ones(old: Old, store: Store) -> None:
    """Whoever went on with the old system migrates again, and gets what is new."""
    for rev in (0, 1):
        old.artefact("text", rev, content=f"{rev}")
        old.snapshot(rev, "text")
        (report,) = migrate(old.path, store).movies
    assert (report.added, report.mapped) == (1, {"rev0": "rev-0001", "rev1": "rev-0002"})


def test_what_was_pruned_in_the_source_since_is_no_harm(old: Old, store: Store) -> None:
    """Revisions are told by what they are, not by their place."""
    for rev in (0, 1):
        old.artefact("text", rev, content=f"{rev}")
        old.snapshot(rev, "text")
    migrate(old.path, store)
    (old.path / "dag/snapshots/rev0.json").unlink()
    old.artefact("text", 2, content="2")
    old.snapshot(2, "text")
    (report,) = migrate(old.path, store).movies
    assert (report.added, report.mapped) == (1, {"rev1": "rev-0002", "rev2": "rev-0003"})


def test_another_movie_of_that_id_is_left_as_it_is(old: Old, store: Store) -> None:
    """Its revisions are not those of the old movie: nothing is added, and the hint says what helps."""
    with store.create_movie("film") as movie:
        movie.events.append_input("topic", "mine")
        movie.manifests.save_manifest(movie.manifests.build_from_events("rev-0001"), previous_hash=None)
    old.artefact("text", 0, content="words")
    old.snapshot(0, "text")
    (report,) = migrate(old.path, store).movies
    assert isinstance(report.problem, RevisionExistsError)
    assert report.added == 0
    assert migrate(old.path, store, movie="other").whole
    assert store.ids() == ["film", "other"]


def test_a_movie_that_went_on_here_is_whole(old: Old, store: Store) -> None:
    """Migrated again after a revision of its own, it has all old ones; a new old one cannot follow any more."""
    old.artefact("text", 0, content="words")
    old.input("topic", 9, "later")
    old.snapshot(0, "text")
    migrate(old.path, store)
    movie = store.movie("film")
    _, digest = movie.manifests.load_current()
    movie.manifests.save_manifest(movie.manifests.build_from_events("rev-0002"), previous_hash=digest)
    (report,) = migrate(old.path, store).movies
    assert (report.added, report.whole) == (0, True)
    assert movie.events.pending() == []
    old.snapshot(1, "text")
    (report,) = migrate(old.path, store).movies
    assert isinstance(report.problem, RevisionExistsError)


def test_two_at_once_make_one_movie(tmp_path: Path) -> None:
    """One waits for the other, and finds everything there; or it says that somebody is at it."""
    film(tmp_path / "film", revisions=4)
    ends: list[object] = []

    def work() -> None:
        with open_store(tmp_path / "root") as store:
            try:
                ends.append(migrate(tmp_path / "film", store).movies[0])
            except StoreError as error:
                ends.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    added = [end.added for end in ends if hasattr(end, "added")]
    assert sum(added) == 4
    assert all(isinstance(end, StoreUnavailableError) or getattr(end, "problem", None) is None for end in ends)
    with open_store(tmp_path / "root") as store:
        assert len(list(store.movie("film").manifests.revisions())) == 4
        check_invariants(store.movie("film"))


def _kill(tmp_path: Path, *, stride: int) -> None:
    film(tmp_path / "film", 3, segments=1, images=1, revisions=2, irregularities={"failed", "torn"})
    old = tmp_path / "film" / "dag/inputSources.jsonl"
    line = {"id": "notes", "rev": 9, "content": "later", "hash": "sha:1", "edited_by": "ada"}
    old.write_text(old.read_text().rpartition("\n")[0] + "\n" + json.dumps(line) + "\n")
    template = tmp_path / "template"
    template.mkdir()

    def operate(folder: Path, acknowledge: object) -> None:
        with open_store(folder / "root") as store:
            assert migrate(tmp_path / "film", store).movies[0].problem is None

    first = 1 + Random(stride).randrange(stride)
    for crash in killed_at_each_point(template, tmp_path / "work", operate, first=first, stride=stride):
        with open_store(crash.folder / "root") as store:
            (report,) = migrate(tmp_path / "film", store).movies
            assert (report.problem, report.whole, report.revisions) == (None, True, 2), crash
            movie = store.movie("film")
            check_invariants(movie)
            assert len(list(movie.manifests.revisions())) == 2
            edits = [event for event in movie.events.stream_inputs() if event.input == "notes"]
            assert [movie.events.read_value(event) for event in edits].count("later") == 1, crash
            ids = [(event.type, event.id) for event in movie.events.stream()]
            assert len(ids) == len(set(ids))
            made = [event.result for event in movie.events.stream_artefacts() if event.result and event.cost]
            assert len(made) == len(set(made))
            lone = [event for event in movie.events.stream_artefacts() if event.artefact == "movie_summary"]
            assert len(lone) <= 2, crash


@pytest.mark.ramdisk
def test_killed_at_some_steps_it_goes_on(tmp_path: Path) -> None:
    """A process that dies at a durable step leaves a movie that the next migration completes."""
    _kill(tmp_path, stride=29)


@pytest.mark.long
def test_killed_at_any_step_it_goes_on(tmp_path: Path) -> None:
    """Each durable step in turn, before and after."""
    _kill(tmp_path, stride=1)


def test_a_dry_run_tells_sizes_and_writes_nothing(tmp_path: Path, store: Store) -> None:
    """What it says of revisions, artefacts and bytes is what the migration does then."""
    film(tmp_path / "film", irregularities={"missing", "same bytes", "consolidated"})
    (planned,) = migrate(tmp_path / "film", store, dry_run=True).movies
    assert store.ids() == []
    assert not (tmp_path / "root").exists()
    (done,) = migrate(tmp_path / "film", store).movies
    assert planned.mapped == done.mapped
    assert (planned.added, planned.artefacts, planned.missing) == (done.added, done.artefacts, done.missing)
    assert (planned.bytes.named, planned.bytes.content) == (done.bytes.named, done.bytes.content)
    (again,) = migrate(tmp_path / "film", store, dry_run=True).movies
    assert again.added == 0


def test_all_movies_of_a_folder_come_over(tmp_path: Path, store: Store) -> None:
    """Each with its own report; one that cannot is no reason to leave the others."""
    for place, name in enumerate(["one", "two", "bad name"]):
        film(tmp_path / "old" / name, place, revisions=2)
    build_manifest_logs(tmp_path / "old" / "logs", Random(1))
    (tmp_path / "old" / "notes").mkdir()
    bad = tmp_path / "old" / "bad name"
    seen: list[MigrationProgress] = []
    report = migrate(tmp_path / "old", store, every=True, on_progress=seen.append)
    assert store.ids() == ["logs", "one", "two"]
    assert report.problem is None
    assert [[item.path for item in movie.refused] for movie in report.movies] == [[os.fspath(bad)], [], [], []]
    assert f"renku-store migrate '{bad}' --movie ID" in report.movies[0].refused[0].why
    assert {progress.movie for progress in seen} == {"logs", "one", "two"}
    assert seen[-1].revisions == seen[-1].of
    document = report.to_json()
    assert document["mapped"]["one"] == {"rev0": "rev-0001", "rev1": "rev-0002"}
    assert document["artefacts"] == sum(movie.artefacts for movie in report.movies)
    assert report.whole is False


def test_one_of_several_is_named(tmp_path: Path, store: Store) -> None:
    """Without a name it is an error that lists them."""
    for name in ("one", "two"):
        film(tmp_path / "old" / name, revisions=1)
    with pytest.raises(MigrationError, match="one, two"):
        migrate(tmp_path / "old", store)
    with pytest.raises(MigrationError, match="no movie three"):
        migrate(tmp_path / "old", store, movie="three")
    assert migrate(tmp_path / "old", store, movie="two").whole
    assert store.ids() == ["two"]
    with pytest.raises(InvalidValueError):
        migrate(tmp_path / "old", store, movie="two", every=True)


def test_sources_that_are_none(tmp_path: Path, store: Store) -> None:
    """A folder that is not there, a file, an empty folder, and a build root of this project."""
    with pytest.raises(NotFoundError, match="There is no folder"):
        migrate(tmp_path / "nothing", store)
    (tmp_path / "file").write_text("x")
    with pytest.raises(MigrationError, match="is a file"):
        migrate(tmp_path / "file", store)
    (tmp_path / "empty").mkdir()
    with pytest.raises(MigrationError, match="There is no movie"):
        migrate(tmp_path / "empty", store)
    store.create_movie("ours")
    with pytest.raises(MigrationError, match="already") as caught:
        migrate(tmp_path / "root", store)
    assert "copy" in caught.value.hint


def test_a_movie_is_not_migrated_into_itself(tmp_path: Path) -> None:
    """Neither into its own folder nor below it: the source is never changed."""
    film(tmp_path / "builds" / "film", revisions=1)
    before = state_of(tmp_path / "builds")
    with open_store(tmp_path / "builds") as store:
        (report,) = migrate(tmp_path / "builds" / "film", store).movies
        assert isinstance(report.problem, InvalidValueError)
    with open_store(tmp_path / "builds" / "film" / "root") as store:
        (report,) = migrate(tmp_path / "builds" / "film", store).movies
        assert isinstance(report.problem, InvalidValueError)
    assert state_of(tmp_path / "builds") == before


def test_a_movie_without_revisions_keeps_its_inputs(old: Old, store: Store) -> None:
    """One that was planned and never made: what was entered is pending."""
    old.input("topic", 0, "war")
    (report,) = migrate(old.path, store).movies
    assert (report.revisions, report.whole) == (0, True)
    (edit,) = store.movie("film").events.pending()
    assert (edit.type, getattr(edit, "value", None)) == ("input", "war")


def test_a_full_disk_ends_it_and_the_next_call_goes_on(tmp_path: Path) -> None:
    """What is published until then stays, and nothing is half there."""
    film(tmp_path / "film", 2, segments=3, images=3, revisions=3)
    script = """
        import sys
        from renku_store import StoreUnavailableError, migrate, open_store
        with open_store(sys.argv[2]) as store:
            try:
                migrate(sys.argv[1], store)
            except StoreUnavailableError as error:
                print(error.reason)
    """
    (tmp_path / "small").mkdir()
    prefix = children.on_small_disk(tmp_path / "small", 300)
    ended = children.run(script, tmp_path / "film", tmp_path / "small" / "root", prefix=prefix)
    assert (ended.code, ended.out.strip()) == (0, "full"), ended.err


def test_the_index_comes_back_from_the_objects(tmp_path: Path) -> None:
    """A migrated movie whose database is lost, or compacted, is what it was; migrating again adds nothing."""
    film(tmp_path / "film", 4, revisions=3, irregularities={"failed"})
    with open_store(tmp_path / "root") as store:
        migrate(tmp_path / "film", store)
        movie = store.movie("film")
        before = [(event.type, event.id) for event in movie.events.stream()]
        hashes = [digest for _, digest in movie.manifests.history()]
    for path in (tmp_path / "root" / "film").glob("metadata.db*"):
        path.unlink()
    with open_store(tmp_path / "root") as store:
        movie = store.movie("film")
        assert [digest for _, digest in movie.manifests.history()] == hashes
        after = [(event.type, event.id) for event in movie.events.stream()]
        assert {*before} - {*after} <= {pair for pair in before if pair[0] == "run"}
        assert migrate(tmp_path / "film", store).movies[0].added == 0
        check_invariants(movie)
        compact(movie)
        assert migrate(tmp_path / "film", store).movies[0].added == 0
        assert movie_status(movie).runs == []
        check_invariants(movie)


def test_it_goes_to_any_kind_of_root(tmp_path: Path) -> None:
    """A root in memory has the same manifests but for what is new in each migration."""
    film(tmp_path / "film", revisions=2)
    name = f"memory://{tmp_path.name}"
    with open_store(name) as far, open_store(tmp_path / "root") as near:
        contents = []
        for store in (far, near):
            assert migrate(tmp_path / "film", store).whole
            check_invariants(store.movie("film"))
            contents.append([manifest.content_hash for manifest, _ in store.movie("film").manifests.revisions()])
        assert contents[0] == contents[1]
    forget_memory(name)
