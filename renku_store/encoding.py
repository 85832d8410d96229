"""Manifests as bytes: canonical, cut into pages when large; stubs of expired ones; what they name; values of inputs.

What a manifest has in common with its base is found by looking which entries are the same, so that only the pages are
written, and only the blobs counted, that are not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from operator import attrgetter, eq
from typing import Final, TypeVar

import orjson
from blake3 import blake3
from msgspec import Struct

from renku_store import bounds
from renku_store.errors import DamageError, InvalidValueError
from renku_store.hashing import canonical_document, hash_bytes, hash_value, manifest_content_hash, parse_json
from renku_store.records._base import Json, RecordError, read_as, to_builtins
from renku_store.records.manifest import (
    Manifest,
    ManifestArtefact,
    ManifestInput,
    ManifestStub,
    PageRef,
    check_hashes,
    share_texts,
)

T = TypeVar("T")

Page = Mapping[str, ManifestArtefact]
"""The artefacts of a page, by id."""

_blob_of: Final = attrgetter("blob")
_made_of: Final = attrgetter("made")


def manifest_path(revision: str) -> str:
    """The path of a manifest relative to its movie: `manifests/rev-0003.json`."""
    return f"manifests/{revision}.json"


def expiry_path(revision: str) -> str:
    """The path of the mark that says a revision has expired: `manifests/rev-0003.expired.json`."""
    return f"manifests/{revision}.expired.json"


class KeptPage(Struct, frozen=True):
    """A page that is remembered: two tuples, which take half of what a map takes."""

    ids: tuple[str, ...]
    artefacts: tuple[ManifestArtefact, ...]

    @classmethod
    def of(cls, page: Page) -> KeptPage:
        """A page as it is remembered."""
        return cls(tuple(page), tuple(page.values()))

    def items(self) -> Iterator[tuple[str, ManifestArtefact]]:
        """The artefacts with their ids."""
        return zip(self.ids, self.artefacts, strict=True)


class EncodedManifest(Struct, frozen=True):
    """A manifest's exact bytes, their hash, the pages (by hash) that it names, and the bytes of those that are new."""

    data: bytes
    hash: str
    page_hashes: tuple[str, ...]
    pages: dict[str, bytes]


def encode_manifest(
    manifest: Manifest, known: Mapping[str, tuple[str, KeptPage]] | None = None, cuts: PageCuts | None = None
) -> EncodedManifest:
    """The canonical bytes of a manifest; artefacts go into pages where there are more than 1,024.

    `known` are pages that exist, by their first id, with their hash: those that are the same are not made again.
    `cuts` remembers where ids are cut, for who encodes many.
    """
    large = len(manifest.artefacts) > bounds.MANIFEST_PAGE_MIN_ARTEFACTS
    document = (manifest.replace(artefacts={}) if large else manifest).to_json()
    document.pop("pages", None)
    references: list[PageRef] = []
    new: dict[str, bytes] = {}
    if large:
        for page in (cuts or PageCuts()).cut(manifest.artefacts):
            first = next(iter(page))
            digest, same = (known or {}).get(first, ("", None))
            if same != KeptPage.of(page):
                data = canonical_document(to_builtins(page))
                digest = hash_bytes(data)
                new[digest] = data
            references.append(PageRef(first=first, hash=digest))
        del document["artefacts"]
        document["pages"] = [reference.to_json() for reference in references]
    data = canonical_document(document)
    return EncodedManifest(data, hash_bytes(data), tuple(reference.hash for reference in references), new)


def check_encoded(revision: str, encoded: EncodedManifest) -> None:
    """Raise `InvalidValueError` for a manifest that nobody could read again, its new pages included.

    Records that a program makes are not checked as they are made: here the wrong ones are stopped.
    """
    wrong = None
    try:
        manifest = Manifest.read(encoded.data)
        check_hashes(manifest.artefacts.values())
        for page in encoded.pages.values():
            read_page(page)
        if manifest.format != bounds.FORMAT_VERSION:
            wrong = f"its format must be {bounds.FORMAT_VERSION}"
    except RecordError as error:
        wrong = f"{error}"
    if wrong is not None:
        raise InvalidValueError(
            f"{revision} cannot be published, as nobody could read it again: {wrong}.",
            hint="See what the events of its artefacts, or the manifest, say there.",
        )


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


def cut_pages(artefacts: Mapping[str, T]) -> Iterator[dict[str, T]]:
    """Cut a map, sorted by id (code points), before each id whose BLAKE3 begins with a zero byte: one in 256.

    The cut depends on ids alone, so an edit changes one page and an insertion moves at most one cut.
    Source: content-defined chunking, applied to keys.
    """
    return PageCuts().cut(artefacts)


def read_page(data: bytes) -> dict[str, ManifestArtefact]:
    """The artefacts that the bytes of a page hold. Raises `RecordError`."""
    page = read_as(dict[str, ManifestArtefact], data)
    check_hashes(page.values())
    share_texts(page.values())
    return page


class PageCuts:
    """Where the ids of the last map were cut: those of the next one are mostly the same, and need not be hashed."""

    def __init__(self) -> None:
        self._last: tuple[list[str], list[int]] = ([], [])

    def cut(self, artefacts: Mapping[str, T]) -> Iterator[dict[str, T]]:
        """`cut_pages`."""
        ids, starts = self._last
        present = sorted(artefacts)
        if present != ids:
            starts = [at for at, key in enumerate(present) if not at or not blake3(key.encode()).digest()[0]]
            self._last = present, starts
        for start, end in zip(starts, [*starts[1:], len(present)], strict=True):
            yield {key: artefacts[key] for key in present[start:end]}


def named_blobs(manifest: Manifest, pages: Iterable[str]) -> set[str]:
    """The hash of every blob that a manifest needs: graph, large inputs, pages, artefacts, what lies under edits."""
    return {*_named(manifest.inputs.values(), manifest.artefacts.values(), manifest.graph), *pages}


def newly_named(manifest: Manifest, pages: Iterable[str], base: Manifest) -> set[str]:
    """Of `named_blobs` at least those that a base does not name; no more than what its entries that differ name."""
    return _of_changed(manifest, pages, base, parted(manifest.artefacts, base.artefacts)[0])


def blobs_moved(manifest: Manifest, base: Manifest, came: Page, went: Page) -> tuple[set[str], set[str]]:
    """What is `newly_named` by a manifest that was read, and those blobs that only its base names.

    `came` and `went` are what `parted` gives of their artefacts.
    """
    pages, before = ({reference.hash for reference in one.pages or ()} for one in (manifest, base))
    gone = _of_changed(base, before, manifest, went) - {*_named(manifest.inputs.values(), (), manifest.graph)}
    held = manifest.artefacts.values()
    if gone and (not gone.isdisjoint(map(_blob_of, held)) or any(map(_made_of, held))):
        gone = gone.difference(_named((), held, None))
    return _of_changed(manifest, pages, base, came), gone


def parted(present: Mapping[str, T], base: Mapping[str, T]) -> tuple[dict[str, T], dict[str, T]]:
    """The entries that a base does not have, or not so; and those of the base that are not there any more, or not so.

    Most are the very same object, which is seen without a look at it.
    """
    if len(present) == len(base) and all(map(eq, present, base)):
        rows = zip(present, present.values(), base.values(), strict=True)
        differing = [(key, now, was) for key, now, was in rows if now is not was and now != was]
        return {key: now for key, now, _ in differing}, {key: was for key, _, was in differing}
    came = {key: now for key, now in present.items() if (was := base.get(key)) is not now and was != now}
    went = {key: was for key, was in base.items() if (now := present.get(key)) is not was and now != was}
    return came, went


def _of_changed(manifest: Manifest, pages: Iterable[str], other: Manifest, changed: Page) -> set[str]:
    inputs = (held for key, held in manifest.inputs.items() if other.inputs.get(key) != held)
    graph = manifest.graph if manifest.graph != other.graph else None
    return {*_named(inputs, changed.values(), graph), *pages} - {reference.hash for reference in other.pages or ()}


def _named(inputs: Iterable[ManifestInput], artefacts: Iterable[ManifestArtefact], graph: str | None) -> Iterator[str]:
    for given in inputs:
        if given.blob:
            yield given.blob
    for held in artefacts:
        if held.blob:
            yield held.blob
        if held.made is not None and held.made.blob:
            yield held.made.blob
    if graph:
        yield graph


def contradiction(manifest: Manifest, sound: Mapping[str, ManifestArtefact] | None = None) -> str | None:
    """The first thing that a manifest says twice, and not the same both times; None where it agrees with itself.

    `sound` are artefacts that are known to agree: of those that are the same nothing is hashed.
    """
    if manifest.content_hash != manifest_content_hash(manifest):
        return "contentHash"
    for key, given in manifest.inputs.items():
        if (given.blob or hash_value(given.value)) != given.hash:
            return f"inputs.{key}"
    for key, held in parted(manifest.artefacts, sound or {})[0].items():
        for value in (held, held.made):
            if value and (value.blob if value.inline is None else hash_bytes(value.inline.encode())) != value.hash:
                return f"artefacts.{key}"
    named = manifest.archive.name if manifest.archive else None
    return "archive" if named not in {None, f"events/{manifest.run}.jsonl.zst"} else None


def stored_json(data: bytes, digest: str) -> Json:
    """The value that a blob is; raises `DamageError` where who stored it had something else in it."""
    try:
        return parse_json(data)
    except orjson.JSONDecodeError as error:
        message = f"The blob {digest} of an input is not JSON: {error}."
        raise DamageError(message, hint="Set the input again.") from error
