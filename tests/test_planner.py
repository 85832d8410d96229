"""The planner: what is dirty, and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renku_store import (
    ArtefactValue,
    ExecutionPlan,
    GraphError,
    Manifest,
    ManifestArtefact,
    Planner,
    ProducerGraph,
    hash_bytes,
)
from renku_store.hashing import content_hash, signature
from renku_store.planner import input_entry
from renku_store.records._base import Json
from renku_store.selection import MISSING, Selection


def node(job: str, inputs: Mapping[str, str | list[str | None]] = {}, **more: object) -> dict[str, object]:
    """A job that reads inputs (`topic`, `segments[0].text`) and artefacts (`other.out`) and makes `JOB.out`."""

    def reference(text: str) -> dict[str, object]:
        if text.endswith(".out"):
            return {"kind": "artefact", "id": text}
        name, *path = text.replace("[", ".").replace("]", "").split(".")
        return {"kind": "input", "id": name, "path": [int(step) if step.isdigit() else step for step in path]}

    entries = [
        {"name": name, "refs": [r and reference(r) for r in ref]}
        if isinstance(ref, list)
        else {"name": name, "ref": reference(ref)}
        for name, ref in inputs.items()
    ]
    made = [{"id": f"{job}.out", "name": "out", "mimeType": "text/plain"}]
    return {
        "jobId": job,
        "producer": job.partition("[")[0],
        "inputs": entries,
        "produces": made,
        "provider": "test",
        "providerModel": "m",
        **more,
    }


def graph(*nodes: dict[str, object]) -> ProducerGraph:
    return ProducerGraph.from_json({"nodes": list(nodes)})


def made_from(
    plan_graph: ProducerGraph,
    inputs: Mapping[str, Json],
    make: Callable[[str, Mapping[str, object]], str] | None = None,
) -> Manifest:
    """The manifest that a run of every job gives; `make` answers (job, signed inputs) with the text it makes."""
    artefacts: dict[str, ManifestArtefact] = {}
    for job in plan_graph.nodes:
        selection = Selection(inputs, artefacts, lambda _: MISSING)
        items = selection.signed_inputs(job)
        text = make(job.job_id, items) if make else f"{job.job_id} of {sorted(map(str, items.items()))}"
        for output in job.produces:
            value = ArtefactValue(
                hash=hash_bytes(text.encode()), size=len(text), mime_type=output.mime_type, inline=text[:2000]
            )
            artefacts[output.id] = ManifestArtefact(
                **value.values(), job=job.job_id, produced_by=job.producer, signature=signature(job, items)
            )
    entries = {key: input_entry(value) for key, value in inputs.items()}
    return Manifest(
        format=1, movie="m", revision="rev-0001", run="r", created_at="2026-01-01T00:00:00.000Z",
        content_hash=content_hash(entries, artefacts, None), inputs=entries, artefacts=artefacts,
    )  # fmt: skip


MOVIE = graph(
    node("say[0]", {"text": "segments[0].text"}),
    node("say[1]", {"text": "segments[1].text"}),
    node("draw[0]", {"title": "segments[0].title"}),
    node("film", {"audio": ["say[0].out", "say[1].out"], "images": ["draw[0].out", None]}),
)
INPUTS: dict[str, Json] = {"segments": [{"text": "a", "title": "A"}, {"text": "b", "title": "B"}]}


def plan(
    new_graph: ProducerGraph = MOVIE, inputs: Mapping[str, Json] = INPUTS, base: bool = True, **more: object
) -> ExecutionPlan:
    manifest = made_from(MOVIE, INPUTS) if base else None
    known = {"base_graph": MOVIE, "base_inputs": INPUTS} if base else {}
    return Planner.compute_plan(graph=new_graph, manifest=manifest, inputs=inputs, **known, **more)  # type: ignore[arg-type]


def reasons(result: ExecutionPlan, job: str) -> list[tuple[str, str]]:
    return [(reason.kind, reason.subject) for reason in result.jobs[job].reasons]


def test_an_unchanged_movie_is_clean() -> None:
    """Nothing changed: nothing is dirty, and no layer is shown."""
    result = plan()
    assert result.dirty == []
    assert result.layers == []
    assert {job.state for job in result.jobs.values()} == {"clean"}
    assert (result.revision, result.base_revision) == ("rev-0002", "rev-0001")


def test_a_first_plan_makes_everything() -> None:
    """Without a manifest every output is missing; jobs upstream come in earlier layers."""
    result = plan(base=False)
    assert result.revision == "rev-0001"
    assert result.layers == [["say[0]", "say[1]", "draw[0]"], ["film"]]
    assert reasons(result, "say[0]") == [("output missing", "say[0].out")]
    assert result.jobs["say[0]"].signature is not None
    assert result.jobs["film"].signature is None


def test_an_edit_dirties_only_what_reads_it() -> None:
    """Segment 1's text changes: its narration and the film are dirty; segment 0 and the drawings are not."""
    changed: dict[str, Json] = {"segments": [{"text": "a", "title": "A"}, {"text": "NEW", "title": "B"}]}
    result = plan(inputs=changed)
    assert result.dirty == ["say[1]", "film"]
    assert reasons(result, "say[1]") == [("input changed", "segments[1].text")]
    assert reasons(result, "film") == [("upstream", "say[1]")]


def test_pending_edits_replace_inputs() -> None:
    """The last pending edit of an input is the value that counts."""
    from renku_store import InputEvent

    values: list[Json] = [[], [{"text": "a", "title": "A"}, {"text": "b", "title": "C"}]]
    edits = [
        InputEvent(id=str(place), input="segments", hash=input_entry(value).hash, value=value, created_at="t")
        for place, value in enumerate(values)
    ]
    assert plan(pending_edits=edits).dirty == []


def test_a_changed_producer_is_named_with_what_changed() -> None:
    """Another config is another signature; the reason names the producer and the field."""
    other = graph(
        node("say[0]", {"text": "segments[0].text"}, config={"speed": 2}),
        *(n.to_json() for n in MOVIE.nodes[1:]),
    )
    result = plan(other)
    assert reasons(result, "say[0]") == [("producer changed", "say")]
    assert result.jobs["say[0]"].reasons[0].detail == "its config"
    assert result.dirty == ["say[0]", "film"]


def test_a_damaged_blob_makes_its_job_dirty() -> None:
    """A clean signature does not help an artefact whose blob cannot be used."""
    manifest = made_from(MOVIE, INPUTS)
    held = manifest.artefacts["say[0].out"]
    blobbed = held.replace(inline=None, blob=held.hash)
    broken = manifest.replace(artefacts={**manifest.artefacts, "say[0].out": blobbed})
    result = Planner.compute_plan(graph=MOVIE, manifest=broken, inputs=INPUTS, damaged={held.hash})
    assert reasons(result, "say[0]") == [("blob missing or damaged", "say[0].out")]


def test_a_failed_last_attempt_is_said() -> None:
    """A dirty job whose signature failed last time says so."""
    first = plan(base=False)
    known = first.jobs["say[1]"].signature
    result = plan(base=False, failed={known})
    assert ("last attempt failed", "say[1]") in reasons(result, "say[1]")
    assert ("last attempt failed", "say[0]") not in reasons(result, "say[0]")


def test_a_missing_value_is_not_null() -> None:
    """An input that selects nothing is left out of the signature; null is a value and is signed."""
    absent = plan(inputs={"segments": [{"title": "A"}, {"text": "b", "title": "B"}]})
    null = plan(inputs={"segments": [{"text": None, "title": "A"}, {"text": "b", "title": "B"}]})
    signatures = {result.jobs["say[0]"].signature for result in (plan(), absent, null)}
    assert len(signatures) == 3


def test_jobs_that_ask_the_same_share_a_signature() -> None:
    """Neither job id nor artefact id is signed."""
    twins: dict[str, Json] = {"segments": [{"text": "same", "title": "A"}, {"text": "same", "title": "B"}]}
    result = plan(inputs=twins, base=False)
    assert result.jobs["say[0]"].signature == result.jobs["say[1]"].signature


def test_defaults_are_used_but_not_recorded() -> None:
    """A default is part of the plan's values and named as a default."""
    result = plan(inputs={**INPUTS, "voice": "en"}, defaults=["voice"])
    assert result.defaults == ["voice"]
    assert result.inputs["voice"].value == "en"


def test_a_cycle_is_an_error_that_names_it() -> None:
    """Two jobs that read each other cannot be planned."""
    with pytest.raises(GraphError, match="a") as caught:
        plan(graph(node("a", {"x": "b.out"}), node("b", {"x": "a.out"})))
    assert caught.value.reason == "cycle"


@st.composite
def edited_graphs(draw: st.DrawFn) -> tuple[ProducerGraph, dict[str, Json], dict[str, Json], set[str]]:
    """A random graph over inputs i0..i3, its inputs, edited inputs, and the jobs whose output ignores its inputs."""
    count = draw(st.integers(1, 9))
    nodes = []
    for place in range(count):
        inputs = draw(st.sets(st.sampled_from(["i0", "i1", "i2", "i3"]), max_size=2))
        above = draw(st.sets(st.integers(0, place - 1), max_size=3)) if place else set()
        reads = {name: name for name in sorted(inputs)} | {f"u{up}": f"j{up}.out" for up in sorted(above)}
        nodes.append(node(f"j{place}", reads))
    before: dict[str, Json] = {name: draw(st.integers(0, 2)) for name in ("i0", "i1", "i2", "i3")}
    after: dict[str, Json] = {**before, **draw(st.dictionaries(st.sampled_from(sorted(before)), st.integers(0, 2)))}
    constant = draw(st.sets(st.sampled_from([f"j{place}" for place in range(count)])))
    return graph(*nodes), before, after, constant


@given(edited_graphs())
def test_planned_is_what_a_brute_force_reference_would_remake(
    case: tuple[ProducerGraph, dict[str, Json], dict[str, Json], set[str]],
) -> None:
    """Dirty are exactly the jobs that read a changed input, and all that lie downstream of those."""
    some_graph, before, after, constant = case
    manifest = made_from(
        some_graph, before, lambda job, items: job if job in constant else f"{job}{sorted(items.items())}"
    )
    result = Planner.compute_plan(
        graph=some_graph, manifest=manifest, inputs=after, base_graph=some_graph, base_inputs=before
    )
    expected: set[str] = set()
    for job in some_graph.nodes:
        reads = {entry.ref.id for entry in job.inputs if entry.ref}
        if any(name in before and before[name] != after[name] for name in reads) or any(
            f"{up}.out" in reads for up in expected
        ):
            expected.add(job.job_id)
    assert set(result.dirty) == expected
    assert result == Planner.compute_plan(
        graph=some_graph, manifest=manifest, inputs=after, base_graph=some_graph, base_inputs=before
    )
    assert all(result.jobs[job].reasons for job in expected)
