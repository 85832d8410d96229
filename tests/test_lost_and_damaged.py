"""What is lost or damaged never brings back what is over: no run is resumed, and no edit taken, a second time."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from renku_store import (
    DamageError,
    InputEvent,
    Movie,
    PublishedRevision,
    RetentionPolicy,
    RevisionExistsError,
    abandon,
    bounds,
    collect,
    movie_status,
    open_store,
    plan_movie,
    prune,
    rollback,
    run_movie,
    set_inputs,
)
from renku_store.archives import archive_path
from renku_store.commit import Committer
from renku_store.compaction import compact
from renku_store.records._base import Json
from renku_store.records.manifest import Manifest
from renku_store.records.run import LeaseToken
from tests.authoring import artefact_event, check_whole, intend, lose_database, next_one, opened, publish
from tests.running.conftest import BLUEPRINT, SEGMENTS, Studio

TEXTS: list[Json] = [{**segment} for segment in SEGMENTS]


def made(movie: Movie, studio: Studio, **voice: str) -> str:
    """Run, with the voice that is set before, to a revision; gives the run."""
    if voice:
        set_inputs(movie, dict(voice))
    report = asyncio.run(run_movie(movie, produce=studio))
    assert report.status == "published"
    return report.run or ""


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def expire_and_compact(movie: Movie) -> None:
    """Let all but the newest of three revisions go, and the rows that nothing needs."""
    prune(movie, RetentionPolicy(keep_last=1))
    old_enough(movie)
    assert collect(movie, trash_seconds=0, force=True).expired == 2
    assert compact(movie).rows > 0


def latest_voice(movie: Movie) -> object:
    return movie.manifests.load("latest").inputs["voice"].value


def pending(movie: Movie) -> list[str]:
    return [event.input for event in movie_status(movie).pending]


# Manifests


def altered(path: Path) -> None:
    flip(path, len(path.read_bytes()) // 2)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("private", [True, False], ids=["private", "movie-wide"])
@pytest.mark.parametrize("damage", [altered, cut, emptied, Path.unlink])
def test_the_run_of_a_revision_that_cannot_be_read_stays_over(
    tmp_path: Path, damage: Callable[[Path], None], private: bool
) -> None:
    """Without database: it is not resumed, its edits are taken, its archive stays; a run that failed can be resumed."""
    studio = Studio()
    with open_store(tmp_path) as store:
        movie = store.create_movie("film")
        set_inputs(movie, {"@blueprint": BLUEPRINT, "segments": TEXTS})
        made(movie, studio)
        if private:
            run = asyncio.run(run_movie(movie, produce=studio, inputs={"voice": "old"})).run or ""
        else:
            run = made(movie, studio, voice="old")
        made(movie, studio, voice="new")
        studio.broken = {"film"}
        failed = asyncio.run(run_movie(movie, produce=studio, inputs={"voice": "newest"})).run
    archive = tmp_path / "film" / archive_path(run)
    before = archive.read_bytes()
    damage(tmp_path / "film/manifests/rev-0002.json")
    lose_database(tmp_path)
    with opened(tmp_path) as again:
        assert [record.run for record in movie_status(again).runs] == [failed]
        assert pending(again) == []
        abandon(again, failed or "")
        assert asyncio.run(run_movie(again, produce=studio)).status == "unchanged"
        assert latest_voice(again) == "new"
    assert archive.read_bytes() == before


def test_an_input_that_names_a_blob_of_something_else_is_told(tmp_path: Path) -> None:
    """Whoever appended it; with a new value all goes on."""
    with open_store(tmp_path) as store:
        movie = store.create_movie("film")
        set_inputs(movie, {"@blueprint": BLUEPRINT, "segments": SEGMENTS})
        blob = movie.blobs.put(b"no JSON" * 1_000).hash
        now = "2026-01-01T00:00:00.000Z"
        event = InputEvent(id=movie.events.new_id(), input="voice", hash=blob, blob=blob, created_at=now)
        movie.events.append_many([event])
        with pytest.raises(DamageError, match=f"{blob} of an input is not JSON") as caught:
            plan_movie(movie)
        assert caught.value.hint
        set_inputs(movie, {"voice": "en"})
        assert plan_movie(movie).dirty


def test_an_archive_that_a_damaged_manifest_names_is_not_replaced(tmp_path: Path) -> None:
    """Whatever the index says of its run."""
    with open_store(tmp_path) as store:
        movie = store.create_movie("film")
        for text in ("one", "two", "three"):
            publish(movie, {"a": text})
        run = movie.manifests.load("rev-0002").run
    cut(tmp_path / "film/manifests/rev-0002.json")
    before = (tmp_path / "film" / archive_path(run)).read_bytes()
    lose_database(tmp_path)
    with opened(tmp_path) as again:
        assert again.events.pending() == []
        with pytest.raises(RevisionExistsError, match="rev-0002"):
            again.archiver.archive(run, 10**9)
    assert (tmp_path / "film" / archive_path(run)).read_bytes() == before


def test_a_run_whose_manifest_was_damaged_before_it_was_booked_is_over(tmp_path: Path) -> None:
    """Its publisher died in between; the index still calls it unfinished."""
    with open_store(tmp_path) as store:
        movie = store.create_movie("film")
        publish(movie, {"a": "one"})
        manifest, _ = next_one(movie, "two")
        movie.leases.release(movie.leases.start(manifest.run, base_revision="rev-0001", edits_through=0))
        movie.driver.create("manifests/rev-0002.json", intend(movie, manifest).manifest)
    cut(tmp_path / "film/manifests/rev-0002.json")
    with opened(tmp_path) as again:
        assert movie_status(again).runs == []
        assert again.events.pending() == []


# Archives


def test_edits_of_a_damaged_archive_are_not_published_again(tmp_path: Path) -> None:
    """Those that can be read were taken as those that cannot."""
    studio = Studio()
    with open_store(tmp_path) as store:
        movie = store.create_movie("film")
        set_inputs(movie, {"@blueprint": BLUEPRINT, "segments": TEXTS})
        made(movie, studio)
        for number in range(200):
            movie.events.append_inputs({"voice": f"old {number} {os.urandom(450).hex()}"})
        run = made(movie, studio, voice="old")
        made(movie, studio, voice="new")
    flip(tmp_path / "film" / archive_path(run), -1)
    lose_database(tmp_path)
    with opened(tmp_path) as again:
        assert len(list(again.events.stream_inputs())) > 50
        assert pending(again) == []
        assert asyncio.run(run_movie(again, produce=studio)).status == "unchanged"
        assert latest_voice(again) == "new"


def test_an_archive_stays_that_alone_says_an_edit_was_taken(tmp_path: Path) -> None:
    """The archive of an abandoned run lists the edit, too: a new index would take it for pending."""
    studio = Studio()
    with open_store(tmp_path) as store:
        movie = store.create_movie("film")
        set_inputs(movie, {"@blueprint": BLUEPRINT, "segments": TEXTS})
        made(movie, studio)
        set_inputs(movie, {"voice": "old"})
        studio.broken = {"film"}
        given_up = asyncio.run(run_movie(movie, produce=studio)).run or ""
        abandon(movie, given_up)
        studio.broken = set()
        run = made(movie, studio)
        made(movie, studio, voice="new and longer")
        expire_and_compact(movie)
        with movie.metadata.write():  # nothing of the expired run can be reused, but something of the other
            movie.metadata.connection.execute("DELETE FROM traces WHERE run = ?", (run,))  # type: ignore[attr-defined]
        collect(movie, keep_runs_seconds=0)
        assert {run, given_up} <= set(movie.archives.runs())
    lose_database(tmp_path)
    with opened(tmp_path) as again:
        assert pending(again) == []
        assert latest_voice(again) == "new and longer"


def test_an_archive_goes_when_no_other_lists_its_edits(tmp_path: Path) -> None:
    """What is kept for the sake of another is not kept for ever."""
    studio = Studio()
    with open_store(tmp_path) as store:
        movie = store.create_movie("film")
        set_inputs(movie, {"@blueprint": BLUEPRINT, "segments": TEXTS})
        made(movie, studio)
        run = made(movie, studio, voice="old")
        made(movie, studio, voice="new and longer")
        expire_and_compact(movie)
        with movie.metadata.write():
            movie.metadata.connection.execute("DELETE FROM traces WHERE run = ?", (run,))  # type: ignore[attr-defined]
        collect(movie, keep_runs_seconds=0)
        assert run not in movie.archives.runs()


def test_the_archive_of_a_late_result_stays_while_it_can_be_reused(tmp_path: Path) -> None:
    """It is that of a run of its own; what it tells of is the result of another run."""
    with open_store(tmp_path) as store:
        movie = store.create_movie("film")
        publish(movie, {"a": "one"})
        run = movie.events.new_id()
        movie.leases.release(movie.leases.start(run, base_revision=None, edits_through=0))
        abandon(movie, run)
        late = artefact_event(movie, "b.out", "late", run=run).replace(status="kept")
        movie.events.append_many([late])
        kept = movie.archiver.keep_late([late])
        old_enough(movie)
        collect(movie, keep_runs_seconds=0)
        assert kept in movie.archives.runs()
        assert movie.events.find_trace(late.signature or "") is not None
    lose_database(tmp_path)
    with opened(tmp_path) as again:
        assert again.events.find_trace(late.signature or "") is not None


def test_a_late_result_whose_process_died_before_it_was_archived_is_archived_by_a_collection(tmp_path: Path) -> None:
    """Once, and not before a living process has had the time to; then it is found again without the database."""
    with open_store(tmp_path) as store:
        movie = store.create_movie("film")
        publish(movie, {"a": "one"})
        run = movie.events.new_id()
        movie.leases.release(movie.leases.start(run, base_revision=None, edits_through=0))
        abandon(movie, run)
        recent = artefact_event(movie, "c.out", "recent", run=run).replace(status="kept")
        old = artefact_event(movie, "b.out", "late", run=run)
        old = old.replace(status="kept", created_at="2026-01-01T00:00:00.000Z")
        movie.events.append_many([old, recent])
        before = movie.archives.runs()
        for _ in range(2):
            collect(movie)
            [late] = set(movie.archives.runs()) - set(before)
            assert [event.id for event in movie.archives.read(late) if event.type == "artefact"] == [old.id]
    lose_database(tmp_path)
    with opened(tmp_path) as again:
        assert again.events.find_trace(old.signature or "") is not None
        assert again.events.find_trace(recent.signature or "") is None


# Rollbacks


@pytest.mark.parametrize("recent", [True, False], ids=["recent", "held up for long"])
def test_a_collection_in_the_middle_of_a_rollback_leaves_it_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recent: bool
) -> None:
    """Between archive and intent it is an abandoned run; one that was retired all the same is begun anew."""
    studio, publish_now, retired = Studio(), Committer.publish, list[int]()
    with open_store(tmp_path) as store:
        movie = store.create_movie("film")
        set_inputs(movie, {"@blueprint": BLUEPRINT, "segments": TEXTS})
        made(movie, studio)
        made(movie, studio, **{"@blueprint": BLUEPRINT + "\n# a comment\n"})

        def late(self: Committer, manifest: Manifest, *, token: LeaseToken | None = None) -> PublishedRevision:
            if not retired:
                old_enough(movie)
                retired.append(collect(movie, keep_runs_seconds=0).runs)
            return publish_now(self, manifest, token=token)

        monkeypatch.setattr(Committer, "publish", late)
        if not recent:
            monkeypatch.setattr(bounds, "ROLLBACK_KEEP_MIN_SECONDS", 0.0)
        published = rollback(movie, "rev-0001")
        assert retired == [0 if recent else 1]
        assert published is not None
        assert published.revision == "rev-0003"
        collect(movie)
        check_whole(movie)


def old_enough(movie: Movie) -> None:
    """Wait until runs ended, and marks were written, before now by all clocks; that of files may tick in 10 ms."""
    with movie.metadata.read() as reader:
        began = reader.now_ms()
    while True:
        with movie.metadata.read() as reader:
            if reader.now_ms() > began + 50:
                return
