"""What machines that share objects and no index tell each other: who needs which blobs, and who is about to delete."""

from __future__ import annotations

from typing import Literal

from renku_store import bounds
from renku_store.records._base import Hash, Record, written


class Announcement(Record):
    """An intent, `intents/<id>.json`: a run that goes on, or a person's edit that no revision has taken.

    `since`: when it was put first, Unix seconds by the clock of the storage; absent where that is when the object was
    written. `blobs` are needed, whatever they are named by; a run names none before it publishes.
    """

    format: Literal[1] = written(bounds.FORMAT_VERSION)
    kind: Literal["run", "edit"]
    since: float | None = None
    blobs: list[Hash] = written([])


class SweepMarker(Record):
    """What a collector of a machine is about to remove, `gc/<id>.sweeping`: hashes of blobs, or names of revisions."""

    format: Literal[1] = written(bounds.FORMAT_VERSION)
    machine: str
    names: list[str] = written([])
