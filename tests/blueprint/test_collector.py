"""The pause of the garbage collector: nothing is walked through in it, nothing is kept by it."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from renku_store.blueprint.collector import paused_collector


class Node:
    """Something that refers to itself."""

    def __init__(self) -> None:
        self.own = self


@pytest.fixture(autouse=True)
def collecting() -> Iterator[None]:
    """The collector is on, and as it was afterwards."""
    was_enabled = gc.isenabled()
    gc.enable()
    yield
    if not was_enabled:
        gc.disable()


def test_many_new_objects_are_walked_through_by_no_collection() -> None:
    """Neither in a pause nor at its end: what was made in it counts as old."""
    walked: list[int] = []

    def note(phase: str, _: dict[str, int]) -> None:
        if phase == "start":
            walked.append(gc.get_count()[0])

    gc.collect()
    gc.callbacks.append(note)
    try:
        with paused_collector():
            made = [[number] for number in range(200_000)]
        more = [[number] for number in range(5_000)]
    finally:
        gc.callbacks.remove(note)
    assert len(made) + len(more) == 205_000
    assert max(walked, default=0) < 50_000
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0


def test_what_is_garbage_after_a_pause_is_collected() -> None:
    """What refers to itself and nobody refers to is gone with the next whole collection."""
    with paused_collector():
        nodes = [Node() for _ in range(60_000)]
    last = weakref.ref(nodes[-1])
    del nodes
    gc.collect()
    assert last() is None


def test_what_was_frozen_stays_frozen() -> None:
    """A server that has frozen its objects before it forks keeps them so."""
    gc.freeze()
    try:
        frozen = gc.get_freeze_count()
        with paused_collector():
            made = [[number] for number in range(100_000)]
        assert gc.get_freeze_count() >= frozen - 1_000
        assert len(made) == 100_000
    finally:
        gc.unfreeze()
