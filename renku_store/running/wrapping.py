"""Wrappers around a produce function: retries, rates, limits, timeouts. They compose; the runner knows none of them.

    produce = with_retry(with_concurrency(with_rate_limit(with_timeout(call, 60), pacer), limiter))

From the outside in: a call that is waiting to be tried again holds no slot, a slot is held while its turn is waited
for, and the timeout is that of one attempt.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

from renku_store.calls import Job, JobContext, Produce, Produced, changed, failure_of
from renku_store.errors import InvalidValueError, JobError, ProducerError, RateLimitedError
from renku_store.running.adaptive import AdaptiveLimiter
from renku_store.running.concurrency import ConcurrencyLimiter
from renku_store.running.pacing import Pacer

Retryable = Callable[[Exception], bool]
OUTSIDE = (JobError, ConnectionError, TimeoutError)
"""What the outside world does to a call; anything else is a fault of the program and is not tried again."""


def is_retryable(error: Exception) -> bool:
    """Whether trying again may help: as the error says of itself, and where a connection broke or timed out."""
    return bool(getattr(error, "retryable", isinstance(error, ConnectionError | TimeoutError)))


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often, how long, and after which errors a call is tried again. Times are in seconds.

    The pause before attempt n + 1 is drawn between 0 and `base_seconds` x 2^(n - 1), at most `longest_seconds`: full
    jitter, so that those who failed together do not come back together. A provider's Retry-After is a least pause.
    A call is given up after `attempts` attempts, or when the next one would begin later than `total_seconds` after the
    first.

    Source: Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """

    attempts: int = 5
    base_seconds: float = 1.0
    longest_seconds: float = 60.0
    total_seconds: float = 900.0
    retryable: Retryable = is_retryable

    def __post_init__(self) -> None:
        times = (self.base_seconds, self.longest_seconds, self.total_seconds)
        if self.attempts < 1 or not all(time >= 0 for time in times):  # which no NaN is
            raise InvalidValueError("A retry needs at least 1 attempt, and no time below 0.", hint="Check the policy.")

    def pause(self, error: Exception, attempt: int, elapsed: float, chance: float) -> float | None:
        """Seconds until the next attempt after so many and so long; None to give up. `chance` is from 0 to 1."""
        if attempt >= self.attempts or not self.retryable(error):
            return None
        ceiling = min(self.longest_seconds, self.base_seconds * 2.0 ** min(attempt - 1, 64))
        asked = error.retry_after if isinstance(error, RateLimitedError) else None
        pause = max(chance * ceiling, asked or 0.0)
        return pause if elapsed + pause <= self.total_seconds else None


def with_retry(
    produce: Produce, policy: RetryPolicy | None = None, *, chance: Callable[[], float] = random.random
) -> Produce:
    """Try a call again where that may help. Every failed attempt is noted in the context, and the runner records it.

    The slot of the run is free during the pauses.
    """
    rules = policy or RetryPolicy()

    async def retried(job: Job, context: JobContext) -> Produced:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        for attempt in count(context.attempt):
            try:
                return await produce(job, changed(context, attempt=attempt))
            except OUTSIDE as error:
                pause = rules.pause(error, attempt, loop.time() - begun, chance())
                if pause is None:
                    raise
                context.failures.append(failure_of(error))
                context.logger.info("%s: attempt %d failed, next in %.1f s: %s", job.job_id, attempt, pause, error)
                async with context.idle():
                    await asyncio.sleep(pause)
                await context.again()
        raise AssertionError("unreachable")

    return retried


def with_concurrency(produce: Produce, limiter: ConcurrencyLimiter, *, weight: int = 1) -> Produce:
    """Let at most as many calls go on at once as the limiter has slots; of these each takes `weight`."""

    async def limited(job: Job, context: JobContext) -> Produced:
        with context.waiting():
            await limiter.acquire(weight=weight)
        try:
            await context.confirm()
            return await produce(job, context)
        finally:
            limiter.release(weight)

    return limited


def with_rate_limit(produce: Produce, pacer: Pacer, *, weight: int = 1) -> Produce:
    """Let calls start as the pacer allows; a provider's Retry-After holds back all that share it."""

    async def paced(job: Job, context: JobContext) -> Produced:
        with context.waiting("rate"):
            start = await pacer.turn(weight)
        try:
            await context.confirm()
        except BaseException:
            pacer.forget(start)
            raise
        try:
            return await produce(job, context)
        except RateLimitedError as error:
            if error.retry_after is not None:
                pacer.hold(error.retry_after)
            raise

    return paced


def with_adaptive_concurrency(
    produce: Produce, limiter: AdaptiveLimiter, *, overloaded: Retryable | None = None
) -> Produce:
    """Find out how many calls the provider takes at once: fewer after `RateLimitedError` or what `overloaded` says."""

    async def adapted(job: Job, context: JobContext) -> Produced:
        with context.waiting():
            call = await limiter.begin()
        try:
            await context.confirm()
            produced = await produce(job, context)
        except OUTSIDE as error:
            if isinstance(error, RateLimitedError) or (overloaded is not None and overloaded(error)):
                call.overloaded()
            raise
        else:
            call.succeeded()
            return produced
        finally:
            call.end()

    return adapted


def with_timeout(produce: Produce, seconds: float) -> Produce:
    """End a call that takes longer, as a failure that may be tried again.

    Raises `InvalidValueError` where that is no time above 0.
    """
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds > 0:
        raise InvalidValueError(f"A call cannot end within {seconds!r} seconds.", hint="Use a number above 0.")

    async def timed(job: Job, context: JobContext) -> Produced:
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                return await produce(job, context)
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise ProducerError(
                f"{job.job_id} did not answer within {seconds:g} seconds.", hint="Give it more time.", retryable=True
            ) from error

    return timed
