"""A revision as it is published: immutable, complete, and small. Keeps the shapes of invariants 5 to 7."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, Field, model_serializer

from renku_store.records._base import Hash, Json, Record, exactly_one


class ManifestInput(Record):
    """An input's value: inline where its canonical JSON is at most 2,048 bytes, else a blob of that JSON.

    `hash` is the BLAKE3 of the canonical JSON; a blob has the same name. `value` means something only without `blob`:
    null is a value like any other. `legacy_hash` is what an older layout called it, where it was migrated from there.
    """

    model_config = ConfigDict(json_schema_extra=exactly_one("value", "blob"))

    hash: Hash
    value: Json = None
    blob: Hash | None = None
    legacy_hash: str | None = None

    @model_serializer
    def _written(self) -> dict[str, Any]:
        held = {"value": self.value} if self.blob is None else {"blob": self.blob}
        legacy = {} if self.legacy_hash is None else {"legacyHash": self.legacy_hash}
        return {"hash": self.hash, **held, **legacy}


class ArtefactValue(Record):
    """Bytes with a MIME type: `hash` and `size` (bytes) are of the exact bytes, `inline` or in the blob so named."""

    model_config = ConfigDict(json_schema_extra=exactly_one("inline", "blob"))

    hash: Hash
    size: int = Field(ge=0)
    mime_type: str
    inline: str | None = None
    blob: Hash | None = None


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
    signature: Hash | None = None
    edited_by: str | None = None
    made: ArtefactValue | None = None
    source: Hash | None = None
    outdated: Literal[True] | None = None
    legacy_hash: str | None = None

    def as_made(self) -> ManifestArtefact | None:
        """What its producer made: this, or what lies under a person's version (None: nothing yet)."""
        if self.edited_by is None:
            return self
        if self.made is None:
            return None
        return ManifestArtefact(
            **dict(self.made),
            produced_by=self.produced_by,
            job=self.job,
            signature=self.signature,
            source=self.source,
        )

    def over(self, made: ManifestArtefact | None) -> ManifestArtefact:
        """This person's version with another result of its producer under it (None: with nothing)."""
        if made is None:
            return self.model_copy(update={"made": None, "signature": None, "source": None})
        under = ArtefactValue(**{name: getattr(made, name) for name in ArtefactValue.model_fields})
        return self.model_copy(
            update={
                "made": under,
                "signature": made.signature,
                "source": made.source,
                "produced_by": made.produced_by or self.produced_by,
                "job": made.job or self.job,
            }
        )


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

    made: int = 0
    reused: int = 0
    cost: float = 0.0
    saved: float | None = None


class Manifest(Record):
    """One revision. `artefacts` is complete in memory; on disk it is cut into `pages` above 1,024 entries.

    `graph` is the blob of the expanded graph; `timeline` the id of the artefact that is the timeline. `content_hash`
    covers inputs, artefacts (id, hash, MIME type) and timeline: the same build has the same one everywhere.
    """

    format: int
    movie: str
    revision: str
    base_revision: str | None = None
    base_hash: Hash | None = None
    run: str
    archive: ArchiveRef | None = None
    created_at: str
    content_hash: Hash
    graph: Hash | None = None
    inputs: dict[str, ManifestInput] = {}
    artefacts: dict[str, ManifestArtefact] = {}
    pages: list[PageRef] | None = None
    timeline: str | None = None
    metrics: Metrics = Metrics.model_construct()


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

    expired: Literal[True] = True
    format: int
    movie: str
    revision: str
    hash: Hash
    base_revision: str | None = None
    base_hash: Hash | None = None
    run: str
    archive: ArchiveRef | None = None
    created_at: str
    metrics: Metrics = Metrics.model_construct()


class Tag(Record):
    """`tags/final-cut.json`: a name for a revision, which never expires as long as it has one."""

    name: str
    revision: str
    hash: Hash
    created_at: str
