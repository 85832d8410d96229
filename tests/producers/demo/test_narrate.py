"""Speech from eSpeak NG, for real."""

from __future__ import annotations

import io
import sys
import wave
from array import array

import pytest

from renku_store.calls import Produced
from renku_store.errors import ProducerError
from tests.producers.calling import Desk, File, data_of

TEXT = "Nearly all the water on Earth lies in the ocean."


def narrate(desk: Desk, text: object = TEXT, **about: object) -> Produced:
    inputs = {"text": text} | {key: about[key] for key in ("voice",) if key in about}
    config = {key: about[key] for key in ("speed", "pause") if key in about}
    return desk.call("demo/narrate@1", inputs=inputs, config=config, outputs=["audio"])


def samples(audio: bytes) -> array[int]:
    with wave.open(io.BytesIO(audio)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (22_050, 1, 2)
        return array("h", file.readframes(file.getnframes()))


def test_a_text_is_spoken(desk: Desk) -> None:
    """A sentence of ten words takes some seconds, is heard, and ends with the silence that was asked for."""
    heard = samples(data_of(narrate(desk, speed=160, pause=0.5), "audio"))
    assert 2.5 < len(heard) / 22_050 < 6
    assert max(heard) > 3_000
    assert not any(heard[-11_025:])


def test_the_same_text_gives_the_same_bytes(desk: Desk) -> None:
    """Speech is a function of text, voice and speed; each of them changes it."""
    first = data_of(narrate(desk), "audio")
    assert data_of(narrate(desk), "audio") == first
    others = [
        narrate(desk, TEXT.replace("ocean", "oceans")),
        narrate(desk, voice="en-us"),
        narrate(desk, voice="en-gb+f3"),
        narrate(desk, speed=220),
    ]
    assert len({first, *(data_of(other, "audio") for other in others)}) == 5


def test_faster_is_shorter(desk: Desk) -> None:
    """The speed is in words a minute."""
    slow, fast = (len(samples(data_of(narrate(desk, speed=speed, pause=0), "audio"))) for speed in (100, 300))
    assert slow > 2 * fast


def test_a_text_may_come_as_an_artefact(desk: Desk) -> None:
    """A script that was made, or edited by a person, is spoken like an input."""
    assert data_of(narrate(desk, File(TEXT.encode(), "text/plain")), "audio") == data_of(narrate(desk), "audio")


@pytest.mark.parametrize(
    ("about", "complaint"),
    [
        ({"voice": "en-gv"}, "no voice 'en-gv'; the nearest is 'en-g"),
        ({"voice": "../../../etc/passwd"}, "no voice"),
        ({"voice": "en-gb+nobody"}, "no variant 'nobody'"),
        ({"voice": 7}, "'voice' is not a text"),
        ({"speed": 5}, "'speed' is not a number from 80 to 450"),
        ({"pause": "long"}, "'pause' is not a number"),
        ({"text": "  "}, "nothing to speak"),
        ({"text": ["a", "list"]}, "'text' is not a text"),
        ({"text": "x" * 20_001}, "longer than 20,000 characters"),
    ],
)
def test_what_cannot_be_spoken_is_said_in_one_sentence(desk: Desk, about: dict[str, object], complaint: str) -> None:
    """A wrong request fails with the reason, not with a traceback."""
    with pytest.raises(ProducerError) as caught:
        narrate(desk, **about)
    assert complaint in caught.value.hint
    assert "Traceback" not in (caught.value.diagnostics or "")


def test_without_the_extra_the_way_to_it_is_shown(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing wheel is named, with the command that installs it."""
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(ProducerError, match="espeakng_loader, which is not installed") as caught:
        narrate(desk)
    assert caught.value.hint == "pip install 'renku-store[demo]'"
