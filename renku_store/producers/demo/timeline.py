"""The timeline: which artefact is seen or heard from when, for how long.

    {"duration": 12.5, "tracks": [
        {"kind": "image",     "clips": [{"artefact": "slide[0].image", "start": 0.0, "duration": 7.25}, ...]},
        {"kind": "audio",     "clips": [...]},
        {"kind": "subtitles", "clips": [...]}]}

Times are seconds, to the millisecond.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from renku_store.producers.demo.requests import DemoError

TRACKS: Final = ("image", "audio", "subtitles")

_GAP_MAX_SECONDS: Final = 0.002
"""Times are rounded to the millisecond."""


@dataclass(frozen=True, slots=True)
class Clip:
    """When a segment plays, in seconds."""

    start: float
    duration: float


def end_to_end(durations: Sequence[float]) -> list[Clip]:
    """When segments of these durations (seconds) play, one after the other."""
    clips: list[Clip] = []
    end = 0.0
    for duration in durations:
        clips.append(Clip(round(end, 3), round(end + duration, 3) - round(end, 3)))
        end += duration
    return clips


def make_timeline(
    durations: Sequence[float], artefacts: Mapping[str, str], missing: Mapping[str, Collection[int]] | None = None
) -> bytes:
    """Lay segments of these durations (seconds) end to end and return the document as JSON.

    `artefacts` gives the ids of each track, with `{n}` for the place from 0; tracks that it does not name are left out.
    `missing` has, by track, the places that have no artefact.
    """
    clips, gaps = end_to_end(durations), missing or {}
    tracks = [
        {
            "kind": kind,
            "clips": [
                _clip(artefacts[kind], place, clip)
                for place, clip in enumerate(clips)
                if place not in gaps.get(kind, ())
            ],
        }
        for kind in TRACKS
        if kind in artefacts
    ]
    end = round(sum(durations), 3)
    return (json.dumps({"duration": end, "tracks": tracks}, indent=2, ensure_ascii=False) + "\n").encode()


def _clip(template: str, place: int, clip: Clip) -> dict[str, Any]:
    return {
        "artefact": template.replace("{n}", str(place)),
        "start": clip.start,
        "duration": round(clip.duration, 3),
    }


def read_clips(path: Path) -> list[Clip]:
    """Read when the segments play: the clips of the image track, which follow each other without a gap."""
    try:
        document = json.loads(path.read_bytes())
        tracks = {track["kind"]: track["clips"] for track in document["tracks"]}
        clips = [Clip(float(clip["start"]), float(clip["duration"])) for clip in tracks["image"]]
    except (ValueError, KeyError, TypeError) as error:
        raise DemoError(f"The timeline cannot be read: {type(error).__name__}: {error}.") from error
    if not clips:
        raise DemoError("The timeline has no clips.")
    end = 0.0
    for place, clip in enumerate(clips):
        if not 0 < clip.duration < math.inf:
            raise DemoError(f"The timeline's clip {place} has no duration.")
        if not abs(clip.start - end) <= _GAP_MAX_SECONDS:
            raise DemoError(f"The timeline's clip {place} does not begin where the one before it ends, at {end:.3f} s.")
        end = clip.start + clip.duration
    return clips
