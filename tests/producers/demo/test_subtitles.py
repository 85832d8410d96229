"""Subtitles: every word once, in order, within the time of its narration."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renku_store.errors import ProducerError
from renku_store.producers.demo.requests import DemoError
from renku_store.producers.demo.subtitles import (
    CUE_MAX_LINES,
    LINE_MAX_CHARS,
    Cue,
    make_cues,
    read_srt,
    shift,
    write_srt,
)
from tests.producers.calling import Desk, File, data_of
from tests.producers.demo.sounds import tone

words = st.text(st.sampled_from("abcdeéß.,!?-…'"), min_size=1, max_size=60)
texts = st.lists(words, min_size=1, max_size=60).map(" ".join)
TEXT = "Rising air cools, and its vapour settles on specks of dust, smoke and sea salt. It drifts."


@given(texts, st.floats(0.5, 600))
def test_cues_are_the_text_in_time(text: str, seconds: float) -> None:
    """Cues join from zero to the end, fit the screen, and hold every letter of the text once and in order."""
    cues = make_cues(text, seconds)
    assert [cue.start for cue in cues] == [0, *(cue.end for cue in cues[:-1])]
    assert cues[-1].end == round(1000 * seconds)
    assert all(len(cue.text.splitlines()) <= CUE_MAX_LINES for cue in cues)
    assert all(len(line) <= LINE_MAX_CHARS for cue in cues for line in cue.text.splitlines())
    assert "".join("".join(cue.text.split()) for cue in cues) == "".join(text.split())


@given(texts, st.floats(0.5, 600), st.integers(0, 4_000_000))
def test_what_is_written_is_read_again(text: str, seconds: float, later: int) -> None:
    """SubRip written by us is read back as the same cues, at hours as at milliseconds."""
    cues = shift(make_cues(text, seconds), later)
    assert read_srt(write_srt(cues), "captions") == cues


def test_the_subtitles_of_other_programs_are_read() -> None:
    """A byte order mark, Windows' line ends, dots before the thousandths, positions and markup are no hindrance."""
    first = "\ufeff1\r\n00:00:01.500 --> 01:00:02,000 X1:10\r\n<i>one</i>\r\ntwo\r\n"
    document = f"{first}\r\n\r\n2\r\n00:00:03,000 --> 00:00:04,000\r\n"
    assert read_srt(document, "captions") == [Cue(1_500, 3_602_000, "<i>one</i>\ntwo"), Cue(3_000, 4_000, "")]
    with pytest.raises(DemoError, match=r"'captions\[1\]' is not SubRip"):
        read_srt("1\nsoon\nwords\n", "captions[1]")


def test_the_producer_writes_subrip(desk: Desk) -> None:
    """Text and narration give a SubRip document over the narration's length, in balanced lines."""
    made = desk.call("demo/subtitles@1", inputs={"text": TEXT, "audio": tone(6.5)}, outputs=["captions"])
    document = data_of(made, "captions").decode()
    assert document == (
        "1\n00:00:00,000 --> 00:00:05,770\n"
        "Rising air cools, and its vapour settles\non specks of dust, smoke and sea salt.\n\n"
        "2\n00:00:05,770 --> 00:00:06,500\nIt drifts.\n"
    )
    assert re.fullmatch(r"(\d+\n\d\d:\d\d:\d\d,\d{3} --> \d\d:\d\d:\d\d,\d{3}\n(.+\n){1,2}\n?)+", document)


def test_a_narration_that_is_no_wav_is_named(desk: Desk) -> None:
    """Damaged or foreign audio is an error, not a guess."""
    for data in (b"", b"RIFF", b"not sound at all", tone(1).data[:30]):
        with pytest.raises(ProducerError, match="'audio' is not a WAV file"):
            desk.call("demo/subtitles@1", inputs={"text": "x", "audio": File(data)}, outputs=["captions"])


def test_a_text_without_words_has_no_cues(desk: Desk) -> None:
    """Nothing said is an empty document."""
    made = desk.call("demo/subtitles@1", inputs={"text": " \n", "audio": tone(1)}, outputs=["captions"])
    assert data_of(made, "captions") == b""
