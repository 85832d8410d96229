"""What retention tells: what stays and why, what went, what came back."""

from __future__ import annotations

from renku_store.records._base import Hash, Record, written


class KeptRevision(Record):
    """A revision that stays, and the rules that keep it."""

    revision: str
    created_at: str
    reasons: list[str]


class PrunedRevision(Record):
    """A revision that goes to the trash, and why; `created_at` is absent where nobody knows it any more.

    `lost`: its manifest cannot be read, nor written anew; it goes for good at once.
    """

    revision: str
    created_at: str | None = None
    why: str
    lost: bool = written(default=False)


class PruneReport(Record):
    """What `prune` did, or would do: both lists newest first.

    `freed_bytes` are those on the disk that the removed revisions alone need, `kept_bytes` those that the kept ones
    need: the former go when the trash time is over, but for what pending edits and unfinished runs need besides.
    """

    kept: list[KeptRevision]
    removed: list[PrunedRevision]
    freed_bytes: int = written(0)
    kept_bytes: int = written(0)
    dry_run: bool = written(default=False)
    notes: list[str] = written([])


class RestoreReport(Record):
    """The revisions that came back from the trash, oldest first."""

    restored: list[str]


class TaggedRevision(Record):
    """A tag as it was given; `restored` says that the revision came back from the trash for it."""

    tag: str
    revision: str
    hash: Hash
    restored: bool = written(default=False)
