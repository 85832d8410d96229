"""The view of a run."""

from __future__ import annotations

import io

from rich.console import Console

from renku_cli.progress import SHOWN_ACTIVE, SHOWN_RECENT, Finished, LiveView, Tally
from renku_store import Json, RunProgress


def _event(kind: str, job: str | None = None, status: str | None = None, **data: Json) -> RunProgress:
    return RunProgress.model_validate(
        {"event": kind, "run": "r", "at": "2026-01-01T00:00:00.000Z", "job": job, "status": status, "data": data}
    )


def test_a_tally_counts_what_ended_how_and_what_it_cost() -> None:
    """Elapsed time and estimate come from the clock that is handed in."""
    now = 100.0
    tally = Tally(monotonic=lambda: now)
    assert tally.elapsed == 0.0
    tally.take(_event("run-started", jobs={"a[0]": 0, "a[1]": 0, "a[2]": 0}))
    tally.take(_event("job-started", "a[0]"))
    now = 110.0
    tally.take(_event("job-finished", "a[0]", "made", cost=0.5, seconds=10.0))
    tally.take(_event("job-finished", "a[1]", "reused", cost=0.0, seconds=0.0))
    assert tally.summary() == "2 of 3 jobs, 1 made, 1 reused, $0.5000, 10.0 s; about 10.0 s left"
    assert tally.active == {}


def test_jobs_that_appear_during_a_run_are_counted() -> None:
    """A loop over what is made during the run adds jobs; the bar never goes beyond its end."""
    tally = Tally(monotonic=lambda: 1.0)
    tally.take(_event("run-started", jobs={"a": 0}))
    for number in range(3):
        tally.take(_event("job-finished", f"b[{number}]", "made", seconds=1.0))
    assert tally.summary().startswith("3 of 3 jobs")


def test_the_live_view_shows_only_some_of_many_jobs() -> None:
    """Hundreds of jobs do not fill the screen; ids are shown as they are."""
    view = LiveView()
    view(_event("run-started", jobs={f"a[{n}]": 0 for n in range(500)}))
    for number in range(100):
        view(_event("job-finished", f"a[{number}]", "made", seconds=0.1))
    for number in range(100, 200):
        view(_event("job-started", f"a[{number}]"))
    view(_event("job-started", "[bold]\x1b[2J"))
    console = Console(file=io.StringIO(), width=100, force_terminal=False)
    console.print(view)
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert sum("running" in line for line in lines) == SHOWN_ACTIVE
    assert sum("made  " in line for line in lines) == SHOWN_RECENT
    assert any(f"and {101 - SHOWN_ACTIVE} more" in line for line in lines)
    assert "100 of 500 jobs, 100 made" in lines[-1]


def test_a_finished_job_is_one_line() -> None:
    """With time and cost where it was called, and the error where it failed."""
    assert Finished.of(_event("job-finished", "a[0]", "reused", seconds=0.0)).line() == "reused  a[0]"
    failed = _event("job-finished", "a\n", "failed", seconds=1.25, cost=0.5, error={"message": "no\x1b"})
    assert Finished.of(failed).line() == "failed  a\\n  1.2 s  $0.5000  no\\x1b"
