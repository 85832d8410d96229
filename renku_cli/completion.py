"""What a shell may complete: movies, revisions, tags, artefacts, inputs, jobs, runs, settings.

A shell asks while a person waits and shows whatever is printed: so this is quick, and silent when something is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps
from itertools import islice
from typing import Final

import click

from renku_cli.grammar import GlobalOptions
from renku_cli.opening import open_movie, open_root
from renku_cli.settings import KEYS
from renku_store import Manifest, Movie, StoreError, movie_blueprint, movie_status

SHOWN: Final = 200
"""Nobody reads more proposals."""

Names = Callable[[Movie], Iterable[str]]


def _options(ctx: click.Context) -> GlobalOptions:
    return ctx.find_root().ensure_object(GlobalOptions)


def _of_movie(names: Names) -> Callable[[click.Context, str], list[str]]:
    """Names that a movie knows, as far as they begin so; none at all where the movie cannot be opened."""

    @wraps(names)
    def completed(ctx: click.Context, incomplete: str) -> list[str]:
        try:
            with open_movie(_options(ctx)) as movie:
                return list(islice((name for name in names(movie) if name.startswith(incomplete)), SHOWN))
        except (StoreError, click.ClickException, OSError):
            return []

    return completed


def movies(ctx: click.Context, incomplete: str) -> list[str]:
    """The movies of the root."""
    try:
        with open_root(_options(ctx)) as store:
            return [name for name in store.ids() if name.startswith(incomplete)]
    except (StoreError, click.ClickException, OSError):
        return []


def keys(_ctx: click.Context, incomplete: str) -> list[str]:
    """The settings."""
    return [name for name in KEYS if name.startswith(incomplete)]


@_of_movie
def revisions(movie: Movie) -> Iterable[str]:
    """`latest`, then the tags, then the revisions, newest first."""
    return ["latest", *movie.tags.names(), *(f"rev-{number:04d}" for number in range(_newest(movie), 0, -1))]


@_of_movie
def tags(movie: Movie) -> Iterable[str]:
    """The tags."""
    return movie.tags.names()


@_of_movie
def artefacts(movie: Movie) -> Iterable[str]:
    """The artefacts of the newest revision."""
    manifest = _manifest(movie)
    return sorted(manifest.artefacts) if manifest else []


@_of_movie
def jobs_and_artefacts(movie: Movie) -> Iterable[str]:
    """The jobs and artefacts of the newest revision."""
    manifest = _manifest(movie)
    found = manifest.artefacts if manifest else {}
    return sorted({*found, *(artefact.job for artefact in found.values() if artefact.job)})


@_of_movie
def inputs(movie: Movie) -> Iterable[str]:
    """The inputs that the blueprint declares, and those of the newest revision."""
    manifest = _manifest(movie)
    declared = getattr(movie_blueprint(movie), "inputs", {})
    return sorted({*declared, *(manifest.inputs if manifest else {})})


@_of_movie
def subjects(movie: Movie) -> Iterable[str]:
    """Whatever has events: inputs, jobs and artefacts of the newest revision."""
    manifest = _manifest(movie)
    if manifest is None:
        return []
    jobs = {artefact.job for artefact in manifest.artefacts.values() if artefact.job}
    return sorted({*manifest.inputs, *manifest.artefacts, *jobs})


@_of_movie
def unfinished_runs(movie: Movie) -> Iterable[str]:
    """The runs that can be given up."""
    return [run.run for run in movie_status(movie).runs]


def _manifest(movie: Movie) -> Manifest | None:
    current = movie.manifests.current()
    return current[0] if current else None


def _newest(movie: Movie) -> int:
    manifest = _manifest(movie)
    return int(manifest.revision.removeprefix("rev-")) if manifest else 0
