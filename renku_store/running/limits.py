"""Limits by key around a produce function: how many calls go on at once, and when they may start.

Calls of a process share the limits of equal rules, whichever `Limits` they were said to, in whatever event loop.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Mapping
from typing import Final

from renku_store.calls import Job, JobContext, Produce, Produced
from renku_store.errors import RateLimitedError
from renku_store.running.limit_keys import LimitKey, LimitKeys, LimitUse
from renku_store.running.limit_rules import LimitRule, read_rule
from renku_store.running.limited_call import LimitedCall, LimitPart
from renku_store.running.wrapping import OUTSIDE, Retryable

_PROCESS: Final = LimitKeys()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_PROCESS.begin_anew)


class Limits:
    """The limits of keys, for the calls of all runs of this process.

    `rules` are `LimitRule`s, or entries as in the section `[limits.KEY]` of the config file, such as
    `{"openai": {"concurrency": 4, "rate": "60/1m"}, "gpu": {"concurrency": 1}}`. A call's key is the first of its
    rate key, its `provider/model` and its provider that has a rule; beside it count the resources that its producer
    `uses`. A key without a rule has no limit, but a pause that its provider asks for holds all of its calls back.

    Wherever in the process the same rule was given to the same key, in whatever thread, its calls count together; with
    another rule for that key calls count by themselves, but pauses are shared. Not `shared` are the limits of this
    object alone: for accounts of their own, and for event loops whose time is not the clock's.

    Raises `InvalidValueError` for rules that let nobody in.
    """

    def __init__(
        self,
        rules: Mapping[str, LimitRule | Mapping[str, object]] | None = None,
        *,
        shared: bool = True,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._rules = {
            key: rule if isinstance(rule, LimitRule) else read_rule(key, rule) for key, rule in (rules or {}).items()
        }
        self._keys = _PROCESS if shared else LimitKeys()
        self._chance = chance
        self._asked: set[str] = set()

    @property
    def rules(self) -> Mapping[str, LimitRule]:
        """The rule of each key."""
        return dict(self._rules)

    def key_of(self, job: Job, context: JobContext) -> str:
        """The key that a call counts under."""
        names = _names(job, context)
        return next((name for name in names if name in self._rules), names[0])

    def usage(self) -> dict[str, LimitUse]:
        """How each key is used that a call has asked for here: by all calls that count under it."""
        return {name: self._key(name).use() for name in sorted(self._asked)}

    def call(self, job: Job, context: JobContext) -> LimitedCall:
        """One call, before it has taken anything."""
        own, names = self.key_of(job, context), _names(job, context)
        weights = {own: context.uses.get(own, self._rule(own).weight)}
        weights |= {name: weight for name, weight in context.uses.items() if name in self._rules}
        self._asked.update(weights)
        parts = [LimitPart(self._key(name), weights[name], name in names) for name in sorted(weights)]
        return LimitedCall(parts, self._keys.lock, context, self._chance)

    def _rule(self, name: str) -> LimitRule:
        return self._rules.get(name, LimitRule())

    def _key(self, name: str) -> LimitKey:
        return self._keys.key(name, self._rule(name))


def _names(job: Job, context: JobContext) -> tuple[str, ...]:
    """What whom a job calls is known by, the nearest name first."""
    model = f"{job.provider}/{job.model}"
    return (context.rate_key or model, model, job.provider)


def with_limits(produce: Produce, limits: Limits, *, overloaded: Retryable | None = None) -> Produce:
    """Keep calls to the limits of their keys; the slot of the run is free while they wait, and their time stands still.

    `RateLimitedError` halves the adaptive limits that a call stands under, as does what `overloaded` says, and its
    `retry_after` holds back all calls of its key. Put `with_retry` outside, so that a call that is to be tried again
    holds nothing meanwhile.
    """

    async def limited(job: Job, context: JobContext) -> Produced:
        call = limits.call(job, context)
        try:
            await call.begin()
            produced = await produce(job, context)
        except OUTSIDE as error:
            if isinstance(error, RateLimitedError) or (overloaded is not None and overloaded(error)):
                call.refused(error.retry_after if isinstance(error, RateLimitedError) else None)
            raise
        else:
            call.succeeded()
            return produced
        finally:
            call.end()

    return limited
