"""The format page is enough for a second implementation: a reader by that page alone reads and proves every movie."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import zstandard

from renku_store import Movie, RetentionPolicy, collect, edit_artefact, open_store, prune
from tests.cli.conftest import Call, call, place
from tests.publishing import publish_files

__all__ = ["call", "place"]

_READER = Path(__file__).with_name("second_reader.py")
_BLUEPRINT = """\
name: film
inputs:
  lines: {type: list, required: true}
  greeting: {type: string, default: hello}
loops:
  line: {over: lines}
producers:
  script:
    run: command
    argv: [sh, -c, 'echo "{\\"titles\\": [\\"one\\", 1e30, null]}" > outputs/out']
    outputs: {out: {mimeType: application/json}}
  sound:
    for: [line]
    when: "lines[line].text != 'none'"
    run: command
    argv: [sh, -c, 'head -c 9000 /dev/zero > outputs/audio; cat request.json >> outputs/audio']
    inputs:
      line: "lines[line].text"
      mood: "lines[line].mood"
      title: "script.out.titles[0]"
      big: "script.out.titles[1]"
    outputs: {audio: {mimeType: audio/wav}}
  reel:
    run: command
    argv: [sh, -c, 'cat request.json > outputs/index']
    inputs: {sounds: "sound[*].audio", greeting: greeting, script: script.out}
    outputs: {index: {mimeType: application/json}}
timeline: reel.index
"""


def _read(folder: Path) -> dict[str, Any]:
    done = subprocess.run([sys.executable, str(_READER), str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2_000:]
    told: dict[str, Any] = json.loads(done.stdout)
    return told


@pytest.fixture
def film(call: Call, place: Path) -> Path:
    """A movie of two revisions: a fan-in with a gap, values of documents, a default, a person's version."""
    (place / "film.yaml").write_text(_BLUEPRINT)
    lines = [{"text": "a" * 5_000, "mood": None}, {"text": "none"}, {"text": "ü — 短い 😀", "mood": 1.5}]
    assert call("init", "film", "--blueprint", "film.yaml").code == 0
    assert call("set", "lines", json.dumps(lines)).code == 0
    assert call("run").code == 0
    with open_store("builds") as store:
        edit_artefact(store.movie("film"), "script.out", b'{"titles": ["two", 1e30]}')
    assert call("run").code == 0
    return place / "builds" / "film"


def test_the_reader_knows_nothing_of_the_project() -> None:
    """It imports the standard library, BLAKE3, Zstandard and RFC 8785."""
    tree = ast.parse(_READER.read_text(encoding="utf-8"))
    modules = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    modules |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert modules <= {"json", "sys", "pathlib", "typing", "blake3", "zstandard", "rfc8785"}


def test_a_second_implementation_reads_everything_and_computes_the_same(film: Path) -> None:
    """Chain, hashes, `contentHash`, archives and every signature come out as they are recorded."""
    told = _read(film)
    with open_store(film.parent) as store:
        movie = store.movie("film")
        manifest = movie.manifests.load("latest")
        events = {event.id: event.to_json() for event in movie.events.stream_artefacts()}
    assert told["revisions"] == ["rev-0002", "rev-0001"]
    assert told["artefacts"] == {key: held.hash for key, held in manifest.artefacts.items()}
    assert told["recorded"] == told["signatures"]
    assert set(told["signatures"]) == {"script", "sound[0]", "sound[2]", "reel"}
    read = {event["id"]: event for event in told["events"] if event["type"] == "artefact"}
    assert {key: event["artefact"] for key, event in read.items()} == {
        key: event["artefact"] for key, event in events.items()
    }


def test_a_second_implementation_reads_a_large_movie_and_an_expired_revision(tmp_path: Path) -> None:
    """Pages are put together and cut where the page says; a stub keeps the chain."""
    with open_store(tmp_path) as store:
        movie = store.create_movie("film")
        for text in ("first", "second"):
            files = {f"note[{place}]": ("text/plain", f"{text} {place}".encode()) for place in range(1_300)}
            publish_files(movie, files)
        _expire_first(movie)
    told = _read(tmp_path / "film")
    assert told["revisions"] == ["rev-0002", "rev-0001"]
    assert len(told["artefacts"]) == 1_300


def _expire_first(movie: Movie) -> None:
    prune(movie, RetentionPolicy(keep_last=1))
    collect(movie, grace_seconds=0, trash_seconds=0, force=True)
    assert b'"expired":true' in movie.driver.read("manifests/rev-0001.json")


@pytest.mark.parametrize("what", ["manifest", "blob", "archive", "pointer"])
def test_a_second_implementation_notices_a_changed_byte(what: str, film: Path) -> None:
    """What it read, it has proved."""
    path = {
        "manifest": film / "manifests/rev-0001.json",
        "blob": next((film / "blobs").rglob("*.zst")),
        "archive": next((film / "events").iterdir()),
        "pointer": film / "current.json",
    }[what]
    data = path.read_bytes()
    if what == "blob":
        data = zstandard.ZstdCompressor().compress(zstandard.ZstdDecompressor().decompress(data)[:-1] + b"!")
    elif what == "pointer":
        data = data.replace(b"rev-0002", b"rev-0001")
    else:
        data = data[:-20] + bytes([data[-20] ^ 1]) + data[-19:]
    path.chmod(0o644)
    path.write_bytes(data)
    done = subprocess.run([sys.executable, str(_READER), str(film)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "DamageError" in done.stderr or "ValueError" in done.stderr or "JSONDecodeError" in done.stderr
