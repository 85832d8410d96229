"""Calls of one process share the limits of equal rules, whoever has made the `Limits`, in whatever thread and loop."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from renku_store import (
    Job,
    JobContext,
    Limits,
    LimitUse,
    OutputSpec,
    Produced,
    RateLimitedError,
    Store,
    run_movie,
    set_inputs,
    with_limits,
)
from renku_store.running.pacing import Pacer, Start

WAIT_SECONDS = 120
DONE = Produced({"out": "done"})
BLUEPRINT = """
inputs: {names: {type: list, required: true}}
loops: {n: {over: names}}
producers: {say: {for: [n], run: PROVIDER/say, inputs: {name: "names[n]"}, outputs: {text: {mimeType: text/plain}}}}
"""


class Provider:
    """Somebody with a name of their own, who counts how many call at once, in whatever thread, and when they began."""

    def __init__(self) -> None:
        self.name = f"provider-{id(self)}-{random.random()}"
        self.busy = self.peak = 0
        self.starts: list[float] = []
        self.seconds = 0.01
        self.hold: asyncio.Event | None = None
        self._lock = threading.Lock()

    async def __call__(self, job: Job, context: JobContext) -> Produced:
        with self._lock:
            self.busy += 1
            self.peak = max(self.peak, self.busy)
            self.starts.append(asyncio.get_running_loop().time())
        try:
            await asyncio.sleep(self.seconds)
            if self.hold is not None:
                await self.hold.wait()
        finally:
            with self._lock:
                self.busy -= 1
        return Produced(dict.fromkeys(job.outputs, "x"))

    async def is_busy(self) -> None:
        while not self.busy:  # noqa: ASYNC110 (a turn of the loop is what is waited for)
            await asyncio.sleep(0)

    def limits(self, **rule: object) -> Limits:
        return Limits({self.name: rule})

    async def called(self, limits: Limits) -> Produced:
        job = Job("j", "p", "1", self.name, "m", {}, {}, {}, {"out": OutputSpec("text/plain")}, "0" * 64)
        return await with_limits(self, limits)(job, JobContext("j", "r", 1, Path(), logging.getLogger("limits")))


def in_threads(count: int, work: object) -> None:
    """Run a coroutine function in so many threads at once, each in an event loop of its own."""
    errors: list[BaseException] = []

    def one() -> None:
        try:
            asyncio.run(asyncio.wait_for(work(), WAIT_SECONDS))  # type: ignore[operator]
        except BaseException as error:  # noqa: BLE001 (told in the thread of the test)
            errors.append(error)

    threads = [threading.Thread(target=one) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_two_runs_of_a_process_share_limits_that_nobody_handed_to_both(store: Store) -> None:
    """Two movies at once, each with a `Limits` of its own: together no more than the rule says."""
    provider = Provider()

    async def build(name: str) -> str:
        movie = store.create_movie(name)
        set_inputs(movie, {"@blueprint": BLUEPRINT.replace("PROVIDER", provider.name), "names": ["a", "b", "c", "d"]})
        produce = with_limits(provider, provider.limits(concurrency=1))
        return (await run_movie(movie, produce=produce, concurrency=4)).status

    async def main() -> list[str]:
        return list(await asyncio.wait_for(asyncio.gather(build("one"), build("two")), WAIT_SECONDS))

    assert asyncio.run(main()) == ["published"] * 2
    assert (provider.peak, len(provider.starts)) == (1, 8)


@settings(max_examples=10, deadline=None)
@given(limit=st.integers(1, 3), threads=st.integers(2, 4), seed=st.integers(0, 2**32))
def test_threads_with_loops_of_their_own_share_them_and_nobody_is_left_waiting(
    limit: int, threads: int, seed: int
) -> None:
    """Whatever is cancelled meanwhile: never more at once, and all the others come to their turn."""
    provider = Provider()
    provider.seconds = 0.001

    async def work() -> None:
        chance, limits = random.Random(seed), provider.limits(concurrency=limit)
        tasks = [asyncio.create_task(provider.called(limits)) for _ in range(12)]
        for task in tasks:
            await asyncio.sleep(0)
            if chance.random() < 0.3:
                asyncio.get_running_loop().call_later(chance.random() / 100, task.cancel)
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task

    in_threads(threads, work)
    assert provider.peak <= limit
    assert provider.limits(concurrency=limit).usage() == {}
    limits = provider.limits(concurrency=limit)
    asyncio.run(provider.called(limits))
    assert limits.usage()[provider.name] == LimitUse(0, limit, 0)


def test_a_rate_holds_over_threads_and_over_runs_that_follow_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """In no window more than the rate says, whoever called in the one before."""
    provider, counted, count, forget = Provider(), list[Start](), Pacer.count, Pacer.forget

    def noted(pacer: Pacer, weight: int = 1) -> Start:
        start = count(pacer, weight)
        counted.append(start)
        return start

    def taken_back(pacer: Pacer, start: Start) -> None:
        counted.remove(start)
        forget(pacer, start)

    monkeypatch.setattr(Pacer, "count", noted)
    monkeypatch.setattr(Pacer, "forget", taken_back)

    async def work() -> None:
        limits = provider.limits(rate="3/200ms")
        await asyncio.gather(*(provider.called(limits) for _ in range(3)))

    in_threads(3, work)
    asyncio.run(work())
    assert len(provider.starts) == 12
    starts = sorted(start.at for start in counted)
    assert len(starts) == 12
    assert all(later - earlier >= 0.199 for earlier, later in zip(starts, starts[3:], strict=False))


def test_a_pause_holds_back_calls_under_another_rule_of_the_key() -> None:
    """Others count by themselves; but whom the provider wants to wait is everybody."""
    provider = Provider()

    async def refused(job: Job, context: JobContext) -> Produced:
        raise RateLimitedError("slow down", retry_after=2)

    async def main() -> float:
        job = Job("j", "p", "1", provider.name, "m", {}, {}, {}, {"out": OutputSpec("text/plain")}, "0" * 64)
        context = JobContext("j", "r", 1, Path(), logging.getLogger("limits"))
        with pytest.raises(RateLimitedError):
            await with_limits(refused, provider.limits(concurrency=1))(job, context)
        said = asyncio.get_running_loop().time()
        await provider.called(provider.limits(concurrency=2))
        return provider.starts[0] - said

    assert asyncio.run(main()) >= 1


def test_other_rules_and_limits_that_are_not_shared_count_by_themselves() -> None:
    """A rule that differs is another limit; and one may be kept for an account of its own."""
    provider = Provider()
    rules: Mapping[str, Mapping[str, object]] = {provider.name: {"concurrency": 1}}
    several = [Limits(rules), provider.limits(concurrency=1, weight=2), Limits(rules, shared=False)]
    several.append(Limits(rules, shared=False))

    async def main() -> None:
        await asyncio.wait_for(asyncio.gather(*(provider.called(limits) for limits in several * 2)), WAIT_SECONDS)

    asyncio.run(main())
    assert provider.peak == 4


def test_a_forked_process_begins_with_free_limits() -> None:
    """What calls of its parent hold is not given back in it."""
    provider = Provider()
    limits = provider.limits(concurrency=1)

    async def parent() -> int:
        call = asyncio.create_task(provider.called(limits))
        await provider.is_busy()
        child = os.fork()
        if not child:
            os._exit(limits.usage()[provider.name].used)
        await call
        return child

    child = asyncio.run(parent())
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_who_waits_in_a_loop_that_was_closed_takes_no_slot() -> None:
    """A loop that ends without ending its tasks: the slot goes to the next."""
    provider = Provider()
    limits = provider.limits(concurrency=1)

    abandoned: list[asyncio.Task[Produced]] = []

    async def begin() -> None:
        abandoned.append(asyncio.create_task(provider.called(limits)))
        await asyncio.sleep(0)
        assert limits.usage()[provider.name].waiting == 1

    async def main() -> None:
        provider.hold = asyncio.Event()
        first = asyncio.create_task(provider.called(limits))
        await provider.is_busy()

        def elsewhere() -> None:
            loop = asyncio.new_event_loop()
            loop.set_exception_handler(lambda *_: None)  # it would tell of the task that is left behind
            loop.run_until_complete(begin())
            loop.close()

        await asyncio.to_thread(elsewhere)
        provider.hold.set()
        await asyncio.wait_for(asyncio.gather(first, provider.called(limits)), WAIT_SECONDS)

    asyncio.run(main())
    assert len(provider.starts) == 2
