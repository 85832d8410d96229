"""What has to be true after a migration, by the public names; and hand-made folders of the older layout."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

from renku_store import Movie, MovieMigration, export_revision
from renku_store.testing.old_folders import ExpectedMovie

STAMP = "2025-10-26T10:00:00Z"


def check_migrated(expected: ExpectedMovie, report: MovieMigration, movie: Movie, work: Path) -> None:
    """Each artefact of each old revision has the same bytes, by its manifest and by an export."""
    assert list(report.mapped) == [revision.name for revision in expected.revisions]
    assert report.whole is expected.whole, (report.missing, report.refused)
    assert len(report.torn) == expected.torn
    for revision in expected.revisions:
        name = report.mapped[revision.name]
        manifest = movie.manifests.load(name)
        assert manifest.created_at == revision.created_at
        assert manifest.artefacts.keys() == {*revision.artefacts, "timeline"}
        for key, value in revision.artefacts.items():
            assert same(movie.read(manifest.artefacts[key]), value), key
            assert manifest.artefacts[key].legacy_hash == revision.labels.get(key)
        for key, value in revision.inputs.items():
            assert movie.value(manifest.inputs[key]) == value
        check_export(movie, name, revision.artefacts, work / name)
        assert not list(paths_left(manifest.to_json()))
        assert not list(paths_left(json.loads(movie.read(manifest.artefacts["timeline"]))))
        lacking = {(item.artefact, item.revision) for item in report.missing}
        assert {(key, revision.name) for key in revision.missing} <= lacking
        lacking = {(item.artefact, item.revision) for item in report.refused}
        assert {(key, revision.name) for key in revision.refused} <= lacking


def check_export(movie: Movie, revision: str, artefacts: dict[str, Any], target: Path) -> None:
    """An export has a file for each artefact, of the same bytes, and the files beside them that every export has."""
    report = export_revision(movie, revision, target)
    for key, value in artefacts.items():
        assert same((target / report.names[key]).read_bytes(), value), key
    beside = {"manifest.json", "timeline.json", ".renku-export.json"}
    assert {path.name for path in target.iterdir()} - beside == {*report.names.values()}
    assert {*report.names} == {*artefacts, "timeline"}


def same(data: bytes, value: Any) -> bool:
    """Whether bytes are what a generator expects."""
    if isinstance(value, bytes):
        return data == value
    return data == value.encode() if isinstance(value, str) else json.loads(data) == value


def paths_left(value: Any) -> Any:
    """Every text in a value that begins with `assets/`, be it inside JSON that stands in a text."""
    if isinstance(value, dict):
        for item in value.values():
            yield from paths_left(item)
    elif isinstance(value, list):
        for item in value:
            yield from paths_left(item)
    elif isinstance(value, str) and (value.startswith("assets/") or '"assets/' in value):
        yield value


def state_of(folder: Path) -> dict[str, tuple[object, ...]]:
    """Names, modes, sizes, times and bytes of all that is in a folder."""
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted([folder, *folder.rglob("*")]):
        status = path.lstat()
        content: object = None
        if stat.S_ISREG(status.st_mode):
            content = path.read_bytes()
        elif stat.S_ISLNK(status.st_mode):
            content = os.fspath(path.readlink())
        found[path.relative_to(folder).as_posix()] = (status.st_mode, status.st_size, status.st_mtime_ns, content)
    return found


class Old:
    """A folder of the older layout, written by hand, line by line."""

    def __init__(self, path: Path, **metadata: Any) -> None:
        self.path = path
        self.write("metadata.json", {"movie_id": path.name, "created_at": STAMP, **metadata})
        self.write("dag/producers.json", {"producers": [], "edges": []})

    def write(self, name: str, document: Any) -> None:
        """A JSON document."""
        self.put(name, json.dumps(document).encode())

    def put(self, name: str, data: bytes) -> None:
        """A file."""
        target = self.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)

    def append(self, name: str, text: str) -> None:
        """More of a file of lines."""
        target = self.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("a", encoding="utf-8") as file:
            file.write(text)

    def artefact(self, name: str, rev: int, path: str | None = None, content: Any = None, **more: Any) -> None:
        """A line of `artifacts.jsonl`."""
        line = {"id": name, "rev": rev, "content_hash": f"sha:{name}{rev}", "content": content, "asset_path": path}
        line |= {"status": "succeeded", "produced_by": "maker", "deps": [], "created_at": STAMP, **more}
        self.append("dag/artifacts.jsonl", json.dumps(line) + "\n")

    def input(self, name: str, rev: int, content: Any, **more: Any) -> None:
        """A line of `inputSources.jsonl`."""
        line = {"id": name, "rev": rev, "content": content, "hash": f"sha:{name}{rev}", "edited_by": "user"}
        self.append("dag/inputSources.jsonl", json.dumps({**line, "created_at": STAMP, **more}) + "\n")

    def snapshot(self, rev: int, *artefacts: str, inputs: tuple[str, ...] = (), file: str = "", **more: Any) -> None:
        """A snapshot that names artefacts and inputs."""
        document = {
            "revision": rev,
            "inputSource_hashes": {name: f"sha:{name}" for name in inputs},
            "artifact_hashes": {name: f"sha:{name}" for name in artefacts},
            "plan_ref": None,
            "timeline": None,
            "status": "succeeded",
            "changed_since_prev": [],
            "created_at": STAMP,
        }
        self.write(f"dag/snapshots/{file or f'rev{rev}'}.json", {**document, **more})
