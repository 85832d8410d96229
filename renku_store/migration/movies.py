"""`migrate`: movies from an older layout into a build root."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from renku_store.blobs import BlobStore
from renku_store.clock import Clock, SystemClock
from renku_store.errors import (
    BadInputError,
    ConflictError,
    DamageError,
    InvalidIdError,
    InvalidValueError,
    MigrationError,
    RevisionExistsError,
    StoreUnavailableError,
    UnusableError,
)
from renku_store.manifests import ManifestStore
from renku_store.migration.accounting import count_planned, count_published, note_problems
from renku_store.migration.comparing import Comparison
from renku_store.migration.described import OldMovie, OldRevision
from renku_store.migration.folder import OldFolder, PathError
from renku_store.migration.identity import published_runs, run_of
from renku_store.migration.layouts import OldPlace, places_in
from renku_store.migration.reading import Findings
from renku_store.migration.reports import MigrationProgress, MigrationReport, MovieMigration, Progress, UnmigratedItem
from renku_store.migration.writing import MovieWriter, alone
from renku_store.movie import Movie
from renku_store.records.ids import check_movie_id, revision_name
from renku_store.store import Store

Tell = Callable[[MigrationProgress], None]


def migrate(
    source: str | os.PathLike[str],
    store: Store,
    *,
    movie: str | None = None,
    every: bool = False,
    dry_run: bool = False,
    on_progress: Tell | None = None,
    clock: Clock | None = None,
) -> MigrationReport:
    """Bring a movie over from an older layout: its revisions, their files, history, job records, producers, timelines.

    `source` is the folder of a movie, or one of such folders: then `movie` names one of them, or `every` takes all. For
    the folder of a movie, `movie` is the id that it gets (its own one otherwise). The source is only read, and never
    left. What is there already is not written again: called again, it goes on where it was. What is missing or refused
    is in the report, as is the `problem` of a movie that cannot be migrated to its end: others follow all the same.

    Raises `NotFoundError` and `MigrationError` for a folder that holds no such movie, `InvalidValueError` where the
    store lies in what is only read, `StoreUnavailableError` where the store fails, or somebody else migrates the movie;
    where several are migrated, that is the `problem` of the last one in the report, and the others are not begun.
    """
    itself, places = places_in(Path(source))
    if not itself:
        _check_root(Path(source), places, store)
    if every and movie is not None:
        raise InvalidValueError("All movies cannot have one id.", hint="Name one movie, or take all of them.")
    if not every and not itself and (movie is not None or len(places) > 1):
        places, movie = [_named(Path(source), places, movie)], None
    if store.driver.read_only:
        raise StoreUnavailableError(
            f"Nothing can be migrated to {store.root}: it is read-only here.", hint="Choose another root."
        )
    # Movies that the caller has open in his store stay open.
    own = Store(store.root, store.driver, clock or SystemClock())
    tell = on_progress or _tell_nobody
    if every:
        return MigrationReport(_all_migrated(places, own, tell, dry_run=dry_run), dry_run, several=True)
    report = _migrated(places[0], own, movie, tell, {}, dry_run=dry_run)
    if isinstance(report.problem, UnusableError):
        raise report.problem
    return MigrationReport([report], dry_run)


def _named(source: Path, places: list[OldPlace], movie: str | None) -> OldPlace:
    names = ", ".join(place.path.name for place in places[:10]) + (", ..." if len(places) > 10 else "")
    if movie is None:
        raise MigrationError(
            f"{source} holds {len(places)} movies, and none is named: {names}.", hint="Take all, or name one."
        )
    found = next((place for place in places if place.path.name == movie), None)
    if found is None:
        raise MigrationError(f"{source} holds no movie {movie}.", hint=f"It holds {names}.")
    return found


def _all_migrated(places: Sequence[OldPlace], store: Store, tell: Tell, *, dry_run: bool) -> list[MovieMigration]:
    """The reports of all movies, up to the first for which the store could not be used.

    One whose id cannot be taken, because it is not allowed or is that of another folder before, is refused.
    """
    reports: list[MovieMigration] = []
    taken: dict[str, Path] = {}
    for place in places:
        report = _migrated(place, store, None, tell, taken, dry_run=dry_run)
        if isinstance(report.problem, InvalidIdError):
            report.refused.append(UnmigratedItem(os.fspath(place.path), _refusal(place, report.problem)))
            report.problem = None
        reports.append(report)
        if isinstance(reports[-1].problem, UnusableError):
            if left := len(places) - len(reports):
                reports[-1].notes.append(f"Movies that were not begun: {left}. Call again: it goes on where it was.")
            break
    return reports


def _refusal(place: OldPlace, problem: InvalidIdError) -> str:
    """Why a movie cannot come over with all others, and how it can."""
    alone = f"renku-store migrate {shlex.quote(os.fspath(place.path))} --movie ID"
    return f"{problem.message} By itself it comes over with another id: {alone}"


def _migrated(
    place: OldPlace, store: Store, movie: str | None, tell: Tell, taken: dict[str, Path], *, dry_run: bool
) -> MovieMigration:
    """The report of one movie. `taken` are the folders of those that the same call has brought over, by their ids."""
    report = MovieMigration(movie or place.path.name, os.fspath(place.path))
    try:
        with OldFolder(place.path) as folder:
            old = _read(place, folder)
            report.id = (movie or old.id).encode(errors="backslashreplace").decode()
            _check_id(report.id)
            report.layout = old.layout
            report.notes += old.notes
            _check_apart(store, report.id, folder)
            _take_id(report.id, place, taken)
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


def _take_id(name: str, place: OldPlace, taken: dict[str, Path]) -> None:
    """Note whose id it is; raises `InvalidIdError` where it is that of another folder."""
    before = taken.setdefault(name, place.path)
    if before.resolve() != place.path.resolve():
        raise InvalidIdError(f"The movie in {before.name} has the id {name}, too.", hint="Give it another id.")


def _check_root(source: Path, places: list[OldPlace], store: Store) -> None:
    """Refuse a root among the movies that are read, or in the folder of one of them."""
    root = _folder_of(store)
    if root is None:
        return
    if root == source.resolve():
        raise InvalidValueError(
            f"{source} is only read, and cannot be where the movies in it are migrated to.",
            hint="Name another build root (--root).",
        )
    inside = next((place.path for place in places if root.is_relative_to(place.path.resolve())), None)
    if inside is not None:
        raise InvalidValueError(
            f"{inside} would be migrated into itself: {store.root} lies in it.",
            hint="Name another build root (--root).",
        )


def _folder_of(store: Store) -> Path | None:
    """The root of a store, where it is a folder."""
    root = store.driver.workspace()
    return root.resolve() if root is not None and store.driver.url == str(root) else None


def _check_apart(store: Store, movie: str, folder: OldFolder) -> None:
    """Refuse to write into what is read."""
    root = _folder_of(store)
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


def _tell_nobody(_progress: MigrationProgress) -> None:
    return
