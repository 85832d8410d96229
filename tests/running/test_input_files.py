"""The files that a call is given: no two inputs share one, whatever they are called."""

from __future__ import annotations

import asyncio
import json
import unicodedata
from typing import Any, TypeAlias, cast

import pytest

from renku_store import (
    GraphInput,
    GraphNode,
    GraphOutput,
    Job,
    JobContext,
    Movie,
    Planner,
    Produced,
    ProducerGraph,
    Reference,
    Runner,
)

Read: TypeAlias = "dict[str, str | list[str | None]]"
"""What a job reads by the name of its input: the text of an artefact, or of each place of a fan-in."""
TYPES = {"t": "text/plain", "p": "image/png", "b": "application/x-unheard-of"}
"""By the first letter of an artefact's name: with an extension, with another one, and with none."""


def graph(inputs: Read) -> ProducerGraph:
    """One job that reads all of these, and one that makes each of them."""
    names = sorted({name for given in inputs.values() for name in listed(given) if name is not None})
    makers = [maker(name, TYPES[name[0]]) for name in names]
    read = [
        GraphInput(name=name, refs=[None if one is None else reference(one) for one in given])
        if isinstance(given, list)
        else GraphInput(name=name, ref=reference(given))
        for name, given in inputs.items()
    ]
    reader = maker("reader", "application/json").replace(inputs=read)
    return ProducerGraph(nodes=[*makers, reader])


def maker(name: str, mime_type: str) -> GraphNode:
    output = GraphOutput(id=f"{name}.out", name="out", mime_type=mime_type)
    return GraphNode(job_id=name, producer=name, provider="test", provider_model=name, produces=[output])


def listed(given: str | list[str | None]) -> list[str | None]:
    return given if isinstance(given, list) else [given]


def reference(name: str) -> Reference:
    return Reference(kind="artefact", id=f"{name}.out")


async def produce(job: Job, context: JobContext) -> Produced:
    """Each maker its own name; the reader says where its files lie, and what is in them."""
    if job.producer != "reader":
        return Produced({"out": job.producer})
    items = cast("dict[str, Any]", job.request(context.directory)["inputs"])
    files = {name: item if isinstance(item, list) else [item] for name, item in items.items()}
    paths = {name: [file and file["path"] for file in given] for name, given in files.items()}
    found = {name: [path and (context.directory / path).read_text() for path in given] for name, given in paths.items()}
    return Produced({"out": json.dumps({"paths": paths, "found": found})})


def told(movie: Movie, inputs: Read) -> tuple[dict[str, list[str | None]], dict[str, list[str | None]]]:
    """Where the files of each input lie, and what they hold."""
    plan = Planner.compute_plan(graph=graph(inputs), manifest=None, inputs={})
    result = asyncio.run(Runner(movie).execute(plan, produce=produce))
    assert result.succeeded
    document = json.loads(movie.read(result.artefacts["reader.out"]))
    return document["paths"], document["found"]


@pytest.mark.parametrize(
    "inputs",
    [
        {"a": ["t1", "t2"], "a-0": "t3"},
        {"a-0": "t3", "a": ["t1", "t2"]},
        {"a": [None, "b1"], "a-1": "b2", "c": "b3"},
        {"a": "t1", "a.txt": "b1"},
        {"a": ["t1"], "a-0.txt": "b1", "0": "b2"},
        {"A": "p1", "a": "p2"},
        {"\u00e9": "t1", "e\u0301": "t2"},
        {"x" * 500: "t1", "y" + "x" * 500: "t2"},
        {"\u540d" * 170 + "xy": ["t1", "t2"], "b": "p1"},
        {"a": ["t1"], "a-0": "t2", "a-0.txt": ["t3"], "0": "t4"},
    ],
)
def test_every_input_of_a_job_has_a_file_of_its_own(movie: Movie, inputs: Read) -> None:
    """Names that would lead to one file, also where several letters are one, lead to several; long ones are cut."""
    paths, found = told(movie, inputs)
    assert found == {name: listed(given) for name, given in inputs.items()}
    all_paths = [path for given in paths.values() for path in given if path is not None]
    folded = [unicodedata.normalize("NFC", path).casefold() for path in all_paths]
    assert len(set(folded)) == len(folded)


def test_files_have_the_names_of_their_inputs(movie: Movie) -> None:
    """A file is called as its input is, with its place in a fan-in, and the extension of its type."""
    paths, _ = told(movie, {"a": ["t1", None, "p1"], "b": "t2", "c": "b1", "a0": "t3"})
    assert paths == {
        "a": ["inputs/a-0.txt", None, "inputs/a-2.png"],
        "b": ["inputs/b.txt"],
        "c": ["inputs/c"],
        "a0": ["inputs/a0.txt"],
    }
