"""Manifests as bytes: canonical, cut into pages when large; stubs of expired ones; what they name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from renku_store import bounds
from renku_store.hashing import canonical_document, hash_bytes, hash_value, manifest_content_hash
from renku_store.records.manifest import Manifest, ManifestStub, PageRef

_ALWAYS_WRITTEN = ("baseRevision", "baseHash", "archive", "graph", "timeline")


def manifest_path(revision: str) -> str:
    """The path of a manifest relative to its movie: `manifests/rev-0003.json`."""
    return f"manifests/{revision}.json"


def expiry_path(revision: str) -> str:
    """The path of the mark that says a revision has expired: `manifests/rev-0003.expired.json`."""
    return f"manifests/{revision}.expired.json"


@dataclass(frozen=True, slots=True)
class EncodedManifest:
    """A manifest's exact bytes, their hash, and the pages (blobs, by hash) that it names."""

    data: bytes
    hash: str
    pages: dict[str, bytes]


def encode_manifest(manifest: Manifest) -> EncodedManifest:
    """The canonical bytes of a manifest; artefacts go into pages where there are more than 1,024."""
    document = manifest.to_json()
    for key in _ALWAYS_WRITTEN:
        document.setdefault(key, None)
    document.pop("pages", None)
    pages: dict[str, bytes] = {}
    if len(manifest.artefacts) > bounds.MANIFEST_PAGE_MIN_ARTEFACTS:
        references: list[dict[str, Any]] = []
        for page in cut_pages(document.pop("artefacts")):
            data = canonical_document(page)
            digest = hash_bytes(data)
            pages[digest] = data
            references.append(PageRef(first=next(iter(page)), hash=digest).to_json())
        document["pages"] = references
    data = canonical_document(document)
    return EncodedManifest(data, hash_bytes(data), pages)


def encode_stub(manifest: Manifest, digest: str) -> bytes:
    """The bytes that stand in the place of an expired manifest, whose own had the hash `digest`."""
    stub = ManifestStub(
        format=manifest.format,
        movie=manifest.movie,
        revision=manifest.revision,
        hash=digest,
        base_revision=manifest.base_revision,
        base_hash=manifest.base_hash,
        run=manifest.run,
        archive=manifest.archive,
        created_at=manifest.created_at,
        metrics=manifest.metrics,
    )
    return canonical_document(stub.to_json())


def cut_pages(artefacts: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Cut a map, sorted by id (code points), before each id whose BLAKE3 begins with a zero byte: one in 256.

    The cut depends on ids alone, so an edit changes one page and an insertion moves at most one cut.
    Source: content-defined chunking, applied to keys.
    """
    page: dict[str, Any] = {}
    for key in sorted(artefacts):
        if page and hash_bytes(key.encode()).startswith("00"):
            yield page
            page = {}
        page[key] = artefacts[key]
    if page:
        yield page


def named_blobs(manifest: Manifest, pages: Iterable[str]) -> set[str]:
    """The hash of every blob that a manifest needs: graph, large inputs, pages, artefacts, what lies under edits."""
    blobs = {value.blob for value in manifest.inputs.values() if value.blob}
    for held in manifest.artefacts.values():
        if held.blob:
            blobs.add(held.blob)
        if held.made is not None and held.made.blob:
            blobs.add(held.made.blob)
    blobs.update(pages)
    if manifest.graph:
        blobs.add(manifest.graph)
    return blobs


def contradiction(manifest: Manifest) -> str | None:
    """The first thing that a manifest says twice, and not the same both times; None where it agrees with itself."""
    if manifest.content_hash != manifest_content_hash(manifest):
        return "contentHash"
    for key, given in manifest.inputs.items():
        if (given.blob or hash_value(given.value)) != given.hash:
            return f"inputs.{key}"
    for key, held in manifest.artefacts.items():
        for value in (held, held.made):
            if value and (value.blob if value.inline is None else hash_bytes(value.inline.encode())) != value.hash:
                return f"artefacts.{key}"
    named = manifest.archive.name if manifest.archive else None
    return "archive" if named not in {None, f"events/{manifest.run}.jsonl.zst"} else None
