"""Booking: revisions, what they changed, which blobs their manifests name, and intents before them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st

from renku_store.errors import ManifestConflictError, NotFoundError, RevisionExistsError
from renku_store.hashing import hash_value
from renku_store.metadata.base import Intent
from renku_store.metadata.sqlite import SqliteMetadata, open_sqlite, revisions
from renku_store.metadata.sqlite.store import Transaction
from tests.metadata.samples import HOLDER, digest, input_event, made, revision


def _book(writer: Transaction, number: int, **given: Any) -> None:
    arguments: dict[str, Any] = {"blobs": [], "inputs": {}, "artefacts": {}, "taken": [], **given}
    writer.revisions.book(revision(number, run=f"run-{number}"), **arguments)


def test_revisions_are_listed_newest_first_in_pages(memory: SqliteMetadata) -> None:
    """Each row comes back whole, and a page goes on below the last number of the one before."""
    with memory.write() as writer:
        assert writer.revisions.newest() is None
        for number in range(1, 6):
            _book(writer, number)
        rows = [revision(number, run=f"run-{number}") for number in range(1, 6)]
        assert writer.revisions.list(limit=3) == [rows[4], rows[3], rows[2]]
        assert writer.revisions.list(before=3, limit=3) == [rows[1], rows[0]]
        assert (writer.revisions.newest(), writer.revisions.get(2), writer.revisions.get(9)) == (rows[4], rows[1], None)


def test_booking_again_is_no_harm(memory: SqliteMetadata) -> None:
    """Two processes may both book what one published; the second changes nothing."""
    with memory.write() as writer:
        (event,) = writer.events.append([input_event("a", 1)])
        _book(writer, 1, inputs={"a": hash_value(1)}, taken=[event.id], blobs=[digest("b")])
        writer.events.append([input_event("a", 1)])
        before = list(memory.connection.execute("SELECT * FROM revision_inputs, manifest_blobs, revisions"))
        _book(writer, 1, inputs={}, taken=[], blobs=[])
        assert list(memory.connection.execute("SELECT * FROM revision_inputs, manifest_blobs, revisions")) == before
        assert writer.events.input_at("a", 1) == event


def test_a_number_has_one_hash(memory: SqliteMetadata) -> None:
    """Booking a number with another hash is a conflict that names both."""
    with memory.write() as writer:
        _book(writer, 1)
        with pytest.raises(ManifestConflictError) as caught:
            writer.revisions.book(revision(1, content="else"), blobs=[], inputs={}, artefacts={}, taken=[])
    assert (caught.value.expected, caught.value.actual) == (digest("else"), digest(("revision", 1)))


def test_an_earlier_revision_is_not_booked_after_a_later_one(memory: SqliteMetadata) -> None:
    """What changed in a revision only makes sense upon the one before."""
    with memory.write() as writer:
        _book(writer, 3)
        with pytest.raises(RevisionExistsError, match="rev-0002 cannot be booked after rev-0003"):
            _book(writer, 2)


def test_taken_edits_are_pending_no_longer_and_others_are(memory: SqliteMetadata) -> None:
    """Membership is by event id; ids that this database does not know are no error."""
    with memory.write() as writer:
        first, second = writer.events.append([input_event("a", 1), input_event("a", 2)])
        edit, choice = writer.events.append(
            [made("x", 1, run=None, status="edited"), made("x", 2, run=None, status="chosen")]
        )
        assert writer.events.pending_artefacts() == [edit, choice]
        _book(writer, 1, taken=[first.id, edit.id, "unknown"])
        assert writer.events.pending_inputs() == [second]
        assert writer.events.pending_artefacts() == [choice]


def test_private_inputs_become_latest_when_their_run_publishes_unless_an_edit_came_after(
    memory: SqliteMetadata,
) -> None:
    """Nobody else sees a run's own inputs before; an edit made meanwhile is newer than they are."""
    with memory.write() as writer:
        old, a, b = writer.events.append(
            [input_event("a", "old"), input_event("a", "own", run="run-1"), input_event("b", "own", run="run-1")]
        )
        (later,) = writer.events.append([input_event("b", "later")])
        assert writer.events.latest_inputs() == {"a": old, "b": later}
        _book(writer, 1, inputs={"a": hash_value("own"), "b": hash_value("own")}, taken=[old.id])
        assert writer.events.latest_inputs() == {"a": a, "b": later}
        assert writer.events.input_at("b", 1) == b
        assert writer.events.pending_inputs() == [later]


def test_what_a_revision_dropped_has_no_value_in_it(memory: SqliteMetadata) -> None:
    """An id that is gone in a revision is there before it, and not in it or after it."""
    with memory.write() as writer:
        (event,) = writer.events.append([made("x", 1)])
        _book(writer, 1, artefacts={"x": digest(1)})
        _book(writer, 2, artefacts={"x": None})
        _book(writer, 3)
        assert [writer.events.artefact_at("x", number) for number in range(4)] == [None, event, None, None]


def test_the_event_of_the_run_itself_says_where_a_value_came_from(memory: SqliteMetadata) -> None:
    """Of several events with one value, that of the publishing run is meant, however old it is."""
    with memory.write() as writer:
        own, _ = writer.events.append([made("x", 1, run="run-1"), made("x", 1, run="run-9")])
        _book(writer, 1, artefacts={"x": digest(1)})
        assert writer.events.artefact_at("x", 1) == own


_PLAIN = (
    "SELECT seq FROM artefact_events WHERE artefact = ? AND hash = ? AND status <> 'kept'"
    " ORDER BY run IS ? DESC, seq DESC LIMIT 1"
)
"""Which event a value in a revision came from, as one asks for one artefact."""


@given(
    given=st.lists(
        st.tuples(
            st.sampled_from("xyz"),
            st.integers(0, 2),
            st.sampled_from(["run-1", "run-2", None]),
            st.sampled_from(["succeeded", "kept", "edited"]),
        ),
        max_size=12,
    ),
    booked=st.dictionaries(st.sampled_from("xyz"), st.one_of(st.none(), st.integers(0, 2))),
)
def test_all_values_of_a_revision_are_found_as_each_would_be(
    given: list[tuple[str, int, str | None, Any]], booked: dict[str, int | None]
) -> None:
    """One statement for all of them says of each what a look at the events of that one says."""
    store = open_sqlite(Path(":memory:"))
    with store.write() as writer:
        writer.events.append([made(key, content, run=run, status=status) for key, content, run, status in given])
        artefacts = {key: None if content is None else digest(content) for key, content in booked.items()}
        _book(writer, 1, artefacts=artefacts)
        found = dict(store.connection.execute("SELECT artefact, seq FROM revision_artefacts"))
        for key, value in artefacts.items():
            bindings = (key, None if value is None else bytes.fromhex(value), "run-1")
            assert found.pop(key) == store.connection.execute(_PLAIN, bindings).get
    assert not found
    store.close()


@given(ids=st.sets(st.text(max_size=6), max_size=5))
def test_ids_are_booked_as_they_are(ids: set[str]) -> None:
    """Whatever characters they consist of."""
    store = open_sqlite(Path(":memory:"))
    with store.write() as writer:
        writer.events.append([made(key, 1) for key in ids] + [input_event(key, 1) for key in ids])
        _book(writer, 1, artefacts=dict.fromkeys(ids, digest(1)), inputs=dict.fromkeys(ids, hash_value(1)))
        for key in ids:
            artefact, given = writer.events.artefact_at(key, 1), writer.events.input_at(key, 1)
            assert artefact is not None
            assert given is not None
            assert (artefact.artefact, given.input) == (key, key)
    store.close()


@pytest.mark.parametrize(
    ("statement", "index"),
    [(revisions.ADD_ARTEFACTS, "artefact_events_by_artefact"), (revisions.ADD_INPUTS, "input_events_by_input")],
)
def test_where_a_value_came_from_is_found_among_the_events_of_its_id(
    memory: SqliteMetadata, statement: str, index: str
) -> None:
    """From their end: nothing is sorted, and no events of a whole run are gone through."""
    plan = [str(row[3]) for row in memory.connection.execute(f"EXPLAIN QUERY PLAN {statement}", (None,) * 3)]
    searched = [step for step in plan if step.startswith("SEARCH")]
    assert len(searched) == 2
    assert all(index in step for step in searched), plan
    assert not [step for step in plan if step.startswith("USE TEMP")], plan


def test_watermarks_say_how_far_the_log_was(memory: SqliteMetadata) -> None:
    """Before the first revision there is nothing; a revision that is not booked is an error."""
    with memory.write() as writer:
        writer.events.append([input_event("a", 1), made("x", 1)])
        _book(writer, 1)
        writer.events.append([input_event("a", 2)])
        assert writer.events.watermarks(0) == (0, 0)
        assert writer.events.watermarks(1) == (2, 2)
        with pytest.raises(NotFoundError, match="rev-0002"):
            writer.events.watermarks(2)


def test_a_run_has_one_intent(memory: SqliteMetadata) -> None:
    """The exact bytes come back; a newer intent of the run replaces the older; dropping one twice is no error."""
    first, second = Intent("r", 1, digest(1), b"{}"), Intent("r", 2, digest(2), b"\x00\xff")
    other = Intent("s", 1, digest(3), b"{ }")
    with memory.write() as writer:
        writer.revisions.put_intent(first)
        writer.revisions.put_intent(other)
        writer.revisions.put_intent(second)
        assert writer.revisions.intents() == [other, second]
        writer.revisions.drop_intent("r")
        writer.revisions.drop_intent("r")
        assert writer.revisions.intents() == [other]


def test_views_show_hashes_as_people_know_them(store: SqliteMetadata, path: Path) -> None:
    """Any SQLite tool sees the 64 hex digits, through the views named in the README of the schema."""
    event = made("x.y", 1, signature=digest("s"))
    with store.write() as writer:
        writer.events.append([input_event("a", 1), event])
        writer.blobs.make_live([(digest("b"), 1, 1, "raw")])
        _book(writer, 1)
        writer.runs.create("r", base_revision=None, edits_through=0, created_at="")
        token = writer.runs.acquire("r", HOLDER, 60)
        assert token is not None
        writer.runs.claim(digest("c"), token, "x")
    expected = {
        "input_history": ("hash", hash_value(1)),
        "artefact_history": ("hash", digest(1)),
        "trace_list": ("signature", digest("s")),
        "revision_list": ("hash", digest(("revision", 1))),
        "blob_list": ("hash", digest("b")),
        "claim_list": ("signature", digest("c")),
    }
    browser = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    shown = {
        view: (column, browser.execute(f"SELECT {column} FROM {view}").get) for view, (column, _) in expected.items()
    }
    views = {row[0] for row in browser.execute("SELECT name FROM sqlite_schema WHERE type = 'view'")}
    browser.close()
    assert shown == expected
    assert views == set(expected)


@given(manifests=st.lists(st.sets(st.integers(0, 5)), max_size=8), more=st.lists(st.booleans(), min_size=8, max_size=8))
def test_the_blobs_of_each_revision_can_be_told_from_their_spans(manifests: list[set[int]], more: list[bool]) -> None:
    """However blobs come and go, the spans of revisions that name each say exactly what every manifest named.

    Booking is told of all blobs, or (`more`) of those that came and those that left, and maybe of some that stayed.
    """
    store = open_sqlite(Path(":memory:"))
    with store.write() as writer:
        before: set[int] = set()
        for number, names in enumerate(manifests, 1):
            left = list(map(digest, before - names)) if more[number - 1] else None
            told = names if left is None else names - before | set(list(names)[:1])
            _book(writer, number, blobs=[digest(name) for name in [*told, *told]], left=left)
            before = names
    spans = "SELECT lower(hex(hash)) FROM manifest_blobs WHERE first <= ?1 AND (last IS NULL OR last >= ?1)"
    for number, names in enumerate(manifests, 1):
        assert sorted(row[0] for row in store.connection.execute(spans, (number,))) == sorted(map(digest, names))
    assert store.connection.execute("SELECT count(*) FROM manifest_blobs").get == _runs_of_presence(manifests)
    store.close()


def _runs_of_presence(manifests: list[set[int]]) -> int:
    """How often a blob appears that the manifest before did not name."""
    before: set[int] = set()
    count = 0
    for names in manifests:
        count += len(names - before)
        before = names
    return count
