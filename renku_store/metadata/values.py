"""What the metadata store tells of revisions, intents and uses of blobs: the values of its protocols."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct


class RevisionRow(Struct, frozen=True):
    """A published revision as the index knows it; `expired` once its manifest was replaced by a stub.

    `cost` and `saved` are in US dollars: what its run's calls took, and what the results had taken that it reused.
    """

    number: int
    hash: str
    base_hash: str | None
    run: str
    created_at: str
    made: int
    reused: int
    cost: float
    expired: bool = False
    saved: float = 0.0


class Intent(Struct, frozen=True):
    """What a run is about to publish: revision `number` with exactly these bytes (invariant 11)."""

    run: str
    number: int
    hash: str
    manifest: bytes


class BlobUse(Struct, frozen=True):
    """An event that names a blob: its `seq`, whether of an `artefact` or an `input`, the id of that, and its run.

    `revision` is what the run published, `cost` what the result took in US dollars; None where neither is known.
    """

    seq: int
    hash: str
    kind: Literal["artefact", "input"]
    id: str
    run: str | None
    revision: str | None
    cost: float | None


class BlobSpan(Struct, frozen=True):
    """A blob that every revision from `first` through `last` (None: still) names; `stored_size` is bytes on the disk.

    A blob that was left out for a while has several spans. The size is 0 where nobody has seen the object.
    """

    hash: str
    first: int
    last: int | None
    stored_size: int
