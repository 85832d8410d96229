"""The trash: marks beside the manifests of expired revisions, which stay readable until collection makes them stubs.

Serves invariant 11: a mark is one object, made whole or not at all. One that cannot be read is no mark: the revision
counts as kept. Whoever changes marks holds the lock `retention`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from renku_store.clock import timestamp
from renku_store.drivers.base import Driver
from renku_store.encoding import expiry_path
from renku_store.errors import BlobMissingError
from renku_store.hashing import canonical_document
from renku_store.records._base import RecordError
from renku_store.records.ids import revision_name
from renku_store.records.manifest import Expiry

_MARK: Final = re.compile(r"rev-(\d{4,12})\.expired\.json")


@dataclass(frozen=True, slots=True)
class Mark:
    """The mark of revision `number`; `modified` is the time of its file, Unix seconds."""

    number: int
    expiry: Expiry
    modified: float


def marks(driver: Driver) -> list[Mark]:
    """Every mark that can be read, oldest revision first; those of stubs, which keep theirs, too."""
    numbers = sorted(int(match[1]) for match in map(_MARK.fullmatch, driver.children("manifests/")) if match)
    return [mark for mark in (mark_of(driver, number) for number in numbers if number) if mark is not None]


def mark_of(driver: Driver, number: int) -> Mark | None:
    """The mark of one revision; None where there is none that can be read."""
    revision = revision_name(number)
    status = driver.stat(expiry_path(revision))
    if status is None:
        return None
    try:
        expiry = Expiry.read(driver.read(expiry_path(revision)))
        datetime.fromisoformat(expiry.expired_at).timestamp()
    except (BlobMissingError, RecordError, ValueError, OverflowError):
        return None
    return Mark(number, expiry, status.modified) if expiry.revision == revision else None


def put_marks(driver: Driver, expiries: Iterable[Expiry]) -> None:
    """Move revisions to the trash, durable on return; a mark that cannot be read is replaced.

    A crash leaves some of them marked, each whole.
    """
    encoded = {expiry_path(expiry.revision): canonical_document(expiry.to_json()) for expiry in expiries}
    if not encoded:
        return
    with driver.batch() as batch:
        for path, data in encoded.items():
            staged = batch.stage()
            staged.write(data)
            batch.name(staged, path)
        taken = batch.commit()
    for path in taken:
        driver.replace(path, encoded[path])


def remove_mark(driver: Driver, number: int) -> None:
    """Take a revision out of the trash, durable on return; a crash before that may leave it there, readable."""
    path = expiry_path(revision_name(number))
    driver.delete(path)
    driver.settle([path])


def no_page(_digest: str) -> bytes:
    """What stands for the pages of manifests: for the trash, and for a stub, they do not matter, and may be damaged."""
    return b"{}"


def moment_of(now_ms: int) -> str:
    """A time of the database's clock (Unix milliseconds) as records have it."""
    return timestamp(datetime.fromtimestamp(now_ms / 1000, UTC))
