"""How a run ended, for people and for programs."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final, TextIO

from renku_cli.failures import paint
from renku_cli.output import print_table
from renku_cli.text import cost, count, neutral, neutral_lines, short
from renku_store import JobResult, RunReport

SHOWN_FAILURES: Final = 20
"""Failed jobs that are told of one by one."""
SHOWN_LINES: Final = 12
"""Lines kept of the end of what a failed producer wrote."""


def report_document(report: RunReport) -> dict[str, Any]:
    """The JSON form of a report; what the contract names is there even where it is null."""
    document = {"run": None, "revision": None, **report.to_json()}
    for job in document["jobs"].values():
        job.setdefault("error", None)
    return document


def show_report(report: RunReport, *, stream: TextIO) -> None:
    """Print how a run ended: the failed jobs, then one line that sums it up."""
    failed = {job: result for job, result in report.jobs.items() if result.status == "failed" or _ended_by(result)}
    if failed:
        _show_failures(failed, stream)
    stream.write(_summary(report, stream) + "\n")
    if hint := _next_step(report):
        stream.write(hint + "\n")
    stream.flush()


def _show_failures(failed: dict[str, JobResult], stream: TextIO) -> None:
    shown = list(failed.items())[:SHOWN_FAILURES]
    rows = [(job, _kind(result), short(_message(result), 200)) for job, result in shown]
    print_table(("failed job", "error", "message"), rows, stream=stream)
    if len(failed) > len(shown):
        stream.write(f"and {len(failed) - len(shown)} more failed jobs\n")
    for text, jobs in _by_diagnostics(shown).items():
        more = f" and {len(jobs) - 1} more" if len(jobs) > 1 else ""
        stream.write(paint(neutral(jobs[0]), "1", stream) + f"{more}, the end of what was written:\n")
        stream.writelines(f"    {neutral_lines(line)}\n" for line in text.splitlines()[-SHOWN_LINES:])


def _by_diagnostics(failed: list[tuple[str, JobResult]]) -> dict[str, list[str]]:
    """The jobs by what they wrote: a wrong key makes all of them say the same."""
    found: dict[str, list[str]] = {}
    for job, result in failed:
        text = (result.error.diagnostics or "").rstrip() if result.error else ""
        if text:
            found.setdefault(text, []).append(job)
    return found


def _summary(report: RunReport, stream: TextIO) -> str:
    counted = Counter(result.status for result in report.jobs.values())
    parts = [f"made {report.made:,}", f"reused {report.reused:,}"]
    parts += [f"{number:,} {status}" for status, number in sorted(counted.items()) if status not in {"made", "reused"}]
    parts.append(cost(report.cost) + (f", {cost(report.saved)} saved" if report.saved else ""))
    named = f" {report.revision}" if report.revision and report.status in {"published", "unchanged", "partial"} else ""
    colour = {"published": "32", "unchanged": "32", "failed": "1;31"}.get(report.status, "33")
    return f"{paint(report.status, colour, stream)}{named}: {', '.join(parts)}."


def _next_step(report: RunReport) -> str:
    if report.status == "interrupted":
        return "Run again to go on: what is finished is not made twice."
    if any(_ended_by(result) for result in report.jobs.values()):
        return "The budget ended the run. Run again with a higher --max-cost: what is finished is not made twice."
    failed = count(sum(result.status == "failed" for result in report.jobs.values()), "job")
    if report.status == "partial":
        return f"{failed} failed, and older values stand for what is missing; run again to make it."
    if report.status == "failed":
        return f"{failed} failed; run again to try them anew, or `renku-store abandon {report.run}`."
    return ""


def _ended_by(result: JobResult) -> bool:
    """Whether this is the job whose call would have exceeded the budget."""
    return result.status == "over budget" and result.error is not None


def _kind(result: JobResult) -> str:
    return result.error.kind if result.error else "-"


def _message(result: JobResult) -> str:
    return result.error.message if result.error else "-"
