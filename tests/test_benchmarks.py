"""The driver of the benchmarks: runs each by itself, holds them against the goals, tells what fails."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

_TOP = Path(__file__).resolve().parents[1]
_BENCHMARKS = _TOP / "benchmarks"


@pytest.fixture
def goals(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module that judges."""
    monkeypatch.syspath_prepend(str(_BENCHMARKS))
    return importlib.import_module("goals")


def _driven(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(_BENCHMARKS / "run.py"), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def _document(question: str) -> dict[str, Any]:
    """Its newest result file."""
    (*_, newest) = sorted((_BENCHMARKS / question / "results").glob("*.json"))
    document: dict[str, Any] = json.loads(newest.read_text(encoding="utf-8"))
    return document


def test_the_driver_prints_one_table_of_the_benchmarks_that_it_ran(tmp_path: Path) -> None:
    """As text: a row a task, with its question, and no goal judged by small sizes."""
    ended = _driven("--only", "start-up", "large-blobs", "--rounds", "1", "--directory", str(tmp_path))
    assert ended.returncode == 0, ended.stderr
    heads, *lines = ended.stdout.splitlines()
    assert re.split(r" {2,}", heads)[:3] == ["question", "task", "ours, median"]
    (version,) = [line for line in lines if "renku-store --version" in line]
    assert re.fullmatch(r"start-up +renku-store --version +\S+ m?s +\S+ m?s +[\d.]+ +at most 1.6 x the limit", version)
    assert sum(line.startswith("large blobs") for line in lines) == 3
    assert re.fullmatch(r"Measured on \d+ processors .*: [\d-]{10} \(start-up, large blobs\)\.", lines[-2])
    assert "no goal is judged" in lines[-1]
    assert re.findall(r"^(\S+): done after \d+ s$", ended.stderr, re.MULTILINE) == ["start-up", "large-blobs"]
    assert list(tmp_path.iterdir()) == []


def test_the_driver_gives_one_json_document_with_each_benchmarks_own(tmp_path: Path) -> None:
    """Rows in the order of the tasks, beside everything that each benchmark told."""
    ended = _driven("--only", "start-up", "--rounds", "1", "--json", "--directory", str(tmp_path))
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    results = found["documents"]["start-up"]["results"]
    assert (found["quick"], found["failed"]) == (True, {})
    assert [row["task"] for row in found["rows"]] == [result["task"] for result in results]
    assert [row["oursSeconds"] for row in found["rows"]] == [result["ours"]["median"] for result in results]


def test_a_benchmark_that_fails_is_told_and_the_others_run(tmp_path: Path) -> None:
    """The exit code says it, and which one it was and why; what ran is in the table."""
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    ended = _driven("--only", "start-up", "--rounds", "1", "--directory", str(blocked), "--json")
    assert ended.returncode == 1
    found = json.loads(ended.stdout)
    assert found["rows"] == []
    assert "NotADirectoryError" in found["failed"]["start-up"]
    assert "start-up failed with exit code 1" in ended.stderr


def test_peers_may_take_part_in_the_first_rounds_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours and the limit go on in turns: what takes minutes elsewhere does not cost them rounds."""
    monkeypatch.syspath_prepend(str(_BENCHMARKS))
    measuring = importlib.import_module("measuring")
    calls: list[str] = []
    sides = {name: lambda number, name=name: calls.append(f"{name}{number}") for name in ("ours", "limit", "git")}
    task = measuring.Task("add", "durable", sides["ours"], sides["limit"], {"git": sides["git"]})
    (found,) = measuring.measure([task], 3, 1)
    assert calls == ["git0", "ours0", "limit0", "limit1", "ours1", "ours2", "limit2"]
    assert found["peers"].keys() == {"git"}
    calls.clear()
    measuring.measure([task], 2)
    assert [call for call in calls if call.startswith("git")] == ["git0", "git1"]


def test_results_of_small_sizes_are_not_kept() -> None:
    """`--keep` is for full sizes."""
    ended = _driven("--keep", "--only", "start-up")
    assert (ended.returncode, "--keep needs --full" in ended.stderr) == (2, True)


def test_every_benchmark_is_in_the_table_of_goals(goals: Any) -> None:
    """A question that is added is run by the driver."""
    assert set(goals.GOALS) == {path.parent.name for path in _BENCHMARKS.glob("*/bench.py")}


def test_every_goal_is_of_a_task_that_is_measured(goals: Any) -> None:
    """A task that gets another name does not lose its goal unseen."""
    for question, entry in goals.GOALS.items():
        tasks = [result["task"] for result in _document(question)["results"]]
        if entry.get("largest"):  # the kept results may be without the largest size
            tasks += [task.replace("100,000 ", "1,000,000 ") for task in tasks]
        for goal in entry["goals"]:
            assert any(re.fullmatch(goal["tasks"], task) for task in tasks), (question, goal)


@pytest.mark.parametrize(
    ("question", "result", "met"),
    [
        ("start-up", {"task": "renku-store --version", "ratio": 1.6}, True),
        ("start-up", {"task": "renku-store --version", "ratio": 1.61}, False),
        ("start-up", {"task": "renku-store --help", "ratio": 9.0}, None),
        ("open", {"task": "renku-store inspect", "ours": {"median": 0.149}, "limit": {"median": 0.1}}, True),
        ("open", {"task": "renku-store inspect", "ours": {"median": 0.151}, "limit": {"median": 0.1}}, False),
        ("publish", {"task": "publish with 10 of 100,000 artefacts changed", "share": 0.04}, False),
        ("events", {"task": "append 20,000 events from 64 threads", "ours": {"median": 0.99}}, True),
        ("events", {"task": "append 20,000 events from 64 threads", "ours": {"median": 1.01}}, False),
        ("events", {"task": "append 3,000 events, a commit each", "limit": {"median": 0.91}}, True),
        ("events", {"task": "append 3,000 events, a commit each", "limit": {"median": 0.89}}, False),
        ("add-blobs", {"task": "add 20,000 x 4 KiB", "peers": {"git": {"median": 2.0}}}, True),
        ("add-blobs", {"task": "add 20,000 x 4 KiB", "peers": {"git": {"median": 0.9}}}, False),
        ("add-blobs", {"task": "add 20,000 x 4 KiB"}, None),
        ("run-jobs", {"task": "execute a plan, 10,000 jobs, 64 at once"}, None),
    ],
)
def test_a_task_meets_all_its_goals_or_misses_them(
    goals: Any, question: str, result: dict[str, Any], met: bool | None
) -> None:
    """One that is missed is a miss; where peers or a figure were not measured, nothing is claimed."""
    second = {"median": 1.0, "min": 1.0, "max": 1.0}
    given = {"ours": second, "limit": second, "ratio": 1.0, **result}
    (row,) = goals.rows(question, {"quick": False, "results": [given]})
    assert row.met is met
    (row,) = goals.rows(question, {"quick": True, "results": [given]})
    assert row.met is None


def test_the_best_peer_does_the_same_work(goals: Any) -> None:
    """What stands beside for comparison only, as bare Python, is no peer."""
    (row, *_) = goals.rows("start-up", _document("start-up"))
    assert (row.peer, row.peer_seconds) == ("", None)
    (row,) = [row for row in goals.rows("nothing-changed", _document("nothing-changed")) if row.peer]
    assert row.task == "renku-store run"
    assert row.peer in {"doit", "redun", "snakemake", "dvc"}


def test_a_readme_gets_new_figures_and_keeps_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Head and tables are the result file's; what people say about them is theirs; twice is once."""
    monkeypatch.syspath_prepend(str(_BENCHMARKS))
    renewed = importlib.import_module("result_sections").renewed
    document = _document("nothing-changed")
    asked = "# Question?\n\n| a | b |\n|---|---|\n"
    before = f"{asked}\n## Result\n\nLong ago.\n\n| task | ours |\n|---|---|\n| x | 1 |\n\nIt is so.\n"
    after = renewed(before, document, "2026-11-22.json")
    assert after.startswith(f"{asked}\n## Result\n\n{document['date']}, ")
    assert after.endswith(" |\n\nIt is so.\n")
    assert "Long ago" not in after
    for result in document["results"]:
        written = re.search(rf"^\| {re.escape(result['task'])} \| (\d+\.(\d\d+)) \(", after, re.MULTILINE)
        assert written is not None
        assert written[1] == f"{result['ours']['median']:.{len(written[2])}f}"
        for peer in result.get("peers", {}):
            assert f"| {result['task']} | {peer} | " in after
    assert renewed(after, document, "2026-11-22.json") == after
    assert renewed(asked, document, "2026-11-22.json") == after.removesuffix("\nIt is so.\n")
    with pytest.raises(ValueError, match="one section Result"):
        renewed(f"{asked}\n## Result\n\nNo table.\n", document, "2026-11-22.json")
