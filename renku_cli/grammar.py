"""What every command understands: the global options, examples in its help, and the nearest name for a wrong one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import click

from renku_cli.misuse import Misuse, nearest
from renku_cli.table import COMMANDS, LATER, load

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]

PROGRAM: Final = "renku-store"
HELP_NAMES: Final = ["-h", "--help"]


class GlobalOptions:
    """What the global options say, before or after the command; the later one wins."""

    def __init__(self) -> None:
        self.root: str | None = None
        self.movie: str | None = None
        self.as_json = False
        self.debug = False


class GlobalOption(click.Option):
    """An option that every command takes; its value is kept in the `GlobalOptions` of the call."""

    def __init__(self, field: str, declaration: str, **attributes: Any) -> None:
        super().__init__([declaration, f"global_{field}"], expose_value=False, callback=self._remember, **attributes)
        self._field = field

    def _remember(self, ctx: click.Context, _parameter: click.Parameter, value: object) -> None:
        if value is not None and value is not False:
            setattr(ctx.find_root().ensure_object(GlobalOptions), self._field, value)


def global_options() -> list[click.Parameter]:
    """New instances of the global options, in the order in which help shows them."""
    return [
        GlobalOption("root", "--root", metavar="PATH|URL", help="Build root.", shell_complete=_folders),
        GlobalOption("movie", "--movie", metavar="ID", help="Movie to work on.", shell_complete=complete("movies")),
        GlobalOption("as_json", "--json", is_flag=True, help="Print JSON instead of text."),
        GlobalOption("debug", "--debug", is_flag=True, help="Show the traceback of an error."),
    ]


def complete(name: str) -> Complete:
    """A completion of `renku_cli.completion` that is loaded when a shell asks for it."""

    def completed(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        function: Callable[[click.Context, str], Iterable[str]] = load(f"completion:{name}")
        item: type[CompletionItem] = import_module("click.shell_completion").CompletionItem
        return [item(value) for value in function(ctx, incomplete)]

    return completed


def _folders(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return click.Path(file_okay=False).shell_complete(ctx, parameter, incomplete)


class Command(click.Command):
    """A command with the global options and examples."""

    def __init__(self, *arguments: Any, examples: Iterable[str] = (), **attributes: Any) -> None:
        attributes.setdefault("context_settings", {})["help_option_names"] = HELP_NAMES
        super().__init__(*arguments, **attributes)
        self.examples = list(examples)
        self.params.extend(global_options())

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse; an error always knows its command, so that it can point at the command's help."""
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            error.ctx = error.ctx or ctx
            raise

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The command's own options, then the global ones."""
        _write_options(self, ctx, formatter)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's own
        """The examples, word by word."""
        with formatter.section("Examples"):
            for example in self.examples:
                formatter.write(f"{'':>{formatter.current_indent}}{example}\n")


def command(name: str, *examples: str, cls: type[Command] = Command) -> Callable[[Callable[..., Any]], Command]:
    """Make a function a command of the table; its line of help is the table's, its docstring says the rest."""

    def made(function: Callable[..., Any]) -> Command:
        line = COMMANDS[name].help
        text = f"{line}\n\n{inspect.cleandoc(function.__doc__ or '')}"
        return click.command(name, cls=cls, examples=examples, help=text, short_help=line)(function)

    return made


class CommandTable(click.Group):
    """The program: its commands come from the table, each loaded when it is called."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(context_settings={"help_option_names": HELP_NAMES}, **attributes)
        self.params.extend(global_options())

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's own
        """The names, in the order in which a person meets the commands."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's own
        """A command by its name."""
        entry = COMMANDS.get(cmd_name)
        return load(entry.target) if entry else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the arguments name; `Misuse` with the nearest one where there is none."""
        if args[0] in LATER and not ctx.resilient_parsing:
            raise Misuse(
                f"{PROGRAM} {args[0]} comes later: there is no such command yet.",
                hint=f"`{PROGRAM} --help` lists those there are.",
            )
        if args[0] not in COMMANDS and not ctx.resilient_parsing:
            hint = nearest(args[0], COMMANDS, otherwise=f"`{PROGRAM} --help` lists the commands.")
            raise Misuse(f"There is no command {args[0]!r}.", hint=hint)
        return super().resolve_command(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Options, then the commands."""
        _write_options(self, ctx, formatter)
        self.format_commands(ctx, formatter)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's own
        """The list of commands, without loading any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in COMMANDS.items()])


def _write_options(command: click.Command, ctx: click.Context, formatter: click.HelpFormatter) -> None:
    own: list[tuple[str, str]] = []
    common: list[tuple[str, str]] = []
    for parameter in command.get_params(ctx):
        record = parameter.get_help_record(ctx)
        if record is not None and isinstance(parameter, click.Option):
            (common if isinstance(parameter, GlobalOption) else own).append(record)
    for title, records in (("Options", own), ("Global options (before or after the command)", common)):
        if records:
            with formatter.section(title):
                formatter.write_dl(records)
