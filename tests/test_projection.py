"""Folding events over a manifest: laws of a pure function."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from renku_store.projection import differs, edits_reflected, fold_artefacts, fold_inputs, next_manifest
from renku_store.records.events import Event, InputEvent
from renku_store.records.manifest import Manifest
from tests.metadata.samples import NOW, input_event, made

RUN = "01890a5d-ac96-774b-bcce-b302099a8057"

edits = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3) | st.none()), max_size=8).map(
    lambda pairs: [input_event(key, value).replace(seq=seq) for seq, (key, value) in enumerate(pairs, 1)]
)


def build(inputs: list[InputEvent], artefacts: dict[str, Any] | None = None, **fields: Any) -> Manifest:
    given = {"movie": "film", "revision": "rev-0001", "run": RUN, "created_at": NOW, "graph": None, "timeline": None}
    return next_manifest(
        None, None, **{**given, "inputs": fold_inputs({}, inputs), "artefacts": artefacts or {}, **fields}
    )


@given(before=edits, after=edits)
def test_folding_in_two_steps_is_folding_in_one(before: list[InputEvent], after: list[InputEvent]) -> None:
    """The last value of each input wins; a base is nothing but events folded earlier."""
    whole = fold_inputs({}, [*before, *after])
    assert whole == fold_inputs(fold_inputs({}, before), after)
    assert {key: entry.value for key, entry in whole.items()} == {e.input: e.value for e in [*before, *after]}


def test_a_failure_changes_nothing_and_the_last_value_wins() -> None:
    """What is published stays until something better is there; who edited it is said for edits only."""
    first = made("a", 1, edited_by="ann")
    failed = made("a", 2, status="failed", value=None)
    edited = made("a", 3, status="edited", edited_by="ann")
    assert fold_artefacts({}, [first, failed]) == fold_artefacts({}, [first])
    held = fold_artefacts({}, [first, failed, edited])["a"]
    assert (held.inline, held.edited_by) == ("3", "ann")
    assert fold_artefacts({}, [first])["a"].edited_by is None


def test_only_kept_artefacts_remain_and_a_timeline_must_be_one_of_them() -> None:
    """Jobs that are no more take their artefacts along."""
    artefacts = fold_artefacts({}, [made("a", 1), made("b", 2)])
    kept = build([], artefacts, keep={"b"}, timeline="a")
    assert (set(kept.artefacts), kept.timeline) == ({"b"}, None)
    assert build([], artefacts, timeline="a").timeline == "a"


@given(inputs=edits)
def test_equal_builds_have_equal_content_and_do_not_differ(inputs: list[InputEvent]) -> None:
    """Run, time and revision are no part of the content; any input or artefact is."""
    one = build(inputs)
    other = build(inputs, run=RUN.replace("8057", "8058"), created_at="later", revision="rev-0002")
    assert one.content_hash == other.content_hash
    assert not differs(one, other.inputs, other.artefacts, None)
    assert differs(one, fold_inputs(one.inputs, [input_event("d", 1)]), one.artefacts, None)
    assert differs(one, one.inputs, fold_artefacts({}, [made("a", 1)]), None)
    assert differs(one, one.inputs, one.artefacts, "0" * 64)
    assert differs(None, {}, {}, None)


@given(pending=edits, later=edits)
def test_the_edits_that_went_into_a_manifest_are_told_from_those_that_came_later(
    pending: list[InputEvent], later: list[InputEvent]
) -> None:
    """All that was folded counts; of what came later only what changes nothing can."""
    manifest = build(pending)
    more: list[Event] = [event.replace(seq=100 + (event.seq or 0)) for event in later]
    through = edits_reflected([*pending, *more], manifest, [])
    assert through >= max((event.seq or 0 for event in pending), default=0)
    taken = [event for event in more if (event.seq or 0) <= through and isinstance(event, InputEvent)]
    assert fold_inputs(manifest.inputs, taken) == manifest.inputs


def test_a_manifest_that_took_no_edit_takes_none() -> None:
    """A caller may build on something else; nothing that a person said is marked as done."""
    edit = input_event("a", 1).replace(seq=1)
    assert edits_reflected([edit], build([]), []) == 0
    assert edits_reflected([edit], build([]), [input_event("a", 2, run=RUN)]) == 1
    made_by_hand = made("x", 1, run=None).replace(seq=2)
    assert edits_reflected([edit, made_by_hand], build([edit], fold_artefacts({}, [made_by_hand])), []) == 2
    assert edits_reflected([edit, made_by_hand], build([edit]), []) == 1
