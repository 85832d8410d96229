"""The movie: slides that dissolve into each other, the narrations, and subtitles as a track that a player can show.

H.264 (yuv420p) and AAC in an MP4 whose index stands at its front: what every player and browser plays. Nothing in it
depends on the time or on the number of processors: the same ffmpeg makes the same bytes from the same inputs.

Without a `timeline` each narration plays to its end, and is followed by the next. A place without an image shows the
one before it, or else the first one that there is.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from renku_store.producers.demo.requests import DemoError, Request
from renku_store.producers.demo.sound import wav_seconds
from renku_store.producers.demo.subtitles import Cue, read_srt, shift, write_srt
from renku_store.producers.demo.timeline import Clip, end_to_end, make_timeline, read_clips

WIDTH: Final = 1280
HEIGHT: Final = 720
FRAMES_PER_SECOND: Final = 12
DISSOLVE_SECONDS: Final = 0.5
AUDIO_RATE_HERTZ: Final = 48_000
_TRACK_IDS: Final = {"image": "slide[{n}].image", "audio": "narration[{n}].audio"}


def own_timeline(request: Request) -> bytes:
    """The timeline of a movie that is given none; raises `DemoError`.

    Config `image`, `audio`: the ids of each track's artefacts, with `{n}` for the place from 0.
    """
    tracks = {kind: request.setting(kind, default) for kind, default in _TRACK_IDS.items()}
    images = request.paths_there("images")
    missing = {"image": {place for place, image in enumerate(images) if image is None}}
    return make_timeline(_durations(request), tracks, missing)


def assembly(request: Request, ffmpeg: str) -> list[str]:
    """Return ffmpeg's arguments, having written the joined subtitles beside the inputs; raises `DemoError`."""
    given = request.has("timeline")
    clips = read_clips(request.path("timeline")) if given else end_to_end(_durations(request))
    images, audio = _shown(request.paths_there("images")), request.paths("audio")
    captions = request.paths("captions") if request.has("captions") else None
    for name, files in (("images", images), ("audio", audio), ("captions", captions)):
        if files is not None and len(files) != len(clips):
            there = f"The timeline has {len(clips)} clips" if given else f"There are {len(clips)} narrations"
            raise DemoError(f"{there}, the input {name!r} has {len(files)} files.")
    inputs = [argument for path in [*images, *audio] for argument in ("-i", str(path))]
    subtitles: list[str] = []
    if captions is not None:
        joined = request.folder / "captions.srt"
        joined.write_text(write_srt(_joined(clips, captions)), "utf-8")
        inputs += ["-f", "srt", "-i", str(joined)]
        language = request.setting("language", "eng")
        subtitles = ["-map", f"{2 * len(clips)}:s", "-c:s", "mov_text", "-metadata:s:s:0", f"language={language}"]
    return [
        *(ffmpeg, "-hide_banner", "-loglevel", "error", "-nostdin", "-filter_complex_threads", "1"),
        *inputs,
        *("-filter_complex", f"{_video(clips)};{_sound(clips)}", "-map", "[video]", "-map", "[audio]"),
        *subtitles,
        *("-c:v", "libx264", "-preset", "veryfast", "-tune", "stillimage", "-crf", "23", "-threads", "2"),
        *("-x264-params", "cpu-independent=1", "-pix_fmt", "yuv420p", "-g", str(10 * FRAMES_PER_SECOND)),
        *("-c:a", "aac", "-b:a", "96k", "-flags:v", "+bitexact", "-flags:a", "+bitexact", "-fflags", "+bitexact"),
        *("-map_metadata", "-1", "-movflags", "+faststart", "-f", "mp4", str(request.folder / "outputs" / "video")),
    ]


def _durations(request: Request) -> list[float]:
    return [wav_seconds(path, f"audio[{place}]") for place, path in enumerate(request.paths("audio"))]


def _shown(images: Sequence[Path | None]) -> list[Path]:
    last = next((image for image in images if image is not None), None)
    if last is None:
        raise DemoError("The input 'images' has no file.")
    shown: list[Path] = []
    for image in images:
        last = image or last
        shown.append(last)
    return shown


def _joined(clips: Sequence[Clip], captions: Sequence[Path]) -> list[Cue]:
    cues: list[Cue] = []
    for place, (clip, path) in enumerate(zip(clips, captions, strict=True)):
        found = read_srt(path.read_text("utf-8", "replace"), f"captions[{place}]")
        cues += shift(found, round(1000 * clip.start))
    return cues


def _video(clips: Sequence[Clip]) -> str:
    """Each slide is decoded once and held; from the second on, a clip begins with the dissolve from the one before.

    Rounding up keeps the one frame of an image, which is shorter than a frame of the movie.
    """
    last = len(clips) - 1
    size = f"{WIDTH}:{HEIGHT}"
    fit = f"scale={size}:force_original_aspect_ratio=decrease,pad={size}:-1:-1,setsar=1,format=yuv420p"
    chains: list[str] = []
    for place, clip in enumerate(clips):
        seconds = clip.duration + (DISSOLVE_SECONDS if place < last else 0)
        hold = f"fps={FRAMES_PER_SECOND}:round=up,tpad=stop=-1:stop_mode=clone,trim=duration={seconds:.3f},settb=AVTB"
        chains.append(f"[{place}:v]{fit},{hold}[slide{place}]")
    joined = "slide0"
    for place, clip in enumerate(clips[1:], 1):
        dissolve = f"xfade=transition=fade:duration={DISSOLVE_SECONDS}:offset={clip.start:.3f}"
        chains.append(f"[{joined}][slide{place}]{dissolve}[shown{place}]")
        joined = f"shown{place}"
    return ";".join([*chains, f"[{joined}]null[video]"])


def _sound(clips: Sequence[Clip]) -> str:
    """Each narration, padded with silence or cut to its clip, one after the other."""
    shape = f"aformat=sample_fmts=fltp:sample_rates={AUDIO_RATE_HERTZ}:channel_layouts=mono"
    chains: list[str] = []
    for place, clip in enumerate(clips):
        seconds = f"{clip.duration:.3f}"
        chains.append(f"[{len(clips) + place}:a]{shape},apad=whole_dur={seconds},atrim=duration={seconds}[said{place}]")
    all_of_it = "".join(f"[said{place}]" for place in range(len(clips)))
    return ";".join([*chains, f"{all_of_it}concat=n={len(clips)}:v=0:a=1[audio]"])
