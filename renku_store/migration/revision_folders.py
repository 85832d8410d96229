"""Reads the layout of revision folders: `dag/` says what happened, `assets/revN/` holds the files.

    snapshot        names inputs and artefacts of a revision
    newest line     of each with a `rev` not above the snapshot's: its content, or the path of its file
    timeline        leads to files of artefacts that no line describes

Labels of content are opaque: two that are equal mean the same content, and nothing more is made of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from renku_store.migration.attempts import attempts
from renku_store.migration.described import OldInput, OldMovie, OldRevision
from renku_store.migration.folder import OldFolder
from renku_store.migration.history import History
from renku_store.migration.reading import Findings, read_object, revision_of, text_of, time_of
from renku_store.migration.records_of_jobs import by_revision, read_jobs
from renku_store.migration.snapshots import SnapshotReader

LAYOUT: Final = "revision-folders"
_SNAPSHOTS: Final = "dag/snapshots"


def is_revision_folders(folder: OldFolder) -> bool:
    """Whether a folder is a movie in this layout."""
    return folder.holds("dag") or ("metadata.json" in folder.names() and folder.holds("assets"))


def read_revision_folders(folder: OldFolder) -> OldMovie:
    """The movie in a folder; what cannot be read is among its problems."""
    found = Findings()
    about = read_object(folder, "metadata.json", found)
    history = History(folder, about, found)
    snapshots = _snapshots(folder, found)
    times = [(number, time_of(snapshot, "created_at", "createdAt") or history.time) for number, snapshot in snapshots]
    jobs = by_revision(read_jobs(folder, found), times)
    revisions: list[OldRevision] = []
    before = -1
    for (number, snapshot), (_, when) in zip(snapshots, times, strict=True):
        reader = SnapshotReader(history, number, snapshot)
        beside: dict[str, Any] = {}
        if number == times[-1][0]:
            beside = {"configuration": read_object(folder, "configuration.json", found), "metadata": about}
        own = jobs.get(number, [])
        revisions.append(
            reader.revision(when, _values(history, before, number), attempts(history, before, number, own), own, beside)
        )
        before = number
    later = jobs.get(None, [])
    later_attempts = tuple(attempts(history, before, None, later))
    for path, why in history.unread.items():
        found.add_untold(path, why)
    return OldMovie(
        id=text_of(about, "movie_id", "movieId", "video_id", "id") or folder.name,
        layout=LAYOUT,
        revisions=tuple(revisions),
        size=folder.size(),
        later_inputs=tuple(_values(history, before, None)),
        later_attempts=later_attempts,
        later_jobs=tuple(dict(job.record) for job in later),
        problems=found.problems(),
        notes=tuple(found.notes),
    )


def _snapshots(folder: OldFolder, found: Findings) -> list[tuple[int, dict[str, Any]]]:
    """The snapshots by number; of a consolidated one that was not renamed yet the other one counts."""
    paths: dict[int, str] = {}
    for name in folder.names(_SNAPSHOTS):
        number = revision_of(name.removesuffix(".json")) if name.endswith(".json") else None
        if number is not None and (number not in paths or "_cons" in paths[number]):
            paths[number] = f"{_SNAPSHOTS}/{name}"
    read: list[tuple[int, dict[str, Any]]] = []
    for number, path in sorted(paths.items()):
        snapshot = read_object(folder, path, found)
        if snapshot:
            read.append((number, snapshot))
        else:
            found.add_untold(path, "It is an empty object, and no revision.")
    return read


def _values(history: History, after: int, through: int | None) -> Iterator[OldInput]:
    """The values that inputs were given after a revision, up to another one (None: all)."""
    for line in history.inputs.between(after, through):
        value = history.input_value(line, line.label, history.anywhere)
        if value is not None:
            yield value
