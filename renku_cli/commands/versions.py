"""`edit`, `takes` and `accept`: which version of an artefact stands, as people want it."""

from __future__ import annotations

import shlex

import click

from renku_cli.grammar import GlobalOptions, command, complete
from renku_cli.misuse import Misuse
from renku_cli.opening import open_movie
from renku_cli.output import note, print_json, print_line, print_table
from renku_cli.sources import read_bytes
from renku_cli.text import cost, size
from renku_store import Take, accept_results, choose_take, edit_artefact, list_takes, undo_edit


@command(
    "edit",
    "renku-store edit 'narration[2].audio' @take-from-studio.wav",
    "renku-store edit 'narration[2].audio' --undo",
)
@click.argument("artefact", shell_complete=complete("artefacts"))
@click.argument("file", required=False, metavar="@FILE")
@click.option("--undo", is_flag=True, help="Let what was made stand again.")
@click.option(
    "--mime-type", "mime_type", metavar="TYPE", help="What the file is, where it is not what the blueprint declares."
)
@click.pass_obj
def edit(options: GlobalOptions, artefact: str, file: str | None, undo: bool, mime_type: str | None) -> None:
    """The next run takes your version, makes what reads it, and does not call its producer.

    It stands for the artefact until it is undone, whatever changes upstream. @- takes the bytes from standard input.
    """
    _check(artefact, file, undo=undo, mime_type=mime_type)
    with open_movie(options) as movie:
        if undo:
            event = undo_edit(movie, artefact)
        else:
            path = (file or "")[1:]
            event = edit_artefact(movie, artefact, read_bytes(path) if path == "-" else path, mime_type=mime_type)
    value = event.value
    if options.as_json:
        print_json({"artefact": artefact, "hash": value.hash if value else None})
        return
    if not undo and value is not None:
        print_line(f"{artefact} is your version now: {value.mime_type}, {size(value.size)} ({value.hash[:12]}).")
    elif value is not None:
        print_line(f"{artefact} is what was made again ({value.hash[:12]}).")
    else:
        print_line(f"{artefact} is your version no more; it is to be made.")
    note("The next run takes it: `renku-store plan` shows what that means.")


def _check(artefact: str, file: str | None, *, undo: bool, mime_type: str | None) -> None:
    usage = f"`renku-store edit {shlex.quote(artefact)} @FILE`, or `--undo`."
    if undo and (file is not None or mime_type is not None):
        raise Misuse("--undo takes no file and no type: it brings back what was made.", hint=usage)
    if not undo and file is None:
        raise Misuse(f"There is no file to take for {artefact}.", hint=usage)
    if file is not None and (not file.startswith("@") or file == "@"):
        raise Misuse(f"{file!r} is not of the form @FILE.", hint=usage)


@command("takes", "renku-store takes 'narration[2].audio'", "renku-store takes 'narration[2].audio' --use 1")
@click.argument("artefact", shell_complete=complete("artefacts"))
@click.option("--use", "use", metavar="N", type=click.IntRange(min=1), help="Let this take stand from the next run on.")
@click.pass_obj
def takes(options: GlobalOptions, artefact: str, use: int | None) -> None:
    """Every result that was ever made for it, whatever its inputs were, newest first.

    The numbers stay until `gc` forgets an abandoned run, 90 days after its end by default, or another machine tells of
    earlier takes: those made after them are counted anew.

    A choice is one for all outputs of the artefact's job. It holds as long as the job's inputs are what they are now.
    """
    with open_movie(options) as movie:
        before = movie.events.pending()
        chosen = choose_take(movie, artefact, use) if use is not None else None
        stood = movie.events.pending() == before
        found = list_takes(movie, artefact)
    if options.as_json:
        print_json([_take(take) for take in found])
        return
    if chosen is not None:
        print_line(
            f"Take {chosen.take} of {artefact} {'stands already' if stood else 'stands now'} ({chosen.hash[:12]})."
        )
        if not stood:
            note("The next run takes it: `renku-store plan` shows what that means.")
        return
    if not found:
        print_line(f"{artefact} was not made yet.")
        return
    rows = [
        (
            str(take.take),
            take.created_at,
            take.revision or "-",
            cost(take.cost),
            size(take.size),
            take.hash[:12],
            _state(take),
        )
        for take in found
    ]
    print_table(("take", "created", "revision", "cost", "size", "hash", "state"), rows, right=("take", "cost", "size"))


def _take(take: Take) -> dict[str, object]:
    return {"revision": None, **take.to_json()}


def _state(take: Take) -> str:
    if take.current:
        return "current"
    return "-" if take.usable else "collected"


@command("accept", "renku-store accept narration", "renku-store accept 'narration[2]' --json")
@click.argument("id", shell_complete=complete("jobs_and_artefacts"))
@click.pass_obj
def accept(options: GlobalOptions, id: str) -> None:
    """ID is a job, an artefact or a producer. What is there stands as if today's producer had made it.

    Jobs whose inputs have changed as well are left alone: their results are those of other inputs.
    """
    with open_movie(options) as movie:
        accepted = accept_results(movie, id)
    if options.as_json:
        print_json([entry.to_json() for entry in accepted])
        return
    for entry in accepted:
        print_line(f"{entry.job} stands as it is ({entry.signature[:12]}).")
    note("The next run takes it: `renku-store plan` shows what that means.")
