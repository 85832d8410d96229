"""Limits by key: which rule a call stands under, what a run tells of waiting, and what is refused."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from pathlib import Path

import pytest

from renku_store import (
    InvalidValueError,
    Job,
    JobContext,
    LimitRule,
    Limits,
    LimitUse,
    Movie,
    OutputSpec,
    Produced,
    RateLimitedError,
    RetryPolicy,
    RunProgress,
    Store,
    read_retry,
    run_movie,
    set_inputs,
    with_limits,
    with_retry,
)
from renku_store.testing.loop_time import run
from tests.running.conftest import Studio

DONE = Produced({"out": "done"})
JOB = Job("j", "p", "1", "openai", "gpt-image-1", {}, {}, {}, {"out": OutputSpec("text/plain")}, "0" * 64)


def context(rate_key: str = "", uses: dict[str, int] | None = None) -> JobContext:
    return JobContext("j", "r", 1, Path(), logging.getLogger("limits"), rate_key=rate_key, uses=uses or {})


async def done(job: Job, context: JobContext) -> Produced:
    return DONE


@pytest.mark.parametrize(
    ("rules", "rate_key", "key"),
    [
        (["speech", "openai/gpt-image-1", "openai"], "speech", "speech"),
        (["openai/gpt-image-1", "openai"], "speech", "openai/gpt-image-1"),
        (["openai"], "speech", "openai"),
        ([], "speech", "speech"),
        ([], "", "openai/gpt-image-1"),
    ],
)
def test_a_call_stands_under_the_nearest_rule(rules: list[str], rate_key: str, key: str) -> None:
    """Its rate key, else provider/model, else the provider; its rate key where none has a rule."""
    limits = Limits({name: LimitRule(concurrency=1) for name in rules}, shared=False)
    assert limits.key_of(JOB, context(rate_key)) == key
    run(with_limits(done, limits)(JOB, context(rate_key)))  # type: ignore[arg-type]
    assert limits.usage() == {key: LimitUse(0, 1 if rules else None, 0)}


def test_resources_count_beside_the_key() -> None:
    """With their weights; one that has no rule limits nothing, and the key's own weight may be another."""
    limits = Limits({"openai": {"concurrency": 3, "weight": 2}, "gpu": {"concurrency": 4}}, shared=False)
    seen: list[dict[str, LimitUse]] = []

    async def produce(job: Job, context: JobContext) -> Produced:
        seen.append(limits.usage())
        return DONE

    limited = with_limits(produce, limits)
    run(limited(JOB, context(uses={"gpu": 3, "nobody": 9})))  # type: ignore[arg-type]
    run(limited(JOB, context(uses={"openai": 1})))  # type: ignore[arg-type]
    assert seen[0] == {"gpu": LimitUse(3, 4, 0), "openai": LimitUse(2, 3, 0)}
    assert seen[1]["openai"].used == 1


def test_limits_are_written_as_they_are_read() -> None:
    """Every entry there is."""
    entries: dict[str, object] = {
        "concurrency": 4, "adaptive": "2-3", "rate": "90/60s", "spacing": "0.25s", "reservoir": 5, "refill": "2s",
        "weight": 2,
    }  # fmt: skip
    rules = Limits({"x": entries, "y": {"rate": "7 per 2h", "scope": "machine"}, "z": {"spacing": 1}}).rules
    assert rules["x"].written() == entries
    assert rules["y"] == LimitRule(rate=7, period_seconds=7_200, scope="machine")
    assert rules["z"] == LimitRule(spacing_seconds=1.0)


def test_retries_are_read_from_what_is_given() -> None:
    """The rest stays as a command has it."""
    assert read_retry({}).attempts == 3
    policy = read_retry({"attempts": 7, "base": "500ms", "longest": 9, "total": "1h"})
    assert policy == RetryPolicy(attempts=7, base_seconds=0.5, longest_seconds=9.0, total_seconds=3_600.0)


@pytest.mark.parametrize(
    "rule",
    [
        {"concurrency": 0},
        {"rate": 0},
        {"rate": 1, "period_seconds": 0.0},
        {"rate": 1, "period_seconds": float("nan")},
        {"spacing_seconds": -1.0},
        {"reservoir": 3},
        {"refill_seconds": 3.0},
        {"adaptive": (3, 2)},
        {"adaptive": (3, 9), "concurrency": 2},
        {"weight": 0},
    ],
)
def test_a_rule_that_lets_nobody_in_is_refused(rule: dict[str, object]) -> None:
    """When it is made, not when somebody waits for ever."""
    with pytest.raises(InvalidValueError):
        LimitRule(**rule)  # type: ignore[arg-type]


def test_a_call_that_no_window_could_ever_let_in_is_refused_by_name() -> None:
    """It asks for more at once than its rate has."""
    limits = Limits({"gpu": {"rate": "2/1s"}}, shared=False)
    with pytest.raises(InvalidValueError, match="weight 3"):
        run(with_limits(done, limits)(JOB, context(uses={"gpu": 3})))  # type: ignore[arg-type]


def test_a_429_is_heard_under_every_key_that_the_call_stands_under() -> None:
    """All that adapt are halved; those that name the provider pause, a resource of another name does not."""
    rules = {"openai/gpt-image-1": {"adaptive": "1-8"}, "openai": {"adaptive": "1-8"}, "gpu": {"adaptive": "1-8"}}
    limits = Limits(rules, shared=False)

    async def refused(job: Job, context: JobContext) -> Produced:
        raise RateLimitedError("too much", retry_after=60)

    async def main() -> list[float]:
        uses, starts = {"openai": 1, "gpu": 1}, list[float]()
        with pytest.raises(RateLimitedError):
            await with_limits(refused, limits)(JOB, context(uses=uses))
        assert {name: use.limit for name, use in limits.usage().items()} == dict.fromkeys(rules, 2)
        for provider, needs in (("local", {"gpu": 1}), ("openai", {})):
            other = replace(JOB, provider=provider, model="other")
            await with_limits(done, limits)(other, context(uses=needs))
            starts.append(asyncio.get_running_loop().time())
        return starts

    assert run(main()) == [0, 60]


def test_what_is_overload_beside_429_can_be_said() -> None:
    """An adaptive limit is halved then, too."""

    async def broken(job: Job, context: JobContext) -> Produced:
        raise ConnectionResetError("too much")

    for overloaded, left in ((None, 4), (lambda error: isinstance(error, ConnectionError), 2)):
        limits = Limits({"openai": {"adaptive": "1-8"}}, shared=False)
        with pytest.raises(ConnectionResetError):
            run(with_limits(broken, limits, overloaded=overloaded)(JOB, context()))  # type: ignore[arg-type]
        assert limits.usage()["openai"].limit == left


# In runs


def test_a_run_tells_what_its_jobs_wait_for(movie: Movie, studio: Studio) -> None:
    """`limit`, `rate` and `back-off`, with the key, and when each goes on."""
    told: list[tuple[str, str | None, object, object]] = []

    async def produce(job: Job, context: JobContext) -> Produced:
        if job.job_id == "draw[0]" and context.attempt == 1:
            raise RateLimitedError("slow down")
        await asyncio.sleep(0.25)
        return await studio(job, context)

    def listen(event: RunProgress) -> None:
        if event.event in {"job-waiting", "job-resumed"}:
            told.append((event.event, event.job, event.data.get("for"), event.data.get("key")))

    limits = Limits({"test/say": {"concurrency": 1}, "test/length": {"spacing": "0.4s"}})
    whole = with_retry(with_limits(produce, limits), RetryPolicy(base_seconds=0.4), chance=lambda: 1.0)
    report = asyncio.run(run_movie(movie, produce=whole, concurrency=8, on_event=listen))
    assert report.status == "published"
    waits = {(job and job.partition("[")[0], reason, key) for event, job, reason, key in told if event == "job-waiting"}
    assert waits == {("say", "limit", "test/say"), ("length", "rate", "test/length"), ("draw", "back-off", None)}
    waited = [job for event, job, _, _ in told if event == "job-waiting"]
    assert sorted(waited, key=str) == sorted((job for event, job, _, _ in told if event == "job-resumed"), key=str)


def test_a_job_that_waits_for_its_key_holds_up_no_other(movie: Movie, studio: Studio) -> None:
    """With two slots in the run and one for the key, jobs of other keys go on beside the one that has it."""
    release = asyncio.Event()

    async def produce(job: Job, context: JobContext) -> Produced:
        if job.producer == "say":
            await release.wait()
        result = await studio(job, context)
        if all(studio.calls[f"draw[{place}]"] for place in range(3)):
            release.set()
        return result

    limits = Limits({"test/say": {"concurrency": 1}})
    report = asyncio.run(asyncio.wait_for(run_movie(movie, produce=with_limits(produce, limits), concurrency=2), 60))
    assert report.status == "published"
    assert limits.usage()["test/say"] == LimitUse(0, 1, 0)


def test_jobs_that_wait_for_a_key_keep_no_others_from_idle_slots(store: Store) -> None:
    """Far more of them than may wait for a slot, all before the others: those are done before the limited ones are."""
    movie = store.create_movie("queue")
    set_inputs(movie, {"@blueprint": QUEUE, "many": [*range(100)], "few": [1, 2, 3]})
    ends: list[str] = []
    release = asyncio.Event()

    async def produce(job: Job, context: JobContext) -> Produced:
        if job.producer == "paint":
            await release.wait()
        ends.append(job.producer)
        if ends.count("say") == 3:
            release.set()
        return Produced(dict.fromkeys(job.outputs, "x"))

    limits = Limits({"test/paint": {"concurrency": 1}})
    report = asyncio.run(asyncio.wait_for(run_movie(movie, produce=with_limits(produce, limits), concurrency=2), 60))
    assert report.status == "published"
    assert ends[:3] == ["say"] * 3


QUEUE = """
inputs: {many: {type: list, required: true}, few: {type: list, required: true}}
loops: {m: {over: many}, f: {over: few}}
producers:
  paint: {for: [m], run: test/paint, inputs: {x: "many[m]"}, outputs: {image: {mimeType: image/png}}}
  clip: {for: [m], run: test/clip, inputs: {x: "paint[m].image"}, outputs: {video: {mimeType: video/mp4}}}
  say: {for: [f], run: test/say, inputs: {x: "few[f]"}, outputs: {audio: {mimeType: audio/wav}}}
"""
BLUEPRINT = """
name: cards
inputs: {topic: {type: string, required: true}}
producers:
  paint:
    run: test/paint
    rateKey: studio
    uses: {gpu: 2}
    inputs: {topic: topic}
    outputs: {image: {mimeType: image/png}}
  plain:
    run: test/plain
    inputs: {topic: topic}
    outputs: {text: {mimeType: text/plain}}
"""


def test_rate_key_and_resources_of_a_blueprint_reach_the_call_and_no_signature(store: Store) -> None:
    """A run with other resources makes nothing anew."""
    seen: dict[str, tuple[str, dict[str, int]]] = {}

    async def produce(job: Job, context: JobContext) -> Produced:
        seen[job.job_id] = (context.rate_key, dict(context.uses))
        return Produced(dict.fromkeys(job.outputs, "x"))

    movie = store.create_movie("cards")
    set_inputs(movie, {"@blueprint": BLUEPRINT, "topic": "rain"})
    assert asyncio.run(run_movie(movie, produce=produce)).status == "published"
    assert seen == {"paint": ("studio", {"gpu": 2}), "plain": ("test/plain", {})}
    seen.clear()
    set_inputs(movie, {"@blueprint": BLUEPRINT.replace("gpu: 2", "cpu: 1")})
    asyncio.run(run_movie(movie, produce=produce))
    assert seen == {}
