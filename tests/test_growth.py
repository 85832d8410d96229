"""A plan that grows list by list: the same in the end as if all lists had been known at once."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from renku_store import ExecutionPlan, Movie, NotFoundError, hash_bytes, open_store, plan_movie, set_inputs
from renku_store.expansion import source_of
from renku_store.growth import Finals, Growth
from renku_store.hashing import graph_bytes
from renku_store.records.manifest import ArtefactValue, Manifest
from tests.authoring import opened
from tests.running.dynamic import BLUEPRINT, Topic, Writers, run, segment, topic

_SEGMENTS = st.builds(
    lambda text, images, silent: segment(text, *images, **({"silent": True} if silent else {})),
    st.sampled_from(["", "a", "bc"]),
    st.lists(st.sampled_from(["sun", "sea"]), max_size=2),
    st.booleans(),
)
_TOPICS = st.lists(_SEGMENTS, max_size=4).map(lambda segments: topic(*segments))
_LARGE = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def _value(content: object) -> ArtefactValue:
    data = json.dumps(content).encode()
    return ArtefactValue(hash=hash_bytes(data), size=len(data), mime_type="application/json", inline=data.decode())


def _lists(about: Topic) -> dict[str, ArtefactValue]:
    """Every list that is made of a topic, by artefact."""
    boards = {
        f"board[{place}].out": _value({"shots": [f"shot {number}" for number in range(len(each["text"]))]})
        for place, each in enumerate(about["segments"])
        if not each.get("silent")
    }
    return {"script.out": _value(about), **boards}


def _known(lists: dict[str, ArtefactValue], names: Collection[str]) -> Finals:
    return lambda asked: {name: lists[name] for name in asked if name in lists and name in names}


def _grown(growth: Growth, plan: ExecutionPlan, final: Finals) -> Iterator[ExecutionPlan]:
    """The plans on the way, until nothing more is known."""
    while (after := growth.extended(plan, final)) is not plan:
        plan = after
        yield plan


def _base(movie: Movie) -> Manifest | None:
    current = movie.manifests.current()
    return current[0] if current else None


@pytest.fixture
def movie(tmp_path: Path) -> Iterator[Movie]:
    with open_store(tmp_path / "builds") as store:
        set_inputs(store.create_movie("dynamic"), {"@blueprint": BLUEPRINT, "topic": topic(segment("ab"))})
    with opened(tmp_path / "builds", "dynamic") as movie:
        yield movie


@_LARGE
@given(before=_TOPICS | st.none(), about=_TOPICS, data=st.data())
def test_lists_one_by_one_give_the_plan_of_all_at_once(before: Topic | None, about: Topic, data: st.DataObject) -> None:
    """Whatever the order, on a revision or on none: graph, jobs with reasons, layers and cost are the same."""
    lists = _lists(about)
    with tempfile.TemporaryDirectory() as root, open_store(root) as store:
        movie = store.create_movie("dynamic")
        set_inputs(movie, {"@blueprint": BLUEPRINT})
        if before is not None:
            set_inputs(movie, {"topic": before})
            run(movie, Writers())
        set_inputs(movie, {"topic": about, "voice": "de"})
        plan = first = plan_movie(movie)
        one, known = Growth(movie, plan, _base(movie)), set[str]()
        while waiting := sorted(one.awaited(plan) & lists.keys()):
            known.add(data.draw(st.sampled_from(waiting)))
            plan = one.extended(plan, _known(lists, known))
        *_, at_once = [first, *_grown(Growth(movie, first, _base(movie)), first, _known(lists, lists))]
        assert plan == at_once
        source = source_of("dynamic", {key: movie.value(entry) for key, entry in plan.inputs.items()})
        whole = source.expand({name: json.loads(value.inline or "") for name, value in lists.items()})
        assert plan.graph_hash == hash_bytes(graph_bytes(whole.graph))
        assert not [node for node in plan.graph.nodes if node.awaits is not None]


@_LARGE
@given(about=_TOPICS, data=st.data())
def test_what_a_plan_says_of_a_job_stays_while_it_grows(about: Topic, data: st.DataObject) -> None:
    """But for its layer: what follows a placeholder may turn out to come earlier."""
    lists = _lists(about)
    with tempfile.TemporaryDirectory() as root, open_store(root) as store:
        movie = store.create_movie("dynamic")
        set_inputs(movie, {"@blueprint": BLUEPRINT, "topic": about})
        plan = plan_movie(movie)
        growth, known = Growth(movie, plan, None), set[str]()
        while waiting := sorted(growth.awaited(plan) & lists.keys()):
            known |= data.draw(st.sets(st.sampled_from(waiting), min_size=1))
            after = growth.extended(plan, _known(lists, known))
            for job, entry in plan.jobs.items():
                if entry.state != "deferred":
                    assert after.jobs[job] == entry.replace(layer=after.jobs[job].layer)
            plan = after


def test_a_plan_that_has_grown_elsewhere_is_gone_on_with(movie: Movie) -> None:
    """Its lists are learned first; without them nobody can expand it further, and it does not shrink."""
    lists = _lists(topic(segment("ab"), segment("c")))
    plan = plan_movie(movie)
    grown = Growth(movie, plan, None).extended(plan, _known(lists, ["script.out"]))
    assert {"say[0]", "say[1]", "clip[0][*]"} <= grown.jobs.keys()
    further = Growth(movie, grown, None).extended(grown, _known(lists, ["script.out", "board[1].out"]))
    assert {"say[0]", "clip[0][*]", "clip[1][0]"} <= further.jobs.keys()
    with pytest.raises(NotFoundError, match=r"jobs of the list in script\.out, which is not there"):
        Growth(movie, grown, None).extended(grown, _known(lists, ["board[1].out"]))


def test_a_list_that_has_been_looked_at_is_not_awaited_again(movie: Movie) -> None:
    """Also where another list, which is not there yet, must be known before it decides anything."""
    text = """
inputs: {topic: {}}
loops: {one: {over: script.out.segments}, two: {over: "other.out.parts[one]"}}
producers:
  script: {run: test/script, outputs: {out: {mimeType: application/json}}}
  other: {run: test/other, outputs: {out: {mimeType: application/json}}}
  last:
    for: [one, two]
    run: test/last
    inputs: {x: "other.out.parts[one][two]"}
    outputs: {o: {mimeType: text/plain}}
"""
    set_inputs(movie, {"@blueprint": text})
    lists = {"script.out": _value({"segments": [1, 2]}), "other.out": _value({"parts": [["x"], ["y", "z"]]})}
    plan = plan_movie(movie)
    growth = Growth(movie, plan, None)
    assert growth.awaited(plan) == lists.keys()
    after = growth.extended(plan, _known(lists, ["other.out"]))
    assert growth.awaited(after) == {"script.out"}
    assert growth.extended(after, _known(lists, ["other.out"])) is after
    *_, plan = _grown(growth, after, _known(lists, lists))
    assert {job for job in plan.jobs if job.startswith("last")} == {"last[0][0]", "last[1][0]", "last[1][1]"}


def test_of_two_lists_one_may_be_wrong_before_the_other_is_there(movie: Movie) -> None:
    """The placeholder says what is wrong with the first, also when the other comes; what has its own list grows."""
    text = """
inputs: {topic: {}}
loops: {one: {over: script.out.segments}, two: {over: other.out}, three: {over: third.out}}
producers:
  script: {run: test/script, outputs: {out: {mimeType: application/json}}}
  other: {run: test/other, outputs: {out: {mimeType: application/json}}}
  third: {run: test/third, outputs: {out: {mimeType: application/json}}}
  both: {for: [one, two], run: test/both, outputs: {o: {mimeType: text/plain}}}
  more: {for: three, run: test/more, outputs: {o: {mimeType: text/plain}}}
"""
    set_inputs(movie, {"@blueprint": text})
    lists = {"script.out": _value({"segments": 7}), "other.out": _value(["x"]), "third.out": _value(["y", "z"])}
    plan = plan_movie(movie)
    wrong = Growth(movie, plan, None).extended(plan, _known(lists, ["script.out"]))
    for known in (["script.out", "third.out"], lists):
        *_, after = _grown(Growth(movie, wrong, None), wrong, _known(lists, known))
        assert {"more[0]", "more[1]"} <= after.jobs.keys()
        problems = [node.awaits.problem for node in after.graph.nodes if node.awaits and node.producer == "both"]
        assert problems
        assert all(problem and "must be a list, not the number 7" in problem for problem in problems)
