"""What the metadata store tells of revisions, intents and uses of blobs: the values of its protocols."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class RevisionRow:
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


@dataclass(frozen=True, slots=True)
class Intent:
    """What a run is about to publish: revision `number` with exactly these bytes (invariant 11)."""

    run: str
    number: int
    hash: str
    manifest: bytes


@dataclass(frozen=True, slots=True)
class BlobUse:
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


@dataclass(frozen=True, slots=True)
class BlobSpan:
    """A blob that every revision from `first` through `last` (None: still) names; `stored_size` is bytes on the disk.

    A blob that was left out for a while has several spans. The size is 0 where nobody has seen the object.
    """

    hash: str
    first: int
    last: int | None
    stored_size: int
