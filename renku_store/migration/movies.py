"""`migrate`: movies from an older layout into a build root."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from renku_store.clock import Clock, SystemClock
from renku_store.errors import InvalidIdError, InvalidValueError, MigrationError, StoreUnavailableError, UnusableError
from renku_store.migration.layouts import OldPlace, places_in
from renku_store.migration.one_movie import Tell, folder_of, migrated
from renku_store.migration.reports import MigrationProgress, MigrationReport, MovieMigration, UnmigratedItem
from renku_store.migration.side_by_side import SideBySide, workers_for
from renku_store.store import Store


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
    where several are migrated, that is the `problem` of one in the report, and no further ones are begun.

    Many movies for a folder of this machine are migrated side by side, each processor working at one of them; what is
    told of their progress is mixed then. `on_progress` is called in this thread.
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
        processes = workers_for(len(places), own) if clock is None else 0
        reports = _all_migrated(places, own, tell, processes, telling=on_progress is not None, dry_run=dry_run)
        return MigrationReport(reports, dry_run, several=True)
    report = migrated(places[0], own, movie, tell, _take_any, dry_run=dry_run)
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


def _all_migrated(
    places: Sequence[OldPlace], store: Store, tell: Tell, processes: int, *, telling: bool, dry_run: bool
) -> list[MovieMigration]:
    """The reports of all movies, but for those that were not begun when the store could not be used.

    One whose id cannot be taken, because it is not allowed or is that of another folder before, is refused.
    """
    taken: dict[str, Path] = {}

    def here(place: OldPlace) -> MovieMigration:
        return migrated(place, store, None, tell, partial(_take_id, taken, place), dry_run=dry_run)

    found: dict[int, MovieMigration] = {}
    if processes:
        working = SideBySide(places, here, partial(_take_id, taken), tell)
        found = working.migrated(processes, store.root, telling=telling, dry_run=dry_run)
    unusable = any(isinstance(report.problem, UnusableError) for report in found.values())
    for number in range(len(found), 0 if unusable else len(places)):
        found[number] = here(places[number])
        if isinstance(found[number].problem, UnusableError):
            break
    reports = [report for _, report in sorted(found.items())]
    for place, report in zip(places, reports, strict=False):
        if isinstance(report.problem, InvalidIdError):
            report.refused.append(UnmigratedItem(os.fspath(place.path), _refusal(place, report.problem)))
            report.problem = None
    ended = next((report for report in reports if isinstance(report.problem, UnusableError)), None)
    if ended is not None and (left := len(places) - len(reports)):
        ended.notes.append(f"Movies that were not begun: {left}. Call again: it goes on where it was.")
    return reports


def _refusal(place: OldPlace, problem: InvalidIdError) -> str:
    """Why a movie cannot come over with all others, and how it can."""
    alone = f"renku-store migrate {shlex.quote(os.fspath(place.path))} --movie ID"
    return f"{problem.message} By itself it comes over with another id: {alone}"


def _take_any(_name: str) -> None:
    return


def _take_id(taken: dict[str, Path], place: OldPlace, name: str) -> None:
    """Note whose id it is; raises `InvalidIdError` where it is that of another folder."""
    before = taken.setdefault(name, place.path)
    if before.resolve() != place.path.resolve():
        raise InvalidIdError(f"The movie in {before.name} has the id {name}, too.", hint="Give it another id.")


def _check_root(source: Path, places: list[OldPlace], store: Store) -> None:
    """Refuse a root among the movies that are read, or in the folder of one of them."""
    root = folder_of(store)
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


def _tell_nobody(_progress: MigrationProgress) -> None:
    return
