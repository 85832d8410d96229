"""A movie whose script decides how many segments there are, and a storyboard for each of them how many shots."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from renku_store import (
    Choices,
    Item,
    Job,
    JobContext,
    Movie,
    Produced,
    ProducerError,
    RunProgress,
    RunReport,
    ValueItem,
    plan_movie,
    run_movie,
)
from tests.running.conftest import words

BLUEPRINT = """
name: dynamic
inputs:
  topic: {required: true}
  voice: {type: string, default: en}
loops:
  segment: {over: script.out.segments}
  shot: {over: "board[segment].out.shots"}
  image: {over: "script.out.segments[segment].images"}
producers:
  script:
    run: test/script
    inputs: {topic: topic}
    outputs: {out: {mimeType: application/json}}
  say:
    for: [segment]
    run: test/say
    inputs: {text: "script.out.segments[segment].text", voice: voice}
    outputs: {audio: {mimeType: audio/wav}}
  board:
    for: [segment]
    when: "not script.out.segments[segment].silent"
    run: test/board
    inputs: {text: "script.out.segments[segment].text"}
    outputs: {out: {mimeType: application/json}}
  clip:
    for: [segment, shot]
    run: test/clip
    inputs: {shot: "board[segment].out.shots[shot]", audio: "say[segment].audio"}
    outputs: {video: {mimeType: video/mp4}}
  draw:
    for: [segment, image]
    run: test/draw
    inputs: {prompt: "script.out.segments[segment].images[image]"}
    outputs: {image: {mimeType: image/png}}
  film:
    run: test/film
    inputs: {audio: "say[*].audio", clips: "clip[*].video", images: "draw[*].image", boards: "board[*].out.shots"}
    outputs: {video: {mimeType: video/mp4}}
"""

Topic = dict[str, Any]


def segment(text: str, *images: str, **more: Any) -> Topic:
    """One element of the script; its storyboard has as many shots as the text has letters."""
    return dict(sorted({"text": text, "images": [*images], **more}.items()))


def topic(*segments: Topic, **more: Any) -> Topic:
    """What the script is about, which is what it will say."""
    return dict(sorted({"segments": [*segments], **more}.items()))


class Writers:
    """The producers of that movie. Calls are counted by job, and by what was asked."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.asked: Counter[str] = Counter()
        self.broken: set[str] = set()
        self.script: str | None = None
        self.board: str | None = None
        self.during: Callable[[Job], None] = lambda job: None
        self.holds: dict[str, asyncio.Event] = {}

    async def __call__(self, job: Job, context: JobContext) -> Produced:
        self.calls[job.job_id] += 1
        self.asked[asked(job)] += 1
        await asyncio.sleep(0)
        if job.job_id in self.holds:
            await self.holds[job.job_id].wait()
        self.during(job)
        if job.job_id in self.broken:
            raise ProducerError(f"{job.job_id} is broken")
        return Produced({name: self._content(job, name) for name in job.outputs}, cost=0.01)

    def _content(self, job: Job, name: str) -> str:
        if job.producer == "script":
            about = job.inputs["topic"]
            assert isinstance(about, ValueItem)
            return self.script if self.script is not None else json.dumps(about.value)
        if job.producer == "board" and self.board is not None:
            return self.board
        if job.producer == "board":
            return json.dumps({"shots": [f"{words(job.inputs['text'])}, shot {n}" for n in range(_letters(job))]})
        return f"{name} of {asked(job)}"


def asked(job: Job) -> str:
    """What a producer is asked, as text."""
    inputs = ", ".join(f"{name}={words(item)}" for name, item in sorted(job.inputs.items()))
    return f"{job.producer}({inputs})"


def _letters(job: Job) -> int:
    item: Item = job.inputs["text"]
    return len(words(item))


def run(movie: Movie, writers: Writers, **more: Any) -> RunReport:
    """Run it, with the calls before forgotten."""
    writers.calls.clear()
    writers.asked.clear()
    return asyncio.run(run_movie(movie, produce=writers, **more))


def deferred(movie: Movie, choices: Choices | None = None) -> list[str]:
    """What the plan shows as not known yet, in the order in which it would come."""
    plan = plan_movie(movie, choices=choices)
    return [job for job in plan.dirty if plan.jobs[job].state == "deferred"]


def told(events: Iterable[RunProgress], kind: str) -> list[dict[str, Any]]:
    """The data of the events of a kind."""
    return [dict(event.data) for event in events if event.event == kind]


def artefacts(movie: Movie, producer: str) -> list[str]:
    """The artefacts of a producer in the newest revision."""
    held = movie.manifests.load("latest").artefacts
    return sorted(key for key, entry in held.items() if entry.produced_by == producer)
