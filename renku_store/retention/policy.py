"""Which revisions stay, and why: pure rules over numbers, times and tags.

The newest revision and tagged ones always stay. A rule more never lets more go.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from renku_store.errors import InvalidValueError


@dataclass(frozen=True, slots=True)
class RetentionPolicy:
    """What stays: the last so many, the newest of each of the last so many periods (UTC), what is young enough.

    `within_seconds` and `max_bytes` are None where they do not matter. `max_bytes` lets more go than the other rules
    do, until what stays takes no more bytes on the disk; where it stands alone, all others stay.
    Raises `InvalidValueError` for numbers below zero.
    """

    keep_last: int = 0
    keep_hourly: int = 0
    keep_daily: int = 0
    keep_weekly: int = 0
    keep_monthly: int = 0
    keep_yearly: int = 0
    keep_tags: tuple[str, ...] = ()
    within_seconds: float | None = None
    max_bytes: int | None = None

    def __post_init__(self) -> None:
        counts = {"keep_last": self.keep_last, **{f"keep_{name}": count for name, count in self.periods().items()}}
        for name, given in (*counts.items(), ("within_seconds", self.within_seconds), ("max_bytes", self.max_bytes)):
            if given is not None and not (given >= 0 and math.isfinite(given)):
                raise InvalidValueError(f"{name} cannot be {given}.", hint="Give a number from 0.")

    def periods(self) -> dict[str, int]:
        """How many periods of each kind keep their newest revision."""
        return {
            "hourly": self.keep_hourly,
            "daily": self.keep_daily,
            "weekly": self.keep_weekly,
            "monthly": self.keep_monthly,
            "yearly": self.keep_yearly,
        }

    @property
    def keeps(self) -> bool:
        """Whether some rule says what stays; without one all do, as far as `max_bytes` allows."""
        return bool(self.keep_last or any(self.periods().values()) or self.keep_tags or self.within_seconds is not None)

    @property
    def empty(self) -> bool:
        """Whether it says nothing at all."""
        return not self.keeps and self.max_bytes is None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A revision that the rules are asked about: its number, when it was published (aware), and its tags."""

    number: int
    created_at: datetime
    tags: tuple[str, ...] = ()


_PERIODS: Final[Mapping[str, Callable[[datetime], str]]] = {
    "hourly": lambda moment: moment.strftime("%Y-%m-%dT%H"),
    "daily": lambda moment: moment.strftime("%Y-%m-%d"),
    "weekly": lambda moment: "{}-W{:02d}".format(*moment.isocalendar()[:2]),
    "monthly": lambda moment: moment.strftime("%Y-%m"),
    "yearly": lambda moment: moment.strftime("%Y"),
}


def kept(candidates: Sequence[Candidate], policy: RetentionPolicy, now: datetime) -> dict[int, list[str]]:
    """The revisions that stay, by number, each with the reasons: `newest`, `tag NAME`, `last`, `daily 2026-11-21`, ...

    `now` is the time (aware, UTC) that `within_seconds` counts from; a revision dated later counts as of now. The size
    budget is not looked at here.
    """
    newest_first = sorted(candidates, key=lambda candidate: candidate.number, reverse=True)
    reasons: dict[int, list[str]] = {candidate.number: [] for candidate in newest_first}
    if newest_first:
        reasons[newest_first[0].number].append("newest")
    for candidate in newest_first:
        reasons[candidate.number] += [f"tag {tag}" for tag in sorted(candidate.tags)]
    if not policy.keeps:
        return {number: found or ["no rule against it"] for number, found in reasons.items()}
    for candidate in newest_first[: policy.keep_last]:
        reasons[candidate.number].append("last")
    dated = {candidate.number: min(candidate.created_at, now) for candidate in newest_first}
    for kind, count in policy.periods().items():
        for number, period in _newest_of_periods(dated, _PERIODS[kind], count).items():
            reasons[number].append(f"{kind} {period}")
    if policy.within_seconds is not None:
        for number, moment in dated.items():
            if (now - moment).total_seconds() <= policy.within_seconds:
                reasons[number].append("within")
    return {number: found for number, found in reasons.items() if found}


def _newest_of_periods(
    dated: Mapping[int, datetime], period_of: Callable[[datetime], str], count: int
) -> dict[int, str]:
    """The newest revision of each of the `count` latest periods that have one."""
    found: dict[str, int] = {}
    for number, moment in sorted(dated.items(), key=lambda entry: (entry[1], entry[0]), reverse=True):
        period = period_of(moment)
        if period not in found:
            if len(found) >= count:
                break
            found[period] = number
    return {number: period for period, number in found.items()}
