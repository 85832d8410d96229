"""Keeping objects young where no row protects them: their age is all that a collector of another machine goes by.

Keeps invariant 9 where machines share no index: whoever is about to rest on an object that is there already makes it
young first, waits for a collector that may have looked at it before, and sees whether it is still there.

What somebody else made young a moment ago is waited for and seen again, too: a collector may have looked before that.
"""

from __future__ import annotations

from collections.abc import Mapping

from renku_store import bounds
from renku_store.announcing import Announcer
from renku_store.blobs.presence import Presence
from renku_store.drivers.base import Driver
from renku_store.records.blob import blob_path


def kept_young(
    driver: Driver, announcer: Announcer, found: Mapping[str, Presence], *, waited: bool = False
) -> dict[str, Presence]:
    """Let these objects be young; gives those that are there for the grace time, less some hours.

    `waited`: they were found after sweeps were waited for, so that no collector deletes what was found young.
    """
    if not announcer.needed or not found:
        return dict(found)
    now = announcer.now()
    old = {digest for digest, seen in found.items() if seen.modified < now - bounds.YOUNG_SECONDS}
    # A collector that looked before somebody else made these young may not have deleted them yet.
    fresh = set() if waited else {d for d, seen in found.items() if seen.modified > now - bounds.SWEEP_SECONDS}
    names = {digest: blob_path(digest, seen.encoding) for digest, seen in found.items() if digest in old | fresh}
    if not names:
        return dict(found)
    for digest in old:
        driver.renew(names[digest])
    announcer.wait_for_sweeps(names)
    present = driver.stat_many(names.values())
    return {digest: seen for digest, seen in found.items() if digest not in names or names[digest] in present}
