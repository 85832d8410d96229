"""Results that people chose or accepted for a signature: what a look-up gives, and until when."""

from __future__ import annotations

import pytest

from renku_store.metadata.sqlite import SqliteMetadata
from renku_store.metadata.traces import usable_trace
from renku_store.records.events import ArtefactEvent
from tests.metadata.samples import digest, made

SIGNATURE = digest("today")


def result(name: str, at: int, *, signature: str = SIGNATURE) -> ArtefactEvent:
    return made("x.y", name, signature=signature, result=name, created_at=f"2026-01-01T00:00:{at:02d}.000Z")


def choice(of: ArtefactEvent, at: int, status: str = "chosen") -> ArtefactEvent:
    return made(
        "x.y",
        of.result,
        run=None,
        status=status,
        signature=SIGNATURE,
        result=of.result,
        created_at=f"2026-01-01T00:00:{at:02d}.000Z",
    )


def usable(store: SqliteMetadata) -> str | None:
    with store.read() as reader:
        found = usable_trace(reader, SIGNATURE)
    assert found is None or found.signature == SIGNATURE
    return found.result if found else None


def append(store: SqliteMetadata, *events: ArtefactEvent) -> None:
    with store.write() as writer:
        writer.events.append(events)


@pytest.mark.parametrize("status", ["chosen", "accepted"])
def test_a_choice_stands_before_newer_results_until_another_is_made(memory: SqliteMetadata, status: str) -> None:
    """One that was made before the choice, and is told of later, does not end it."""
    first, second = result("first", 1), result("second", 2)
    append(memory, first, second)
    assert usable(memory) == "second"
    append(memory, choice(first, 5, status))
    assert usable(memory) == "first"
    append(memory, result("late", 4))
    assert usable(memory) == "first"
    append(memory, result("third", 6))
    assert usable(memory) == "third"


def test_a_result_of_another_signature_answers_where_it_was_chosen(memory: SqliteMetadata) -> None:
    """Under the signature that was asked for; its own look-up is as before."""
    other = result("other", 1, signature=digest("yesterday"))
    append(memory, other, choice(other, 2))
    assert usable(memory) == "other"
    with memory.read() as reader:
        found = usable_trace(reader, digest("yesterday"))
        assert found is not None
        assert (found.result, found.signature) == ("other", digest("yesterday"))
        assert reader.events.traces(SIGNATURE) == []


def test_the_later_choice_counts_in_whatever_order_they_are_told(memory: SqliteMetadata) -> None:
    """A rebuilt index takes archives in another order than that of the events."""
    first, second = result("first", 1), result("second", 2)
    append(memory, first, second, choice(first, 6), choice(second, 5))
    assert usable(memory) == "first"


def test_a_choice_that_a_later_result_has_ended_does_not_come_back(memory: SqliteMetadata) -> None:
    """A rebuilt index is told of the call first: no row of the choice is left, which would keep its blobs for ever."""
    first = result("first", 1)
    append(memory, first, result("later", 6), choice(first, 5))
    assert usable(memory) == "later"
    with memory.read() as reader:
        assert reader.blobs.chosen() == []
    append(memory, choice(first, 7))
    assert usable(memory) == "first"


def test_a_choice_of_what_is_not_known_is_no_harm(memory: SqliteMetadata) -> None:
    """It answers as soon as the result is there."""
    first = result("first", 1)
    append(memory, choice(first, 5))
    assert usable(memory) is None
    append(memory, first)
    assert usable(memory) == "first"


def test_what_restores_an_old_state_is_no_choice(memory: SqliteMetadata) -> None:
    """A rollback names no result."""
    first, second = result("first", 1), result("second", 2)
    append(memory, first, second, choice(first, 5).replace(result=None, run="rollback"))
    assert usable(memory) == "second"


def test_takes_are_told_in_the_order_of_their_time_with_the_chosen_one_beside_them(memory: SqliteMetadata) -> None:
    """Two of one moment in the order in which they were appended; the same as `traces` gives."""
    results = [result("late", 7), result("first", 1), result("same", 3), result("moment", 3)]
    append(memory, *results, choice(results[1], 9))
    with memory.read() as reader:
        takes, chosen = reader.events.takes(SIGNATURE)
        assert takes == reader.events.traces(SIGNATURE)
        assert [take.result for take in takes] == ["first", "same", "moment", "late"]
        assert chosen is not None
        assert chosen.result == "first"
        assert reader.events.takes(digest("yesterday")) == ([], None)
