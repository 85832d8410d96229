"""Claims that are lost while something was begun under them: nothing is paid for twice, and nothing paid is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from renku_store import (
    Choices,
    Job,
    JobContext,
    LeaseLostError,
    Movie,
    Produce,
    Produced,
    ProducerError,
    RetryPolicy,
    Runner,
    RunProgress,
    RunReport,
    Store,
    StoreError,
    StoreUnavailableError,
    plan_movie,
    run_movie,
    set_inputs,
    with_concurrency,
    with_rate_limit,
    with_retry,
)
from renku_store.leases import Claimed, RunLeases
from renku_store.records.events import JobFailure
from renku_store.records.graph import GraphNode
from renku_store.records.run import JobResult, LeaseToken
from renku_store.running import calling
from renku_store.running.claiming import Claims, ClaimUnseen, HeldClaim
from renku_store.running.concurrency import ConcurrencyLimiter
from renku_store.running.pacing import Pacer, Start
from renku_store.running.remembering import DurableMemory, Errand
from renku_store.running.results import Outcome, ResultWriter
from tests.running.test_fencing import (
    ALIKE,
    FAR,
    TWO,
    fallback,
    gathered,
    grouped,
    overdue,
    rival,
    run,
    takes,
    text_of,
    writer_of,
)

FILM = """
inputs: {number: {type: integer, default: 0}}
producers:
  film: {run: test/film, inputs: {number: number}, outputs: {text: {mimeType: text/plain}}}
"""
OTHERS = """
  other: {run: test/other, inputs: {number: number}, outputs: {text: {mimeType: text/plain}}}
  after: {run: test/after, inputs: {text: other.text}, outputs: {text: {mimeType: text/plain}}}
"""
AT_ONCE = RetryPolicy(base_seconds=0.0)


@pytest.fixture
def film(store: Store) -> Movie:
    movie = store.create_movie("film")
    set_inputs(movie, {"@blueprint": FILM})
    return movie


def signature_of(movie: Movie, job: str = "film") -> str:
    return plan_movie(movie).jobs[job].signature or ""


def store_call(movie: Movie, token: LeaseToken, request_id: str) -> None:
    """Store what a remembered call of the film has come to as the holder of `token` would, who has paid for it."""
    plan = plan_movie(movie)
    node = next(node for node in plan.graph.nodes if node.job_id == "film")
    outcome = Outcome(
        node,
        plan.jobs["film"].signature or "",
        {"text": request_id.encode()},
        {"text": "text/plain"},
        cost=1.0,
        attempts=1,
        request_id=request_id,
        over=request_id,
    )
    with ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: asyncio.run(writer_of(movie, token).store(outcome))).result()


def costs(movie: Movie) -> list[tuple[str | None, float]]:
    """What was booked for which call, as far as anything was."""
    return [(event.request_id, event.cost) for event in movie.events.stream_artefacts() if event.cost]


# A call that was begun before the claim was lost


class Breaking:
    """A polled provider: the connection breaks at the first poll, and by the next the claim has been another's."""

    def __init__(self, meanwhile: Callable[[], None]) -> None:
        self.begun: list[str] = []
        self.polls: list[str] = []
        self.gone: set[str] = set()
        self._meanwhile = meanwhile

    async def __call__(self, job: Job, context: JobContext) -> Produced:
        call = context.remembered
        if call is not None and call.request_id in self.gone:
            await context.forget()
            call = None
        if call is None:
            self.begun.append(f"ours-{len(self.begun) + 1}")
            await context.remember(self.begun[-1])
        name = call.request_id if call is not None else self.begun[-1]
        self.polls.append(name)
        if len(self.polls) == 1:
            self._meanwhile()
            raise ProducerError("The connection broke.", retryable=True)
        return Produced({"text": name}, cost=1.0, request_id=name)


@pytest.mark.parametrize("forced", [False, True], ids=["wanted", "forced"])
def test_a_call_that_another_run_has_adopted_meanwhile_is_not_made_anew(film: Movie, forced: bool) -> None:
    """The one that is paid for is fetched, and booked once; the result of the other stands."""

    def adopted() -> None:
        token = rival(film, signature_of(film), "film")
        with film.metadata.read() as reader:
            call = reader.calls.get(signature_of(film))
        assert call is not None
        store_call(film, token, call.request_id)

    provider = Breaking(adopted)
    limiter = ConcurrencyLimiter(1)
    produce = with_retry(with_concurrency(provider, limiter), AT_ONCE)
    report = run(overdue(film), produce, choices=Choices(regen=["film"] if forced else []))
    assert (report.status, provider.begun) == ("published", ["ours-1"])
    assert costs(film) == [("ours-1", 1.0)]
    assert [take.kept for take in takes(film, signature_of(film))] == [False, True]


def test_a_call_whose_note_another_forced_run_has_replaced_is_fetched_and_booked(film: Movie) -> None:
    """Two runs want a take of their own: each pays for one, and both are there."""

    def replaced() -> None:
        token = rival(film, signature_of(film), "film")
        with film.metadata.write() as writer:
            assert writer.calls.note(signature_of(film), "theirs-1", None, token, "film")
        store_call(film, token, "theirs-1")

    provider = Breaking(replaced)
    report = run(overdue(film), with_retry(provider, AT_ONCE), choices=Choices(regen=["film"]))
    assert (report.status, provider.begun) == ("published", ["ours-1"])
    assert costs(film) == [("theirs-1", 1.0), ("ours-1", 1.0)]
    assert len(takes(film, signature_of(film))) == 2


@pytest.mark.parametrize("forced", [False, True], ids=["wanted", "forced"])
def test_a_call_that_is_gone_since_another_run_has_fetched_it_is_not_made_anew(film: Movie, forced: bool) -> None:
    """A provider that gives a result once does not know the call any more: the other's result is the one."""

    def fetched() -> None:
        store_call(film, rival(film, signature_of(film), "film"), "ours-1")
        provider.gone.add("ours-1")

    provider = Breaking(fetched)
    choices = Choices(regen=["film"] if forced else [])
    report = run(overdue(film), with_retry(provider, AT_ONCE), choices=choices)
    assert (report.status, provider.begun) == ("published", ["ours-1"])
    assert (report.jobs["film"].status, text_of(film, "film.text")) == ("reused", "ours-1")
    assert costs(film) == [("ours-1", 1.0)]


def test_a_forced_call_that_was_fetched_by_another_before_its_run_goes_on_is_not_made_anew(store: Store) -> None:
    """The run has begun it before it was interrupted; taken up again, it loses the claim while it waits for a slot."""
    movie = store.create_movie("film")
    set_inputs(movie, {"@blueprint": FILM + OTHERS})
    signatures = {job: signature_of(movie, job) for job in ("film", "other")}
    begun: list[str] = []

    async def interrupted(job: Job, context: JobContext) -> Produced:
        if job.job_id == "film":
            begun.append("ours-1")
            await context.remember("ours-1")
        raise ProducerError("Not now.", retryable=True)

    choices = Choices(regen=["film"])
    first = run(movie, interrupted, choices=choices)

    async def produce(job: Job, context: JobContext) -> Produced:
        if job.job_id == "film":
            begun.append("film")
        elif job.job_id == "other":  # which goes first, as there is one after it
            store_call(movie, rival(movie, signatures["film"], "film"), "ours-1")
        return Produced({"text": "anew"}, cost=1.0)

    async def bounded() -> RunReport:
        async with asyncio.timeout(600):
            return await run_movie(overdue(movie), produce=produce, concurrency=1, choices=choices)

    report = asyncio.run(bounded())
    assert (report.run, report.status, begun) == (first.run, "published", ["ours-1"])
    assert text_of(movie, "film.text") == "ours-1"


# A job in parts


@pytest.mark.parametrize("helped", [False, True], ids=["in its own slot", "in a slot that was idle"])
def test_no_part_is_made_of_a_job_whose_claim_is_anothers(store: Store, helped: bool) -> None:
    """Whoever takes the next range looks at the claim first; the other's result is taken, and no more is paid."""
    movie = store.create_movie("film")
    set_inputs(movie, {"@blueprint": FILM + OTHERS})
    signature = signature_of(movie)
    parts: list[tuple[int, int]] = []
    lost, another = asyncio.Event(), asyncio.Event()

    async def make(start: int, stop: int) -> bytes:
        parts.append((start, stop))
        if len(parts) > 1:
            another.set()
        else:
            store_call(movie, rival(movie, signature, "film"), "theirs-1")
            lost.set()
            if helped:
                await another.wait()
        return b"."

    async def produce(job: Job, context: JobContext) -> Produced:
        if job.job_id == "film":
            await context.partition(6, make)
        elif job.job_id == "other" and helped:  # it has the second slot until then
            await lost.wait()
        return Produced({"text": job.job_id})

    report = run(overdue(movie), produce, concurrency=2 if helped else 1)
    assert (report.status, report.jobs["film"].status, len(parts)) == ("published", "reused", 1)
    assert text_of(movie, "film.text") == "theirs-1"


# A store that does not tell


def busy(*_: object) -> bool:
    raise StoreUnavailableError("Somebody writes for long.", reason="busy")


@pytest.mark.parametrize("wrap", [fallback, grouped, gathered])
@pytest.mark.parametrize("why", ["the lease is another's", "the store is busy"])
def test_a_handler_cannot_hide_that_the_store_does_not_tell_whose_the_claim_is(
    film: Movie, monkeypatch: pytest.MonkeyPatch, why: str, wrap: Callable[[Produce, Produce], Produce]
) -> None:
    """Nobody else is called, whatever it makes of any error, and the run ends with what the store has said."""
    movie = overdue(film)
    called: list[str] = []

    async def paid(job: Job, context: JobContext) -> Produced:
        called.append("paid")
        if why == "the store is busy":
            monkeypatch.setattr(movie.leases, "still_claims", busy)
        else:
            with film.metadata.write() as writer:
                assert writer.runs.acquire(context.run, FAR, 1_000) is not None
        raise ProducerError("Not now.", retryable=True, cost=0.25)

    async def elsewhere(job: Job, context: JobContext) -> Produced:
        called.append("elsewhere")
        return Produced({"text": "elsewhere"}, cost=9.0)

    with pytest.raises(StoreUnavailableError if why == "the store is busy" else LeaseLostError):
        run(movie, wrap(with_retry(paid, AT_ONCE), elsewhere))
    assert called == ["paid"]
    assert costs(film) == ([(None, 0.25)] if why == "the store is busy" else [])
    assert film.manifests.current() is None


def test_who_asks_again_of_a_claim_that_the_store_does_not_tell_of_is_told_again(film: Movie) -> None:
    """A handler that has hidden it, and goes on to another call, comes to no other answer."""
    leases = RunLeases(film.metadata, film.clock, lease_seconds=0.0)
    token = leases.start("r", base_revision=None, edits_through=0)
    claimed = leases.claim("0" * 64, token, "film")
    assert isinstance(claimed, Claimed)
    claim = HeldClaim(leases, token, "0" * 64, "film", claimed)
    leases.release(token)
    told: list[StoreError] = []
    for _ in range(2):
        with pytest.raises(ClaimUnseen) as caught:
            asyncio.run(claim.confirm())
        told.append(caught.value.error)
    assert told[0] is told[1]
    assert isinstance(told[0], LeaseLostError)


# Between the look at the claim and the call


@pytest.mark.parametrize("attempt", [1, 2])
def test_a_job_whose_claim_was_taken_while_its_inputs_were_copied_is_not_called(
    store: Store, monkeypatch: pytest.MonkeyPatch, attempt: int
) -> None:
    """Its process is stopped after the look that follows the wait: it looks again before each attempt."""
    movie = store.create_movie("two")
    set_inputs(movie, {"@blueprint": TWO})
    called: list[str] = []
    prepared: list[str] = []
    prepare = calling.prepare_job

    def stopped(node: GraphNode, signature: str, *given: Any) -> Job:
        job = prepare(node, signature, *given)
        prepared.append(node.job_id)
        if prepared.count("second") == attempt and node.job_id == "second":
            theirs = Outcome(node, signature, {"text": b"theirs"}, {"text": "text/plain"})
            asyncio.run(writer_of(movie, rival(movie, signature, "second")).store(theirs))
        return job

    async def produce(job: Job, context: JobContext) -> Produced:
        called.append(job.job_id)
        if called == ["first", "second"]:
            raise ProducerError("Not now.", retryable=True)
        return Produced({"text": job.job_id}, cost=1.0)

    monkeypatch.setattr(calling, "prepare_job", stopped)
    report = run(overdue(movie), with_retry(produce, AT_ONCE))
    assert (report.status, called) == ("published", ["first", *["second"] * (attempt - 1)])
    assert (report.jobs["second"].status, text_of(movie, "second.text")) == ("reused", "theirs")


# A store that refuses for a moment


@pytest.mark.parametrize("passes", [True, False], ids=["it passes", "it stays"])
def test_what_the_attempts_of_a_cancelled_call_took_is_not_lost_where_the_store_refuses(
    film: Movie, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, passes: bool
) -> None:
    """It is paid for as any result is: it waits for a busy store; what cannot be booked at all is told and logged."""
    monkeypatch.setattr("renku_store.bounds.RESULT_PAUSE_SECONDS", 0.01)
    commit, refused = ResultWriter._commit, list[None]()

    def refusing(writer: ResultWriter, outcomes: Sequence[Outcome]) -> object:
        refused.append(None)
        if passes and len(refused) > 1:
            return commit(writer, outcomes)
        raise StoreUnavailableError("Somebody writes for long.", reason="busy" if passes else "other")

    async def go() -> RunReport:
        stop = asyncio.Event()

        async def produce(job: Job, context: JobContext) -> Produced:
            context.failures.append(JobFailure(kind="ProducerError", message="Not now.", cost=2.5))
            stop.set()
            await asyncio.Event().wait()
            raise AssertionError("unreachable")

        async with asyncio.timeout(600):
            return await run_movie(film, produce=produce, stop=stop)

    monkeypatch.setattr(ResultWriter, "_commit", refusing)
    report = asyncio.run(go())
    result = report.jobs["film"]
    assert (report.status, result.status, result.attempts, result.cost) == ("interrupted", "cancelled", 1, 2.5)
    assert costs(film) == ([(None, 2.5)] if passes else [])
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert [message for message in told if "2.5" in message and "film" in message] == ([] if passes else told)
    assert bool(told) is not passes


def test_a_claim_that_could_not_be_given_back_is_given_back_before_its_run_waits_for_it(
    film: Movie, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who was cancelled while the store was busy, and is asked for again, does not wait for himself."""
    unclaim, refused = film.leases.unclaim, list[None]()

    def refuses_once(signature: str, token: LeaseToken, job: str | None = None) -> None:
        if not refused:
            refused.append(None)
            raise StoreUnavailableError("Somebody writes for long.", reason="busy")
        unclaim(signature, token, job)

    monkeypatch.setattr(film.leases, "unclaim", refuses_once)
    plan = plan_movie(film)

    async def go() -> JobResult:
        begun, waits = asyncio.Event(), asyncio.Event()

        async def produce(job: Job, context: JobContext) -> Produced:
            if not begun.is_set():
                begun.set()
                await asyncio.Event().wait()
            return Produced({"text": "x"}, cost=1.0)

        def listen(event: RunProgress) -> None:
            if event.event == "job-waiting" and event.data["for"] == "claim":
                waits.set()

        async with asyncio.timeout(600), Runner(film, on_event=listen) as runner:
            first = asyncio.create_task(runner.execute_job("film", plan=plan, produce=produce))
            await begun.wait()
            first.cancel()
            await asyncio.wait({first})
            assert refused
            again = asyncio.create_task(runner.execute_job("film", plan=plan, produce=produce))
            waiting = asyncio.create_task(waits.wait())
            await asyncio.wait({again, waiting}, return_when=asyncio.FIRST_COMPLETED)
            assert not waiting.done()
            waiting.cancel()
            assert first.cancelled()
            return await again

    assert asyncio.run(go()).status == "made"


def test_what_could_not_be_given_back_is_let_be_once_its_job_has_claimed_it_anew(
    film: Movie, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another job of the run that wants the same waits for it, and does not give it back."""
    monkeypatch.setattr("renku_store.bounds.CLAIM_POLL_SECONDS", 0.01)
    leases, signature = film.leases, "0" * 64
    token = leases.start("r", base_revision=None, edits_through=0)
    unclaim = leases.unclaim
    monkeypatch.setattr(leases, "unclaim", busy)

    async def go() -> None:
        waits = asyncio.Event()
        claims = Claims(leases, token, lambda *_, **__: waits.set())
        async with asyncio.timeout(600):
            assert isinstance(await claims.claim(signature, "one", forced=False), Claimed)
            await claims.unclaim(signature, "one")
            unclaim(signature, token, "one")  # another run had taken it and has given it up
            claimed = await claims.claim(signature, "one", forced=False)
            assert isinstance(claimed, Claimed)
            claim = claims.held(signature, "one", claimed)
            monkeypatch.setattr(leases, "unclaim", unclaim)
            two = asyncio.create_task(claims.claim(signature, "two", forced=False))
            await waits.wait()
            assert leases.still_claims(signature, token, "one")
            await claim.confirm()
            await claims.unclaim(signature, "one")
            assert isinstance(await two, Claimed)

    asyncio.run(go())


# Two jobs of one signature


def test_who_lost_a_claim_to_another_job_of_the_run_leaves_the_call_of_that_alone(store: Store) -> None:
    """He neither notes his own in its place nor forgets it, not even with his late result."""
    movie = store.create_movie("alike")
    set_inputs(movie, {"@blueprint": ALIKE})
    signature = signature_of(movie, "job[3]")
    node = next(node for node in plan_movie(movie).graph.nodes if node.job_id == "job[2]")
    token = movie.leases.start("r", base_revision=None, edits_through=0)
    assert isinstance(movie.leases.claim(signature, token, "job[3]"), Claimed)

    def memory(job: str) -> DurableMemory:
        return DurableMemory(movie.metadata, movie.clock, Errand(signature, job, token), lambda _: None, forced=False)

    def noted() -> list[str]:
        with movie.metadata.read() as reader:
            return [call.request_id for call in reader.calls.list()]

    async def go() -> None:
        await memory("job[3]").remember("theirs")
        late = memory("job[2]")
        await late.remember("late")
        assert noted() == ["theirs"]
        outcome = Outcome(node, signature, {"text": b"late"}, {"text": "text/plain"}, cost=1.0, over="late")
        assert not (await writer_of(movie, token).store(outcome)).ours
        assert noted() == ["theirs"]
        await late.forget()
        assert noted() == ["theirs"]
        await memory("job[3]").forget()
        assert noted() == []

    asyncio.run(go())


# A start that was counted


@pytest.mark.parametrize(
    "rule",
    [{"limit": 1, "period_seconds": 3_600.0}, {"reservoir": 1, "refill_seconds": 3_600.0}],
    ids=["window", "reservoir"],
)
def test_a_start_that_was_counted_for_a_call_that_is_not_made_is_given_back(
    film: Movie, monkeypatch: pytest.MonkeyPatch, rule: dict[str, Any]
) -> None:
    """The claim was lost in the wait for the turn: who is next need not wait for a call that nobody has made."""
    pacer, delays = Pacer(**rule), list[float]()
    turn = pacer.turn

    async def long_turn(weight: int = 1) -> Start:
        start = await turn(weight)
        store_call(film, rival(film, signature_of(film), "film"), "theirs-1")
        return start

    async def produce(job: Job, context: JobContext) -> Produced:
        raise AssertionError("Nobody is to be called.")

    async def go() -> RunReport:
        async with asyncio.timeout(600):
            report = await run_movie(overdue(film), produce=with_rate_limit(produce, pacer))
        delays.append(pacer.delay())
        return report

    monkeypatch.setattr(pacer, "turn", long_turn)
    report = asyncio.run(go())
    assert (report.status, report.jobs["film"].status, delays) == ("published", "reused", [0.0])
