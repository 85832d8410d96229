"""Calls that are polled: paid for once, whoever dies while they are waited for (invariant 10)."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from renku_store import (
    Choices,
    Job,
    JobContext,
    Movie,
    Produced,
    ProducerError,
    RetryPolicy,
    RunProgress,
    RunReport,
    Store,
    StoreUnavailableError,
    collect,
    open_store,
    plan_movie,
    run_movie,
    set_inputs,
    with_retry,
)
from renku_store.metadata.calls import CallInFlight
from renku_store.processes import this_process
from renku_store.records.run import LeaseToken
from renku_store.running.remembering import DurableMemory, Errand
from renku_store.running.results import Outcome, ResultWriter
from tests.running.job_server import JobServer, Polled

BLUEPRINT = """
inputs: {number: {type: integer, default: 0}}
producers:
  film: {run: test/film, outputs: {video: {mimeType: text/plain}}, timeout: 20}
  poster: {run: test/poster, inputs: {video: film.video, number: number}, outputs: {image: {mimeType: text/plain}}}
"""
FAR = replace(this_process(), host="another machine", command="renku-store run")


@pytest.fixture
def server() -> Iterator[JobServer]:
    with JobServer() as server:
        yield server


@pytest.fixture
def polled(store: Store) -> Movie:
    movie = store.create_movie("polled")
    set_inputs(movie, {"@blueprint": BLUEPRINT})
    return movie


class Leaping:
    """A clock that has gone on by an hour whenever it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)

    def monotonic(self) -> float:
        self.asked += 1
        return 3_600.0 * self.asked


def test_a_note_waits_for_a_busy_store_by_the_clock_that_was_handed_in(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as a result would; then the call ends with the error of the store."""
    movie, told = store.create_movie("busy"), list[str]()
    token = movie.leases.start(movie.events.new_id(), base_revision=None, edits_through=0)
    memory = DurableMemory(movie.metadata, Leaping(), Errand("0" * 64, "film", token), told.append, forced=False)

    def busy() -> object:
        raise StoreUnavailableError("Somebody writes for long.", reason="busy")

    monkeypatch.setattr(movie.metadata, "write", busy)
    with pytest.raises(StoreUnavailableError, match="for long"):
        asyncio.run(memory.remember("call-1"))
    assert told == []


@contextmanager
def running(movie: Movie, server: JobServer, checkout: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that runs the movie, and waits for the provider; it is killed at the end of the block."""
    before = server.polled
    arguments = [sys.executable, "-m", "tests.running.job_server", movie.root, server.url]
    with subprocess.Popen(arguments, cwd=checkout, stdout=subprocess.PIPE, text=True) as process:
        try:
            pause = threading.Event()
            for _ in range(6_000):
                if server.polled > before:
                    break
                assert process.poll() is None
                pause.wait(0.01)
            yield process
        finally:
            process.kill()


def run(movie: Movie, server: JobServer, **more: object) -> RunReport:
    async def bounded() -> RunReport:
        async with asyncio.timeout(120):
            return await run_movie(movie, produce=more.pop("produce", Polled(server.url)), **more)  # type: ignore[arg-type]

    return asyncio.run(bounded())


def in_flight(movie: Movie) -> list[CallInFlight]:
    with movie.metadata.read() as reader:
        return reader.calls.list()


def begun(server: JobServer) -> list[str]:
    return [job["job"] for job in server.begun]


def cost_of(movie: Movie) -> float:
    return sum(event.cost or 0.0 for event in movie.events.stream_artefacts())


@pytest.mark.parametrize("deaths", [1, 2])
def test_a_call_that_was_begun_is_adopted_after_kills(
    polled: Movie, server: JobServer, checkout: Path, deaths: int
) -> None:
    """Whoever is killed while the provider works, once or twice: the next run asks for that result and pays nothing."""
    for _ in range(deaths):
        with running(polled, server, checkout):
            assert begun(server) == ["film"]
    [call] = in_flight(polled)
    assert (call.request_id, call.data, call.job) == ("job-1", {"url": server.url}, "film")
    server.done.set()
    told: list[RunProgress] = []
    report = run(polled, server, on_event=told.append)
    assert (report.status, report.run, begun(server)) == ("published", call.run, ["film", "poster"])
    assert polled.read(polled.artefact("film.video")) == b"job-1 of film"
    assert [event.request_id for event in polled.events.stream_artefacts()] == ["job-1", "job-2"]
    remembered = [(event.job, event.data) for event in told if event.event == "job-remembered"]
    assert remembered == [
        ("film", {"requestId": "job-1", "adopted": True}),
        ("poster", {"requestId": "job-2"}),
    ]
    assert not in_flight(polled)
    assert cost_of(polled) == 1.0


def test_another_process_takes_the_call_at_once(polled: Movie, server: JobServer, checkout: Path) -> None:
    """A run that waits for the claim of another adopts its call as soon as that one's process is gone."""
    with running(polled, server, checkout) as process:

        def on_event(event: RunProgress) -> None:
            if event.event == "job-waiting":
                process.kill()
                server.done.set()

        report = run(polled, server, on_event=on_event, inputs={"number": 7})
    assert (report.status, begun(server)) == ("published", ["film", "poster"])
    assert polled.read(polled.artefact("film.video")) == b"job-1 of film"
    assert not in_flight(polled)


def test_a_call_that_the_provider_has_forgotten_is_made_anew_once(
    polled: Movie, server: JobServer, checkout: Path
) -> None:
    """What the provider does not know any more is begun again, and noted as the call in flight."""
    with running(polled, server, checkout):
        pass
    server.lost.add("job-1")
    server.done.set()
    report = run(polled, server)
    assert (report.status, begun(server)) == ("published", ["film", "film", "poster"])
    assert polled.read(polled.artefact("film.video")) == b"job-2 of film"


def test_a_provider_that_never_knows_its_calls_is_not_asked_for_ever(polled: Movie, server: JobServer) -> None:
    """A call that is unknown as soon as it was begun is a failure that may pass, and is forgotten."""
    server.lost.add("job-1")
    server.done.set()
    report = run(polled, server)
    error = report.jobs["film"].error
    assert error is not None
    assert (report.status, error.retryable, begun(server), in_flight(polled)) == ("failed", True, ["film"], [])


def test_failures_that_may_pass_keep_the_call(polled: Movie, server: JobServer) -> None:
    """Polls that fail are tried again, within a run and in the next one, for the same paid call."""
    server.failing = 2
    assert run(polled, server).status == "failed"
    assert [call.request_id for call in in_flight(polled)] == ["job-1"]
    failed = next(event for event in polled.events.stream_artefacts() if event.status == "failed")
    assert failed.request_id == "job-1"
    server.failing = 3
    server.done.set()
    retried = with_retry(Polled(server.url), RetryPolicy(base_seconds=0.01))
    assert run(polled, server, produce=retried).status == "published"
    assert begun(server) == ["film", "poster"]


def test_a_call_that_has_failed_is_over(polled: Movie, server: JobServer) -> None:
    """Where the provider says that the call has failed, the next run makes another one."""
    server.failed.add("job-1")
    assert run(polled, server).status == "failed"
    assert not in_flight(polled)
    server.done.set()
    assert run(polled, server).status == "published"
    assert begun(server) == ["film", "film", "poster"]


def test_a_call_that_took_too_long_here_can_still_be_fetched(
    polled: Movie, server: JobServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end of our patience is not the end of the provider's work."""
    monkeypatch.setattr("renku_store.bounds.CANCEL_GRACE_SECONDS", 0.0)
    set_inputs(polled, {"@blueprint": BLUEPRINT.replace("timeout: 20", "timeout: 1")})
    assert run(polled, server).status == "failed"
    assert [call.request_id for call in in_flight(polled)] == ["job-1"]
    server.done.set()
    assert run(polled, server).status == "published"
    assert begun(server) == ["film", "poster"]


@pytest.mark.parametrize("error", [TimeoutError, asyncio.CancelledError])
def test_a_poll_that_a_handler_ends_itself_keeps_the_call(
    polled: Movie, server: JobServer, error: type[BaseException]
) -> None:
    """A timeout or a cancellation of the handler's own says nothing of the provider's work, which is fetched later."""

    class Impatient(Polled):
        async def _ask(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
            if path:
                raise error
            return await super()._ask(path, body)

    assert run(polled, server, produce=Impatient(server.url)).status == "failed"
    assert [call.request_id for call in in_flight(polled)] == ["job-1"]
    server.done.set()
    assert run(polled, server).status == "published"
    assert begun(server) == ["film", "poster"]


def test_a_call_whose_answer_cannot_be_stored_is_booked_once_with_the_one_that_can(
    polled: Movie, server: JobServer
) -> None:
    """It is fetched again, as it was paid for once."""

    class Losing(Polled):
        async def __call__(self, job: Job, context: JobContext) -> Produced:
            answer = await super().__call__(job, context)
            path = context.directory / "answer"
            path.write_text("x")
            asyncio.get_running_loop().call_soon(path.unlink)  # it is there when the answer is looked at
            return Produced(dict.fromkeys(answer.outputs, path), cost=answer.cost)

    server.done.set()
    assert run(polled, server, produce=Losing(server.url)).cost == 0.0
    assert [call.request_id for call in in_flight(polled)] == ["job-1"]
    assert run(polled, server).status == "published"
    assert begun(server) == ["film", "poster"]
    assert polled.manifests.load("latest").metrics.cost == 1.0, "what two calls cost"


def test_a_failure_before_the_call_is_looked_for_keeps_it(polled: Movie, server: JobServer) -> None:
    """A handler that cannot even begin, for a key that is missing today, does not lose what was paid for yesterday."""

    async def no_key(job: Job, context: JobContext) -> Produced:
        raise ProducerError("There is no key.")

    server.failing = 1
    run(polled, server)
    run(polled, server, produce=no_key)
    assert [call.request_id for call in in_flight(polled)] == ["job-1"]


def test_a_forced_job_makes_a_call_of_its_own(polled: Movie, server: JobServer, checkout: Path) -> None:
    """Who asks for another take does not get the call of an earlier run; the earlier one's note gives way to his."""
    with running(polled, server, checkout):
        pass
    server.done.set()
    report = run(polled, server, choices=Choices(regen=["film"]))
    assert (report.status, begun(server)) == ("published", ["film", "film", "poster"])


def test_a_forced_job_that_died_adopts_its_own_call(polled: Movie, server: JobServer) -> None:
    """A run that makes another take goes on with the call that it has begun itself."""
    server.done.set()
    run(polled, server)
    server.failing = 1
    assert run(polled, server, choices=Choices(regen=["film"])).status == "failed"
    run(polled, server, choices=Choices(regen=["film"]))
    assert begun(server) == ["film", "poster", "film", "poster"]
    assert polled.read(polled.artefact("film.video")) == b"job-3 of film"


def rival(movie: Movie, signature: str) -> LeaseToken:
    """Another run, on another machine, that takes the claim as if its holder's lease had expired."""
    with movie.metadata.write() as writer:
        writer.runs.create("rival", base_revision=None, edits_through=0, created_at="2026-03-04T05:06:07.890Z")
        token = writer.runs.acquire("rival", FAR, 1_000)
        assert token is not None
        assert writer.runs.claim(signature, token, "film", steal=True) is None
    return token


def test_a_late_holder_and_its_heir_pay_once(polled: Movie, server: JobServer) -> None:
    """Who lost the claim while polling keeps its result as a take; the heir's, of the same call, costs nothing more."""
    plan = plan_movie(polled)
    signature = plan.jobs["film"].signature or ""
    node = next(node for node in plan.graph.nodes if node.job_id == "film")
    tokens: list[LeaseToken] = []

    class Overtaken(Polled):
        async def __call__(self, job: Job, context: JobContext) -> Produced:
            if job.job_id == "film" and not tokens:
                await context.remember("job-1", {"url": self.url})
                tokens.append(rival(polled, signature))
                await context.remember("of a holder that has lost its claim")
                await context.forget()
                assert [call.request_id for call in in_flight(polled)] == ["job-1"]
                return Produced({"video": "late"}, cost=0.5, request_id="job-1")
            return await super().__call__(job, context)

    server.done.set()
    report = run(polled, server, produce=Overtaken(server.url))
    assert (report.status, in_flight(polled)[0].request_id) == ("published", "job-1")
    writer = ResultWriter(
        polled.metadata, polled.blobs, polled.events.new_ids, polled.clock, tokens[0], polled.archiver.keep_late
    )
    heirs = Outcome(
        node, signature, {"video": b"heir"}, {"video": "text/plain"}, cost=0.5, request_id="job-1", over="job-1"
    )
    asyncio.run(writer.store(heirs))
    films = [event for event in polled.events.stream_artefacts() if event.artefact == "film.video"]
    assert [(event.status, event.cost) for event in films] == [("kept", 0.5), ("reused", None), ("succeeded", 0.0)]
    assert polled.read(polled.artefact("film.video")) == b"late"
    assert not in_flight(polled)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("", None, "needs a text"),
        ("x" * 600, None, "needs a text"),
        ("x", {1, 2}, "not JSON"),
        ("x", "y" * 20_000, "exceeds"),
    ],
)
def test_what_cannot_be_noted_is_refused(
    polled: Movie, server: JobServer, name: str, data: object, message: str
) -> None:
    """A name is a short text, and what is noted beside it is JSON and small."""

    async def careless(job: Job, context: JobContext) -> Produced:
        await context.remember(name, data)  # type: ignore[arg-type]
        return Produced({})

    error = run(polled, server, produce=careless).jobs["film"].error
    assert error is not None
    assert message in error.message


def test_collection_forgets_calls_that_are_over(polled: Movie, server: JobServer, store: Store) -> None:
    """A note goes when its result has come, or after a month; while its job is under way it stays."""
    server.failing = 1
    run(polled, server)
    collect(polled)
    [call] = in_flight(polled)
    with polled.metadata.write() as writer:
        assert writer.calls.retire(call.noted_at) == 0
        token = writer.runs.acquire(call.run, FAR, 1_000)
        assert token is not None
        writer.runs.claim(call.signature, token, "film", steal=True)
        assert writer.calls.retire(call.noted_at + 1) == 0
        writer.runs.release(token)
        assert writer.calls.retire(call.noted_at + 1) == 1
        writer.calls.restore([call])
        writer.calls.restore([replace(call, request_id="another")])
        assert writer.calls.get(call.signature) == call
    server.done.set()
    run(polled, server)
    with polled.metadata.write() as writer:
        writer.calls.restore([call])
        assert writer.calls.retire(0) == 1


def test_a_new_index_knows_the_calls_in_flight(polled: Movie, server: JobServer, store: Store) -> None:
    """A rebuild of the database takes them over from the old one: they are paid for."""
    server.failing = 1
    run(polled, server)
    calls = in_flight(polled)
    polled.close()
    store.rebuild("polled")
    with open_store(store.root) as again:
        movie = again.movie("polled")
        assert in_flight(movie) == calls
        server.done.set()
        assert run(movie, server).status == "published"
    assert begun(server) == ["film", "poster"]
