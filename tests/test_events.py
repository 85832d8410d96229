"""The event log: values wherever they are kept, streams that miss nothing, and results that can be used again."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renku_store import bounds
from renku_store.clock import IdSource, SteadyClock, timestamp, unix_milliseconds, uuid7
from renku_store.errors import InvalidIdError, InvalidValueError, NotFoundError
from renku_store.events import EventLog
from renku_store.hashing import canonical_json, hash_bytes, hash_value
from renku_store.metadata.base import Writer
from renku_store.metadata.sqlite import SqliteMetadata, open_sqlite
from renku_store.records.blob import BlobRef
from renku_store.records.events import Event
from renku_store.records.ids import check_run_id
from tests.metadata.samples import digest, failed, input_event, made, new_id, revision, run_event, value


class Bench:
    """A log over a database in memory, and blobs in a dictionary."""

    def __init__(self) -> None:
        self.metadata: SqliteMetadata = open_sqlite(Path(":memory:"))
        self.blobs: dict[str, bytes] = {}
        self.revived: list[str] = []
        self.moment = datetime(2026, 3, 4, 5, 6, 7, 890_000, UTC)
        self.log = EventLog(
            self.metadata,
            self.put,
            self.blobs.__getitem__,
            self.revive,
            self,
            os.urandom,
            read_archive=self.read_archive,
        )

    def read_archive(self, run: str, archive: str, wanted: object) -> Iterator[Event]:
        raise AssertionError(f"nothing is compacted here, and the archive {archive} of {run} is not there: {wanted}")

    def put(self, data: bytes) -> BlobRef:
        with self.metadata.read() as reader:
            assert reader.events.last_seq() == (0, 0), "a blob comes before the event that names it"
        self.blobs[hash_bytes(data)] = data
        return BlobRef(hash_bytes(data), len(data))

    def revive(self, writer: Writer, hashes: Iterable[str]) -> None:
        self.revived += hashes

    def now(self) -> datetime:
        return self.moment

    def monotonic(self) -> float:
        return self.moment.timestamp()

    def book(self, number: int, **given: Any) -> None:
        arguments = {"blobs": [], "inputs": {}, "artefacts": {}, "taken": [], **given}
        with self.metadata.write() as writer:
            writer.revisions.book(revision(number), **arguments)


@pytest.fixture
def bench() -> Iterator[Bench]:
    made_for_test = Bench()
    yield made_for_test
    made_for_test.metadata.close()


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "EVENT_PAGE_ROWS", 3)


# Ids


class Ticking:
    """A clock that says what it is told."""

    def __init__(self, milliseconds: list[int]) -> None:
        self._moments = iter(milliseconds)

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(milliseconds=next(self._moments))

    def monotonic(self) -> float:
        return 0.0


@given(milliseconds=st.lists(st.integers(0, 3), min_size=2, max_size=50), seed=st.binary(min_size=1, max_size=1))
def test_ids_grow_whatever_the_clock_does(milliseconds: list[int], seed: bytes) -> None:
    """Within a millisecond, and where the clock goes back, each id is greater than the one before, and well formed."""
    ids = IdSource(Ticking(milliseconds).now, lambda count: seed * count)
    given_out = [ids.next() for _ in milliseconds]
    assert given_out == sorted(set(given_out))
    assert [check_run_id(name) for name in given_out] == given_out


def test_ids_go_on_where_the_counter_of_a_millisecond_is_used_up() -> None:
    """With the greatest steps that can be drawn, ids keep growing into the following milliseconds."""
    ids = IdSource(Ticking([0] * 10).now, lambda count: b"\xff" * count)
    vars(ids).update(_counter=(1 << 74) - (1 << 34), _milliseconds=10**14)
    given_out = [ids.next() for _ in range(10)]
    assert given_out == sorted(set(given_out))


@given(
    milliseconds=st.lists(st.integers(0, 50), min_size=1, max_size=20),
    told=st.lists(st.integers(0, 60), min_size=20, max_size=20),
    random=st.binary(min_size=10, max_size=10),
)
def test_ids_and_times_never_go_back_behind_what_the_log_has(
    milliseconds: list[int], told: list[int], random: bytes
) -> None:
    """Whatever the clock says, and whoever appended meanwhile with a clock that is ahead."""
    begin = unix_milliseconds(datetime(2026, 1, 1, tzinfo=UTC))
    log: list[str] = []
    clock = SteadyClock(Ticking([each for each in milliseconds for _ in "it"]), lambda: max(log, default=""))
    ids = IdSource(clock.now, os.urandom)
    before = ""
    for _, ahead in zip(milliseconds, told, strict=False):
        now = timestamp(clock.now())
        made = ids.next()
        assert now >= before
        before = now
        assert all(made[:13] >= other[:13] for other in log), "the milliseconds"
        log += [made, uuid7(begin + ahead, random)]


def test_a_clock_that_went_back_goes_on_by_a_millisecond() -> None:
    """So that what came later is later, and the time of the machine is the time again when it has caught up."""
    floor = uuid7(unix_milliseconds(datetime(2026, 1, 1, tzinfo=UTC)) + 5, b"\xff" * 10)
    clock = SteadyClock(Ticking([0, 1, 2, 9]), lambda: floor)
    ids = IdSource(clock.now, os.urandom)
    given_out = [ids.next() for _ in range(3)]
    assert [floor, *given_out] == sorted([floor, *given_out])
    assert timestamp(clock.now()) == "2026-01-01T00:00:00.009Z"


@pytest.mark.parametrize("told", ["", "result7", "ffffffff-ffff-7fff-bfff-ffffffffffff", uuid7(2**48 - 1, bytes(10))])
def test_what_says_no_time_or_none_that_can_be_is_not_counted_on_from(told: str) -> None:
    """An id may come from anywhere."""
    assert timestamp(SteadyClock(Ticking([3]), lambda: told).now()) == "2026-01-01T00:00:00.003Z"


def test_an_id_from_far_ahead_is_gone_on_from(bench: Bench) -> None:
    """It was appended by a machine whose clock was set wrong: ids and times stay in order, and can be told."""
    ahead = uuid7(unix_milliseconds(datetime(8999, 12, 31, tzinfo=UTC)), os.urandom(10))
    bench.log.append_many([made("n.audio", 1).replace(id=ahead)])
    events = [bench.log.append_input("topic", number) for number in range(3)]
    told = [(ahead, "8999-12-31T00:00:00.000Z"), *((event.id, event.created_at) for event in events)]
    assert told == sorted(told)
    assert [event.created_at[:19] for event in events] == ["8999-12-31T00:00:00"] * 3


def test_an_id_says_when_it_was_made(bench: Bench) -> None:
    """Its first 48 bits are the Unix milliseconds."""
    name = bench.log.new_id()
    assert int(name.replace("-", "")[:12], 16) == int(bench.moment.timestamp() * 1000)


# Appending


@pytest.mark.parametrize("length", [0, 2_046, 2_047, 10_000_000])
def test_a_value_is_inline_up_to_a_bound_and_a_blob_beyond_it(bench: Bench, length: int) -> None:
    """2,048 bytes of canonical JSON, quotes included, are inline; more is a blob of that JSON, put before the event."""
    text = "x" * length
    event = bench.log.append_input("script", text, edited_by="ada")
    assert event.hash == hash_value(text)
    assert (event.blob is None) == (length + 2 <= 2_048)
    assert bench.blobs == ({event.blob: canonical_json(text)} if event.blob else {})
    latest = bench.log.latest_input("script")
    assert latest == event
    assert bench.log.read_value(event) == text
    assert (event.seq, event.edited_by, event.created_at) == (1, "ada", "2026-03-04T05:06:07.890Z")


def test_a_large_number_is_the_same_number_when_it_is_read(bench: Bench) -> None:
    """Canonical JSON writes 1e17 without a fraction; reading gives a value with the same hash."""
    event = bench.log.append_input("n", [1e17, 2**53 - 1, -(2.0**60)])
    latest = bench.log.latest_input("n")
    assert latest is not None
    assert hash_value(bench.log.read_value(latest)) == event.hash


def test_several_inputs_are_appended_all_or_none(bench: Bench) -> None:
    """One value or id that is refused refuses all of them."""
    with pytest.raises(InvalidValueError):
        bench.log.append_inputs({"a": 1, "b": float("nan")})
    with pytest.raises(InvalidIdError):
        bench.log.append_inputs({"a": 1, "b/../c": 2})
    assert bench.log.pending() == []
    events = bench.log.append_inputs({"a": 1, "b": None}, run="run-1")
    assert [(event.input, event.value, event.run, event.seq) for event in events] == [
        ("a", 1, "run-1", 1),
        ("b", None, "run-1", 2),
    ]
    assert bench.log.append_inputs({}) == []


def test_events_of_every_kind_are_appended_together(bench: Bench) -> None:
    """What comes back is what went in, numbered, in order."""
    events: list[Event] = [made("x.y", 1), input_event("a", 2), run_event("run-1")]
    assert bench.log.append_many(iter(events)) == [event.replace(seq=number) for number, event in enumerate(events, 1)]
    artefact = bench.log.append_artefact(made("x.z", 3))
    assert bench.log.latest_artefact("x.z") == artefact
    assert bench.log.append_many([]) == []


def test_given_input_events_are_checked(bench: Bench) -> None:
    """A hash that is not the value's is refused; a value too large to be inline is moved to a blob."""
    wrong = input_event("a", 1).replace(hash=digest("else"))
    with pytest.raises(InvalidValueError, match="another hash"):
        bench.log.append_many([wrong])
    with pytest.raises(InvalidValueError, match="another hash"):
        bench.log.append_many([input_event("a", 1).replace(value=None, blob=digest("else"))])
    with pytest.raises(InvalidIdError):
        bench.log.append_many([input_event("a/b", 1)])
    with pytest.raises(InvalidIdError):
        bench.log.append_many([made("a/b", 1)])
    large = input_event("a", "x" * 5_000)
    (event,) = bench.log.append_many([large])
    assert (event.id, event.type) == (large.id, "input")
    assert bench.blobs[large.hash] == canonical_json("x" * 5_000)


# By revision


def test_values_can_be_asked_for_by_revision(bench: Bench) -> None:
    """A revision answers with what it published, and one that is not there is an error, not the newest value."""
    first = bench.log.append_input("a", 1)
    out = bench.log.append_artefact(made("x", 1))
    bench.book(1, inputs={"a": first.hash}, artefacts={"x": digest(1)}, taken=[first.id])
    second = bench.log.append_input("a", 2)
    bench.log.append_artefact(made("x", 2))
    assert bench.log.latest_input("a", "rev-0001") == first
    assert bench.log.latest_artefact("x", "rev-0001") == out
    assert bench.log.latest_input("a") == second
    assert bench.log.latest_input("b") is None
    assert bench.log.pending() == [second]
    for ask in (bench.log.latest_input, bench.log.latest_artefact):
        with pytest.raises(NotFoundError, match="rev-0002"):
            ask("a", "rev-0002")


# Streams


@pytest.mark.usefixtures("small_pages")
@pytest.mark.parametrize("count", [0, 1, 3, 7])
def test_streams_give_every_event_once_in_order(bench: Bench, count: int) -> None:
    """Over the borders of pages nothing is lost or doubled."""
    given: list[Event] = []
    for n in range(count):
        given += [input_event("a", n), made("x", n), run_event("run-1")]
    log = bench.log.append_many(given)
    assert list(bench.log.stream()) == log
    assert list(bench.log.stream_inputs()) == log[0::3]
    assert list(bench.log.stream_artefacts()) == log[1::3]


@pytest.mark.usefixtures("small_pages")
def test_a_stream_since_a_revision_begins_behind_it(bench: Bench) -> None:
    """Only what was appended after the revision was published; an unknown one is an error."""
    bench.log.append_many([input_event("a", 1), made("x", 1)])
    bench.book(1)
    later = bench.log.append_many([event for n in range(4) for event in (input_event("a", n), made("x", n))])
    assert list(bench.log.stream_inputs("rev-0001")) == later[0::2]
    assert list(bench.log.stream_artefacts("rev-0001")) == later[1::2]
    with pytest.raises(NotFoundError):
        next(bench.log.stream_inputs("rev-0002"))


@pytest.mark.usefixtures("small_pages")
def test_a_stream_can_be_about_one_thing(bench: Bench) -> None:
    """An input, an artefact, a job or a run; private events of a run belong to it."""
    run = new_id()
    log = bench.log.append_many(
        [
            made("n[0].audio", 1, run=run), input_event("topic", 1), made("n[0].text", 2, run="other"),
            run_event(run), input_event("topic", 2, run=run), failed("n[1].audio", digest(1), run=run),
        ]
    )  # fmt: skip
    assert list(bench.log.stream(about="n[0]")) == [log[0], log[2]]
    assert list(bench.log.stream(about="n[0].text")) == [log[2]]
    assert list(bench.log.stream(about="topic")) == [log[1], log[4]]
    assert list(bench.log.stream(run=run)) == list(bench.log.stream(about=run)) == [log[0], log[3], log[4], log[5]]
    with pytest.raises(ValueError, match="not both"):
        next(bench.log.stream(run=run, about="topic"))
    assert list(bench.log.stream(about="n")) == []


@pytest.mark.usefixtures("small_pages")
@given(batches=st.lists(st.lists(st.sampled_from("ira"), max_size=7), max_size=6))
def test_following_the_log_misses_nothing(batches: list[list[str]]) -> None:
    """Asking again and again with the number of the last event gives the whole log, each event once."""
    bench = Bench()
    makers: dict[str, Callable[[], Event]] = {
        "i": lambda: input_event("a", 1),
        "r": lambda: run_event("run-1"),
        "a": lambda: made("x", 1),
    }
    followed: list[Event] = []
    for batch in batches:
        bench.log.append_many([makers[kind]() for kind in batch])
        followed += bench.log.stream(after=followed[-1].seq or 0 if followed else 0)
    assert followed == list(bench.log.stream())
    assert [event.seq for event in followed] == list(range(1, len(followed) + 1))
    bench.metadata.close()


@pytest.mark.usefixtures("small_pages")
def test_a_slow_reader_holds_nothing(bench: Bench) -> None:
    """Between two events of a stream others can write, and what they wrote is still to come."""
    bench.log.append_many([input_event("a", n) for n in range(5)])
    stream = bench.log.stream()
    seen = list(itertools.islice(stream, 2))
    bench.log.append_input("a", "late")
    seen += stream
    assert [event.seq for event in seen] == [1, 2, 3, 4, 5, 6]


# Results


def _state(bench: Bench, name: str, state: str) -> None:
    with bench.metadata.write() as writer:
        writer.blobs.make_live([(name, 1, 1, "raw")])
    bench.metadata.connection.execute("UPDATE blobs SET state = ? WHERE hash = ?", (state, bytes.fromhex(name)))


def test_a_result_is_usable_only_if_all_its_blobs_are_live(bench: Bench) -> None:
    """A missing, condemned or deleting row promises nothing; inline outputs need none."""
    signature, call = digest("s"), new_id()
    assert bench.log.find_trace(signature) is None
    bench.log.append_many(
        [
            made("n.audio", 1, signature=signature, result=call, value=value(1, blob=True)),
            made("n.text", 2, signature=signature, result=call, value=value(2)),
        ]
    )
    assert bench.log.find_trace(signature) is None
    for state, usable in (("live", True), ("condemned", False), ("deleting", False)):
        _state(bench, digest(1), state)
        trace = bench.log.find_trace(signature)
        assert (trace is not None and set(trace.outputs) == {"audio", "text"}) == usable


def test_the_newest_usable_result_is_found(bench: Bench) -> None:
    """A newer take whose bytes are gone gives way to the one before."""
    signature = digest("s")
    takes = [made("n.audio", number, signature=signature, value=value(number, blob=True)) for number in range(3)]
    bench.log.append_many(takes)
    for number in range(3):
        _state(bench, digest(number), "live")
    found = bench.log.find_trace(signature)
    assert found is not None
    assert found.result == takes[2].result
    with bench.metadata.write() as writer:
        writer.blobs.forget([digest(2)])
    found = bench.log.find_trace(signature)
    assert found is not None
    assert found.result == takes[1].result


def test_failures_are_known_by_signature(bench: Bench) -> None:
    """Those whose newest attempt failed, and no others."""
    bench.log.append_many([failed("x", digest(1)), made("y", 1, signature=digest(2))])
    assert bench.log.failed([digest(1), digest(2), digest(3)]) == {digest(1)}


def test_pending_edits_come_in_the_order_in_which_they_were_made(bench: Bench) -> None:
    """Edits of inputs and of artefacts are one row."""
    edits = bench.log.append_many(
        [made("x", 1, run=None, status="edited"), input_event("a", 1), made("y", 1, run=None, status="edited")]
    )
    bench.log.append_many([made("x", 2), input_event("b", 1, run="run-1")])
    assert bench.log.pending() == edits
