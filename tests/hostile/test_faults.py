"""Every system call that writes, made to fail in turn: a named error or a right answer, and nothing is lost.

Invariants 3, 5 and 11. The operations are those that are killed in tests/crash.
"""

from __future__ import annotations

import errno
import json
from collections import Counter
from pathlib import Path

import pytest

from tests import children
from tests.authoring import opened
from tests.crash.operations import OPERATIONS, check, small_bounds

SWEEP = """
    import errno, json, shutil, sys
    from collections import Counter
    from itertools import count
    from pathlib import Path
    from renku_store import StoreError, abandon
    from renku_store.testing.crash_points import in_child
    from renku_store.testing.faults import Faults
    from tests.authoring import opened
    from tests.crash.operations import OPERATIONS, check, published, small_bounds

    operation, place = OPERATIONS[sys.argv[1]], Path(sys.argv[2])
    first, stride, lasting = int(sys.argv[3]), int(sys.argv[4]), sys.argv[5] == "lasting"
    errors = [int(error) for error in sys.argv[6:]]
    template, root, answer = place / "template", place / "root", place / "answer"

    def settled(promises):
        if operation.damaged or not (root / "film" / "format.json").exists():
            return
        with opened(root) as movie:
            operation.promised(movie, promises)
            check(movie, before, operation.expires)

    def through(movie, faults, promises):
        # The same object, before and after.
        try:
            with faults.striking():
                operation.work(movie, promises.append)
        except StoreError as problem:
            outcome = problem.kind
            operation.work(movie, promises.append)
        else:
            outcome = "done"
        return outcome

    def whole(faults, promises):
        # From opening to closing; then opened anew.
        try:
            with faults, faults.striking():
                operation.operate(root, promises.append)
        except StoreError as problem:
            settled(promises)
            operation.operate(root, promises.append)
            return problem.kind
        return "done"

    def trial(error, number):
        faults, promises = Faults(root, error, number, lasting=lasting), []
        if number % 2 and operation.work is not None and operation.alone is None:
            with faults, opened(root) as movie:
                outcome = through(movie, faults, promises)
        else:
            outcome = whole(faults, promises)
        with opened(root) as movie:
            operation.promised(movie, promises)
            for record in movie.leases.unfinished() if lasting else []:
                if not record.alive:  # a lease that could not be released has ended by now; others made its results
                    abandon(movie, record.run)
            operation.done(movie)
            check(movie, before, operation.expires)
        answer.write_text(json.dumps([outcome, faults.struck]))

    with small_bounds():
        operation.prepare(template)
        before = {} if operation.damaged else published(template)
        answers = Counter()
        for place_in_turn, error in enumerate(errors):
            passed = 0
            for number in count(first + 8 * place_in_turn, stride):
                shutil.copytree(template, root)
                code, failure = in_child(lambda: trial(error, number))
                assert code == 0, f"call {number}, {errno.errorcode[error]}: {failure}"
                outcome, struck = json.loads(answer.read_text())
                shutil.rmtree(root)
                passed = 0 if struck else passed + 1
                if passed == 2:  # as the same object and from opening on there are not equally many calls
                    break
                if struck:
                    answers[outcome] += 1
    print(json.dumps(answers))
"""
ERRORS = [errno.ENOSPC, errno.EIO, errno.EMFILE, errno.EROFS, errno.EINTR]
NAMED = {"done", "StoreUnavailableError"}


def swept(place: Path, name: str, first: int, stride: int, how: str, *errors: int) -> Counter[str]:
    """How often the operation ended in which way."""
    ended = children.run(SWEEP, name, place, first, stride, how, *errors, timeout_seconds=1800)
    assert ended.code == 0, ended.err
    answers = Counter(json.loads(ended.out))
    assert set(answers) <= NAMED, answers
    return answers


@pytest.mark.ramdisk
@pytest.mark.parametrize("name", ["put", "append", "publish", "run", "gc", "prune", "compact", "rollback", "rebuild"])
def test_a_call_that_fails_is_named_and_nothing_is_lost(tmp_path: Path, name: str) -> None:
    """Every so many calls, each error in turn: the same object goes on, or the movie opened anew."""
    answers = swept(tmp_path, name, 2, 61, "once", *ERRORS)
    assert answers["StoreUnavailableError"], answers


@pytest.mark.ramdisk
@pytest.mark.parametrize("name", ["publish", "gc"])
def test_a_root_that_can_be_written_no_more_is_told_and_goes_on_later(tmp_path: Path, name: str) -> None:
    """From some call on all fail, as after an emergency remount; another is refused while files are open to write."""
    answers = swept(tmp_path, name, 4, 61, "lasting", errno.EROFS)
    assert answers["StoreUnavailableError"], answers


@pytest.mark.long
@pytest.mark.parametrize("how", ["once", "lasting"])
@pytest.mark.parametrize("error", ERRORS, ids=errno.errorcode.get)
@pytest.mark.parametrize("name", OPERATIONS)
def test_each_call_that_fails_is_named_and_nothing_is_lost(tmp_path: Path, name: str, error: int, how: str) -> None:
    """All of them; once, or until somebody makes room, mounts again, or closes files."""
    swept(tmp_path, name, 1, 1, how, error)


UNBEGUN = """
    import errno, sys
    from pathlib import Path
    from renku_store import StoreUnavailableError
    from renku_store.testing.faults import Faults
    from tests.authoring import opened
    from tests.crash.operations import prepare_run, run
    root = Path(sys.argv[1])
    prepare_run(root)
    held = 0
    with Faults(root, errno.ENOSPC, int(sys.argv[2])) as faults, opened(root) as movie:
        try:
            with faults.striking():
                run(movie)
        except StoreUnavailableError:
            print(" ".join(faults.struck), [record.run for record in movie.leases.unfinished() if record.alive])
        assert run(movie).status == "published"
"""


def test_a_run_that_cannot_begin_lets_its_lease_go(tmp_path: Path) -> None:
    """While its plan is written, the lease is taken already; the same process may try again at once."""
    told = [children.run(UNBEGUN, tmp_path / str(number), number) for number in range(11, 22, 2)]
    assert [ended.err for ended in told if ended.code] == []
    assert any("/tmp/" in ended.out for ended in told), "the plan was among what could not be written"
    assert all(ended.out.endswith("[]\n") for ended in told), told


# The system itself

CROWDED = """
    import os, resource, sys
    from pathlib import Path
    from renku_store import StoreUnavailableError
    from tests.authoring import opened
    from tests.crash.operations import OPERATIONS, check, published, small_bounds
    operation, root = OPERATIONS[sys.argv[1]], Path(sys.argv[2])
    told = 0
    with small_bounds():
        operation.prepare(root)
        before = published(root)
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        used = len(os.listdir("/proc/self/fd"))
        for spare in range(12):
            resource.setrlimit(resource.RLIMIT_NOFILE, (used - 1 + spare, hard))
            try:
                with opened(root) as movie:
                    operation.work(movie, lambda _: None)
            except StoreUnavailableError as error:
                told += 1
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        with opened(root) as movie:
            operation.work(movie, lambda _: None)
            operation.done(movie)
            check(movie, before)
    print(told)
"""


@pytest.mark.parametrize("name", ["put many", "publish", "gc", "prune"])
def test_a_process_with_too_few_files_says_so(tmp_path: Path, name: str) -> None:
    """With none to spare, with one, with two ...; at last it works, and nothing was lost."""
    ended = children.run(CROWDED, name, tmp_path / "root")
    assert ended.code == 0, ended.err
    assert int(ended.out) > 2


@pytest.mark.parametrize("call", ["write", "fsync", "syncfs", "fdatasync", "pwrite64", "ftruncate"])
def test_a_call_that_a_signal_interrupts_is_tried_again(tmp_path: Path, call: str) -> None:
    """Every fifth of its kind is cut off; the answer is right, or the failure has a name."""
    script = """
        import sys
        from pathlib import Path
        from renku_store import StoreUnavailableError
        from tests.authoring import opened
        from tests.crash.operations import OPERATIONS, small_bounds
        with small_bounds(), opened(Path(sys.argv[1])) as movie:
            for name in ("put many", "publish"):
                while True:
                    try:
                        OPERATIONS[name].work(movie, lambda _: None)
                        OPERATIONS[name].done(movie)
                        break
                    except StoreUnavailableError:
                        continue
    """
    with small_bounds():
        OPERATIONS["publish"].prepare(tmp_path / "root")
        prefix = ["strace", "-f", "-qq", "-o", str(tmp_path / "trace"), "-e", f"trace={call}", "-e", "signal=none"]
        prefix += ["-e", f"inject={call}:error=EINTR:when=5+7"]
        ended = children.run(script, tmp_path / "root", prefix=prefix)
        assert ended.code == 0, ended.err
        with opened(tmp_path / "root") as movie:
            OPERATIONS["publish"].done(movie)
            check(movie, {})
