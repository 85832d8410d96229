"""Whether a movie is what the model says it is: the invariants, looked at one by one.

Written apart from the code that keeps them, so that a mistake there is not made here again; what `fsck` finds is added.
For tests of drivers and of metadata stores, at the end of whatever they did to a movie, which fits in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from renku_store import bounds
from renku_store.encoding import contradiction, named_blobs
from renku_store.errors import StoreError
from renku_store.fsck import check_movie
from renku_store.manifests import ManifestStore
from renku_store.movie import Movie
from renku_store.records.blob import SUFFIX, blob_path
from renku_store.records.ids import revision_name, revision_number
from renku_store.records.manifest import Manifest, ManifestStub


def check_invariants(movie: Movie, *, with_fsck: bool = True) -> None:
    """Raise `AssertionError` with all that `violations` finds."""
    found = violations(movie, with_fsck=with_fsck)
    assert not found, "\n".join(found)


def violations(movie: Movie, *, with_fsck: bool = True) -> list[str]:
    """Every violation, as the number of an invariant and a sentence; none for a sound movie.

    Without what fsck finds it takes half a millisecond, for those who ask a thousand times.
    The movie was opened for writing, so that what a crash had left is repaired, and nobody else works on it.
    """
    return [
        *_objects(movie),
        *_revisions(movie),
        *_pointer(movie),
        *(() if movie.announcer.needed else _rows(movie)),
        *_events(movie),
        *_leases(movie),
        *_intents(movie),
        *(_found_by_fsck(movie) if with_fsck else ()),
    ]


def _found_by_fsck(movie: Movie) -> Iterator[str]:
    for problem in check_movie(movie).problems:
        yield f"{problem.invariant}: fsck says of {problem.object}: {problem.message}"


def _objects(movie: Movie) -> Iterator[str]:
    """Invariants 1 and 2: under `blobs/` are complete blobs under their names, and nothing else."""
    for found in movie.driver.list("blobs/"):
        digest = found.name.rpartition("/")[2].removesuffix(".zst")
        if found.name not in {blob_path(digest, encoding) for encoding in SUFFIX}:
            yield f"2: {found.name} is not the name of a blob."
            continue
        try:
            movie.blobs.read(digest)
        except StoreError as error:
            yield f"1: {found.name} cannot be read: {error.message}"


def _revisions(movie: Movie) -> Iterator[str]:
    """Invariants 4 (the archives), 5 and 6: one chain without gaps, of manifests whose blobs are there."""
    store = ManifestStore(movie.driver, movie.blobs.read)
    numbers = sorted(store.numbers())
    if numbers != list(range(1, len(numbers) + 1)):
        yield f"5: The revisions are {numbers}, which has gaps."
    chain: list[tuple[Manifest | ManifestStub, str]] = []
    for number in numbers:
        try:
            chain.append(store.entry(number, None))
        except StoreError as error:
            yield f"5: {revision_name(number)} cannot be read: {error.message}"
    for (_, digest), (entry, _) in pairwise([(None, None), *chain]):
        if entry is not None and entry.base_hash != digest:
            yield f"6: {entry.revision} stands on {entry.base_hash}, and the revision before it is {digest}."
    for entry, digest in chain:
        yield from _revision(movie, entry, digest)


def _revision(movie: Movie, entry: Manifest | ManifestStub, digest: str) -> Iterator[str]:
    with movie.metadata.read() as reader:
        row = reader.revisions.get(revision_number(entry.revision))
    if row is None or row.hash != digest:
        yield f"7: {entry.revision} is {digest}, and the index says {row.hash if row else 'nothing'} of it."
    if entry.archive is not None:
        try:
            list(movie.archives.read(entry.run, entry.archive.hash))
        except StoreError as error:
            yield f"4: The archive of {entry.revision} cannot be read: {error.message}"
    if not isinstance(entry, Manifest):
        return
    wrong = contradiction(entry)
    if wrong is not None:
        yield f"5: {entry.revision} contradicts itself: {wrong}."
    for blob in sorted(named_blobs(entry, (page.hash for page in entry.pages or ()))):
        if not movie.blobs.has(blob):
            yield f"5: {entry.revision} names the blob {blob}, which is not there."


def _pointer(movie: Movie) -> Iterator[str]:
    """Invariant 7: the pointer names the newest revision, and the hash of its manifest."""
    store = ManifestStore(movie.driver, movie.blobs.read)
    newest = max(store.numbers(), default=0)
    pointer = store.pointer()
    named = (pointer.revision, pointer.hash) if pointer else None
    try:
        actual = (revision_name(newest), store.entry(newest, None)[1]) if newest else None
    except StoreError as error:
        yield f"5: {revision_name(newest)} cannot be read: {error.message}"
        return
    if named != actual:
        yield f"7: current.json names {named}, and the newest revision is {actual}."


def _rows(movie: Movie) -> Iterator[str]:
    """Invariant 8: a live row has its object."""
    after = ""
    while True:
        with movie.metadata.read() as reader:
            rows = reader.blobs.page(after, bounds.EVENT_PAGE_ROWS)
        for row in rows:
            if row.state == "live" and not movie.blobs.has(row.hash):
                yield f"8: The row of {row.hash} is live, and its object is not there."
        if len(rows) < bounds.EVENT_PAGE_ROWS:
            return
        after = rows[-1].hash


def _events(movie: Movie) -> Iterator[str]:
    """Invariant 3: what an edit or a run that can still go on names is there."""
    seq = 0
    while True:
        with movie.metadata.read() as reader:
            page = reader.blobs.uncovered(seq, bounds.EVENT_PAGE_ROWS)
        for seq, digest in page:
            if not movie.blobs.has(digest):
                yield f"3: The event number {seq} names the blob {digest}, which is not there."
        if len(page) < bounds.EVENT_PAGE_ROWS:
            return


def _leases(movie: Movie) -> Iterator[str]:
    """Invariant 10: nobody works on a run that was given up."""
    with movie.metadata.read() as reader:
        held = {record.run: reader.runs.holder(record.run) for record in reader.runs.list()}
        given_up = [run for run in held if (record := reader.runs.get(run)) and record.status == "abandoned"]
    for run in given_up:
        if held[run] is not None:
            yield f"10: The run {run} is abandoned, and {held[run]} holds it."


def _intents(movie: Movie) -> Iterator[str]:
    """Invariant 11: what was meant and is published, or cannot be any more, is forgotten when the movie is opened."""
    newest = max(ManifestStore(movie.driver, movie.blobs.read).numbers(), default=0)
    with movie.metadata.read() as reader:
        for intent in reader.revisions.intents():
            if intent.number <= newest:
                yield f"11: The run {intent.run} means to publish {revision_name(intent.number)}, which is published."
