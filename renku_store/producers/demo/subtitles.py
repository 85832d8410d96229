"""Subtitles in the SubRip form: a spoken text cut into cues that share its duration by their length."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from renku_store.producers.demo.requests import DemoError

LINE_MAX_CHARS: Final = 42
"""What broadcasters allow: it fits every screen and is read at a glance."""
CUE_MAX_LINES: Final = 2

_SENTENCE_END: Final = re.compile(r"(?<=[.!?…])\s+")
_TIMES: Final = re.compile(r"(\d+):(\d\d):(\d\d)[,.](\d{3}) --> (\d+):(\d\d):(\d\d)[,.](\d{3})")


@dataclass(frozen=True, slots=True)
class Cue:
    """Lines on the screen from `start` to `end`, in milliseconds."""

    start: int
    end: int
    text: str


def make_cues(text: str, seconds: float) -> list[Cue]:
    """Cut a text into cues of at most two lines; each lasts as long as its part of the characters."""
    parts = list(_parts(text))
    total = sum(len(part) for part in parts)
    cues: list[Cue] = []
    begun = 0
    for part in parts:
        start = round(1000 * seconds * begun / total)
        begun += len(part)
        cues.append(Cue(start, round(1000 * seconds * begun / total), part))
    return cues


def _parts(text: str) -> Iterator[str]:
    for sentence in _SENTENCE_END.split(" ".join(text.split())):
        if sentence:
            yield from ("\n".join(lines) for lines in _screens(sentence))


def _screens(sentence: str) -> list[list[str]]:
    """Cut a sentence into as few screens of about one length as have room for it: no last word flits by alone."""
    count = math.ceil(len(_wrap(sentence, LINE_MAX_CHARS)) / CUE_MAX_LINES)
    while True:
        parts = _balanced(sentence, count, CUE_MAX_LINES * LINE_MAX_CHARS)
        screens = [_balanced(part, len(_wrap(part, LINE_MAX_CHARS)), LINE_MAX_CHARS) for part in parts]
        if all(len(lines) <= CUE_MAX_LINES for lines in screens):
            return screens
        count += 1


def _balanced(text: str, count: int, max_chars: int) -> list[str]:
    """Cut a text at blanks into `count` parts of about one length, or more where `max_chars` asks for it."""
    for width in range(min(math.ceil(len(text) / count), max_chars), max_chars):
        parts = _wrap(text, width)
        if len(parts) <= count:
            return parts
    return _wrap(text, max_chars)


def _wrap(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_on_hyphens=False)


def write_srt(cues: Iterable[Cue]) -> str:
    """Return the cues as a SubRip document."""
    blocks = [f"{number}\n{_time(cue.start)} --> {_time(cue.end)}\n{cue.text}\n" for number, cue in enumerate(cues, 1)]
    return "\n".join(blocks)


def read_srt(document: str, name: str) -> list[Cue]:
    """Read a SubRip document; `name` is what an error calls it. Numbers and positions are not looked at."""
    cues: list[Cue] = []
    for block in re.split(r"\n\s*\n", document.replace("\r\n", "\n").strip("\ufeff\n ")):
        if not block.strip():
            continue
        match = _TIMES.search(block)
        if match is None:
            raise DemoError(f"The input {name!r} is not SubRip: no times in {block[:40]!r}.")
        hours, minutes, seconds, thousandths, *end = (int(group) for group in match.groups())
        start = ((hours * 60 + minutes) * 60 + seconds) * 1000 + thousandths
        stop = ((end[0] * 60 + end[1]) * 60 + end[2]) * 1000 + end[3]
        cues.append(Cue(start, stop, block[match.end() :].partition("\n")[2].strip()))
    return cues


def shift(cues: Iterable[Cue], milliseconds: int) -> list[Cue]:
    """Return the cues, later by so much."""
    return [Cue(cue.start + milliseconds, cue.end + milliseconds, cue.text) for cue in cues]


def _time(milliseconds: int) -> str:
    seconds, thousandths = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{seconds:02d},{thousandths:03d}"
