"""Recording workloads, and seeing whether a disk that a power cut has left keeps what they were promised."""

from __future__ import annotations

import json
import pickle
import re
import secrets
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from random import Random
from typing import Final, cast

import apsw
import zstandard

from renku_store import Movie, collect, open_store
from renku_store.errors import StoreError
from renku_store.testing.invariants import check_invariants
from renku_store.testing.power_cut.choosing import cut, pending
from renku_store.testing.power_cut.disk import DiskState
from renku_store.testing.power_cut.journal import Journal, Names
from renku_store.testing.power_cut.recording import Recording
from tests import children
from tests.authoring import LONG, check_whole, opened, publish, texts
from tests.crash.power_cut_workloads import WORKLOADS, Promise, Withdrawn, Witness, going_on
from tests.independent_reader import verified
from tests.ramdisk import fast_folder

_KILLS_MAX_SECONDS: Final = 1_800
"""A bound on a child that hangs; a hundred kills one after another take minutes on a machine with other work."""
VIOLATIONS: Final = (AssertionError, StoreError, ValueError, OSError, apsw.Error, zstandard.ZstdError)
"""How a disk that breaks a promise shows itself, to `check` or to whoever opens the store."""


def record(workload: Callable[[Witness], None]) -> Journal:
    """The journal of a workload in a store of its own, complete."""
    with fast_folder() as top:
        with Recording(top) as recording:
            workload(Witness(top / "builds", recording.promise))
        recording.check_complete()
    return recording.journal


# Checks


def promises(state: DiskState) -> dict[str, Promise]:
    """Those that a disk must keep."""
    kept: dict[str, Promise] = {}
    for promise in cast("list[Promise | Withdrawn]", state.promises):
        if isinstance(promise, Withdrawn):
            kept.pop(promise.name, None)
        else:
            kept[promise.name] = promise
    return kept


def replay(path: str) -> None:
    """Check the state that a failed test has saved, and say what it is."""
    state: DiskState = pickle.loads(Path(path).read_bytes())
    sys.stdout.write(state.explain())
    check(state)


def check(state: DiskState, *, with_fsck: bool = False) -> None:
    """Fail unless a store on this disk opens as ever, is whole, keeps every promise and can be gone on with.

    `with_fsck`: in the end, after a collection, fsck is clean too (three times as long).
    """
    kept = promises(state)
    with fast_folder() as folder:
        state.write_to(folder)
        root = folder / "builds"
        check_objects(root / "film")
        with open_store(root) as store:
            there = bool(kept) or (root / "film/format.json").exists()
            movie = store.movie("film") if there else store.create_movie("film")
            check_movie(movie, kept)
            publish(movie, {"a.out": "after the cut " + LONG}, {"cut": True})
        check_objects(root / "film")
        with opened(root) as movie:
            check_movie(movie, kept)
            assert texts(movie)["a.out"] == "after the cut " + LONG
            if with_fsck:
                collect(movie)
                check_invariants(movie)


def check_movie(movie: Movie, kept: Mapping[str, Promise]) -> None:
    """Fail unless every promise is kept and every invariant holds."""
    for promise in kept.values():
        promise.check(movie)
    check_invariants(movie, with_fsck=False)
    if not [*Path(movie.root, movie.id, "manifests").glob("*.expired.json")]:
        check_whole(movie)


def check_objects(movie: Path) -> None:
    """Fail unless whatever has a name is whole (invariant 2), and the pointer names a manifest that is there."""
    for path in movie.glob("blobs/*/*"):
        data = path.read_bytes()
        verified(zstandard.decompress(data) if path.suffix else data, path.name.removesuffix(".zst"))
    for path in movie.glob("events/*.jsonl.zst"):
        assert zstandard.decompress(path.read_bytes(), max_output_size=2**26).endswith(b"\n")
    for path in (*movie.glob("*.json"), *movie.glob("runs/*.json"), *movie.glob("tags/*.json")):
        json.loads(path.read_bytes())
    for path in movie.glob("manifests/*.json"):
        json.loads(path.read_bytes())
    if (movie / "current.json").exists():
        pointer = json.loads((movie / "current.json").read_bytes())
        verified((movie / pointer["manifest"]).read_bytes(), pointer["hash"])


# Trials


@cache
def journal(workload: str) -> Journal:
    """Recorded once."""
    return record(WORKLOADS[workload])


def try_all(states: Iterable[DiskState], *, with_fsck: bool = False) -> int:
    """Check each state; the error of one that fails says which it was. Gives their count."""
    count = 0
    for state in states:
        count += 1
        try:
            check(state, with_fsck=with_fsck)
        except VIOLATIONS as error:
            saved = Path(tempfile.gettempdir(), f"power-cut-{secrets.token_hex(4)}.pickle")
            saved.write_bytes(pickle.dumps(state))
            error.add_note(f"{state.explain()}\nTo see it again: tests.crash.power_cuts.replay({str(saved)!r})")
            raise
    return count


def violated(states: Iterable[DiskState]) -> DiskState | None:
    """The first state that breaks a promise."""
    return next((state for state in states if breaks(state)), None)


def breaks(state: DiskState) -> bool:
    try:
        check(state)
    except VIOLATIONS:
        return True
    return False


def gone_on_with(first: DiskState) -> Journal:
    """What the next process does on the disk that a cut left; the old promises come first."""
    with fast_folder() as top:
        first.write_to(top)
        with Recording(top) as recording:
            for promise in first.promises:
                recording.promise(promise)
            going_on(Witness(top / "builds", recording.promise))
        recording.check_complete()
    return recording.journal


KILLED = """
    import os, pickle, signal, sys
    from pathlib import Path
    from renku_store.testing.power_cut.recording import Recording
    from tests.crash.power_cut_workloads import WORKLOADS, Witness, going_on
    from tests.ramdisk import fast_folder
    from tests.crash.careless_drivers import OMISSIONS, OMISSIONS_AFTER_A_KILL

    def forked(work):
        child = os.fork()
        if child == 0:
            work()
            os._exit(0)
        return os.waitpid(child, 0)[1]

    def first(top, saved, count):
        def stop(calls):
            if calls >= count:
                saved.write_bytes(pickle.dumps((recording.journal, recording.identities)))
                os.kill(os.getpid(), signal.SIGKILL)
        recording = Recording(top, on_call=stop)
        with recording:
            WORKLOADS[workload](Witness(top / "builds", recording.promise))
            stop(count)  # SQLite made fewer calls than the last time: killed at its end

    def second(top, saved):
        journal, identities = pickle.loads(saved.read_bytes())
        with Recording(top, journal=journal, identities=identities) as recording:
            going_on(Witness(top / "builds", recording.promise))
        recording.check_complete()
        saved.write_bytes(pickle.dumps(journal))

    target, workload, omission = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    if omission:
        import pytest
        {**OMISSIONS, **OMISSIONS_AFTER_A_KILL}[omission](pytest.MonkeyPatch())
    for count in map(int, sys.argv[4:]):
        with fast_folder() as top:
            saved = target / f"{count}.pickle"
            status = forked(lambda: first(top, saved, count))
            assert os.WIFSIGNALED(status), status
            status = forked(lambda: second(top, saved))
            assert status == 0, status
"""


def killed_then_cut(
    folder: Path, workload: str, counts: Iterable[int], omission: str = ""
) -> Iterator[tuple[int, Journal]]:
    """Journals of a workload that was killed after some calls and of the process that went on, as if it were one."""
    ended = children.run(KILLED, folder, workload, omission, *counts, timeout_seconds=_KILLS_MAX_SECONDS)
    assert ended.code == 0, ended.err
    for path in sorted(folder.glob("*.pickle")):
        yield int(path.stem), pickle.loads(path.read_bytes())


def cuts_after(count: int, after: Journal, random: Random, states: int) -> Iterator[DiskState]:
    """At a promise of the second process all that is not synced is lost, then draws from what came after the kill."""
    for place in dict.fromkeys(place for place, _ in after.promises if place >= count):
        yield DiskState(after, place, frozenset(pending(after, place)))
    for _ in range(states):
        yield cut(after, random, position=random.randint(count, len(after.calls)))


def names_made(recorded: Journal) -> list[int]:
    """After each call that made a name, but for lock files and files that have none yet: its creator dies there."""
    return [
        number + 1
        for number, call in enumerate(recorded.calls)
        if isinstance(call, Names) and not re.search("/(tmp|locks)(/|$)", recorded.paths[call.folder])
    ]
