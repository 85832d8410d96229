"""Many movies are migrated by several processes: with the same reports, and whatever becomes of one of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from random import Random

import pytest

from renku_store import MigrationProgress, Store, migrate, open_store
from renku_store.migration import movies, side_by_side
from renku_store.testing.old_folders import build_revision_folder
from tests import children
from tests.migration.checking import Old

COUNT = 6


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """Movies in revision folders: with faults, of one id, of one that is not allowed, and one that cannot be read."""
    old = tmp_path / "old"
    for number in range(COUNT):
        faults = {"missing", "escaping"} if number == 2 else set()
        build_revision_folder(old / f"film-{number}", Random(number), segments=2, revisions=2, irregularities=faults)
    for folder, name in (("film-3", "film-1"), ("film-5", "not/allowed")):
        about = json.loads((old / folder / "metadata.json").read_text())
        (old / folder / "metadata.json").write_text(json.dumps({**about, "movie_id": name}))
    last = Old(old / "last").path
    (last / "metadata.json").unlink()
    (last / "metadata.json").symlink_to("/etc/passwd")
    return old


@pytest.fixture
def beside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes, however few movies and processors there are."""
    monkeypatch.setattr(movies, "workers_for", lambda *_: 2)


def workers() -> list[int]:
    """The processes that the main thread of this one has started, and that have not ended."""
    return of_process(os.getpid())


def of_process(process: int) -> list[int]:
    found = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return [int(child) for child in found if b"migration.worker" in Path(f"/proc/{child}/cmdline").read_bytes()]


@pytest.mark.usefixtures("beside")
@pytest.mark.parametrize("dry_run", [False, True])
def test_the_report_is_that_of_one_after_the_other(
    films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dry_run: bool
) -> None:
    """Of all movies, in the order of their folders; of one id the first folder has it. So when it is called again."""
    with open_store(tmp_path / "beside") as store:
        found = [migrate(films, store, every=True, dry_run=dry_run).to_json() for _ in range(2)]
    monkeypatch.setattr(movies, "workers_for", lambda *_: 0)
    with open_store(tmp_path / "after") as store:
        wanted = [migrate(films, store, every=True, dry_run=dry_run).to_json() for _ in range(2)]
    shown = json.dumps(found).replace(str(tmp_path / "beside"), "ROOT")
    assert json.loads(shown) == json.loads(json.dumps(wanted).replace(str(tmp_path / "after"), "ROOT"))
    assert [movie["movie"] for movie in found[0]["movies"]][:4] == ["film-0", "film-1", "film-2", "film-1"]
    assert not workers()


@pytest.mark.usefixtures("beside")
def test_progress_is_told_in_the_thread_of_the_caller(films: Path, store: Store) -> None:
    """As often as of one after the other, of each movie in its order."""
    told: list[MigrationProgress] = []

    def hear(progress: MigrationProgress) -> None:
        assert threading.current_thread() is threading.main_thread()
        told.append(progress)

    report = migrate(films, store, every=True, on_progress=hear)
    for movie in report.movies[:3]:
        own = [(one.revisions, one.files) for one in told if one.movie == movie.id]
        assert own == sorted(own)
        assert own[-1][0] == movie.revisions == 2


@pytest.mark.usefixtures("beside")
def test_what_the_caller_raises_ends_all_workers(films: Path, store: Store) -> None:
    """They end where they are, and the same call goes on from there."""

    def tire(progress: MigrationProgress) -> None:
        raise LookupError("enough")

    with pytest.raises(LookupError, match="enough"):
        migrate(films, store, every=True, on_progress=tire)
    assert not workers()
    assert sum(movie.added + movie.revisions > 0 for movie in migrate(films, store, every=True).movies) == 4


@pytest.mark.usefixtures("beside")
@pytest.mark.parametrize("killed", [1, 2])
def test_what_a_killed_worker_was_at_is_done_by_others(
    films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed: int
) -> None:
    """Be it that all of them were."""
    left = [killed]

    def kill(_: MigrationProgress) -> None:
        for worker in workers()[: left[0]]:
            os.kill(worker, signal.SIGKILL)
            left[0] -= 1

    with open_store(tmp_path / "killed") as store:
        found = migrate(films, store, every=True, on_progress=kill)
    assert left == [0]
    monkeypatch.setattr(movies, "workers_for", lambda *_: 0)
    with open_store(tmp_path / "after") as store:
        wanted = migrate(films, store, every=True)
    assert [(movie.id, movie.mapped, len(movie.refused)) for movie in found.movies] == [
        (movie.id, movie.mapped, len(movie.refused)) for movie in wanted.movies
    ]


@pytest.mark.usefixtures("beside")
def test_where_no_worker_can_be_started_all_is_done_here(
    films: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it was before there were any: the program may be missing, or end at once."""
    for program in ("/nowhere/python", "/bin/false"):
        monkeypatch.setattr(sys, "executable", program)
        assert len(migrate(films, store, every=True).movies) == COUNT + 1


@pytest.mark.usefixtures("beside")
def test_no_movie_is_begun_after_one_where_the_store_could_not_be_used(films: Path, store: Store) -> None:
    """Those that others were at are in the report; what was not begun is counted."""
    (store.driver.workspace() or Path()).joinpath("film-0").mkdir(parents=True)
    store.driver.create("film-0/format.json", b'{"format":99}')
    report = migrate(films, store, every=True)
    assert report.problem is not None
    assert report.problem.kind == "UnsupportedFormatError"
    assert 1 <= len(report.movies) < COUNT
    assert any(f"not begun: {COUNT + 1 - len(report.movies)}." in note for note in report.movies[0].notes)


MIGRATING = """
import sys, time
from renku_store import migrate, open_store
from renku_store.migration import movies
movies.workers_for = lambda *_: 2
def wait(progress):
    print("told", flush=True)
    time.sleep(600)
with open_store(sys.argv[2]) as store:
    migrate(sys.argv[1], store, every=True, on_progress=wait)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_workers_end_with_who_has_started_them(films: Path, store: Store, number: signal.Signals) -> None:
    """Whatever it was that ended him, they let go of what they were at, and it can be called again."""
    child = children.start(MIGRATING, films, store.root)
    assert child.stdout is not None
    assert child.stdout.readline() == "told\n"
    working = of_process(child.pid)
    assert working
    child.send_signal(number)
    children.finish(child)
    for worker in working:
        subprocess.run(["tail", f"--pid={worker}", "-f", "/dev/null"], check=True, timeout=600)
    assert len(migrate(films, store, every=True).movies) == COUNT + 1


AT_A_TERMINAL = """
import sys, time
from renku_cli.__main__ import main
from renku_store.migration import movies, side_by_side
movies.workers_for = lambda *_: 2
def settle(self):
    print("told", flush=True)
    time.sleep(600)
side_by_side.SideBySide._settle = settle
sys.argv[:] = ["renku-store", "migrate", sys.argv[1], "--root", sys.argv[2], "--all"]
sys.exit(main())
"""


def test_a_key_that_interrupts_reaches_all_and_only_the_program_speaks(films: Path, store: Store) -> None:
    """Ctrl-C at a terminal is heard by the whole group of processes."""
    child = children.start(AT_A_TERMINAL, films, store.root, prefix=["setsid"])
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "told\n"
        working = of_process(child.pid)
        assert working
        os.killpg(child.pid, signal.SIGINT)
        ended = children.finish(child)
    finally:
        child.kill()  # no more than a word to one that has ended
    assert (ended.code, ended.out, ended.err) == (130, "", "error: Interrupted.\n")
    for worker in working:
        subprocess.run(["tail", f"--pid={worker}", "-f", "/dev/null"], check=True, timeout=600)
    assert len(migrate(films, store, every=True).movies) == COUNT + 1


def test_few_movies_and_other_roots_need_no_process(tmp_path: Path) -> None:
    """To start one takes longer than they do; a root in memory is this process's own."""
    with open_store(tmp_path) as store, open_store("memory://beside") as memory:
        assert side_by_side.workers_for(2 * side_by_side.MOVIES_EACH - 1, store) == 0
        assert side_by_side.workers_for(10_000, memory) == 0
        assert side_by_side.workers_for(10_000, store) <= side_by_side.PROCESSES_MAX
