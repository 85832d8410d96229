"""How long a narration lasts."""

from __future__ import annotations

import wave
from pathlib import Path

from renku_store.producers.demo.requests import DemoError


def wav_seconds(path: Path, name: str) -> float:
    """Return the duration of a WAV file; `name` is what an error calls it."""
    try:
        with wave.open(str(path), "rb") as file:
            return file.getnframes() / file.getframerate()
    except (wave.Error, EOFError) as error:
        raise DemoError(f"The input {name!r} is not a WAV file: {error or 'it ends too early'}.") from error
