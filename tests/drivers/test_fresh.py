"""Objects of folders that are not there yet: a folder gets its name as a whole, and what came first is not lost."""

from __future__ import annotations

import errno
import stat
import time
from collections import Counter
from pathlib import Path

import pytest

from renku_store import StoreUnavailableError, bounds, collect, open_store
from renku_store.drivers import bulk, posix
from renku_store.drivers.local import LocalDriver
from renku_store.drivers.tree import Tree
from renku_store.durability import listening
from tests import children

FEW = bounds.SYNCFS_MIN_FILES
"""From so many objects on a batch shares its syncs, and names folders."""


def added(driver: LocalDriver, names: list[str]) -> frozenset[str]:
    """What a batch of objects says that each hold their own name."""
    with driver.batch() as batch:
        for name in names:
            batch.add(name.encode(), name)
        return batch.commit()


def contents(driver: LocalDriver) -> dict[str, bytes]:
    return {found.name: driver.read(found.name) for found in driver.list("")}


def test_a_new_folder_takes_one_rename_for_all_that_is_in_it(tmp_path: Path) -> None:
    """Beside those that had been written before so many came together."""
    driver = LocalDriver(tmp_path)
    (tmp_path / "old").mkdir()
    steps: list[str] = []
    names = [f"old/{number}" for number in range(FEW)] + [f"new/{number}" for number in range(100)]
    with listening(lambda moment, name: steps.append(name) if moment == "before" else None):
        assert added(driver, names) == frozenset()
    assert contents(driver) == {name: name.encode() for name in names}
    counted = Counter(steps)
    assert (counted["object rename"], counted["folder rename"]) == (FEW, 1)
    assert [*(tmp_path / "tmp").iterdir()] == []


@pytest.mark.parametrize("holding", ["nothing", "others", "one of them"])
def test_a_folder_that_came_meanwhile_is_joined_and_not_replaced(tmp_path: Path, holding: str) -> None:
    """Another process may hold an empty one for durable that it has made a moment ago."""
    driver = LocalDriver(tmp_path)
    names = [f"n/{number}" for number in range(2 * FEW)]
    with driver.batch() as batch:
        for name in [f"first/{number}" for number in range(FEW)] + names:
            batch.add(name.encode(), name)
        (tmp_path / "n").mkdir()
        inode = (tmp_path / "n").stat().st_ino
        if holding != "nothing":
            (tmp_path / "n" / ("0" if holding == "one of them" else "other")).write_bytes(b"another's")
        assert batch.commit() == ({"n/0"} if holding == "one of them" else frozenset())
    assert (tmp_path / "n").stat().st_ino == inode
    found = contents(driver)
    assert [found[name] for name in names[1:]] == [name.encode() for name in names[1:]]
    assert found["n/0"] == (b"another's" if holding == "one of them" else b"n/0")
    assert [*(tmp_path / "tmp").iterdir()] == []


def test_a_name_that_is_given_twice_is_there_once(tmp_path: Path) -> None:
    """And the second is told to have existed."""
    driver = LocalDriver(tmp_path)
    assert added(driver, [*(f"n/{number}" for number in range(2 * FEW)), f"n/{FEW}", "n/0"]) == {f"n/{FEW}", "n/0"}
    assert len(contents(driver)) == 2 * FEW


def test_folders_below_new_folders_are_named_too(tmp_path: Path) -> None:
    """Whichever of them comes first."""
    driver = LocalDriver(tmp_path)
    names = [f"a/b/{number}" for number in range(2 * FEW)] + [f"a/{number}" for number in range(2)]
    names += ["c/0", "c/d/0", "c/d/e/0"]
    assert added(driver, names) == frozenset()
    assert contents(driver) == {name: name.encode() for name in names}
    assert [*(tmp_path / "tmp").iterdir()] == []


def test_leaving_a_batch_leaves_no_folder_behind(tmp_path: Path) -> None:
    """Of those that have no name yet."""
    driver = LocalDriver(tmp_path)
    with driver.batch() as batch:
        for number in range(3 * FEW):
            batch.add(b"%d" % number, f"n/{number}")
        assert [path for path in (tmp_path / "tmp").iterdir() if path.is_dir()]
    assert [*(tmp_path / "tmp").iterdir()] == []
    assert contents(driver) == {}


def test_a_batch_that_was_committed_takes_more_for_the_same_folder(tmp_path: Path) -> None:
    """Which is there by then."""
    driver = LocalDriver(tmp_path)
    with driver.batch() as batch:
        for turn in range(2):
            for number in range(2 * FEW):
                batch.add(b"%d" % number, f"n/{turn}-{number}")
            assert batch.commit() == frozenset()
    assert len(contents(driver)) == 4 * FEW


def test_a_file_that_was_taken_away_is_told_and_not_left_out(tmp_path: Path) -> None:
    """By whoever clears `tmp` while a process is asleep."""
    driver = LocalDriver(tmp_path)
    with driver.batch() as batch, bulk.one_by_one():
        for number in range(3 * FEW):
            batch.add(b"%d" % number, f"n/{number}")
        (gone,) = (tmp_path / "tmp").glob(f"*/{2 * FEW}")
        gone.unlink()
        with pytest.raises(StoreUnavailableError, match="no such file"):
            batch.commit()
    assert f"n/{2 * FEW}" not in contents(driver)


def test_after_a_failed_sync_a_batch_commits_nothing_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system tells once what it could not write; the second time it would say that all is well."""
    driver = LocalDriver(tmp_path)

    def failed(*_: object) -> None:
        raise OSError(errno.EIO, "failed")

    with driver.batch() as batch:
        for number in range(3 * FEW):
            batch.add(b"%d" % number, f"n/{number}")
        with monkeypatch.context() as patch:
            patch.setattr(posix, "sync_filesystem", failed)
            with pytest.raises(StoreUnavailableError, match="input/output error"):
                batch.commit()
        with pytest.raises(StoreUnavailableError, match="batch has failed"):
            batch.commit()
    assert contents(driver) == {}


def test_the_error_of_a_name_says_which_it_is(tmp_path: Path) -> None:
    """Of many that get theirs one by one."""
    driver = LocalDriver(tmp_path)
    (tmp_path / "a").write_bytes(b"in the way")
    with driver.batch() as batch:
        for number in range(2 * FEW):
            batch.add(b"%d" % number, f"n/{number}")
        batch.add(b"below", "a/below")
        with pytest.raises(StoreUnavailableError, match=r"a/below: a part of this path is a file"):
            batch.commit()


def test_a_folder_that_could_not_be_made_may_be_made_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when there is room again."""
    driver = LocalDriver(tmp_path)

    def refused(tree: Tree, path: str) -> None:
        raise OSError(errno.ENOSPC, "full")

    with driver.batch() as batch:
        for number in range(FEW):
            batch.add(b"%d" % number, f"n/{number}")
        with monkeypatch.context() as patch:
            patch.setattr(Tree, "make_folder", refused)
            with pytest.raises(StoreUnavailableError, match="disk is full"):
                batch.add(b"first", "m/first")
        batch.add(b"second", "m/second")
        batch.commit()
    assert {name for name in contents(driver) if name.startswith("m/")} == {"m/second"}


def test_folders_of_a_group_stay_with_it(tmp_path: Path) -> None:
    """What is below a folder with the setgid bit belongs to its group, and so does what is below that."""
    driver = LocalDriver(tmp_path)
    (tmp_path / "n").mkdir()
    (tmp_path / "n").chmod(0o2775)
    assert added(driver, [f"n/{number % 2}/{number}" for number in range(3 * FEW)]) == frozenset()
    assert [path.stat().st_mode & stat.S_ISGID for path in (tmp_path / "n").iterdir()] == [stat.S_ISGID] * 2


REFUSED = """
    import sys
    from renku_store.drivers.local import LocalDriver
    driver = LocalDriver(sys.argv[1])
    with driver.batch() as batch:
        for number in range(40):
            batch.add(b"%d" % number, f"n{number % 2}/{number}")
        assert batch.commit() == frozenset()
    print(len([*driver.list("")]))
"""


@pytest.mark.parametrize("answer", ["ENOSYS", "EINVAL", "EPERM", "EIO:when=1"])
def test_where_folders_cannot_be_renamed_files_get_their_names_one_by_one(tmp_path: Path, answer: str) -> None:
    """An older kernel, a file system or a sandbox that lacks the call, and one that fails once."""
    ended, _ = children.trace(REFUSED, tmp_path / "root", log=tmp_path / "log", inject=f"renameat2:error={answer}")
    assert (ended.code, ended.out) == (0, "40\n"), ended.err
    assert [*(tmp_path / "root" / "tmp").iterdir()] == []


def test_a_folder_of_a_killed_process_is_swept_and_a_young_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what is in it, or empty; what a producer may have is another matter."""
    with open_store(tmp_path) as store, store.create_movie("film") as movie:
        place = tmp_path / "film" / "tmp"
        for name in ("dead", "empty"):
            (place / name).mkdir(parents=True)
        (place / "dead" / "object").write_bytes(b"never named")
        time.sleep(0.01)
        collect(movie, grace_seconds=0)
        assert {path.name for path in place.iterdir()} >= {"dead", "empty"}
        monkeypatch.setattr(bounds, "TEMPORARY_MIN_SECONDS", 0.0)
        collect(movie, grace_seconds=0)
        assert {path.name for path in place.iterdir()} == {"scratch"}


def test_a_folder_that_got_its_name_is_never_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that was asleep for long may go on just when its folder is looked at."""
    monkeypatch.setattr(bounds, "TEMPORARY_MIN_SECONDS", 0.0)
    with open_store(tmp_path) as store, store.create_movie("film") as movie:
        place, blobs = tmp_path / "film" / "tmp" / "asleep", tmp_path / "film" / "blobs"
        place.mkdir(parents=True)
        (place / "object").write_bytes(b"named")
        blobs.mkdir(exist_ok=True)
        delete = LocalDriver.delete

        def after_it_awoke(driver: LocalDriver, name: str) -> None:
            if name.endswith("/object"):
                posix.rename_new(str(place), str(blobs / "aa"))
            delete(driver, name)

        monkeypatch.setattr(LocalDriver, "delete", after_it_awoke)
        time.sleep(0.01)
        collect(movie, grace_seconds=0)
        assert (blobs / "aa" / "object").read_bytes() == b"named"
