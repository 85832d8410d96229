"""What people know from the original planner, on its own example: a script, two voices, and the film of both.

docs/explanation/original-behaviours.md says which of its behaviours is shown where.
"""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renku_store import Choices, ExecutionPlan, InvalidValueError, Manifest, Planner, ProducerGraph, hash_bytes
from renku_store.records._base import Json
from tests.test_planner import graph, made_from, node

SCRIPT = node("script", {"topic": "topic"})
SCRIPT["produces"] = [{"id": f"script.{name}", "name": name, "mimeType": "text/plain"} for name in ("out", "notes")]
VOICES = [node(f"voice[{number}]", {"script": "script.out", "speed": f"speeds[{number}]"}) for number in range(2)]
FILM = node("film", {"voices": ["voice[0].out", "voice[1].out"], "volume": "volume"})
MOVIE = graph(SCRIPT, *VOICES, FILM)
INPUTS: dict[str, Json] = {"topic": "water", "speeds": [1, 1], "volume": 5}


def plan(
    *,
    movie: ProducerGraph = MOVIE,
    inputs: Mapping[str, Json] = INPUTS,
    without: tuple[str, ...] = (),
    manifest: Manifest | None = None,
    choices: Choices | None = None,
) -> ExecutionPlan:
    """The plan on top of a whole revision of the film, or of one that lacks some artefacts."""
    base = manifest or made_from(MOVIE, INPUTS)
    artefacts = {key: value for key, value in base.artefacts.items() if key not in without}
    return Planner.compute_plan(
        graph=movie,
        manifest=base.replace(artefacts=artefacts),
        inputs=inputs,
        base_graph=MOVIE,
        base_inputs=INPUTS,
        choices=choices,
    )


def kinds(result: ExecutionPlan, job: str) -> set[tuple[str, str]]:
    """A job's own reasons."""
    return {(reason.kind, reason.subject) for reason in result.jobs[job].reasons}


def test_one_missing_output_of_two_makes_a_job_run_again() -> None:
    """The other is no excuse, and what reads either may change."""
    result = plan(without=("script.notes",))
    assert result.dirty == ["script", "voice[0]", "voice[1]", "film"]
    assert kinds(result, "script") == {("output missing", "script.notes")}


def test_a_missing_artefact_touches_neither_what_is_before_nor_what_is_beside() -> None:
    """Only its job, and what reads it."""
    result = plan(without=("voice[1].out",))
    assert result.dirty == ["voice[1]", "film"]
    assert kinds(result, "film") == {("upstream", "voice[1]")}


def test_an_input_of_a_late_job_leaves_the_early_ones_alone() -> None:
    """One value or several: only who reads them."""
    assert plan(inputs={**INPUTS, "volume": 7}).dirty == ["film"]
    assert plan(inputs={**INPUTS, "volume": 7, "speeds": [1, 2]}).dirty == ["voice[1]", "film"]


@pytest.mark.parametrize(
    "change",
    [{"provider": "other"}, {"providerModel": "other"}, {"config": {"system": "be brief"}}, {"version": "2"}],
    ids=lambda change: next(iter(change)),
)
def test_whatever_is_changed_of_a_producer_makes_it_and_what_follows_run(change: dict[str, Json]) -> None:
    """Provider, model, a prompt in its config, its version; what is before it stays as it is."""
    changed = graph(SCRIPT, {**VOICES[0], **change}, VOICES[1], FILM)
    result = plan(movie=changed)
    assert result.dirty == ["voice[0]", "film"]
    assert kinds(result, "voice[0]") == {("producer changed", "voice")}


def test_what_was_made_from_another_version_of_its_input_is_made_anew() -> None:
    """A revision that was published in part may hold a voice of an older script: the reason names the artefact."""
    whole = made_from(MOVIE, INPUTS)
    script = whole.artefacts["script.out"]
    other = script.replace(hash=hash_bytes(b"other"), inline="other")
    result = plan(manifest=whole.replace(artefacts={**whole.artefacts, "script.out": other}))
    assert result.dirty == ["voice[0]", "voice[1]", "film"]
    assert {kind for kind, _ in kinds(result, "voice[0]")} == {"input changed"}


def test_what_does_not_say_what_it_was_made_from_is_made_anew() -> None:
    """An artefact without a signature may have been made from anything."""
    whole = made_from(MOVIE, INPUTS)
    silent = whole.artefacts["voice[0].out"].replace(signature=None)
    result = plan(manifest=whole.replace(artefacts={**whole.artefacts, "voice[0].out": silent}))
    assert result.dirty == ["voice[0]", "film"]


# Made anew on request


def test_one_that_is_made_anew_is_said_to_be_forced_and_what_follows_to_wait_for_it() -> None:
    """Neither what is before it nor its sibling is touched."""
    result = plan(choices=Choices(regen=["voice[0].out"]))
    assert result.dirty == ["voice[0]", "film"]
    assert kinds(result, "voice[0]") == {("forced", "voice[0]")}
    assert kinds(result, "film") == {("upstream", "voice[0]")}


def test_what_is_missing_is_made_beside_what_is_forced() -> None:
    """A run that makes one anew also makes what the revision lacks."""
    result = plan(without=("voice[1].out", "film.out"), choices=Choices(regen=["voice[0]"]))
    assert result.dirty == ["voice[0]", "voice[1]", "film"]


def test_a_target_narrows_what_is_forced_to_itself() -> None:
    """Regenerated and targeted: one take of one job, whatever else is dirty."""
    result = plan(without=("voice[1].out",), choices=Choices(regen=["voice[0]"], targets=["voice[0]"]))
    assert result.dirty == ["voice[0]"]
    assert {job for job, entry in result.jobs.items() if entry.left_out} == {"voice[1]", "film"}


@st.composite
def _diagrams(draw: st.DrawFn) -> tuple[dict[str, list[str]], list[str]]:
    """Jobs with those that each reads from, and some of them."""
    count = draw(st.integers(1, 10))
    reads = {
        f"j{n}": sorted(draw(st.sets(st.sampled_from([f"j{m}" for m in range(n)])))) if n else [] for n in range(count)
    }
    return reads, draw(st.lists(st.sampled_from(sorted(reads)), unique=True))


@given(_diagrams())
def test_forced_are_some_and_dirty_all_that_come_after_them(drawn: tuple[dict[str, list[str]], list[str]]) -> None:
    """In chains, diamonds and any other graph, for none, one or many: each once, in topological order."""
    reads, forced = drawn
    movie = graph(*(node(job, {"all": [f"{before}.out" for before in befores]}) for job, befores in reads.items()))

    def after(job: str) -> bool:
        return job in forced or any(map(after, reads[job]))

    result = Planner.compute_plan(graph=movie, manifest=made_from(movie, {}), inputs={}, choices=Choices(regen=forced))
    assert sorted(result.dirty) == sorted(filter(after, reads))
    place = {job: layer for layer, jobs in enumerate(result.layers) for job in jobs}
    assert all(place[before] < place[job] for job in place for before in reads[job] if before in place)


# Layers


def test_a_plan_of_few_layers_still_knows_all_of_them() -> None:
    """Layers are cut after the last that has something to run; every job tells its own."""
    new = {**INPUTS, "topic": "fire"}
    result = plan(inputs=new, choices=Choices(up_to_layer=0))
    assert result.layers == [["script"]]
    assert {job: entry.layer for job, entry in result.jobs.items()} == {
        "script": 0, "voice[0]": 1, "voice[1]": 1, "film": 2,
    }  # fmt: skip
    assert plan(inputs=new, choices=Choices(up_to_layer=1)).layers == [["script"], ["voice[0]", "voice[1]"]]
    assert plan(inputs=new, choices=Choices(up_to_layer=10)).dirty == plan(inputs=new).dirty
    assert plan().layers == []
    assert max(entry.layer for entry in plan().jobs.values()) == 2


def test_what_is_forced_keeps_to_the_layers_that_are_asked_for() -> None:
    """The script is made anew; what would follow is left for later, and says so."""
    result = plan(choices=Choices(regen=["script"], up_to_layer=0))
    assert result.dirty == ["script"]
    assert {job for job, entry in result.jobs.items() if entry.left_out} == {"voice[0]", "voice[1]", "film"}


# Kept on request


def test_what_is_kept_stops_the_change_where_it_is() -> None:
    """A kept script changes nothing for the voices; kept voices change nothing for the film."""
    new = {**INPUTS, "topic": "fire"}
    result = plan(inputs=new, choices=Choices(pin=["script"]))
    assert result.dirty == []
    assert kinds(result, "script") == {("pinned", "script")}
    assert plan(inputs=new, choices=Choices(pin=["voice"])).dirty == ["script"]


def test_keeping_nothing_is_no_choice() -> None:
    """An empty list and none at all give the same plan."""
    new = {**INPUTS, "topic": "fire"}
    assert plan(inputs=new, choices=Choices(pin=[])).jobs == plan(inputs=new).jobs


def test_one_output_names_its_whole_job() -> None:
    """A job makes all its outputs at once: who keeps one of them keeps the job."""
    new = {**INPUTS, "topic": "fire"}
    assert plan(inputs=new, choices=Choices(pin=["script.notes"])).dirty == []


def test_one_is_kept_while_another_is_made_anew() -> None:
    """The film follows the new voice; the kept one stays although its speed was changed; both at once is refused."""
    new = {**INPUTS, "speeds": [1, 2]}
    assert plan(inputs=new, choices=Choices(regen=["voice[0]"], pin=["voice[1]"])).dirty == ["voice[0]", "film"]
    with pytest.raises(InvalidValueError, match=r"voice\[0\]"):
        plan(choices=Choices(regen=["voice"], pin=["voice[0]"]))


# Only some


def test_targets_force_nothing() -> None:
    """What is there and up to date is not made again because it is named."""
    assert plan(choices=Choices(targets=["voice"])).dirty == []


def test_what_needs_a_job_that_is_left_out_is_left_out_too() -> None:
    """A film is not made of a voice that nobody may make; it is if that voice is there."""
    result = plan(without=("voice[1].out", "film.out"), choices=Choices(targets=["voice[0]"]))
    assert result.dirty == []
    assert {job for job, entry in result.jobs.items() if entry.left_out} == {"voice[1]", "film"}
    assert plan(without=("film.out",), choices=Choices(targets=["film"])).dirty == ["film"]


def test_what_is_pinned_stays_out_of_what_is_targeted() -> None:
    """Of a producer that is asked for, the job that is kept is not run."""
    new = {**INPUTS, "speeds": [2, 2]}
    result = plan(inputs=new, choices=Choices(targets=["voice"], pin=["voice[0]"]))
    assert result.dirty == ["voice[1]"]
