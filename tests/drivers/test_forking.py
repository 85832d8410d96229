"""Drivers in a process that was forked while its parent was at work: an answer or a named error, in bounded time."""

from __future__ import annotations

import pytest

from tests import children
from tests.drivers.servers import Server

_WAIT_SECONDS = 300
"""Far more than the child takes, and less than for ever."""

_BUSY = """
    import os, signal, sys, threading, warnings
    from pathlib import Path
    from renku_store import bounds
    from renku_store.drivers.objects.driver import ObjectDriver
    from renku_store.drivers.objects.options import S3Place
    from renku_store.drivers.objects.s3fs_client import S3fsClient

    place = S3Place("renku", sys.argv[2], endpoint=sys.argv[1], region="us-east-1", path_style=True)
    client = S3fsClient(place)
    driver = ObjectDriver(client, url=place.url, prefix=place.prefix, workspace=Path(sys.argv[3]))

    def write(names):
        with driver.batch() as batch:
            for name in names:
                staged = batch.stage()
                staged.write(name.encode())
                batch.name(staged, name)
            return batch.commit()

    write(["before-1", "before-2"])
    held, done = threading.Event(), threading.Event()

    def keeps():
        # As an upload of another thread does, one that looks for a thread, and one that connects.
        with driver._uploader._share.take(bounds.OBJECT_IN_FLIGHT_MAX_BYTES), driver._workers._lock, client._making:
            held.set()
            done.wait()

    keeping = threading.Thread(target=keeps)
    keeping.start()
    held.wait()
    warnings.simplefilter("ignore")  # later Pythons warn of any fork beside threads: that is what is tried here
    child = os.fork()
    if child == 0:
        signal.alarm(int(sys.argv[4]))
        write(["after-1", "after-2"])
        os._exit(0 if driver.read("before-1") == b"before-1" else 1)
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    done.set()
    keeping.join()
    print(ended, sorted(found.name for found in driver.list("")))
"""


@pytest.mark.usefixtures("s3_environment")
def test_a_child_of_a_busy_process_reads_and_writes(seaweed: Server, tmp_path: object) -> None:
    """What other threads of the parent held at that moment, it does not wait for."""
    place = seaweed.place()
    ended = children.run(
        _BUSY, seaweed.endpoint, place.prefix, tmp_path, _WAIT_SECONDS, timeout_seconds=2 * _WAIT_SECONDS
    )
    assert (ended.code, ended.out, ended.err) == (0, "0 ['after-1', 'after-2', 'before-1', 'before-2']\n", "")


_OTHERS = """
    import os, signal, sys, warnings
    import fsspec
    from renku_store import StoreUnavailableError
    from renku_store.drivers.objects.opening import open_fsspec
    import tests.drivers.test_fsspec as files

    fsspec.register_implementation("bucket", files.BucketFileSystem)
    driver = open_fsspec("bucket://films", {"cache": sys.argv[1]}).gate.driver
    driver.replace("x", b"1")
    warnings.simplefilter("ignore")  # later Pythons warn of any fork beside threads: that is what is tried here
    child = os.fork()
    if child == 0:
        signal.alarm(int(sys.argv[2]))
        told = 0
        uses = (
            lambda: driver.read("x"), lambda: driver.stat("x"), lambda: list(driver.list("")),
            lambda: driver.replace("x", b"2"), lambda: driver.create("y", b"2"), lambda: driver.delete("x"),
        )
        for use in uses:
            try:
                use()
            except StoreUnavailableError as error:
                told += "forked" in error.message and "anew" in error.hint
        again = open_fsspec("bucket://films", {"cache": sys.argv[1]}).gate.driver
        os._exit(told if again.read("x") == b"1" else 100)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), driver.read("x"))
"""


def test_file_systems_of_others_are_refused_in_a_child_and_can_be_opened_there(tmp_path: object) -> None:
    """Their connections are the parent's, and nobody knows which threads they have."""
    ended = children.run(_OTHERS, tmp_path, _WAIT_SECONDS, timeout_seconds=2 * _WAIT_SECONDS)
    assert (ended.code, ended.out, ended.err) == (0, "6 b'1'\n", "")


_ASKING = """
    import os, signal, sys, threading, warnings
    from renku_store.drivers.guarding import Gate, GuardedDriver
    from renku_store.drivers.memory.driver import open_memory

    driver = open_memory("memory://asked", {})
    guarded = GuardedDriver(driver, Gate(driver, "test"))
    held, done = threading.Event(), threading.Event()

    def asks():
        with guarded.gate._asking:
            held.set()
            done.wait()

    asking = threading.Thread(target=asks)
    asking.start()
    held.wait()
    warnings.simplefilter("ignore")  # later Pythons warn of any fork beside threads: that is what is tried here
    child = os.fork()
    if child == 0:
        signal.alarm(int(sys.argv[1]))
        os._exit(0 if guarded.create("x", b"1") else 1)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    done.set()
    asking.join()
"""


def test_a_child_probes_though_its_parent_was_probing() -> None:
    """Nobody in the child is asking what it would wait for."""
    ended = children.run(_ASKING, _WAIT_SECONDS, timeout_seconds=2 * _WAIT_SECONDS)
    assert (ended.code, ended.out, ended.err) == (0, "0\n", "")


_KEEPING = """
    import os, signal, sys, threading, warnings
    from pathlib import Path
    from renku_store.drivers.caching.cache import ObjectCache

    cache = ObjectCache(Path(sys.argv[1]), 1_000_000)
    held, done = threading.Event(), threading.Event()

    def keeps():
        with cache._files.ledger._threads:
            held.set()
            done.wait()

    keeping = threading.Thread(target=keeps)
    keeping.start()
    held.wait()
    warnings.simplefilter("ignore")  # later Pythons warn of any fork beside threads: that is what is tried here
    child = os.fork()
    if child == 0:
        signal.alarm(int(sys.argv[2]))
        cache.keep("name", b"bytes")
        os._exit(0 if cache.read("name") == b"bytes" else 1)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    done.set()
    keeping.join()
"""


def test_a_child_keeps_what_it_reads_though_its_parent_was_keeping(tmp_path: object) -> None:
    """Nobody in the child is at the folder that it would wait for."""
    ended = children.run(_KEEPING, tmp_path, _WAIT_SECONDS, timeout_seconds=2 * _WAIT_SECONDS)
    assert (ended.code, ended.out, ended.err) == (0, "0\n", "")


_GOING_ON = """
    import os, signal, sys, warnings
    from pathlib import Path
    from renku_store import StoreUnavailableError
    from renku_store.drivers.objects.driver import ObjectDriver
    from renku_store.drivers.objects.obstore_client import ObstoreClient
    from renku_store.drivers.objects.options import S3Place
    from tests.drivers.counted import CountedBucket

    place = S3Place("renku", sys.argv[2], endpoint=sys.argv[1], region="us-east-1", path_style=True)
    warnings.simplefilter("ignore")  # later Pythons warn of any fork beside threads: that is what is tried here
    for client in (ObstoreClient(place), CountedBucket()):
        driver = ObjectDriver(client, url=place.url, prefix=place.prefix, workspace=Path(sys.argv[3]), concurrency=4)
        contents = {f"{number}": os.urandom(1_048_576) for number in range(40)}
        for name, data in contents.items():
            driver.replace(name, data)
        coming, batch = driver.read_each(contents), driver.batch()
        first = dict([next(coming)])
        staged = batch.stage()
        staged.write(b"begun")
        batch.name(staged, "begun")
        batch.begin()
        child = os.fork()
        if child == 0:
            signal.alarm(int(sys.argv[4]))
            told = 0
            for go_on in (lambda: list(coming), batch.commit, lambda: batch.__exit__(None, None, None)):
                try:
                    go_on()
                except StoreUnavailableError as error:
                    told += "forked" in error.message
            os._exit(told)
        ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        batch.commit()
        print(ended, first | dict(coming) == contents, driver.read("begun"))
"""


@pytest.mark.usefixtures("s3_environment")
def test_what_the_parent_has_begun_is_refused_in_a_child(seaweed: Server, tmp_path: object) -> None:
    """Its threads and connections are the parent's, which goes on; leaving it in the child waits for nobody."""
    ended = children.run(
        _GOING_ON, seaweed.endpoint, seaweed.place().prefix, tmp_path, _WAIT_SECONDS, timeout_seconds=2 * _WAIT_SECONDS
    )
    assert (ended.code, ended.out, ended.err) == (0, "2 True b'begun'\n" * 2, "")
