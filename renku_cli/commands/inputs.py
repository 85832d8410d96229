"""`set`: new values for inputs."""

from __future__ import annotations

import json
import re
from typing import Final

import click

from renku_cli import valuepath
from renku_cli.grammar import Command, GlobalOptions, command, complete
from renku_cli.misuse import Misuse, nearest
from renku_cli.opening import open_movie
from renku_cli.output import note, print_json, print_line
from renku_cli.sources import read_mapping, read_text, refuse_doubled_keys
from renku_store import Blueprint, Json, Movie, NotFoundError, movie_blueprint, parse_graph, parse_value, set_inputs

_NUMBER: Final = re.compile(r"-\d+(\.\d+)?([eE][+-]?\d+)?")


class _SetCommand(Command):
    """`set speed -5` sets a number; a word with a dash that is none is an option that does not exist."""

    ignore_unknown_options = True

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse; after `--` everything is taken as it is."""
        verbatim = "--" in args
        rest = super().parse_args(ctx, list(args))
        for word in (ctx.params.get("id"), ctx.params.get("value")):
            if isinstance(word, str) and word.startswith("-") and not verbatim and not _NUMBER.fullmatch(word):
                known = [name for parameter in self.params for name in parameter.opts if name.startswith("-")]
                raise Misuse(
                    f"No such option: {word}.",
                    hint=nearest(word, known, otherwise=f"Write `set ID -- {word}` if that is the value."),
                    ctx=ctx,
                )
        return rest


@command(
    "set",
    "renku-store set topic 'The water cycle'",
    "renku-store set speed 1.25",
    "renku-store set 'segments[2].text' 'It rains.'",
    "renku-store set script @script.md",
    "renku-store set --file inputs.yaml",
    cls=_SetCommand,
)
@click.argument("id", required=False, shell_complete=complete("inputs"))
@click.argument("value", required=False)
@click.option(
    "--file", "file", metavar="FILE", type=click.Path(), help="A YAML or JSON file that maps input ids to values."
)
@click.pass_obj
def set_(options: GlobalOptions, id: str | None, value: str | None, file: str | None) -> None:
    """An ID with its VALUE sets one input, --file sets several, all or none; the next run takes them.

    VALUE is JSON, or else text; an input declared as string takes it as it is. @FILE takes the content of a file
    (@- of standard input), @@ stands for one @.

    An ID such as 'segments[2].text' changes one place in an input's present value.
    """
    if (file is None) == (id is None) or (id is not None and value is None):
        raise Misuse("`set` takes an ID and a VALUE, or --file.", hint="`renku-store set --help` shows examples.")
    with open_movie(options) as movie:
        values = read_mapping(file) if file is not None else dict([_value_of(movie, id or "", _text(value or ""))])
        events = set_inputs(movie, values)
    if options.as_json:
        print_json([{"id": event.input, "hash": event.hash} for event in events])
        return
    for event in events:
        print_line(f"{event.input} is set ({event.hash[:12]}).")
    note("The next run takes it: `renku-store plan` shows what that means." if events else "There is nothing to set.")


def _text(value: str) -> str:
    """The text that an argument stands for."""
    if value == "@":
        raise Misuse("@ alone names no file.", hint="Write @FILE, @- for standard input, or @@ for the text @.")
    if value.startswith("@@"):
        return value[1:]
    return read_text(value[1:]) if value.startswith("@") else value


def _value_of(movie: Movie, id: str, text: str) -> tuple[str, Json]:
    """The input that is set, and its whole new value."""
    blueprint = movie_blueprint(movie)
    declared = blueprint.inputs if isinstance(blueprint, Blueprint) else {}
    if id not in declared and (inside := valuepath.split(id, declared)) is not None:
        name, steps = inside
        present = _present(movie, name)
        old = valuepath.at(present, steps, id)
        return name, valuepath.replaced(present, steps, text if isinstance(old, str) else _json_or_text(text))
    if isinstance(blueprint, Blueprint) and not id.startswith("@"):
        return id, parse_value(blueprint, id, text)
    return id, _blueprint(text) if id == "@blueprint" else _json_or_text(text)


def _blueprint(text: str) -> Json:
    """A graph if the text is one, else the text of a blueprint (which may be JSON too: YAML holds all of it)."""
    value = _json_or_text(text)
    if not isinstance(value, dict) or "nodes" not in value:
        return text
    refuse_doubled_keys(text, "The graph")
    parse_graph(value, None, strict=True)
    return value


def _present(movie: Movie, name: str) -> Json:
    """An input's value as the next run would see it; `NotFoundError` where nobody has set it yet."""
    event = movie.events.latest_input(name)
    if event is None:
        raise NotFoundError(
            f"{name} has no value yet in which a place could be set.", hint=f"Set {name} as a whole first."
        )
    return movie.events.read_value(event)


def _json_or_text(text: str) -> Json:
    try:
        value: Json = json.loads(text)
    except ValueError:
        return text
    return value
