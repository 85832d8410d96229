"""The power cut of `renku_store.testing.power_cut` finds omissions, sees all that is written, and invents nothing."""

from __future__ import annotations

import os
import pickle
import re
from pathlib import Path
from random import Random

import pytest

from renku_store.testing.power_cut.choosing import cut, minimal, pending, sweep
from renku_store.testing.power_cut.disk import DiskState, Torn
from renku_store.testing.power_cut.journal import Data, Journal, Names, Sync
from renku_store.testing.power_cut.recording import Recording
from tests import children
from tests.crash.careless_drivers import OMISSIONS, OMISSIONS_AFTER_A_KILL
from tests.crash.power_cut_workloads import publishing
from tests.crash.power_cuts import breaks, cuts_after, journal, killed_then_cut, names_made, record, violated


@pytest.mark.parametrize("omission", OMISSIONS)
def test_an_omission_is_found(omission: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the first draws, or in a sweep; what is found can be explained by the least that must be lost."""
    with monkeypatch.context() as patch:
        OMISSIONS[omission](patch)
        careless = record(publishing)
    # Ids and times differ from one recording to the next: the narrowest omissions need the whole sweep now and then.
    found = (
        violated(cut(careless, Random(seed)) for seed in range(60))
        or violated(sweep(careless, every=10))
        or violated(sweep(careless, every=3))
        or violated(sweep(careless, every=1))
    )
    assert found is not None
    least = minimal(found, breaks)
    assert len(least.lost) <= len(found.lost)
    assert "cut after" in least.explain()


@pytest.mark.parametrize("omission", OMISSIONS_AFTER_A_KILL)
def test_an_omission_is_found_after_a_kill(omission: str, tmp_path: Path) -> None:
    """The one that died had not synced a name; the one that comes after it relies on the name."""
    counts = names_made(journal("publishing"))
    journals = killed_then_cut(tmp_path, "publishing", [*counts[:3], *counts[3::4]], omission)
    assert any(violated(cuts_after(count, after, Random(count), 3)) for count, after in journals)


# The instrument: what it sees, and what it makes of it

SYNCED = """
    import sys
    from pathlib import Path
    from renku_store.testing.power_cut.journal import Names, Sync, SyncAll
    from renku_store.testing.power_cut.recording import Recording
    from tests.crash.power_cut_workloads import WORKLOADS, Witness
    top = Path(sys.argv[1])
    with Recording(top) as recording:
        WORKLOADS[sys.argv[2]](Witness(top / "builds", recording.promise))
    paths = dict(recording.journal.paths)
    for call in recording.journal.calls:
        if isinstance(call, Names):  # a file is synced by the name that it was opened by, which is its last one
            named = {node: f"{paths[call.folder]}/{name}" for name, node in call.changes if node is not None}
            paths.update((node, path.removeprefix("./")) for node, path in named.items())
        if isinstance(call, Sync):
            print(paths[call.node])
        if isinstance(call, SyncAll):
            print("*")
"""


@pytest.mark.parametrize("workload", ["publishing", "collecting"])
def test_the_journal_has_the_syncs_that_the_system_has_seen(workload: str, tmp_path: Path) -> None:
    """One for one, in the same order, those of SQLite too."""
    (tmp_path / "disk").mkdir()
    ended, calls = children.trace(SYNCED, tmp_path / "disk", workload, log=tmp_path / "log")
    assert ended.code == 0, ended.err
    seen = [match for call in calls if (match := re.match(r"(fsync|fdatasync|syncfs)\(\d+<(.*)>\)", call))]
    top = re.compile(rf"{re.escape(str(tmp_path))}/disk/?")
    shown = ["*" if match[1] == "syncfs" else top.sub("", match[2]) or "." for match in seen if top.match(match[2])]
    assert ended.out.splitlines() == shown
    assert len(shown) > 30


def test_what_nobody_watched_is_noticed(tmp_path: Path) -> None:
    """A journal that misses a write would prove nothing."""
    with Recording(tmp_path) as recording:
        (tmp_path / "folder").mkdir()
    recording.check_complete()
    (tmp_path / "folder/file").write_text("written by a C library")
    with pytest.raises(AssertionError, match="folder/file"):
        recording.check_complete()


@pytest.fixture
def example(tmp_path: Path) -> Journal:
    """A file that is synced, then changed; a name that no sync has followed."""
    (tmp_path / "old").write_bytes(b"was there")
    with Recording(tmp_path) as recording:
        descriptor = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
        os.write(descriptor, b"a" * 1_000)
        os.fsync(descriptor)
        recording.promise("the bytes")
        os.pwrite(descriptor, b"b" * 1_500, 600)
        os.close(descriptor)
        (tmp_path / "old").rename(tmp_path / "new")
    return recording.journal


def test_bytes_last_from_their_sync_on_and_names_from_that_of_their_folder(example: Journal) -> None:
    """A synced file can be gone, and a renamed one has its old name or its new one, never none."""
    assert [type(call) for call in example.calls] == [Names, Data, Sync, Data, Names]
    assert pending(example, 5) == [0, 3, 4]
    assert pending(example, 2) == [0, 1]
    trees = [DiskState(example, 5, lost).tree() for lost in map(frozenset, ([], [0, 3, 4], [3]))]
    assert trees == [
        {"file": b"a" * 600 + b"b" * 1_500, "new": b"was there"},
        {"old": b"was there"},
        {"file": b"a" * 1_000, "new": b"was there"},
    ]
    assert DiskState(example, 5).promises == ["the bytes"]
    assert DiskState(example, 2).promises == []


def test_a_write_is_torn_at_a_byte_or_into_sectors_of_the_file(example: Journal) -> None:
    """What did not arrive keeps what was there; where nothing was, zeros or garbage."""

    def file(torn: Torn, filler: int | None = None) -> bytes | None:
        return DiskState(example, 5, torn={3: torn}, filler=filler).tree()["file"]

    assert file(Torn(head=10)) == b"a" * 600 + b"b" * 10 + b"a" * 390
    assert file(Torn(head=10), 0) == b"a" * 600 + b"b" * 10 + b"a" * 390 + bytes(1_100)
    # Sectors of the file are [512, 1024), [1024, 1536), ...; the write began at 600.
    assert file(Torn(0, sectors=0b001)) == b"a" * 600 + b"b" * 424
    assert file(Torn(0, sectors=0b010)) == b"a" * 1_000 + bytes(24) + b"b" * 512
    assert file(Torn(0, sectors=0b100), 0xA5) == b"a" * 1_000 + b"\xa5" * 536 + b"b" * 512 + b"\xa5" * 52


def test_names_of_one_file_stay_names_of_one_file(example: Journal, tmp_path: Path) -> None:
    """A disk is written as it was, hard links too, and the same one from the same seed."""
    with Recording(tmp_path) as recording:
        os.link(tmp_path / "file", tmp_path / "link")
    (tmp_path / "made").mkdir()
    DiskState(recording.journal, 1).write_to(tmp_path / "made")
    assert (tmp_path / "made/file").stat().st_ino == (tmp_path / "made/link").stat().st_ino
    assert [cut(example, Random(seed)) for seed in range(50)] == [cut(example, Random(seed)) for seed in range(50)]
    assert pickle.loads(pickle.dumps(cut(example, Random(1)))) == cut(example, Random(1))
