"""Every operation, killed before and after each of its durable steps: nothing published or promised is lost.

Invariant 11, and with it the others: opening the movie again needs no repair by hand, a check finds nothing, and the
operation can be repeated to its end.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from renku_store.durability import STEPS
from tests import children
from tests.crash.operations import OPERATIONS

SWEEP = """
    import json, sys
    from collections import Counter
    from pathlib import Path
    from renku_store.testing.crash_points import killed_at_each_point
    from tests.authoring import opened
    from tests.crash.operations import BACKUP, OPERATIONS, check, published, small_bounds

    def forget(_promise):
        pass

    operation, place = OPERATIONS[sys.argv[1]], Path(sys.argv[2])
    template = place / "template"
    with small_bounds():
        operation.prepare(template)
        before = {} if operation.damaged else published(template)
        met = Counter()
        first, stride = map(int, sys.argv[3:5])
        for crash in killed_at_each_point(template, place / "killed", operation.operate, first=first, stride=stride):
            try:
                if not operation.damaged and (crash.folder / "film" / "format.json").exists():
                    with opened(crash.folder) as movie:
                        check(movie, before, operation.expires)
                        operation.promised(movie, crash.promised)
                operation.operate(crash.folder, forget)
                with opened(crash.folder) as movie:
                    operation.promised(movie, crash.promised)
                    operation.done(movie)
                    check(movie, before, operation.expires)
            except BaseException as error:
                error.add_note(f"killed at point {crash.number}, {crash.point}")
                raise
            met[crash.point] += 1
    print(json.dumps(met))
"""


def swept(place: Path, name: str, first: int, stride: int) -> Counter[str]:
    """At which points it was killed, and how often."""
    ended = children.run(SWEEP, name, place, first, stride, timeout_seconds=1800)
    assert ended.code == 0, ended.err
    met = Counter(json.loads(ended.out))
    assert met.pop("") == 1, "the last one came to its end"
    return met


@pytest.mark.ramdisk
@pytest.mark.parametrize("name", OPERATIONS)
def test_killed_after_any_step_nothing_is_lost_and_it_can_be_repeated(tmp_path: Path, name: str) -> None:
    """Checked by the invariants, by `fsck`, and by what had been acknowledged."""
    met = swept(tmp_path, name, 2, 2)
    assert met.total() >= 4, met


@pytest.mark.long
@pytest.mark.parametrize("name", OPERATIONS)
def test_killed_before_or_after_any_step_nothing_is_lost_and_it_can_be_repeated(tmp_path: Path, name: str) -> None:
    """The same, also with what was written since the step before."""
    met = swept(tmp_path, name, 1, 1)
    assert {point.partition(" ")[2] for point in met} <= set(STEPS)
    assert {point.partition(" ")[0] for point in met} == {"before", "after"}
