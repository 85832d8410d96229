"""A collector killed at each of its steps: nothing that is needed is lost, and the next one ends its work.

Invariants 5, 8 and 11.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
from pathlib import Path

import pytest

from renku_store import collect, open_store
from tests import children
from tests.authoring import LONG, artefact_event, check_whole, opened, publish, texts
from tests.test_gc import age, objects

COLLECT = """
    import sys
    from pathlib import Path
    from renku_store import collect
    from tests.authoring import opened
    with opened(Path(sys.argv[1])) as movie:
        print(collect(movie, grace_seconds=3_600, force=True).removed)
"""

KILLED = """
    import os, shutil, signal, sys
    from pathlib import Path
    import apsw
    from renku_store import collect
    from tests.authoring import opened

    def count_down(left):
        remaining = [left]
        def step():
            remaining[0] -= 1
            if remaining[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return step

    def watch(step):
        # Before and after every removal of a file, and every commit of the database.
        unlink = os.unlink
        def watched(*arguments, **named):
            step()
            unlink(*arguments, **named)
            step()
        os.unlink = watched
        def hooks(connection):
            connection.set_commit_hook(lambda: bool(step()))
            def written(connection, name, pages):
                step()
                return apsw.SQLITE_OK
            connection.set_wal_hook(written)
        apsw.connection_hooks.append(hooks)

    template, target = Path(sys.argv[1]), Path(sys.argv[2])
    n = 0
    while True:
        n += 1
        root = target / str(n)
        shutil.copytree(template, root)
        child = os.fork()
        if child == 0:
            step = count_down(n)
            watch(step)
            with opened(root) as movie:
                # Strays are found beyond the first batch; small batches have more steps between them.
                import renku_store.bounds
                renku_store.bounds.GC_BATCH_BLOBS = 2
                collect(movie, grace_seconds=3_600, force=True, on_progress=lambda progress: step())
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0
            break
    print(n)
"""


def prepare(root: Path) -> set[str]:
    """Two revisions, an edit, waste with and without rows, a result of nobody; gives the blobs that are needed."""
    with open_store(root) as store:
        movie = store.create_movie("film")
        publish(movie, {"a": "first " + LONG})
        publish(movie, {"a": "second " + LONG})
        movie.events.append_input("edit", "words " * 1_000)
        needed = objects(movie)
        run = movie.events.new_id()
        movie.events.append_artefact(artefact_event(movie, "b", "given up " + LONG, run=run))
        token = movie.leases.start(run, base_revision=None, edits_through=0)
        movie.leases.release(token)
        with movie.metadata.write() as writer:
            writer.runs.update(run, status="abandoned")
        strays = movie.blobs.put_many([b"stray 0", b"stray 1"])
        movie.blobs.put_many([b"waste %d" % number for number in range(2)])
        with movie.metadata.write() as writer:
            writer.blobs.forget([blob.hash for blob in strays])
        age(movie)
    return needed


@pytest.mark.ramdisk
def test_killed_at_any_step_nothing_needed_is_lost_and_the_next_one_ends_it(tmp_path: Path) -> None:
    """Before it collects again the movie is whole, and whatever was thrown away can be put anew."""
    needed = prepare(tmp_path / "root")
    (tmp_path / "killed").mkdir()
    ended = children.run(KILLED, tmp_path / "root", tmp_path / "killed")
    assert ended.code == 0, ended.err
    assert int(ended.out) > 25
    seen = set()
    for number in range(1, int(ended.out) + 1):
        copy = tmp_path / "killed" / str(number)
        with opened(copy) as movie:
            check_whole(movie)
            left = objects(movie)
            assert needed <= left
            with movie.metadata.read() as reader:
                seen |= {row.state for row in reader.blobs.page("", 100)}
                rows = {row.hash: row.state for row in reader.blobs.page("", 100)}
            assert {digest for digest, state in rows.items() if state == "live"} <= left
            if number % 2:
                assert movie.blobs.read(movie.blobs.put(b"waste 0")) == b"waste 0"
                age(movie)
            collect(movie, grace_seconds=3_600, force=True)
            assert objects(movie) == needed
            with movie.metadata.read() as reader:
                assert {row.hash for row in reader.blobs.page("", 100)} == needed
                assert reader.blobs.broken_traces(0, 100) == []
            assert texts(movie)["a"] == "second " + LONG
        shutil.rmtree(copy)
    assert seen == {"live", "condemned", "deleting"}


def test_objects_are_deleted_after_their_rows_say_so_and_before_those_go(tmp_path: Path) -> None:
    """Condemned, deleting, deleted, forgotten: each is durable before the next begins."""
    prepare(tmp_path / "root")
    ended, calls = children.trace(COLLECT, tmp_path / "root", log=tmp_path / "log")
    assert (ended.code, ended.out) == (0, "5\n"), ended.err
    committed = [n for n, call in enumerate(calls) if re.match(r"(fsync|fdatasync)\(\d+<.*/metadata\.db-wal", call)]
    deleted = [n for n, call in enumerate(calls) if re.match(r"unlink(at)?\(.*/film/blobs/.* = 0", call)]
    assert len(deleted) == 5
    assert sum(n < deleted[0] for n in committed) >= 2
    # Rows of the first batch go, the second batch is marked; then its rows go, and the traces.
    assert sum(deleted[2] < n < deleted[3] for n in committed) == 2
    assert sum(n > deleted[-1] for n in committed) >= 2


def test_a_stopped_collector_keeps_the_others_out_and_a_dead_one_does_not(tmp_path: Path) -> None:
    """The lock is the kernel's: it ends with its holder."""
    prepare(tmp_path / "root")
    script = """
        import sys, time
        from pathlib import Path
        from renku_store import collect
        from tests.authoring import opened
        def wait(progress):
            if progress.step == "deleting":
                print("deleting", flush=True)
                time.sleep(60)
        with opened(Path(sys.argv[1])) as movie:
            collect(movie, grace_seconds=3_600, force=True, on_progress=wait)
    """
    child = children.start(script, tmp_path / "root")
    assert child.stdout is not None
    assert child.stdout.readline() == "deleting\n"
    os.kill(child.pid, signal.SIGKILL)
    children.finish(child)
    with opened(tmp_path / "root") as movie:
        assert movie.blobs.read(movie.blobs.put(b"waste 1")) == b"waste 1"
        assert collect(movie, grace_seconds=3_600, force=True).removed >= 4
        check_whole(movie)
