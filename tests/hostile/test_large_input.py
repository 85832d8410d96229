"""An input of ten megabytes: set, planned, run, inspected; short for people, whole for programs, sane in memory."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

from renku_store import open_store
from tests.cli.conftest import Call
from tests.hostile.conftest import Ledger

BIG = 10_000_000
MEMORY_MAX_KIB = 700 * 1024
"""Ten megabytes as YAML, as JSON and as canonical JSON, a few times over."""
PEAK = """
import sys
from pathlib import Path
from renku_cli.main import run
code = run(sys.argv[1:])
sys.stdout.flush()
# Not `ru_maxrss`: that counts what the parent had, too, before this program took its place.
print("peak", Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0], file=sys.stderr)
sys.exit(code)
"""


def measured(*arguments: str) -> tuple[str, int]:
    """What a command printed, and its peak memory in KiB."""
    ended = subprocess.run(
        [sys.executable, "-c", PEAK, *arguments], capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    return ended.stdout, int(ended.stderr.rpartition("peak ")[2])


def test_an_input_of_ten_megabytes_goes_all_the_way(call: Call, place: Path, shown: Path, ledger: Ledger) -> None:
    """One line of it is one job's; an edit elsewhere makes nothing of it again."""
    (place / "lines.json").write_text(json.dumps({"lines": ["x" * BIG, "two", "three"], "greeting": "hello"}))
    for command in (
        ["set", "--file", "lines.json"],
        ["plan"],
        ["run"],
        ["status"],
        ["inspect"],
        ["events"],
        ["diff", "1", "2"],
        ["explain"],
        ["log"],
    ):
        printed, peak = measured(*command)
        assert len(printed) < 8_000, command
        assert peak < MEMORY_MAX_KIB, command
    assert ledger.calls == Counter(["sound[0]", "reel"])
    assert len(call("cat", "sound[0].audio").out) > BIG
    inspected = call("inspect", "--json").json
    assert inspected["inputs"]["lines"].keys() == {"hash", "blob"}
    with open_store(place / "builds") as store:
        movie = store.movie("film")
        value = movie.value(movie.manifests.load_current()[0].inputs["lines"])
    assert value == ["x" * BIG, "two", "three"]
    ledger.clear()
    assert call("set", "lines[2]", "four").code == 0
    assert call("run").code == 0
    assert ledger.calls == Counter(["sound[2]", "reel"])


def test_ten_megabytes_of_text_need_no_file_form_of_their_own(call: Call, place: Path, shown: Path) -> None:
    """`set ID @FILE` of a declared string; a plan is about it, not full of it."""
    (place / "greeting.txt").write_text("line\n" * (BIG // 5))
    assert call("set", "greeting", "@greeting.txt").code == 0
    pending = call("status", "--json").json["pending"]
    assert [event["input"] for event in pending] == ["greeting"]
    called = call("plan", "--json")
    assert called.code == 0
    assert len(called.out) < 100_000
    assert json.loads(called.out)["jobs"]["sound[0]"]["state"] == "dirty"
