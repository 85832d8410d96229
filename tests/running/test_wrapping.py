"""Wrappers around produce functions, alone and inside a run."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renku_store import (
    ConcurrencyLimiter,
    FileItem,
    Job,
    JobContext,
    Movie,
    OutputSpec,
    Produced,
    ProducerError,
    RateLimitedError,
    run_movie,
)
from renku_store.running.adaptive import AdaptiveLimiter
from renku_store.running.pacing import Pacer
from renku_store.running.waits import Deadline
from renku_store.running.wrapping import (
    RetryPolicy,
    with_adaptive_concurrency,
    with_concurrency,
    with_rate_limit,
    with_retry,
    with_timeout,
)
from renku_store.testing.loop_time import run
from tests.running.conftest import Studio

JOB = Job("job", "p", "1", "test", "p", {}, {}, {}, {"out": OutputSpec("text/plain")}, "0" * 64)
DONE = Produced({"out": "done"})


def context(folder: Path = Path("/nonexistent")) -> JobContext:
    return JobContext("job", "run", 1, folder, logging.getLogger("wrapping"))


def failing(
    times: int, error: Callable[[], Exception]
) -> tuple[list[float], Callable[[Job, JobContext], Awaitable[Produced]]]:
    """A producer that fails so many times, and the moments at which it was called."""
    called: list[float] = []

    async def produce(job: Job, context: JobContext) -> Produced:
        called.append(asyncio.get_running_loop().time())
        assert context.attempt == len(called)
        if len(called) <= times:
            raise error()
        return DONE

    return called, produce


def broken() -> Exception:
    return ProducerError("broken", retryable=True)


def test_pauses_double_and_are_drawn_at_random() -> None:
    """Full jitter: between nothing and the ceiling, which is bounded."""
    called, produce = failing(5, broken)
    policy = RetryPolicy(attempts=9, base_seconds=1, longest_seconds=4)
    answer = run(with_retry(produce, policy, chance=lambda: 1.0)(JOB, context()))  # type: ignore[arg-type]
    assert answer is DONE
    assert called == [0, 1, 3, 7, 11, 15]
    called, produce = failing(5, broken)
    run(with_retry(produce, policy, chance=lambda: 0.0)(JOB, context()))  # type: ignore[arg-type]
    assert called == [0] * 6


@pytest.mark.parametrize(
    ("policy", "error", "calls"),
    [
        (RetryPolicy(attempts=3), broken, 3),
        (RetryPolicy(attempts=1), broken, 1),
        (RetryPolicy(attempts=9, total_seconds=3), broken, 3),
        (RetryPolicy(), lambda: ProducerError("wrong input"), 1),
        (RetryPolicy(), lambda: ValueError("a bug"), 1),
        (RetryPolicy(attempts=2), lambda: ConnectionResetError("gone"), 2),
        (RetryPolicy(), lambda: RateLimitedError("slow", retry_after=10_000), 1),
    ],
)
def test_a_call_is_given_up_in_time(policy: RetryPolicy, error: Callable[[], Exception], calls: int) -> None:
    """After so many attempts, so long, or at once where trying again cannot help; the last error is told."""
    called, produce = failing(99, error)
    told = context()
    with pytest.raises(type(error())):
        run(with_retry(produce, policy, chance=lambda: 1.0)(JOB, told))  # type: ignore[arg-type]
    assert len(called) == calls
    assert len(told.failures) == calls - 1


def test_a_provider_that_asks_for_a_pause_gets_it() -> None:
    """Retry-After is a least pause, whatever chance says."""
    called, produce = failing(1, lambda: RateLimitedError("slow down", retry_after=30))
    run(with_retry(produce, chance=lambda: 0.0)(JOB, context()))  # type: ignore[arg-type]
    assert called == [0, 30]


@given(st.integers(1, 12), st.floats(0, 1), st.floats(0, 1_000))
def test_a_pause_is_never_longer_than_the_policy_allows(attempt: int, chance: float, elapsed: float) -> None:
    """And never leads beyond the total time."""
    policy = RetryPolicy(attempts=10, base_seconds=0.5, longest_seconds=20, total_seconds=500)
    pause = policy.pause(broken(), attempt, elapsed, chance)
    if pause is not None:
        assert attempt < 10
        assert 0 <= pause <= 20
        assert elapsed + pause <= 500


def test_a_rate_limited_call_holds_back_all_of_its_key() -> None:
    """Those that had not been refused wait as well."""
    pacer, starts = Pacer(100, 1.0), []

    async def produce(job: Job, context: JobContext) -> Produced:
        starts.append(asyncio.get_running_loop().time())
        if len(starts) == 1:
            raise RateLimitedError("slow down", retry_after=7)
        return DONE

    async def main() -> None:
        paced = with_retry(with_rate_limit(produce, pacer), chance=lambda: 0.0)
        first = asyncio.ensure_future(paced(JOB, context()))
        await asyncio.sleep(0.5)
        await asyncio.gather(first, *(paced(JOB, context()) for _ in range(3)))

    run(main())
    assert starts == pytest.approx([0, 7, 7, 7, 7])


def test_an_attempt_that_takes_too_long_may_be_tried_again() -> None:
    """The time is that of one attempt; a producer's own TimeoutError is not taken for it."""
    called = 0

    async def produce(job: Job, context: JobContext) -> Produced:
        nonlocal called
        called += 1
        await asyncio.sleep(100 if called == 1 else 1)
        return DONE

    answer = run(with_retry(with_timeout(produce, 5), chance=lambda: 0.0)(JOB, context()))  # type: ignore[arg-type]
    assert (answer, called) == (DONE, 2)

    async def own(job: Job, context: JobContext) -> Produced:
        raise TimeoutError("mine")

    with pytest.raises(TimeoutError, match="mine"):
        run(with_timeout(own, 5)(JOB, context()))  # type: ignore[arg-type]


def test_wrappers_compose() -> None:
    """Never more at once than each of them allows, and nothing is left held."""
    slots, adaptive, busy, peak = ConcurrencyLimiter(3), AdaptiveLimiter(8), 0, 0

    async def produce(job: Job, context: JobContext) -> Produced:
        nonlocal busy, peak
        busy, peak = busy + 1, max(peak, busy + 1)
        await asyncio.sleep(1)
        busy -= 1
        if context.attempt == 1:
            raise RateLimitedError("slow down")
        return DONE

    async def main() -> None:
        whole = with_retry(with_concurrency(with_adaptive_concurrency(produce, adaptive), slots))
        assert await asyncio.gather(*(whole(JOB, context()) for _ in range(12))) == [DONE] * 12

    run(main())
    assert peak == 3
    assert adaptive.limit < 8
    assert (slots.used, slots.waiting, adaptive.used) == (0, 0, 0)


def test_in_a_run_a_pause_frees_the_slot_and_attempts_are_counted(movie: Movie, studio: Studio) -> None:
    """While one job waits for its next attempt, the only slot of the run is another's."""
    order: list[tuple[str, int]] = []

    async def produce(job: Job, context: JobContext) -> Produced:
        order.append((job.job_id, context.attempt))
        if job.job_id == "say[0]" and context.attempt == 1:
            raise ProducerError("busy", retryable=True)
        return await studio(job, context)

    retried = with_retry(produce, RetryPolicy(base_seconds=0.2), chance=lambda: 1.0)
    report = asyncio.run(run_movie(movie, produce=retried, concurrency=1))
    assert report.status == "published"
    assert report.jobs["say[0]"].attempts == 2
    first, second = order.index(("say[0]", 1)), order.index(("say[0]", 2))
    assert second > first + 1, "others ran in between"
    assert studio.peak == 1
    made = [event for event in movie.events.stream_artefacts() if event.artefact == "say[0].audio"]
    assert [event.attempts for event in made] == [2]


def test_another_attempt_finds_the_folder_as_the_first_did(movie: Movie, studio: Studio) -> None:
    """What the first wrote, and what it did to its inputs, is gone."""
    seen: list[tuple[list[str], str]] = []

    async def produce(job: Job, context: JobContext) -> Produced:
        if job.job_id == "length[0]":
            audio = job.inputs["audio"]
            assert isinstance(audio, FileItem)
            found = sorted(path.name for path in context.directory.rglob("*"))
            seen.append((found, audio.path.read_text()))
            if context.attempt == 1:
                audio.path.write_text("spoilt")
                (context.directory / "outputs").mkdir()
                (context.directory / "outputs" / "seconds").write_text("half")
                raise ProducerError("broken in the middle", retryable=True)
        return await studio(job, context)

    asyncio.run(run_movie(movie, produce=with_retry(produce, RetryPolicy(base_seconds=0))))
    assert len(seen) == 2
    assert seen[0] == seen[1]


def test_waiting_for_a_turn_is_not_the_time_of_a_call(
    movie: Movie, studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the queue nor pauses between attempts count, and each attempt has the whole time."""
    monkeypatch.setattr("renku_store.bounds.JOB_TIMEOUT_SECONDS", 1.5)
    monkeypatch.setattr("renku_store.bounds.CANCEL_GRACE_SECONDS", 0.0)
    attempts: list[str] = []

    async def produce(job: Job, context: JobContext) -> Produced:
        attempts.append(job.job_id)
        await asyncio.sleep(0.25)
        if job.producer == "draw" and attempts.count(job.job_id) == 1:
            raise ProducerError("busy", retryable=True)
        return await studio(job, context)

    one_by_one = with_concurrency(with_rate_limit(produce, Pacer(100, 1.0)), ConcurrencyLimiter(1))
    retried = with_retry(one_by_one, RetryPolicy(base_seconds=0.3), chance=lambda: 1.0)
    report = asyncio.run(run_movie(movie, produce=retried, concurrency=8))
    assert report.status == "published", [result.error for result in report.jobs.values() if result.error]
    assert all(attempts.count(f"draw[{place}]") == 2 for place in range(3))


def test_a_call_that_takes_too_long_is_still_ended(
    movie: Movie, studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The backstop of the runner holds also behind wrappers."""
    monkeypatch.setattr("renku_store.bounds.JOB_TIMEOUT_SECONDS", 0.2)
    monkeypatch.setattr("renku_store.bounds.CANCEL_GRACE_SECONDS", 0.0)

    async def produce(job: Job, context: JobContext) -> Produced:
        if job.job_id == "draw[0]":
            await asyncio.sleep(60)
        return await studio(job, context)

    report = asyncio.run(run_movie(movie, produce=with_concurrency(produce, ConcurrencyLimiter(8))))
    assert report.status == "failed"
    error = report.jobs["draw[0]"].error
    assert error is not None
    assert "did not end within 0.2 seconds" in error.message


def test_the_time_of_a_call_is_that_of_its_last_attempt_and_stands_still_while_it_waits() -> None:
    """Anew with each attempt; known in the middle of a wait, too, and after the end."""

    async def main() -> list[float]:
        deadline, seen = Deadline(100), list[float]()
        async with deadline.limit:
            deadline.begin_again()
            await asyncio.sleep(3)
            with deadline.suspended():
                await asyncio.sleep(500)
                seen.append(deadline.spent)
            await asyncio.sleep(4)
            seen.append(deadline.spent)
            deadline.begin_again()
            await asyncio.sleep(2)
        return [*seen, deadline.spent]

    assert run(main()) == pytest.approx([3, 7, 2])


def test_what_is_noted_of_a_job_is_the_time_of_the_call_that_succeeded(movie: Movie, studio: Studio) -> None:
    """What failed before it, and what it waited for, does not make its producer look slow to the next run."""

    async def produce(job: Job, context: JobContext) -> Produced:
        if job.job_id == "film" and context.attempt == 1:
            await asyncio.sleep(2)
            raise broken()
        return await studio(job, context)

    retried = with_retry(produce, RetryPolicy(base_seconds=2), chance=lambda: 1.0)
    report = asyncio.run(run_movie(movie, produce=retried))
    assert report.jobs["film"].attempts == 2
    assert report.jobs["film"].duration_seconds < 2
    assert movie.events.durations(["film"])["film"] < 2
