"""Measures how long a plan takes as a movie grows, and how much memory a job takes."""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import orjson
import zstandard
from blake3 import blake3
from build_peers import BuildTools
from measuring import Task, arguments, measure, report, workplace

from renku_store import ManifestArtefact, Movie, canonical_json, hash_bytes, open_store, plan_movie, set_inputs
from renku_store.hashing import graph_bytes, signature
from renku_store.projection import next_manifest
from renku_store.selection import MISSING, Selection

QUESTION = "How long does it take to plan a movie, and how does that grow with its jobs?"
SIZES = {False: (1_000, 10_000, 100_000), True: (100, 200, 400)}
MILLION = 1_000_000
"""Jobs of the largest movie, with --full."""
MOST_OF_A_COMMAND = 10_000
"""Jobs of the largest movie that is planned by a whole command, too."""
PEERS: Final = {1_000: ("doit", "redun", "snakemake"), 10_000: ("doit",)}
"""Which others plan as many jobs in some minutes."""
DURABILITY = "reads only"
BLUEPRINT = """
name: film
inputs: {lines: {type: list, required: true}, style: {type: string, required: true}}
loops: {line: {over: lines}}
producers:
  narration:
    for: [line]
    run: bench/speak@1
    inputs: {text: "lines[line].text", style: style}
    outputs: {audio: {mimeType: text/plain}}
  picture:
    for: [line]
    run: bench/draw@1
    config: {size: 1024, quality: high}
    inputs: {prompt: "lines[line].picture", style: style}
    outputs: {image: {mimeType: text/plain}}
  clip:
    for: [line]
    run: bench/cut@1
    inputs: {audio: "narration[line].audio", image: "picture[line].image"}
    outputs: {clip: {mimeType: text/plain}}
  subtitles:
    for: [line]
    run: bench/time@1
    context: {line: line}
    inputs: {audio: "narration[line].audio"}
    outputs: {times: {mimeType: text/plain}}
"""
JOBS_OF_A_LINE = 4


def lines(count: int, *, changed: bool = False) -> list[dict[str, str]]:
    """The input that everything is made from; where it is changed, the text of each hundredth line."""
    every = 100 if changed else count + 1
    return [
        {"text": f"This is line {line}{' anew' if line % every == every - 1 else ''}.", "picture": f"View {line}."}
        for line in range(count)
    ]


def build(root: Path, jobs: int) -> Movie:
    """A movie whose only revision holds what a run would make: short texts, so that all of it is in the manifest."""
    movie = open_store(root).create_movie("film")
    values = {"@blueprint": BLUEPRINT, "lines": lines(jobs // JOBS_OF_A_LINE), "style": "calm"}
    set_inputs(movie, values)
    plan = plan_movie(movie)
    artefacts: dict[str, ManifestArtefact] = {}
    state = Selection(values, artefacts, lambda _: MISSING)
    for node in plan.graph.nodes:
        known = signature(node, state.signed_inputs(node))
        for output in node.produces:
            text = f"{output.id}, made of {known[:32]}"
            artefacts[output.id] = ManifestArtefact(
                hash=hash_bytes(text.encode()),
                size=len(text),
                mime_type=output.mime_type,
                inline=text,
                produced_by=node.producer,
                job=node.job_id,
                signature=known,
            )
    movie.blobs.put_many([graph_bytes(plan.graph), *(canonical_json(value) for value in values.values())])
    manifest = next_manifest(
        None,
        None,
        movie=movie.id,
        revision="rev-0001",
        run=movie.events.new_id(),
        created_at="2026-01-01T00:00:00.000Z",
        graph=plan.graph_hash,
        timeline=None,
        inputs=plan.inputs,
        artefacts=artefacts,
    )
    movie.manifests.save_manifest(manifest, previous_hash=None)
    return movie


def look(folder: Path) -> None:
    """The limit: read and verify the manifest, hash a key of the size of a request per job, and compare it."""
    pointer = json.loads((folder / "current.json").read_bytes())
    data = (folder / pointer["manifest"]).read_bytes()
    assert blake3(data).hexdigest() == pointer["hash"]
    manifest = orjson.loads(data)
    found = 0
    for artefacts in pages(folder, manifest):
        for name, artefact in artefacts.items():
            key = f'{{"job":"{name}","inputs":["{artefact["hash"]}","{artefact["hash"]}"],"producer":"bench"}}'
            found += blake3(key.encode()).hexdigest() == artefact["signature"]
    assert found == 0


def pages(folder: Path, manifest: dict[str, object]) -> list[dict[str, dict[str, str]]]:
    """The artefacts of a manifest, page by page, verified."""
    if "artefacts" in manifest:
        return [manifest["artefacts"]]
    found = []
    for page in manifest["pages"]:
        path = folder / "blobs" / page["hash"][:2] / page["hash"]
        packed = path.with_name(f"{path.name}.zst")
        data = zstandard.decompress(packed.read_bytes()) if packed.exists() else path.read_bytes()
        assert blake3(data).hexdigest() == page["hash"]
        found.append(orjson.loads(data))
    return found


def planned(root: Path, jobs: int, *, changed: bool) -> float:
    """Ours: what a run would do; the seconds of `plan_movie` in a program that has just opened the movie.

    Nothing of an earlier round is at hand: the manifest and its pages are read and verified anew.
    """
    count = jobs // JOBS_OF_A_LINE
    given = {"lines": lines(count, changed=True)} if changed else None
    gc.collect()
    with open_store(root) as store, store.movie("film") as movie:
        started = time.perf_counter()
        plan = plan_movie(movie, inputs=given)
        seconds = time.perf_counter() - started
        # A changed line is spoken, timed and cut anew; its picture stays.
        assert len(plan.dirty) == (3 * (count // 100) if changed else 0)
        assert len(plan.jobs) == jobs
    return seconds


def command(words: list[str]) -> None:
    """A program from the start of the interpreter to its end."""
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)


def memory(root: Path, small: Path) -> None:
    """Print the bytes by which this process grows, at its highest, while it plans; what it needs anyhow is loaded."""
    plan_movie(open_store(small).movie("film"))
    movie = open_store(root).movie("film")
    before = resident("VmRSS")
    plan_movie(movie)
    print(resident("VmHWM") - before)


def resident(which: str) -> int:
    """Bytes of memory that this process has now (VmRSS), or had at its highest (VmHWM), as Linux tells them."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines())
    return int(status[which].split()[0]) * 1_024


def bytes_of_a_job(root: Path, small: Path, jobs: int) -> int:
    """Memory of a process of its own while it plans, per job."""
    command = [sys.executable, __file__, "--memory", str(root), str(small)]
    return round(int(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout) / jobs)


def results(place: Path, sizes: tuple[int, ...], given: argparse.Namespace) -> list[dict[str, object]]:
    """Figures by size, smallest first."""
    found: list[dict[str, object]] = []
    small = place / "small"
    build(small, JOBS_OF_A_LINE).close()
    planned(small, JOBS_OF_A_LINE, changed=False)  # what is loaded once is loaded
    for jobs in sizes:
        root = place / str(jobs)
        started = time.perf_counter()
        build(root, jobs).close()
        print(f"{jobs:,} jobs built in {time.perf_counter() - started:.1f} s", file=sys.stderr)
        measured = measure(tasks(root, jobs), given.rounds if jobs < MILLION else 1)
        taken = bytes_of_a_job(root, small, jobs)
        for one in measured:
            each = round(1e6 * one["ours"]["median"] / jobs, 2)
            found.append({**one, "jobs": jobs, "microseconds a job": each, "bytes a job": taken})
        if jobs <= MOST_OF_A_COMMAND:
            found += whole_commands(place, root, jobs, given)
    return found


def tasks(root: Path, jobs: int) -> list[Task]:
    """What is measured of one movie."""

    def ours(*, changed: bool) -> Callable[[int], object]:
        return lambda _: planned(root, jobs, changed=changed)

    folder = root / "film"
    return [
        Task(f"{jobs:,} jobs, nothing changed", DURABILITY, ours(changed=False), lambda _: look(folder)),
        Task(f"{jobs:,} jobs, 1 % of the lines changed", DURABILITY, ours(changed=True), lambda _: look(folder)),
    ]


def whole_commands(place: Path, root: Path, jobs: int, given: argparse.Namespace) -> list[dict[str, object]]:
    """Whole commands that say that nothing is to be done: ours, and those of other tools once each."""
    names = PEERS.get(jobs, ()) if given.peers else ()
    others = BuildTools(Path(given.peers)).plan(place / f"peers-{jobs}", jobs, names) if names else {}
    least = f"from pathlib import Path; import bench; bench.look(Path({str(root / 'film')!r}))"
    bare = ["-c", f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); {least}"]
    plan = ["-m", "renku_cli", "--root", str(root), "plan", "--json"]
    task = Task(
        f"{jobs:,} jobs, nothing changed, whole command",
        DURABILITY,
        lambda _: command(plan),
        lambda _: command(bare),
        others,
    )
    return [{**one, "jobs": jobs} for one in measure([task], given.rounds, 1)]


def main() -> None:
    """Measure and report."""
    if sys.argv[1:2] == ["--memory"]:
        memory(Path(sys.argv[2]), Path(sys.argv[3]))
        return
    is_full = "--full" in sys.argv
    sys.argv = [word for word in sys.argv if word != "--full"]
    given = arguments(QUESTION)
    sizes = (*SIZES[given.quick], *([MILLION] if is_full else []))
    with workplace(given.directory) as place:
        found = results(place, sizes, given)
    report(QUESTION, {"sizes": list(sizes)}, found, given)


if __name__ == "__main__":
    main()
