"""A check beside processes that publish, collect, expire, undo, compact and die gives no false alarm."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from renku_store import CheckProgress, CheckReport, Movie, RetentionPolicy, check_movie, open_store, prune
from renku_store.fsck.derived import Spans
from renku_store.fsck.examination import Examination
from renku_store.indexing import Indexer
from renku_store.metadata.base import Intent
from tests import children
from tests.authoring import LONG, opened, publish
from tests.fsck.conftest import Film
from tests.test_gc import set_state

SECONDS = 5

COMMON = """
    import contextlib, itertools, random, sys, time
    from renku_store import StoreError, collect, open_store, restore_expired, tag_revision
    from renku_store.compaction import compact
    from renku_cli.main import run
    from tests.authoring import LONG, publish
    root, seconds = sys.argv[1], float(sys.argv[2])
    chance = random.Random(sys.argv[3])
    until = time.monotonic() + seconds
    count = 0
"""
RUNNING = (
    COMMON
    + """
    while time.monotonic() < until:
        run(["--root", root, "set", "lines[0]", f"line {chance.random()}"])
        run(["--root", root, "run"])
        count += 1
    print("did", count)
"""
)
PUBLISHING = (
    COMMON
    + """
    with open_store(root) as store:
        movie = store.movie("film")
        while time.monotonic() < until:
            with contextlib.suppress(StoreError):
                publish(movie, {f"extra{chance.randrange(5)}": f"{chance.randrange(9)} {LONG}"})
                count += 1
    print("did", count)
"""
)
COLLECTING = (
    COMMON
    + """
    with open_store(root) as store:
        movie = store.movie("film")
        while time.monotonic() < until:
            movie.blobs.put_many([f"waste {chance.random()} {LONG}".encode() for _ in range(20)])
            with contextlib.suppress(StoreError):
                collect(movie, grace_seconds=0.0, trash_seconds=0.2, keep_runs_seconds=1.0, force=True)
                compact(movie)
                count += 1
    print("did", count)
"""
)
EXPIRING = (
    COMMON
    + """
    with open_store(root) as store:
        movie = store.movie("film")
        while time.monotonic() < until:
            with contextlib.suppress(StoreError):
                newest = movie.manifests.load_current()[0].revision
                old = f"rev-{chance.randrange(1, max(2, int(newest[4:])) ):04d}"
                match chance.randrange(4):
                    case 0 | 1:
                        run(["--root", root, "prune", "--expire", old])
                    case 2:
                        restore_expired(movie, [])
                    case 3:
                        tag_revision(movie, newest, "kept", move=True)
                count += 1
    print("did", count)
"""
)


def checks(film: Film, until: float) -> list[CheckReport]:
    found = []
    while time.monotonic() < until:
        found.append(film.check())
    return found


def soak(film: Film, seconds: float, scripts: list[str]) -> list[CheckReport]:
    """Check a film again and again while each of the scripts works on it."""
    until = time.monotonic() + seconds
    working = [children.start(script, film.root, seconds, number) for number, script in enumerate(scripts)]
    try:
        reports = checks(film, until)
    finally:
        ended = [children.finish(child) for child in working]
    assert [child for child in ended if child.code != 0] == []
    assert [child.out[-500:] for child in ended if not re.search(r"did [1-9]\d*\n$", child.out)] == []
    return reports


def test_no_false_alarm_beside_writers_collectors_and_expiry(film: Film) -> None:
    """Whatever is half done when the check looks is none of its problems."""
    reports = soak(film, SECONDS, [RUNNING, PUBLISHING, COLLECTING, EXPIRING])
    assert reports
    assert [report.problems for report in reports] == [[]] * len(reports)
    assert film.check().ok


@pytest.mark.long
def test_no_false_alarm_in_a_minute(film: Film) -> None:
    """The same for longer, with two of each."""
    reports = soak(film, 60, [RUNNING, PUBLISHING, COLLECTING, EXPIRING, RUNNING, COLLECTING])
    assert [report.problems for report in reports] == [[]] * len(reports)


@pytest.mark.parametrize("script", [RUNNING, PUBLISHING, COLLECTING, EXPIRING], ids=["run", "put", "gc", "prune"])
def test_who_is_killed_leaves_nothing_that_counts_as_a_problem(film: Film, script: str) -> None:
    """At any moment: what it left is finished by whoever comes next, or stays reusable (invariant 11)."""
    with film.open() as movie:
        publish(movie, {"more": LONG})
    for pause in (0.7, 0.9, 1.1):
        child = children.start(script, film.root, 30, pause)
        time.sleep(pause)
        child.send_signal(signal.SIGKILL)
        _reap(child)
        report = film.check()
        assert report.ok, report


def _reap(child: subprocess.Popen[str]) -> None:
    with child:
        child.communicate(timeout=600)


def test_a_revision_that_is_booked_while_the_check_goes_on_is_no_problem(
    film: Film, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its manifest was there when the check began, its rows came after the counts of all rows."""
    with film.open() as movie, monkeypatch.context() as patch:
        patch.setattr(Indexer, "book", lambda *_: None)
        publish(movie, {"more": LONG})
    count = Spans.__init__

    def then_booked(spans: Spans, exam: Examination) -> None:
        count(spans, exam)
        with opened(film.root):  # whoever opens a movie books what is published
            pass

    monkeypatch.setattr(Spans, "__init__", then_booked)
    report = film.check()
    assert report.problems == []
    monkeypatch.undo()
    assert film.check().ok


def test_a_deletion_under_way_is_no_leftover(film: Film) -> None:
    """As long as its collector holds the lock; without one it is a note, as the next one finishes it."""
    with opened(film.root) as movie:
        blob = movie.blobs.put(b"waste")
        set_state(movie, blob.hash, "deleting")
        with movie.driver.lock("collect", wait_seconds=0):
            assert film.check().notes == []
        [note] = film.check().notes
        assert "half deleted, while nobody collects: 1." in note
        assert film.check().ok
    assert any("begun: 1 taken back" in done for done in film.call("fsck", "--repair", "--json").json["repaired"])
    assert film.check().notes == []
    with opened(film.root) as movie:
        assert movie.blobs.read(blob) == b"waste", "whether it is needed is for a collection to decide"


def test_an_intent_of_a_living_process_is_no_leftover(film: Film) -> None:
    """It may be about to hear that it lost; one of a dead process is dropped by whoever opens the movie."""
    with opened(film.root) as movie:
        token = movie.leases.start(movie.events.new_id(), base_revision=None, edits_through=0)
        _intend(movie, token.run)
        assert film.check().notes == []
        movie.leases.release(token)
        [note] = film.check().notes
        assert token.run in note
    with opened(film.root):
        assert film.check().notes == []


def _intend(movie: Movie, run: str) -> None:
    data = movie.driver.read("manifests/rev-0001.json")
    with movie.metadata.write() as writer:
        writer.revisions.put_intent(Intent(run, 3, "0" * 64, data))


def test_a_blob_that_is_put_again_meanwhile_is_no_problem(tmp_path: Path) -> None:
    """What looks wrong is looked at again before it counts."""
    with open_store(tmp_path / "root") as store:
        movie = store.create_movie("film")
        publish(movie, {"a": LONG})
        digest = movie.manifests.load("latest").artefacts["a"].hash
        set_state(movie, digest, "condemned")
        assert [problem.invariant for problem in check_movie(movie).problems] == [9]
        folders = []

        def put_again(progress: CheckProgress) -> None:
            folders.extend(["blobs"] if progress.step == "blobs" else [])
            if len(folders) == 256:
                movie.blobs.put(LONG.encode())

        assert check_movie(movie, on_progress=put_again).ok
        assert len(folders) == 256


def test_a_revision_that_expires_while_its_users_are_looked_for_is_no_problem(film: Film) -> None:
    """The last look says whether a blob is needed still."""
    with opened(film.root) as movie:
        publish(movie, {"a": "only here " + LONG, "b": "nor there " + LONG})
        publish(movie, {"a": "another " + LONG, "b": "one more " + LONG})
        lost = [artefact.hash for key, artefact in movie.manifests.load("rev-0004").artefacts.items() if len(key) == 1]
        for digest in lost:
            movie.driver.delete(movie.blobs.stat(digest).path)
            with movie.metadata.write() as writer:
                writer.blobs.forget([digest])

        def expire(progress: CheckProgress) -> None:
            if progress.step == "suspects" and progress.done == 1:
                prune(movie, RetentionPolicy(), expire=["rev-0004"])

        report = check_movie(movie, on_progress=expire)
        assert [problem.invariant for problem in report.problems] == [5]
        assert min(lost) in report.problems[0].object


def test_a_revision_that_expires_meanwhile_is_no_problem(film: Film) -> None:
    """Its blobs were needed when the check began, and are gone, rightly, when it looks at them."""
    with opened(film.root) as movie:
        publish(movie, {"a": "only here " + LONG})
        publish(movie, {"a": "another " + LONG})
        only = movie.manifests.load("rev-0004").artefacts["a"].hash
        told = []

        def expire(progress: CheckProgress) -> None:
            if progress.step == "archives" and not told:
                told.append(progress)
                prune(movie, RetentionPolicy(), expire=["rev-0004"])
                movie.driver.delete(movie.blobs.stat(only).path)
                with movie.metadata.write() as writer:
                    writer.blobs.forget([only])

        report = check_movie(movie, on_progress=expire)
        assert told
        assert report.ok, report
