"""Compaction: rows leave, and nobody who asks the log can tell. Invariants 4 and 11."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from renku_store import (
    ArtefactEvent,
    BlobCorruptError,
    BlobMissingError,
    CompactionProgress,
    InputEvent,
    Movie,
    NotFoundError,
    RunEvent,
    RunReport,
    StoreUnavailableError,
    abandon,
    compact,
    open_store,
    rollback,
    run_movie,
    set_inputs,
)
from renku_store.archives import archive_path
from renku_store.durability import listening
from renku_store.encoding import encode_stub
from renku_store.metadata.sqlite.compacting import UpkeepTables
from renku_store.records._base import Json
from tests.authoring import LONG, artefact_event, check_whole, lose_database, opened, publish, texts
from tests.running.conftest import BLUEPRINT, Studio

Event = InputEvent | ArtefactEvent | RunEvent
SEGMENTS: list[Json] = [{"text": text, "title": text.upper()} for text in ("one", "two", "three")]


@pytest.fixture
def movie(tmp_path: Path) -> Iterator[Movie]:
    """A movie with a blueprint, three revisions, an abandoned run, and an edit that no run has taken."""
    with open_store(tmp_path / "root") as store:
        movie = store.create_movie("film")
        set_inputs(movie, {"@blueprint": BLUEPRINT, "segments": SEGMENTS})
        run(movie, Studio())
        set_inputs(movie, {"voice": "de"})
        set_inputs(movie, {"voice": "fr"})
        run(movie, Studio())
        broken = Studio()
        broken.broken = {"say[1]"}
        set_inputs(movie, {"voice": "it"})
        failed = run(movie, broken)
        assert failed.run is not None
        abandon(movie, failed.run)
        run(movie, Studio(), inputs={"voice": "es"})
        yield movie


def run(movie: Movie, studio: Studio, **options: Any) -> RunReport:
    return asyncio.run(run_movie(movie, produce=studio, **options))


def rows(movie: Movie) -> int:
    """How many rows the three tables of events hold."""
    with movie.metadata.read():
        counts = movie.metadata.connection.execute(  # type: ignore[attr-defined]
            "SELECT (SELECT count(*) FROM input_events) + (SELECT count(*) FROM artefact_events)"
            " + (SELECT count(*) FROM run_events)"
        )
        return int(counts.get)


def plain(events: Iterator[Any]) -> list[Event]:
    """Events without their numbers, which those from archives do not have."""
    return [event.replace(seq=None) for event in events]


def log(movie: Movie) -> list[Event]:
    return plain(movie.events.stream())


def answers(movie: Movie) -> dict[str, Any]:
    """Everything that can be asked of a log, and what it answers."""
    told = sorted(log(movie), key=lambda event: event.id)
    inputs = sorted({event.input for event in told if isinstance(event, InputEvent)})
    artefacts = sorted({event.artefact for event in told if isinstance(event, ArtefactEvent)})
    jobs = sorted({event.job for event in told if isinstance(event, ArtefactEvent) and event.job})
    runs = sorted({event.run for event in told if event.run})
    signatures = sorted({event.signature for event in told if isinstance(event, ArtefactEvent) and event.signature})
    revisions = [manifest.revision for manifest, _ in movie.manifests.revisions()]
    stream = movie.events
    return {
        "all": told,
        "inputs": plain(stream.stream_inputs()),
        "artefacts": plain(stream.stream_artefacts()),
        "of runs": {run: plain(stream.stream(run=run)) for run in runs},
        "about": {about: plain(stream.stream(about=about)) for about in [*inputs, *artefacts, *jobs, *runs]},
        "latest inputs": {key: stream.latest_input(key) for key in inputs},
        "latest artefacts": {key: stream.latest_artefact(key) for key in artefacts},
        "inputs of revisions": {(r, key): stream.latest_input(key, r) for r in revisions for key in inputs},
        "artefacts of revisions": {(r, key): stream.latest_artefact(key, r) for r in revisions for key in artefacts},
        "traces": {signature: stream.find_trace(signature) for signature in signatures},
        "failed": stream.failed(signatures),
        "pending": stream.pending(),
    }


def in_order_of_ids(told: dict[str, Any]) -> dict[str, Any]:
    """Answers as they are after a compaction, in whatever order a database that was made anew had numbered them."""

    def ordered(events: list[Event]) -> list[Event]:
        return sorted(events, key=lambda event: event.id)

    lists = {part: ordered(told[part]) for part in ("inputs", "artefacts")}
    by_id = {part: {key: ordered(found) for key, found in told[part].items()} for part in ("of runs", "about")}
    return {**told, **lists, **by_id}


def expire(movie: Movie, number: int) -> None:
    """Put the stub in the place of a manifest, as collection does when a week in the trash is over."""
    manifest, digest = movie.manifests.load_with_hash(f"rev-{number:04d}")
    movie.driver.replace(f"manifests/rev-{number:04d}.json", encode_stub(manifest, digest))
    with movie.metadata.write() as writer:
        writer.revisions.expire(number)


def since(movie: Movie) -> dict[str, Any]:
    """What was appended after each revision."""
    revisions = [manifest.revision for manifest, _ in movie.manifests.revisions()]
    return {
        revision: (plain(movie.events.stream_inputs(revision)), plain(movie.events.stream_artefacts(revision)))
        for revision in revisions
    }


def test_the_log_and_every_look_up_say_the_same_with_fewer_rows(movie: Movie) -> None:
    """In the same order, too; a second time there is nothing to do."""
    before, ordered, later, count = answers(movie), log(movie), since(movie), rows(movie)
    report = compact(movie)
    assert report.problems == []
    assert (report.runs, report.rows) == (4, count - rows(movie))
    assert report.rows > count / 3
    assert report.kept_rows > 0
    assert answers(movie) == before
    assert log(movie) == ordered
    assert since(movie) == later
    again = compact(movie)
    assert (again.runs, again.rows) == (0, 0)
    assert log(movie) == ordered


def test_pending_edits_and_unfinished_runs_keep_all_their_rows(movie: Movie) -> None:
    """What a run that may be resumed appended, and what no run has taken, cannot be in an archive that counts."""
    broken = Studio()
    broken.broken = {"say[1]"}
    set_inputs(movie, {"voice": "pt"})
    unfinished = run(movie, broken).run
    set_inputs(movie, {"segments": SEGMENTS[:2]})
    numbered = [*movie.events.stream(run=unfinished)]
    pending = movie.events.pending()
    assert compact(movie).rows > 0
    assert [*movie.events.stream(run=unfinished)] == numbered
    assert movie.events.pending() == pending
    assert run(movie, Studio()).status == "published"
    check_whole(movie)


def test_the_movie_goes_on_as_before(movie: Movie) -> None:
    """Runs, reuse, rollback and another compaction work on a compacted log; results are not made again."""
    compact(movie)
    studio = Studio()
    set_inputs(movie, {"voice": "de"})
    assert run(movie, studio).status == "published"
    set_inputs(movie, {"voice": "fr"})
    again = Studio()
    assert run(movie, again).made == 0
    assert not again.calls
    assert rollback(movie, "rev-0001") is not None
    ordered = log(movie)
    compact(movie)
    assert log(movie) == ordered
    check_whole(movie)


def test_superseded_edits_leave_with_the_run_that_took_them(movie: Movie) -> None:
    """Also when that run was compacted before, while they were still the latest."""
    compact(movie)
    taken = next(e for e in movie.events.stream_inputs() if isinstance(e.value, list))
    assert taken.seq is not None
    publish(movie, {}, {"segments": SEGMENTS[:1]})
    ordered = log(movie)
    for number in (1, 2, 3):
        expire(movie, number)
    compact(movie)
    [same] = [event for event in movie.events.stream_inputs() if event.id == taken.id]
    assert same.seq is None
    assert log(movie) == ordered


def test_an_expired_revision_lets_go_of_its_rows(movie: Movie) -> None:
    """What kept revisions show stays a look-up away; of an expired one nothing can be told any more."""
    compact(movie)
    before = rows(movie)
    kept = {key: movie.events.latest_artefact(key, "rev-0003") for key in movie.manifests.load("rev-0003").artefacts}
    expire(movie, 2)
    report = compact(movie)
    assert report.rows > 0
    assert rows(movie) == before - report.rows
    assert {key: movie.events.latest_artefact(key, "rev-0003") for key in kept} == kept
    with pytest.raises(NotFoundError, match="expired"):
        movie.events.latest_artefact("film.video", "rev-0002")
    first = movie.events.latest_artefact("film.video", "rev-0001")
    assert first is not None
    assert first.value is not None
    assert first.value.hash == movie.manifests.load("rev-0001").artefacts["film.video"].hash


def test_a_value_that_a_kept_revision_still_shows_stays(tmp_path: Path) -> None:
    """It came with a revision that has expired, and only the one after the kept one has another."""
    with open_store(tmp_path / "root") as store:
        movie = store.create_movie("film")
        for artefacts in ({"a": "one", "b": "one"}, {"b": "two"}, {"a": "three"}, {"a": "four"}):
            publish(movie, artefacts, {"named": artefacts.get("a", "two")})
        expire(movie, 1)
        expire(movie, 3)
        shown = {key: movie.events.latest_artefact(key, "rev-0002") for key in "ab"}
        ordered = log(movie)
        assert compact(movie).rows == 4
        assert {key: movie.events.latest_artefact(key, "rev-0002") for key in "ab"} == shown
        assert all(event is not None and event.seq is not None for event in shown.values())
        assert log(movie) == ordered


def test_a_compaction_that_fails_on_its_way_says_what_has_left(movie: Movie, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each run's rows leave in a transaction of their own; the log is complete, and the next one goes on."""
    before, expected = log(movie), compact(movie, dry_run=True)
    drop, done = UpkeepTables.drop, list[int]()

    def failing(self: UpkeepTables, *arguments: Any, **options: Any) -> int:
        left = drop(self, *arguments, **options)
        if done:
            raise StoreUnavailableError("The disk is full.", hint="Make room.", reason="full")
        done.append(left)
        return left

    with monkeypatch.context() as patch:
        patch.setattr(UpkeepTables, "drop", failing)
        with pytest.raises(StoreUnavailableError, match="rows of 1 run had left") as told:
            compact(movie)
    assert f"Before that {done[0]} rows" in told.value.message
    assert (told.value.hint, told.value.reason) == ("Make room.", "full")
    assert log(movie) == before
    rest = compact(movie)
    assert (rest.runs, rest.rows) == (expected.runs - 1, expected.rows - done[0])


def test_a_dry_run_says_the_same_and_writes_nothing(movie: Movie) -> None:
    """Runs, rows and those that stay, as the real one counts them."""
    count = rows(movie)
    looked = compact(movie, dry_run=True)
    assert rows(movie) == count
    assert looked.bytes_after == looked.bytes_before
    done = compact(movie)
    assert (looked.runs, looked.rows, looked.kept_rows) == (done.runs, done.rows, done.kept_rows)


def test_a_damaged_archive_keeps_its_rows_and_the_others_go_on(movie: Movie) -> None:
    """It is reported with its revision; the log needs it for nothing."""
    ordered = log(movie)
    manifest = movie.manifests.load("rev-0002")
    path = Path(movie.root, movie.id, archive_path(manifest.run))
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    report = compact(movie)
    [problem] = report.problems
    assert (problem.run, problem.revision) == (manifest.run, "rev-0002")
    assert problem.archive == archive_path(manifest.run)
    assert report.runs == 3
    assert log(movie) == ordered
    path.unlink()
    [gone] = compact(movie).problems
    assert "not there" in gone.message
    path.write_bytes(whole)
    assert compact(movie).problems == []
    assert log(movie) == ordered


def test_rows_that_say_other_things_than_the_archive_stay(movie: Movie, tmp_path: Path) -> None:
    """The archive of a run without a revision is held by no manifest's hash: it is compared event by event."""
    [given_up] = [record for record in _records(movie) if record.status == "abandoned"]
    events = [*movie.archives.read(given_up.run)]
    altered = next(event for event in events if isinstance(event, ArtefactEvent) and event.status == "failed")
    movie.archives.write(given_up.run, [e if e is not altered else e.replace(attempts=7) for e in events])
    ordered = log(movie)
    report = compact(movie)
    assert [problem.run for problem in report.problems] == [given_up.run]
    assert altered.id in report.problems[0].message
    numbered = {event.id: event.seq for event in movie.events.stream(run=given_up.run)}
    assert numbered[altered.id] is not None
    assert log(movie) == ordered


def test_a_damaged_archive_of_a_compacted_run_is_an_error_not_a_gap(movie: Movie) -> None:
    """Whoever reads the log is told which; a log that ends early without a word would be a lie."""
    compact(movie)
    path = Path(movie.root, movie.id, archive_path(movie.manifests.load("rev-0002").run))
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + b"x")
    with pytest.raises(BlobCorruptError, match=path.name):
        log(movie)
    path.unlink()
    with pytest.raises(BlobMissingError):
        log(movie)
    path.write_bytes(whole)
    assert len(log(movie)) > 0


def test_late_results_stay_rows(movie: Movie) -> None:
    """What a holder stored after its run had been archived is in no archive of it."""
    run_id = movie.manifests.load("rev-0002").run
    late = artefact_event(movie, "say[0].audio", "late " + LONG, run=run_id).replace(status="kept")
    movie.events.append_many([late])
    ordered = log(movie)
    compact(movie)
    [row] = [event for event in movie.events.stream(run=run_id) if event.id == late.id]
    assert row.seq is not None
    assert log(movie) == ordered
    assert late.signature is not None
    assert movie.events.find_trace(late.signature) is not None


def test_a_revision_published_once_more_appends_nothing(movie: Movie) -> None:
    """A caller that lost the reply may save the same manifest again: edits that it took do not come back."""
    set_inputs(movie, {"voice": "la"})
    run(movie, Studio())
    set_inputs(movie, {"voice": "eo"})
    run(movie, Studio())
    manifest = movie.manifests.load("latest")
    compact(movie)
    count, ordered = rows(movie), log(movie)
    assert movie.manifests.save_manifest(manifest, previous_hash=manifest.base_hash).revision == manifest.revision
    assert rows(movie) == count
    assert log(movie) == ordered
    assert movie.events.pending() == []


def test_a_follower_sees_what_comes_after_a_compaction_once(movie: Movie) -> None:
    """Numbers go on where they were, and a page from beyond one holds rows only."""
    seen = max(event.seq or 0 for event in movie.events.stream())
    compact(movie)
    assert max(event.seq or 0 for event in movie.events.stream()) <= seen
    set_inputs(movie, {"voice": "la"})
    [new] = movie.events.stream(after=seen)
    assert isinstance(new, InputEvent)
    assert new.seq is not None
    assert new.seq > seen
    assert log(movie)[-1] == new.replace(seq=None)


def test_who_reads_while_rows_leave_misses_nothing(movie: Movie, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whenever a compaction comes between two pages, each event comes once."""
    monkeypatch.setattr("renku_store.bounds.EVENT_PAGE_ROWS", 3)
    movie.close()
    root = Path(movie.root)
    with opened(root) as whole:
        expected = sorted(event.id for event in whole.events.stream())
    for place in range(0, len(expected), 7):
        copy = root.parent / f"copy-{place}"
        shutil.copytree(root, copy)
        with opened(copy) as reading, opened(copy) as compacting:
            found = []
            for number, event in enumerate(reading.events.stream()):
                if number == place:
                    assert compact(compacting).rows > 0
                found.append(event.id)
            assert sorted(found) == expected
        with opened(copy) as reading, opened(copy) as compacting:
            for voice in ("la", "eo"):
                run(reading, Studio(), inputs={"voice": voice})
            expected_now = [event.id for event in reading.events.stream()]
            found = []
            for number, event in enumerate(reading.events.stream()):
                if number == place:
                    assert compact(compacting).rows > 0
                found.append(event.id)
            assert found == expected_now
        shutil.rmtree(copy)


def test_what_was_compacted_comes_back_when_the_database_is_lost(movie: Movie, tmp_path: Path) -> None:
    """From the archives, as ever; and it can be compacted again."""
    ordered = log(movie)
    archived = [event for event in ordered if not (isinstance(event, RunEvent) and event.kind == "published")]
    compact(movie)
    movie.close()
    lose_database(tmp_path / "root")
    with opened(tmp_path / "root") as again:
        restored = sorted(log(again), key=lambda event: event.id)
        assert [e for e in restored if not (isinstance(e, RunEvent) and e.kind == "published")] == archived
        before = answers(again)
        assert compact(again).rows > 0
        assert answers(again) == before | {
            key: answers(again)[key] for key in ("inputs", "artefacts", "of runs", "about")
        }
        assert log(again) == restored
        check_whole(again)


@pytest.mark.ramdisk
def test_killed_anywhere_the_log_is_complete(movie: Movie, tmp_path: Path) -> None:
    """A transaction of it happened or did not; the next compaction ends the work."""

    class Killed(BaseException):
        pass

    ordered = log(movie)
    movie.close()
    count = 0
    for count in range(1, 100):
        copy = tmp_path / f"copy-{count}"
        shutil.copytree(tmp_path / "root", copy)
        left = count

        def kill(moment: str, step: str) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                raise Killed

        with opened(copy) as film:
            try:
                with listening(kill):
                    compact(film)
            except Killed:
                pass
            else:
                break
        with opened(copy) as film:
            assert log(film) == ordered
            compact(film)
            assert log(film) == ordered
            assert compact(film).rows == 0
            check_whole(film)
        shutil.rmtree(copy)
    assert count > 8


def test_space_is_given_back(tmp_path: Path) -> None:
    """Where most of the database is free afterwards it is rewritten; the log is cut."""
    with open_store(tmp_path / "root") as store:
        movie = store.create_movie("film")
        for number in range(30):
            publish(movie, {f"a[{n}]": f"{number} {n} {'x' * 500}" for n in range(40)})
        ordered = log(movie)
        report = compact(movie)
        assert report.bytes_before - report.bytes_after > report.bytes_before / 4
        assert report.bytes_after == movie.metadata.disk_bytes()
        assert log(movie) == ordered
        assert texts(movie)["a[3]"].startswith("29 3 ")
        check_whole(movie)


def test_others_write_meanwhile(movie: Movie, tmp_path: Path) -> None:
    """A writer in another thread never fails and loses nothing; two compactions at once are no harm."""
    failures: list[BaseException] = []

    def work() -> None:
        try:
            with opened(tmp_path / "root") as other:
                for number in range(20):
                    publish(other, {"x": f"{number}"})
                    compact(other)
        except BaseException as error:  # noqa: BLE001 (reported below)
            failures.append(error)

    writer = threading.Thread(target=work)
    writer.start()
    while writer.is_alive():
        compact(movie)
    writer.join()
    assert failures == []
    told = [e for e in movie.events.stream_artefacts() if e.artefact == "x"]
    assert [e.value.inline for e in told if e.value] == [f"{number}" for number in range(20)]
    check_whole(movie)


def test_progress_names_every_ended_run(movie: Movie) -> None:
    """Once each, up to the total."""
    heard: list[CompactionProgress] = []
    compact(movie, on_progress=heard.append)
    assert [(entry.done, entry.total) for entry in heard] == [(n, 4) for n in range(1, 5)]
    assert len({entry.run for entry in heard}) == 4


def test_a_read_only_movie_is_looked_at_only(movie: Movie, tmp_path: Path) -> None:
    """A dry run works; compaction refuses."""
    movie.close()
    with opened(tmp_path / "root") as reading:
        reading.metadata.read_only = True  # type: ignore[attr-defined]
        assert compact(reading, dry_run=True).rows > 0
        with pytest.raises(StoreUnavailableError):
            compact(reading)


def _records(movie: Movie) -> list[Any]:
    with movie.metadata.read() as reader:
        return reader.runs.list()


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), st.sampled_from(["p", "q"]), st.integers(0, 3)),
        st.tuples(st.just("make"), st.sampled_from(["a", "b.out"]), st.integers(0, 3)),
        st.tuples(st.just("private"), st.sampled_from(["p", "q"]), st.integers(0, 3)),
        st.tuples(st.just("fail"), st.sampled_from(["a", "b.out"]), st.integers(0, 3)),
        st.tuples(st.just("resume"), st.just(""), st.just(0)),
        st.tuples(st.just("expire"), st.just(""), st.integers(1, 6)),
        st.tuples(st.just("publish"), st.just(""), st.just(0)),
        st.tuples(st.just("abandon"), st.just(""), st.just(0)),
        st.tuples(st.just("rollback"), st.just(""), st.integers(1, 4)),
        st.tuples(st.just("compact"), st.just(""), st.just(0)),
    ),
    max_size=30,
)


class Author:
    """Carries random steps out, by hand, in runs of its own."""

    def __init__(self, movie: Movie) -> None:
        self.movie = movie
        self.run: str | None = None

    def begin(self) -> str:
        if self.run is None:
            self.run = self.movie.events.new_id()
            token = self.movie.leases.start(self.run, base_revision=None, edits_through=self.last())
            self.movie.leases.release(token)
        return self.run

    def last(self) -> int:
        with self.movie.metadata.read() as reader:
            return max(reader.events.last_seq())

    def newest(self) -> int:
        current = self.movie.manifests.current()
        return int(current[0].revision.removeprefix("rev-")) if current else 0

    def do(self, what: str, name: str, number: int) -> None:
        events = self.movie.events
        match what:
            case "set":
                events.append_input(name, number)
            case "private":
                events.append_input(name, number, run=self.begin())
            case "make":
                events.append_artefact(artefact_event(self.movie, name, f"{number}", run=self.begin()))
            case "fail":
                made = artefact_event(self.movie, name, f"{number}", run=self.begin())
                events.append_artefact(made.replace(status="failed", value=None, result=None))
            case "publish":
                self.publish()
            case "abandon":
                if self.run is not None:
                    abandon(self.movie, self.run)
                    self.run = None
            case "resume":
                # It takes edits that are later than its own first events, and archives them before those.
                token = self.movie.leases.take_over(self.begin(), edits_through=self.last())
                self.movie.leases.release(token)
            case "rollback":
                with suppress(NotFoundError):
                    rollback(self.movie, f"{number}")
            case "expire":
                if number < self.newest():
                    with suppress(NotFoundError):
                        expire(self.movie, number)
            case _:
                compact(self.movie)

    def publish(self) -> None:
        run = self.begin()
        current = self.movie.manifests.current()
        manifest = self.movie.manifests.build_from_events(f"rev-{self.newest() + 1:04d}", run=run)
        self.movie.manifests.save_manifest(manifest, previous_hash=current[1] if current else None)
        self.run = None


def test_an_archive_that_is_not_in_the_order_of_time_is_read_in_it(tmp_path: Path) -> None:
    """A run that is resumed takes edits that are later than its own first events, and archives them before those."""
    with open_store(tmp_path / "root") as store:
        author = Author(store.create_movie("film"))
        steps = [("fail", "a", 1), ("private", "p", 1), ("set", "q", 1), ("set", "q", 2), ("resume", "", 0)]
        for step in [*steps, ("make", "a", 1), ("private", "p", 2), ("publish", "", 0), ("set", "q", 3)]:
            author.do(*step)
        ordered = log(author.movie)
        archived = [event.id for event in author.movie.archives.read(author.movie.manifests.load("latest").run)]
        assert archived != sorted(archived)
        assert compact(author.movie).rows == 3
        assert log(author.movie) == ordered


@settings(max_examples=40)
@given(steps=STEPS)
def test_any_history_reads_the_same_after_compaction(
    tmp_path_factory: pytest.TempPathFactory, steps: list[Any]
) -> None:
    """Streams in the same order, look-ups and results; also compacted in between, and after the database is lost."""
    root = tmp_path_factory.mktemp("history")
    with open_store(root) as store:
        author = Author(store.create_movie("film"))
        for step in steps:
            author.do(*step)
        movie = author.movie
        before, ordered, later = answers(movie), log(movie), since(movie)
        assert ordered == before["all"]
        report = compact(movie)
        assert report.problems == []
        assert answers(movie) == before
        assert log(movie) == ordered
        assert since(movie) == later
        movie.close()
    lose_database(root)
    with opened(root) as movie:
        restored = in_order_of_ids(answers(movie))
        assert compact(movie).problems == []
        assert in_order_of_ids(answers(movie)) == restored
        if not any(step[0] == "expire" for step in steps):
            check_whole(movie)
    shutil.rmtree(root)
