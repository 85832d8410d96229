"""A second implementation of the format, by docs/reference/format.md alone: it reads a movie and proves what it read.

It knows JSON, BLAKE3, Zstandard and RFC 8785, and nothing of the project. Every hash is computed anew: of manifests,
pages, blobs, archives, inputs, the chain of revisions, `contentHash`, and each signature from the recorded graph.

Usage: python second_reader.py MOVIE_FOLDER. Prints what it has read, as JSON.
"""

import json
import sys
from pathlib import Path
from typing import Any

import rfc8785
import zstandard
from blake3 import blake3

WINDOW = 8 * 1024 * 1024
NOTHING = object()


class DamageError(Exception):
    """Something is not as the page says."""


def digest(data: bytes) -> str:
    return blake3(data).hexdigest()


def canonical(value: Any) -> bytes:
    return rfc8785.dumps(as_numbers(value))


def as_numbers(value: Any) -> Any:
    """An integer beyond 2^53 - 1 in stored JSON is a float."""
    if isinstance(value, dict):
        return {key: as_numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [as_numbers(item) for item in value]
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 2**53 - 1:
        return float(value)
    return value


def same(data: bytes, expected: str, what: str) -> bytes:
    if digest(data) != expected:
        raise DamageError(f"{what}: the hash is {digest(data)}, not {expected}")
    return data


def unpack(frame: bytes) -> bytes:
    size = zstandard.get_frame_parameters(frame).content_size
    if size == zstandard.CONTENTSIZE_UNKNOWN:
        raise DamageError("a frame that states no size")
    return zstandard.ZstdDecompressor(max_window_size=WINDOW).decompress(frame, max_output_size=size)


class Movie:
    """One movie's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.id = folder.name
        if json.loads((folder / "format.json").read_bytes()) != {"format": 1, "hash": "blake3"}:
            raise DamageError("another format")

    def blob(self, name: str) -> bytes:
        path = self.folder / "blobs" / name[:2] / name
        data = path.read_bytes() if path.exists() else unpack(path.with_name(name + ".zst").read_bytes())
        return same(data, name, f"blob {name}")

    def pointer(self) -> dict[str, Any]:
        return json.loads((self.folder / "current.json").read_bytes())

    def manifest(self, revision: str, expected: str) -> dict[str, Any]:
        """A verified manifest with its pages put together, or the stub of an expired one."""
        data = (self.folder / "manifests" / f"{revision}.json").read_bytes()
        found = json.loads(data)
        if found.get("expired") is True:
            if found["hash"] != expected:
                raise DamageError(f"{revision}: the stub is of another manifest")
            return found
        same(data, expected, revision)
        if canonical(found) != data:
            raise DamageError(f"{revision} is not canonical")
        if found["movie"] != self.id or found["revision"] != revision:
            raise DamageError(f"{revision} says it is {found['movie']} {found['revision']}")
        if "pages" in found:
            found["artefacts"] = self.pages(found["pages"])
        self.check(found)
        return found

    def pages(self, listed: list[dict[str, str]]) -> dict[str, Any]:
        whole: dict[str, Any] = {}
        cuts = []
        for reference in listed:
            page = json.loads(self.blob(reference["hash"]))
            if min(page) != reference["first"] or (whole and min(page) <= max(whole)):
                raise DamageError("pages are not sorted")
            cuts.append(reference["first"])
            whole |= page
        expected = [name for name in sorted(whole) if digest(name.encode()).startswith("00")]
        if cuts != sorted({min(whole), *expected}) or len(whole) <= 1024:
            raise DamageError("pages are not cut where they should be")
        return whole

    def check(self, manifest: dict[str, Any]) -> None:
        """All that a manifest says of itself."""
        for name, entry in manifest["inputs"].items():
            value = self.value(entry)
            if digest(canonical(value)) != entry["hash"]:
                raise DamageError(f"input {name}")
        for name, entry in manifest["artefacts"].items():
            if len(self.artefact(entry)) != entry["size"]:
                raise DamageError(f"artefact {name}")
        hashed = {
            "artefacts": {key: [one["hash"], one["mimeType"]] for key, one in manifest["artefacts"].items()},
            "inputs": {key: one["hash"] for key, one in manifest["inputs"].items()},
            "timeline": manifest["timeline"],
        }
        if digest(canonical(hashed)) != manifest["contentHash"]:
            raise DamageError("contentHash")

    def value(self, entry: dict[str, Any]) -> Any:
        return as_numbers(json.loads(self.blob(entry["blob"])) if "blob" in entry else entry["value"])

    def artefact(self, entry: dict[str, Any]) -> bytes:
        data = entry["inline"].encode() if "inline" in entry else self.blob(entry["blob"])
        return same(data, entry["hash"], "artefact")

    def chain(self) -> list[dict[str, Any]]:
        """Every revision, newest first, each named by the hash in the one after it."""
        pointer = self.pointer()
        if pointer["manifest"] != f"manifests/{pointer['revision']}.json":
            raise DamageError("current.json")
        revision, expected, found = pointer["revision"], pointer["hash"], []
        while revision is not None:
            found.append(self.manifest(revision, expected))
            revision, expected = found[-1].get("baseRevision"), found[-1].get("baseHash")
        return found

    def events(self, archive: dict[str, str], run: str) -> list[dict[str, Any]]:
        """The events of a run's archive, without its header."""
        if archive["name"] != f"events/{run}.jsonl.zst":
            raise DamageError("the archive of another run")
        data = same((self.folder / archive["name"]).read_bytes(), archive["hash"], archive["name"])
        lines = zstandard.ZstdDecompressor(max_window_size=WINDOW).decompressobj().decompress(data)
        header, *events = [json.loads(line) for line in lines.splitlines()]
        if header != {"type": "archive", "format": 1, "movie": self.id, "run": run}:
            raise DamageError("the header of an archive")
        return events

    def signatures(self, manifest: dict[str, Any]) -> dict[str, str]:
        """The signature of each job of the recorded graph, from what the manifest holds."""
        graph = json.loads(self.blob(manifest["graph"]))
        plan = self.folder / "runs" / f"{manifest['run']}-plan.json"
        planned = json.loads(plan.read_bytes()) if plan.exists() else {}
        defaults = {key: self.value(planned["inputs"][key]) for key in planned.get("defaults", [])}
        given = Given(self, manifest, defaults)
        return {one["jobId"]: digest(canonical(given.signed(one))) for one in graph["nodes"] if "awaits" not in one}


class Given:
    """What the references of a graph stand for in one revision."""

    def __init__(self, movie: Movie, manifest: dict[str, Any], defaults: dict[str, Any]) -> None:
        self.movie = movie
        self.artefacts = manifest["artefacts"]
        self.inputs = defaults | {key: movie.value(entry) for key, entry in manifest["inputs"].items()}

    def signed(self, node: dict[str, Any]) -> dict[str, Any]:
        inputs = {}
        for entry in node.get("inputs", []):
            if "refs" in entry:
                items = [None if one is None else self.item(one) for one in entry["refs"]]
                inputs[entry["name"]] = {"kind": "list", "items": [None if one is NOTHING else one for one in items]}
            elif (item := self.item(entry["ref"])) is not NOTHING:
                inputs[entry["name"]] = item
        return {
            "format": 1,
            "producer": node["producer"],
            "version": node.get("version", "1"),
            "provider": node["provider"],
            "model": node["providerModel"],
            "config": node.get("config", {}),
            "context": node.get("context", {}),
            "outputs": {one["name"]: one["mimeType"] for one in node["produces"]},
            "inputs": inputs,
        }

    def item(self, reference: dict[str, Any]) -> Any:
        path = reference.get("path", [])
        if reference["kind"] == "input":
            value = select(self.inputs.get(reference["id"], NOTHING), path)
        elif not path:
            held = self.artefacts[reference["id"]]
            return {"kind": "artefact", "hash": held["hash"], "mimeType": held["mimeType"]}
        else:
            value = select(json.loads(self.movie.artefact(self.artefacts[reference["id"]])), path)
        return NOTHING if value is NOTHING else {"kind": "value", "hash": digest(canonical(value))}


def select(value: Any, path: list[Any]) -> Any:
    for step in path:
        in_list = isinstance(step, int) and isinstance(value, list) and 0 <= step < len(value)
        if not in_list and not (isinstance(step, str) and isinstance(value, dict) and step in value):
            return NOTHING
        value = value[step]
    return value


def read(folder: Path) -> dict[str, Any]:
    """Everything, verified; raises `DamageError` where something is not as the page says."""
    movie = Movie(folder)
    revisions = movie.chain()
    kept = [one for one in revisions if "expired" not in one]
    return {
        "revisions": [one["revision"] for one in revisions],
        "artefacts": {key: one["hash"] for key, one in kept[0]["artefacts"].items()},
        "events": [event for one in kept if one["archive"] for event in movie.events(one["archive"], one["run"])],
        "signatures": movie.signatures(kept[0]) if kept[0]["graph"] else {},
        "recorded": {one["job"]: one["signature"] for one in kept[0]["artefacts"].values() if "signature" in one},
    }


if __name__ == "__main__":
    json.dump(read(Path(sys.argv[1])), sys.stdout)
