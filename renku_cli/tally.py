"""How far a run has come, counted from its events: what runs, what waits for what, what ended how. Pure."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from renku_cli.estimate import Estimate
from renku_cli.text import cost, count, duration, neutral, short
from renku_store import Json, RunProgress

SHOWN_RECENT: Final = 5
"""Finished jobs that the view keeps in sight."""
SHOWN_MESSAGE: Final = 200
"""Characters of an error that a line shows."""
SHOWN_KEYS: Final = 6
"""Keys of limits whose waits are told one by one."""

_WAITS: Final = {"limit": "for its limit", "rate": "for its rate", "back-off": "backing off"}


@dataclass(frozen=True, slots=True)
class Finished:
    """A finished job: `seconds` and `cost` (US dollars) of its calls, `error` the sentence of what went wrong."""

    job: str
    status: str
    seconds: float
    cost: float
    error: str

    @classmethod
    def of(cls, event: RunProgress) -> Finished:
        """What a `job-finished` event says."""
        return cls(
            job=event.job or "",
            status=event.status or "",
            seconds=_number(event.data.get("seconds")),
            cost=_number(event.data.get("cost")),
            error=_message(event),
        )

    @property
    def called(self) -> bool:
        """Whether its producer was called."""
        return self.status in {"made", "failed"}

    def line(self) -> str:
        """The job on one line: `made  narration[2]  1.3 s  $0.0200`; time, cost and error where there are any."""
        parts = [self.status, neutral(self.job)]
        if self.called:
            parts.append(duration(self.seconds))
        if self.cost:
            parts.append(cost(self.cost))
        if self.error:
            parts.append(neutral(short(self.error, SHOWN_MESSAGE)))
        return "  ".join(parts)


def attempt_line(event: RunProgress) -> str:
    """A `job-attempt-failed` event on one line: `attempt 1 failed  narration[2]  It is busy.`."""
    attempt = event.data.get("attempt")
    return f"attempt {attempt} failed  {neutral(event.job or '')}  {neutral(short(_message(event), SHOWN_MESSAGE))}"


@dataclass(frozen=True, slots=True)
class Wait:
    """What a job waits for, since when (Unix seconds): `limit`, `rate` or `back-off` of `key`; `claim` of run `key`."""

    reason: str
    key: str
    since: float

    def text(self) -> str:
        """As a line shows it."""
        if self.reason == "claim":
            return f"for run {self.key}"
        whose = f" of {self.key}" if self.key else ""
        return {"limit": f"for the limit{whose}", "rate": f"for the rate{whose}"}.get(self.reason, self.reason + whose)


@dataclass(slots=True)
class Tally:
    """How far a run has come. `clock` gives Unix seconds, as the events tell them."""

    clock: Callable[[], float] = time.time
    began: float = 0.0
    total: int = 0
    concurrency: int = 0
    active: dict[str, float] = field(default_factory=dict[str, float])
    waits: dict[str, Wait] = field(default_factory=dict[str, Wait])
    recent: deque[Finished] = field(default_factory=lambda: deque[Finished](maxlen=SHOWN_RECENT))
    ended: Counter[str] = field(default_factory=Counter[str])
    retried: int = 0
    cost: float = 0.0
    stopping: bool = False
    estimate: Estimate = field(default_factory=lambda: Estimate(()))

    def take(self, event: RunProgress) -> None:
        """Count an event."""
        job, moment = event.job or "", _moment(event.at)
        match event.event:
            case "run-started":
                self._begin(event, moment)
            case "run-extended":
                added, gone = _keys(event.data.get("jobs")), event.data.get("instead")
                replaced = [str(job) for job in gone] if isinstance(gone, list) else []
                self.total += len(added) - len(replaced)
                self.estimate.extended(added, instead=replaced)
            case "job-started":
                self.waits.pop(job, None)
                self.active[job] = moment
            case "job-waiting":
                self.waits[job] = Wait(str(event.data.get("for", "")), str(event.data.get("key") or ""), moment)
            case "job-resumed":
                self.waits.pop(job, None)
            case "job-attempt-failed":
                self.retried += 1
            case "job-finished":
                self._finish(Finished.of(event))
            case "run-stopping":
                self.stopping = True
            case _:
                pass

    def _begin(self, event: RunProgress, moment: float) -> None:
        """Count from here; again where the run has planned anew on what somebody else has published."""
        jobs = _keys(event.data.get("jobs"))
        known = event.data.get("seconds")
        means = {key: _number(value) for key, value in known.items()} if isinstance(known, dict) else {}
        self.began, self.total = self.began or moment, self.done + len(jobs)
        self.concurrency = int(_number(event.data.get("concurrency")))
        self.estimate = Estimate(jobs, means, self.concurrency)
        self.active.clear()
        self.waits.clear()

    def _finish(self, finished: Finished) -> None:
        self.active.pop(finished.job, None)
        self.waits.pop(finished.job, None)
        self.ended[finished.status] += 1
        self.cost += finished.cost
        self.estimate.finished(finished.job, finished.seconds, called=finished.called)
        self.recent.append(finished)

    @property
    def elapsed(self) -> float:
        """Seconds since the run began."""
        return max(0.0, self.clock() - self.began) if self.began else 0.0

    @property
    def done(self) -> int:
        """Finished jobs, however they ended."""
        return self.ended.total()

    @property
    def working(self) -> list[str]:
        """The jobs whose calls are at work, the oldest first."""
        return [job for job in self.active if job not in self.waits]

    def summary(self) -> str:
        """One line: how far, how they ended, what it cost, how long, how long still."""
        total = max(self.total, self.done)
        parts = [f"{self.done:,} of {count(total, 'job')}"]
        parts += [f"{number:,} {status}" for status, number in sorted(self.ended.items())]
        if self.retried:
            parts.append(count(self.retried, "failed attempt"))
        parts += [cost(self.cost), duration(self.elapsed)]
        now = self.clock()
        going = {job: max(0.0, now - self.active[job]) for job in self.working}
        left = self.estimate.seconds_left(self.elapsed, going) if self.done < total else None
        return ", ".join(parts) + (f"; about {duration(left)} left" if left is not None else "")

    def flow(self) -> str:
        """One line: calls at work, jobs that wait for nothing but their turn, and who waits for what."""
        working = len(self.working)
        calls = f"{working:,} of {self.concurrency:,} calls" if self.concurrency else count(working, "call")
        queued = max(0, self.total - self.done - working - len(self.waits))
        parts = ["stopping"] if self.stopping else []
        parts += [f"{calls} at work", f"{queued:,} queued"]
        return "; ".join([", ".join(parts), *self._waiting()])

    def _waiting(self) -> list[str]:
        counted = Counter((wait.key if wait.reason != "claim" else "", wait.reason) for wait in self.waits.values())
        keys = sorted({key for key, reason in counted if reason != "claim"})
        told: list[str] = []
        for key in keys[:SHOWN_KEYS]:
            waits = [
                f"{counted[key, reason]:,} {words}" for reason, words in _WAITS.items() if counted[key, reason]
            ] or [f"{sum(number for (name, _), number in counted.items() if name == key):,} waiting"]
            told.append((f"{neutral(key)}: " if key else "") + ", ".join(waits))
        if len(keys) > SHOWN_KEYS:
            told.append(f"and {len(keys) - SHOWN_KEYS} more keys")
        if claims := counted["", "claim"]:
            told.append(f"{claims:,} waiting for another run")
        return told


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _keys(value: Json) -> list[str]:
    return list(value) if isinstance(value, dict) else []


def _message(event: RunProgress) -> str:
    error = event.data.get("error")
    message = error.get("message") if isinstance(error, dict) else None
    return message if isinstance(message, str) else ""


def _moment(at: str) -> float:
    return datetime.fromisoformat(at).timestamp()
