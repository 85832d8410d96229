"""Prices, budgets and what was paid, as people and scripts see them."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from renku_cli.prices import job_cost, range_text
from renku_cli.text import cost
from renku_store import CostRange, PlannedJob
from tests.cli.conftest import Call, program

PRICED = """\
name: priced
inputs:
  lines: {type: list, required: true}
loops:
  line: {over: lines}
producers:
  word:
    for: [line]
    run: command
    argv: [sh, -c, 'sleep 0.05; cat request.json > outputs/text; echo "{\\"cost\\": 0.25}" > outputs.json']
    cost: {low: 0.1, high: 0.25}
    inputs: {line: "lines[line]"}
    outputs: {text: {mimeType: text/plain}}
  book:
    run: command
    argv: [sh, -c, 'ls > outputs/text']
    inputs: {words: "word[*].text"}
    outputs: {text: {mimeType: text/plain}}
"""


@pytest.fixture
def priced(call: Call, place: Path) -> str:
    (place / "priced.yaml").write_text(PRICED)
    assert call("init", "priced", "--blueprint", "priced.yaml").code == 0
    assert call("set", "lines", '["a", "b", "c", "d"]').code == 0
    return "priced"


def test_a_plan_tells_its_price_by_job_and_in_all(call: Call, priced: str) -> None:
    """A column, the last line, and the JSON."""
    lines = call("plan").out.splitlines()
    assert lines[0] == "layer\tjob\tstate\tcost\treasons"
    assert lines[1].split("\t")[3] == "$0.1000 to $0.2500"
    assert lines[5].split("\t")[3] == "unknown"
    assert lines[-1] == "rev-0001: 5 jobs to run, 0 clean, $0.4000 to $1.00 and 1 job of unknown cost."
    document = call("plan", "--json").json
    assert document["cost"] == {"low": 0.4, "high": 1.0, "unknown": 1}
    assert document["jobs"]["word[0]"]["cost"] == {"low": 0.1, "high": 0.25, "unknown": 0}
    assert "To make it costs $0.4000 to $1.00 and 1 job of unknown cost." in call("explain", "book").out


def test_a_budget_ends_a_run_with_code_1_and_a_larger_one_goes_on(call: Call, priced: str) -> None:
    """Two of four calls fit; the table names the job that did not, and why."""
    done = call("run", "--max-cost", "0.6")
    assert done.code == 1
    assert "BudgetExceededError" in done.out
    assert "would cost up to $0.25: the run has spent $0.50 of its budget of $0.60." in done.out
    assert "failed: made 2, reused 0, 3 over budget, $0.5000." in done.out
    assert "higher --max-cost" in done.out
    assert "Nobody can say what book will cost" in done.err
    assert "up to $1.00, more than the budget of $0.60" in done.err
    again = call("run", "--max-cost", "1", "--json")
    assert (again.code, again.json["status"], again.json["made"], again.json["reused"]) == (0, "published", 3, 2)
    assert call("log", "--json").json[0]["cost"] == 1.0


def test_what_a_run_has_made_is_not_counted_again_when_it_is_taken_up(call: Call, priced: str) -> None:
    """Though its jobs were to be made anew: the plan, its price and the warning of a budget are about the rest."""
    assert call("run").code == 0
    assert call("run", "--regen", "word", "-c", "1", "--max-cost", "0.6").code == 1
    lines = call("plan").out.splitlines()
    assert [line.split("\t")[3] for line in lines[1:5]].count("reused") == 2
    assert lines[-1].startswith("rev-0002 on rev-0001: 3 jobs to run, 2 answered by earlier results, 0 clean, $")
    document = call("plan", "--json").json
    assert (document["spent"], document["cost"]["high"] < 0.6) == (0.5, True)
    assert "up to" not in call("run", "--dry-run", "--max-cost", "1.25").err
    told = call("run", "--dry-run", "--max-cost", "0.6").err
    assert "after $0.50 spent by the run, may cost up to $0.50, more than the budget of $0.60 leaves" in told
    again = call("run", "--json").json
    assert (again["status"], again["made"], again["cost"]) == ("unchanged", 2, 0.5)


def test_a_report_as_json_has_the_error_at_the_job_that_did_not_fit(call: Call, priced: str) -> None:
    """Its status and that of all that were not called is the same."""
    done = call("run", "--max-cost", "0.3", "--json")
    jobs = done.json["jobs"]
    assert (done.code, done.json["status"], done.json["cost"]) == (1, "failed", 0.25)
    assert [job["status"] for job in jobs.values()].count("over budget") == 4
    kinds = [job["error"]["kind"] for job in jobs.values() if job["error"]]
    assert kinds == ["BudgetExceededError"]


def test_a_dry_run_warns_of_a_budget_that_may_not_do(call: Call, priced: str) -> None:
    """And makes nothing."""
    done = call("run", "--dry-run", "--max-cost", "0.5", "--json")
    assert done.code == 0
    assert any("more than the budget of $0.50" in warning for warning in done.json["warnings"])
    assert call("status", "--json").json["runs"] == []


@pytest.mark.parametrize("wrong", ["-1", "nan", "inf", "-inf", "abc", "", "1,5", "1e999", "1e300", "1000000001"])
def test_what_is_no_amount_is_bad_use(call: Call, priced: str, wrong: str) -> None:
    """Code 2, and nothing is begun."""
    done = call("run", "--max-cost", wrong, "--json")
    assert done.code == 2
    assert "is not a number of US dollars from 0" in done.error["message"]
    assert call("status", "--json").json["runs"] == []


def test_a_budget_of_nothing_makes_what_is_free(call: Call, priced: str) -> None:
    """`0` and `$0` are amounts."""
    assert call("set", "lines", "[]").code == 0
    assert call("run", "--max-cost", "$0").code == 0
    assert call("set", "lines", '["a"]').code == 0
    done = call("run", "--max-cost", "0", "--json")
    assert (done.code, done.json["made"], done.json["cost"]) == (1, 0, 0.0)


def test_what_reuse_saves_is_told_by_plan_run_log_inspect_and_stats(call: Call, priced: str) -> None:
    """Reverting an input is free, and says what it would have cost."""
    for value in ('["a", "b"]', '["a", "x"]', '["a", "b"]'):
        assert call("set", "lines", value).code == 0
        planned = call("plan").out
        done = call("run")
    assert "\treused\t" in planned
    assert "published rev-0003: made 0, reused 2, 1 clean, $0.00, $0.2500 saved." in done.out
    assert [entry["saved"] for entry in call("log", "--json").json] == [0.25, 0.0, 0.0]
    assert call("inspect", "--json").json["metrics"] == {"made": 0, "reused": 2, "cost": 0.0, "saved": 0.25}
    assert "$0.2500 saved" in call("inspect").out
    assert call("stats", "--json").json["cost"]["saved"] == 0.25
    assert "saved by reuse\t$0.2500" in call("stats").out


def test_what_a_failed_program_says_of_its_cost_counts(call: Call, priced: str, place: Path) -> None:
    """It leaves `outputs.json` and exits with an error."""
    (place / "broken.yaml").write_text(PRICED.replace("> outputs.json", "> outputs.json; exit 1"))
    done = call("run", "--blueprint", "broken.yaml", "--json", "-c", "1", "--max-cost", "0.6")
    assert (done.code, done.json["cost"]) == (1, 0.5)
    assert call("stats", "--json").json["cost"] == {"spent": 0.5, "published": 0.0, "unpublished": 0.5, "saved": 0.0}


def test_two_processes_with_budgets_of_their_own_pay_for_nothing_twice(call: Call, priced: str, place: Path) -> None:
    """Each run of its own inputs stays within its budget; what both need is made by one of them."""
    begin = place / "begin"  # the calls wait for it: a run that has not begun when the other publishes is refused
    waiting = PRICED.replace("sleep 0.05", f'while [ ! -e "{begin}" ]; do sleep 0.05; done')
    (place / "waiting.yaml").write_text(waiting)
    assert call("set", "@blueprint", "@waiting.yaml").code == 0
    own = {"left": ["a", "b", "l"], "right": ["a", "b", "r"]}
    for name, lines in own.items():
        Path(f"{name}.json").write_text(json.dumps({"lines": lines}))
    renku = str(Path(sys.executable).parent / "renku-store")
    both = [
        subprocess.Popen(
            [renku, "run", "--json", "--inputs", f"{name}.json", "--max-cost", "0.75", "--on-conflict", "fail"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in own
    ]
    deadline = time.monotonic() + 600
    while len(call("status", "--json").json["runs"]) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    begin.touch()
    outs = [process.communicate(timeout=600) for process in both]
    reports = [json.loads(out) for out, _ in outs if out]
    assert reports
    assert all(report["cost"] <= 0.75 for report in reports)
    stats = call("stats", "--json").json
    assert stats["cost"]["spent"] == 1.0
    assert program("fsck").returncode == 0


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        (CostRange(low=0.5, high=0.5), "$0.5000"),
        (CostRange(low=0, high=2), "$0.00 to $2.00"),
        (CostRange(low=1, high=1, unknown=2), "$1.00 and 2 jobs of unknown cost"),
    ],
)
def test_a_range_is_one_amount_or_two(amount: CostRange, shown: str) -> None:
    """And how many calls are in neither."""
    assert range_text(amount) == shown


def test_a_job_without_a_cost_has_a_dash_and_an_amount_as_many_digits_as_it_needs() -> None:
    """Fractions of a cent are seen."""
    assert job_cost(PlannedJob(state="clean", layer=0)) == "-"
    assert (cost(0), cost(0.00002), cost(0.25), cost(12)) == ("$0.00", "$0.000020", "$0.2500", "$12.00")
