"""The movie: slides that dissolve into each other, the narrations, and subtitles as a track that a player can show.

H.264 (yuv420p) and AAC in an MP4 whose index stands at its front: what every player and browser plays. Nothing in it
depends on the time or on the number of processors: the same ffmpeg makes the same bytes from the same inputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from renku_store.producers.demo.requests import DemoError, Request
from renku_store.producers.demo.subtitles import Cue, read_srt, shift, write_srt
from renku_store.producers.demo.timeline import Clip, read_clips

WIDTH: Final = 1280
HEIGHT: Final = 720
FRAMES_PER_SECOND: Final = 12
DISSOLVE_SECONDS: Final = 0.5
AUDIO_RATE_HERTZ: Final = 48_000


def assembly(request: Request, ffmpeg: str) -> list[str]:
    """Return ffmpeg's arguments, having written the joined subtitles beside the inputs; raises `DemoError`."""
    clips = read_clips(request.path("timeline"))
    images, audio = request.paths("images"), request.paths("audio")
    captions = request.paths("captions") if request.has("captions") else None
    for name, files in (("images", images), ("audio", audio), ("captions", captions)):
        if files is not None and len(files) != len(clips):
            raise DemoError(f"The timeline has {len(clips)} clips, the input {name!r} has {len(files)} files.")
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
