"""The demo's handlers, by descriptor: what needs Pillow, eSpeak NG or ffmpeg runs in a child process, the rest here."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from renku_store.calls import Job, JobContext, Produce, Produced
from renku_store.errors import ProducerError
from renku_store.producers.command import call_program
from renku_store.producers.demo.assemble import assembly, own_timeline
from renku_store.producers.demo.requests import DemoError, Request
from renku_store.producers.demo.sound import wav_seconds
from renku_store.producers.demo.subtitles import make_cues, write_srt
from renku_store.producers.demo.timeline import TRACKS, make_timeline


async def narrate(job: Job, context: JobContext) -> Produced:
    """Make `audio` from `text`: see `speak`."""
    return await _child(job, context, "speak", "espeakng_loader")


async def slide(job: Job, context: JobContext) -> Produced:
    """Make `image` from `title` and `scene`: see `draw`."""
    return await _child(job, context, "draw", "PIL")


async def subtitles(job: Job, context: JobContext) -> Produced:
    """Make `captions` (SubRip) from `text` and the narration `audio` (WAV) that speaks it."""
    request = _request(job, context)
    try:
        cues = make_cues(request.text("text"), wav_seconds(request.path("audio"), "audio"))
    except DemoError as error:
        raise ProducerError(f"{job.producer}: {error}") from error
    return Produced({"captions": write_srt(cues)})


async def timeline(job: Job, context: JobContext) -> Produced:
    """Make `timeline` (JSON) from the narrations `audio`.

    Config `image`, `audio`, `subtitles`: the ids of each track's artefacts, with `{n}` for the place from 0.
    """
    request = _request(job, context)
    try:
        durations = [wav_seconds(path, f"audio[{place}]") for place, path in enumerate(request.paths("audio"))]
        artefacts = {kind: request.setting(kind, "") for kind in TRACKS if kind in job.config}
    except DemoError as error:
        raise ProducerError(f"{job.producer}: {error}") from error
    return Produced({"timeline": make_timeline(durations, artefacts)})


async def assemble(job: Job, context: JobContext) -> Produced:
    """Make `video` (MP4) from `images`, `audio` and, if given, `timeline`, and `captions` in the config's `language`.

    Also makes the `timeline` that it plays, if that is an output.
    """
    request, own = _request(job, context), dict[str, bytes]()
    try:
        if request.makes("timeline"):
            given = request.has("timeline")
            own["timeline"] = request.path("timeline").read_bytes() if given else own_timeline(request)
        argv = assembly(request, _ffmpeg())
    except DemoError as error:
        raise ProducerError(f"{job.producer}: {error}") from error
    rest = {name: output for name, output in job.outputs.items() if name not in own}
    made = await call_program(replace(job, outputs=rest), context, argv)
    return replace(made, outputs={**made.outputs, **own})


HANDLERS: Final[Mapping[str, Produce]] = {
    "demo/narrate@1": narrate,
    "demo/slide@1": slide,
    "demo/subtitles@1": subtitles,
    "demo/timeline@1": timeline,
    "demo/assemble@1": assemble,
}


def _request(job: Job, context: JobContext) -> Request:
    return Request(job.request(context.directory), context.directory)


async def _child(job: Job, context: JobContext, program: str, needed: str) -> Produced:
    if find_spec(needed) is None:
        raise _extra_missing(needed)
    argv = [sys.executable, "-P", "-m", f"renku_store.producers.demo.{program}"]
    return await call_program(job, context, argv, {"PYTHONPATH": _import_path()})


def _import_path() -> str:
    """Where this process imports from, for a child elsewhere: a wheel, a checkout or a zip."""
    return os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path)


def _ffmpeg() -> str:
    try:
        import imageio_ffmpeg  # noqa: PLC0415 (of the extra `demo`)
    except ImportError as error:
        raise _extra_missing("imageio_ffmpeg") from error
    try:
        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError as error:
        raise ProducerError(f"ffmpeg was not found: {error}") from error


def _extra_missing(module: str) -> ProducerError:
    return ProducerError(
        f"The demo needs the module {module}, which is not installed.", hint="pip install 'renku-store[demo]'"
    )
