"""Several movies that are migrated by one call: what the caller hears, and what they cost."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from random import Random

import apsw
import pytest

from renku_store import ManifestInput, MigrationProgress, Store, migrate, open_store
from renku_store.durability import listening
from renku_store.metadata.sqlite.blobs import GET
from renku_store.migration import writing
from renku_store.planner import input_entry
from renku_store.records._base import Json
from renku_store.testing.old_folders import build_revision_folder
from tests.migration.checking import Old


def films(old: Path, count: int) -> list[Path]:
    """Movies in revision folders."""
    paths = [old / f"film-{number}" for number in range(count)]
    for seed, path in enumerate(paths):
        build_revision_folder(path, Random(seed), segments=2, images=1, revisions=2)
    return paths


def test_of_one_id_the_first_folder_has_it(tmp_path: Path, store: Store) -> None:
    """The others are refused."""
    for name, files in (("a", 400), ("b", 1), ("c", 1)):
        old = Old(tmp_path / "old" / name)
        old.write("metadata.json", {"movie_id": "same", "created_at": "2025-01-01T00:00:00Z"})
        for number in range(files):
            old.put(f"assets/rev0/{number}.mp3", f"{name}{number}".encode())
            old.artefact(f"sound_{number}", 0, f"assets/rev0/{number}.mp3")
        old.snapshot(0, *(f"sound_{number}" for number in range(files)))
    first, *others = migrate(tmp_path / "old", store, every=True).movies
    assert (first.artefacts, first.whole) == (400, True)
    assert [(movie.added, len(movie.refused)) for movie in others] == [(0, 1), (0, 1)]


def test_what_the_caller_raises_ends_all_and_is_raised(tmp_path: Path, store: Store) -> None:
    """The same call goes on where it was."""
    films(tmp_path / "old", 6)

    def tire(progress: MigrationProgress) -> None:
        if progress.movie == "film-1" and progress.revisions == 1:
            raise LookupError("enough")

    with pytest.raises(LookupError, match="enough"):
        migrate(tmp_path / "old", store, every=True, on_progress=tire)
    assert len(store.ids()) < 6
    assert migrate(tmp_path / "old", store, every=True).whole
    assert len(store.ids()) == 6


def test_who_has_raised_is_not_told_again(tmp_path: Path, store: Store) -> None:
    """It ends there and then."""
    films(tmp_path / "old", 6)
    told: list[str] = []

    def tire(progress: MigrationProgress) -> None:
        told.append(progress.movie)
        raise LookupError("enough")

    with pytest.raises(LookupError, match="enough"):
        migrate(tmp_path / "old", store, every=True, on_progress=tire)
    assert len(told) == 1


def test_a_folder_under_other_names_comes_over_once(tmp_path: Path, store: Store) -> None:
    """By its first name; the others find it there."""
    films(tmp_path / "old", 1)
    (place,) = (tmp_path / "old").iterdir()
    for name in ("x", "y", "z"):
        (tmp_path / "old" / name).symlink_to(place)
    report = migrate(tmp_path / "old", store, every=True)
    assert (report.whole, [movie.added for movie in report.movies]) == (True, [2, 0, 0, 0])


def test_who_compares_again_says_how_far(tmp_path: Path, store: Store) -> None:
    """Files are read again, and counted; no revision is added."""
    films(tmp_path / "old", 1)
    migrate(tmp_path / "old", store, every=True)
    heard: list[MigrationProgress] = []
    migrate(tmp_path / "old", store, every=True, on_progress=heard.append)
    assert [progress.files for progress in heard] == [*range(1, len(heard) + 1)]
    assert {(progress.revisions, progress.of) for progress in heard} == {(2, 2)}
    assert heard[-1].bytes > 0


def synced(revisions: int, files: int, place: Path) -> Counter[str]:
    """The durable steps of migrating a movie of so many revisions, each with so many files of its own."""
    old = Old(place / "old")
    names = []
    for revision in range(revisions):
        for number in range(files):
            path = f"assets/rev{revision}/{number}.mp3"
            old.put(path, os.urandom(6_000))
            old.artefact(f"sound_{number}", revision, path)
            names.append(f"sound_{number}")
        old.snapshot(revision, *dict.fromkeys(names))
    steps: Counter[str] = Counter()
    with (
        open_store(place / "root") as store,
        listening(lambda moment, step: steps.update([step] * (moment == "after"))),
    ):
        assert migrate(old.path, store).whole
    return steps


def asked(files: int, place: Path) -> int:
    """How often rows of blobs are asked for while a movie of one revision with so many files is migrated."""
    count = 0

    def traced(event: dict[str, object]) -> None:
        nonlocal count
        count += event["sql"] == GET

    def hook(connection: apsw.Connection) -> None:
        connection.trace_v2(apsw.SQLITE_TRACE_STMT, traced)

    apsw.connection_hooks.append(hook)
    try:
        synced(1, files, place)
    finally:
        apsw.connection_hooks.remove(hook)
    return count


def test_the_figures_of_a_report_ask_for_all_blobs_at_once(tmp_path: Path) -> None:
    """However many files a movie has."""
    assert asked(10, tmp_path / "few") == asked(90, tmp_path / "many")


def test_an_unchanged_graph_is_written_out_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each revision after the first one costs no canonical JSON of the graph that it shares with that."""
    written: list[object] = []

    def noted(value: Json) -> ManifestInput:
        written.append(value)
        return input_entry(value)

    monkeypatch.setattr(writing, "input_entry", noted)
    synced(5, 3, tmp_path)
    assert sum(isinstance(value, dict) and "nodes" in value for value in written) == 1


def test_files_cost_no_syncs_of_their_own(tmp_path: Path) -> None:
    """Those of several revisions are synced together: what a revision costs is what its publishing takes."""
    few, many = synced(3, 20, tmp_path / "few"), synced(3, 60, tmp_path / "many")
    durable = ("file sync", "folder sync", "filesystem sync", "database commit")
    assert [few[step] for step in durable] == [many[step] for step in durable]
    longer = synced(4, 20, tmp_path / "longer")
    assert [longer[step] - few[step] for step in durable] == [3, 3, 0, 5]
