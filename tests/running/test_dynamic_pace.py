"""When a run expands the lists that it makes: at once where nothing else is done, else with a rest in between."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from renku_store import Movie, RunProgress, Store, bounds, plan_movie, run_movie, set_inputs
from renku_store.running.concurrency import ConcurrencyLimiter
from renku_store.running.extending import Extending
from renku_store.running.session import RunSession
from tests.running.dynamic import BLUEPRINT, Writers, segment, told, topic

LONG = topic(*(segment("ab") for _ in range(20)))


@pytest.fixture
def writers() -> Writers:
    return Writers()


@pytest.fixture
def movie(store: Store) -> Movie:
    movie = store.create_movie("dynamic")
    set_inputs(movie, {"@blueprint": BLUEPRINT, "topic": LONG})
    return movie


@contextmanager
def _session(movie: Movie) -> Iterator[RunSession]:
    """A run of the movie that does what it is told, job by job."""
    plan = plan_movie(movie).replace(run=movie.events.new_id())
    token = movie.leases.start(plan.run or "", base_revision=None, edits_through=plan.edits_through)
    limiter, logger = ConcurrencyLimiter(2), logging.getLogger("test")
    with movie.leases.held(token):
        yield RunSession(movie, plan, None, token, limiter=limiter, logger=logger, on_event=None)


async def _make(session: RunSession, extending: Extending, writers: Writers, job: str) -> None:
    assert (await session.run_job(job, writers)).status in {"made", "reused"}
    extending.note(job)


def _expands(extending: Extending) -> bool:
    return extending.task is not None


async def _expand(extending: Extending, meanwhile: Callable[[], None], rest: float = 0.0) -> None:
    assert extending.begin(rest=rest) is None
    assert extending.task is not None
    await extending.task
    meanwhile()
    assert extending.ended()


def test_an_expansion_is_followed_by_a_rest_that_is_as_long_as_it_took(movie: Movie, writers: Writers) -> None:
    """Times a factor; nobody rests before the first one, nor where there is nothing to expand, nor without a factor."""
    now = 100.0

    def pass_two_seconds() -> None:
        nonlocal now
        now += 2.0

    async def scenario(session: RunSession) -> None:
        nonlocal now
        extending = Extending(movie, session, lambda: now)
        assert extending.begin(rest=3.0) is None
        assert not _expands(extending)
        await _make(session, extending, writers, "script")
        await _expand(extending, pass_two_seconds)
        assert not extending.wanted
        await _make(session, extending, writers, "say[0]")
        assert not extending.wanted
        await _make(session, extending, writers, "board[0]")
        assert extending.begin(rest=3.0) == 6.0
        now += 5.0
        assert extending.begin(rest=3.0) == 1.0
        assert not _expands(extending)
        await _make(session, extending, writers, "board[1]")
        now += 1.0
        await _expand(extending, lambda: None, rest=3.0)
        assert {"clip[0][0]", "clip[1][1]", "clip[2][*]"} <= session.plan.jobs.keys()

    with _session(movie) as session:
        asyncio.run(scenario(session))


def test_a_run_that_could_do_nothing_else_does_not_rest(
    movie: Movie, writers: Writers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With rests for ever, lists wait until all else is done: then they are expanded together, and the run ends."""
    monkeypatch.setattr(bounds, "EXPANSION_REST_FACTOR", 1e9)
    monkeypatch.setattr(bounds, "EXPANSION_REST_BUSY_FACTOR", 1e9)
    events: list[RunProgress] = []

    async def scenario() -> None:
        async with asyncio.timeout(600):
            assert (await run_movie(movie, produce=writers, on_event=events.append)).status == "published"

    asyncio.run(scenario())
    grown = told(events, "run-extended")
    assert len(grown) == 2
    assert len([job for job in grown[1]["jobs"] if job.startswith("clip")]) == 40
