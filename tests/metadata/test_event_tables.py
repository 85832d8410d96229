"""Events: what is appended comes back, look-ups agree with a fold over the log, and nothing is ever changed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st

from renku_store.metadata.sqlite import SqliteMetadata, blobs, events, open_sqlite, revisions, runs
from renku_store.records.events import ArtefactEvent, Event, InputEvent
from tests.metadata.samples import NOW, digest, failed, input_event, made, new_id, revision, run_event, value

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(content=json_values)
def test_an_input_comes_back_as_it_was_appended(content: Any) -> None:
    """Every JSON value survives, null among them, as a value and not as the absence of one."""
    with open_context() as memory, memory.write() as writer:
        event = input_event("topic", content)
        appended = writer.events.append([event])
        assert appended == [event.replace(seq=1)]
        assert writer.events.latest_input("topic") == appended[0]


@pytest.mark.parametrize(
    "event",
    [
        made("narration[2].audio", "words"),
        made("narration[2].audio", b"sound", value=value("sound", blob=True), request_id="r-1"),
        failed("narration[2].audio", digest(1)),
        made("cover", "mine", run=None, status="edited", signature=None, result=None, edited_by="ada", cost=None),
        run_event("run-1", "planned", base="rev-0001", jobs=3),
        InputEvent(id=new_id(), input="script", hash=digest(2), blob=digest(2), edited_by="ada", created_at=NOW),
    ],
    ids=["inline", "blob", "failed", "edited", "run", "large input"],
)
def test_each_kind_of_event_comes_back_whole(memory: SqliteMetadata, event: Any) -> None:
    """No field of an event is lost in its row."""
    with memory.write() as writer:
        appended = writer.events.append([event])
        pages = [
            *writer.events.inputs_after(0, 9),
            *writer.events.artefacts_after(0, 9),
            *writer.events.runs_after(0, 9),
        ]
    assert pages == appended == [event.replace(seq=1)]


def test_events_of_all_kinds_are_numbered_in_one_row(memory: SqliteMetadata) -> None:
    """The number of an event is its place in the order in which all events became durable."""
    with memory.write() as writer:
        first = writer.events.append([run_event("r"), input_event("a", 1), made("x.y", 1)])
        second = writer.events.append([input_event("b", 2), run_event("r")])
    assert [event.seq for event in [*first, *second]] == [1, 2, 3, 4, 5]


def test_an_event_seen_twice_is_left_alone(memory: SqliteMetadata) -> None:
    """Appending a known id again changes nothing, counts no cost twice, and gives the number that it has."""
    old, new = made("x.y", "old", cost=1.0), made("x.y", "new")
    with memory.write() as writer:
        first = writer.events.append([old, new])
        again = writer.events.append([old, made("x.z", "other"), old])
        assert [event.seq for event in again] == [first[0].seq, again[1].seq, first[0].seq]
        assert writer.events.latest_artefact("x.y") == first[1]
        assert len(writer.events.artefacts_after(0, 10)) == 3
        assert [trace.cost for trace in writer.events.traces(str(old.signature))] == [1.0]


def test_an_id_given_twice_at_once_is_one_event(memory: SqliteMetadata) -> None:
    """Two events of one id in one batch are the first of them."""
    name = new_id()
    with memory.write() as writer:
        writer.events.append([input_event("a", 1, event_id=name), input_event("a", 1, event_id=name)])
        assert [event.id for event in writer.events.pending_inputs()] == [name]
        assert [event.id for event in writer.events.inputs_after(0, 10)] == [name]


def test_an_id_that_is_there_gives_what_is_stored(memory: SqliteMetadata) -> None:
    """Whoever appends something else under a known id gets the event that stands, of each kind, and beside new ones."""
    name, other = new_id(), new_id()
    with memory.write() as writer:
        first: list[Event] = [
            input_event("a", 1, event_id=name),
            made("x.y", "old", id=name),
            run_event("r").replace(id=name),
        ]
        stored = writer.events.append(first)
        given: list[Event] = [
            input_event("a", 2, event_id=name),
            made("x.y", "new", id=name),
            run_event("r", "failed").replace(id=name),
            made("x.z", "first", id=other),
            made("x.z", "second", id=other),
        ]
        again = writer.events.append(given)
        assert again[:3] == stored
        assert again[3] == again[4] == given[3].replace(seq=again[3].seq)
        assert [*writer.events.artefacts_after(0, 9)] == [stored[1], again[3]]


def test_a_failure_gives_no_value(memory: SqliteMetadata) -> None:
    """After a success and a failure the latest value is that of the success."""
    good = made("x.y", "good")
    with memory.write() as writer:
        writer.events.append([good, failed("x.y", digest(1))])
        latest = writer.events.latest_artefact("x.y")
    assert latest is not None
    assert latest.id == good.id


def test_a_signature_has_failed_if_its_newest_attempt_has(memory: SqliteMetadata) -> None:
    """A success clears an earlier failure, and a failure hides an earlier success, in one batch or in several."""
    a, b, c = digest("a"), digest("b"), digest("c")
    with memory.write() as writer:
        writer.events.append([failed("x.y", a), failed("x.z", b), made("x.w", 1, signature=c)])
        writer.events.append([made("x.y", 1, signature=a), failed("x.w", c)])
        assert writer.events.failed([a, b, c, digest("unknown")]) == {b, c}
        writer.events.append([failed("x.y", a), made("x.y", 2, signature=a)])
        assert writer.events.failed([a]) == set()
        assert writer.events.failed([]) == set()


def test_the_outputs_of_one_call_are_one_trace(memory: SqliteMetadata) -> None:
    """Outputs that share a result make one trace, appended together or apart; other calls are further takes."""
    signature, call = digest("s"), new_id()
    audio = made("n.audio", 1, signature=signature, result=call, value=value(1, blob=True), cost=0.5)
    text = made("n.text", 2, signature=signature, result=call, value=value(2), cost=None, request_id="r")
    take = made("n.audio", 3, signature=signature, created_at="2026-03-04T05:06:08.000Z")
    with memory.write() as writer:
        writer.events.append([audio, take])
        writer.events.append([text])
        first, second = writer.events.traces(signature)
        assert writer.events.traces(digest("other")) == []
    assert first.outputs == {"audio": audio.value, "text": text.value}
    assert (first.result, first.cost, first.request_id, first.job) == (call, 0.5, "r", "n")
    assert (second.result, second.outputs) == (take.result, {"audio": take.value})


def test_a_reused_result_is_no_new_trace(memory: SqliteMetadata) -> None:
    """Only a call that was made counts as a take."""
    signature = digest("s")
    with memory.write() as writer:
        writer.events.append(
            [made("n.audio", 1, signature=signature), made("n.audio", 1, signature=signature, status="reused")]
        )
        assert len(writer.events.traces(signature)) == 1


def test_pages_can_be_of_one_run_or_about_one_id(memory: SqliteMetadata) -> None:
    """A page holds what was asked for, in order, from beyond a number, at most so many."""
    with memory.write() as writer:
        log = writer.events.append(
            [
                made("n[0].audio", 1, run="a"), input_event("topic", 1), made("n[1].audio", 2, run="b"),
                input_event("topic", 2, run="a"), input_event("voice", 3), made("n[0].text", 3, run="b"),
                run_event("a"),
            ]
        )  # fmt: skip
        reads = writer.events
        assert reads.artefacts_after(0, 9, run="b") == [log[2], log[5]]
        assert reads.artefacts_after(0, 9, about="n[0]") == [log[0], log[5]]
        assert reads.artefacts_after(1, 9, about="n[0].text") == [log[5]]
        assert reads.artefacts_after(0, 1, about="n[0]") == [log[0]]
        assert reads.inputs_after(0, 9, about="topic") == [log[1], log[3]]
        assert reads.inputs_after(0, 9, run="a") == [log[3]]
        assert reads.inputs_after(2, 1) == [log[3]]
        assert reads.runs_after(0, 9, run="a") == [log[6]]
        assert reads.last_seq() == (5, 6)


# The law: look-ups are a fold over the log

_steps = st.lists(
    st.one_of(
        st.tuples(st.just("edit"), st.sampled_from("abc"), st.integers(0, 3)),
        st.tuples(st.just("private"), st.sampled_from("abc"), st.integers(0, 3)),
        st.tuples(st.just("make"), st.sampled_from("xyz"), st.integers(0, 3)),
        st.tuples(st.just("fail"), st.sampled_from("xyz"), st.just(0)),
        st.tuples(st.just("publish"), st.just(""), st.integers(0, 2)),
    ),
    max_size=40,
)


class Folded:
    """What the look-ups must say, kept in dictionaries."""

    def __init__(self) -> None:
        self.latest: dict[str, InputEvent] = {}
        self.made: dict[str, ArtefactEvent] = {}
        self.pending: list[InputEvent] = []
        self.private: list[InputEvent] = []
        self.run_made: dict[str, ArtefactEvent] = {}
        self.revisions: list[tuple[dict[str, str], dict[str, str]]] = [({}, {})]
        self.run = 1


@given(steps=_steps)
def test_look_ups_agree_with_a_fold_over_the_log(steps: list[tuple[str, str, int]]) -> None:
    """Whatever is appended and published, latest values, values by revision and pending edits are those of a fold."""
    model = Folded()
    with open_context() as memory:
        for step in steps:
            with memory.write() as writer:
                _take_step(model, writer, *step)
        with memory.read() as reader:
            assert reader.events.latest_inputs() == model.latest
            assert {key: reader.events.latest_artefact(key) for key in "xyz"} == {
                key: model.made.get(key) for key in "xyz"
            }
            assert reader.events.pending_inputs() == model.pending
            for number, (inputs, artefacts) in enumerate(model.revisions):
                found = {key: reader.events.input_at(key, number) for key in "abc"}
                assert {key: event.hash for key, event in found.items() if event} == inputs
                outputs = {key: reader.events.artefact_at(key, number) for key in "xyz"}
                assert {key: event.value.hash for key, event in outputs.items() if event and event.value} == artefacts


def _take_step(model: Folded, writer: Any, kind: str, name: str, number: int) -> None:
    run = f"run-{model.run}"
    if kind == "edit":
        (event,) = writer.events.append([input_event(name, number)])
        model.latest[name] = event
        model.pending.append(event)
    elif kind == "private":
        model.private += writer.events.append([input_event(name, number, run=run)])
    elif kind == "make":
        (event,) = writer.events.append([made(name, number, run=run)])
        model.made[name] = model.run_made[name] = event
    elif kind == "fail":
        writer.events.append([failed(name, digest("f"), run=run)])
    else:
        _publish(model, writer, run, leave=number)


def _publish(model: Folded, writer: Any, run: str, leave: int) -> None:
    """Publish the run with all pending edits but the last `leave`."""
    taken = model.pending[: max(0, len(model.pending) - leave)]
    inputs, artefacts = (dict(part) for part in model.revisions[-1])
    changed = {event.input: event.hash for event in [*taken, *model.private]}
    outputs = {key: event.value.hash for key, event in model.run_made.items() if event.value}
    writer.revisions.book(
        revision(len(model.revisions), run=run),
        blobs=[],
        inputs=changed,
        artefacts=outputs,
        taken=[e.id for e in taken],
    )
    model.revisions.append(({**inputs, **changed}, {**artefacts, **outputs}))
    model.pending = model.pending[len(taken) :]
    for event in model.private:
        if event.input not in model.latest or (model.latest[event.input].seq or 0) < (event.seq or 0):
            model.latest[event.input] = event
    model.private, model.run_made, model.run = [], {}, model.run + 1


# Never changed


@pytest.mark.parametrize("table", ["input_events", "artefact_events", "run_events"])
@pytest.mark.parametrize(
    "statement",
    ["UPDATE {} SET created_at = ''", "DELETE FROM {}", "INSERT OR REPLACE INTO {} SELECT * FROM {}"],
    ids=["update", "delete", "replace"],
)
def test_event_rows_can_be_neither_changed_nor_removed(store: SqliteMetadata, table: str, statement: str) -> None:
    """The database itself refuses it, whoever asks (invariant 4)."""
    with store.write() as writer:
        writer.events.append([input_event("a", 1), made("x.y", 1), run_event("r")])
    with pytest.raises(apsw.ConstraintError, match="append-only"):
        store.connection.execute(statement.format(table, table))
    with store.read() as reader:
        assert len(reader.events.artefacts_after(0, 9)) == 1


def test_another_connection_cannot_change_events_either(store: SqliteMetadata, path: Path) -> None:
    """The rule is part of the file: a database browser meets it as well."""
    with store.write() as writer:
        writer.events.append([input_event("a", 1)])
    other = apsw.Connection(str(path))
    with pytest.raises(apsw.ConstraintError, match="append-only"):
        other.execute("DELETE FROM input_events")
    other.close()


def test_compaction_removes_only_rows_that_nothing_points_at(store: SqliteMetadata) -> None:
    """With the switch on, superseded rows leave; latest, published and pending ones stay; no number is given again."""
    with store.write() as writer:
        old, current, published = writer.events.append([made("x", 1), made("x", 2), made("y", 3)])
        writer.events.append([made("y", 4)])
        writer.revisions.book(revision(1), blobs=[], inputs={}, artefacts={"y": digest(3)}, taken=[])
        writer.events.append([input_event("a", 1), failed("z", digest(1))])
    database = store.connection
    database.execute("UPDATE compaction SET active = 1")
    database.execute("DELETE FROM artefact_events WHERE seq = ?", (old.seq,))
    database.execute("DELETE FROM artefact_events WHERE artefact = 'z'")
    for kept in (current, published):
        with pytest.raises(apsw.ConstraintError, match="append-only"):
            database.execute("DELETE FROM artefact_events WHERE seq = ?", (kept.seq,))
    with pytest.raises(apsw.ConstraintError, match="append-only"):
        database.execute("DELETE FROM input_events")
    database.execute("UPDATE compaction SET active = 0")
    with store.write() as writer:
        assert writer.events.append([made("z", 9)])[0].seq == 7


# Plans


def _plan(store: SqliteMetadata, statement: str) -> list[str]:
    bindings = (
        [None] * len(set(re.findall(r"\?\d*", statement))) if "?1" in statement else [None] * statement.count("?")
    )
    return [str(row[3]) for row in store.connection.execute("EXPLAIN QUERY PLAN " + statement, bindings)]


_LOOK_UPS = {
    "latest input": (events.LATEST_INPUT, "latest_inputs|l USING PRIMARY KEY"),
    "latest artefact": (events.LATEST_ARTEFACT, "l USING PRIMARY KEY"),
    "input by revision": (events.INPUT_AT, r"revision_inputs USING PRIMARY KEY \(input=\? AND revision<\?\)"),
    "artefact by revision": (
        events.ARTEFACT_AT,
        r"revision_artefacts USING PRIMARY KEY \(artefact=\? AND revision<\?\)",
    ),
    "takes by signature": (events.TAKES, r"traces USING INDEX traces_by_signature \(signature=\?\)"),
    "the chosen one by signature": (events.TAKES, r"c USING PRIMARY KEY \(signature=\?\)"),
    "the chosen one by result": (events.TAKES, r"t USING INDEX sqlite_autoindex_traces_1 \(result=\?\)"),
    "traces by signature": (events.TRACES, r"traces USING INDEX traces_by_signature \(signature=\?\)"),
    "inputs of a run": (events.INPUTS_OF_RUN, "input_events_by_run"),
    "inputs of an id": (events.INPUTS_OF_ID, "input_events_by_input"),
    "artefacts of a run": (events.ARTEFACTS_OF_RUN, "artefact_events_by_run"),
    "steps of a run": (events.RUNS_OF_RUN, "run_events_by_run"),
    "a page of inputs": (events.INPUTS_AFTER, "input_events USING INTEGER PRIMARY KEY"),
    "a page of artefacts": (events.ARTEFACTS_AFTER, "artefact_events USING INTEGER PRIMARY KEY"),
    "a run": (runs.GET, "r USING PRIMARY KEY"),
    "a claim": (runs.CLAIMED_BY, "c USING PRIMARY KEY"),
    "a revision": (revisions.GET, "revisions USING INTEGER PRIMARY KEY"),
    "touch": (blobs.TOUCH, "blobs USING PRIMARY KEY"),
    "the watermark": (events.WATERMARKS, "revisions USING INTEGER PRIMARY KEY"),
}


@pytest.mark.parametrize("name", _LOOK_UPS)
def test_look_ups_are_index_searches(memory: SqliteMetadata, name: str) -> None:
    """No look-up reads a table from end to end, and none sorts but the few takes of a signature by their time."""
    statement, index = _LOOK_UPS[name]
    plan = _plan(memory, statement)
    assert any(re.search(index, step) for step in plan), plan
    sorted_afterwards = name == "traces by signature"
    read = [step for step in plan if step.startswith("SCAN") and "VIRTUAL TABLE" not in step]  # a list that is given
    assert not [step for step in read if step != "SCAN r"], plan
    assert sorted_afterwards == any(step.startswith("USE TEMP") for step in plan), plan


@pytest.mark.parametrize(
    ("statement", "index"),
    [
        (blobs.GET, "b USING PRIMARY KEY"),
        (events.FAILED, "f USING PRIMARY KEY"),
        (events.PENDING_INPUTS, "e USING INTEGER PRIMARY KEY"),
        (events.PENDING_ARTEFACTS, "e USING INTEGER PRIMARY KEY"),
        (runs.LIST_UNFINISHED, "runs_unfinished"),
        (events.ARTEFACTS_OF_ID, "artefact_events_by_job"),
    ],
    ids=["blobs", "failures", "pending inputs", "pending artefacts", "unfinished runs", "about an id"],
)
def test_sets_cost_what_is_in_them(memory: SqliteMetadata, statement: str, index: str) -> None:
    """A question about some rows walks over those, however many others there are."""
    plan = _plan(memory, statement)
    assert any(index in step for step in plan), plan
    scanned = {step for step in plan if step.startswith("SCAN")}
    assert scanned <= {"SCAN j VIRTUAL TABLE INDEX 1:", "SCAN p", "SCAN r USING INDEX runs_unfinished"} | {
        step for step in scanned if "SUBQUERY" in step or step.startswith("SCAN (")
    }, plan


class open_context:  # noqa: N801 (read as a verb)
    """A database in memory for one example of hypothesis."""

    def __enter__(self) -> SqliteMetadata:
        self._opened = open_sqlite(Path(":memory:"))
        return self._opened

    def __exit__(self, *_: object) -> None:
        self._opened.close()
