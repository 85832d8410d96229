"""Measures how long it takes to find out that nothing has to be made again."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from blake3 import blake3
from build_peers import BuildTools
from measuring import Task, arguments, measure, report, workplace

from renku_store import Job, JobContext, Movie, Produced, open_store, plan_movie, run_movie, set_inputs

QUESTION = "How long does it take to find out that nothing has to be made again?"
JOBS = {False: 1_000, True: 200}
DURABILITY = "reads only"
BLUEPRINT = """
name: clips
inputs: {lines: {type: list, required: true}}
loops: {line: {over: lines}}
producers:
  clip:
    for: [line]
    run: bench/clip@1
    inputs: {text: "lines[line]"}
    outputs: {clip: {mimeType: application/octet-stream}}
"""
CLIP_BYTES = 3_000
"""More than is kept in the manifest, so that each clip is a file of its own."""
BARE = """
import json, os, sys
folder = sys.argv[1]
pointer = json.load(open(f"{folder}/current.json"))
for artefact in json.load(open(f"{folder}/{pointer['manifest']}"))["artefacts"].values():
    os.stat(f"{folder}/blobs/{artefact['blob'][:2]}/{artefact['blob']}")
"""


async def produce(job: Job, _context: JobContext) -> Produced:
    """Bytes that follow from the request."""
    return Produced({"clip": blake3(repr(job.inputs["text"]).encode()).digest(CLIP_BYTES)})


def build(root: Path, jobs: int) -> Movie:
    """A movie of so many jobs, made once."""
    movie = open_store(root).create_movie("clips")
    set_inputs(movie, {"@blueprint": BLUEPRINT, "lines": [f"This is line {number}." for number in range(jobs)]})
    made = asyncio.run(run_movie(movie, produce=produce)).made
    assert made == jobs
    return movie


def in_process(movie: Movie) -> None:
    """Ours: a run in a program that has the movie open."""
    assert asyncio.run(run_movie(movie, produce=produce)).status == "unchanged"


def look(folder: Path) -> None:
    """The limit: read and verify the manifest, look at each file, hash each job once."""
    pointer = json.loads((folder / "current.json").read_bytes())
    data = (folder / pointer["manifest"]).read_bytes()
    assert blake3(data).hexdigest() == pointer["hash"]
    for name, artefact in json.loads(data)["artefacts"].items():
        (folder / "blobs" / artefact["blob"][:2] / artefact["blob"]).stat()
        blake3(name.encode()).hexdigest()


def command(root: Path, *words: str) -> None:
    """Ours: the whole command, from the start of the interpreter to its end."""
    call(["-m", "renku_cli", "--root", str(root), *words, "--json"])


def call(words: list[str]) -> None:
    """Run Python to its end."""
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    """Measure and report."""
    given = arguments(QUESTION)
    jobs = JOBS[given.quick]
    with workplace(given.directory) as place:
        movie = build(place, jobs)
        folder = place / movie.id
        peers = BuildTools(Path(given.peers)).work(place / "peers", jobs) if given.peers else {}
        least = {'python -c "import click, apsw"': lambda _: call(["-c", "import click, apsw"])}
        bare = partial(call, ["-c", BARE, str(folder)])
        tasks = [
            Task("run, in a program", DURABILITY, lambda _: in_process(movie), lambda _: look(folder)),
            Task("plan, in a program", DURABILITY, lambda _: plan_movie(movie), lambda _: look(folder)),
            Task("renku-store run", DURABILITY, lambda _: command(place, "run"), lambda _: bare(), {**least, **peers}),
            Task("renku-store plan", DURABILITY, lambda _: command(place, "plan"), lambda _: bare()),
        ]
        in_process(movie)
        results = measure(tasks, given.rounds, given.peer_rounds)
        movie.close()
    report(QUESTION, {"jobs": jobs}, results, given)


if __name__ == "__main__":
    main()
