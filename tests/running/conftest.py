"""A movie in files, and producers that count their calls."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from json import dumps
from pathlib import Path

import pytest

from renku_store import (
    FileItem,
    Item,
    Job,
    JobContext,
    Movie,
    Produced,
    ProducerError,
    Store,
    ValueItem,
    open_store,
    set_inputs,
)
from tests.ramdisk import fast_folder

BLUEPRINT = """
name: small
inputs:
  segments: {type: list, required: true}
  voice: {type: string, default: en}
loops:
  segment: {over: segments}
producers:
  say:
    for: [segment]
    run: test/say
    inputs: {text: "segments[segment].text", voice: voice}
    outputs: {audio: {mimeType: audio/wav}}
  draw:
    for: [segment]
    run: test/draw
    inputs: {title: "segments[segment].title"}
    outputs: {image: {mimeType: image/png}}
  length:
    for: [segment]
    run: test/length
    inputs: {audio: "say[segment].audio"}
    outputs: {seconds: {mimeType: application/json}}
  film:
    run: test/film
    inputs: {audio: "say[*].audio", images: "draw[*].image", lengths: "length[*].seconds"}
    outputs: {video: {mimeType: video/mp4}, timeline: {mimeType: application/json}}
timeline: film.timeline
"""
SEGMENTS = [{"text": "one", "title": "First"}, {"text": "two", "title": "Second"}, {"text": "three", "title": "Third"}]


def words(item: Item | None) -> str:
    match item:
        case None:
            return "-"
        case ValueItem(value):
            return str(value)
        case FileItem(path, _):
            return path.read_text()
        case _:
            return "+".join(words(place) for place in item)


class Studio:
    """A provider for tests: makes text from what it is given, counts its calls, and fails where it is told to."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.called = asyncio.Event()
        self.running = 0
        self.peak = 0
        self.broken: set[str] = set()
        self.cost = 0.01
        self.pause_seconds = 0.0
        self.hold: asyncio.Event | None = None
        self.during: Callable[[Job], None] = lambda job: None

    async def __call__(self, job: Job, context: JobContext) -> Produced:
        self.calls[job.job_id] += 1
        self.called.set()
        self.running += 1
        self.peak = max(self.peak, self.running)
        try:
            await asyncio.sleep(self.pause_seconds)
            if self.hold is not None:
                await self.hold.wait()
            self.during(job)
            if job.job_id in self.broken:
                raise ProducerError(f"{job.job_id} is broken")
            text = f"{job.producer}({', '.join(f'{name}={words(item)}' for name, item in sorted(job.inputs.items()))})"
            if job.producer == "length":
                text = str(len(words(job.inputs["audio"])))
            made = {name: f"{name}:{text}" if name != "seconds" else text for name in job.outputs}
            documents = {name for name, output in job.outputs.items() if output.mime_type == "application/json"}
            told = {name: dumps(made[name]) for name in documents - {"seconds"}}
            return Produced({**made, **told}, cost=self.cost)
        finally:
            self.running -= 1


@pytest.fixture
def studio() -> Studio:
    return Studio()


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """In memory: hundreds of runs sync a lot, and none asks what a disk does."""
    with fast_folder() as folder:
        yield folder


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "builds") as store:
        yield store


@pytest.fixture
def movie(store: Store) -> Movie:
    movie = store.create_movie("small")
    set_inputs(movie, {"@blueprint": BLUEPRINT, "segments": SEGMENTS})
    return movie
