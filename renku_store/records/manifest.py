"""A revision as it is published: immutable, complete, and small. Keeps the shapes of invariants 5 to 7."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from itertools import repeat
from operator import attrgetter
from typing import Annotated, Any, ClassVar

import msgspec

from renku_store.records._base import Hash, Json, ManyHash, Record, RecordError, written

UNSET: Any = msgspec.UNSET
"""The value of what is in a blob."""


def fill_value(record: Any) -> None:
    """See that a record has either a value, null like any other, or a blob: only what it has is written."""
    if record.blob is not None:
        msgspec.structs.force_setattr(record, "value", UNSET)
    elif record.value is UNSET:
        msgspec.structs.force_setattr(record, "value", None)


class ManifestInput(Record):
    """An input's value: inline where its canonical JSON is at most 2,048 bytes, else a blob of that JSON.

    `hash` is the BLAKE3 of the canonical JSON; a blob has the same name. `value` means something only without `blob`:
    null is a value like any other. `legacy_hash` is what an older layout called it, where it was migrated from there.
    """

    exactly_one: ClassVar = ("value", "blob")

    hash: Hash
    value: Json = UNSET
    blob: Hash | None = None
    legacy_hash: str | None = None

    def __post_init__(self) -> None:
        fill_value(self)


class ArtefactValue(Record):
    """Bytes with a MIME type: `hash` and `size` (bytes) are of the exact bytes, `inline` or in the blob so named."""

    exactly_one: ClassVar = ("inline", "blob")

    hash: ManyHash
    size: Annotated[int, msgspec.Meta(ge=0)]
    mime_type: str
    inline: str | None = None
    blob: ManyHash | None = None

    def value_alone(self) -> ArtefactValue:
        """The bytes, without how they came about."""
        return ArtefactValue(
            hash=self.hash, size=self.size, mime_type=self.mime_type, inline=self.inline, blob=self.blob
        )


class ManifestArtefact(ArtefactValue):
    """An artefact as a revision holds it, and how it came about.

    `produced_by` is the producer's name, `job` the job, `signature` the one that it was made with. Artefacts that no
    job made have neither. `edited_by` names the person whose version this is; `made` is then the producer's own, if
    there is one, and `signature` is that one's. `outdated` marks an older value that a run left as it was, though its
    inputs had changed: the next plan makes it anew. `source` is the fingerprint of the program files that made it,
    where its producer has any. `legacy_hash` is what an older layout called it, where it was migrated from there.
    """

    produced_by: str | None = None
    job: str | None = None
    signature: ManyHash | None = None
    edited_by: str | None = None
    made: ArtefactValue | None = None
    source: ManyHash | None = None
    outdated: bool | None = None
    legacy_hash: str | None = None

    def as_made(self) -> ManifestArtefact | None:
        """What its producer made: this, or what lies under a person's version (None: nothing yet)."""
        if self.edited_by is None:
            return self
        if self.made is None:
            return None
        return ManifestArtefact(
            **self.made.values(),
            produced_by=self.produced_by,
            job=self.job,
            signature=self.signature,
            source=self.source,
        )

    def over(self, made: ManifestArtefact | None) -> ManifestArtefact:
        """This person's version with another result of its producer under it (None: with nothing)."""
        if made is None:
            return self.replace(made=None, signature=None, source=None)
        return self.replace(
            made=made.value_alone(),
            signature=made.signature,
            source=made.source,
            produced_by=made.produced_by or self.produced_by,
            job=made.job or self.job,
        )


def check_hashes(artefacts: Collection[ManifestArtefact]) -> None:
    """Raise `RecordError` unless all digests of artefacts that were read are lower-case hex.

    All of them are one text here: looking at each by itself takes longer than all the rest of reading.
    """
    values: list[ArtefactValue] = [*artefacts, *(one.made for one in artefacts if one.made is not None)]
    texts = (
        *(filter(None, map(attrgetter(name), values)) for name in ("hash", "blob")),
        *(filter(None, map(attrgetter(name), artefacts)) for name in ("signature", "source")),
    )
    if not all(map(_is_hex, map("".join, texts))):
        raise RecordError("a digest of an artefact is not lower-case hex")


def share_texts(artefacts: Collection[ManifestArtefact]) -> None:
    """Let artefacts that were read hold the very same text where their MIME types, or producers, are the same."""
    for name in ("mime_type", "produced_by"):
        texts = list(map(attrgetter(name), artefacts))
        same = dict(zip(texts, texts, strict=True))
        deque(map(msgspec.structs.force_setattr, artefacts, repeat(name), map(same.__getitem__, texts)), maxlen=0)


def _is_hex(text: str) -> bool:
    try:
        return bytes.fromhex(text).hex() == text
    except ValueError:
        return False


class PageRef(Record):
    """A page of a large manifest: its first artefact id, and the blob that holds {id: artefact} as canonical JSON."""

    first: str
    hash: Hash


class ArchiveRef(Record):
    """The archive of a run's events: its path in the movie, and the BLAKE3 of the file as it is stored."""

    name: str
    hash: Hash


class Metrics(Record):
    """What a revision took: producer calls that succeeded, jobs answered by an earlier result, and US dollars.

    `saved` is what those earlier results had taken, in US dollars; absent where it is nothing.
    """

    made: int = written(0)
    reused: int = written(0)
    cost: float = written(0.0)
    saved: float | None = None


class Manifest(Record):
    """One revision. `artefacts` is complete in memory; on disk it is cut into `pages` above 1,024 entries.

    `graph` is the blob of the expanded graph; `timeline` the id of the artefact that is the timeline. `content_hash`
    covers inputs, artefacts (id, hash, MIME type) and timeline: the same build has the same one everywhere.
    The canonical JSON of `to_json()` is the file, unless it has pages.
    """

    format: int
    movie: str
    revision: str
    base_revision: str | None = written(None)
    base_hash: Hash | None = written(None)
    run: str
    archive: ArchiveRef | None = written(None)
    created_at: str
    content_hash: Hash
    graph: Hash | None = written(None)
    inputs: dict[str, ManifestInput] = written({})
    artefacts: dict[str, ManifestArtefact] = written({})
    pages: list[PageRef] | None = None
    timeline: str | None = written(None)
    metrics: Metrics = written(Metrics())


class Pointer(Record):
    """`current.json`: what other programs read first. `manifest` is a path in the movie, `hash` that of its bytes."""

    revision: str
    manifest: str
    hash: Hash
    updated_at: str


class Expiry(Record):
    """`rev-0003.expired.json`: a revision is in the trash since `expired_at`, and `why`; `hash` is its manifest's."""

    revision: str
    hash: Hash
    expired_at: str
    why: str


class ManifestStub(Record):
    """What stands in the place of an expired revision's manifest: `hash` is that of the bytes that it replaced.

    It keeps the chain (`base_hash`), the way to the run's events (`archive`), and what `log` shows.
    """

    expired: bool = written(default=True)
    format: int
    movie: str
    revision: str
    hash: Hash
    base_revision: str | None = None
    base_hash: Hash | None = None
    run: str
    archive: ArchiveRef | None = None
    created_at: str
    metrics: Metrics = written(Metrics())


class Tag(Record):
    """`tags/final-cut.json`: a name for a revision, which never expires as long as it has one."""

    name: str
    revision: str
    hash: Hash
    created_at: str
