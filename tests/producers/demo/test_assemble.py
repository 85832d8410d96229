"""The movie, encoded for real and looked at with another library."""

from __future__ import annotations

import io
import json
import sys
from array import array
from typing import Any

import av
import pytest
from PIL import Image

from renku_store.errors import ProducerError
from renku_store.producers.demo.timeline import make_timeline
from tests.producers.calling import Desk, File, data_of
from tests.producers.demo.sounds import tone

COLOURS = ((200, 30, 30), (30, 180, 30), (30, 30, 200))
SECONDS = (1.5, 2.25, 1.0)


def picture(colour: tuple[int, int, int], size: tuple[int, int] = (1280, 720), form: str = "PNG") -> File:
    data = io.BytesIO()
    Image.new("RGB", size, colour).save(data, form)
    return File(data.getvalue(), f"image/{form.lower()}")


def subrip(text: str) -> File:
    return File(f"1\n00:00:00,000 --> 00:00:00,900\n{text}\n".encode(), "application/x-subrip")


def parts(**changed: Any) -> dict[str, Any]:
    return {
        "timeline": File(make_timeline(SECONDS, {"image": "{n}"}), "application/json"),
        "images": [picture(colour) for colour in COLOURS],
        "audio": [tone(seconds) for seconds in SECONDS],
        "captions": [subrip(text) for text in ("one", "two", "three")],
    } | changed


def assemble(desk: Desk, **changed: Any) -> bytes:
    inputs = {name: item for name, item in parts(**changed).items() if item is not None}
    made = desk.call("demo/assemble@1", inputs=inputs, config={"language": "eng"}, outputs=["video"])
    assert made.diagnostics is None
    return data_of(made, "video")


def colour_at(video: bytes, seconds: float) -> tuple[int, ...]:
    with av.open(io.BytesIO(video)) as movie:
        for frame in movie.decode(video=0):
            if frame.time is not None and frame.time >= seconds:
                pixel = frame.to_image().getpixel((640, 360))
                assert isinstance(pixel, tuple)
                return pixel
    raise AssertionError(f"the movie is shorter than {seconds} seconds")


def loudest(frame: av.AudioFrame) -> float:
    return max(map(abs, array("f", bytes(frame.planes[0]))[: frame.samples]))


def near(colour: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    return all(abs(a - b) < 16 for a, b in zip(colour, wanted, strict=True))


def test_a_movie_plays_what_the_timeline_says(desk: Desk) -> None:
    """H.264, AAC and subtitles, as long as the narrations, each slide in its time, the index at the front."""
    video = assemble(desk)
    with av.open(io.BytesIO(video)) as movie:
        assert movie.duration is not None
        assert movie.duration / 1e6 == pytest.approx(sum(SECONDS), rel=0.05)
        (picture_stream,), (sound_stream,), (caption_stream,) = (
            movie.streams.video,
            movie.streams.audio,
            movie.streams.subtitles,
        )
        context = picture_stream.codec_context
        assert (context.name, context.pix_fmt, context.width, context.height) == ("h264", "yuv420p", 1280, 720)
        assert sound_stream.codec_context.name == "aac"
        assert caption_stream.codec_context.name == "mov_text"
        assert caption_stream.metadata["language"] == "eng"
        for stream in (picture_stream, sound_stream):
            assert stream.duration is not None
            assert stream.time_base is not None
            assert float(stream.duration * stream.time_base) == pytest.approx(sum(SECONDS), rel=0.05)
    assert video.index(b"moov") < video.index(b"mdat")
    for seconds, colour in ((0.7, COLOURS[0]), (2.6, COLOURS[1]), (4.5, COLOURS[2])):
        assert near(colour_at(video, seconds), colour)


def test_the_captions_stand_at_their_clips(desk: Desk) -> None:
    """Each segment's captions begin where its clip does."""
    with av.open(io.BytesIO(assemble(desk))) as movie:
        packets = [packet for packet in movie.demux(subtitles=0) if packet.size > 2]
        assert [round(float(packet.pts * packet.time_base), 2) for packet in packets] == [0.0, 1.5, 3.75]
        assert [bytes(packet)[2:].decode() for packet in packets] == ["one", "two", "three"]


def test_a_narration_is_heard_for_as_long_as_it_lasts(desk: Desk) -> None:
    """Where the narration is shorter than its clip, silence follows; another rate or two channels do not matter."""
    quiet = [tone(0.5), tone(2.25, rate=44_100, channels=2), tone(1.0)]
    with av.open(io.BytesIO(assemble(desk, audio=quiet))) as movie:
        loud = {
            round(frame.time, 1) for frame in movie.decode(audio=0) if frame.time is not None and loudest(frame) > 0.05
        }
    assert {0.2, 0.4, 1.7, 3.5, 4.2} <= loud
    assert not {0.7, 1.0, 1.3} & loud


def test_the_same_parts_make_the_same_bytes(desk: Desk) -> None:
    """A movie is a function of its parts: no time, no path and no count of processors is in it."""
    assert assemble(desk) == assemble(desk)


def test_slides_of_any_size_fit(desk: Desk) -> None:
    """A slide that a person replaced, smaller, higher or a JPEG, is fitted into the frame."""
    images = [picture(COLOURS[0], (300, 500)), picture(COLOURS[1], (2000, 300), "JPEG"), picture(COLOURS[2])]
    video = assemble(desk, images=images)
    for seconds, colour in ((0.7, COLOURS[0]), (2.6, COLOURS[1])):
        assert near(colour_at(video, seconds), colour)


def test_without_a_timeline_one_narration_follows_the_other(desk: Desk) -> None:
    """The timeline that is played is an output, if it is asked for; a place without a slide shows the one before."""
    images = [picture(COLOURS[0]), None, picture(COLOURS[2])]
    inputs = {"images": images, "audio": [tone(seconds) for seconds in SECONDS]}
    made = desk.call("demo/assemble@1", inputs=inputs, outputs=["video", "timeline"])
    video = data_of(made, "video")
    for seconds, colour in ((0.7, COLOURS[0]), (2.6, COLOURS[0]), (4.5, COLOURS[2])):
        assert near(colour_at(video, seconds), colour)
    document = json.loads(data_of(made, "timeline"))
    assert document["duration"] == sum(SECONDS)
    assert {track["kind"]: [clip["artefact"] for clip in track["clips"]] for track in document["tracks"]} == {
        "image": ["slide[0].image", "slide[2].image"],
        "audio": ["narration[0].audio", "narration[1].audio", "narration[2].audio"],
    }
    assert [clip["start"] for clip in document["tracks"][0]["clips"]] == [0.0, 3.75]


def test_captions_may_be_left_out(desk: Desk) -> None:
    """Without captions there is no subtitle track; one clip alone is a movie."""
    single = {
        "timeline": File(make_timeline([1.0], {"image": "{n}"})),
        "images": [picture(COLOURS[0])],
        "audio": [tone(1)],
    }
    with av.open(io.BytesIO(assemble(desk, captions=None, **single))) as movie:
        assert not movie.streams.subtitles
        assert movie.duration == pytest.approx(1_000_000, rel=0.05)


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"images": [picture(COLOURS[0])]}, "3 clips, the input 'images' has 1 files"),
        ({"timeline": File(b"{}")}, "The timeline cannot be read"),
        ({"captions": [subrip("one"), File(b"nonsense"), subrip("three")]}, r"'captions\[1\]' is not SubRip"),
    ],
)
def test_parts_that_do_not_fit_are_named(desk: Desk, changed: dict[str, Any], complaint: str) -> None:
    """Parts that contradict each other are refused before anything is encoded."""
    with pytest.raises(ProducerError, match=complaint):
        assemble(desk, **changed)


def test_what_ffmpeg_says_is_kept(desk: Desk) -> None:
    """A slide that is no picture fails with ffmpeg's own words."""
    with pytest.raises(ProducerError, match="exit code") as caught:
        assemble(desk, images=[picture(COLOURS[0]), File(b"no picture at all"), picture(COLOURS[2])])
    assert "Invalid data" in (caught.value.diagnostics or "")


def test_without_the_extra_the_way_to_it_is_shown(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing ffmpeg wheel is named, with the command that installs it."""
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(ProducerError, match="imageio_ffmpeg, which is not installed") as caught:
        assemble(desk)
    assert caught.value.hint == "pip install 'renku-store[demo]'"
