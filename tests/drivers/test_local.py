"""The local driver: the shared suite, and what only files can do."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from renku_store import bounds
from renku_store.drivers import bulk, posix
from renku_store.drivers.local import LocalDriver, on_this_machine
from renku_store.drivers.memory.driver import MemoryDriver
from renku_store.drivers.memory.objects import Objects
from renku_store.errors import InvalidIdError, StoreUnavailableError
from renku_store.testing.driver_suite import DriverSuite
from tests import children


def descriptors() -> list[str]:
    """The open descriptors of this process."""
    return sorted(path.name for path in Path("/proc/self/fd").iterdir())


def leftovers(root: Path) -> list[Path]:
    """Temporary files below a root."""
    return [path for path in (root / "tmp").rglob("*") if path.is_file()]


class TestLocalDriver(DriverSuite):
    """The suite, on a folder that does not exist yet."""

    @pytest.fixture
    def driver(self, tmp_path: Path) -> LocalDriver:
        return LocalDriver(tmp_path / "not" / "yet")


class TestLocalDriverAtANonUtf8Path(DriverSuite):
    """The suite, below a folder whose name is not text."""

    @pytest.fixture
    def driver(self, tmp_path: Path) -> LocalDriver:
        return LocalDriver(os.fsdecode(os.fsencode(tmp_path) + b"/n\xff\xfeu"))


def test_reading_an_empty_root_makes_nothing(tmp_path: Path) -> None:
    """A root that does not exist reads as empty and still does not exist."""
    driver = LocalDriver(tmp_path / "root")
    assert list(driver.list("")) == list(driver.children("")) == []
    assert driver.stat("x") is None
    assert not driver.read_only
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize("below", ["", "movie", "movie/deeper"])
def test_a_root_that_is_a_file_is_refused_by_name(tmp_path: Path, below: str) -> None:
    """The error names the root and says to choose a folder."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreUnavailableError, match="is not a folder") as error:
        LocalDriver(tmp_path / "file" / below)
    assert str(tmp_path / "file" / below).rstrip("/") in error.value.message
    assert "folder" in error.value.hint


def test_errors_name_a_non_utf8_path_in_printable_text(tmp_path: Path) -> None:
    """A message can be written to any terminal."""
    root = os.fsencode(tmp_path) + b"/\xff"
    (tmp_path / os.fsdecode(b"\xff")).write_bytes(b"")
    with pytest.raises(StoreUnavailableError) as error:
        LocalDriver(os.fsdecode(root))
    assert "\\xff" in error.value.message.encode().decode()


def test_no_temporary_file_outlives_its_operation(tmp_path: Path) -> None:
    """After writes that succeeded, lost a race, were refused or discarded."""
    driver = LocalDriver(tmp_path)
    driver.create("a", b"1")
    driver.create("a", b"2")
    driver.replace("a", b"3")
    with pytest.raises(StoreUnavailableError):
        driver.replace("a/below-a-file", b"4")
    with driver.batch() as batch:
        batch.name(batch.stage(), "a")
        batch.commit()
        batch.stage()
    assert leftovers(tmp_path) == []


def test_no_descriptor_outlives_its_operation(tmp_path: Path) -> None:
    """Neither after success nor after failures."""
    driver = LocalDriver(tmp_path)
    driver.create("a", b"1")
    before = descriptors()
    with driver.lock("x", wait_seconds=0), pytest.raises(StoreUnavailableError), driver.lock("x", wait_seconds=0):
        pass
    with pytest.raises(StoreUnavailableError):
        driver.create("a/b", b"")
    with driver.batch() as batch:
        for number in range(2 * bounds.SYNCFS_MIN_FILES):
            batch.name(batch.stage(), f"n/{number}")
            batch.stage()
        batch.commit()
    driver.open("a").close()
    assert descriptors() == before


def test_a_batch_keeps_few_descriptors_open(tmp_path: Path) -> None:
    """Thousands of files in one batch stay below any limit of open files."""
    with LocalDriver(tmp_path).batch() as batch:
        before = len(descriptors())
        for number in range(100):
            batch.name(batch.stage(), f"n/{number}")
        assert len(descriptors()) <= before + bounds.SYNCFS_MIN_FILES + 1


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt()])
@pytest.mark.parametrize("before", [0, bounds.SYNCFS_MIN_FILES])
def test_an_object_that_could_not_be_written_whole_is_not_named_with_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: int, error: BaseException
) -> None:
    """Whatever stopped it, and however many came before it in its batch."""
    driver = LocalDriver(tmp_path)

    def stopped(descriptor: int, data: bytes) -> None:
        os.write(descriptor, data[:1])
        raise error

    with bulk.one_by_one(), driver.batch() as batch:
        for number in range(before):
            batch.add(b"whole", f"n/{number}")
        with monkeypatch.context() as patched:
            patched.setattr(posix, "write_all", stopped)
            with pytest.raises(StoreUnavailableError if isinstance(error, OSError) else type(error)):
                batch.add(b"half", "n/half")
        batch.add(b"whole", "n/after")
        assert batch.commit() == frozenset()
    assert {found.name for found in driver.list("n/")} == {"n/after", *(f"n/{number}" for number in range(before))}
    assert leftovers(tmp_path) == []


RACE = """
    import sys
    from renku_store.drivers.local import LocalDriver
    driver = LocalDriver(sys.argv[1])
    print("ready", flush=True)
    sys.stdin.readline()
    print([driver.create(f"manifests/rev-{n:04d}.json", sys.argv[2].encode()) for n in range(50)].count(True))
"""


BATCHES = """
    import sys
    from renku_store.drivers.local import LocalDriver
    driver = LocalDriver(sys.argv[1])
    print("ready", flush=True)
    sys.stdin.readline()
    with driver.batch() as batch:
        for number in range(50):
            staged = batch.stage()
            staged.write(sys.argv[2].encode())
            batch.name(staged, f"blobs/7f/{number}")
        print(50 - len(batch.commit()))
"""


@pytest.mark.parametrize("program", [RACE, BATCHES], ids=["creations", "batches"])
def test_of_racing_processes_exactly_one_takes_each_name(tmp_path: Path, program: str) -> None:
    """Eight processes take the same fifty names; the successes add up to fifty."""
    gate = tmp_path / "gate"
    script = program.replace(
        "sys.stdin.readline()", f"import os, time\n    while not os.path.exists({str(gate)!r}): time.sleep(0.001)"
    )
    racers = [children.start(script, tmp_path / "root", number) for number in range(8)]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    gate.touch()
    ended = [children.finish(racer) for racer in racers]
    assert [racer.err for racer in ended] == [""] * 8
    assert sum(int(racer.out) for racer in ended) == 50
    assert leftovers(tmp_path / "root") == []


HOLD = """
    import sys, time
    from renku_store.drivers.local import LocalDriver
    with LocalDriver(sys.argv[1]).lock("writer", wait_seconds=0):
        print("held", flush=True)
        time.sleep(600)
"""


def test_a_lock_names_the_process_that_holds_it_and_ends_with_it(tmp_path: Path) -> None:
    """A killed holder leaves the lock free: nothing has to be repaired."""
    holder = children.start(HOLD, tmp_path)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    driver = LocalDriver(tmp_path)
    with (
        pytest.raises(StoreUnavailableError, match=f"held by process {holder.pid} on "),
        driver.lock("writer", wait_seconds=0),
    ):
        pass
    holder.kill()
    children.finish(holder)
    with driver.lock("writer", wait_seconds=5):
        pass


def test_a_lock_file_stays_and_tells_of_its_holder_only_while_it_is_held(tmp_path: Path) -> None:
    """Its JSON names process, machine, command and time."""
    path = tmp_path / "locks" / "writer"
    with LocalDriver(tmp_path).lock("writer", wait_seconds=0):
        holder = json.loads(path.read_bytes())
    assert holder["pid"] == os.getpid()
    assert set(holder) == {"pid", "host", "command", "since"}
    assert path.read_bytes().strip() == b""


def test_who_holds_a_lock_is_said_without_giving_back_the_space(tmp_path: Path) -> None:
    """The file keeps its length and its bytes on the disk, so that no commit has to sync their coming and going."""
    path, driver = tmp_path / "locks" / "writer", LocalDriver(tmp_path)
    seen: set[int] = set()
    for _ in range(3):
        with driver.lock("writer", wait_seconds=0):
            seen.add(path.stat().st_size)
        seen.add(path.stat().st_size)
    assert len(seen) == 1


def test_what_an_earlier_version_left_in_a_lock_file_is_written_over(tmp_path: Path) -> None:
    """Its record may be longer or shorter; who reads it sees one whole record, or none."""
    path, driver = tmp_path / "locks" / "writer", LocalDriver(tmp_path)
    path.parent.mkdir()
    for left in (b"", b'{"pid":1}', b'{"command":"' + b"x" * 900 + b'"}'):
        path.write_bytes(left)
        with driver.lock("writer", wait_seconds=0):
            assert json.loads(path.read_bytes())["pid"] == os.getpid()
        assert path.read_bytes().strip() == b""


READ_ONLY = """
    import sys
    from pathlib import Path
    from renku_store.drivers.local import LocalDriver
    from renku_store.errors import StoreUnavailableError
    driver = LocalDriver(sys.argv[1])
    assert driver.read_only and driver.sub("movie").read_only
    assert driver.read("movie/a") == b"published" and driver.guarantees.atomic_create
    assert driver.local_path("movie/a").read_bytes() == b"published" and driver.free_bytes() is not None
    with driver.lock("open", shared=True, wait_seconds=0): pass
    refused = 0
    for change in (
        lambda: driver.create("x", b""), lambda: driver.replace("movie/a", b""), lambda: driver.batch(),
        lambda: driver.compare_and_swap("x", None, b""), lambda: driver.delete("movie/a"), lambda: driver.scratch(),
        lambda: driver.move("movie/a", "b"), lambda: driver.lock("w", wait_seconds=0).__enter__(),
        lambda: driver.renew("movie/a"), lambda: driver.delete_many(["movie/a"]),
    ):
        try:
            change()
        except StoreUnavailableError as error:
            assert "read-only" in error.message and error.hint, error.message
            refused += 1
    print(refused)
"""


def test_a_read_only_root_is_read_and_never_written_to(tmp_path: Path) -> None:
    """Every change is refused by name before it is tried, a shared lock needs no file, reading works."""
    root = tmp_path / "root"
    LocalDriver(root).create("movie/a", b"published")
    before = sorted(root.rglob("*"))
    ended = children.run(READ_ONLY, root, prefix=children.on_read_only(root))
    assert (ended.code, ended.out, ended.err) == (0, "10\n", "")
    assert sorted(root.rglob("*")) == before


MANY_OPEN = """
    import resource, sys
    from renku_store.drivers.local import LocalDriver
    from renku_store.errors import StoreUnavailableError
    driver = LocalDriver(sys.argv[1])
    driver.create("a", b"1")
    resource.setrlimit(resource.RLIMIT_NOFILE, (20, 20))
    streams = []
    try:
        while True:
            streams.append(driver.open("a"))
    except StoreUnavailableError as error:
        print(error.message, error.hint)
    while streams:
        streams.pop().close()
    assert driver.read("a") == b"1"
"""


def test_too_many_open_files_are_named(tmp_path: Path) -> None:
    """The hint names the limit, and the driver works again afterwards."""
    ended = children.run(MANY_OPEN, tmp_path)
    assert (ended.code, ended.err) == (0, "")
    assert "too many open files" in ended.out
    assert "ulimit -n" in ended.out


def test_a_lock_outside_the_root_is_refused(tmp_path: Path) -> None:
    """Lock names are names like others."""
    with pytest.raises(InvalidIdError), LocalDriver(tmp_path).lock("../x", wait_seconds=0):
        pass


def test_a_root_that_does_not_exist_yet_is_asked_about_and_not_made(tmp_path: Path) -> None:
    """Its place, its free space and its guarantees are those of where it would be; relative paths are made absolute."""
    driver = LocalDriver(tmp_path / "not" / "yet")
    found = os.statvfs(tmp_path)
    free = driver.free_bytes()
    assert abs(free - found.f_bavail * found.f_frsize) < 1_000_000_000
    assert (driver.url, driver.workspace()) == (str(tmp_path / "not/yet"), tmp_path / "not/yet")
    assert driver.local_path("x") is None
    assert LocalDriver("builds").url == str(Path.cwd() / "builds")
    assert not (tmp_path / "not").exists()


def test_a_renewed_object_is_as_young_as_one_that_is_written_now(tmp_path: Path) -> None:
    """Its bytes and its file stay the same."""
    driver = LocalDriver(tmp_path)
    driver.create("a", b"1")
    os.utime(tmp_path / "a", (0, 0))
    before = (tmp_path / "a").stat().st_ino
    driver.renew("a")
    driver.create("b", b"2")
    assert driver.stat_many(["a"])["a"].modified == pytest.approx(driver.stat_many(["b"])["b"].modified, abs=60)
    assert ((tmp_path / "a").stat().st_ino, driver.read("a")) == (before, b"1")


def test_what_belongs_to_this_machine_lies_in_the_folder_itself(tmp_path: Path) -> None:
    """For a folder and for memory it is the driver itself; else a driver of the workspace."""

    class Elsewhere(LocalDriver):
        def workspace(self) -> Path:
            return tmp_path / "cache"

    local, memory = LocalDriver(tmp_path / "root"), MemoryDriver(Objects("machine"))
    assert on_this_machine(local) is local
    assert on_this_machine(local.sub("film")).url == str(tmp_path / "root/film")
    assert on_this_machine(memory) is memory
    assert on_this_machine(Elsewhere(tmp_path / "root")).url == str(tmp_path / "cache")


@pytest.mark.parametrize("there", [0, 1, 10, 200])
@pytest.mark.parametrize("folder", ["", "blobs/7f/"])
def test_many_looks_say_what_each_would(tmp_path: Path, folder: str, there: int) -> None:
    """Whether folders are listed for it or not, and whatever else is in them: a folder is no object."""
    driver = LocalDriver(tmp_path)
    with driver.batch() as batch:
        for number in range(there):
            batch.name(batch.stage(), f"{folder}{number}")
        batch.name(batch.stage(), f"{folder}deeper/object")
        batch.commit()
    for asked in (1, 3, 4, 30, 300):
        names = [f"{folder}{number}" for number in range(0, 2 * asked, 2)]
        names += [f"{folder}deeper", f"{folder}deeper/object", f"{folder}deeper/object/below", "none/at-all"]
        alone = {name: found for name in names if (found := driver.stat(name)) is not None}
        assert driver.stat_many(name for name in names) == alone
        assert driver.among(name for name in names) == alone.keys()
        assert len(alone) == 1 + min(asked, (there + 1) // 2)


@pytest.mark.parametrize("bad", ["..", ".", "", "x\0", "\udcff\ud800"])
@pytest.mark.parametrize("count", [1, 10])
def test_a_name_that_cannot_be_is_refused_among_many(tmp_path: Path, bad: str, count: int) -> None:
    """Also where its folder is listed, or is not there."""
    driver = LocalDriver(tmp_path)
    with pytest.raises(InvalidIdError):
        driver.stat_many([*(f"folder/{number}" for number in range(count)), f"folder/{bad}"])
    with pytest.raises(InvalidIdError):
        driver.among([*(f"folder/{number}" for number in range(count)), f"folder/{bad}"])
    with pytest.raises(InvalidIdError):
        driver.among(f"../{number}" for number in range(count))


@pytest.mark.parametrize("count", [3, 1_000])
def test_many_are_deleted_under_whatever_names_they_have(tmp_path: Path, count: int) -> None:
    """Names that are not there among them are no error; what was not named stays."""
    driver = LocalDriver(tmp_path / "root")
    names = [f"{number % 3}/{number}" for number in range(count)]
    for name in (*names, "0/other", "1/other"):
        path = tmp_path / "root" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    (tmp_path / "root/2/dangling").symlink_to("nowhere")
    driver.delete_many(text for name in (*names, "2/dangling") for text in (name, f"{name}.zst", f"none/{name}"))
    assert {found.name for found in driver.list("")} == {"0/other", "1/other"}
    assert not (tmp_path / "root/2/dangling").is_symlink()


def test_what_cannot_be_deleted_is_named_among_many_and_most_others_go(tmp_path: Path) -> None:
    """A folder in the place of an object stops those that were to follow it in its share of them, and no others."""
    driver = LocalDriver(tmp_path / "root")
    for number in range(1_000):
        (tmp_path / "root/a").mkdir(parents=True, exist_ok=True)
        (tmp_path / f"root/a/{number}").write_bytes(b"x")
    (tmp_path / "root/a/0").unlink()
    (tmp_path / "root/a/0").mkdir()
    with pytest.raises(StoreUnavailableError, match="delete below"):
        driver.delete_many(f"a/{number}" for number in range(1_000))
    assert {found.name for found in driver.list("a/")} == {f"a/{number}" for number in range(1, 250)}


@pytest.mark.parametrize("size", [0, 1, 16_383, 16_384, 16_385, 100_000])
def test_an_object_is_read_whole_or_up_to_a_limit_whatever_its_size(tmp_path: Path, size: int) -> None:
    """Limits just below, at and above its size, and above what is read before anybody asks for the size."""
    driver = LocalDriver(tmp_path)
    data = os.urandom(size)
    (tmp_path / "x").write_bytes(data)
    assert driver.read("x") == data
    for limit in {0, 1, max(0, size - 1), size, size + 1, 16_384, 16_385, 200_000}:
        assert driver.read("x", limit) == data[:limit]
