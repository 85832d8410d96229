"""WAV files for tests."""

from __future__ import annotations

import io
import wave
from array import array

from tests.producers.calling import File


def tone(seconds: float, *, rate: int = 22_050, channels: int = 1) -> File:
    """A square wave of 220 hertz, 16 bit."""
    half = rate // 440
    frames = (6_000 if place // half % 2 else -6_000 for place in range(round(seconds * rate)))
    data = io.BytesIO()
    with wave.open(data, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(array("h", (frame for frame in frames for _ in range(channels))).tobytes())
    return File(data.getvalue(), "audio/wav")
