"""`demo`: the sample movie from end to end, and what to try next."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import Final

import click

from renku_cli.commands.run import exit_code
from renku_cli.grammar import GlobalOptions, command
from renku_cli.handlers import Handlers
from renku_cli.invocation import command_line
from renku_cli.opening import concurrency_of
from renku_cli.outcome import report_document, show_report
from renku_cli.output import print_heading, print_json, print_line
from renku_cli.running import run_with_progress
from renku_cli.text import count, size
from renku_cli.view import refresh_view
from renku_store import (
    Json,
    Manifest,
    Movie,
    NotFoundError,
    RunReport,
    StoreUnavailableError,
    export_revision,
    load_yaml_mapping,
    open_store,
    sample_blueprint,
    sample_inputs,
    set_inputs,
)

MOVIE: Final = "water-cycle"
FOLDER: Final = "demo-build"
_NEW_SENTENCE: Final = "The sun warms the sea, and water rises from it as a gas that nobody can see."
_MODULES: Final = ("espeakng_loader", "imageio_ffmpeg", "PIL")


@command("demo", "renku-store demo", "renku-store demo /tmp/demo --json")
@click.argument("directory", metavar="[DIR]", required=False, type=click.Path(file_okay=False))
@click.pass_obj
def demo(options: GlobalOptions, directory: str | None) -> int:
    """Makes a short film about the water cycle in the build root DIR (or --root; else demo-build).

    Speech, slides, subtitles, a timeline and a video, without a network; DIR/out/ gets everything as plain files (of a
    DIR that is a URL, demo-build/out/). Run it again, and nothing is made anew. RENKU_STORE_ROOT and the config file do
    not count here: a sample does not go among your own movies.
    """
    root = directory or options.root or FOLDER
    _check_extra()
    with open_store(root) as store:
        new = MOVIE not in store.ids()
        with store.create_movie(MOVIE) if new else store.movie(MOVIE) as movie:
            _give_inputs(movie)
            limit = concurrency_of()
            report = run_with_progress(movie, Handlers(), concurrency=limit)
            if code := exit_code(report):
                _show_failure(options, report)
                return code
            refresh_view(movie)
            return _deliver(options, movie, report, root)


def _check_extra() -> None:
    missing = [name for name in _MODULES if importlib.util.find_spec(name) is None]
    if missing:
        raise StoreUnavailableError(
            f"The sample movie needs packages that are not installed: {', '.join(missing)}.",
            hint="pip install 'renku-store[demo]'",
        )


def _give_inputs(movie: Movie) -> None:
    """Set what was never set. What a person has changed since stays."""
    sample: dict[str, Json] = {"@blueprint": sample_blueprint(), **load_yaml_mapping(sample_inputs(), "inputs")}
    unset = {name: value for name, value in sample.items() if movie.events.latest_input(name) is None}
    if unset:
        set_inputs(movie, unset)


def _deliver(options: GlobalOptions, movie: Movie, report: RunReport, root: str) -> int:
    manifest, _ = movie.manifests.load_current()
    out = Path(FOLDER if "://" in movie.root else movie.root) / "out"
    exported = export_revision(movie, manifest.revision, out)
    video = out / exported.names[_video(manifest)]
    if options.as_json:
        print_json({"movie": movie.id, "revision": manifest.revision, "video": os.fspath(video), "made": report.made})
        return 0
    print_line(
        f"{report.status} {manifest.revision}: made {report.made}, reused {report.reused}; "
        f"{count(exported.files, 'file')} in {out}, {size(exported.bytes)}."
    )
    print_line(f"The video is {video}")
    _show_next_steps(root, out)
    return 0


def _video(manifest: Manifest) -> str:
    """The artefact that is the video."""
    found = (name for name, artefact in manifest.artefacts.items() if artefact.mime_type == "video/mp4")
    video = next(found, None)
    if video is None:
        raise NotFoundError(f"{manifest.revision} has no video.", hint="`renku-store inspect` shows what it has.")
    return video


def _show_failure(options: GlobalOptions, report: RunReport) -> None:
    if options.as_json:
        print_json(report_document(report))
    else:
        show_report(report, stream=sys.stdout)


def _show_next_steps(root: str, out: Path) -> None:
    print_heading("What to try next: change a sentence, and only what depends on it is made anew")
    for words in (
        ("set", "segments[1].text", _NEW_SENTENCE),
        ("plan",),
        ("explain", "movie.video"),
        ("run",),
        ("diff", "1", "latest"),
        ("export", "latest", os.fspath(out)),
    ):
        print_line("  " + command_line("--root", root, *words))
