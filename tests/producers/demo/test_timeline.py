"""The timeline document."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renku_store.errors import ProducerError
from renku_store.producers.demo.requests import DemoError
from renku_store.producers.demo.timeline import make_timeline, read_clips
from tests.producers.calling import Desk, File, data_of
from tests.producers.demo.sounds import tone

IDS = {"image": "slide[{n}].image", "audio": "narration[{n}].audio", "subtitles": "subtitles[{n}].captions"}


def test_a_timeline_says_what_plays_when(desk: Desk) -> None:
    """Each track names its artefacts in order, one after the other, as long as the narrations are."""
    made = desk.call("demo/timeline@1", config=IDS, inputs={"audio": [tone(1.5), tone(2.25)]}, outputs=["timeline"])
    document = json.loads(data_of(made, "timeline"))
    assert document["duration"] == 3.75
    assert [track["kind"] for track in document["tracks"]] == ["image", "audio", "subtitles"]
    assert document["tracks"][1]["clips"] == [
        {"artefact": "narration[0].audio", "start": 0.0, "duration": 1.5},
        {"artefact": "narration[1].audio", "start": 1.5, "duration": 2.25},
    ]


@given(st.lists(st.floats(0.01, 1_000), min_size=1, max_size=40))
def test_clips_leave_no_gap(durations: list[float]) -> None:
    """Every clip begins, to the millisecond, where the one before ends, and the last ends with the movie."""
    document = json.loads(make_timeline(durations, {"image": "{n}"}))
    (track,) = document["tracks"]
    ends = [round(clip["start"] + clip["duration"], 3) for clip in track["clips"]]
    assert [clip["start"] for clip in track["clips"]] == [0.0, *ends[:-1]]
    assert ends[-1] == document["duration"] == pytest.approx(sum(durations), abs=0.001)
    assert [clip["artefact"] for clip in track["clips"]] == [str(place) for place in range(len(durations))]


@pytest.mark.parametrize(
    "document",
    [
        "",
        "[]",
        '{"tracks": []}',
        '{"tracks": [{"kind": "image", "clips": []}]}',
        '{"tracks": [{"kind": "image", "clips": [{"start": 0}]}]}',
        '{"tracks": [{"kind": "image", "clips": [{"start": 0, "duration": 0}]}]}',
        '{"tracks": [{"kind": "image", "clips": [{"start": 0, "duration": NaN}]}]}',
        '{"tracks": [{"kind": "image", "clips": [{"start": NaN, "duration": 1}]}]}',
        '{"tracks": [{"kind": "image", "clips": [{"start": 0, "duration": 1}, {"start": 2, "duration": 1}]}]}',
    ],
)
def test_a_document_that_is_no_timeline_is_refused(tmp_path: Path, document: str) -> None:
    """A timeline edited by hand into something else is an error."""
    (tmp_path / "timeline").write_text(document)
    with pytest.raises(DemoError, match="timeline"):
        read_clips(tmp_path / "timeline")


@pytest.mark.parametrize(
    ("audio", "complaint"),
    [
        ([tone(1), None], r"'audio\[1\]' is not a file"),
        ([tone(1), File(b"x")], r"'audio\[1\]' is not a WAV file"),
        ([], "'audio' is not a list of files"),
        (tone(1), "'audio' is not a list of files"),
    ],
)
def test_a_place_without_a_narration_is_named(desk: Desk, audio: object, complaint: str) -> None:
    """A hole in the fan-in, or something else in it, says where."""
    with pytest.raises(ProducerError, match=complaint):
        desk.call("demo/timeline@1", config=IDS, inputs={"audio": audio}, outputs=["timeline"])
