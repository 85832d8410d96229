"""What the calls of one key share in a process: slots, the rate of starts, and the pauses that a provider asks for.

A key is its name and its rule: calls that stand under equal rules of one name share them, whoever has said the rule.
Under another rule of the same name calls are counted by themselves, but a pause holds back all calls of the name.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from typing import Final

from renku_store import bounds
from renku_store.metadata.limits import Demand
from renku_store.running.adaptive import AdaptiveLimiter
from renku_store.running.concurrency import ConcurrencyLimiter
from renku_store.running.limit_rules import LimitRule
from renku_store.running.pacing import Pacer, Pause

_ADAPTIVE_START: Final = 4


@dataclass(frozen=True, slots=True)
class LimitUse:
    """How a key is used now: slots held of how many (None: any number), and calls that wait for a slot or a start."""

    used: int
    limit: int | None
    waiting: int


class LimitKey:
    """What the calls of one key share. `pacer` is for those who hold the lock of the `LimitKeys`."""

    def __init__(self, name: str, rule: LimitRule, pause: Pause) -> None:
        self.name = name
        self.rule = rule
        self.adaptive = _adaptive(rule)
        self.slots = self.adaptive.slots if self.adaptive else _slots(rule)
        self.pacer = Pacer(
            rule.rate,
            rule.period_seconds,
            spacing_seconds=rule.spacing_seconds,
            reservoir=rule.reservoir,
            refill_seconds=rule.refill_seconds,
            pause=pause,
        )

    def use(self) -> LimitUse:
        """How it is used now."""
        slots = self.slots
        if slots is None:
            return LimitUse(0, None, self.pacer.waiting)
        return LimitUse(slots.used, slots.limit, slots.waiting + self.pacer.waiting)

    def demand(self, weight: int) -> Demand:
        """What a call asks of this key from all processes: windows longer by what a start may be late.

        And by a millisecond, as moments are noted in whole ones.
        """
        rule, margin = self.rule, bounds.LIMIT_START_MARGIN_SECONDS + 0.001
        return Demand(
            self.name,
            weight,
            slots=rule.concurrency,
            starts=rule.rate,
            period_ms=math.ceil((rule.period_seconds + margin) * 1000),
            spacing_ms=math.ceil((rule.spacing_seconds + margin) * 1000) if rule.spacing_seconds else 0,
        )


class LimitKeys:
    """All keys that calls of a process have asked for. Safe to use from many threads.

    `lock` is held while rates are looked at and counted: what several of them say is true at one moment then. Times are
    those of the event loops, which must be of one clock.
    """

    def __init__(self) -> None:
        self.begin_anew()

    def begin_anew(self) -> None:
        """Forget all keys: in a process that was forked their slots are held by calls of another one."""
        self.lock = threading.RLock()
        self._keys: dict[tuple[str, LimitRule], LimitKey] = {}
        self._pauses: dict[str, Pause] = {}

    def key(self, name: str, rule: LimitRule) -> LimitKey:
        """The key of this name and rule."""
        with self.lock:
            if (name, rule) not in self._keys:
                self._keys[name, rule] = LimitKey(name, rule, self._pauses.setdefault(name, Pause()))
            return self._keys[name, rule]


def _slots(rule: LimitRule) -> ConcurrencyLimiter | None:
    return None if rule.concurrency is None else ConcurrencyLimiter(rule.concurrency)


def _adaptive(rule: LimitRule) -> AdaptiveLimiter | None:
    if rule.adaptive is None:
        return None
    least, most = rule.adaptive
    most = min(most, rule.concurrency or most)
    return AdaptiveLimiter(min(most, max(least, _ADAPTIVE_START)), minimum=least, maximum=most)
