"""What a collection tells: while it goes, and at its end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from renku_store.records._base import Hash, Record, written

CollectionStep = Literal[
    "expired", "leftovers", "roots", "surveyed", "condemned", "deleting", "deleted", "orphans deleting", "temporary",
    "traces", "late results", "retired",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class CollectionProgress:
    """A step that has been done: `count` is of the manifests or runs, or of the blobs that the step was about."""

    step: CollectionStep
    count: int


class CollectedBlob(Record):
    """A blob that would go, of `bytes` on the disk, and what used it last.

    `id` is that artefact or input. `revision` is the revision, or `run` the run, that used it; `cost` is what the
    result took, in US dollars. All are absent where they are not known.
    """

    hash: Hash
    bytes: int
    kind: Literal["artefact", "input", "graph", "page", "unknown"]
    id: str | None = None
    run: str | None = None
    revision: str | None = None
    cost: float | None = None


class CollectionReport(Record):
    """What a collection did, or would do: blobs, and their bytes on the disk.

    `condemned` counts the blobs that lost their last chance but one: a writer may have revived some of them before they
    were removed. `expired` counts the revisions that left the trash for good, `temporary` leftovers below `tmp/`,
    `traces` results that cannot be reused any more, `plans` and `runs` what was removed of old runs; a dry run counts
    of those runs what goes at least.
    `grace_seconds` is the grace time as it was applied; `notes` say what was out of the ordinary.
    """

    removed: int = written(0)
    removed_bytes: int = written(0)
    kept: int = written(0)
    kept_bytes: int = written(0)
    condemned: int = written(0)
    expired: int = written(0)
    temporary: int = written(0)
    traces: int = written(0)
    plans: int = written(0)
    runs: int = written(0)
    grace_seconds: float
    notes: list[str] = written([])
    blobs: list[CollectedBlob] | None = None
