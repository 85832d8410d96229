"""`cat`: the bytes of an artefact."""

from __future__ import annotations

import base64
import sys
from typing import Any, Final

import click

from renku_cli.grammar import GlobalOptions, command, complete
from renku_cli.misuse import Misuse
from renku_cli.opening import open_movie
from renku_cli.output import print_json, write_bytes
from renku_store import ArtefactValue, Movie, take_value

_CHUNK_BYTES: Final = 1 << 20


@command(
    "cat",
    "renku-store cat timeline.timeline",
    "renku-store cat 'narration[2].audio' --rev rev-0001 > narration.wav",
    "renku-store cat 'narration[2].audio' --take 1 > first.wav",
)
@click.argument("artefact", shell_complete=complete("artefacts"))
@click.option(
    "--rev",
    "revision",
    metavar="REV",
    shell_complete=complete("revisions"),
    help="Revision; the newest unless given.",
)
@click.option("--take", "take", metavar="N", type=click.IntRange(min=1), help="One of the takes that `takes` lists.")
@click.pass_obj
def cat(options: GlobalOptions, artefact: str, revision: str | None, take: int | None) -> None:
    """The bytes are verified while they are written: a damaged artefact ends with an error before its last byte.

    With --json: a document with the content as text, or in base64.
    """
    with open_movie(options) as movie:
        if take is not None and revision is not None:
            raise Misuse("A take is of no one revision.", hint="Give --rev or --take.")
        name = movie.manifests.resolve("latest" if revision is None else revision) if take is None else None
        found = movie.artefact(artefact, name) if name is not None else take_value(movie, artefact, take or 0)
        if options.as_json:
            print_json(_document(artefact, name, found, movie.read(found)))
        else:
            _stream(movie, found)


def _stream(movie: Movie, artefact: ArtefactValue) -> None:
    if artefact.inline is not None:
        write_bytes(movie.read(artefact))
        return
    with movie.open(artefact) as source:
        while chunk := source.read(_CHUNK_BYTES):
            sys.stdout.buffer.write(chunk)
    sys.stdout.buffer.flush()


def _document(id: str, revision: str | None, artefact: ArtefactValue, data: bytes) -> dict[str, Any]:
    try:
        encoding, content = "utf-8", data.decode()
    except UnicodeDecodeError:
        encoding, content = "base64", base64.b64encode(data).decode()
    return {
        "artefact": id,
        "revision": revision,
        "hash": artefact.hash,
        "size": artefact.size,
        "mimeType": artefact.mime_type,
        "encoding": encoding,
        "content": content,
    }
