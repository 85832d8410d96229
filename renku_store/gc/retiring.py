"""What old runs leave is bounded, too: plans go, and archives, rows and records that nothing needs.

    plan -> event rows (a transaction; the archive that lists them is there: invariant 4) -> archive -> record

Each step is harmless by itself, and the record goes last: a crash anywhere leaves what the next collection finishes.
An archive is needed while it holds a result that can be reused, or an event that a kept revision, a look-up or a
pending edit points at.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

from renku_store.archives import archive_path
from renku_store.clock import timestamp
from renku_store.errors import BlobMissingError, DamageError, UnsupportedFormatError
from renku_store.movie import Movie
from renku_store.plans import plan_path


@dataclass(slots=True)
class Retired:
    """How many plans went, and how many runs with all that they left."""

    plans: int = 0
    runs: int = 0
    notes: list[str] = field(default_factory=list[str])


def retire(movie: Movie, keep_seconds: float, now_ms: int) -> Retired:
    """Remove what is left, and not needed, of the runs that ended `keep_seconds` before `now_ms` (database's clock)."""
    done = Retired()
    before = timestamp(datetime.fromtimestamp(max(0.0, now_ms / 1000 - keep_seconds), UTC))
    with movie.metadata.write() as writer:
        ended = writer.retirement.ended_before(before)
        reusable = writer.retirement.with_results() if ended else set()
        if any(finished for _, finished in ended):
            writer.upkeep.release_expired()
    plans = set(movie.driver.children("runs/")) if ended else set()
    for run, finished in ended:
        path = plan_path(run)
        if path.removeprefix("runs/") in plans:
            movie.driver.delete(path)
            done.plans += 1
        if finished and run not in reusable:
            _retire(movie, run, done)
    return done


def _retire(movie: Movie, run: str, done: Retired) -> None:
    """Let a run go that stands for no kept revision, if nothing needs what it left."""
    try:
        ids = [event.id for event in movie.archives.read(run)]
    except BlobMissingError:
        _forget(movie, run, done)
        return
    except (DamageError, UnsupportedFormatError) as error:
        done.notes.append(f"The old run {run} stays as it is: {error.message}")
        return
    with movie.metadata.write() as writer:
        if not writer.retirement.drop_events(run, ids):
            return
    movie.driver.delete(archive_path(run))
    movie.driver.settle([archive_path(run)])
    _forget(movie, run, done)


def _forget(movie: Movie, run: str, done: Retired) -> None:
    """Drop the record; where rows are left that no archive lists, they stay, and so does the record."""
    with movie.metadata.write() as writer:
        done.runs += writer.retirement.forget(run)
