"""Measures migrating movies from revision folders."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from random import Random
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from blake3 import blake3
from measuring import Task, arguments, measure, report, workplace

from renku_store import migrate, open_store

QUESTION = "How long does it take to migrate old movies?"
SIZES = {
    False: {"movies": 100, "revisions": 3, "files": 24, "changed": 4, "KiB": 96},
    True: {"movies": 3, "revisions": 2, "files": 3, "changed": 1, "KiB": 4},
}
DURABLE = "durable: synced before it returns"
NONE = "reads only"
STAMP = "2025-10-26T10:00:00Z"


class OldMovie:
    """A movie in revision folders: all files in the first revision, some of them anew in each later one."""

    def __init__(self, path: Path, sizes: dict[str, int], random: Random) -> None:
        self._path = path
        self._random = random
        self._sizes = sizes
        self._lines: list[dict[str, Any]] = []
        self._write("metadata.json", {"movie_id": path.name, "created_at": STAMP})
        self._write("dag/producers.json", {"producers": [], "edges": []})
        names = [f"image_{place}" for place in range(sizes["files"])]
        for revision in range(sizes["revisions"]):
            for name in names if revision == 0 else random.sample(names, sizes["changed"]):
                self._artefact(name, revision)
            self._snapshot(revision, names)
        lines = "".join(f"{json.dumps(line)}\n" for line in self._lines)
        (path / "dag/artifacts.jsonl").write_text(lines, encoding="utf-8")

    def _write(self, name: str, document: dict[str, Any]) -> None:
        target = self._path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(document), encoding="utf-8")

    def _artefact(self, name: str, revision: int) -> None:
        path = f"assets/rev{revision}/images/{name}.png"
        target = self._path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(self._random.randbytes(self._sizes["KiB"] * 1_024))
        line = {"id": name, "rev": revision, "content_hash": f"sha:{name}{revision}", "content": None}
        line |= {"asset_path": path, "status": "succeeded", "produced_by": "maker", "deps": [], "created_at": STAMP}
        self._lines.append(line)

    def _snapshot(self, revision: int, names: list[str]) -> None:
        document = {
            "revision": revision,
            "inputSource_hashes": {},
            "artifact_hashes": {name: f"sha:{name}" for name in names},
            "plan_ref": None,
            "timeline": None,
            "status": "succeeded",
            "changed_since_prev": [],
            "created_at": STAMP,
        }
        self._write(f"dag/snapshots/rev{revision}.json", document)


def read(old: Path) -> None:
    """Read and hash every file."""
    for path in sorted(old.rglob("*")):
        if path.is_file():
            blake3(path.read_bytes()).hexdigest()


def copied(old: Path, new: Path) -> None:
    """Read and hash every file, and write each under its hash, a movie at a time synced at once."""
    new.mkdir()
    for movie in sorted(old.iterdir()):
        target = new / movie.name
        target.mkdir()
        for path in sorted(movie.rglob("*")):
            if path.is_file():
                data = path.read_bytes()
                (target / blake3(data).hexdigest()).write_bytes(data)
        descriptor = os.open(target, os.O_RDONLY)
        for path in target.iterdir():
            file = os.open(path, os.O_RDONLY)
            os.fsync(file)
            os.close(file)
        os.fsync(descriptor)
        os.close(descriptor)


def main() -> None:
    """Measure and report."""
    given = arguments(QUESTION)
    sizes = SIZES[given.quick]
    with workplace(given.directory) as place:
        old, random = place / "old", Random(5)
        for number in range(sizes["movies"]):
            OldMovie(old / f"film-{number:03}", sizes, random)
        total = sizes["movies"] * sizes["revisions"]

        def ours(number: int) -> None:
            with open_store(place / f"ours-{number}") as store:
                report = migrate(old, store, every=True)
            assert report.whole
            assert sum(len(movie.mapped) for movie in report.movies) == total

        def again(number: int) -> None:
            with open_store(place / f"ours-{number}") as store:
                migrate(old, store, every=True)

        tasks = [
            Task(f"migrate {sizes['movies']} movies", DURABLE, ours, lambda n: copied(old, place / f"limit-{n}")),
            Task(f"migrate {sizes['movies']} movies again", NONE, again, lambda _: read(old)),
        ]
        results = measure(tasks, given.rounds)
    report(QUESTION, {**sizes}, results, given)


if __name__ == "__main__":
    main()
