"""`tag`: names for revisions."""

from __future__ import annotations

from typing import Any

import click

from renku_cli.grammar import GlobalOptions, command, complete
from renku_cli.misuse import Misuse
from renku_cli.opening import open_movie
from renku_cli.output import note, print_json, print_line, print_table
from renku_store import Movie, tag_revision, untag


@command(
    "tag",
    "renku-store tag latest final-cut",
    "renku-store tag",
    "renku-store tag --move 7 final-cut",
    "renku-store tag --delete final-cut",
)
@click.argument("revision", metavar="[REV]", required=False, shell_complete=complete("revisions"))
@click.argument("name", metavar="[NAME]", required=False, shell_complete=complete("tags"))
@click.option("--move", is_flag=True, help="Even if another revision has the name: it loses it.")
@click.option("--delete", metavar="NAME", shell_complete=complete("tags"), help="Take a name away.")
@click.pass_obj
def tag(options: GlobalOptions, revision: str | None, name: str | None, move: bool, delete: str | None) -> None:
    """REV is any revision that has not expired for good; one in the trash comes back.

    NAME then stands for it wherever a command takes a revision. Without arguments: lists the tags.
    """
    if delete is not None and (revision is not None or move):
        raise Misuse("--delete goes with nothing else.", hint="Such as `renku-store tag --delete final-cut`.")
    if (revision is None) != (name is None) or (revision is None and move):
        raise Misuse("A tag needs a revision and a name.", hint="Such as `renku-store tag latest final-cut`.")
    with open_movie(options) as movie:
        if delete is not None:
            untag(movie, delete)
            _said(options, {"tag": delete, "deleted": True}, f"{delete} is no tag any more.")
        elif revision is not None and name is not None:
            given = tag_revision(movie, revision, name, move=move)
            if given.restored:
                note(f"{given.revision} was in the trash; it is back.")
            _said(options, given.to_json(), f"{given.tag} is {given.revision}.")
        else:
            _list(options, movie)


def _said(options: GlobalOptions, document: dict[str, Any], sentence: str) -> None:
    if options.as_json:
        print_json(document)
    else:
        print_line(sentence)


def _list(options: GlobalOptions, movie: Movie) -> None:
    """Those that can be read, then the error of one that cannot."""
    found, problem = movie.tags.readable()
    if options.as_json:
        print_json([{"tag": t.name, "revision": t.revision, "hash": t.hash, "createdAt": t.created_at} for t in found])
    else:
        print_table(
            ("tag", "revision", "given", "hash"), [(t.name, t.revision, t.created_at, t.hash[:12]) for t in found]
        )
        if not found and problem is None:
            note(f"{movie.id} has no tag yet: `renku-store tag latest NAME` gives one.")
    if problem is not None:
        raise problem
