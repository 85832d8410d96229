"""Lines that no other test would miss: each of these fails without one of them (see `mutants`)."""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from msgspec.structs import replace

from renku_store import Movie, collect, open_store, plan_movie, set_inputs
from renku_store.durability import Moment, listening
from renku_store.leases import RunLeases
from renku_store.processes import this_process
from tests import children
from tests.authoring import LONG, artefact_event, opened, publish
from tests.running.test_fencing import TWO, store_result
from tests.test_gc import age, at


@pytest.fixture
def movie(tmp_path: Path) -> Iterator[Movie]:
    with open_store(tmp_path / "root") as store:
        yield store.create_movie("film")


OPEN = """
    import sys
    from pathlib import Path
    from tests.authoring import opened
    with opened(Path(sys.argv[1])) as movie:
        print(movie.manifests.load_current()[0].revision)
"""


def test_a_revision_of_a_creator_that_died_is_durable_before_it_is_booked(tmp_path: Path) -> None:
    """Its name may not be on the disk yet: a row would promise what a power cut can take back."""
    root, database = tmp_path / "root", tmp_path / "root/film/metadata.db"
    with open_store(root) as store:
        publish(store.create_movie("film"), {"a": "first"})
    shutil.copy(database, tmp_path / "before")
    with opened(root) as movie:
        publish(movie, {"a": "second"})
    shutil.copy(tmp_path / "before", database)
    ended, calls = children.trace(OPEN, root, log=tmp_path / "log")
    assert (ended.err, ended.out) == ("", "rev-0002\n")
    folder = [place for place, call in enumerate(calls) if re.match(r"fsync\(\d+<.*/film/manifests>", call)]
    row = [place for place, call in enumerate(calls) if re.match(r"(fsync|fdatasync)\(\d+<.*/metadata\.db-wal", call)]
    assert folder
    assert row
    assert folder[0] < row[0]


COMMIT = """
    import os, sys
    from pathlib import Path
    from tests.authoring import opened
    with opened(Path(sys.argv[1])) as movie:
        for number in range(3):
            movie.events.append_input("a", number)
            os.mkdir(Path(sys.argv[1], f"told-{number}"))
"""


def test_a_commit_is_on_the_disk_when_it_returns(tmp_path: Path) -> None:
    """Each of them, and not only when the database is closed: an edit that was acknowledged outlives a power cut."""
    with open_store(tmp_path / "root") as store:
        store.create_movie("film")
    ended, calls = children.trace(COMMIT, tmp_path / "root", log=tmp_path / "log")
    assert (ended.err, ended.code) == ("", 0)
    told = [place for place, call in enumerate(calls) if re.match(r"mkdir\(.*/told-\d", call)]
    synced = [
        place for place, call in enumerate(calls) if re.match(r"(fsync|fdatasync)\(\d+<.*/metadata\.db-wal", call)
    ]
    assert len(told) == 3
    for before, after in pairwise([-1, *told]):
        assert any(before < place < after for place in synced)


def test_nobody_takes_a_run_over_while_it_is_being_archived(movie: Movie) -> None:
    """A successor could publish, and name an archive that is replaced a moment later."""
    lapsed = RunLeases(movie.metadata, movie.clock, holder=replace(this_process(), host="far"), lease_seconds=0.0)
    run = movie.events.new_id()
    token = lapsed.start(run, base_revision=None, edits_through=0)
    movie.events.append_input("own", "value", run=run)
    taking: list[threading.Thread] = []
    taken: list[bool] = []
    with opened(Path(movie.root)) as other:

        def take_over(moment: Moment, name: str) -> None:
            if (moment, name) == ("before", "object replace") and not taking:
                taking.append(threading.Thread(target=other.leases.take_over, args=(run,)))
                taking[0].start()
                taking[0].join(0.3)
                taken.append(not taking[0].is_alive())

        with listening(take_over):
            movie.archiver.archive(run, 0, token=token)
            taking[0].join()
        assert taken == [False]
        assert other.leases.record(run).alive


def test_a_result_and_the_end_of_its_claim_are_seen_at_one_moment(movie: Movie) -> None:
    """After every commit there is either the claim or the result, for all who look."""
    set_inputs(movie, {"@blueprint": TWO})
    signature = plan_movie(movie).jobs["first"].signature or ""
    token = movie.leases.start("r", base_revision=None, edits_through=0)
    movie.leases.claim(signature, token, "first")
    seen: list[tuple[bool, bool]] = []
    with opened(Path(movie.root)) as other:

        def look(moment: Moment, name: str) -> None:
            if (moment, name) == ("after", "database commit"):
                with other.metadata.read() as reader:
                    made, claimed = reader.events.traces(signature), reader.runs.holds_claim(signature, token)
                seen.append((bool(made), claimed))

        with listening(look):
            assert store_result(movie, token, "first", "text " + LONG).ours
    assert set(seen) == {(False, True), (True, False)}


def test_what_is_published_while_the_roots_are_read_is_one_of_them(movie: Movie) -> None:
    """Pending when it is looked for there, or in a manifest when those are read: even if its blobs seem to be old."""
    publish(movie, {"a": "first " + LONG})
    movie.events.append_artefact(artefact_event(movie, "b", "pending " + LONG))

    def take() -> None:
        publish(movie, {})
        age(movie)

    age(movie)
    report = collect(movie, grace_seconds=3_600.0, dry_run=True, on_progress=at("roots", take))
    assert "b" in movie.manifests.load("latest").artefacts
    assert (report.blobs, report.removed) == ([], 0)


COMPACT = """
    import sys
    from pathlib import Path
    from renku_store import compact
    from tests.authoring import opened
    with opened(Path(sys.argv[1])) as movie:
        print(compact(movie).rows > 0)
"""


def test_rows_leave_after_the_name_of_their_archive_is_durable(tmp_path: Path) -> None:
    """Whoever wrote it may have died before that; then a power cut would take the archive and spare the removal."""
    with open_store(tmp_path / "root") as store:
        movie = store.create_movie("film")
        movie.events.append_input("text", "superseded")
        publish(movie, {"a": "first"}, {"text": "one"})
    ended, calls = children.trace(COMPACT, tmp_path / "root", log=tmp_path / "log")
    assert (ended.err, ended.out) == ("", "True\n")
    archive = [place for place, call in enumerate(calls) if re.match(r"fsync\(\d+<.*/film/events>", call)]
    rows = [place for place, call in enumerate(calls) if re.match(r"(fsync|fdatasync)\(\d+<.*/metadata\.db-wal", call)]
    assert archive
    assert any(archive[0] < place for place in rows)
