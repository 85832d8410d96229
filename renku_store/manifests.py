"""Manifests as objects: written once, read verified, cut into pages when large; and the pointer to the newest.

Keeps invariant 5 (created once, if absent), 6 (each names the hash of the one before) and 7 (the pointer only goes
forward).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import orjson
from msgspec import Struct, field
from msgspec.structs import replace

from renku_store import bounds
from renku_store.drivers.base import Driver, ObjectStat
from renku_store.encoding import KeptPage, Page, contradiction, expiry_path, manifest_path, parted, read_page
from renku_store.errors import (
    BlobCorruptError,
    BlobMissingError,
    DamageError,
    InvalidIdError,
    NotFoundError,
    StoreUnavailableError,
    UnsupportedFormatError,
)
from renku_store.hashing import (
    canonical_document,
    exact_numbers,
    hash_bytes,
    parse_json,
)
from renku_store.records._base import RecordError
from renku_store.records.ids import check_run_id, revision_name, revision_number
from renku_store.records.manifest import Expiry, Manifest, ManifestArtefact, ManifestStub, Pointer, check_hashes

POINTER = "current.json"
_REVISION = re.compile(r"rev-(\d{4,12})")
_STUB_SEEN_WITHIN_BYTES = 1_024
"""By then a stub has said that it is one: large manifests are not parsed for that."""


class _Remembered(Struct, frozen=True):
    """The last manifest with pages that was read: its bytes, what they are, and its pages by their hashes.

    And the one before that, which may be its base. `manifest` is without its artefacts: they are in the pages.
    """

    data: bytes = b""
    manifest: Manifest | None = None
    before: _Remembered | None = None
    pages: Mapping[str, KeptPage] = field(default_factory=dict)

    def whole(self) -> Manifest:
        """The manifest, for somebody who may change in his what can be changed: the next gets it whole."""
        assert self.manifest is not None
        inputs = {
            key: entry.replace(value=exact_numbers(entry.value)) if isinstance(entry.value, list | dict) else entry
            for key, entry in self.manifest.inputs.items()
        }
        pages = [*(self.manifest.pages or ())]
        return self.manifest.replace(inputs=inputs, artefacts=_together(self.pages.values()), pages=pages)


class ManifestStore:
    """The manifests of one movie; `read_blob` gives the verified bytes of a page."""

    def __init__(self, driver: Driver, read_blob: Callable[[str], bytes]) -> None:
        self._driver = driver
        self._read_blob = read_blob
        self._fetched: Callable[[str], bytes] | None = None
        self._remembered: _Remembered | None = None

    def remembering(self) -> ManifestStore:
        """The same manifests for one who reads many: a page that the last one read had, too, is not read again.

        The last one's pages stay in memory as long as this does, about a KiB for each artefact.
        """
        other = ManifestStore(self._driver, self._read_blob)
        other._fetched = self._fetched
        other._remembered = _Remembered()
        return other

    def fetched(self, read: Callable[[str], bytes], read_blob: Callable[[str], bytes]) -> ManifestStore:
        """The same manifests for one who has fetched some ahead: `read` gives bytes by path, `read_blob` a page."""
        other = ManifestStore(self._driver, read_blob)
        other._fetched = read
        return other

    def raw(self, number: int) -> bytes | None:
        """The bytes of a manifest as they are, or None where there is none."""
        try:
            return self._read(manifest_path(revision_name(number)))
        except BlobMissingError:
            return None

    def _read(self, name: str) -> bytes:
        return (self._fetched or self._driver.read)(name)

    def exists(self, number: int) -> bool:
        """Whether a revision is published."""
        return self._driver.stat(manifest_path(revision_name(number))) is not None

    def create(self, number: int, data: bytes) -> bool:
        """Publish: create the manifest if it is absent (invariant 5). False if the name is taken."""
        return self._driver.create(manifest_path(revision_name(number)), data)

    def load(self, number: int, expected: str | None) -> tuple[Manifest, str]:
        """A verified manifest, complete with its pages, and the hash of its bytes.

        Raises `NotFoundError` for an unknown or expired revision, `BlobCorruptError` for bytes that are not `expected`
        (or, where nothing says what to expect, that contradict themselves), `UnsupportedFormatError` for a newer
        format.
        """
        found, digest = self.entry(number, expected)
        if isinstance(found, ManifestStub):
            raise NotFoundError(
                f"The revision {found.revision} has expired, and what only it had is gone.",
                hint="`renku-store log` lists the revisions; a tag would have kept it.",
            )
        return found, digest

    def entry(self, number: int, expected: str | None) -> tuple[Manifest | ManifestStub, str]:
        """What stands for a revision, verified: its manifest, or the stub of an expired one, and the manifest's hash.

        Raises what `load` raises, but for an expired one.
        """
        revision = revision_name(number)
        data = self.raw(number)
        if data is None:
            raise NotFoundError(f"There is no revision {revision}.", hint="`renku-store log` lists the revisions.")
        stub = _stub(revision, data)
        digest = hash_bytes(data) if stub is None else stub.hash
        if expected is not None and digest != expected:
            raise _corrupt(revision, f"its hash is {digest}, not {expected}")
        found = stub or self.decode(revision, data)
        if found.revision != revision:
            raise _corrupt(revision, f"it calls itself {found.revision[:32]!a}")
        if expected is None and isinstance(found, Manifest) and contradiction(found):
            raise _corrupt(revision, "it contradicts itself")
        if (expected is None or stub is not None) and canonical_document(parse_json(data)) != data:
            raise _corrupt(revision, "it contradicts itself")
        return found, digest

    def base_of(self, manifest: Manifest) -> Manifest | None:
        """The revision before a manifest; None where there is none, or none that can be read. Nobody changes it."""
        number, last = revision_number(manifest.revision), self._remembered
        for one in () if last is None else (last, last.before):
            if one is not None and one.manifest is not None and hash_bytes(one.data) == manifest.base_hash:
                return one.whole()
        with suppress(DamageError, NotFoundError):
            return self.load(number - 1, manifest.base_hash)[0] if number > 1 else None
        return None

    def pages_of(self, manifest: Manifest) -> dict[str, tuple[str, KeptPage]]:
        """By first id those pages of a manifest that are remembered, with their hashes."""
        known = self._remembered.pages if self._remembered else {}
        named = ((reference, known.get(reference.hash)) for reference in manifest.pages or ())
        return {reference.first: (reference.hash, page) for reference, page in named if page is not None}

    def parted(self, manifest: Manifest, base: Manifest | None) -> tuple[Page, Page]:
        """`parted` of the artefacts of two manifests; of those two that were read last only pages that differ cost.

        None as base: there is none.
        """
        last = self._remembered
        known = {**last.before.pages, **last.pages} if last is not None and last.before is not None else {}
        pages, before = _of_pages(manifest, known), _of_pages(base, known) if base else None
        if pages is None or before is None:
            return parted(manifest.artefacts, base.artefacts if base else {})
        both = pages.keys() & before.keys()
        return parted(*(_together(page for key, page in one.items() if key not in both) for one in (pages, before)))

    def expiry(self, number: int) -> Expiry | None:
        """The mark that a revision has expired; None where there is none, or none that can be read."""
        try:
            found = Expiry.read(self._driver.read(expiry_path(revision_name(number))))
        except (BlobMissingError, RecordError):
            return None
        return found if found.revision == revision_name(number) else None

    def expected(self, number: int) -> str | None:
        """What the hash of a manifest must be: the pointer says it of the one it names, each of the one before it.

        None where neither can tell.
        """
        pointer = self.pointer()
        if pointer is not None and pointer.revision == revision_name(number):
            return pointer.hash
        said = self.glance(number + 1).get("baseHash")
        return said if isinstance(said, str) else None

    def glance(self, number: int) -> dict[str, Any]:
        """What a manifest says, unverified and without its pages; nothing where it cannot be read."""
        try:
            document = orjson.loads(self.raw(number) or b"{}")
        except orjson.JSONDecodeError:
            return {}
        return document if isinstance(document, dict) else {}

    def link(self, number: int) -> tuple[str, str | None] | None:
        """The hash of a manifest, be it a stub by now, and that of its base as it says, unverified; None: not there."""
        data = self.raw(number)
        if data is None:
            return None
        stub = _stub(revision_name(number), data)
        try:
            said = orjson.loads(data).get("baseHash")
        except (orjson.JSONDecodeError, AttributeError):
            said = None
        return (hash_bytes(data) if stub is None else stub.hash), said if isinstance(said, str) else None

    def settle(self, number: int) -> None:
        """Make the name of a manifest durable, whose creator may have died before; not on a read-only root."""
        if not self._driver.read_only:
            self._driver.settle([manifest_path(revision_name(number))])

    def decode(self, revision: str, data: bytes) -> Manifest:
        """The manifest that some bytes are, complete with its pages.

        Raises `BlobCorruptError` where they are none, `UnsupportedFormatError` for a newer format.
        """
        last = self._remembered
        if last is not None and last.manifest is not None and last.data == data:
            return last.whole()
        try:
            document = orjson.loads(data)
            version = document["format"]
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            raise _corrupt(revision, "it is not the JSON of a manifest") from error
        if version != bounds.FORMAT_VERSION:
            raise UnsupportedFormatError(
                f"The manifest of {revision} has format {version!r}; this version reads {bounds.FORMAT_VERSION}.",
                hint="Install a newer renku-store.",
            )
        try:
            manifest = Manifest.from_json(document)
            check_hashes(manifest.artefacts.values())
            _check_paths(revision, manifest)
            # Only the values of inputs hold numbers of any size.
            inputs = {key: entry.replace(value=exact_numbers(entry.value)) for key, entry in manifest.inputs.items()}
            if manifest.pages is None:
                return manifest.replace(inputs=inputs)
            known, pages = last.pages if last else {}, {}
            for page in manifest.pages:
                pages[page.hash] = known.get(page.hash) or KeptPage.of(read_page(self._read_blob(page.hash)))
        except RecordError as error:
            raise _corrupt(revision, f"{error}") from error
        read = _Remembered(data, manifest.replace(inputs=inputs), pages=pages)
        if last is not None:
            self._remembered = replace(read, before=replace(last, before=None))
        return read.whole()

    def pointer(self) -> Pointer | None:
        """What `current.json` says; None where it is missing or cannot be read (then `newest` asks the manifests)."""
        try:
            pointer = Pointer.read(self._read(POINTER))
            revision_number(pointer.revision)
        except (BlobMissingError, RecordError, InvalidIdError):
            return None
        return pointer if pointer.manifest == manifest_path(pointer.revision) else None

    def pointer_is_folder(self) -> bool:
        """Whether a folder has the place of `current.json`."""
        return self._driver.stat(POINTER) is None and f"{POINTER}/" in self._driver.children("")

    def newest(self) -> int:
        """The number of the newest revision, 0 for none: the pointer's, or a later one that it does not name yet."""
        pointer = self.pointer()
        number = revision_number(pointer.revision) if pointer else 0
        if not number or not self.exists(number):
            number = max(self.numbers(), default=0)
        while self.exists(number + 1):
            number += 1
        return number

    def numbers(self) -> Iterator[int]:
        """Every published revision's number, in no order."""
        yield from _numbers(self._driver.children("manifests/"), ".json")

    def marked(self) -> Iterator[int]:
        """The numbers of the revisions that have a mark: those in the trash, and those that have expired for good."""
        yield from _numbers(self._driver.children("manifests/"), ".expired.json")

    def marked_as_listed(self) -> dict[int, ObjectStat]:
        """By number of revisions that have a mark what a listing tells of their manifests, be they stubs by now."""
        listed = {found.name.removeprefix("manifests/"): found for found in self._driver.list("manifests/")}
        manifests = {
            number: listed.get(f"{revision_name(number)}.json") for number in _numbers(listed, ".expired.json")
        }
        return {number: found for number, found in manifests.items() if found is not None}

    def advance(self, number: int, digest: str, now: str) -> bool:
        """Let `current.json` name this revision unless it names a later one (invariant 7); whether it was changed.

        `digest` is the hash that its manifest is known to have: a pointer that says another one is put right. What the
        storage may have carried out without a reply is read back. Raises `DamageError` where a folder has its place.
        """
        revision = revision_name(number)
        pointer = Pointer(revision=revision, manifest=manifest_path(revision), hash=digest, updated_at=now)
        data = canonical_document(pointer.to_json())
        while True:
            try:
                present: bytes | None = self._driver.read(POINTER)
            except BlobMissingError:
                present = None
                if self.pointer_is_folder():
                    raise DamageError(
                        f"{POINTER} is a folder, not a file.", hint="`renku-store fsck --repair` moves it aside."
                    ) from None
            named = self.pointer() if present is not None else None
            if named is not None and self._is_ahead(named, number, digest):
                return False
            try:
                if self._move_pointer(present, data):
                    return True
            except StoreUnavailableError:
                # Ours may have been carried out, and somebody else may have gone on from it since.
                named = self.pointer()
                if named is None or not self._is_ahead(named, number, digest):
                    raise
                return True

    def _move_pointer(self, present: bytes | None, data: bytes) -> bool:
        if self._driver.guarantees.compare_and_swap:
            return self._driver.compare_and_swap(POINTER, present, data)
        self._driver.replace(POINTER, data)  # of two at once the older may win, until somebody opens the movie
        return True

    def _is_ahead(self, named: Pointer, number: int, digest: str) -> bool:
        named_number = revision_number(named.revision)
        return (named_number, named.hash) == (number, digest) or (named_number > number and self.exists(named_number))


def _together(pages: Iterable[KeptPage]) -> dict[str, ManifestArtefact]:
    artefacts: dict[str, ManifestArtefact] = {}
    for page in pages:
        artefacts.update(page.items())
    return artefacts


def _of_pages(manifest: Manifest, known: Mapping[str, KeptPage]) -> dict[str, KeptPage] | None:
    """The pages of a manifest by their hashes; None where it has none, or not all are known, or an id is in two."""
    pages = {named.hash: known.get(named.hash) for named in manifest.pages or ()}
    found = {digest: page for digest, page in pages.items() if page is not None}
    whole = len(found) == len(pages) and sum(len(page.ids) for page in found.values()) == len(manifest.artefacts)
    return found if pages and whole else None


def _numbers(names: Iterable[str], suffix: str) -> Iterator[int]:
    """The numbers of revisions that some names of objects, all but the suffix, are the names of."""
    for name in names:
        match = _REVISION.fullmatch(name.removesuffix(suffix)) if name.endswith(suffix) else None
        if match and int(match[1]) and f"{revision_name(int(match[1]))}{suffix}" == name:
            yield int(match[1])


def _stub(revision: str, data: bytes) -> ManifestStub | None:
    """The stub that some bytes are; None for those of a manifest, or of nothing at all."""
    if b'"expired":true' not in data[:_STUB_SEEN_WITHIN_BYTES]:
        return None
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(document, dict) or document.get("expired") is not True:
        return None
    try:
        return ManifestStub.from_json(document)
    except RecordError as error:
        raise _corrupt(revision, "its stub cannot be read") from error


def _check_paths(revision: str, manifest: Manifest) -> None:
    """What of a manifest becomes a path must be an id: nobody is led to a file outside the movie."""
    try:
        check_run_id(manifest.run)
    except InvalidIdError as error:
        raise _corrupt(revision, "its run has no id of a run") from error
    if manifest.archive is not None and manifest.archive.name != f"events/{manifest.run}.jsonl.zst":
        raise _corrupt(revision, "its archive is not that of its run")


def _corrupt(revision: str, why: str) -> BlobCorruptError:
    return BlobCorruptError(
        f"The manifest of {revision} is damaged: {why}.",
        hint="`renku-store fsck` says what brings it back; the other revisions can be read as before.",
    )
