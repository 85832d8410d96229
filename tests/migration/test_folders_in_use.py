"""A folder that is still in use: migrated again and again while it grows, it comes to what a fresh migration gives."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from renku_store import (
    InputEvent,
    Movie,
    Store,
    forget_memory,
    list_takes,
    migrate,
    movie_stats,
    movie_status,
    open_store,
    plan_movie,
)
from renku_store.clock import uuid7
from renku_store.hashing import canonical_json, hash_bytes
from renku_store.testing.crash_points import killed_at_each_point
from renku_store.testing.invariants import check_invariants
from tests.migration.checking import Old


def topic_before_its_snapshot(old: Old) -> None:
    """A movie whose topic was changed after its newest revision."""
    old.input("topic", 0, "A", hash="sha:a")
    old.artefact("script", 0, content="about A")
    old.snapshot(0, "script", inputs=("topic",))
    old.input("topic", 1, "B", hash="sha:b", created_at="2025-10-27T10:00:00Z")


def topic_with_its_snapshot(old: Old) -> None:
    """The old system went on: the topic was changed once more, and a revision made of that."""
    old.input("topic", 1, "C", hash="sha:c", created_at="2025-10-27T11:00:00Z")
    old.artefact("script", 1, content="about C")
    old.snapshot(1, "script", inputs=("topic",), created_at="2025-10-27T12:00:00Z")


def pending(movie: Movie) -> list[object]:
    """The values of edits that wait for the next run."""
    return [event.value for event in movie_status(movie).pending if isinstance(event, InputEvent)]


def topics(movie: Movie) -> list[object]:
    """Every value that the topic was given, in the order in which they became known."""
    return [event.value for event in movie.events.stream_inputs() if event.input == "topic"]


def test_a_revision_takes_the_edits_that_came_over_before_it(old: Old, store: Store) -> None:
    """An edit waits while no snapshot has it, and no longer; the next run does not go back to it."""
    topic_before_its_snapshot(old)
    migrate(old.path, store)
    movie = store.movie("film")
    assert pending(movie) == ["B"]
    topic_with_its_snapshot(old)
    for _ in range(2):
        (report,) = migrate(old.path, store).movies
        assert (report.whole, report.revisions) == (True, 2)
        assert pending(movie) == []
    assert movie.value(movie.manifests.load_current()[0].inputs["topic"]) == "C"
    check_invariants(movie)


def test_what_a_revision_took_is_not_pending_after_a_rebuild(old: Old, tmp_path: Path) -> None:
    """The archive that its manifest names tells which edits those are, without the database."""
    with open_store(tmp_path / "root") as store:
        topic_before_its_snapshot(old)
        migrate(old.path, store)
        topic_with_its_snapshot(old)
        migrate(old.path, store)
    for path in (tmp_path / "root" / "film").glob("metadata.db*"):
        path.unlink()
    with open_store(tmp_path / "root") as store:
        assert pending(store.movie("film")) == []
        assert "B" in topics(store.movie("film"))


def test_edits_of_people_stay_pending(old: Old, store: Store) -> None:
    """What somebody gave here between two migrations is taken by no old revision, wherever it stands among others."""
    topic_before_its_snapshot(old)
    migrate(old.path, store)
    movie = store.movie("film")
    movie.events.append_input("topic", "B", edited_by="ada")
    topic_with_its_snapshot(old)
    old.input("topic", 2, "D", hash="sha:d", created_at="2025-10-28T10:00:00Z")
    migrate(old.path, store)
    assert pending(movie) == ["B", "D"]
    assert [event.edited_by for event in movie_status(movie).pending if isinstance(event, InputEvent)] == [
        "ada", "user",
    ]  # fmt: skip
    check_invariants(movie)


def costly_folder(old: Old, stage: int) -> None:
    """Two results of the newest revision, each with its cost, and at last its snapshot."""
    if stage == 1:
        old.input("topic", 0, "A", hash="sha:a")
        old.artefact("script", 0, content="about A", created_at="2025-10-26T10:00:00Z")
        old.snapshot(0, "script", inputs=("topic",))
    if stage < 3:
        minute, cost, topic = (1, 5, "B") if stage == 1 else (2, 1, "C")
        when = f"2025-10-27T10:0{minute}:00Z"
        old.input("topic", 1, topic, hash=f"sha:{topic}", created_at=when)
        old.artefact("script", 1, content=f"about {topic}", created_at=when)
        old.write(f"dag/jobs/j{minute}.json", {"jobId": f"j{minute}", "status": "succeeded", "outputs": ["script"],
                                               "cost": cost, "completed_at": when})  # fmt: skip
    else:
        old.snapshot(1, "script", inputs=("topic",), created_at="2025-10-27T10:05:00Z")


def told(movie: Movie) -> tuple[Any, ...]:
    """What people see of takes, costs and edits."""
    takes = [(take.take, take.hash, take.revision, take.cost, take.current) for take in list_takes(movie, "script")]
    costs = [(row.revision, row.made, row.cost) for row in movie_stats(movie).growth]
    return takes, costs, movie_stats(movie).cost, topics(movie), pending(movie)


def test_a_growing_folder_tells_everything_once(old: Old, store: Store) -> None:
    """Takes, their costs and the edits are those of a fresh migration, however often the folder came over meanwhile."""
    for stage, spent in ((1, 5), (2, 6), (3, 6)):
        costly_folder(old, stage)
        for _ in range(2):
            (report,) = migrate(old.path, store).movies
            assert report.whole
            assert movie_stats(store.movie("film")).cost.spent == spent
            check_invariants(store.movie("film"))
    migrate(old.path, store, movie="fresh")
    assert told(store.movie("film")) == told(store.movie("fresh"))


def test_a_result_told_of_before_its_revision_is_a_trace_of_its_job(old: Old, store: Store) -> None:
    """What came over as a take answers the job, once a revision holds it: going back to its inputs makes nothing."""
    old.write("dag/producers.json", {"producers": [{"id": "maker", "inputs": ["topic"], "outputs": ["script"]}]})
    for stage in (1, 2, 3):
        costly_folder(old, stage)
        migrate(old.path, store)
    movie = store.movie("film")
    held = movie.manifests.load_current()[0].artefacts["script"]
    assert held.signature is not None
    trace = movie.events.find_trace(held.signature)
    assert trace is not None
    assert [value.hash for value in trace.outputs.values()] == [held.hash]
    assert trace.cost == 1


def test_a_result_whose_job_was_not_known_then_answers_it_by_the_names_of_its_outputs(old: Old, store: Store) -> None:
    """Told of before any graph had its job, it is the job's result as its revision sees it."""
    outputs = ["image_0", "image_1", "small"]
    old.write("dag/producers.json", {"producers": [{"id": "maker", "inputs": ["topic"], "outputs": outputs}]})
    old.input("topic", 0, "A")
    old.snapshot(0, inputs=("topic",))
    for name in outputs:
        old.artefact(name, 1, content=name)
    migrate(old.path, store)
    old.snapshot(1, *outputs, inputs=("topic",))
    migrate(old.path, store)
    movie = store.movie("film")
    plan = plan_movie(movie)
    assert plan.dirty == []
    for node in plan.graph.nodes:
        signature = plan.jobs[node.job_id].signature
        trace = movie.events.find_trace(signature) if signature is not None else None
        assert trace is not None
        assert trace.outputs.keys() == {output.name for output in node.produces}
    check_invariants(movie)


def test_a_cost_noted_after_the_result_is_told_once(old: Old, store: Store) -> None:
    """A job record that says only later what the job took adds that, and no other take."""
    old.snapshot(0)
    old.artefact("script", 1, content="words")
    migrate(old.path, store)
    old.write("dag/jobs/j.json", {"jobId": "j", "status": "succeeded", "outputs": ["script"], "rev": 1, "cost": 2})
    for _ in range(2):
        migrate(old.path, store)
        assert movie_stats(store.movie("film")).cost.spent == 2
    assert len(list_takes(store.movie("film"), "script")) == 1
    old.snapshot(1, "script")
    migrate(old.path, store)
    assert movie_stats(store.movie("film")).cost.spent == 2
    assert len(list_takes(store.movie("film"), "script")) == 1


def test_objects_alone_tell_the_same_of_a_folder_that_grew(old: Old, tmp_path: Path) -> None:
    """Without its database the movie has the same takes, costs and edits, and a further migration adds nothing."""
    with open_store(tmp_path / "root") as store:
        for stage in (1, 2, 3):
            costly_folder(old, stage)
            migrate(old.path, store)
        before = told(store.movie("film"))
    for path in (tmp_path / "root" / "film").glob("metadata.db*"):
        path.unlink()
    with open_store(tmp_path / "root") as store:
        migrate(old.path, store)
        takes, costs, spent, given_here, waiting = told(store.movie("film"))
        assert (takes, costs, spent, waiting) == (*before[:3], before[4])
        assert sorted(given_here) == sorted(before[3])


def test_edits_that_the_first_versions_brought_over_are_known(old: Old, store: Store) -> None:
    """Their ids followed from a run and a place among the lines: they come over once, and a revision takes them."""
    topic_before_its_snapshot(old)
    migrate(old.path, store)
    movie = store.movie("film")
    (ours,) = [event for event in movie_status(movie).pending if isinstance(event, InputEvent)]
    run = next(e.run for e in movie.events.stream() if e.type == "run" and e.data.get("from") == "later")
    digest = hash_bytes(canonical_json(["renku-store migrate", run, 0]))
    theirs = ours.replace(id=uuid7(int(datetime.fromisoformat(ours.created_at).timestamp() * 1000),
                                   bytes.fromhex(digest[:20])))  # fmt: skip
    with movie.metadata.write() as writer:
        writer.revisions.take([ours.id])
    movie.events.append_many([theirs])
    migrate(old.path, store)
    assert [event.id for event in movie.events.pending()] == [theirs.id]
    topic_with_its_snapshot(old)
    migrate(old.path, store)
    assert pending(movie) == []


def _kill(tmp_path: Path, *, stride: int) -> None:
    old = Old(tmp_path / "film")
    costly_folder(old, 1)
    template = tmp_path / "template"
    with open_store(template / "root") as store:
        migrate(old.path, store)
    costly_folder(old, 2)
    costly_folder(old, 3)
    snapshot = old.path / "dag/snapshots/rev1.json"
    last = snapshot.read_bytes()

    def operate(folder: Path, acknowledge: object) -> None:
        with open_store(folder / "root") as store:
            snapshot.unlink(missing_ok=True)
            migrate(old.path, store)
            snapshot.write_bytes(last)
            migrate(old.path, store)

    with open_store("memory://fresh") as store:
        migrate(old.path, store)
        expected = told(store.movie("film"))
    forget_memory("memory://fresh")
    for crash in killed_at_each_point(template, tmp_path / "work", operate, first=1, stride=stride):
        snapshot.write_bytes(last)
        with open_store(crash.folder / "root") as store:
            (report,) = migrate(old.path, store).movies
            assert (report.problem, report.whole, report.revisions) == (None, True, 2), crash
            assert told(store.movie("film")) == expected, crash
            check_invariants(store.movie("film"))


@pytest.mark.ramdisk
def test_killed_at_some_steps_a_growing_folder_tells_everything_once(tmp_path: Path) -> None:
    """A process that dies between two migrations, or within one, leaves nothing that is told or pending twice."""
    _kill(tmp_path, stride=13)


@pytest.mark.long
def test_killed_at_any_step_a_growing_folder_tells_everything_once(tmp_path: Path) -> None:
    """Each durable step in turn, before and after."""
    _kill(tmp_path, stride=1)


GROWTH = st.lists(
    st.lists(
        st.tuples(
            st.sampled_from(["line", "failed", "job", "input", "snapshot"]),
            st.sampled_from(["image", "music"]),
            st.sampled_from([0.25, 0.5, 3, None]),
            st.integers(0, 3),
        ),
        max_size=4,
    ),
    max_size=5,
)


@settings(max_examples=max(25, settings.default.max_examples // 3))
@given(GROWTH)
@example(
    [
        [("job", "image", 0.25, 0)],
        [("line", "image", 0.25, 0), ("snapshot", "image", 0.25, 0)],
        [("job", "image", 0.25, 0)],
    ]
)
def test_however_a_folder_grows_each_dollar_and_each_edit_is_told_once(steps: list[list[tuple[Any, ...]]]) -> None:
    """The sum of all records is what was spent, each line of an input is one event, and what no snapshot has waits."""
    with TemporaryDirectory() as name, open_store("memory://growing") as store:
        old = Old(Path(name) / "film")
        old.snapshot(0)
        rev, minute, spent, lines = 1, 0, 0.0, 0
        try:
            for step in steps:
                for what, artefact, cost, content in step:
                    minute += 1
                    when = f"2025-10-27T10:{minute:02d}:00Z"
                    if what in {"line", "failed"}:
                        status = "succeeded" if what == "line" else "failed"
                        text = f"text {content}" if what == "line" else None
                        old.artefact(artefact, rev, content=text, status=status, created_at=when)
                    elif what == "job":
                        old.write(f"dag/jobs/j{minute}.json", {
                            "jobId": "j", "status": "succeeded", "outputs": [artefact], "rev": rev, "cost": cost,
                        })  # fmt: skip
                        spent += cost or 0
                    elif what == "input":
                        old.input("topic", rev, content, created_at=when)
                        lines += 1
                    else:
                        held = [artefact] if artefact in _made(old) else []
                        old.snapshot(rev, *held, inputs=("topic",) if lines else (), created_at=when)
                        rev += 1
                (report,) = migrate(old.path, store).movies
                movie = store.movie("film")
                assert report.problem is None
                assert movie_stats(movie).cost.spent == pytest.approx(spent)
                given_here = [event for event in movie.events.stream_inputs() if event.input == "topic"]
                assert len(given_here) == lines
                check_invariants(movie)
            (fresh,) = migrate(old.path, store, movie="fresh").movies
            assert fresh.problem is None
            for read in (pending, topics):
                assert not steps or read(store.movie("film")) == read(store.movie("fresh"))
        finally:
            forget_memory("memory://growing")


def _made(old: Old) -> set[str]:
    """The artefacts of which a line says what they are."""
    lines = old.path / "dag/artifacts.jsonl"
    documents = map(json.loads, lines.read_text().splitlines() if lines.exists() else ())
    return {document["id"] for document in documents if document["status"] == "succeeded"}
