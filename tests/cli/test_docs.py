"""The reference is complete: every command and option in it exists, and the other way round."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from renku_cli.grammar import Command, GlobalOption
from renku_cli.main import cli
from renku_cli.settings import KEYS
from renku_cli.table import COMMANDS, load

DOCS = Path(__file__).parents[2] / "docs" / "reference"
CLI = (DOCS / "cli.md").read_text()
SECTIONS = dict(re.findall(r"^## `([^`]+)`\n(.*?)(?=^## |\Z)", CLI, re.MULTILINE | re.DOTALL))


def _command(name: str) -> Command:
    found = load(COMMANDS[name].target)
    assert isinstance(found, Command)
    return found


def _own_options(command: click.Command) -> set[str]:
    options = (p for p in command.params if isinstance(p, click.Option) and not isinstance(p, GlobalOption))
    return {name for option in options for name in [*option.opts, *option.secondary_opts]}


def _rows(text: str) -> set[str]:
    """The options in the first column of tables."""
    cells = re.findall(r"^\| (`-[^|]*(?:\\\|[^|]*)*) \|", text, re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"(?<![\w-])--?[a-z][a-z-]*", cell)}


def test_the_reference_has_every_command_and_no_other() -> None:
    """A command without a section, or a section without a command, fails here; the order is the program's."""
    assert list(SECTIONS) == list(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_reference_has_every_option_of_a_command_and_no_other(name: str) -> None:
    """Options are told of in a table of the command's section."""
    assert _rows(SECTIONS[name]) == _own_options(_command(name))


def test_the_reference_has_every_global_option() -> None:
    """They stand in a table of their own."""
    text = CLI.partition("## Global options")[2].partition("\n## ")[0]
    common = {name for p in cli.params if isinstance(p, GlobalOption) for name in p.opts}
    assert _rows(text) - {"-h", "--help"} == common


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_has_its_line_and_an_example(name: str) -> None:
    """Every command shows how it is called."""
    found = _command(name)
    assert found.name == name
    assert found.examples
    with click.Context(found, info_name=name) as ctx:
        text = found.get_help(ctx)
    assert COMMANDS[name].help in " ".join(text.split())
    for example in found.examples:
        assert example in text


def _examples() -> list[str]:
    written = re.findall(r"^    (renku-store (?:(?!\[)[^\n|])*)$", CLI.partition("## `demo`")[2], re.MULTILINE)
    shown = [example for name in COMMANDS for example in _command(name).examples]
    return [line for line in [*shown, *written] if not re.search(r"\[[A-Z-]|\b[A-Z]{2,}\b", line)]


@pytest.mark.parametrize("example", _examples())
def test_every_example_is_understood(example: str) -> None:
    """The arguments of each example, in help and reference, are parsed without an error."""
    words = shlex.split(example.partition(" > ")[0])
    assert words[0] == "renku-store"
    with cli.make_context("renku-store", words[1:]) as ctx:
        rest = [*ctx._protected_args, *ctx.args]
        name, found, arguments = cli.resolve_command(ctx, rest)
        assert found is not None
        found.make_context(name, arguments, parent=ctx).close()


def test_the_reference_has_every_setting() -> None:
    """Keys, variables and defaults stand in one table."""
    table = (DOCS / "configuration.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| `[^`]+` \| (?:`(\w+)`)? ?\| (?:`(\w+)`)?", table, re.MULTILINE)
    found = {key: (variable or None, default or None) for key, variable, default in rows}
    assert found == {key: (entry.environment, entry.default) for key, entry in KEYS.items()}
