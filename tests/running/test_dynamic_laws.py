"""A law: whatever scripts say, in whatever order, what is asked of producers is what was never asked of them before."""

from __future__ import annotations

import tempfile
from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from renku_store import Movie, open_store, plan_movie, set_inputs
from tests.running.dynamic import BLUEPRINT, Topic, Writers, run, segment, topic

_TEXTS = st.sampled_from(["", "a", "b", "ab"])
_SEGMENTS = st.builds(
    lambda text, images, silent: segment(text, *images, **({"silent": True} if silent else {})),
    _TEXTS,
    st.lists(st.sampled_from(["sun", "sea"]), max_size=2),
    st.booleans(),
)
_TOPICS = st.builds(
    lambda segments, title: topic(*[{**each, "images": each["images"]} for each in segments], title=title),
    st.lists(_SEGMENTS, max_size=4),
    st.sampled_from(["one", "two"]),
)
_VOICES = st.sampled_from(["en", "de"])


def _expected(about: Topic, voice: str) -> set[str]:
    """Everything that a movie of this topic asks its producers, as the blueprint says it."""
    audios, clips, images, boards = [], [], [], []
    asked: set[str] = set()
    for each in about["segments"]:
        text = each["text"]
        say = f"say(text={text}, voice={voice})"
        asked.add(say)
        audios.append(f"audio of {say}")
        images += [f"draw(prompt={prompt})" for prompt in each["images"]]
        shots = [f"{text}, shot {number}" for number in range(len(text))]
        boards.append("-" if each.get("silent") else str(shots))
        if not each.get("silent"):
            asked.add(f"board(text={text})")
            clips += [f"clip(audio=audio of {say}, shot={shot})" for shot in shots]
    film = {
        "audio": "+".join(audios),
        "boards": "+".join(boards),
        "clips": "+".join(f"video of {clip}" for clip in clips),
        "images": "+".join(f"image of {image}" for image in images),
    }
    told = ", ".join(f"{name}={text}" for name, text in film.items())
    return asked | {*clips, *images, f"film({told})", f"script(topic={about})"}


def _jobs(about: Topic) -> set[str]:
    jobs = {"script", "film"}
    for place, each in enumerate(about["segments"]):
        jobs |= {f"say[{place}]"} | {f"draw[{place}][{image}]" for image in range(len(each["images"]))}
        if not each.get("silent"):
            jobs |= {f"board[{place}]"} | {f"clip[{place}][{shot}]" for shot in range(len(each["text"]))}
    return jobs


_EDITS = st.lists(st.tuples(_TOPICS, _VOICES), min_size=1, max_size=4)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(edits=_EDITS)
def test_only_what_is_new_is_asked_and_the_next_plan_is_empty(edits: list[tuple[Any, str]]) -> None:
    """Nested lists, elements that come, go, move and change, and scripts that differ in what nobody reads."""
    _check(edits)


@pytest.mark.long
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(edits=_EDITS)
def test_only_what_is_new_is_asked_in_many_histories(edits: list[tuple[Any, str]]) -> None:
    """The same, looked at for longer."""
    _check(edits)


def _check(edits: list[tuple[Any, str]]) -> None:
    writers, before = Writers(), set[str]()
    with tempfile.TemporaryDirectory() as root, open_store(root) as store:
        movie = store.create_movie("dynamic")
        set_inputs(movie, {"@blueprint": BLUEPRINT})
        for about, voice in edits:
            set_inputs(movie, {"topic": about, "voice": voice})
            assert run(movie, writers).status in {"published", "unchanged"}
            expected = _expected(about, voice)
            assert writers.asked == Counter(expected - before)
            before |= expected
            _check_complete(movie, about)


def _check_complete(movie: Movie, about: Topic) -> None:
    plan = plan_movie(movie)
    assert plan.layers == []
    assert plan.jobs.keys() == _jobs(about)
    held = movie.manifests.load("latest").artefacts
    assert {entry.job for entry in held.values()} == _jobs(about)
