"""`python -m renku_store.producers.demo.speak`: a program of the contract that speaks a text with eSpeak NG.

Input `text`; input or config `voice` (a language such as en-gb, perhaps with a variant: en-gb+f3), config `speed`
(words a minute) and `pause` (seconds of silence at the end). Output `audio`: WAV, 16 bit, mono, at the engine's rate of
22,050 Hz.

The engine is written in C and keeps its state in global variables, so it has a process to itself. The functions that
are called are those of its header `speak_lib.h`.
"""

from __future__ import annotations

import ctypes
import difflib
import sys
import wave
from pathlib import Path
from typing import Final

import espeakng_loader

from renku_store.producers.demo.requests import DemoError, Request

_OUTPUT_SYNCHRONOUS: Final = 2
_DONT_EXIT: Final = 0x8000
_RATE: Final = 1
_POSITION_CHARACTER: Final = 1
_CHARS_UTF8: Final = 1
_OK: Final = 0

_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)


class _Voice(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("languages", ctypes.c_void_p),
        ("identifier", ctypes.c_char_p),
        ("gender", ctypes.c_ubyte),
        ("age", ctypes.c_ubyte),
        ("variant", ctypes.c_ubyte),
        ("padding", ctypes.c_ubyte),
        ("score", ctypes.c_int),
        ("spare", ctypes.c_void_p),
    )


class Engine:
    """eSpeak NG, started once in this process."""

    def __init__(self) -> None:
        self._data = Path(espeakng_loader.get_data_path())
        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        self._library.espeak_ListVoices.restype = ctypes.POINTER(ctypes.POINTER(_Voice))
        self.rate: int = self._library.espeak_Initialize(_OUTPUT_SYNCHRONOUS, 0, str(self._data).encode(), _DONT_EXIT)
        if self.rate <= 0:
            raise DemoError(f"eSpeak NG cannot be started with its data in {self._data}.")

    def choose(self, voice: str, words_per_minute: int) -> None:
        """Speak with this voice and speed from now on; raises `DemoError` for a voice that is not there."""
        language, _, variant = voice.partition("+")
        identifiers = self._identifiers()
        if language not in identifiers:
            raise DemoError(f"eSpeak NG has no voice {language!r}{_nearest(language, list(identifiers))}.")
        variants = sorted(path.name for path in (self._data / "voices" / "!v").iterdir())
        if variant and variant not in variants:
            raise DemoError(f"eSpeak NG has no variant {variant!r}{_nearest(variant, variants)}.")
        name = identifiers[language] + (f"+{variant}" if variant else "")
        if self._library.espeak_SetVoiceByName(name.encode()) != _OK:
            raise DemoError(f"eSpeak NG cannot load the voice {name!r}.")
        self._library.espeak_SetParameter(_RATE, words_per_minute, 0)

    def speak(self, text: str) -> bytes:
        """Return the speech as 16 bit samples in the machine's byte order."""
        spoken = bytearray()

        def receive(samples: int | None, count: int, _events: int | None) -> int:
            if samples:
                spoken.extend(ctypes.string_at(samples, 2 * count))
            return 0

        callback = _Callback(receive)
        self._library.espeak_SetSynthCallback(callback)
        data = text.replace("\0", " ").encode()
        size = ctypes.c_size_t(len(data) + 1)
        if self._library.espeak_Synth(data, size, 0, _POSITION_CHARACTER, 0, _CHARS_UTF8, None, None) != _OK:
            raise DemoError("eSpeak NG could not speak the text.")
        return bytes(spoken)

    def _identifiers(self) -> dict[str, str]:
        """The best voice of each language: the one with the lowest number of priority, and of those the first."""
        best: dict[str, tuple[int, str]] = {}
        voices = self._library.espeak_ListVoices(None)
        place = 0
        while voices[place]:
            voice = voices[place].contents
            for priority, language in _languages(voice.languages):
                if language not in best or priority < best[language][0]:
                    best[language] = (priority, voice.identifier.decode())
            place += 1
        return {language: identifier for language, (_, identifier) in best.items()}


def _languages(address: int) -> list[tuple[int, str]]:
    """Read the engine's list of languages: a byte of priority and a text ended by 0, again and again; 0 ends it."""
    found: list[tuple[int, str]] = []
    while priority := ctypes.string_at(address, 1)[0]:
        language = ctypes.string_at(address + 1)
        found.append((priority, language.decode()))
        address += len(language) + 2
    return found


def _nearest(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"; the nearest is {near[0]!r}" if near else ""


def narrate(request: Request) -> None:
    """Write `outputs/audio`."""
    text = request.text("text")
    if not text.strip():
        raise DemoError("The input 'text' is empty: there is nothing to speak.")
    engine = Engine()
    voice = request.text("voice", request.setting("voice", "en-gb"))
    engine.choose(voice, round(request.number("speed", 160, least=80, most=450)))
    samples = engine.speak(text)
    if not samples:
        raise DemoError("The input 'text' has nothing that can be spoken.")
    silence = round(engine.rate * request.number("pause", 0.4, least=0, most=10))
    with wave.open(str(request.folder / "outputs" / "audio"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(engine.rate)
        file.writeframes(samples + bytes(2 * silence))


if __name__ == "__main__":
    try:
        narrate(Request.read())
    except DemoError as error:
        sys.exit(str(error))
