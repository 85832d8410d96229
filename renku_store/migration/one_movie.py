"""One movie of an older layout on its way into a build root."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from renku_store.blobs import BlobStore
from renku_store.errors import (
    BadInputError,
    ConflictError,
    DamageError,
    InvalidIdError,
    InvalidValueError,
    MigrationError,
    RevisionExistsError,
    UnusableError,
)
from renku_store.manifests import ManifestStore
from renku_store.migration.accounting import count_planned, count_published, note_problems
from renku_store.migration.comparing import Comparison
from renku_store.migration.described import OldMovie, OldRevision
from renku_store.migration.folder import OldFolder, PathError
from renku_store.migration.identity import published_runs, run_of
from renku_store.migration.layouts import OldPlace
from renku_store.migration.reading import Findings
from renku_store.migration.reports import MigrationProgress, MovieMigration, Progress
from renku_store.migration.writing import MovieWriter, alone
from renku_store.movie import Movie
from renku_store.records.ids import check_movie_id, revision_name
from renku_store.store import Store

Tell = Callable[[MigrationProgress], None]
Take = Callable[[str], None]
"""Notes whose id it is; raises `InvalidIdError` where it is that of another folder."""


def migrated(
    place: OldPlace, store: Store, movie: str | None, tell: Tell, take: Take, *, dry_run: bool
) -> MovieMigration:
    """The report of one movie, with its `problem`. What `tell` raises ends it, and is raised."""
    report = MovieMigration(movie or place.path.name, os.fspath(place.path))
    try:
        with OldFolder(place.path) as folder:
            old = _read(place, folder)
            report.id = (movie or old.id).encode(errors="backslashreplace").decode()
            _check_id(report.id)
            report.layout = old.layout
            report.notes += old.notes
            _check_apart(store, report.id, folder)
            take(report.id)
            if dry_run:
                _plan(folder, old, store, report, tell)
            else:
                _write(folder, old, store, report, tell)
    except (BadInputError, ConflictError, DamageError, UnusableError) as error:
        report.problem = error
    return report


def _read(place: OldPlace, folder: OldFolder) -> OldMovie:
    """The movie in a folder, or a sentence about the document of it that keeps everything from being known."""
    try:
        return place.read(folder)
    except PathError as error:
        raise MigrationError(
            f"The movie in {folder.path} cannot be read: {error.message}",
            hint="Mend that, and call again; or migrate a copy of the folder without it.",
        ) from error


def _check_id(name: str) -> None:
    try:
        check_movie_id(name)
    except InvalidIdError as error:
        shown = name if name.isprintable() else ascii(name)
        raise InvalidIdError(
            f"The movie id {shown} is not allowed.", hint=f"{error.hint} --movie ID gives it another id."
        ) from error


def folder_of(store: Store) -> Path | None:
    """The root of a store, where it is a folder."""
    root = store.driver.workspace()
    return root.resolve() if root is not None and store.driver.url == str(root) else None


def _check_apart(store: Store, movie: str, folder: OldFolder) -> None:
    """Refuse to write into what is read."""
    root = folder_of(store)
    if root is None:
        return
    target, source = (root / movie).resolve(), folder.path.resolve()
    if target.is_relative_to(source) or source.is_relative_to(target):
        raise InvalidValueError(
            f"{folder.path} would be migrated into itself: {store.root} is where it lies.",
            hint="Name another build root (--root), or another id (--movie).",
        )


def _left(store: Store, movie: str, old: OldMovie) -> tuple[list[OldRevision], bool]:
    """The old revisions that are not there yet, and whether the newest one that is there is an old one.

    Raises `RevisionExistsError` where the rest cannot follow on what is there.
    """
    driver = store.driver.sub(movie)
    manifests = ManifestStore(driver, BlobStore(driver, None).read)
    published = published_runs(manifests)
    runs = [run_of(old, revision) for revision in old.revisions]
    newest = manifests.newest()
    at_end = not newest or any(published.get(run) == revision_name(newest) for run in runs)
    there = [run in published for run in runs]
    left = [revision for revision, is_there in zip(old.revisions, there, strict=True) if not is_there]
    if left and not (at_end and there == sorted(there, reverse=True)):
        raise RevisionExistsError(
            f"The movie {movie} in {store.root} has other revisions than {old.id} in the older layout: "
            f"{left[0].name} cannot follow on {revision_name(newest)}.",
            hint="Give it another id with --movie; what is there stays as it is.",
        )
    return left, at_end


def _plan(folder: OldFolder, old: OldMovie, store: Store, report: MovieMigration, tell: Tell) -> None:
    left, _ = _left(store, report.id, old)
    progress = Progress(report.id, len(old.revisions), tell)
    progress.done = len(old.revisions) - len(left)
    driver = store.driver.sub(report.id)
    read = BlobStore(driver, None).read
    manifests = ManifestStore(driver, read)
    newest, published = manifests.newest(), published_runs(manifests)
    follows, refused = Comparison(folder, old, manifests, read, published, progress.took).result(left)
    note_problems([*old.problems, *refused], report)
    for revision in old.revisions:
        there = published.get(run_of(old, revision))
        if there is not None or follows:
            newest += there is None
            report.mapped[revision.name] = there or revision_name(newest)
    report.added = len(left) if follows else 0
    count_planned(folder, old, report)


def _write(folder: OldFolder, old: OldMovie, store: Store, report: MovieMigration, tell: Tell) -> None:
    progress = Progress(report.id, len(old.revisions), tell)
    _left(store, report.id, old)  # before anything is created
    found = Findings()
    with _opened(store, report.id) as into, alone(into):
        left, at_end = _left(store, report.id, old)
        manifests = ManifestStore(into.driver, into.blobs.read)
        progress.done = len(old.revisions) - len(left)
        published = published_runs(manifests)
        compared = Comparison(folder, old, manifests, into.blobs.read, published, progress.took)
        follows, refused = compared.result(left)
        if follows and at_end:
            _follow(MovieWriter(folder, old, into, found, published, took=progress.took), report, progress)
        note_problems([*old.problems, *refused, *found.problems()], report)
        report.notes += found.notes
        count_published(old, into, report)


def _follow(writer: MovieWriter, report: MovieMigration, progress: Progress) -> None:
    """Publish the old revisions that are not there yet, and take what came after them."""
    ahead = 0
    for place, revision in enumerate(writer.left):
        if place == ahead:
            ahead += writer.carry_ahead(writer.left[place:])
        writer.publish(revision)
        report.added += 1
        progress.published()
    writer.take_later()


def _opened(store: Store, movie: str) -> Movie:
    """The movie in the target, which is made where there is none."""
    if store.driver.stat(f"{movie}/format.json") is None:
        # Somebody else may make it in the same moment; whose it is, its revisions tell.
        with suppress(RevisionExistsError):
            return store.create_movie(movie)
    return store.movie(movie)
