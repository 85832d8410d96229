"""`migrate`: movies of older layouts into the build root."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

import click

from renku_cli.grammar import GlobalOptions, command
from renku_cli.misuse import Misuse
from renku_cli.opening import open_root
from renku_cli.output import json_line, note, print_json, print_line, print_table
from renku_cli.remarks import now_and_again
from renku_cli.text import count, neutral, size
from renku_store import MigrationProgress, MigrationReport, MovieMigration, UnmigratedItem, migrate

INCOMPLETE: Final = 4
"""The exit code where something is missing or was refused, as for every damage."""
_SHOWN: Final = 20
_COLUMNS: Final = (
    "movie", "revisions", "new", "artefacts", "missing", "refused", "old folder", "all revisions", "stored",
)  # fmt: skip


@command(
    "migrate",
    "renku-store migrate old/movie_civilwar_001 --root builds",
    "renku-store migrate old --all --root builds --report migration.json",
    "renku-store migrate old --all --dry-run --json",
)
@click.argument("source", metavar="SRC", type=click.Path())
@click.option("--all", "every", is_flag=True, help="Every movie in SRC, which is a folder of movies.")
@click.option("--dry-run", is_flag=True, help="Say what would come over, with sizes; write nothing.")
@click.option(
    "--report", metavar="FILE", type=click.Path(), help="Write the whole report, as text to a .txt, else as JSON."
)
@click.pass_obj
def migrate_(options: GlobalOptions, source: str, every: bool, dry_run: bool, report: str | None) -> int:
    """SRC is the folder of a movie in an older layout, or a folder of such folders. It is only read.

    --movie ID is the id that the movie gets or, in a folder of several, says which one. Killed and called again, it
    goes on where it was. Exit code 4 says that something is missing or was refused; everything else has come over.
    """
    if every and options.movie is not None:
        raise Misuse("--all takes every movie, --movie one.", hint="Give one of them.")
    folder = os.path.expanduser(source) if source.startswith("~") else source  # noqa: PTH111 - stays as it was given
    target = _report_file(report, Path(folder).resolve(), every=every) if report is not None else None
    with _opened(target) as file:
        with open_root(options) as store:
            done = migrate(
                folder, store, movie=options.movie, every=every, dry_run=dry_run, on_progress=now_and_again(_in_words)
            )
        if options.as_json:
            print_json(done.to_json())
        else:
            _show(done)
        if target is not None and file is not None:
            _write(file, target, _as_text(done) if target.suffix == ".txt" else json_line(done.to_json()))
    if done.problem is not None:
        raise done.problem
    return 0 if done.whole else INCOMPLETE


def _report_file(name: str, source: Path, *, every: bool) -> Path:
    """The file of a report, which must not turn out to be impossible when hours have passed, nor be one of a movie."""
    try:
        path = Path(name).expanduser()
    except RuntimeError:
        raise Misuse(f"{name} is in the home folder of nobody.", hint="Name a file for the report.") from None
    folder = path.resolve().parent
    if folder.is_relative_to(source) and not (every and folder == source):
        raise Misuse(f"{name} is in what is migrated, which is only read.", hint="Name a file elsewhere.")
    if path.is_dir() or not path.parent.is_dir():
        why = "it is a folder" if path.is_dir() else "its folder is not there"
        raise Misuse(f"{name} cannot be the file of a report: {why}.", hint="Name a file in a folder that is there.")
    return path


@contextmanager
def _opened(path: Path | None) -> Iterator[BinaryIO | None]:
    """The file of a report, open before the work begins: what is in it stays until there is another report."""
    if path is None:
        yield None
        return
    is_new = not path.exists()
    try:
        file = path.open("ab", buffering=0)
    except OSError as error:
        raise Misuse(
            f"{path} cannot be the file of a report: {error.strerror}.", hint="Name a file that can be written."
        ) from None
    with file:
        try:
            yield file
        finally:
            if is_new and os.fstat(file.fileno()).st_size == 0:
                path.unlink(missing_ok=True)


def _write(file: BinaryIO, path: Path, report: bytes) -> None:
    try:
        if path.is_file():
            file.truncate(0)
        left = memoryview(report)
        while left:
            left = left[file.write(left) :]
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def _show(done: MigrationReport) -> None:
    """Print what people want to know: a table, what became of revisions, what did not come along, and a sum."""
    if done.several or done.problem is None or done.movies[0].added:
        print_table(_COLUMNS, map(_row, done.movies), right=_COLUMNS[1:])
        for movie in done.movies:
            for line in _story(movie, _SHOWN):
                print_line(line)
        print_line(_sum(done))
    for movie in done.movies:
        for remark in movie.notes:
            note(f"{movie.id}: {remark}")
        if movie.problem is not None and done.several:
            note(f"{movie.id}: {movie.problem.message}")
    for text, items in (
        ("Missing: {}. A backup may have them; the next run makes anew what a job can make.", "missing"),
        (
            "Refused: {}. Each line says why. A link or path that leads out is not followed: copy what is meant.",
            "refused",
        ),
    ):
        if found := sum(len(getattr(movie, items)) for movie in done.movies):
            note(text.format(f"{found:,}"))


def _as_text(done: MigrationReport) -> bytes:
    """All of a report, for people: every path and every item."""
    table = ["\t".join(map(neutral, row)) for row in (_COLUMNS, *map(_row, done.movies))]
    lines: list[str] = []
    for movie in done.movies:
        lines += ["", f"{movie.id}, from {movie.source}", *_story(movie, None)]
        lines += [f"{movie.id}: {remark}" for remark in movie.notes]
        lines += [f"{movie.id}: {movie.problem.message}"] if movie.problem is not None else []
        for path in movie.paths:
            lines.append(f"{movie.id}: {path.path} is {path.artefact} of {', '.join(path.revisions)}")
    return "".join(f"{line}\n" for line in [*table, *map(neutral, lines), "", _sum(done)]).encode()


def _row(movie: MovieMigration) -> tuple[str, ...]:
    figures = (movie.revisions, movie.added, movie.artefacts, len(movie.missing), len(movie.refused))
    sizes = (movie.bytes.folder, movie.bytes.named, movie.bytes.stored)
    return movie.id, *(f"{figure:,}" for figure in figures), *(size(figure) for figure in sizes)


def _story(movie: MovieMigration, most: int | None) -> Iterator[str]:
    """What became of the revisions of a movie, and what did not come along: at most so many items of a kind."""
    if movie.mapped:
        yield f"{movie.id}: " + ", ".join(f"{old} is {new}" for old, new in movie.mapped.items())
    for word, items in (("missing", movie.missing), ("refused", movie.refused), ("torn", movie.torn)):
        for item in items[:most]:
            yield f"{movie.id}: {word}: {_told(item)}"
        if most is not None and len(items) > most:
            yield f"{movie.id}: {word}: {len(items) - most:,} more; --report FILE lists them."


def _sum(done: MigrationReport) -> str:
    named = sum(movie.bytes.named for movie in done.movies)
    stored = sum(movie.bytes.stored for movie in done.movies)
    saved = sum(movie.bytes.saved for movie in done.movies)
    part = f" ({round(100 * saved / named)} % saved)" if named else ""
    verb = "Would bring over" if done.dry_run else "Brought over"
    added = count(sum(movie.added for movie in done.movies), "revision")
    return f"{verb} {added}; {size(named)} of artefacts take {size(stored)}{part}."


def _told(item: UnmigratedItem) -> str:
    needed = " of ".join(name for name in (item.artefact, item.revision) if name)
    return f"{item.path}{f' ({needed})' if needed else ''}: {item.why}"


def _in_words(progress: MigrationProgress) -> str:
    read = f"{count(progress.files, 'file')}, {size(progress.bytes)} read"
    return f"{progress.movie}: revision {progress.revisions:,} of {progress.of:,}; {read}"
