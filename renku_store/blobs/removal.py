"""Deleting what a collector has set to `deleting`: the objects, then their rows. Or taking the mark back.

Only the holder of the lock `collect` does either, so that a blob which was written anew is never taken for one that is
to go, and none is revived that somebody deletes. The kernel frees the lock of a collector that dies; who takes it next
ends what that one left (invariant 11): a collection deletes what still nobody needs, all others take the marks back.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from renku_store.drivers.base import Driver
from renku_store.metadata.base import MetadataStore
from renku_store.records.blob import SUFFIX, blob_path

COLLECT_LOCK: Final = "collect"
"""The lock that a collector holds."""
ARRIVE_LOCK: Final = "arrive"
"""The lock that writers share from object to row; a collector holds it alone while it marks objects without a row."""


def finish_deleting(driver: Driver, metadata: MetadataStore, digests: Iterable[str]) -> int:
    """Delete both encodings of those blobs whose rows say `deleting`, then the rows; gives how many.

    To be called under the lock `collect`. Raises `StoreUnavailableError`; the rows then stay for the next who tries.
    """
    marked = _marked(metadata, digests)
    driver.delete_many(blob_path(digest, encoding) for digest in marked for encoding in SUFFIX)
    if marked:
        with metadata.write() as writer:
            writer.blobs.end_deleting(marked)
    return len(marked)


def take_marks_back(driver: Driver, metadata: MetadataStore, digests: Iterable[str]) -> int:
    """Drop the rows that say `deleting`, and no object: what is left of those has no row then; gives how many.

    To be called under the lock `collect`: whoever marked them is dead. Their names are durable on return.
    """
    marked = _marked(metadata, digests)
    if marked:
        driver.settle(blob_path(digest) for digest in marked)
        with metadata.write() as writer:
            writer.blobs.end_deleting(marked)
    return len(marked)


def _marked(metadata: MetadataStore, digests: Iterable[str]) -> list[str]:
    with metadata.read() as reader:
        return [digest for digest, row in reader.blobs.get(digests).items() if row.state == "deleting"]
