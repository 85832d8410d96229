"""What the limits of a key are, and how people write them: `rate = "60/1m"`, `spacing = "0.5s"`, and so on."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final, Literal, TypeVar, cast

from renku_store import bounds
from renku_store.errors import InvalidValueError
from renku_store.running.wrapping import RetryPolicy

Scope = Literal["process", "machine"]
T = TypeVar("T")

_DURATION: Final = re.compile(r"([0-9]*\.?[0-9]+) ?(ms|s|m|h)?")
_RATE: Final = re.compile(r"([0-9]+) ?(?:/|per) ?([0-9]*\.?[0-9]+)? ?(ms|s|m|h)")
_SPAN: Final = re.compile(r"([0-9]+) ?(?:-|to) ?([0-9]+)")
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0}


@dataclass(frozen=True, slots=True)
class LimitRule:
    """The limits of one key; what is None does not bind. Times are in seconds.

    - `concurrency`: calls at once. `adaptive`: at least and at most so many, found out while they go.
    - `rate` per `period_seconds`: in no window of that length do more calls start; `spacing_seconds` between two.
    - `reservoir`: a burst of that many, then one for each `refill_seconds`.
    - `weight`: what one call counts, unless its producer says otherwise under `uses`.
    - `scope`: calls of this process, of whatever movie, or `machine`: those of all processes of this machine, of
      whatever movies, too. Concurrency, rate, spacing and the pauses that a provider asks for are shared then; an
      adaptive limit is each process's own.

    Raises `InvalidValueError` for limits that let nobody in or contradict each other.
    """

    concurrency: int | None = None
    rate: int | None = None
    period_seconds: float = 1.0
    spacing_seconds: float = 0.0
    reservoir: int | None = None
    refill_seconds: float = 0.0
    adaptive: tuple[int, int] | None = None
    weight: int = 1
    scope: Scope = "process"

    def __post_init__(self) -> None:
        for name, number in (("concurrency", self.concurrency), ("rate", self.rate), ("reservoir", self.reservoir)):
            if number is not None and not 1 <= number <= bounds.CONCURRENCY_MAX:
                raise _refused(f"its {name} is {number}", f"Use 1 to {bounds.CONCURRENCY_MAX}.")
        times = (self.period_seconds, self.spacing_seconds, self.refill_seconds)
        if not all(0 <= time <= bounds.LIMIT_PERIOD_MAX_SECONDS for time in times) or self.period_seconds == 0:
            raise _refused("its times are not between 0 and a day", "Give seconds, such as 60 for a minute.")
        if self.weight < 1:
            raise _refused(f"its weight is {self.weight}", "Use 1 or more.")
        if (self.reservoir is None) != (self.refill_seconds == 0):
            raise _refused("a reservoir and its refill belong together", 'Write reservoir = 20 and refill = "1s".')
        if self.reservoir is not None and self.scope == "machine":
            raise _refused("a reservoir is one process's own", "Use rate and spacing with the scope machine.")
        if self.adaptive is not None and not 1 <= self.adaptive[0] <= self.adaptive[1] <= bounds.CONCURRENCY_MAX:
            raise _refused(f"its adaptive limits are {self.adaptive}", 'Give the least and the most, such as "1-16".')
        if self.adaptive is not None and self.concurrency is not None and self.adaptive[0] > self.concurrency:
            raise _refused("its concurrency is below its least adaptive limit", "Lower that, or leave one of them out.")

    @property
    def paced(self) -> bool:
        """Whether it bounds when calls may start."""
        return self.rate is not None or self.spacing_seconds > 0 or self.reservoir is not None

    def written(self) -> dict[str, str | int]:
        """The rule as `read_rule` takes it; what does not bind is left out."""
        entries: dict[str, str | int | None] = {
            "concurrency": self.concurrency,
            "adaptive": self.adaptive and f"{self.adaptive[0]}-{self.adaptive[1]}",
            "rate": self.rate and f"{self.rate}/{self.period_seconds:g}s",
            "spacing": f"{self.spacing_seconds:g}s" if self.spacing_seconds else None,
            "reservoir": self.reservoir,
            "refill": f"{self.refill_seconds:g}s" if self.refill_seconds else None,
            "weight": self.weight if self.weight != 1 else None,
            "scope": self.scope if self.scope != "process" else None,
        }
        return {name: entry for name, entry in entries.items() if entry is not None}


def read_rule(key: str, given: object) -> LimitRule:
    """The limits of a key as a person wrote them, as in the section `[limits.KEY]` of the config file.

    Raises `InvalidValueError` that names the key and the entry.
    """
    entries = _Entries(f"limits.{key}", given, _RULE_KEYS)
    rate = entries.read("rate", _rate)
    try:
        return LimitRule(
            concurrency=entries.read("concurrency", _whole),
            rate=rate[0] if rate else None,
            period_seconds=rate[1] if rate else 1.0,
            spacing_seconds=entries.read("spacing", _duration) or 0.0,
            reservoir=entries.read("reservoir", _whole),
            refill_seconds=entries.read("refill", _duration) or 0.0,
            adaptive=entries.read("adaptive", _span),
            weight=entries.read("weight", _whole) or 1,
            scope=entries.read("scope", _scope) or "process",
        )
    except InvalidValueError as error:
        if error.message.startswith("limits."):
            raise
        raise InvalidValueError(f"limits.{key} cannot be: {error.message}", hint=error.hint) from None


def read_limits(given: object) -> dict[str, LimitRule]:
    """The limits of all keys, as in the sections `[limits.KEY]` of the config file. Raises `InvalidValueError`."""
    if not isinstance(given, Mapping):
        raise InvalidValueError("limits is not a section.", hint="Write [limits.KEY] and entries below it.")
    return {str(key): read_rule(str(key), entries) for key, entries in cast("Mapping[object, object]", given).items()}


def read_retry(given: object) -> RetryPolicy:
    """When calls are tried again, as in the section `[retry]` of the config file.

    Raises `InvalidValueError` that names the entry.
    """
    known = RetryPolicy(attempts=bounds.RETRY_ATTEMPTS_DEFAULT)
    entries = _Entries("retry", given, _RETRY_KEYS)
    attempts = entries.read("attempts", _whole)
    base, longest, total = (entries.read(name, _duration) for name in ("base", "longest", "total"))
    return RetryPolicy(
        attempts=known.attempts if attempts is None else attempts,
        base_seconds=known.base_seconds if base is None else base,
        longest_seconds=known.longest_seconds if longest is None else longest,
        total_seconds=known.total_seconds if total is None else total,
    )


_RULE_KEYS: Final = ("concurrency", "rate", "spacing", "reservoir", "refill", "adaptive", "weight", "scope")
_RETRY_KEYS: Final = ("attempts", "base", "longest", "total")


class _Entries:
    """The entries of one section, each read by what its key means."""

    def __init__(self, section: str, given: object, known: tuple[str, ...]) -> None:
        self._section = section
        if not isinstance(given, Mapping):
            raise InvalidValueError(f"{section} is not a section.", hint=f"Write [{section}] and entries below it.")
        self._given = cast("Mapping[str, object]", given)
        for name in self._given:
            if name not in known:
                near = get_close_matches(str(name), known, n=1)
                hint = f"Did you mean {near[0]}?" if near else f"It may have {', '.join(known)}."
                raise InvalidValueError(f"{section} has an entry {name!r} that means nothing.", hint=hint)

    def read(self, name: str, reader: Callable[[object], T]) -> T | None:
        """An entry; None where it is not there."""
        if name not in self._given:
            return None
        value = self._given[name]
        try:
            return reader(value)
        except ValueError as wanted:
            raise InvalidValueError(
                f"{self._section} has {name} = {value!r}, which is not {wanted}.", hint=f"Write {_EXAMPLES[name]}."
            ) from None


_EXAMPLES: Final[Mapping[str, str]] = {
    "concurrency": "concurrency = 4",
    "rate": 'rate = "60/1m": calls, then the time in ms, s, m or h',
    "spacing": 'spacing = "0.5s"',
    "reservoir": 'reservoir = 20, beside refill = "1s"',
    "refill": 'refill = "1s"',
    "adaptive": 'adaptive = "1-16"',
    "weight": "weight = 2",
    "scope": 'scope = "process" or scope = "machine"',
    "attempts": "attempts = 3",
    "base": 'base = "1s"',
    "longest": 'longest = "60s"',
    "total": 'total = "15m"',
}


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError("a whole number of at least 1")
    return value


def _duration(value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0:
        return float(value)
    match = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError("a time")
    return float(match[1]) * _SECONDS[match[2] or "s"]


def _rate(value: object) -> tuple[int, float]:
    match = _RATE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError("a number of calls per time")
    return int(match[1]), float(match[2] or 1) * _SECONDS[match[3]]


def _span(value: object) -> tuple[int, int]:
    match = _SPAN.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError("a span")
    return int(match[1]), int(match[2])


def _scope(value: object) -> Scope:
    if value == "process":
        return "process"
    if value == "machine":
        return "machine"
    raise ValueError("a scope")


def _refused(what: str, hint: str) -> InvalidValueError:
    return InvalidValueError(f"{what}.", hint=hint)
