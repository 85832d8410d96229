"""Limits by key around a produce function: how many calls go on at once, and when they may start."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping

from renku_store.calls import Job, JobContext, Produce, Produced
from renku_store.errors import InvalidValueError, RateLimitedError
from renku_store.running.limit_rules import LimitRule, read_rule
from renku_store.running.limited_call import LimitedCall, LimitKey, LimitPart, LimitUse
from renku_store.running.wrapping import OUTSIDE, Retryable


class Limits:
    """The limits of keys. Share one among all runs of a process: belongs to one event loop at a time.

    `rules` are `LimitRule`s, or entries as in the section `[limits.KEY]` of the config file, such as
    `{"openai": {"concurrency": 4, "rate": "60/1m"}, "gpu": {"concurrency": 1}}`. A call's key is the first of its
    rate key, its `provider/model` and its provider that has a rule; beside it count the resources that its producer
    `uses`. A key without a rule has no limit, but a pause that its provider asks for holds all of its calls back.

    Raises `InvalidValueError` for rules that let nobody in, and where two event loops use it at once.
    """

    def __init__(
        self,
        rules: Mapping[str, LimitRule | Mapping[str, object]] | None = None,
        *,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._rules = {
            key: rule if isinstance(rule, LimitRule) else read_rule(key, rule) for key, rule in (rules or {}).items()
        }
        self._chance = chance
        self._keys: dict[str, LimitKey] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def rules(self) -> Mapping[str, LimitRule]:
        """The rule of each key."""
        return dict(self._rules)

    def key_of(self, job: Job, context: JobContext) -> str:
        """The key that a call counts under."""
        model = f"{job.provider}/{job.model}"
        names = (context.rate_key or model, model, job.provider)
        return next((name for name in names if name in self._rules), names[0])

    def usage(self) -> dict[str, LimitUse]:
        """How each key is used that a call has asked for."""
        return {name: key.use() for name, key in self._keys.items()}

    def call(self, job: Job, context: JobContext) -> LimitedCall:
        """One call, before it has taken anything."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            if self._loop is not None and not self._loop.is_closed():
                raise InvalidValueError("These limits are another event loop's.", hint="Make one `Limits` for each.")
            self._loop = loop
        own = self.key_of(job, context)
        weights = {own: context.uses.get(own, self._rule(own).weight)}
        weights |= {name: weight for name, weight in context.uses.items() if name in self._rules}
        parts = [LimitPart(self._key(name), weights[name]) for name in sorted(weights)]
        return LimitedCall(parts, self._key(own), context, self._chance)

    def _rule(self, name: str) -> LimitRule:
        return self._rules.get(name, LimitRule())

    def _key(self, name: str) -> LimitKey:
        if name not in self._keys:
            self._keys[name] = LimitKey(name, self._rule(name))
        return self._keys[name]


def with_limits(produce: Produce, limits: Limits, *, overloaded: Retryable | None = None) -> Produce:
    """Keep calls to the limits of their keys; the slot of the run is free while they wait, and their time stands still.

    `RateLimitedError` halves an adaptive limit, as does what `overloaded` says, and its `retry_after` holds back all
    calls of the key. Put `with_retry` outside, so that a call that is to be tried again holds nothing meanwhile.
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
            task = asyncio.current_task()
            if await call.end() and task is not None:
                task.cancel()  # at the next wait, which is that for the result to be stored

    return limited
