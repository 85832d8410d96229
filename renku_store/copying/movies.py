"""`copy_movies`: some movies of a build root, or all, copied to another one."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from renku_store.clock import Clock, SystemClock
from renku_store.copying.copier import Copier
from renku_store.copying.reports import CopyProgress, CopyReport, MovieCopy
from renku_store.drivers.base import Driver, identity_of
from renku_store.errors import (
    ConflictError,
    DamageError,
    InvalidValueError,
    NotFoundError,
    StoreUnavailableError,
    UnsupportedFormatError,
)
from renku_store.movie import Movie
from renku_store.premises import check_root
from renku_store.store import Store


def copy_movies(
    source: Store,
    target: Store,
    movies: Iterable[str] | None = None,
    *,
    dry_run: bool = False,
    on_progress: Callable[[CopyProgress], None] | None = None,
    clock: Clock | None = None,
) -> CopyReport:
    """Copy what is missing in another build root: all that was published, and what ended runs have made.

    `movies` None: all of them. Blobs are copied as they are stored, each verified. The target's revisions have to be
    the first of the source's; then, and where the source has lost something, the report tells the `problem` of that
    movie, and the others are copied. Killed and called again, it goes on. Edits and runs that only the database of the
    source knows stay behind. Raises `NotFoundError` for a movie that is not there, and for all of a root that holds
    none, `InvalidValueError` where both roots are the same or the target is a movie, `StoreUnavailableError` where one
    of them fails.
    """
    _check_roots(source, target)
    wanted = [*dict.fromkeys(source.ids() if movies is None else movies)]
    if movies is None and not wanted:
        raise NotFoundError(
            f"There is no movie in {source.root}.", hint="Name the build root, which is the folder above a movie's."
        )
    for movie in wanted:
        _check_there(source, movie)
    # Movies that the caller has open in his store stay open.
    own = Store(target.root, target.driver, clock or SystemClock())
    tell = on_progress or _tell_nobody
    return CopyReport([_copied(source, own, movie, tell, dry_run=dry_run) for movie in sorted(wanted)], dry_run)


def _copied(
    source: Store, target: Store, movie: str, tell: Callable[[CopyProgress], None], *, dry_run: bool
) -> MovieCopy:
    copied = MovieCopy(movie)
    try:
        copied.notes += _left_behind(source, movie)
        there = target.driver.sub(movie)
        from_driver = source.driver.sub(movie)
        if dry_run:
            Copier(from_driver, there, None, copied, tell).run()
            return copied
        with _opened(target, movie) as into:
            Copier(from_driver, there, into, copied, tell).run()
    except (ConflictError, DamageError, UnsupportedFormatError, NotFoundError) as error:
        copied.problem = error
    return copied


def _opened(target: Store, movie: str) -> Movie:
    """The movie in the target, which is made where there is none."""
    there = target.driver.stat(f"{movie}/format.json") is not None
    return target.movie(movie) if there else target.create_movie(movie)


def _left_behind(source: Store, movie: str) -> list[str]:
    """What only the database of the source knows, as sentences; nothing where this machine has none of it."""
    with source.examine(movie) as examined:
        pending = sum(1 for _ in examined.events.pending())
        archived = {*examined.archives.runs()}
        with examined.metadata.read() as reader:
            open_runs = [record.run for record in reader.runs.list(unfinished=True) if record.run not in archived]
    notes: list[str] = []
    if pending:
        notes.append(f"Edits that no run has taken yet stay behind: {pending:,}. A copy after the next run has them.")
    if open_runs:
        notes.append(f"Runs that have not come to an end stay behind, with what they made by now: {len(open_runs):,}.")
    return notes


def _check_there(source: Store, movie: str) -> None:
    """Raise `NotFoundError` for a movie that is not in the source; one that is damaged is left to its copy."""
    try:
        source.examine(movie).close()
    except (DamageError, UnsupportedFormatError):
        return


def _check_roots(source: Store, target: Store) -> None:
    if _place(source.driver) == _place(target.driver):
        raise InvalidValueError(
            f"{source.root} and {target.root} are the same build root.", hint="Copy to another folder or URL."
        )
    check_root(target.driver)
    if target.driver.read_only:
        raise StoreUnavailableError(
            f"Nothing can be copied to {target.root}: it is read-only here.", hint="Choose another root."
        )


def _place(driver: Driver) -> str:
    folder = driver.workspace()
    return str(folder.resolve()) if folder is not None and driver.url == str(folder) else identity_of(driver)


def _tell_nobody(_progress: CopyProgress) -> None:
    return
