"""Long jobs in parts: every number once, whatever the schedule, the crash and the resume; nobody waits for parts."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from renku_store import (
    Choices,
    InvalidValueError,
    Job,
    JobContext,
    Movie,
    Part,
    Produced,
    ProducerError,
    RetryPolicy,
    RunReport,
    Store,
    ValueItem,
    collect,
    open_store,
    run_movie,
    set_inputs,
    with_retry,
)
from renku_store.running.partition import Ranges
from renku_store.testing.invariants import check_invariants
from tests import children

BLUEPRINT = """
inputs: {frames: {type: integer, required: true}, look: {type: string, default: plain}}
producers:
  film: {run: test/film, inputs: {frames: frames, look: look}, outputs: {video: {mimeType: video/mp4}}}
  still: {run: test/still, inputs: {look: look}, outputs: {image: {mimeType: image/png}}}
"""
TOTAL = 40


@pytest.fixture
def movie(store: Store) -> Movie:
    movie = store.create_movie("long")
    set_inputs(movie, {"@blueprint": BLUEPRINT, "frames": TOTAL})
    return movie


class Renderer:
    """Renders frames, each as a line; it notes which, and may be told to do something before a part."""

    def __init__(self, at_least: int = 4) -> None:
        self.frames: Counter[int] = Counter()
        self.parts: list[tuple[int, int]] = []
        self.at_least = at_least
        self.running = self.peak = 0
        self.before: Callable[[int, int], Awaitable[None]] = lambda start, stop: asyncio.sleep(0)
        self.stills = 0

    async def __call__(self, job: Job, context: JobContext) -> Produced:
        if job.producer == "still":
            self.stills += 1
            return Produced({"image": b"still"})
        frames = job.inputs["frames"]
        assert isinstance(frames, ValueItem)
        assert isinstance(frames.value, int)
        made = await context.partition(frames.value, self.render, at_least=self.at_least)
        return Produced({"video": joined(made)}, cost=0.5)

    async def render(self, start: int, stop: int) -> bytes:
        self.running += 1
        self.peak = max(self.peak, self.running)
        try:
            await self.before(start, stop)
        finally:
            self.running -= 1
        self.frames.update(range(start, stop))
        self.parts.append((start, stop))
        return lines(start, stop)


def lines(start: int, stop: int) -> bytes:
    return "".join(f"frame {number}\n" for number in range(start, stop)).encode()


def joined(parts: list[Part]) -> bytes:
    assert [(part.start, part.stop) for part in parts] == sorted((part.start, part.stop) for part in parts)
    return b"".join(part.path.read_bytes() for part in parts)


def run(movie: Movie, renderer: Renderer, **more: object) -> RunReport:
    return asyncio.run(run_movie(movie, produce=renderer, **more))  # type: ignore[arg-type]


def video(movie: Movie) -> bytes:
    return movie.read(movie.manifests.load("latest").artefacts["film.video"])


# The division, by itself


@given(
    total=st.integers(0, 200),
    at_least=st.integers(1, 30),
    cuts=st.lists(st.integers(0, 200), max_size=8),
    workers=st.integers(1, 5),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=400)
def test_every_number_is_in_one_part_whoever_takes_when(
    total: int, at_least: int, cuts: list[int], workers: int, seed: int
) -> None:
    """What is made already and what is taken are all numbers, each once; parts are neither too small nor too large."""
    chance = random.Random(seed)
    bounds = sorted({cut for cut in cuts if cut <= total})
    made = [pair for pair in pairwise(bounds) if chance.random() < 0.5]
    ranges = Ranges(total, made, at_least)
    taken: list[tuple[int, int]] = []
    at: dict[int, tuple[int, int] | None] = dict.fromkeys(range(workers))
    last: dict[int, int | None] = dict.fromkeys(range(workers))
    while at:
        worker = chance.choice(sorted(at))
        current = at[worker]
        if current is not None:
            ranges.done(current)
            at[worker], last[worker] = None, current[1]
            continue
        part = ranges.take(last[worker])
        if part is None:
            del at[worker]
        else:
            at[worker] = part
            taken.append(part)
    numbers = Counter(number for start, stop in [*made, *taken] for number in range(start, stop))
    assert numbers == Counter(range(total))
    gaps = [
        gap for gap in zip([0, *(b for _, b in made)], [*(a for a, _ in made), total], strict=True) if gap[0] < gap[1]
    ]
    for start, stop in taken:
        gap = next(gap for gap in gaps if gap[0] <= start < gap[1])
        assert stop - start < 2 * at_least
        assert stop - start >= min(at_least, gap[1] - gap[0])


def test_who_comes_to_help_begins_in_the_middle_of_what_is_left() -> None:
    """And the next one in the middle of the largest half; who has made a part goes on behind it."""
    ranges = Ranges(160, [], 10)
    assert ranges.take() == (0, 10)
    assert ranges.take() == (85, 95)
    assert ranges.take() == (47, 57)
    ranges.done((0, 10))
    assert ranges.take(10) == (10, 20)


# In a run


def test_a_job_in_parts_gives_what_it_gives_in_one(movie: Movie) -> None:
    """Every frame once, in order; idle slots help, and no more than there are."""
    renderer = Renderer()
    renderer.before = lambda start, stop: asyncio.sleep(0.01)
    report = run(movie, renderer, concurrency=3)
    assert (report.status, report.made, report.cost) == ("published", 2, 0.5)
    assert video(movie) == lines(0, TOTAL)
    assert renderer.frames == Counter(range(TOTAL))
    assert 1 < renderer.peak <= 3
    assert {stop - start for start, stop in renderer.parts} <= {4, 5, 6, 7}


def test_parts_are_nobodys_artefacts_and_no_calls(movie: Movie) -> None:
    """The revision tells of two calls and two artefacts; look-ups and checks are as if there were no parts."""
    run(movie, Renderer())
    manifest = movie.manifests.load("latest")
    assert set(manifest.artefacts) == {"film.video", "still.image"}
    assert (manifest.metrics.made, manifest.metrics.reused) == (2, 0)
    assert movie.events.latest_artefact("film (parts)") is None
    check_invariants(movie)


def test_what_was_made_before_a_failure_is_not_made_again(movie: Movie) -> None:
    """A part fails: those that are done stay; the next attempt makes the rest, in parts of another size."""
    first = Renderer()

    async def fail(start: int, stop: int) -> None:
        if len(first.parts) >= 4:
            raise ProducerError("the lamp is broken")

    first.before = fail
    report = run(movie, first, concurrency=2)
    assert report.status == "failed"
    assert report.jobs["film"].error is not None
    assert report.jobs["film"].error.message == "the lamp is broken"
    second = Renderer(at_least=7)
    assert run(movie, second, concurrency=2).status == "published"
    assert first.frames + second.frames == Counter(range(TOTAL))
    assert len(first.frames) >= 16
    assert video(movie) == lines(0, TOTAL)


def test_a_stopped_run_loses_no_part_that_was_done(movie: Movie) -> None:
    """Cancelled in the middle, the index lost, and taken up again: the archive knows the parts."""
    first = Renderer()

    async def go() -> RunReport:
        stop = asyncio.Event()

        async def wait(start: int, stop_at: int) -> None:
            if len(first.parts) >= 5:
                stop.set()
                await asyncio.sleep(60)

        first.before = wait
        return await run_movie(movie, produce=first, concurrency=1, stop=stop)

    assert asyncio.run(go()).status == "interrupted"
    movie.close()
    for path in (Path(movie.root) / movie.id).glob("metadata.db*"):
        path.unlink()
    second = Renderer()
    with open_store(movie.root) as store:
        again = store.movie(movie.id)
        assert run(again, second).status == "published"
        assert video(again) == lines(0, TOTAL)
    assert first.frames + second.frames == Counter(range(TOTAL))


KILLED = """
    import asyncio, os, signal, sys
    from renku_store import open_store, run_movie
    from tests.running.test_partition import Renderer

    renderer = Renderer(at_least=4)

    async def die(start, stop):
        print(start, stop, flush=True)
        if len(renderer.parts) == 5:
            os.kill(os.getpid(), signal.SIGKILL)

    renderer.before = die
    with open_store(sys.argv[1]) as store:
        asyncio.run(run_movie(store.movie("long"), produce=renderer, concurrency=1))
"""


def test_a_killed_process_loses_the_part_that_it_was_at(movie: Movie) -> None:
    """Five parts were done, the sixth had begun: what is left is made, the sixth again, and nothing else."""
    killed = children.run(KILLED, movie.root)
    assert killed.code == -9, killed.err
    begun = [tuple(map(int, line.split())) for line in killed.out.splitlines()]
    renderer = Renderer(at_least=3)
    assert run(movie, renderer).status == "published"
    done = Counter(number for start, stop in begun[:5] for number in range(start, stop))
    assert done + renderer.frames == Counter(range(TOTAL))
    assert video(movie) == lines(0, TOTAL)


@settings(max_examples=8)
@given(seed=st.integers(0, 2**32), concurrency=st.integers(1, 4))
def test_frames_are_made_once_whatever_breaks_off(
    tmp_path_factory: pytest.TempPathFactory, seed: int, concurrency: int
) -> None:
    """Runs that fail and stop at random, with other sizes of parts each time, come to the same film in the end."""
    chance = random.Random(seed)
    frames: Counter[int] = Counter()
    with open_store(tmp_path_factory.mktemp("builds")) as store:
        movie = store.create_movie("long")
        set_inputs(movie, {"@blueprint": BLUEPRINT, "frames": TOTAL})
        for attempt in range(12):
            renderer = Renderer(at_least=chance.randrange(1, 9))
            left = chance.randrange(1, 6) if attempt < 11 else TOTAL + 1

            async def perhaps(start: int, stop: int, renderer: Renderer = renderer, left: int = left) -> None:
                await asyncio.sleep(0)
                if len(renderer.parts) >= left:
                    raise ProducerError("broken")

            renderer.before = perhaps
            status = run(movie, renderer, concurrency=concurrency).status
            frames += renderer.frames
            if status == "published":
                break
        assert frames == Counter(range(TOTAL))
        assert video(movie) == lines(0, TOTAL)


@pytest.mark.parametrize("own", [True, False], ids=["own folder", "the job's"])
def test_a_part_that_is_tried_again_leaves_the_others_be(movie: Movie, own: bool) -> None:
    """Each part fails once, while another has begun to write; with the context of the whole job nothing is emptied."""
    begun, failed = set[int](), set[int]()
    all_begun = asyncio.Event()

    async def produce(job: Job, context: JobContext) -> Produced:
        if job.producer == "still":
            return Produced({"image": b"still"})

        async def part(start: int, stop: int) -> Path:
            async def call(job: Job, given: JobContext) -> Produced:
                path = given.directory / f"frames-{start}"
                if own:
                    assert given.directory != context.directory
                    assert not path.exists(), "it finds nothing of the attempt before"
                path.write_bytes(lines(start, stop))
                begun.add(start)
                if len(begun) > 1:
                    all_begun.set()
                await all_begun.wait()
                if start not in failed:
                    failed.add(start)
                    raise ProducerError("the lamp flickers", retryable=True)
                await asyncio.sleep(0.02)
                return Produced({"frames": path})

            inner = context.for_part(start, stop) if own else context
            produced = await with_retry(call, RetryPolicy(base_seconds=0.01))(job, inner)
            frames = produced.outputs["frames"]
            assert isinstance(frames, Path)
            return frames

        return Produced({"video": joined(await context.partition(TOTAL, part, at_least=10))})

    report = asyncio.run(asyncio.wait_for(run_movie(movie, produce=produce, concurrency=2), 120))
    assert report.status == "published", report.jobs
    assert video(movie) == lines(0, TOTAL)
    assert report.jobs["film"].attempts == 1 + len(failed)


def test_a_job_that_is_ready_goes_before_every_part(movie: Movie) -> None:
    """A slot that helped with a part goes to it as soon as that part is done; and there are never more than the limit.

    Three slots: the film has one, another job keeps one until the end, and both helpers want the third.
    """
    blueprint = BLUEPRINT + (
        "  early: {run: test/early, inputs: {look: look}, outputs: {text: {mimeType: text/plain}}}\n"
        "  late: {run: test/late, inputs: {text: early.text}, outputs: {text: {mimeType: text/plain}}}\n"
    )
    set_inputs(movie, {"@blueprint": blueprint})
    order: list[str] = []
    running, peak = 0, 0
    all_parts = asyncio.Event()

    async def busy(name: str, until: Awaitable[object]) -> None:
        nonlocal running, peak
        order.append(name)
        running += 1
        peak = max(peak, running)
        await until
        running -= 1

    async def part(start: int, stop: int) -> bytes:
        await busy("part", asyncio.sleep(0.01))
        return lines(start, stop)

    async def produce(job: Job, context: JobContext) -> Produced:
        if job.producer == "film":
            made = await context.partition(TOTAL, part)
            all_parts.set()
            return Produced({"video": joined(made)})
        await busy(job.producer, all_parts.wait() if job.producer == "still" else asyncio.sleep(0.02))
        return Produced(dict.fromkeys(job.outputs, b"x"))

    assert asyncio.run(run_movie(movie, produce=produce, concurrency=3)).status == "published"
    assert order.index("late") < len(order) - 10, "it waited for all the parts"
    assert order.count("part") == TOTAL
    assert peak == 3


def test_a_job_whose_parts_are_all_made_does_not_wait_behind_jobs_that_are_ready(movie: Movie) -> None:
    """Who helped with the last part goes, whatever others have its slot: here they keep it until the film is there.

    Three slots: the film has one, a helper is at the last part in another, and the third goes over to jobs that wait.
    """
    blueprint = BLUEPRINT + (
        "  gate: {run: test/gate, inputs: {look: look}, outputs: {text: {mimeType: text/plain}}}\n"
        '  card: {for: [place], run: test/card, inputs: {x: "places[place]", y: gate.text},'
        " outputs: {text: {mimeType: text/plain}}}\n"
        "loops: {place: {over: places}}\n"
    )
    blueprint = blueprint.replace("inputs: {frames", "inputs: {places: {type: list, required: true}, frames", 1)
    set_inputs(movie, {"@blueprint": blueprint, "places": [*range(8)]})
    helped, first_card, all_parts = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def part(start: int, stop: int) -> bytes:
        if start == 0:
            await helped.wait()
        else:
            helped.set()
            await first_card.wait()
        return lines(start, stop)

    async def produce(job: Job, context: JobContext) -> Produced:
        if job.producer == "film":
            await context.partition(2, part, at_least=1)
            all_parts.set()
        elif job.producer == "gate":
            await helped.wait()
        elif job.producer == "card":
            await asyncio.sleep(0.2)  # the other cards are waiting then
            first_card.set()
            await all_parts.wait()
        return Produced(dict.fromkeys(job.outputs, b"x"))

    report = asyncio.run(asyncio.wait_for(run_movie(movie, produce=produce, concurrency=3), 60))
    assert report.status == "published"


def test_another_take_is_made_of_new_parts(movie: Movie) -> None:
    """What a person has made anew is not put together from the old parts; after a failure it is from its own."""
    run(movie, Renderer())
    broken = Renderer()

    async def fail(start: int, stop: int) -> None:
        if broken.parts:
            raise ProducerError("broken")

    broken.before = fail
    assert run(movie, broken, choices=Choices(regen=["film"]), concurrency=1).status == "failed"
    again = Renderer()
    assert run(movie, again, concurrency=1).status in {"published", "unchanged"}
    assert broken.frames + again.frames == Counter(range(TOTAL))


def test_a_part_that_is_damaged_is_made_again(movie: Movie) -> None:
    """And only that one."""
    first = Renderer()

    async def fail(start: int, stop: int) -> None:
        if len(first.parts) == 5:
            raise ProducerError("broken")

    first.before = fail
    run(movie, first, concurrency=1)
    (start, stop) = first.parts[2]
    stored = [
        event for event in movie.events.stream() if event.type == "artefact" and event.output == f"{start}-{stop}"
    ]
    assert stored[0].value is not None
    path = Path(movie.root) / movie.id / movie.blobs.stat(stored[0].value.hash).path
    path.chmod(0o600)
    path.write_bytes(b"x" * path.stat().st_size)
    second = Renderer()
    assert run(movie, second, concurrency=1).status == "published"
    assert video(movie) == lines(0, TOTAL)
    assert {number for number, times in (first.frames + second.frames).items() if times > 1} == set(range(start, stop))


def test_parts_stay_while_they_are_needed_and_go_then(movie: Movie) -> None:
    """No collection takes them from an unfinished run; once it has ended they are like any take that nobody chose."""
    first = Renderer()

    async def fail(start: int, stop: int) -> None:
        if len(first.parts) >= 4:
            raise ProducerError("broken")

    first.before = fail
    run(movie, first, concurrency=1)
    stored = {event.value.hash for event in movie.events.stream() if event.type == "artefact" and event.value}
    collect(movie, grace_seconds=0.0, force=True)
    assert all(map(movie.blobs.has, stored))
    second = Renderer()
    assert run(movie, second).status == "published"
    assert first.frames + second.frames == Counter(range(TOTAL))
    collect(movie, grace_seconds=0.0, force=True)
    named = {entry.hash for entry in movie.manifests.load("latest").artefacts.values()}
    assert {digest for digest in stored if movie.blobs.has(digest)} <= named
    check_invariants(movie)


def test_outside_of_a_run_everything_is_one_part(tmp_path: Path) -> None:
    """A handler can be tested with nothing but a folder."""
    context = JobContext("job", "run", 1, tmp_path, logging.getLogger("test"))

    async def make(start: int, stop: int) -> bytes:
        return lines(start, stop)

    assert joined(asyncio.run(context.partition(5, make, at_least=2))) == lines(0, 5)


def test_wrong_parts_and_divisions_are_refused(movie: Movie) -> None:
    """By name, as a failure of the job."""
    answers: list[object] = ["text", Path("/etc/hostname"), None]
    for answer in answers:

        async def produce(job: Job, context: JobContext, answer: object = answer) -> Produced:
            async def part(start: int, stop: int) -> bytes:
                return answer  # type: ignore[return-value]

            return Produced(dict.fromkeys(job.outputs, joined(await context.partition(4, part))))

        report = asyncio.run(run_movie(movie, produce=produce))
        assert report.status == "failed"
        assert "The part 0-" in report.jobs["film"].error.message  # type: ignore[union-attr]

    async def nothing(start: int, stop: int) -> bytes:
        return b""

    async def wrong(job: Job, context: JobContext) -> Produced:
        assert await context.partition(0, nothing) == []
        await context.partition(10, nothing, at_least=0)
        return Produced({})

    assert asyncio.run(run_movie(movie, produce=wrong)).jobs["film"].error.kind == InvalidValueError.__name__  # type: ignore[union-attr]
