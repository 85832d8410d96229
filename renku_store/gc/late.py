"""Results that came late, and whose process died before it had archived them: a new index would not have them.

A run that ends archives its own events. What comes after that, from a holder that had lost its claim, goes into the
archive of a run of its own (`Committer.keep_late`), a moment after its rows. Whoever is killed in that moment leaves it
in the database alone; a collection archives it then (invariant 11). Twice is no harm: events count once, by their ids.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from renku_store import bounds
from renku_store.clock import timestamp
from renku_store.errors import DamageError, UnsupportedFormatError
from renku_store.movie import Movie
from renku_store.records.events import ArtefactEvent

_MOMENT_SECONDS: Final = 3_600.0
"""For so long a living process may be about to archive what it has noted."""


def archive_late(movie: Movie, now_ms: int) -> int:
    """Archive what is left of late results, for a caller that collects; gives how many events."""
    with movie.metadata.read() as reader:
        runs = reader.upkeep.late_runs()
    before = timestamp(datetime.fromtimestamp(max(0.0, now_ms / 1000 - _MOMENT_SECONDS), UTC))
    kept = {event.id: event for run in runs for event in _kept(movie, run) if event.created_at < before}
    try:
        for run in (*runs, *(_late_archives(movie) if kept else ())):
            if kept and movie.archives.exists(run):
                for event in movie.archives.read(run):
                    kept.pop(event.id, None)
    except (DamageError, UnsupportedFormatError):  # it may list them: that is for `fsck` to tell
        return 0
    if kept:
        movie.archiver.keep_late([kept[key] for key in sorted(kept)])
    return len(kept)


def _kept(movie: Movie, run: str) -> Iterator[ArtefactEvent]:
    """The late results among the rows of a run."""
    seq = 0
    while True:
        with movie.metadata.read() as reader:
            events = reader.events.artefacts_after(seq, bounds.EVENT_PAGE_ROWS, run=run)
        yield from (event for event in events if event.status == "kept")
        if len(events) < bounds.EVENT_PAGE_ROWS:
            return
        seq = events[-1].seq or 0


def _late_archives(movie: Movie) -> list[str]:
    """The runs that are nothing but an archive of late results: they ended when they began."""
    with movie.metadata.read() as reader:
        records = reader.runs.list()
    return [record.run for record in records if record.status == "abandoned" and record.ended_at == record.created_at]
