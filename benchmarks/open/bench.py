"""Measures how long it takes to open a movie with a long history, and to look at it."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from blake3 import blake3
from measuring import Task, arguments, measure, report, workplace

from renku_store import ArtefactEvent, ArtefactValue, Movie, hash_bytes, open_store

QUESTION = "How long does it take to open a movie with a long history, and to look at it?"
SIZES = {False: {"revisions": 1_000, "events": 1_000_000}, True: {"revisions": 10, "events": 3_000}}
BATCH = 1_000
ARTEFACTS = 150
PAGE = 20
DURABILITY = "reads only"
CREATED = "2026-01-01T00:00:00.000Z"


def build(root: Path, movie: str, revisions: int, total: int) -> None:
    """A movie: each run makes every artefact once and publishes. The other events are of a run that came to no end."""
    with open_store(root) as store, store.create_movie(movie) as made:
        digest = None
        for number in range(1, revisions + 1):
            run = made.events.new_id()
            made.events.append_many(list(events(made, run, ARTEFACTS)))
            manifest = made.manifests.build_from_events(f"rev-{number:04d}", run=run)
            digest = made.manifests.save_manifest(manifest, previous_hash=digest).hash
        run = made.events.new_id()
        for _ in range(revisions * ARTEFACTS, total, BATCH):
            made.events.append_many(list(events(made, run, BATCH)))


def events(movie: Movie, run: str, count: int) -> Iterator[ArtefactEvent]:
    """Results of each artefact in turn."""
    for number in range(count):
        text = f"Text {number} of run {run}."
        value = ArtefactValue(hash=hash_bytes(text.encode()), size=len(text), mime_type="text/plain", inline=text)
        yield ArtefactEvent(
            id=movie.events.new_id(),
            run=run,
            artefact=f"clip[{number % ARTEFACTS}].text",
            status="succeeded",
            output="text",
            job=f"clip[{number % ARTEFACTS}]",
            producer="clip",
            signature=hash_bytes(f"{run}/{number}".encode()),
            result=f"{run}/{number}",
            value=value,
            created_at=CREATED,
        )


def opened(root: Path, movie: str, look: Callable[[Movie], object]) -> None:
    """Ours, in a program."""
    with open_store(root) as store, store.movie(movie) as found:
        look(found)


def inspect(movie: Movie) -> None:
    """The newest revision."""
    assert len(movie.manifests.load_current()[0].artefacts) == ARTEFACTS


def first_page(movie: Movie) -> None:
    """The newest revisions."""
    assert list(itertools.islice(movie.manifests.history(), PAGE))


def look(folder: Path, count: int) -> None:
    """The limit: read and verify as many manifests, each of which names the one before it."""
    pointer = json.loads((folder / "current.json").read_bytes())
    name, digest = pointer["revision"], pointer["hash"]
    for _ in range(count):
        data = (folder / "manifests" / f"{name}.json").read_bytes()
        assert blake3(data).hexdigest() == digest
        manifest: dict[str, Any] = json.loads(data)
        name, digest = manifest["baseRevision"], manifest["baseHash"]
        if name is None:
            return


def program(*words: str) -> Callable[[int], None]:
    """The whole command, from the start of the interpreter to its end."""

    def run(_round: int) -> None:
        subprocess.run([sys.executable, "-m", "renku_cli", *words], check=True, stdout=subprocess.DEVNULL)

    return run


def tasks(place: Path, long: str, short: str) -> Iterator[Task]:
    """Each look at the movie with the long history; beside it, at one of a single revision."""
    for name, seen, count, words in (
        ("inspect", inspect, 1, ("inspect",)),
        ("log, first page", first_page, PAGE, ("log", "--limit", str(PAGE))),
    ):
        yield Task(
            f"open and {name}, in a program",
            DURABILITY,
            lambda _, seen=seen: opened(place, long, seen),
            lambda _, count=count: look(place / long, count),
            {"of one revision": lambda _, seen=seen: opened(place, short, seen)},
        )
        yield Task(
            f"renku-store {name}",
            DURABILITY,
            program("--root", str(place), "--movie", long, "--json", *words),
            program("--version"),
            {"of one revision": program("--root", str(place), "--movie", short, "--json", *words)},
        )


def main() -> None:
    """Measure and report."""
    given = arguments(QUESTION)
    sizes = SIZES[given.quick]
    with workplace(given.directory) as place:
        build(place, "long", sizes["revisions"], sizes["events"])
        build(place, "short", 1, ARTEFACTS)
        results = measure(list(tasks(place, "long", "short")), given.rounds)
    report(QUESTION, {**sizes, "artefacts": ARTEFACTS, "page": PAGE}, results, given)


if __name__ == "__main__":
    main()
