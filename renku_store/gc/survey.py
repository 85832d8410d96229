"""A look at everything that is stored against the roots: what would go, what stays. Writes nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from renku_store import bounds
from renku_store.gc.roots import Roots
from renku_store.movie import Movie
from renku_store.processes import process_alive, this_process
from renku_store.records.blob import SUFFIX, BlobRow, blob_path

_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Moment:
    """Until when a thing must have been touched to be old: by the database's clock and by that of the files.

    `now_ms` and `before_ms` are Unix milliseconds, `files_before` Unix seconds, `grace_seconds` the time as applied.
    """

    now_ms: int
    before_ms: int
    files_before: float
    grace_seconds: float
    notes: list[str]


@dataclass(slots=True)
class Survey:
    """What there is: `candidates` and `strays` (objects without a row) map hashes to bytes on the disk.

    `condemned` are rows that a dead collector condemned and that must stay. `kept` and `total` count rows and strays.
    """

    candidates: dict[str, int] = field(default_factory=dict)
    strays: dict[str, int] = field(default_factory=dict)
    condemned: list[str] = field(default_factory=list)
    total: int = 0
    total_bytes: int = 0
    future: int = 0

    @property
    def removable_bytes(self) -> int:
        """Bytes on the disk of all that would go."""
        return sum(self.candidates.values()) + sum(self.strays.values())


def moment(movie: Movie, grace_seconds: float, files_now: float | None) -> Moment:
    """When a collection begins; `files_now` is the time of the files (None: the database's).

    The grace time covers at least all that the longest run that is being worked on may hold without having said so.
    """
    with movie.metadata.read() as reader:
        now_ms = reader.now_ms()
    age = _longest_run_seconds(movie, now_ms)
    notes = []
    if age > grace_seconds:
        notes.append(f"A run has been going for {age:.0f} seconds: nothing touched since is collected.")
        grace_seconds = age
    files_before = (now_ms / 1000 if files_now is None else files_now) - grace_seconds
    return Moment(now_ms, now_ms - round(grace_seconds * 1000), files_before, grace_seconds, notes)


def _longest_run_seconds(movie: Movie, now_ms: int) -> float:
    ages = [0.0]
    for record in movie.leases.unfinished():
        with movie.metadata.read() as reader:
            holder = reader.runs.holder(record.run)
        # A process that was stopped for longer than its lease lasts still has in hand what it had.
        suspended = holder is not None and holder.host == this_process().host and process_alive(holder)
        if record.alive or suspended:
            ages.append(now_ms / 1000 - datetime.fromisoformat(record.created_at).timestamp() + 1)
    return max(ages)


def moment_apart(movie: Movie, grace_seconds: float, now: float) -> Moment:
    """When a collection begins where machines share no index: all by the clock of the storage, which says `now`.

    What the runs of all machines may hold without having said so is younger than the oldest of them, or was made young
    since by hours (`YOUNG_SECONDS`).
    """
    runs = [announced for announced in movie.announcer.living(now) if announced.is_run]
    age = max((now - announced.since + bounds.YOUNG_SECONDS for announced in runs), default=0.0)
    notes = []
    if age > grace_seconds:
        notes.append(f"A run has been going on, on some machine: nothing of the last {age:.0f} seconds is collected.")
        grace_seconds = age
    elif grace_seconds < bounds.YOUNG_SECONDS:
        hours = bounds.YOUNG_SECONDS / 3600
        notes.append(
            f"A grace time below {hours:g} hours goes by when objects were written: what was put again since may go,"
            " unless a run, a pending edit or a revision names it."
        )
    return Moment(round(now * 1000), round((now - grace_seconds) * 1000), now - grace_seconds, grace_seconds, notes)


def survey_objects(movie: Movie, roots: Roots, when: Moment) -> Survey:
    """Hold every object against the roots, where rows promise nothing."""
    found = Survey()
    for group in _objects(movie):
        for digest, (size, modified) in group.items():
            found.total += 1
            found.total_bytes += size
            if digest not in roots and modified < when.files_before:
                found.strays[digest] = found.strays.get(digest, 0) + size
    return found


def survey(movie: Movie, roots: Roots, when: Moment) -> Survey:
    """Hold every row and every object against the roots."""
    found = Survey()
    _survey_rows(movie, roots, when, found)
    _survey_objects(movie, roots, when, found)
    if found.future:
        when.notes.append(
            f"{found.future} of the blobs that nothing needs are dated in the future: they count as young."
        )
    return found


def _survey_rows(movie: Movie, roots: Roots, when: Moment, found: Survey) -> None:
    after = ""
    while True:
        with movie.metadata.read() as reader:
            rows = reader.blobs.page(after, bounds.EVENT_PAGE_ROWS)
            now_ms = reader.now_ms()
        for row in rows:
            found.total += 1
            found.total_bytes += row.stored_size
            if row.hash not in roots and (row.state == "deleting" or row.touched_at < when.before_ms):
                found.candidates[row.hash] = row.stored_size
                continue
            _keep(row, now_ms, row.hash in roots, found)
        if len(rows) < bounds.EVENT_PAGE_ROWS:
            return
        after = rows[-1].hash


def _keep(row: BlobRow, now_ms: int, is_root: bool, found: Survey) -> None:
    if row.state == "condemned":
        found.condemned.append(row.hash)
    if not is_root and row.touched_at > now_ms:
        found.future += 1


def _survey_objects(movie: Movie, roots: Roots, when: Moment, found: Survey) -> None:
    """Objects without a row: their writer died before it was written, or their row was lost. No others are seen."""
    unknown: set[str] = set()
    for digests in _named(movie):
        with movie.metadata.read() as reader:
            unknown.update(reader.blobs.unknown(digests))
    for group in _objects(movie) if unknown else ():
        with movie.metadata.read() as reader:
            strays = reader.blobs.unknown(digest for digest in group if digest in unknown)
            now = reader.now_ms() / 1000
        for digest in strays:
            size, modified = group[digest]
            found.total += 1
            found.total_bytes += size
            if digest in roots:
                continue
            if modified < when.files_before:
                found.strays[digest] = found.strays.get(digest, 0) + size
            elif modified > now + bounds.GC_FUTURE_SECONDS:
                found.future += 1


def _named(movie: Movie) -> Iterator[set[str]]:
    """What the names below `blobs/` say that there is, in groups: hashes, also such as no object has."""
    group: set[str] = set()
    for folder in movie.driver.children("blobs/"):
        if folder.endswith("/"):
            group.update(name.removesuffix(SUFFIX["zstd"]) for name in movie.driver.children(f"blobs/{folder}"))
        if len(group) >= bounds.EVENT_PAGE_ROWS:
            yield {name for name in group if _DIGEST.fullmatch(name)}
            group = set()
    yield {name for name in group if _DIGEST.fullmatch(name)}


def _objects(movie: Movie) -> Iterator[dict[str, tuple[int, float]]]:
    """Objects below `blobs/`, no foreign files, in groups: hash to bytes and the time of the younger encoding."""
    group: dict[str, tuple[int, float]] = {}
    for found in movie.driver.list("blobs/"):
        digest = found.name.rpartition("/")[2].removesuffix(".zst")
        if _DIGEST.fullmatch(digest) is None or found.name not in {blob_path(digest, encoding) for encoding in SUFFIX}:
            continue
        size, modified = group.get(digest, (0, found.modified))
        group[digest] = size + found.size, max(modified, found.modified)
        if len(group) >= bounds.EVENT_PAGE_ROWS:
            yield group
            group = {}
    yield group
