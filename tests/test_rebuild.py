"""Making a database anew: nothing is lost, whatever lay in its place, and nobody works on the old one meanwhile."""

from __future__ import annotations

import asyncio
import os
import pickle
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from renku_store import (
    DamageError,
    InputEvent,
    Movie,
    NotFoundError,
    RebuildReport,
    RetentionPolicy,
    RunEvent,
    StoreUnavailableError,
    UnsupportedFormatError,
    abandon,
    check_movie,
    collect,
    compact,
    movie_status,
    open_store,
    prune,
    run_movie,
    set_inputs,
)
from renku_store.encoding import encode_stub, expiry_path, manifest_path
from renku_store.metadata.sqlite import open_sqlite
from renku_store.records._base import Json
from renku_store.records.manifest import Expiry, Tag
from tests import children
from tests.authoring import (
    LONG,
    artefact_event,
    check_whole,
    connection_of,
    intend,
    lose_database,
    next_one,
    opened,
    publish,
    texts,
)
from tests.roots import Root
from tests.running.conftest import BLUEPRINT, Studio
from tests.test_gc import age

pytestmark = pytest.mark.long_away
SEGMENTS: list[Json] = [{"text": text, "title": text.upper()} for text in ("one", "two", "three")]


def run(movie: Movie, studio: Studio, **inputs: Json) -> str:
    """A run of the movie; its id."""
    return asyncio.run(run_movie(movie, produce=studio, inputs=inputs or None)).run or ""


def tell_a_story(movie: Movie, studio: Studio) -> None:
    """Six revisions, the fourth expired for good and the third in the trash; failed and abandoned runs between them."""
    set_inputs(movie, {"@blueprint": BLUEPRINT, "segments": SEGMENTS})
    run(movie, studio)
    run(movie, studio, voice="it")
    studio.broken = {"film"}
    given_up = run(movie, studio, voice="ga")
    abandon(movie, given_up)
    studio.broken = set()
    for voice in ("fr", "de"):
        set_inputs(movie, {"voice": voice})
        run(movie, studio)
    movie.events.append_artefact(artefact_event(movie, "film.video", "by hand"))
    publish(movie, {"say[0].audio": LONG}, {"voice": "pt"})
    set_inputs(movie, {"voice": "fr"})
    run(movie, studio)
    studio.broken = {"film"}
    run(movie, studio, voice="el")
    studio.broken = set()
    expire(movie, 3)
    expire(movie, 4)
    manifest, digest = movie.manifests.load_with_hash("rev-0004")
    movie.driver.replace(manifest_path("rev-0004"), encode_stub(manifest, digest))
    with movie.metadata.write() as writer:
        writer.revisions.expire(4)
    tag = Tag(name="cut", revision="rev-0002", hash=movie.manifests.load_with_hash("rev-0002")[1], created_at=NOW)
    movie.driver.create("tags/cut.json", orjson_of(tag))


NOW = "2026-01-01T00:00:00.000Z"


def orjson_of(record: Any) -> bytes:
    return record.to_bytes()


def expire(movie: Movie, number: int) -> None:
    """Put a revision into the trash."""
    revision = f"rev-{number:04d}"
    mark = Expiry(revision=revision, hash=movie.manifests.load_with_hash(revision)[1], expired_at=NOW, why="test")
    movie.driver.create(expiry_path(revision), orjson_of(mark))


def leave_undone(movie: Movie) -> None:
    """What only the database holds: edits, events of a run without an archive, a late result, an intent, a check."""
    set_inputs(movie, {"voice": "cy", "segments": SEGMENTS[:2]})
    movie.events.append_artefact(artefact_event(movie, "film.video", "a later hand " + LONG))
    begun = movie.events.new_id()
    token = movie.leases.start(begun, base_revision="rev-0006", edits_through=0)
    movie.events.append_input("voice", "private", run=begun)
    movie.events.append_artefact(artefact_event(movie, "draw[0].image", "of a run " + LONG, run=begun))
    late = artefact_event(movie, "draw[1].image", "late", run=begun)
    movie.events.append_artefact(late.replace(status="kept"))
    movie.leases.release(token)
    checked = movie.blobs.put(LONG.encode()).hash
    with movie.metadata.write() as writer:
        writer.checks.note_verified([checked])


def told(movie: Movie) -> dict[str, Any]:
    """Everything that a movie says of its past, without the numbers of rows and the index's own remarks."""
    events = [
        event for event in movie.events.stream() if not (isinstance(event, RunEvent) and event.kind == "published")
    ]
    inputs = sorted({event.input for event in events if isinstance(event, InputEvent)})
    artefacts = sorted({event.artefact for event in events if event.type == "artefact"})
    signatures = sorted({event.signature for event in events if event.type == "artefact" and event.signature})
    history = [*movie.manifests.history()]
    there = [entry.revision for entry, _ in history if entry.revision != "rev-0004"]
    with movie.metadata.read() as reader:
        return {
            "events": {event.id: event.replace(seq=None) for event in events},
            "history": history,
            "expiries": {entry.revision: movie.manifests.expiry(entry.revision) for entry, _ in history},
            "texts": {name: texts(movie, name) for name in there},
            "latest inputs": {key: of(movie.events.latest_input(key)) for key in inputs},
            "latest artefacts": {key: of(movie.events.latest_artefact(key)) for key in artefacts},
            "inputs at": {(key, at): of(movie.events.latest_input(key, at)) for key in inputs for at in there},
            "artefacts at": {(key, at): of(movie.events.latest_artefact(key, at)) for key in artefacts for at in there},
            "since": {at: [e.id for e in movie.events.stream_artefacts(at)] for at in there},
            "traces": {key: sorted(trace.result for trace in reader.events.traces(key)) for key in signatures},
            "best": {key: getattr(movie.events.find_trace(key), "result", None) for key in signatures},
            "failed": movie.events.failed(signatures),
            "pending": [event.id for event in movie.events.pending()],
            "runs": {
                record.run: (record.status, record.base_revision, record.revision) for record in reader.runs.list()
            },
            "ended": {record.run: record.ended_at for record in reader.runs.list()},
            "revisions": reader.revisions.list(limit=100),
            "intents": reader.revisions.intents(),
            "blobs": {
                row.hash: (row.size, row.stored_size, row.encoding, row.state) for row in reader.blobs.page("", 999)
            },
            "checked": [(digest, moment) for moment, digest in reader.checks.verified_before(2**62, (-1, ""), 99)],
            "tags": movie.tags.get("cut"),
        }


def of(event: Any) -> Any:
    return None if event is None else event.id


@pytest.fixture
def root(any_root: Root) -> Root:
    return any_root


@pytest.fixture
def studio() -> Studio:
    return Studio()


@pytest.fixture
def story(root: Root, studio: Studio) -> Root:
    """A movie with a long past, closed."""
    with open_store(root) as store:
        tell_a_story(store.create_movie("film"), studio)
    return root


@pytest.fixture
def film(root: Root) -> Root:
    """A movie of two revisions and an edit that waits, closed."""
    with open_store(root) as store:
        movie = store.create_movie("film")
        publish(movie, {"a.out": "short", "b.out": LONG}, {"voice": "first"})
        publish(movie, {"a.out": "second"}, {"voice": "second"})
        movie.events.append_input("voice", "waits")
    return root


def rebuilt(root: Root, **options: Any) -> RebuildReport:
    with open_store(root, **options) as store:
        return store.rebuild("film")


def past(root: Root) -> dict[str, Any]:
    with opened(root) as movie:
        return told(movie)


def without_index(root: Root) -> None:
    lose_database(root)


def rebuild(root: Root) -> None:
    rebuilt(root)


def rebuild_without_index(root: Root) -> None:
    without_index(root)
    rebuilt(root)


def compact_and_rebuild(root: Root) -> None:
    with opened(root) as movie:
        assert compact(movie).rows > 0
    rebuilt(root)


@pytest.mark.parametrize("anew", [without_index, rebuild, rebuild_without_index, compact_and_rebuild])
def test_whatever_ended_comes_back_from_the_objects(story: Root, studio: Studio, anew: Callable[[Root], None]) -> None:
    """Every answer is as before: log, look-ups, takes, failed runs, trash, stubs, tags; and no call is made again."""
    before = past(story)
    anew(story)
    after = past(story)
    for question, answer in before.items():
        assert question == "ended" or after[question] == answer, question
    with opened(story) as movie:
        set_inputs(movie, {"voice": "it"})
        studio.calls.clear()
        run(movie, studio)
        assert not studio.calls
        with pytest.raises(NotFoundError, match="expired"):
            movie.manifests.load("rev-0004")


def test_a_rebuild_of_a_sound_database_loses_nothing(story: Root) -> None:
    """Nor what no archive holds: edits, runs under way, late results, intents, times of checks; twice is no harm."""
    with opened(story) as movie:
        leave_undone(movie)
        before = told(movie)
    for _ in range(2):
        report = rebuilt(story)
        after = past(story)
        for question, answer in before.items():
            assert after[question] == answer, question
        assert (report.salvaged, report.quarantined, report.left_out) == (6, None, [])
    assert (report.revisions, report.blobs) == (6, len(after["blobs"]))
    assert not list(story.driver().children("quarantine/"))


def test_what_a_run_had_meant_to_publish_is_still_what_it_publishes(root: Root) -> None:
    """An intent is carried over, byte for byte; one that has ended is not."""
    with open_store(root) as store:
        movie = store.create_movie("film")
        publish(movie, {"a": "one"})
        meant = intend(movie, next_one(movie, "two")[0])
    rebuilt(root)
    with opened(root) as movie:
        published = movie.committer.finish(meant.run)
        assert published is not None
        assert (published.revision, published.hash) == ("rev-0002", meant.hash)
    rebuilt(root)
    with opened(root) as movie:
        assert movie.committer.finish(meant.run) is None
        check_whole(movie)


def a_folder(path: Path) -> None:
    path.unlink()
    (path / "inside").mkdir(parents=True)


def another_programs(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE shopping (item TEXT)")
    other.close()


def a_folder_as_log(path: Path) -> None:
    Path(f"{path}-wal").mkdir()


GARBAGE: dict[str, Callable[[Path], None]] = {
    "random": lambda path: none(path.write_bytes(os.urandom(50_000))),
    "short": lambda path: none(path.write_bytes(b"short")),
    "text": lambda path: none(path.write_text("What is this? " * 999)),
    "a head only": lambda path: os.truncate(path, 100),
    "one page": lambda path: os.truncate(path, 4096),
    "half": lambda path: os.truncate(path, path.stat().st_size // 8192 * 4096),
    "header and garbage": lambda path: none(path.write_bytes(b"SQLite format 3\0" + b"\xff" * 9000)),
    "another program's": another_programs,
    "a folder": a_folder,
    "a folder as log": a_folder_as_log,
}


def none(_: object) -> None:
    return


@pytest.mark.files
@pytest.mark.parametrize("garbage", GARBAGE)
def test_garbage_is_said_to_be_and_a_rebuild_mends_it(film: Root, garbage: str) -> None:
    """Opening names the command, at the latest when it comes to the damage; what lay there moves to quarantine."""
    GARBAGE[garbage](film / "film/metadata.db")
    with pytest.raises((DamageError, UnsupportedFormatError)) as caught, opened(film) as movie:
        told(movie)
    assert "`renku-store rebuild`" in caught.value.hint
    report = rebuilt(film)
    assert (report.revisions, report.artefacts) == (2, 2)
    assert report.quarantined is not None
    assert (film / "film" / report.quarantined).exists() or garbage == "a folder as log"
    assert list((film / "film/quarantine").iterdir())
    with opened(film) as movie:
        check_whole(movie)
    assert rebuilt(film).quarantined is None


@pytest.mark.files
@pytest.mark.parametrize("leftover", [False, True])
@pytest.mark.parametrize("empty", [False, True])
def test_an_empty_or_missing_file_is_filled_by_whoever_opens_it(film: Root, empty: bool, leftover: bool) -> None:
    """With the log of a database that is gone beside it, too: that is never taken for the new one's."""
    database = film / "film/metadata.db"
    if leftover:
        database = leave_a_log(film)
    database.write_bytes(b"") if empty else database.unlink()
    with opened(film) as movie:
        check_whole(movie)
        assert movie.events.pending() == []
        assert connection_of(movie).pragma("quick_check") == "ok"


def leave_a_log(film: Root) -> Path:
    """Let a process die with an edit in its log; the database."""
    script = """
        import os, sys
        from renku_store import open_store
        open_store(sys.argv[1]).movie("film").events.append_input("voice", "in the log")
        os._exit(0)
    """
    ended = children.run(script, film)
    assert ended.code == 0, ended.err
    assert (film / "film/metadata.db-wal").stat().st_size > 0
    return film / "film/metadata.db"


@pytest.mark.files
@pytest.mark.parametrize("empty", [False, True])
def test_the_log_of_a_lost_database_is_never_applied_to_the_new_one(film: Root, empty: bool) -> None:
    """Nor by a rebuild, which finds it beside nothing."""
    database = leave_a_log(film)
    database.write_bytes(b"") if empty else database.unlink()
    assert rebuilt(film).salvaged == 0
    assert not list((film / "film").glob("metadata.db-*"))
    with opened(film) as movie:
        check_whole(movie)


@pytest.mark.files
def test_what_lies_in_the_log_of_a_dead_process_is_carried_over(film: Root) -> None:
    """The log belongs to the old database, and is part of what it knows."""
    leave_a_log(film)
    rebuilt(film)
    with opened(film) as movie:
        assert [edit.value for edit in movie_status(movie).pending if edit.type == "input"] == ["waits", "in the log"]


@pytest.mark.files
def test_a_rebuilt_database_can_be_checked_beside_who_writes(film: Root) -> None:
    """It has a log from the start, as every other: nobody takes it for one at rest."""
    rebuilt(film)
    assert (film / "film/metadata.db").read_bytes()[18:20] == b"\2\2", "read and written with a write-ahead log"
    with open_store(film) as store, store.examine("film") as movie:
        with opened(film) as other:
            other.events.append_inputs({f"key{number}": "x" * 700 for number in range(600)})
        assert check_movie(movie).problems == []


@pytest.mark.files
def test_an_index_that_leads_to_other_events_is_not_believed(root: Root) -> None:
    """SQLite's quick check does not hold it against the rows; each event keeps what is its own."""
    with open_store(root) as store:
        movie = store.create_movie("film")
        events = [artefact_event(movie, f"clip[{number}].out", f"text {number}") for number in range(6)]
        movie.events.append_many(events)
        connection = connection_of(movie)
        connection.pragma("wal_checkpoint(truncate)")
        size = connection.pragma("page_size")
        page = connection.execute(
            "SELECT rootpage FROM sqlite_schema WHERE name LIKE 'sqlite_autoindex_artefact_events%'"
        ).get
    with (root / "film/metadata.db").open("r+b") as file:
        file.seek((page - 1) * size)
        data = bytearray(file.read(size))
        one, other = (data.index(event.id.encode()) + len(event.id) for event in (events[1], events[4]))
        data[one], data[other] = data[other], data[one]
        file.seek((page - 1) * size)
        file.write(data)
    report = rebuilt(root)
    assert (report.salvaged, report.quarantined is None) == (6, False)
    with opened(root) as movie:
        found = {event.id: event.value for event in movie.events.stream_artefacts()}
        assert found == {event.id: event.value for event in events}


@pytest.mark.files
def test_of_a_damaged_database_what_can_be_read_is_carried_over(root: Root) -> None:
    """One page of edits that wait is zeros: the others are all there, and the file is in quarantine."""
    with open_store(root) as store:
        movie = store.create_movie("film")
        publish(movie, {"a": "one"})
        movie.events.append_inputs({f"key{number}": "x" * 1_500 for number in range(100)})
        page = connection_of(movie).execute("SELECT rootpage FROM sqlite_schema WHERE name = 'pending_inputs'").get
    with (root / "film/metadata.db").open("r+b") as file:
        data = file.read()
        place = next(n for n in range(4096 * 30, len(data), 4096) if data[n] == 13 and b"key50" in data[n : n + 4096])
        file.seek(place)
        file.write(bytes(4096))
    assert page
    report = rebuilt(root)
    assert 90 <= report.salvaged < 102
    assert report.quarantined is not None
    with opened(root) as movie:
        check_whole(movie)
        assert len(movie.events.pending()) >= 90


def test_edits_that_a_revision_took_do_not_wait_again_although_its_archive_is_damaged(film: Root) -> None:
    """The old database knows that they were taken, and has the events."""
    before = past(film)
    driver = film.driver()
    for found in [*driver.list("events/")]:
        driver.replace(found.name, driver.read(found.name)[:40])
    rebuilt(film)
    after = past(film)
    assert after["pending"] == before["pending"]
    assert after["events"] == before["events"]


def test_a_revision_that_was_damaged_is_taken_in_once_it_is_back(film: Root) -> None:
    """A rebuild names what it leaves out; the look-ups of that revision come with the next one."""
    before = past(film)
    driver, manifest = film.driver(), "manifests/rev-0001.json"
    sound = driver.read(manifest)
    driver.replace(manifest, sound[:-20])
    assert rebuilt(film).left_out == ["rev-0001"]
    with opened(film) as movie:
        assert texts(movie)["a.out"] == "second"
        with pytest.raises(NotFoundError) as caught:
            movie.events.latest_input("voice", "rev-0001")
        assert "`renku-store rebuild`" in caught.value.hint
    driver.replace(manifest, sound)
    assert rebuilt(film).left_out == []
    assert past(film)["inputs at"] == before["inputs at"]


@pytest.mark.parametrize("damaged", [False, True])
def test_a_rebuild_puts_the_newest_manifest_back(film: Root, damaged: bool) -> None:
    """The old database has its exact bytes, the new one would not: what is wrong in its place is kept beside."""
    before = past(film)
    driver, manifest = film.driver(), "manifests/rev-0002.json"
    sound = driver.read(manifest)
    if damaged:
        driver.replace(manifest, sound[:-20])
    else:
        driver.delete(manifest)
    report = rebuilt(film)
    assert (report.restored, report.left_out) == ("rev-0002", [])
    assert driver.read(manifest) == sound
    kept = [driver.read(found.name) for found in driver.list("quarantine/")]
    assert kept == ([sound[:-20]] if damaged else [])
    assert past(film) == before


@pytest.mark.files
def test_a_rebuild_from_an_older_database_leaves_a_revision_expired(root: Root, studio: Studio) -> None:
    """The newest manifest of a backup has become a stub since: that is sound, and stays as it is."""
    database = root / "film/metadata.db"
    with open_store(root) as store:
        movie = store.create_movie("film")
        set_inputs(movie, {"@blueprint": BLUEPRINT, "segments": SEGMENTS})
        run(movie, studio)
    backup = database.read_bytes()
    with opened(root) as movie:
        run(movie, studio, voice="it")
        prune(movie, RetentionPolicy(keep_last=1))
        collect(movie, grace_seconds=0, trash_seconds=0, force=True)
    stub = (root / "film/manifests/rev-0001.json").read_bytes()
    assert b'"expired":true' in stub
    lose_database(root)
    database.write_bytes(backup)
    assert rebuilt(root).restored is None
    assert (root / "film/manifests/rev-0001.json").read_bytes() == stub
    assert not list((root / "film").glob("quarantine/rev-0001*"))
    with opened(root) as movie:
        assert movie.manifests.load("latest").revision == "rev-0002"


@pytest.mark.parametrize("witness", ["database", "pointer"])
def test_a_lost_newest_revision_is_named(film: Root, witness: str) -> None:
    """By whoever knows it: the old database or the pointer."""
    if witness == "pointer":
        lose_database(film)
    else:
        with opened(film) as movie:
            connection_of(movie).execute("DELETE FROM newest_manifest")
        film.driver().delete("current.json")
    film.driver().delete("manifests/rev-0002.json")
    report = rebuilt(film)
    assert (report.restored, report.left_out) == (None, ["rev-0002"])


def test_archives_that_cannot_be_read_are_named(film: Root) -> None:
    """One that a revision names, and one that alone held the rows of a compacted run."""
    with opened(film) as movie:
        first, second = (manifest.run for manifest, _ in reversed(list(movie.manifests.revisions())))
        abandoned = movie.events.new_id()
        movie.leases.release(movie.leases.start(abandoned, base_revision=None, edits_through=0))
        abandon(movie, abandoned)
        compact(movie)
    film.driver().replace(f"events/{first}.jsonl.zst", b"(")
    film.driver().delete(f"events/{abandoned}.jsonl.zst")
    assert rebuilt(film).damaged_archives == sorted(f"events/{run}.jsonl.zst" for run in (first, abandoned))
    assert f"events/{second}.jsonl.zst" not in rebuilt(film).damaged_archives


# Who else is there

HOLD = """
    import sys, time
    from tests.authoring import opened
    with opened(sys.argv[1]) as movie:
        print("open", flush=True)
        time.sleep(float(sys.argv[2]))
"""


@pytest.mark.files
def test_while_somebody_has_the_movie_open_nothing_is_changed(film: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the process."""
    monkeypatch.setattr("renku_store.bounds.OPEN_LOCK_WAIT_SECONDS", 0.05)
    child = children.start(HOLD, film, 60)
    assert child.stdout is not None
    assert child.stdout.readline() == "open\n"
    before = {path: path.stat().st_mtime_ns for path in (film / "film").rglob("*") if path.is_file()}
    with open_store(film) as store, pytest.raises(StoreUnavailableError, match=rf"film open.* {child.pid}\b") as caught:
        store.rebuild("film")
    assert caught.value.hint
    assert {path: path.stat().st_mtime_ns for path in (film / "film").rglob("*") if path.is_file()} == before
    child.kill()
    children.finish(child)
    assert rebuilt(film).revisions == 2


def test_a_store_that_has_the_movie_open_itself_says_so(film: Root) -> None:
    """At once; after closing the movie it goes."""
    with open_store(film) as store:
        with store.movie("film"), pytest.raises(StoreUnavailableError, match="in this store"):
            store.rebuild("film")
        assert store.rebuild("film").revisions == 2
        check_whole(store.movie("film"))


@pytest.mark.processes
def test_who_opens_it_meanwhile_waits_for_the_end(film: Root) -> None:
    """And then sees the new database."""
    children_of: list[Any] = []

    def begin(_progress: object) -> None:
        if not children_of:
            children_of.append(children.start(HOLD, film, 0))

    with open_store(film) as store:
        store.rebuild("film", on_progress=begin)
    ended = children.finish(children_of[0])
    assert (ended.code, ended.out) == (0, "open\n"), ended.err


REBUILD = """
    import sys
    from renku_store import open_store
    with open_store(sys.argv[1]) as store:
        print(store.rebuild("film").revisions)
"""


@pytest.mark.processes
def test_rebuilds_at_once_come_one_after_the_other(film: Root) -> None:
    """Both end well."""
    before = past(film)
    together = [children.start(REBUILD, film) for _ in range(3)]
    ended = [children.finish(child) for child in together]
    assert [(child.code, child.out) for child in ended] == [(0, "2\n")] * 3, ended
    assert past(film)["events"] == before["events"]


FORKED = """
    import os, sys
    from renku_store import StoreUnavailableError, open_store
    from renku_store import bounds
    bounds.OPEN_LOCK_WAIT_SECONDS = 0.05
    store = open_store(sys.argv[1])
    movie = store.movie("film")
    child = os.fork()
    if child == 0:
        store.close()
        sys.exit(0)
    os.waitpid(child, 0)
    with open_store(sys.argv[1]) as other:
        try:
            other.rebuild("film")
        except StoreUnavailableError as error:
            print("refused" if str(os.getpid()) in error.message else error)
    movie.events.append_input("voice", "still open")
"""


@pytest.mark.processes
def test_a_forked_process_that_closes_its_copy_leaves_the_movie_open(film: Root) -> None:
    """The lock is that of the process that opened the movie."""
    ended = children.run(FORKED, film)
    assert (ended.code, ended.out) == (0, "refused\n"), ended.err


@pytest.mark.files
def test_a_database_that_another_program_has_open_is_not_replaced(film: Root) -> None:
    """Its log would be applied to the new one."""
    script = """
        import sqlite3, sys, time
        viewer = sqlite3.connect(sys.argv[1])
        print(viewer.execute("SELECT count(*) FROM runs").fetchall(), flush=True)
        time.sleep(60)
    """
    viewer = children.start(script, film / "film/metadata.db")
    assert viewer.stdout is not None
    assert viewer.stdout.readline() == "[(2,)]\n"
    before = past(film)
    with pytest.raises(StoreUnavailableError, match="another program"):
        rebuilt(film)
    assert past(film) == before
    viewer.kill()
    children.finish(viewer)
    rebuilt(film)
    assert past(film) == before


@pytest.mark.files
def test_where_the_database_was_removed_beneath_a_process_no_second_one_is_made(
    film: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two indexes of one movie would each know half of what happens."""
    monkeypatch.setattr("renku_store.bounds.OPEN_LOCK_WAIT_SECONDS", 0.1)
    with opened(film) as movie:
        without_index(film)
        with open_store(film) as store, pytest.raises(StoreUnavailableError, match=rf"\b{os.getpid()}\b"):
            store.movie("film")
        assert texts(movie)["a.out"] == "second"
    with opened(film) as movie:
        check_whole(movie)


@pytest.mark.files
def test_a_read_only_root_and_a_movie_that_is_not_there_are_refused(film: Root) -> None:
    """By name."""
    with open_store(film) as store, pytest.raises(NotFoundError, match="no movie"):
        store.rebuild("flim")
    script = """
        import sys
        from renku_store import StoreUnavailableError, open_store
        with open_store(sys.argv[1]) as store:
            try:
                store.rebuild("film")
            except StoreUnavailableError as error:
                print("read-only" in error.message)
    """
    ended = children.run(script, film, prefix=children.on_read_only(film.folder))
    assert (ended.code, ended.out) == (0, "True\n"), ended.err


READ = """
    import pickle, sys
    from pathlib import Path
    from tests.test_rebuild import past
    before = pickle.loads(Path(sys.argv[2]).read_bytes())
    for _ in range(2):
        after = past(Path(sys.argv[1]))
        print([question for question in before if after[question] != before[question] and question != "ended"])
"""


@pytest.mark.files
def test_a_read_only_root_without_a_database_answers_all_the_same(story: Root, tmp_path: Path) -> None:
    """From an index in memory, made when something is asked that needs one; revisions are read without it."""
    before = past(story)
    without_index(story)
    files = sorted(story.folder.rglob("*"))
    (tmp_path / "before").write_bytes(pickle.dumps(before))
    ended = children.run(READ, story, tmp_path / "before", prefix=children.on_read_only(story.folder))
    assert (ended.code, ended.out) == (0, "[]\n[]\n"), ended.err
    assert sorted(story.folder.rglob("*")) == files


@pytest.mark.files
def test_a_database_of_a_newer_version_is_left_alone(film: Root) -> None:
    """It may hold what this version cannot keep."""
    with sqlite3.connect(film / "film/metadata.db") as newer:
        newer.execute("PRAGMA user_version = 999")
    newer.close()
    before = (film / "film/metadata.db").read_bytes()
    with pytest.raises(UnsupportedFormatError) as caught:
        rebuilt(film)
    assert "Upgrade" in caught.value.hint
    assert (film / "film/metadata.db").read_bytes() == before


@pytest.mark.files
@pytest.mark.parametrize(("start", "size"), [(0, 64), (60, 1)], ids=["its beginning", "its version"])
def test_a_damaged_head_is_no_newer_version(film: Root, start: int, size: int) -> None:
    """A check says to rebuild, and that helps."""
    path = film / "film/metadata.db"
    data = bytearray(path.read_bytes())
    data[start : start + size] = b"\x9c" * size
    path.write_bytes(data)
    with open_store(film) as store, store.examine("film") as movie:
        repairs = {problem.repair for problem in check_movie(movie).problems}
    assert {repair.partition(" ")[0] for repair in repairs} <= {"renku-store"}
    rebuilt(film)
    with opened(film) as movie:
        assert check_movie(movie).ok


@pytest.mark.files
def test_a_collection_removes_what_a_killed_rebuild_left(film: Root) -> None:
    """After the grace time, as every temporary file."""
    left = [film / "film/tmp" / name for name in ("rebuild.db", "rebuild.db-wal")]
    for path in left:
        path.write_bytes(b"half")
    with opened(film) as movie:
        age(movie)
        assert collect(movie, grace_seconds=3_600).temporary == 2
    assert not any(path.exists() for path in left)


# Epochs


class At:
    """A clock that stands at a time of day."""

    def __init__(self, moment: datetime) -> None:
        self.moment = moment

    def now(self) -> datetime:
        return self.moment

    def monotonic(self) -> float:
        return 0.0


@pytest.mark.parametrize("lost", ["nothing", "removed"])
def test_the_epoch_grows_even_where_the_clock_was_set_back(root: Root, lost: str) -> None:
    """So the token of a lease of before is refused, and none that comes is smaller."""
    check_epochs(root, lost)


@pytest.mark.files
def test_the_epoch_grows_even_where_the_old_database_cannot_tell(root: Root) -> None:
    """It is noted beside the database."""
    check_epochs(root, "garbage")


_RUN = "01890a5d-ac96-774b-bcce-b302099a8057"


def check_epochs(root: Root, lost: str) -> None:
    now = datetime(2026, 5, 1, tzinfo=UTC)
    epochs, tokens = [], []
    with open_store(root, clock=At(now)) as store:
        store.create_movie("film")
    for day in range(4):
        with open_store(root, clock=At(now - timedelta(days=day))) as store:
            if day:
                assert store.rebuild("film").runs == (1 if lost == "nothing" else 0)
            movie = store.movie("film")
            with movie.metadata.read() as reader:
                assert not any(reader.runs.holds(token) for token in tokens)
            epochs.append(movie.metadata.epoch)
            tokens.append(movie.leases.start(_RUN, base_revision=None, edits_through=0))
        if lost == "garbage":
            (root / "film/metadata.db").write_bytes(b"garbage" * 99)
        if lost == "removed":
            without_index(root)
    assert epochs[0] == int(now.timestamp() * 1000)
    assert epochs == sorted(set(epochs))
    order = [(token.epoch, token.counter) for token in tokens]
    assert order == sorted(set(order))


def test_a_database_alone_can_be_opened_as_ever(tmp_path: Path) -> None:
    """Without a movie around it nothing is filled."""
    store = open_sqlite(tmp_path / "metadata.db", epoch=lambda: 7)
    assert store.epoch == 7
    store.close()
    again = open_sqlite(tmp_path / "metadata.db", epoch=lambda: 8)
    assert again.epoch == 7
    again.close()
