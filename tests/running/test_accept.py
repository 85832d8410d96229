"""Adopting results: a producer has changed, and what it made before still holds."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from renku_store import (
    Accepted,
    InvalidValueError,
    Job,
    JobContext,
    Json,
    Movie,
    NotFoundError,
    Produced,
    RunReport,
    Store,
    accept_results,
    edit_artefact,
    list_takes,
    movie_status,
    open_store,
    plan_movie,
    run_movie,
    set_inputs,
)
from tests.running.conftest import BLUEPRINT, SEGMENTS, Studio

SECOND = BLUEPRINT.replace("run: test/say\n", "run: test/say@2\n")
BOTH = SECOND.replace("run: test/length\n", "run: test/length@2\n")


def run(movie: Movie, studio: Studio, **more: object) -> RunReport:
    return asyncio.run(run_movie(movie, produce=studio, **more))  # type: ignore[arg-type]


def with_text(place: int, text: str) -> Json:
    return [{**segment, "text": text} if at == place else dict(segment) for at, segment in enumerate(SEGMENTS)]


def accepted(found: list[Accepted]) -> list[str]:
    return [entry.job for entry in found]


@pytest.fixture
def made(movie: Movie, studio: Studio) -> Movie:
    """The movie with its first revision; the calls so far are forgotten."""
    run(movie, studio)
    studio.calls.clear()
    return movie


def test_results_of_a_changed_producer_are_adopted_without_a_call(made: Movie, studio: Studio) -> None:
    """They stand under the signature of today, and the plan is empty."""
    before = made.manifests.load("latest")
    set_inputs(made, {"@blueprint": SECOND})
    assert {"say[0]", "say[1]", "say[2]"} <= set(plan_movie(made).dirty)
    found = accept_results(made, "say")
    assert accepted(found) == ["say[0]", "say[1]", "say[2]"]
    plan = plan_movie(made)
    assert plan.dirty == []
    assert {entry.signature for entry in found} == {plan.jobs[f"say[{n}]"].signature for n in range(3)}
    assert [event.type for event in movie_status(made).pending].count("artefact") == 3
    report = run(made, studio)
    assert (report.status, report.cost, dict(studio.calls)) == ("published", 0.0, {})
    after = made.manifests.load("latest")
    for key, entry in before.artefacts.items():
        assert after.artefacts[key].hash == entry.hash
    assert after.artefacts["say[0].audio"].signature == found[0].signature
    assert movie_status(made).pending == []
    assert run(made, studio).status == "unchanged"


def test_one_job_can_be_adopted_by_itself(made: Movie, studio: Studio) -> None:
    """By its name, or that of what it makes; the others run."""
    set_inputs(made, {"@blueprint": SECOND})
    assert accepted(accept_results(made, "say[1].audio")) == ["say[1]"]
    assert {job for job in plan_movie(made).dirty if job.startswith("say")} == {"say[0]", "say[2]"}
    run(made, studio)
    assert studio.calls["say[1]"] == 0
    assert studio.calls["say[0]"] == 1


def test_adoption_goes_through_a_chain_of_changed_producers(made: Movie, studio: Studio) -> None:
    """What reads an adopted result must wait until that is adopted."""
    set_inputs(made, {"@blueprint": BOTH})
    with pytest.raises(InvalidValueError, match=r"say\[0\] is still to make"):
        accept_results(made, "length[0]")
    accept_results(made, "say")
    assert accepted(accept_results(made, "length")) == ["length[0]", "length[1]", "length[2]"]
    assert plan_movie(made).dirty == []
    assert run(made, studio).status == "published"
    assert not studio.calls


def test_what_has_other_inputs_is_not_adopted(made: Movie, studio: Studio) -> None:
    """Its results are those of another text."""
    set_inputs(made, {"@blueprint": SECOND, "segments": with_text(1, "a new second")})
    assert accepted(accept_results(made, "say")) == ["say[0]", "say[2]"]
    with pytest.raises(InvalidValueError, match="another reason: input changed"):
        accept_results(made, "say[1]")
    run(made, studio)
    assert (studio.calls["say[0]"], studio.calls["say[1]"]) == (0, 1)


def test_what_need_not_be_adopted_is_an_error_that_says_why(made: Movie) -> None:
    """Nothing is written."""
    with pytest.raises(InvalidValueError, match="is clean"):
        accept_results(made, "say")
    with pytest.raises(NotFoundError):
        accept_results(made, "sya")
    set_inputs(made, {"voice": "de"})
    with pytest.raises(InvalidValueError, match="another reason"):
        accept_results(made, "say[0]")
    assert [event.type for event in movie_status(made).pending] == ["input"]


def test_an_adoption_holds_for_its_signature_only_and_comes_back_with_it(made: Movie, studio: Studio) -> None:
    """Other inputs end it; with the former ones the adopted result answers again, takes included."""
    set_inputs(made, {"@blueprint": SECOND})
    accept_results(made, "say")
    run(made, studio)
    set_inputs(made, {"segments": with_text(0, "a new first")})
    run(made, studio)
    assert studio.calls["say[0]"] == 1
    set_inputs(made, {"segments": with_text(0, str(SEGMENTS[0]["text"]))})
    studio.calls.clear()
    run(made, studio)
    assert studio.calls["say[0]"] == 0
    assert [take.take for take in list_takes(made, "say[0].audio")] == [2, 1]


def test_a_persons_version_over_an_adopted_result_stays(made: Movie, studio: Studio) -> None:
    """What lies under it is none of the matter."""
    edit_artefact(made, "film.video", b"\0\0\0\x18ftyp")
    run(made, studio)
    set_inputs(made, {"@blueprint": BLUEPRINT.replace("run: test/film\n", "run: test/film@2\n")})
    accept_results(made, "film")
    assert plan_movie(made).dirty == []
    studio.calls.clear()
    run(made, studio)
    assert not studio.calls
    held = made.artefact("film.video")
    assert (made.read(held), held.edited_by) == (b"\0\0\0\x18ftyp", "user")


LISTED = """
inputs: {topic: {type: string, default: x}}
producers:
  script: {run: test/script@1, inputs: {topic: topic}, outputs: {out: {mimeType: application/json}}}
  say: {for: [s], run: test/say, inputs: {text: "script.out.segments[s]"}, outputs: {audio: {mimeType: text/plain}}}
loops: {s: {over: script.out.segments}}
"""


def test_a_persons_version_of_what_no_job_makes_yet_is_in_nobodys_way(store: Store) -> None:
    """The list that says which jobs there are is to be made anew, or adopted: then the version stands again."""
    called: list[str] = []

    async def produce(job: Job, context: JobContext) -> Produced:
        called.append(job.job_id)
        return Produced({name: json.dumps({"segments": ["a", "b"]}) for name in job.outputs}, cost=1.0)

    movie = store.create_movie("listed")
    set_inputs(movie, {"@blueprint": LISTED})
    asyncio.run(run_movie(movie, produce=produce))
    edit_artefact(movie, "say[1].audio", b"mine")
    set_inputs(movie, {"@blueprint": LISTED.replace("script@1", "script@2")})
    assert plan_movie(movie).jobs["say[*]"].state == "deferred"
    assert accepted(accept_results(movie, "script")) == ["script"]
    called.clear()
    assert asyncio.run(run_movie(movie, produce=produce)).status == "published"
    assert (called, movie.read(movie.artefact("say[1].audio"))) == ([], b"mine")


def test_an_adoption_survives_the_database(tmp_path: Path, store: Store, made: Movie, studio: Studio) -> None:
    """The archive of the run that took it tells of it."""
    set_inputs(made, {"@blueprint": SECOND})
    accept_results(made, "say")
    run(made, studio)
    set_inputs(made, {"segments": with_text(0, "a new first")})
    run(made, studio)
    store.close()
    for path in (tmp_path / "builds" / "small").glob("metadata.db*"):
        path.unlink()
    with open_store(tmp_path / "builds") as again:
        movie = again.movie("small")
        assert plan_movie(movie).dirty == []
        set_inputs(movie, {"segments": with_text(0, str(SEGMENTS[0]["text"]))})
        studio.calls.clear()
        run(movie, studio)
        assert studio.calls["say[0]"] == 0
