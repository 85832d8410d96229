"""The slot of a job that has ended waits for the job that goes on from it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable

import pytest

from renku_store import ConcurrencyLimiter, Job, JobContext, Produced, Store, run_movie, set_inputs
from renku_store.running.handing_over import KEPT_SECONDS, Handover
from renku_store.testing.loop_time import run

_BLUEPRINT = """
name: ways
inputs: {seed: {type: integer, required: true}}
producers:
  short0: {run: test/short0@1, inputs: {seed: seed}, outputs: {out: {mimeType: text/plain}}}
  short1: {run: test/short1@1, inputs: {seed: seed}, outputs: {out: {mimeType: text/plain}}}
  short2: {run: test/short2@1, inputs: {seed: seed}, outputs: {out: {mimeType: text/plain}}}
  way0: {run: test/way0@1, inputs: {seed: seed}, outputs: {out: {mimeType: text/plain}}}
  way1: {run: test/way1@1, inputs: {from: way0.out}, outputs: {out: {mimeType: text/plain}}}
  way2: {run: test/way2@1, inputs: {from: way1.out}, outputs: {out: {mimeType: text/plain}}}
  way3: {run: test/way3@1, inputs: {from: way2.out}, outputs: {out: {mimeType: text/plain}}}
"""


@pytest.mark.parametrize("again", [False, True], ids=["called", "some reused"])
def test_the_longest_way_goes_on_in_the_slot_of_the_job_before(store: Store, again: bool) -> None:
    """Others that stood in line while its next job was not ready yet do not go before it."""
    movie = store.create_movie("ways")
    set_inputs(movie, {"@blueprint": _BLUEPRINT, "seed": 1})
    called: list[str] = []
    fails = again

    async def produce(job: Job, _context: JobContext) -> Produced:
        called.append(job.job_id)
        if fails and job.job_id == "way1":
            raise RuntimeError("Not this time.")
        await asyncio.sleep(0.01)
        return Produced({"out": job.job_id})

    if again:
        assert asyncio.run(run_movie(movie, produce=produce, concurrency=1)).status == "failed"
        assert called[:2] == ["way0", "way1"]
        called.clear()
        fails = False
    assert asyncio.run(run_movie(movie, produce=produce, concurrency=1)).status == "published"
    way = ["way1", "way2", "way3"] if again else ["way0", "way1", "way2", "way3"]
    assert [job for job in called if job.startswith("way")] == way
    assert called[: len(way) - 1] == way[:-1], "the last of them is as short a way as any other"


def in_line(
    limiter: ConcurrencyLimiter, priority: float, got: list[float], handover: Handover | None = None
) -> asyncio.Task[None]:
    async def wait() -> None:
        if handover is not None:
            handover.arrives("after")
        await limiter.acquire(priority)
        got.append(priority)

    return asyncio.create_task(wait())


def kept(
    then: Callable[[Handover], Awaitable[None]], *, follower: float | None = 5.0, others: float = 1.0
) -> list[float]:
    """Who gets the slot, in their order: a job with a `follower` of that priority has ended, and another is in line."""
    got: list[float] = []

    async def go() -> None:
        limiter = ConcurrencyLimiter(1)
        handover = Handover(lambda _: None if follower is None else ("after", follower))
        async with limiter.held() as slot:
            waiting = in_line(limiter, others, got)
            await asyncio.sleep(0)
            handover.keep("before", slot)
        assert limiter.used == 1
        await then(handover)
        tasks = [waiting, *([] if follower is None else [in_line(limiter, follower, got, handover)])]
        for _ in tasks:
            await asyncio.wait(tasks, return_when="FIRST_COMPLETED")
            await asyncio.sleep(0)
            limiter.release()
            await asyncio.sleep(0)
        assert limiter.used == 0
        assert limiter.first == -math.inf

    run(go())
    return got


async def nothing(_: Handover) -> None:
    await asyncio.sleep(0)


def test_a_slot_is_kept_until_the_next_job_stands_in_line() -> None:
    """Which is when it has asked for it."""
    assert kept(nothing) == [5.0, 1.0]


def test_a_slot_is_not_kept_where_another_goes_first_or_nobody_goes_on() -> None:
    """It would be idle for nothing."""
    assert kept(nothing, others=9.0) == [9.0, 5.0]
    assert kept(nothing, follower=None) == [1.0]


def test_a_slot_is_not_kept_for_long() -> None:
    """Who takes longer than a look-up and a claim waits for something; who is not begun is not waited for."""

    async def late(_: Handover) -> None:
        await asyncio.sleep(2 * KEPT_SECONDS)

    async def left(handover: Handover) -> None:
        handover.arrived("after")
        await asyncio.sleep(0)

    async def closed(handover: Handover) -> None:
        handover.close()
        await asyncio.sleep(0)

    for then in (late, left, closed):
        assert kept(then) == [1.0, 5.0]
