"""An input that the blueprint declares no more: its value is left out, said so, and stands in nobody's way."""

from __future__ import annotations

import asyncio

import pytest

from renku_store import (
    Movie,
    NotFoundError,
    RunReport,
    edit_artefact,
    list_takes,
    movie_status,
    plan_movie,
    rollback,
    run_movie,
    set_inputs,
)
from tests.running.conftest import BLUEPRINT, SEGMENTS, Studio

PLAIN = BLUEPRINT.replace("  voice: {type: string, default: en}\n", "").replace(", voice: voice", "")


def run(movie: Movie, studio: Studio, **more: object) -> RunReport:
    return asyncio.run(run_movie(movie, produce=studio, **more))  # type: ignore[arg-type]


@pytest.fixture
def spoken(movie: Movie, studio: Studio) -> Movie:
    """A movie whose input `voice` was set, and published; then the blueprint lost it."""
    set_inputs(movie, {"voice": "de"})
    assert run(movie, studio).status == "published"
    set_inputs(movie, {"@blueprint": PLAIN})
    return movie


def test_a_blueprint_without_a_published_input_can_be_planned_run_and_edited(spoken: Movie, studio: Studio) -> None:
    """The revision after it has no such input, and a warning says why until then."""
    assert any("voice" in warning for warning in plan_movie(spoken).warnings)
    edit_artefact(spoken, "draw[0].image", b"\0picture mine")
    report = run(spoken, studio)
    assert report.status == "published"
    assert set(spoken.manifests.load("latest").inputs) == {"@blueprint", "segments"}
    assert plan_movie(spoken).warnings == []
    assert run(spoken, studio).status == "unchanged"
    assert list_takes(spoken, "film.video")


def test_what_is_given_now_must_be_declared(spoken: Movie, studio: Studio) -> None:
    """By an edit or for one run: that is a mistake, whatever an earlier revision had."""
    with pytest.raises(NotFoundError, match="has no input voice"):
        set_inputs(spoken, {"voice": "fr"})
    with pytest.raises(NotFoundError, match="has no input voice"):
        run(spoken, studio, inputs={"voice": "fr"})
    with pytest.raises(NotFoundError, match="has no input voice"):
        plan_movie(spoken, inputs={"voice": "fr"})


def test_a_pending_edit_of_it_is_left_out_and_told(movie: Movie, studio: Studio) -> None:
    """The run that takes the edits leaves nothing pending."""
    set_inputs(movie, {"voice": "de"})
    set_inputs(movie, {"@blueprint": PLAIN})
    assert any("voice" in warning for warning in plan_movie(movie).warnings)
    assert run(movie, studio).status == "published"
    assert "voice" not in movie.manifests.load("latest").inputs
    assert movie_status(movie).pending == []


def test_a_rollback_to_before_the_input_leaves_a_movie_that_runs(movie: Movie, studio: Studio) -> None:
    """Though edits of the input wait."""
    set_inputs(movie, {"@blueprint": PLAIN})
    run(movie, studio)
    set_inputs(movie, {"@blueprint": BLUEPRINT, "voice": "de"})
    run(movie, studio)
    set_inputs(movie, {"voice": "fr"})
    rollback(movie, "1")
    set_inputs(movie, {"segments": SEGMENTS[:2]})
    assert run(movie, studio).status == "published"
    assert set(movie.manifests.load("latest").inputs) == {"@blueprint", "segments"}


def test_a_blueprint_for_one_run_may_lack_an_input_that_is_set(movie: Movie, studio: Studio) -> None:
    """What the movie has set is no reason to refuse it."""
    set_inputs(movie, {"voice": "de"})
    run(movie, studio)
    assert run(movie, studio, inputs={"@blueprint": PLAIN}).status == "published"
    assert "voice" not in movie.manifests.load("latest").inputs
