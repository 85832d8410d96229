"""Secrets are given to handlers and to nobody else."""

from __future__ import annotations

import asyncio
import base64
import inspect
import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

import renku_store
from renku_store import (
    Job,
    JobContext,
    Movie,
    Produced,
    ProducerError,
    ProducerRegistry,
    RunReport,
    WarmStart,
    default_registry,
    open_store,
    run_movie,
    set_inputs,
)
from renku_store.calls import CallMemory
from renku_store.producers.secrets import Secrets
from tests.producers.calling import Desk

KEY = 'k/3y "with" signs+é'
KEYS = {"ACME_KEY": KEY, "SHORT": "abc"}.get


class Blabber:
    """A handler that says its secret wherever it can."""

    def __init__(self) -> None:
        self.way = ""

    async def __call__(self, job: Job, context: JobContext) -> Produced:
        key, way = context.secret("ACME_KEY"), self.way or job.model
        context.logger.warning("%s: the key is %s", job.job_id, key)
        match way:
            case "error":
                raise ProducerError(f"{key} is wrong.", hint=f"Is it {key}?", diagnostics=f"sent {quote(key, safe='')}")
            case "other error":
                raise ValueError(key)
            case "connection":
                raise ConnectionError(f"to {key}@example.org")
            case "traceback":
                try:
                    int(key)
                except ValueError:
                    context.logger.exception("It went wrong with %s", key)
                raise ProducerError("It went wrong.")
            case "text":
                return Produced({"out": f"by {key}"})
            case "file":
                path = context.directory / "out"
                path.write_bytes(b"x" * 65_530 + key.encode() + b"y" * 70_000)
                return Produced({"out": path})
            case "memory":
                await context.remember("job-1", {"authorization": key})
                raise AssertionError
            case _:
                return Produced({"out": "fine"}, request_id=f"req {key}", diagnostics=f"basic {_basic(key)}")


def _basic(key: str) -> str:
    return base64.b64encode(key.encode()).decode()


def blabber(way: str = "") -> ProducerRegistry:
    registry, handler = ProducerRegistry({}, secrets=KEYS), Blabber()
    handler.way = way
    registry.register_provider("blab", handler)
    return registry


@pytest.mark.parametrize("way", ["error", "other error", "connection", "traceback", "text", "file", "memory"])
def test_no_failure_says_a_secret(desk: Desk, way: str, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever a handler raises, logs, notes or answers, the secret in it is replaced by its name, or it is refused."""
    caplog.set_level("DEBUG")
    with pytest.raises(ProducerError) as caught:
        desk.call(f"blab/{way}@1", registry=blabber())
    error = caught.value
    said = f"{error} {error.args} {error.message} {error.hint} {error.diagnostics} {caplog.text}"
    assert not [form for form in (KEY, quote(KEY, safe=""), "signs") if form in said]
    assert "[ACME_KEY]" in caplog.text
    assert not [record for record in caplog.records if record.exc_info or KEY in str(record.args)]
    assert ("ACME_KEY" in said.replace(caplog.text, "")) == (way != "traceback")
    assert error.retryable == (way == "connection")


def test_an_answer_is_told_without_secrets(desk: Desk) -> None:
    """Request ids and diagnostics are cleaned, in whatever coat the secret comes."""
    made = desk.call("blab/answer@1", registry=blabber())
    assert (made.request_id, made.diagnostics) == ("req [ACME_KEY]", "basic [ACME_KEY]")


def test_a_secret_that_is_missing_is_asked_for_by_name(desk: Desk) -> None:
    """The error names the variable to set."""
    registry = ProducerRegistry({}, secrets={}.get)
    registry.register_provider("blab", Blabber())
    with pytest.raises(ProducerError, match="The secret ACME_KEY is not set") as caught:
        desk.call("blab/x@1", registry=registry)
    assert caught.value.hint == "Set the environment variable ACME_KEY."


def test_without_a_registry_there_are_no_secrets(desk: Desk) -> None:
    """A plain produce function has its own ways to secrets: what it is given has none."""
    _, context = desk.prepare("x/y@1")
    with pytest.raises(ProducerError, match="nobody here keeps secrets"):
        context.secret("ACME_KEY")


def test_what_a_program_inherits_is_struck_from_what_it_says(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that prints a key of the environment and fails leaves it in no diagnostics."""
    monkeypatch.setenv("SOME_API_TOKEN", "t0ken-of-somebody")
    with pytest.raises(ProducerError) as caught:
        desk.call("command", config={"argv": ["sh", "-c", "echo it is $SOME_API_TOKEN; exit 3"]})
    assert caught.value.diagnostics == "it is [SOME_API_TOKEN]\n"
    assert caught.value.hint == "It said last: it is [SOME_API_TOKEN]"


@given(
    values=st.dictionaries(
        st.sampled_from(["A", "B", "C"]), st.text('abcXYZ"\\/%+=é\n', min_size=8, max_size=12), min_size=1
    ),
    pieces=st.lists(st.text(max_size=5), min_size=2, max_size=5),
)
def test_no_text_keeps_a_secret(values: dict[str, str], pieces: list[str]) -> None:
    """Secrets within each other, next to each other, at the ends: nothing of them is left."""
    secrets = Secrets(values.get)
    for name in values:
        secrets.get(name)
    for value in values.values():
        struck = secrets.strike(value.join(pieces))
        assert value not in struck or value in "[A][B][C]"
        assert secrets.found_in(value.join(pieces)) is not None
    assert secrets.found_in("[A]") is None


def test_memory_without_secrets_reaches_the_runner(desk: Desk) -> None:
    """What a handler notes and looks up goes to the memory of the call, which hears that it was consulted."""

    async def polled(job: Job, context: JobContext) -> Produced:
        assert context.remembered is None
        await context.remember("job-1", {"url": "there"})
        assert context.remembered is not None
        await context.forget()
        return Produced({"out": str(context.remembered)})

    registry = ProducerRegistry({}, secrets=KEYS)
    registry.register_provider("blab", polled)
    job, context = desk.prepare("blab/x@1")
    memory = context.memory
    assert isinstance(memory, CallMemory)
    assert asyncio.run(registry(job, context)).outputs["out"] == "None"
    assert memory.consulted


BLUEPRINT = """
producers:
  a: {run: blab/error@1, outputs: {out: {mimeType: text/plain}}}
  b: {run: blab/text@1, outputs: {out: {mimeType: text/plain}}}
  c: {run: blab/answer@1, outputs: {out: {mimeType: text/plain}}}
  d: {run: blab/traceback@1, outputs: {out: {mimeType: text/plain}}}
  e: {run: blab/memory@1, outputs: {out: {mimeType: text/plain}}}
  f: {run: warm/start@1, outputs: {out: {mimeType: text/plain}}}
"""


class BadStart(Blabber):
    async def warm_start(self, warm: WarmStart) -> None:
        warm.logger.warning("key %s", warm.secret("ACME_KEY"))
        raise ProducerError(f"{warm.secret('ACME_KEY')} is no key.")


@pytest.fixture
def movie(tmp_path: Path) -> Iterator[Movie]:
    with open_store(tmp_path / "builds") as store:
        movie = store.create_movie("blab")
        set_inputs(movie, {"@blueprint": BLUEPRINT})
        yield movie


def test_nothing_of_a_movie_holds_a_secret(movie: Movie, tmp_path: Path) -> None:
    """After a run that fails, partly, in every way: no file of the movie, no log line and no event has the secret."""
    log = tmp_path / "run.log"
    logger = logging.Logger("everything")  # noqa: LOG001 (this test's own)
    handler = logging.FileHandler(log)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.addHandler(handler)
    registry = blabber()
    registry.register_provider("warm", BadStart())
    events: list[str] = []

    async def whole() -> str:
        async with registry:
            report = await run_movie(
                movie, produce=registry, logger=logger, allow_partial=True, on_event=lambda e: events.append(str(e))
            )
        return str(report)

    said = asyncio.run(whole())
    handler.close()
    movie.close()
    forms = [KEY, quote(KEY, safe=""), _basic(KEY), "signs"]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert log in files
    assert len(files) > 5
    for form in forms:
        assert form not in said + "".join(events)
        assert not [path for path in files if form.encode() in path.read_bytes()]
    assert "[ACME_KEY]" in log.read_text()


PARTED = "producers: {film: {run: test/film, outputs: {video: {mimeType: video/mp4}}}}"


def test_a_part_that_holds_a_secret_is_stored_nowhere(movie: Movie, tmp_path: Path) -> None:
    """It is refused before it is kept for the next attempt, though the output that is made of the parts is clean."""

    async def film(job: Job, context: JobContext) -> Produced:
        key = context.secret("ACME_KEY")

        async def make(start: int, stop: int) -> bytes:
            return f"frames {start}-{stop} by {key}".encode()

        await context.partition(1, make)
        return Produced({"video": b"clean"})

    registry = ProducerRegistry({}, secrets=KEYS)
    registry.register("test/film@1", film)
    set_inputs(movie, {"@blueprint": PARTED})
    error = asyncio.run(run_movie(movie, produce=registry)).jobs["film"].error
    assert error is not None
    assert error.message == "The part 0-1 holds the secret ACME_KEY."
    movie.close()
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]


def test_a_stop_while_an_answer_is_searched_loses_no_result(movie: Movie, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was paid for is searched to the end and stored; the next run makes nothing anew."""
    search, calls = Secrets.found_in, 0

    async def stopped_meanwhile() -> RunReport:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()

        async def film(job: Job, context: JobContext) -> Produced:
            nonlocal calls
            calls += 1
            context.secret("ACME_KEY")
            task, pause = asyncio.current_task(), threading.Event()
            assert task is not None

            def slow(secrets: Secrets, output: bytes | str | Path) -> str | None:
                loop.call_soon_threadsafe(stop.set)
                for _ in range(6_000):
                    if task.cancelling():
                        break
                    pause.wait(0.01)
                return search(secrets, output)

            monkeypatch.setattr(Secrets, "found_in", slow)
            return Produced({"video": b"clean"}, cost=5.0)

        registry.register("test/film@1", film)
        return await run_movie(movie, produce=registry, stop=stop)

    registry = ProducerRegistry({}, secrets=KEYS)
    set_inputs(movie, {"@blueprint": PARTED})
    result = asyncio.run(stopped_meanwhile()).jobs["film"]
    assert (result.status, result.cost) == ("made", 5.0)
    asyncio.run(run_movie(movie, produce=registry))
    assert calls == 1
    assert movie.read(movie.artefact("film.video")) == b"clean"


def test_the_environment_is_the_default_place(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a resolver a secret is the variable of its name, and other places can be given in code."""
    monkeypatch.setenv("ACME_KEY", "from-the-environment")
    assert Secrets().get("ACME_KEY") == "from-the-environment"
    assert Secrets({**os.environ, "ACME_KEY": "from a vault"}.get).get("ACME_KEY") == "from a vault"
    assert default_registry(secrets=KEYS).known() == default_registry().known()


def test_no_signature_shows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `help` and an editor show of the public names has no value of an environment variable in it."""
    monkeypatch.setenv("ACME_KEY", "a-key-for-nobody's-eyes")
    for name in renku_store.__all__:
        public = getattr(renku_store, name)
        parts = [public, *(vars(public).values() if isinstance(public, type) else ())]
        for part in parts:
            if inspect.isfunction(part):
                assert "nobody's-eyes" not in str(inspect.signature(part)), f"{name}: {part}"
