"""A disk that is full, or a size limit, anywhere in a run: told, nothing lost, nothing half, nothing paid for twice."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests import children
from tests.cli.conftest import Call
from tests.hostile.conftest import BLUEPRINT, JOBS, LINES, Ledger

FILM = BLUEPRINT.replace(
    "cat request.json > outputs/audio",
    "cat request.json > outputs/audio; head -c 50000 /dev/urandom | tr -d a >> outputs/audio; test -s outputs/audio",
)
SWEEP = r"""
import json, os, resource, shutil, sys, tempfile
from collections import Counter
from pathlib import Path
from blake3 import blake3
from renku_cli.main import run
from renku_store import bounds, open_store

bounds.RESULT_FULL_MAX_SECONDS = 0.1
source, disk, ledger, mode = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]
levels, command = json.loads(sys.argv[5]), json.loads(sys.argv[6])
os.environ["LEDGER"] = str(ledger)
root, ballast = disk / "builds", disk / "ballast"

def call(*arguments, limit=resource.RLIM_INFINITY):
    # In a process of its own: what it held must be seen to be held by nobody.
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = os.fork()
        if child == 0:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            code = 99
            try:
                code = run(["--root", str(root), *arguments])
            finally:
                sys.stdout.flush()
                os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        out.seek(0), err.seek(0)
        return code, out.read().decode(), err.read().decode()

def crowded(kib):
    if mode == "limit":
        return call(*command, limit=max(kib, 4) * 1024)
    found = os.statvfs(disk)
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(4096, found.f_bavail * found.f_frsize - kib * 1024))
    answer = call(*command)
    ballast.unlink()
    return answer

def stored():
    with open_store(root) as store, store.movie("film") as movie:
        done = {(e.run, e.job) for e in movie.events.stream() if e.type == "artefact" and e.status == "succeeded"}
        for manifest, digest in movie.manifests.revisions():
            for entry in manifest.artefacts.values():
                assert len(movie.read(entry)) == entry.size
        return done, [manifest.revision for manifest, _ in movie.manifests.revisions()]

def complete():
    for path in (root / "film" / "blobs").rglob("*"):
        if path.is_file() and not path.suffix:
            assert blake3(path.read_bytes()).hexdigest() == path.name, path
    for path in (root / "film" / "manifests").iterdir():
        json.loads(path.read_bytes())
    json.loads((root / "film" / "current.json").read_bytes())

answers = []
for level in levels:
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(source, root)
    before, revisions = stored()
    ledger.write_text("")
    code, out, err = crowded(level)
    complete()
    done, now = stored()
    assert before <= done and now[-len(revisions):] == revisions, (level, before, done, now)
    again = call(*command)
    if command[0] != "run":
        assert again[0] == 0, (level, again)
        again = call("run", "--json")
    assert again[0] == 0, (level, again)
    calls = Counter(ledger.read_text().split())
    made = sorted(job for _, job in done - before)
    assert all(calls[job] == 1 for job in made), (level, made, calls)
    assert len(stored()[1]) == len(revisions) + 1
    answers.append([level, code, err, made, len(now) - len(revisions)])
print(json.dumps(answers))
"""


def sweep(
    place: Path, source: Path, ledger: Ledger, kind: str, levels: list[int], command: list[str]
) -> list[list[object]]:
    """Run a command on a fresh copy at each level of free space (KiB); it can be repeated once there is room."""
    disk = place / "disk"
    disk.mkdir()
    mount = children.in_own_mounts(f"mount -t tmpfs -o size=16m tmpfs '{disk}'") if kind == "disk" else None
    mode = "disk" if mount else "limit"
    given = [source, disk, ledger.path, mode, json.dumps(levels), json.dumps(command)]
    ended = children.run(SWEEP, *given, prefix=mount)
    assert ended.code == 0, ended.err[-3000:]
    answers: list[list[object]] = json.loads(ended.out)
    for level, code, err, _, _ in answers:
        assert code in {0, 1, 5}, (level, code, err)
        assert "Traceback" not in str(err)
        assert "fault of renku-store" not in str(err)
    return answers


@pytest.fixture
def edited(call: Call, place: Path, shown: Path) -> Path:
    """A build root whose movie has a revision and edits that make all of it anew, in larger pieces."""
    (place / "film.yaml").write_text(FILM)
    assert call("set", "@blueprint", "@film.yaml").code == 0
    assert call("set", "lines", json.dumps([*LINES, "four"])).code == 0
    return shown.parent


@pytest.mark.parametrize(
    ("kind", "levels"),
    [
        ("disk", [0, 24, 80, 152, 296, 440, 512, 584, 656, *range(740, 1000, 40)]),
        ("limit", [8, 32, 64, 96, 128, 256, 320]),
    ],
)
def test_a_run_on_a_full_disk_is_told_and_goes_on_when_there_is_room(
    place: Path, edited: Path, ledger: Ledger, kind: str, levels: list[int]
) -> None:
    """Wherever it strikes: blobs, events, manifest, pointer, or a program's own output."""
    answers = sweep(place, edited, ledger, kind, levels, ["run", "--json"])
    codes = {code for _, code, *_ in answers}
    assert 5 in codes
    assert any(done for _, code, _, done, _ in answers if code), "never struck between two results"
    for _, code, err, *_ in answers:
        if code == 5:
            error = json.loads(str(err).splitlines()[-1])["error"]
            assert error["kind"] == "StoreUnavailableError", error
            assert error["hint"]


@pytest.mark.parametrize("kind", ["disk", "limit"])
def test_an_edit_on_a_full_disk_is_set_or_not_set(place: Path, edited: Path, ledger: Ledger, kind: str) -> None:
    """A value that is a blob, too."""
    (place / "value.txt").write_text("".join(map(str, range(20_000))))
    levels = [1, 16, 32, 64, 96, 128]
    answers = sweep(place, edited, ledger, kind, levels, ["set", "greeting", f"@{place / 'value.txt'}"])
    assert 5 in {code for _, code, *_ in answers}


BEHIND_THE_COMMIT = [("flock:error=EIO", "locks/swap/current.json")]
"""What is published stays so, and is said to be: opening the movie again does the rest."""


@pytest.mark.parametrize(
    ("struck", "at"),
    [
        ("rename:error=ENOSPC", None),
        ("renameat2:error=ENOSPC", None),
        ("pwrite64:error=ENOSPC", None),
        ("fsync:error=EIO", "events"),
        ("link:error=ENOSPC", "manifests/rev-0002.json"),
        ("fsync:error=EIO", "manifests"),
        *BEHIND_THE_COMMIT,
        ("fsync:error=EIO", "."),
    ],
)
def test_the_writes_around_a_publication_can_fail_one_by_one(
    call: Call, place: Path, shown: Path, ledger: Ledger, struck: str, at: str | None
) -> None:
    """Plan, archive, blob, manifest, folder, pointer, index: the next run publishes, or finds it published."""
    assert call("set", "greeting", "good day").code == 0
    prefix = ["strace", "-f", "-qq", "-o", str(place / "trace"), "-e", f"inject={struck}"]
    prefix += ["-P", os.path.normpath(shown / at)] if at else []
    ended = children.run("import sys; from renku_cli.main import run; sys.exit(run())", "run", "--json", prefix=prefix)
    assert "(INJECTED)" in (place / "trace").read_text()
    if (struck, at) in BEHIND_THE_COMMIT:
        assert (ended.code, json.loads(ended.out)["status"]) == (0, "published"), ended
        assert "rev-0002 is published; current.json, or the index, follows" in ended.err
        assert "input/output" in ended.err
    else:
        assert ended.code == 5, ended
        error = json.loads(ended.err.splitlines()[-1])["error"]
        assert error["kind"] == "StoreUnavailableError"
        assert any(word in error["message"] for word in ("full", "input/output", "failed"))
    assert call("log").code == 0
    called = call("run", "--json")
    assert called.code == 0
    assert called.json["revision"] == "rev-0002"
    assert json.loads((shown / "current.json").read_text())["revision"] == "rev-0002"
    if at:
        assert ledger.calls == JOBS
    assert call("run", "--json").json["status"] == "unchanged"
