"""A reader of the format by another hand: resolves every artefact of the current revision, without the project.

Usage: python independent_reader.py MOVIE_FOLDER. It knows current.json, manifests, pages and blobs, and nothing else.
"""

import json
import sys
from pathlib import Path

import zstandard
from blake3 import blake3


def verified(data: bytes, digest: str) -> bytes:
    assert blake3(data).hexdigest() == digest, f"not the bytes of {digest}"
    return data


def blob(movie: Path, digest: str) -> bytes:
    plain = movie / "blobs" / digest[:2] / digest
    if plain.exists():
        return verified(plain.read_bytes(), digest)
    return verified(zstandard.ZstdDecompressor().decompress(plain.with_name(digest + ".zst").read_bytes()), digest)


def artefacts(movie: Path) -> dict[str, bytes]:
    pointer = json.loads((movie / "current.json").read_bytes())
    manifest = json.loads(verified((movie / pointer["manifest"]).read_bytes(), pointer["hash"]))
    entries = manifest.get("artefacts", {})
    for page in manifest.get("pages", []):
        entries.update(json.loads(blob(movie, page["hash"])))
    return {
        key: verified(entry["inline"].encode(), entry["hash"]) if "inline" in entry else blob(movie, entry["blob"])
        for key, entry in entries.items()
    }


if __name__ == "__main__":
    json.dump({key: len(data) for key, data in artefacts(Path(sys.argv[1])).items()}, sys.stdout)
