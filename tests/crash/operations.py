"""What is killed, traced and made to fail: operations, each with what must be true wherever it is cut off."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import apsw

from renku_store import (
    CheckReport,
    Job,
    JobContext,
    Movie,
    NotFoundError,
    Produced,
    ProducerError,
    RetentionPolicy,
    RunReport,
    bounds,
    check_movie,
    collect,
    compact,
    open_store,
    prune,
    repair_movie,
    restore_expired,
    rollback,
    run_movie,
    set_inputs,
    tag_revision,
)
from renku_store.metadata.sqlite.migrations import APPLICATION_ID, shipped_migrations
from renku_store.records.manifest import Expiry
from renku_store.testing.crash_points import Acknowledge
from renku_store.testing.invariants import check_invariants
from renku_store.trash import put_marks
from tests.authoring import LONG, artefact_event, lose_database, opened, publish, texts
from tests.test_gc import age, objects

BLUEPRINT = """
inputs: {title: {type: string, required: true}, voice: {type: string, required: true}}
producers:
  say: {run: test/say, inputs: {title: title, voice: voice}, outputs: {out: {mimeType: text/plain}}}
  show: {run: test/show, inputs: {said: say.out}, outputs: {out: {mimeType: text/plain}}}
"""
Published = dict[str, dict[str, str]]
"""Revisions and their artefacts."""
BACKUP = "backup"
"""Another copy of the movie, below the same root."""
PIECES = [b"new " * 1_000, bytes(range(256)) * 40, b"", b"z"]
MANY_PIECES = [*PIECES, *(b"further %d" % number for number in range(bounds.SYNCFS_MIN_FILES))]
"""So many that they share one sync, and folders that are new are named as a whole."""


def _nothing(_movie: Movie, _promises: list[str]) -> None:
    """There is nothing that it acknowledges before it ends."""


@dataclass(frozen=True)
class Operation:
    """`prepare` makes a root to work on, `work` can be repeated after it was cut off anywhere.

    `promised` looks whether what it had acknowledged is there, `done` whether it has come to its end. `expires` are
    revisions that it may turn into stubs. `alone`: works on a root in which no movie is open. `damaged`: what it begins
    with is damaged, so that only its end is whole.
    """

    prepare: Callable[[Path], None]
    done: Callable[[Movie], None]
    work: Callable[[Movie, Acknowledge], None] | None = None
    alone: Callable[[Path, Acknowledge], None] | None = None
    promised: Callable[[Movie, list[str]], None] = _nothing
    expires: frozenset[str] = frozenset()
    damaged: bool = False

    def operate(self, root: Path, acknowledge: Acknowledge) -> None:
        """From opening to closing."""
        if self.alone is not None:
            self.alone(root, acknowledge)
        if self.work is not None:
            with opened(root) as movie:
                self.work(movie, acknowledge)


@contextmanager
def small_bounds() -> Iterator[None]:
    """Few files make a batch, few blobs a collection, few artefacts a page, and nobody waits long for a full disk.

    So every way is gone with little work. A check looks as often as ever, with shorter pauses: nobody else is there.
    """
    small = {
        "SYNCFS_MIN_FILES": 3,
        "FSCK_PAUSE_SECONDS": 0.001,
        "GC_BATCH_BLOBS": 2,
        "MANIFEST_PAGE_MIN_ARTEFACTS": 3,
        "RESULT_FULL_MAX_SECONDS": 0.05,
        "RESULT_PAUSE_SECONDS": 0.01,
    }
    before = {name: getattr(bounds, name) for name in small}
    for name, value in small.items():
        setattr(bounds, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(bounds, name, value)


def published(root: Path) -> Published:
    """Every revision that is no stub, as text; none where there is no movie. Works on a copy, as opening repairs."""
    copy = root.with_name("published")
    shutil.copytree(root, copy)
    with open_store(copy) as store:
        return published_as(store.movie("film")) if "film" in store.ids() else {}


def published_as(movie: Movie) -> Published:
    """The same of an opened movie."""
    return {manifest.revision: texts(movie, manifest.revision) for manifest, _ in movie.manifests.revisions()}


def check(movie: Movie, before: Published, expires: Iterable[str] = ()) -> None:
    """No invariant is violated, nothing published is missing, and a check finds nothing to mend."""
    check_invariants(movie)
    for revision, held in before.items():
        try:
            assert texts(movie, revision) == held, revision
        except NotFoundError:
            assert revision in expires, f"{revision} is gone"
    found = check_movie(movie)
    assert found.ok, found.problems


# Runs


def say(title: str, voice: str) -> str:
    """What the producer `say` makes."""
    return f"{voice} says {title} " * 200


def run(movie: Movie, calls: list[str] | None = None, broken: str = "") -> RunReport:
    """The daily loop with a producer that repeats what it is given."""

    async def produce(job: Job, context: JobContext) -> Produced:
        if calls is not None:
            calls.append(job.job_id)
        if job.job_id == broken:
            raise ProducerError(f"{broken} is broken")
        words = {name: str(getattr(item, "value", None)) for name, item in job.inputs.items()}
        return Produced({"out": say(words["title"], words["voice"]) if job.producer == "say" else "shown"}, cost=1.0)

    return asyncio.run(run_movie(movie, produce=produce))


def prepare_run(root: Path) -> None:
    """A revision that a run has published, and an edit."""
    with open_store(root) as store:
        movie = store.create_movie("film")
        set_inputs(movie, {"@blueprint": BLUEPRINT, "title": "one", "voice": "first"})
        assert run(movie).status == "published"
        set_inputs(movie, {"voice": "second"})


def _run_twice(movie: Movie, acknowledge: Acknowledge) -> None:
    if movie.manifests.load_current()[0].revision == "rev-0001":
        run(movie, broken="show")
    report = run(movie)
    acknowledge(f"{report.revision}")


def _has_revisions(movie: Movie, promises: list[str]) -> None:
    for revision in promises:
        movie.manifests.load(revision)


def _run_is_done(movie: Movie) -> None:
    assert texts(movie) == {"say.out": say("one", "second"), "show.out": "shown"}
    # Where a lease could not be released, it ends by itself.
    assert [record for record in movie.leases.unfinished() if not record.alive] == []
    calls: list[str] = []
    assert run(movie, calls).status == "unchanged"
    assert not calls


# By hand


def prepare_revision(root: Path) -> None:
    """One revision."""
    with open_store(root) as store:
        publish(store.create_movie("film"), {"a.out": "short", "b.out": LONG}, {"voice": "first"})


def prepare_revisions(root: Path) -> None:
    """Three revisions, each of several pages and with a blob of its own, and one that all share."""
    with open_store(root) as store:
        movie = store.create_movie("film")
        for number in range(1, 4):
            more = {f"c[{place}].out": f"{place}" for place in range(3)}
            publish(movie, {"own.out": f"{number} {LONG}", "shared.out": LONG, **more}, {"voice": f"{number}"})


def _put(movie: Movie, acknowledge: Acknowledge) -> None:
    for piece in PIECES:
        acknowledge(movie.blobs.put(piece).hash)


def _put_many(movie: Movie, acknowledge: Acknowledge) -> None:
    for blob in movie.blobs.put_many(MANY_PIECES):
        acknowledge(blob.hash)


def _has_blobs(movie: Movie, promises: list[str]) -> None:
    for digest in promises:
        movie.blobs.read(digest)


def _all_put(movie: Movie) -> None:
    assert [movie.blobs.read(movie.blobs.put(piece)) for piece in PIECES] == PIECES


def _all_put_at_once(movie: Movie) -> None:
    assert [movie.blobs.read(blob) for blob in movie.blobs.put_many(MANY_PIECES)] == MANY_PIECES


def _append(movie: Movie, acknowledge: Acknowledge) -> None:
    for key, value in (("voice", "later"), ("essay", LONG)):
        acknowledge(f"{key} {movie.events.append_input(key, value).hash}")
    for artefact in ("b.out", "d.out"):
        event = artefact_event(movie, artefact, f"{artefact} {LONG}")
        movie.events.append_artefact(event)
        acknowledge(f"{artefact} {event.value.hash if event.value else None}")


def _has_latest(movie: Movie, promises: list[str]) -> None:
    for key, _, digest in (promise.partition(" ") for promise in promises):
        if key.endswith(".out"):
            event = movie.events.latest_artefact(key)
            assert event is not None
            assert event.value is not None
            assert event.value.hash == digest
            movie.read(event.value)
        else:
            edit = movie.events.latest_input(key)
            assert edit is not None
            assert edit.hash == digest
            assert edit.blob is None or movie.blobs.read(edit.blob)


def _publish(movie: Movie, acknowledge: Acknowledge) -> None:
    if movie.manifests.load_current()[0].revision == "rev-0001":
        more = {f"c[{place}].out": f"{place}" for place in range(3)}
        publish(movie, {"b.out": "changed " + LONG, **more}, {"voice": "second"})
    acknowledge("rev-0002")


def _publish_is_done(movie: Movie) -> None:
    assert texts(movie)["b.out"] == "changed " + LONG
    assert movie.manifests.load("rev-0002").revision == "rev-0002"


def _init(root: Path, acknowledge: Acknowledge) -> None:
    with open_store(root) as store:
        if "film" not in store.ids():
            store.create_movie("film")
        acknowledge("film")


# Collection and retention


def prepare_waste(root: Path) -> None:
    """Two revisions, an edit, waste with and without rows, a result of nobody."""
    with open_store(root) as store:
        movie = store.create_movie("film")
        publish(movie, {"a.out": "first " + LONG})
        publish(movie, {"a.out": "second " + LONG})
        movie.events.append_input("edit", "words " * 1_000)
        abandoned = movie.events.new_id()
        movie.events.append_artefact(artefact_event(movie, "b.out", "given up " + LONG, run=abandoned))
        token = movie.leases.start(abandoned, base_revision=None, edits_through=0)
        movie.leases.release(token)
        with movie.metadata.write() as writer:
            writer.runs.update(abandoned, status="abandoned")
        strays = movie.blobs.put_many([b"stray 0", b"stray 1"])
        movie.blobs.put_many([b"waste %d" % number for number in range(2)])
        with movie.metadata.write() as writer:
            writer.blobs.forget([blob.hash for blob in strays])
        age(movie)
    left = root / "film" / "tmp" / "left"
    left.write_bytes(b"by a process that was killed")
    os.utime(left, (0, 0))


def _collect(movie: Movie, _acknowledge: Acknowledge) -> None:
    collect(movie, grace_seconds=3_600, force=True)


def _collected(movie: Movie) -> None:
    with movie.metadata.read() as reader:
        rows = {row.hash: row.state for row in reader.blobs.page("", 1_000)}
    assert rows == dict.fromkeys(objects(movie), "live")
    assert len(rows) == 3
    assert not Path(movie.root, movie.id, "tmp/left").exists()


def prepare_trash(root: Path) -> None:
    """Three revisions, of which the first two have been in the trash for longer than a week."""
    prepare_revisions(root)
    with opened(root) as movie:
        _expire(movie, datetime.now(UTC) - timedelta(days=30))
        age(movie, 30 * 86_400)


def _expire(movie: Movie, moment: datetime) -> None:
    history = [(manifest, digest) for manifest, digest in movie.manifests.revisions()][1:]
    at = moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    put_marks(
        movie.driver,
        [Expiry(revision=manifest.revision, hash=digest, expired_at=at, why="old") for manifest, digest in history],
    )


def _trash_is_gone(movie: Movie) -> None:
    for revision in ("rev-0001", "rev-0002"):
        with suppress(NotFoundError):
            movie.manifests.load(revision)
            raise AssertionError(f"{revision} has not expired")
    assert movie.manifests.load_current()[0].revision == "rev-0003"


def prepare_fresh_trash(root: Path) -> None:
    """Three revisions, two of them in the trash since a moment ago."""
    prepare_revisions(root)
    with opened(root) as movie:
        prune(movie, RetentionPolicy(keep_last=1))


def _prune(movie: Movie, _acknowledge: Acknowledge) -> None:
    prune(movie, RetentionPolicy(keep_last=1))


def _in_trash(movie: Movie) -> list[int]:
    return [number for number in (1, 2, 3) if movie.manifests.expiry(f"rev-{number:04d}") is not None]


def _pruned(movie: Movie) -> None:
    assert _in_trash(movie) == [1, 2]


def _undo(movie: Movie, _acknowledge: Acknowledge) -> None:
    restore_expired(movie)


def _undone(movie: Movie) -> None:
    assert _in_trash(movie) == []


def _tag(movie: Movie, acknowledge: Acknowledge) -> None:
    for name, revision in (("cut", "rev-0001"), ("cut", "rev-0002"), ("final", "rev-0003")):
        tag_revision(movie, revision, name, move=True)
        acknowledge(f"{name}={revision}")


def _tags(movie: Movie) -> dict[str, str]:
    return {tag.name: tag.revision for tag in movie.tags.all()}


def _has_tags(movie: Movie, promises: list[str]) -> None:
    meant = dict(promise.split("=") for promise in promises)
    for name, revision in meant.items():
        assert _tags(movie)[name] >= revision


def _tagged(movie: Movie) -> None:
    assert _tags(movie) == {"cut": "rev-0002", "final": "rev-0003"}


def _compact(movie: Movie, _acknowledge: Acknowledge) -> None:
    assert compact(movie).problems == []


def _compacted(movie: Movie) -> None:
    assert compact(movie).rows == 0
    run_is_there = {event.run for event in movie.events.stream()}
    assert {manifest.run for manifest, _ in movie.manifests.revisions()} <= run_is_there


def prepare_runs(root: Path) -> None:
    """Two revisions that runs have published."""
    prepare_run(root)
    with opened(root) as movie:
        assert run(movie).revision == "rev-0002"


def _roll_back(movie: Movie, acknowledge: Acknowledge) -> None:
    rollback(movie, "rev-0001")
    acknowledge("rev-0003")


def _rolled_back(movie: Movie) -> None:
    assert texts(movie) == texts(movie, "rev-0001")
    assert rollback(movie, "rev-0001") is None


# The database


def prepare_old_schema(root: Path) -> None:
    """Two revisions, in a database of the first schema."""
    prepare_run(root)
    old = root / "film" / "metadata.db"
    new = root / "film" / "older.db"
    with apsw.Connection(str(new)) as connection:
        for _ in connection.execute(shipped_migrations()[0].sql):
            pass
        connection.pragma("application_id", APPLICATION_ID)
        connection.pragma("user_version", 1)
        _fill(connection, old)
    connection.close()
    lose_database(root)
    new.rename(old)


def _fill(connection: apsw.Connection, source: Path) -> None:
    triggers = list(connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'"))
    for name, _ in triggers:
        connection.execute(f"DROP TRIGGER {name}")
    connection.execute("ATTACH ? AS source", (str(source),))
    for (table,) in list(connection.execute("SELECT name FROM main.sqlite_schema WHERE type = 'table'")):
        columns = ", ".join(row[1] for row in connection.execute(f"PRAGMA main.table_info({table})"))
        connection.execute(f"DELETE FROM main.{table}")
        connection.execute(f"INSERT INTO main.{table} ({columns}) SELECT {columns} FROM source.{table}")
    for _, sql in triggers:
        connection.execute(sql)


def _open(_movie: Movie, _acknowledge: Acknowledge) -> None:
    """What opening does by itself is the operation."""


def _edit_is_pending(movie: Movie) -> None:
    assert [getattr(edit, "input", "") for edit in movie.events.pending()] == ["voice"]
    calls: list[str] = []
    assert run(movie, calls).revision == "rev-0002"
    assert calls == ["say", "show"]


def prepare_lost_database(root: Path) -> None:
    """A revision, a failed run that has an edit and a result in its archive; no database."""
    prepare_run(root)
    with opened(root) as movie:
        assert run(movie, broken="show").status == "failed"
    lose_database(root)


def _restored(movie: Movie) -> None:
    assert [getattr(edit, "input", "") for edit in movie.events.pending()] == ["voice"]
    calls: list[str] = []
    assert run(movie, calls).revision == "rev-0002"
    assert calls == ["show"]


def prepare_garbage(root: Path) -> None:
    """The same, with garbage in the place of the database."""
    prepare_lost_database(root)
    (root / "film" / "metadata.db").write_bytes(b"garbage " * 1_000)


def prepare_for_rebuild(root: Path) -> None:
    """The same, with its database."""
    prepare_run(root)
    with opened(root) as movie:
        assert run(movie, broken="show").status == "failed"


def prepare_damaged_index(root: Path) -> None:
    """The same, with an edit that only the database has, and one page of an index in it overwritten."""
    prepare_for_rebuild(root)
    with opened(root) as movie:
        set_inputs(movie, {"title": "two"})
    damage_index(root / "film" / "metadata.db")


def damage_index(database: Path) -> None:
    """Overwrite the first page of an index of a closed database; its tables can be read."""
    connection = apsw.Connection(str(database))
    query = "SELECT rootpage FROM sqlite_schema WHERE type = 'index' AND tbl_name = 'run_events' LIMIT 1"
    place, size = connection.execute(query).get, connection.pragma("page_size")
    connection.close()
    with database.open("r+b") as file:
        file.seek((place - 1) * size)
        file.write(b"\xff" * size)


def _edits_are_saved(movie: Movie) -> None:
    assert sorted(getattr(edit, "input", "") for edit in movie.events.pending()) == ["title", "voice"]
    assert run(movie).revision == "rev-0002"
    assert texts(movie)["say.out"] == say("two", "second")


def _rebuild(root: Path, acknowledge: Acknowledge) -> None:
    with open_store(root) as store:
        store.rebuild("film")
    acknowledge("rebuilt")


def _readable(movie: Movie, promises: list[str]) -> None:
    if promises:
        movie.events.find_trace("0" * 64)


# Damage


def prepare_damage(root: Path) -> None:
    """Three revisions and a copy of the movie; in the movie a blob is wrong, one is gone, and so is the pointer."""
    prepare_revisions(root)
    shutil.copytree(root / "film", root / BACKUP)
    blobs = sorted(path for path in (root / "film" / "blobs").rglob("*") if path.is_file())
    blobs[0].write_bytes(b"wrong")
    blobs[1].unlink()
    (root / "film" / "current.json").write_bytes(b"{")


def _repair(movie: Movie, _acknowledge: Acknowledge) -> None:
    found: CheckReport = check_movie(movie)
    with open_store(movie.root) as store:
        repair_movie(movie, found, source=store.driver.sub(BACKUP))


def _repaired(movie: Movie) -> None:
    with open_store(movie.root) as store:
        copy = published_as(store.movie(BACKUP))
    assert published_as(movie) == copy


OLD = frozenset({"rev-0001", "rev-0002"})
OPERATIONS = {
    "init": Operation(Path.mkdir, lambda movie: None, alone=_init),
    "put": Operation(prepare_revision, _all_put, _put, promised=_has_blobs),
    "put many": Operation(prepare_revision, _all_put_at_once, _put_many, promised=_has_blobs),
    "append": Operation(prepare_revision, lambda movie: None, _append, promised=_has_latest),
    "publish": Operation(prepare_revision, _publish_is_done, _publish, promised=_has_revisions),
    "run": Operation(prepare_run, _run_is_done, _run_twice, promised=_has_revisions),
    "gc": Operation(prepare_waste, _collected, _collect),
    "gc of the trash": Operation(prepare_trash, _trash_is_gone, _collect, expires=OLD),
    "prune": Operation(prepare_revisions, _pruned, _prune),
    "undo": Operation(prepare_fresh_trash, _undone, _undo),
    "tag": Operation(prepare_revisions, _tagged, _tag, promised=_has_tags),
    "compact": Operation(prepare_runs, _compacted, _compact),
    "rollback": Operation(prepare_runs, _rolled_back, _roll_back, promised=_has_revisions),
    "schema": Operation(prepare_old_schema, _edit_is_pending, _open),
    "restore": Operation(prepare_lost_database, _restored, _open),
    "rebuild": Operation(prepare_for_rebuild, _restored, alone=_rebuild, promised=_readable),
    "rebuild from garbage": Operation(prepare_garbage, _restored, alone=_rebuild, damaged=True),
    "rebuild from damage": Operation(prepare_damaged_index, _edits_are_saved, alone=_rebuild, damaged=True),
    "repair": Operation(prepare_damage, _repaired, _repair, damaged=True),
}
