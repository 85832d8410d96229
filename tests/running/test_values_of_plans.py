"""A plan's inputs are found by its jobs, or the plan is refused before anything is begun."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from renku_store import (
    InvalidValueError,
    Job,
    JobContext,
    Movie,
    Produced,
    Runner,
    RunResult,
    bounds,
    open_store,
    plan_movie,
    set_inputs,
)

BLUEPRINT = """
name: film
inputs: {text: {type: string, required: true}}
producers: {voice: {run: demo/voice@1, inputs: {text: text}, outputs: {audio: {mimeType: text/plain}}}}
"""


async def produce(job: Job, context: JobContext) -> Produced:
    """What it was given, backwards."""
    text = job.request(context.directory)["inputs"]["text"]["value"]
    return Produced({"audio": text[::-1]})


def executed(movie: Movie, text: str) -> RunResult:
    """A plan with a value for itself alone, run by the runner."""

    async def main() -> RunResult:
        async with Runner(movie) as runner:
            return await runner.execute(plan_movie(movie, inputs={"text": text}), produce=produce)

    return asyncio.run(main())


def test_a_long_value_that_was_given_to_a_plan_alone_is_asked_for(tmp_path: Path) -> None:
    """A short one is in the plan; once a long one is set, it is found."""
    long = "long " * bounds.INLINE_MAX_BYTES
    with open_store(tmp_path) as store:
        movie = store.create_movie("film")
        set_inputs(movie, {"@blueprint": BLUEPRINT})
        assert executed(movie, "short").artefacts["voice.audio"].inline == "trohs"
        begun = len(movie.leases.unfinished())
        with pytest.raises(InvalidValueError, match="The value of the input text is kept nowhere"):
            executed(movie, long)
        assert len(movie.leases.unfinished()) == begun
        set_inputs(movie, {"text": long})
        assert executed(movie, long).jobs["voice"].status == "made"
