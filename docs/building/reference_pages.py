"""Writes the two pages of the reference that are made from the code alone: every option, and every public name.

    python docs/building/reference_pages.py

`cli-options.md` has usage, arguments, options, types and defaults of each command; `python-api.md` the signatures,
fields and docstrings of each public name, in the sections of `python.md`. Nothing on these pages is written by hand; a
test compares them with the code.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from api_entries import entry_of
from renku_cli.grammar import Command, GlobalOption
from renku_cli.main import cli
from renku_cli.table import COMMANDS, load

FOLDER: Final = Path(__file__).resolve().parents[1] / "reference"
_MADE: Final = "This page is made from the code (`make reference`) and not written by hand.\n"
_CLI_HEAD: Final = f"""# Every option

{_MADE}What commands do, what they print and how they end is in [Command line](cli.md).

`renku-store COMMAND --help` shows the same in a terminal. An option without a default is off, or not given.
"""
_API_HEAD: Final = f"""# Every public name

{_MADE}[Python](python.md) is the overview of the same names; [Use it from Python](../how-to/use-from-python.md) shows
them at work. Names stand in `renku_store`. A type that is not on this page (`Place` in a signature, say) is not public.
"""


def pages() -> dict[str, str]:
    """The text of each page by its name."""
    return {"cli-options.md": _cli_page(), "python-api.md": _api_page()}


def sections(overview: str) -> list[tuple[str, list[str]]]:
    """The sections of the overview of public names that have a table, and the names in it."""
    found = re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", overview, re.MULTILINE | re.DOTALL)
    named = [(title, re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE)) for title, text in found]
    return [(title, names) for title, names in named if names]


def _api_page() -> str:
    parts = [_API_HEAD]
    for title, names in sections((FOLDER / "python.md").read_text(encoding="utf-8")):
        parts += [f"## {title}\n", *(entry_of(name) for name in names)]
    return "\n".join(parts)


def _cli_page() -> str:
    common = [option for option in cli.params if isinstance(option, GlobalOption)]
    parts = [_CLI_HEAD, "## Global options\n\nBefore or after the command.\n", _table(common, click.Context(cli))]
    return "\n".join([*parts, *(_command_part(name) for name in COMMANDS)])


def _command_part(name: str) -> str:
    command = load(COMMANDS[name].target)
    assert isinstance(command, Command)
    ctx = click.Context(command, info_name=f"renku-store {name}")
    usage = " ".join(["renku-store", name, *command.collect_usage_pieces(ctx)])
    lines = [f"## `{name}`\n", f"```text\n{usage}\n```\n", _description(command)]
    own = [one for one in command.params if isinstance(one, click.Option) and not isinstance(one, GlobalOption)]
    lines += [_table(own, ctx)] if own else []
    return "\n".join([*lines, "Examples:\n", "```text", *command.examples, "```\n"])


def _description(command: click.Command) -> str:
    text = (command.help or "").replace("\b\n", "")
    paragraphs = (" ".join(part.split()) for part in text.split("\n\n"))
    return "\n\n".join(part for part in paragraphs if part) + "\n"


def _table(options: Sequence[click.Option], ctx: click.Context) -> str:
    rows = [f"| {_names(option, ctx)} | {_default(option)} | {_meaning(option)} |" for option in options]
    return "\n".join(["| option | default | means |", "|---|---|---|", *rows, ""])


def _names(option: click.Option, ctx: click.Context) -> str:
    value = "" if option.is_flag else f" {option.make_metavar(ctx)}"
    names = [f"`{name}{value}`" for name in [*option.opts, *option.secondary_opts]]
    return ", ".join(names).replace("|", "\\|")


def _default(option: click.Option) -> str:
    default = option.to_info_dict()["default"]
    return "" if default in (None, False, (), []) or option.is_flag else f"`{default}`"


def _meaning(option: click.Option) -> str:
    text = " ".join((option.help or "").split()).replace("|", "\\|")
    return f"{text} Repeats." if option.multiple and "epeat" not in text else text


def main() -> None:
    """Write both pages."""
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
