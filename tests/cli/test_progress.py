"""The view of a run."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta

from rich.console import Console

from renku_cli.live_view import SHOWN_ACTIVE, LiveView
from renku_cli.progress import PlainView
from renku_cli.tally import SHOWN_RECENT, Finished, Tally
from renku_store import Json, RunProgress

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def _event(kind: str, job: str | None = None, status: str | None = None, at: float = 0.0, **data: Json) -> RunProgress:
    moment = (BEGIN + timedelta(seconds=at)).isoformat()
    return RunProgress.from_json({"event": kind, "run": "r", "at": moment, "job": job, "status": status, "data": data})


def _tally(seconds: float = 0.0) -> Tally:
    return Tally(clock=lambda: BEGIN.timestamp() + seconds)


def _shown(view: LiveView) -> list[str]:
    console = Console(file=io.StringIO(), width=100, force_terminal=False)
    console.print(view)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_a_tally_counts_what_ended_how_and_what_it_cost() -> None:
    """Elapsed time and estimate come from the clock that is handed in, and from the times of the events."""
    tally = _tally(10.0)
    assert tally.elapsed == 0.0
    tally.take(_event("run-started", jobs={"a[0]": 0, "a[1]": 0, "a[2]": 0}))
    tally.take(_event("job-started", "a[0]"))
    tally.take(_event("job-finished", "a[0]", "made", at=10.0, cost=0.5, seconds=10.0))
    tally.take(_event("job-finished", "a[1]", "reused", at=10.0, cost=0.0, seconds=0.0))
    assert tally.summary() == "2 of 3 jobs, 1 made, 1 reused, $0.5000, 10.0 s; about 10.0 s left"
    assert tally.active == {}


def test_what_earlier_runs_took_gives_an_estimate_from_the_start() -> None:
    """Four calls of ten seconds, two at a time."""
    tally = _tally(0.001)
    jobs: Json = {f"clip[{n}]": 0 for n in range(4)}
    tally.take(_event("run-started", jobs=jobs, seconds={"clip": 10.0}, concurrency=2, expected=20.0))
    assert tally.summary().endswith("; about 20.0 s left")


def test_a_tally_tells_who_waits_for_what_by_key() -> None:
    """Calls at work, jobs that wait for their turn, and the waits of each key, whatever came and went before."""
    tally = _tally()
    tally.take(_event("run-started", jobs={f"a[{n}]": 0 for n in range(20)}, concurrency=8))
    for number in range(6):
        tally.take(_event("job-started", f"a[{number}]"))
    for number, reason in enumerate(["limit", "limit", "rate", "back-off"]):
        tally.take(_event("job-waiting", f"a[{number}]", **{"for": reason, "key": "openai"}))
    tally.take(_event("job-waiting", "a[4]", **{"for": "back-off", "key": "fal"}))
    tally.take(_event("job-waiting", "a[9]", **{"for": "claim", "key": "another"}))
    assert tally.flow() == (
        "1 of 8 calls at work, 13 queued; fal: 1 backing off; "
        "openai: 2 for its limit, 1 for its rate, 1 backing off; 1 waiting for another run"
    )
    for number in range(5):
        tally.take(_event("job-resumed", f"a[{number}]"))
    tally.take(_event("job-finished", "a[9]", "reused"))
    assert tally.flow() == "6 of 8 calls at work, 13 queued"
    tally.take(_event("run-stopping", status="interrupted", calls=[]))
    assert tally.flow() == "stopping, 6 of 8 calls at work, 13 queued"


def test_a_run_that_plans_anew_is_counted_on() -> None:
    """On what somebody else has published the rest begins again; what was done stays done."""
    tally = _tally(10.0)
    tally.take(_event("run-started", jobs={"a": 0, "b": 1}))
    tally.take(_event("job-finished", "a", "made", seconds=1.0))
    tally.take(_event("run-started", at=5.0, jobs={"a": 0, "b": 1}))
    assert tally.summary().startswith("1 of 3 jobs, 1 made")
    assert tally.elapsed == 10.0


def test_jobs_that_a_loop_adds_are_in_the_total_and_the_estimate() -> None:
    """A loop over what a run has made is known only then."""
    tally = _tally(5.0)
    tally.take(_event("run-started", jobs={"script": 0, "clip[*]": 1}))
    tally.take(_event("job-finished", "script", "made", at=5.0, seconds=5.0))
    tally.take(_event("run-extended", jobs={"clip[0]": 1, "clip[1]": 1}, instead=["clip[*]"]))
    assert tally.summary() == "1 of 3 jobs, 1 made, $0.00, 5.0 s; about 10.0 s left"


def test_the_live_view_never_gets_lower() -> None:
    """What stands below it stays where it is when jobs end."""
    view = LiveView(_tally())
    view(_event("run-started", jobs={f"a[{n}]": 0 for n in range(9)}))
    for number in range(9):
        view(_event("job-started", f"a[{number}]"))
    before = len(_shown(view))
    for number in range(9):
        view(_event("job-finished", f"a[{number}]", "made", seconds=0.1))
    assert len(_shown(view)) == before


def test_a_waiting_job_says_for_what() -> None:
    """Beside those that run, with how long it has waited."""
    view = LiveView(_tally(7.0))
    view(_event("run-started", jobs={"a": 0, "b": 0}))
    view(_event("job-started", "a"))
    view(_event("job-waiting", "a", at=2.0, **{"for": "rate", "key": "open\x1bai"}))
    line = next(line for line in _shown(view) if "waiting" in line)
    assert line.split() == ["waiting", "a", "5.0", "s", "for", "the", "rate", "of", "open\\x1bai"]


def test_a_pipe_gets_a_line_for_each_failed_attempt() -> None:
    """With the error, so that a run that only waits says why."""
    stream = io.StringIO()
    view = PlainView(stream)
    view(_event("job-attempt-failed", "a", attempt=2, error={"kind": "ProducerError", "message": "busy\n"}))
    view(_event("job-started", "a"))
    view(_event("job-finished", "a", "made", seconds=1.0))
    assert stream.getvalue() == "attempt 2 failed  a  busy\\n\nmade  a  1.0 s\n"


def test_jobs_that_appear_during_a_run_are_counted() -> None:
    """A loop over what is made during the run adds jobs; the bar never goes beyond its end."""
    tally = _tally(1.0)
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
    lines = _shown(view)
    assert sum("running" in line for line in lines) == SHOWN_ACTIVE
    assert sum("made  " in line for line in lines) == SHOWN_RECENT
    assert any(f"and {101 - SHOWN_ACTIVE} more" in line for line in lines)
    assert "100 of 500 jobs, 100 made" in lines[-1]


def test_a_finished_job_is_one_line() -> None:
    """With time and cost where it was called, and the error where it failed."""
    assert Finished.of(_event("job-finished", "a[0]", "reused", seconds=0.0)).line() == "reused  a[0]"
    failed = _event("job-finished", "a\n", "failed", seconds=1.25, cost=0.5, error={"message": "no\x1b"})
    assert Finished.of(failed).line() == "failed  a\\n  1.2 s  $0.5000  no\\x1b"
