"""Blobs, runs, leases and claims: what a row promises, and that tokens only grow."""

from __future__ import annotations

from pathlib import Path

import pytest

from renku_store.errors import NotFoundError
from renku_store.metadata.sqlite import SqliteMetadata, open_sqlite
from renku_store.metadata.sqlite.blobs import DELETING
from renku_store.metadata.sqlite.store import Transaction
from renku_store.records.blob import BlobRow
from renku_store.records.run import Holder, LeaseToken
from tests.metadata.samples import HOLDER, NOW, digest

OTHER = Holder("elsewhere", 2, "7", "renku-store run --regen a")
LONG = 1_000.0


def _run(writer: Transaction, *names: str) -> None:
    for name in names:
        writer.runs.create(name, base_revision=None, edits_through=0, created_at=NOW)


def _lease(writer: Transaction, run: str, seconds: float = LONG) -> LeaseToken:
    token = writer.runs.acquire(run, HOLDER, seconds)
    assert token is not None
    return token


# Blobs


def test_a_blob_row_comes_back_with_its_time(memory: SqliteMetadata) -> None:
    """A row is live and touched by the clock of the database when it is made."""
    a, b = digest("a"), digest("b")
    with memory.write() as writer:
        before = writer.now_ms()
        writer.blobs.make_live([(a, 10, 10, "raw"), (b, 100, 40, "zstd")])
        after = writer.now_ms()
        rows = writer.blobs.get([a, b, digest("unknown")])
        assert writer.blobs.get([]) == {}
    assert set(rows) == {a, b}
    assert before <= rows[b].touched_at <= after
    assert rows[b] == BlobRow(b, 100, 40, "zstd", "live", rows[b].touched_at)


def test_only_live_rows_are_touched_and_deleting_ones_are_left_alone(memory: SqliteMetadata) -> None:
    """A condemned row can be revived by whoever has seen the object, one that is being deleted cannot."""
    names = {state: digest(state) for state in ("live", "condemned", "deleting")}
    with memory.write() as writer:
        writer.blobs.make_live([(name, 1, 1, "raw") for name in names.values()])
    for state, name in names.items():
        memory.connection.execute(
            "UPDATE blobs SET state = ?, touched_at = 1 WHERE hash = ?", (state, bytes.fromhex(name))
        )
    with memory.write() as writer:
        writer.blobs.touch(names.values())
        rows = writer.blobs.get(names.values())
        assert {state: rows[name].touched_at > 1 for state, name in names.items()} == {
            "live": True, "condemned": False, "deleting": False,
        }  # fmt: skip
        writer.blobs.make_live([(name, 9, 4, "zstd") for name in names.values()])
        rows = writer.blobs.get(names.values())
        assert {state: (rows[name].state, rows[name].size) for state, name in names.items()} == {
            "live": ("live", 9), "condemned": ("live", 9), "deleting": ("deleting", 1),
        }  # fmt: skip
        writer.blobs.forget(names.values())
        assert set(writer.blobs.get(names.values())) == {names["deleting"]}


def test_rows_unlike_what_is_expected_are_those_that_a_look_at_each_finds(memory: SqliteMetadata) -> None:
    """Another state, another way to be stored, or none at all; the rows themselves are as they are got."""
    names = [
        digest(f"{encoding} {state}") for encoding in ("raw", "zstd") for state in ("live", "condemned", "deleting")
    ]
    with memory.write() as writer:
        writer.blobs.make_live(
            (name, 100, 100 if place < 3 else 50, "raw" if place < 3 else "zstd") for place, name in enumerate(names)
        )
        writer.blobs.condemn([name for place, name in enumerate(names) if place % 3], 2**62)
        writer.blobs.begin_deleting([names[2], names[5]])
        asked = [*names, digest("unknown")]
        rows = writer.blobs.get(asked)
        for expected in ("raw", "zstd"):
            alike = {name for name, row in rows.items() if (row.state, row.encoding) == ("live", expected)}
            assert len(alike) == 1
            assert writer.blobs.unlike(asked, expected) == {name: rows.get(name) for name in asked if name not in alike}


def test_what_is_being_deleted_is_found_without_a_look_at_what_lives(memory: SqliteMetadata) -> None:
    """In the order of the hashes, a page at a time, by the index of what is not live."""
    doomed = sorted(digest(f"doomed {number}") for number in range(5))
    with memory.write() as writer:
        writer.blobs.make_live([(digest(f"live {number}"), 1, 1, "raw") for number in range(20)])
        assert writer.blobs.deleting("", 3) == {}
        writer.blobs.begin_deleting_strays(doomed)
        assert list(writer.blobs.deleting("", 3)) == doomed[:3]
        assert writer.blobs.deleting(doomed[2], 3) == dict.fromkeys(doomed[3:], 0)
    plan = [row[3] for row in memory.connection.execute(f"EXPLAIN QUERY PLAN {DELETING}", (b"", 3))]
    assert plan == ["SEARCH blobs USING INDEX blobs_not_live (state=? AND hash>?)"]


# Runs


def test_a_run_is_changed_only_where_something_is_given(memory: SqliteMetadata) -> None:
    """What is not named stays as it was."""
    with memory.write() as writer:
        writer.runs.create("r", base_revision="rev-0001", edits_through=3, created_at=NOW)
        writer.runs.update("r", status="running", edits_through=5)
        record = writer.runs.get("r")
        assert record is not None
        assert (record.status, record.base_revision, record.edits_through) == ("running", "rev-0001", 5)
        writer.runs.update("r", status="published", revision="rev-0002", ended_at=NOW)
        record = writer.runs.get("r")
        assert record is not None
        assert (record.status, record.revision, record.ended_at, record.edits_through) == (
            "published",
            "rev-0002",
            NOW,
            5,
        )
        with pytest.raises(NotFoundError, match="no run s"):
            writer.runs.update("s", status="failed")
        assert writer.runs.get("s") is None


def test_unfinished_runs_are_those_that_may_still_publish(memory: SqliteMetadata) -> None:
    """A failed run counts: it can be resumed."""
    with memory.write() as writer:
        _run(writer, "planned", "running", "failed", "published", "abandoned")
        for status in ("running", "failed", "published", "abandoned"):
            writer.runs.update(status, status=status)
        assert {record.run for record in writer.runs.list()} == {
            "planned",
            "running",
            "failed",
            "published",
            "abandoned",
        }
        assert {record.run for record in writer.runs.list(unfinished=True)} == {"planned", "running", "failed"}


# Leases


def test_a_lease_has_one_holder_until_it_expires(memory: SqliteMetadata) -> None:
    """Nobody takes an unexpired lease without saying so; an expired one is anybody's."""
    with memory.write() as writer:
        _run(writer, "r")
        assert writer.runs.holder("r") is None
        first = _lease(writer, "r")
        record = writer.runs.get("r")
        assert record is not None
        assert (record.alive, record.holder) == (True, "renku-store run (process 1 on host)")
        assert writer.runs.acquire("r", OTHER, LONG) is None
        assert writer.runs.holder("r") == HOLDER
        assert writer.runs.renew(first, 0.0)
        assert writer.runs.holds(first)
        second = writer.runs.acquire("r", OTHER, LONG)
        assert second is not None
        assert writer.runs.holder("r") == OTHER
        assert not writer.runs.holds(first)
        assert not writer.runs.renew(first, LONG)
        writer.runs.release(first)
        assert writer.runs.holds(second)


def test_a_lease_that_is_overdue_can_be_renewed_while_nobody_took_it(memory: SqliteMetadata) -> None:
    """A holder that slept too long goes on if it still can."""
    with memory.write() as writer:
        _run(writer, "r")
        token = _lease(writer, "r", 0.0)
        record = writer.runs.get("r")
        assert record is not None
        assert not record.alive
        assert writer.runs.renew(token, LONG)
        record = writer.runs.get("r")
        assert record is not None
        assert record.alive


def test_tokens_only_grow(path: Path) -> None:
    """Over releases, thefts, reopening and a database made anew, every token is greater than all before it."""
    tokens = []
    for _ in range(2):
        for _ in range(2):
            store = open_sqlite(path)
            with store.write() as writer:
                for run in ("a", "b"):
                    token = writer.runs.acquire(run, HOLDER, LONG, steal=True)
                    assert token is not None
                    tokens.append((token.epoch, token.counter))
                    writer.runs.release(token)
            store.close()
        path.unlink()
    assert tokens == sorted(set(tokens))


def test_a_token_that_was_rolled_back_was_never_given(memory: SqliteMetadata) -> None:
    """What a failed transaction handed out proves nothing."""
    given: list[LeaseToken] = []

    def fail() -> None:
        with memory.write() as writer:
            _run(writer, "r")
            given.append(_lease(writer, "r"))
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    with memory.read() as reader:
        assert not reader.runs.holds(given[0])


# Claims


def test_a_signature_has_one_holder(memory: SqliteMetadata) -> None:
    """A second run, another job, and the same job from another task or process: each is told who has it."""
    signature = digest("s")
    with memory.write() as writer:
        _run(writer, "a", "b")
        a, b = _lease(writer, "a"), _lease(writer, "b")
        assert writer.runs.claim(signature, a, "n[0]") is None
        assert writer.runs.claim(signature, a, "n[0]") == "a"
        assert writer.runs.claim(signature, a, "n[1]") == "a"
        assert writer.runs.claim(signature, b, "n[0]") == "a"
        assert (writer.runs.holds_claim(signature, a), writer.runs.holds_claim(signature, b)) == (True, False)
        writer.runs.unclaim(signature, b)
        assert writer.runs.holds_claim(signature, a)
        writer.runs.unclaim(signature, a)
        assert writer.runs.claim(signature, b, "n[0]") is None


def test_a_claim_is_that_of_one_job_of_its_run(memory: SqliteMetadata) -> None:
    """Another job of the run, whose claim it is not, does not hold it and does not give it up."""
    signature = digest("s")
    with memory.write() as writer:
        _run(writer, "a")
        a = _lease(writer, "a")
        assert writer.runs.claim(signature, a, "n[0]") is None
        assert [writer.runs.holds_claim(signature, a, job) for job in ("n[0]", "n[1]")] == [True, False]
        assert [writer.runs.claims_held({signature: job}, a) for job in ("n[0]", "n[1]")] == [{signature}, set()]
        writer.runs.unclaim(signature, a, "n[1]")
        writer.runs.unclaim_all({signature: "n[1]"}, a)
        assert writer.runs.holds_claim(signature, a)
        writer.runs.unclaim_all({signature: "n[0]"}, a)
        assert not writer.runs.holds_claim(signature, a)


def test_a_claim_ends_with_the_lease_that_it_was_made_under(memory: SqliteMetadata) -> None:
    """An expired or lost lease holds nothing, nor does an old token of a run that was taken over."""
    signatures = [digest(number) for number in range(3)]
    with memory.write() as writer:
        _run(writer, "a", "b")
        old, b = _lease(writer, "a"), _lease(writer, "b")
        for signature in signatures:
            assert writer.runs.claim(signature, old, "n") is None
        assert writer.runs.renew(old, 0.0)
        assert writer.runs.claim(signatures[0], b, "n") is None
        assert not writer.runs.holds_claim(signatures[0], old)
        new = writer.runs.acquire("a", OTHER, LONG)
        assert new is not None
        assert not writer.runs.holds_claim(signatures[1], old)
        assert writer.runs.claim(signatures[1], b, "n") is None
        assert writer.runs.claim(signatures[2], new, "n") is None
        writer.runs.release(new)
        assert writer.runs.claim(signatures[2], b, "n") is None


def test_a_claim_can_be_stolen_by_whoever_knows_better(memory: SqliteMetadata) -> None:
    """With `steal` the holder is not asked."""
    signature = digest("s")
    with memory.write() as writer:
        _run(writer, "a", "b")
        a, b = _lease(writer, "a"), _lease(writer, "b")
        assert writer.runs.claim(signature, a, "n") is None
        assert writer.runs.claim(signature, b, "n", steal=True) is None
        assert (writer.runs.holds_claim(signature, a), writer.runs.holds_claim(signature, b)) == (False, True)
