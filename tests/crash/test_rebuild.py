"""A rebuild killed at each of its steps, and the order of these.

Invariant 11.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from renku_store import DamageError, open_store
from tests import children
from tests.authoring import check_whole, opened
from tests.crash.operations import damage_index
from tests.roots import Root
from tests.test_rebuild import REBUILD, film, leave_a_log, past, rebuilt, root

__all__ = ["film", "root"]

pytestmark = pytest.mark.files

KILLED = """
    import os, shutil, signal, sys
    from pathlib import Path
    from renku_store import open_store
    from renku_store.durability import listening

    def count_down(left):
        remaining = [left]
        def heard(moment, name):
            remaining[0] -= 1
            if remaining[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return heard

    template, target = Path(sys.argv[1]), Path(sys.argv[2])
    n = 0
    while True:
        n += 1
        root = target / str(n)
        shutil.copytree(template, root)
        child = os.fork()
        if child == 0:
            with listening(count_down(n)), open_store(root) as store:
                store.rebuild("film")
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0
            break
    print(n)
"""


@pytest.mark.ramdisk
@pytest.mark.parametrize("state", ["sound", pytest.param("in use", marks=pytest.mark.long), "damaged"])
def test_killed_at_any_step_the_old_database_is_there_or_the_new_one(film: Root, tmp_path: Path, state: str) -> None:
    """Each whole, never a mix; a sound one loses nothing. The next rebuild removes what this one left."""
    if state == "in use":
        leave_a_log(film)
    (tmp_path / "before").mkdir()
    shutil.copytree(film, tmp_path / "before/root")
    before = past(tmp_path / "before/root")
    if state == "damaged":
        (film / "film/metadata.db").write_bytes(b"garbage " * 999)
    (tmp_path / "killed").mkdir()
    ended = children.run(KILLED, film, tmp_path / "killed")
    assert ended.code == 0, ended.err
    assert int(ended.out) > 30
    for number in range(1, int(ended.out) + 1):
        copy = tmp_path / "killed" / str(number)
        if state == "damaged":
            with open_store(copy) as store:
                try:
                    store.movie("film")
                except DamageError:
                    store.rebuild("film")
        else:
            assert past(copy) == before, number
        report = rebuilt(copy)
        assert report.revisions == 2
        assert report.quarantined is None
        assert not list((copy / "film/tmp").glob("rebuild*"))
        with opened(copy) as movie:
            check_whole(movie)
        shutil.rmtree(copy)


@pytest.mark.ramdisk
def test_killed_at_any_step_edits_that_only_a_damaged_database_had_are_not_lost(film: Root, tmp_path: Path) -> None:
    """Whether the movie is opened next, or its database made anew; what lay in its place is kept in quarantine."""
    with opened(film) as movie:
        movie.events.append_input("voice", "in the database alone")
        before = sorted(event.id for event in movie.events.pending())
    damage_index(film / "film/metadata.db")
    (tmp_path / "killed").mkdir()
    ended = children.run(KILLED, film, tmp_path / "killed")
    assert ended.code == 0, ended.err
    unfinished = 0
    for number in range(1, int(ended.out) + 1):
        copy = tmp_path / "killed" / str(number)
        left = (copy / "film/metadata.db.complete").exists()
        unfinished += left
        if left or number % 5 == 0:
            twice = copy.with_name(f"{number} twice")
            shutil.copytree(copy, twice)
            with opened(twice) as movie:
                assert sorted(event.id for event in movie.events.pending()) == before, number
            shutil.rmtree(twice)
            rebuilt(copy)
            assert not (copy / "film/metadata.db.complete").exists()
            assert len(list((copy / "film/quarantine").glob("metadata.db-*"))) == 1, number
            with opened(copy) as movie:
                assert sorted(event.id for event in movie.events.pending()) == before, number
                check_whole(movie)
        shutil.rmtree(copy)
    assert unfinished > 4


def test_no_log_is_there_when_the_new_database_takes_the_name(film: Root, tmp_path: Path) -> None:
    """At the system calls: the new one synced, the old one's log gone, then the name, then the folder synced."""
    leave_a_log(film)
    ended, calls = children.trace(REBUILD, film, log=tmp_path / "log")
    assert (ended.code, ended.out) == (0, "2\n"), ended.err
    renamed = next(n for n, call in enumerate(calls) if "tmp/rebuild.db" in call and call.startswith("rename"))
    gone = [n for n, call in enumerate(calls) if call.startswith("unlink") and "/film/metadata.db-wal" in call]
    synced = [
        n for n, call in enumerate(calls) if call.startswith(("fsync", "fdatasync")) and "tmp/rebuild.db>" in call
    ]
    folder = [n for n, call in enumerate(calls) if call.startswith("fsync") and call.rstrip(" =0").endswith("/film>)")]
    assert max(gone) < renamed
    assert max(synced) < renamed
    assert any(n > renamed for n in folder), calls[renamed:]
