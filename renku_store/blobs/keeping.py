"""Keeping objects young where no row protects them: their age is all that a collector of another machine goes by.

Keeps invariant 9 where machines share no index: whoever is about to rest on an object that is there already makes it
young first, waits for a collector that may have looked at it before, and sees whether it is still there.
"""

from __future__ import annotations

from collections.abc import Mapping

from renku_store import bounds
from renku_store.announcing import Announcer
from renku_store.blobs.presence import Presence
from renku_store.drivers.base import Driver
from renku_store.records.blob import blob_path


def kept_young(driver: Driver, announcer: Announcer, found: Mapping[str, Presence]) -> dict[str, Presence]:
    """Let these objects be young; gives those that are there for the grace time, less some hours."""
    if not announcer.needed or not found:
        return dict(found)
    before = announcer.now() - bounds.YOUNG_SECONDS
    old = {digest: blob_path(digest, seen.encoding) for digest, seen in found.items() if seen.modified < before}
    if not old:
        return dict(found)
    for name in old.values():
        driver.renew(name)
    announcer.wait_for_sweeps(old)
    present = driver.stat_many(old.values())
    return {digest: seen for digest, seen in found.items() if digest not in old or old[digest] in present}
