"""Warm starts, shared clients, and packages that really are installed."""

from __future__ import annotations

import asyncio
import gc
import logging
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from renku_store import (
    ClientCache,
    Job,
    JobContext,
    Movie,
    Produced,
    ProducerError,
    ProducerRegistry,
    RunReport,
    Store,
    WarmStart,
    open_store,
    plan_movie,
    run_movie,
    set_inputs,
)
from renku_store.producers.warming import Warming
from tests.producers.calling import Desk

BLUEPRINT = """
inputs: {numbers: {type: list, required: true}}
loops: {n: {over: numbers}}
producers:
  other: {run: plain/other@1, outputs: {text: {mimeType: text/plain}}}
  model: {for: [n], run: studio/model@1, inputs: {n: "numbers[n]"}, outputs: {text: {mimeType: text/plain}}}
  voice: {run: studio/voice@1, outputs: {text: {mimeType: text/plain}}}
"""


class Studio:
    """A provider with two models that share a warm start; that of `slow` takes until another provider is done."""

    def __init__(self) -> None:
        self.slow: asyncio.Event | None = None
        self.log: list[str] = []
        self.jobs: list[str] = []
        self.error: Exception | None = None
        self.closed = 0

    async def warm_start(self, warm: WarmStart) -> None:
        self.log.append("warm start begins")
        self.jobs = sorted(node.job_id for node in warm.nodes)
        if self.slow is not None:
            await self.slow.wait()
        if self.error is not None:
            raise self.error
        self.log.append("warm")

    async def model(self, job: Job, context: JobContext) -> Produced:
        self.log.append(job.producer)
        return Produced({"text": "made"})

    async def voice(self, job: Job, context: JobContext) -> Produced:
        return await self.model(job, context)

    async def other(self, job: Job, context: JobContext) -> Produced:
        self.log.append("other")
        if self.slow is not None:
            self.slow.set()
        return Produced({"text": "made"})

    async def close(self) -> None:
        self.closed += 1

    def registry(self) -> ProducerRegistry:
        registry = ProducerRegistry({})
        registry.register("studio/model@1", self.model)
        registry.register("studio/voice@1", self.voice)

        async def other(job: Job, context: JobContext) -> Produced:
            return await self.other(job, context)

        registry.register("plain/other@1", other)
        return registry


@pytest.fixture
def studio() -> Studio:
    return Studio()


@pytest.fixture
def movie(tmp_path: Path) -> Iterator[Movie]:
    with open_store(tmp_path / "builds") as store:
        yield _movie(store)


def _movie(store: Store) -> Movie:
    movie = store.create_movie("warm")
    set_inputs(movie, {"@blueprint": BLUEPRINT, "numbers": [1, 2, 3]})
    return movie


def build(movie: Movie, registry: ProducerRegistry, warm_start: Callable[..., None]) -> RunReport:
    async def whole() -> RunReport:
        async with registry:
            return await run_movie(movie, produce=registry, check=warm_start)

    return asyncio.run(whole())


def test_a_warm_start_goes_on_beside_other_work(movie: Movie, studio: Studio) -> None:
    """It begins with the plan, once for all models of a provider, knows their jobs, and only they wait for it."""
    registry = studio.registry()
    studio.slow = asyncio.Event()
    assert build(movie, registry, registry.warm_start).status == "published"
    assert studio.log[:3] == ["warm start begins", "other", "warm"]
    assert sorted(studio.log[3:]) == ["model", "model", "model", "voice"]
    assert (studio.jobs, studio.closed) == (["model[0]", "model[1]", "model[2]", "voice"], 1)


def test_the_first_call_warms_what_nobody_has(movie: Movie, studio: Studio) -> None:
    """A caller who announces nothing gets the warm start all the same, once."""
    assert build(movie, studio.registry(), lambda plan: None).status == "published"
    assert (studio.log.count("warm"), studio.jobs) == (1, [])


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (ProducerError("No licence.", hint="Buy one."), "ProducerError", "No licence."),
        (ValueError("nonsense"), "ProducerError", "The warm start failed: ValueError: nonsense"),
    ],
)
def test_a_failing_warm_start_is_the_failure_of_its_jobs(
    movie: Movie, studio: Studio, error: Exception, kind: str, message: str
) -> None:
    """The jobs of other providers are made; the run can be resumed."""
    studio.error = error
    registry = studio.registry()
    report = build(movie, registry, registry.warm_start)
    failures = {job: result.error for job, result in report.jobs.items() if result.error}
    assert sorted(failures) == ["model[0]", "model[1]", "model[2]", "voice"]
    assert {(failure.kind, failure.message) for failure in failures.values()} == {(kind, message)}
    assert report.jobs["other"].status == "made"
    assert studio.log.count("warm start begins") == 1
    studio.error = None
    assert build(movie, registry, registry.warm_start).status == "published"


def test_a_warm_start_that_may_pass_is_tried_again_by_the_next_call(desk: Desk, studio: Studio) -> None:
    """An error that is retryable does not stick to the handler."""
    studio.error = ConnectionError("nobody there")
    registry = studio.registry()

    async def twice() -> list[bool]:
        ends = []
        for _ in range(2):
            job, context = desk.prepare("studio/model@1", outputs={"text": "text/plain"})
            try:
                await registry(job, context)
                ends.append(True)
            except ProducerError as error:
                ends.append(error.retryable)
            studio.error = None
        await registry.close()
        return ends

    assert asyncio.run(twice()) == [True, True]
    assert studio.log == ["warm start begins", "warm start begins", "warm", "model"]


def test_what_is_known_is_not_warmed_for(movie: Movie, studio: Studio) -> None:
    """A plan whose jobs are up to date, or will be answered by earlier results, begins nothing."""
    registry = studio.registry()
    build(movie, registry, registry.warm_start)
    studio.log.clear()
    assert not plan_movie(movie).dirty
    assert build(movie, registry, registry.warm_start).status == "unchanged"
    assert not studio.log


def test_closing_gives_up_what_is_not_warm_yet(movie: Movie, studio: Studio) -> None:
    """A registry that is closed while a warm start goes on ends it, and closes the handler."""

    async def whole() -> None:
        async with studio.registry() as registry:
            registry.warm_start(plan_movie(movie))
            await asyncio.sleep(0.01)

    studio.slow = asyncio.Event()
    asyncio.run(whole())
    assert (studio.log, studio.closed) == (["warm start begins"], 1)


def test_clients_are_shared_by_key_and_made_anew_after_closing() -> None:
    """One client for each key; every one is closed; another event loop gets its own."""
    closed: list[str] = []
    made: list[str] = []

    async def close(client: str) -> None:
        closed.append(client)

    cache: ClientCache[str] = ClientCache(close)

    def get(key: str) -> str:
        return cache.get(key, lambda: made.append(key) or f"{key} {len(made)}")

    async def use() -> list[str]:
        return [get("a"), get("b"), get("a")]

    async def use_and_close() -> list[str]:
        used = await use()
        await cache.close()
        return used

    assert asyncio.run(use()) == ["a 1", "b 2", "a 1"]
    assert asyncio.run(use_and_close()) == ["a 3", "b 4", "a 3"]
    assert closed == ["a 3", "b 4"]
    asyncio.run(cache.close())
    assert asyncio.run(use())[0] == "a 5"


def test_event_loops_of_several_threads_each_keep_their_clients() -> None:
    """Whoever asks in between: none is thrown away unclosed, and each loop closes its own."""
    closed: list[tuple[int, str]] = []
    turns = threading.Barrier(2, timeout=60)

    async def close(client: str) -> None:
        closed.append((threading.get_ident(), client))

    cache: ClientCache[str] = ClientCache(close)

    async def use(name: str) -> set[str]:
        got = set()
        for number in range(4):
            await asyncio.to_thread(turns.wait)
            got.add(cache.get("a", partial(str, f"{name} {number}")))
        await asyncio.to_thread(turns.wait)
        await cache.close()
        return got

    with ThreadPoolExecutor(2) as pool:
        first, second = (pool.submit(asyncio.run, use(name)) for name in ("one", "two"))
        assert (first.result(), second.result()) == ({"one 0"}, {"two 0"})
    assert {client for _, client in closed} == {"one 0", "two 0"}
    assert len({thread for thread, _ in closed}) == 2


def test_each_event_loop_warms_and_closes_for_itself() -> None:
    """Closing in one gives up nothing of the other; a handler that both have used is closed in both."""
    turns = threading.Barrier(2, timeout=60)
    ended: list[str] = []

    class Slow:
        def __init__(self) -> None:
            self.warm: dict[str, asyncio.Event] = {}

        async def warm_start(self, warm: WarmStart) -> None:
            await self.warm.setdefault(threading.current_thread().name, asyncio.Event()).wait()

        async def make(self, job: Job, context: JobContext) -> Produced:
            raise AssertionError("nobody calls it")

        async def close(self) -> None:
            ended.append(threading.current_thread().name)

    slow = Slow()
    warming = Warming(lambda name: "", logging.getLogger("test"), lambda error: error)

    async def use(first: bool) -> bool:
        task = warming.begin(slow.make)
        assert task is not None
        await asyncio.sleep(0)
        await asyncio.to_thread(turns.wait)
        if first:
            await warming.close()
        await asyncio.to_thread(turns.wait)
        if not first:
            slow.warm[threading.current_thread().name].set()
            await asyncio.wait([task], timeout=60)
            await warming.close()
        return task.cancelled()

    with ThreadPoolExecutor(2) as pool:
        assert [*pool.map(lambda first: asyncio.run(use(first)), (True, False))] == [True, False]
    assert len(ended) == len(set(ended)) == 2


def test_a_program_with_a_loop_for_each_run_keeps_none_of_them() -> None:
    """Only what the last one used; and closing closes that."""
    closed: list[str] = []

    class Handler:
        async def warm_start(self, warm: WarmStart) -> None:
            pass

        async def make(self, job: Job, context: JobContext) -> Produced:
            raise AssertionError("nobody calls it")

        async def close(self) -> None:
            closed.append("it")

    handler = Handler()
    warming = Warming(lambda name: "", logging.getLogger("test"), lambda error: error)
    loops: weakref.WeakSet[asyncio.AbstractEventLoop] = weakref.WeakSet()

    async def use() -> None:
        loops.add(asyncio.get_running_loop())
        await warming.ready(handler.make)

    for _ in range(20):
        asyncio.run(use())
    gc.collect()
    assert len(loops) <= 2
    asyncio.run(warming.close())
    assert closed == ["it"]


def test_one_client_that_cannot_be_closed_keeps_no_other_open() -> None:
    """All are closed, and the first error is raised."""
    closed: list[int] = []

    async def close(client: int) -> None:
        closed.append(client)
        if client == 1:
            raise ConnectionError("gone")

    async def main() -> None:
        cache: ClientCache[int] = ClientCache(close)
        for number in range(3):
            cache.get(number, partial(int, number))
        with pytest.raises(ConnectionError):
            await cache.close()

    asyncio.run(main())
    assert closed == [0, 1, 2]


def test_an_installed_package_brings_its_producers(tmp_path: Path, checkout: Path) -> None:
    """A distribution with an entry point is found where Python finds packages, by a command in a new process."""
    site = tmp_path / "site-packages"
    about = site / "acme_producers-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-producers\nVersion: 1.0\n")
    (about / "RECORD").write_text("")
    (about / "entry_points.txt").write_text("[renku_store.producers]\nacme = acme_producers:register\n")
    (site / "acme_producers.py").write_text(
        "from renku_store import Produced\n"
        "class Acme:\n"
        "    async def warm_start(self, warm):\n"
        "        self.warm = [node.job_id for node in warm.nodes]\n"
        "        self.client = 'client ' + str(len(warm.secret('ACME_KEY')))\n"
        "    async def paint(self, job, context):\n"
        "        context.logger.info('the key is %s', context.secret('ACME_KEY'))\n"
        "        return Produced({'image': f'{self.client} {self.warm}'}, cost=0.5)\n"
        "def register(registry):\n"
        "    registry.register('acme/paint@1', Acme().paint)\n"
    )
    (tmp_path / "movie.yaml").write_text(
        "producers: {picture: {run: acme/paint@1, outputs: {image: {mimeType: text/plain}}}}\n"
    )

    def command(*words: str) -> str:
        return subprocess.run(
            [sys.executable, "-m", "renku_cli", "--root", str(tmp_path / "builds"), *words],
            cwd=tmp_path,
            env={"PYTHONPATH": f"{site}:{checkout}", "ACME_KEY": "a-key-of-17-chars", "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    command("init", "m", "--blueprint", "movie.yaml")
    command("run")
    assert command("cat", "picture.image") == "client 17 ['picture']"
