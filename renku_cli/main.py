"""The entry point: arguments in, exit code out; every error becomes one sentence, a hint and a code."""

from __future__ import annotations

import gc
import io
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Final

import click

from renku_cli.failures import BROKEN_PIPE, failure_of, write_failure
from renku_cli.grammar import PROGRAM, CommandTable, GlobalOptions
from renku_cli.misuse import Misuse
from renku_store import __version__

_COMPLETE_VARIABLE: Final = "_RENKU_STORE_COMPLETE"


@click.command(cls=CommandTable, name=PROGRAM)
@click.version_option(__version__, prog_name=PROGRAM, message="%(prog)s %(version)s")
def cli() -> None:
    """Build AI-made movies so that only what changed is made anew, and nothing is paid for twice.

    A build root (--root, RENKU_STORE_ROOT, `renku-store config root`, else ./builds) holds movies. Try `renku-store
    demo`.
    """


def main() -> int:
    """`renku-store`: run the command line of this process, which ends then."""
    code = run()
    gc.freeze()  # else the interpreter looks for garbage among all that it is about to drop: 20 ms
    return code


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; `arguments` are those of the process where none are given."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    _prepare_streams()
    options = GlobalOptions()
    if instruction := os.environ.get(_COMPLETE_VARIABLE):
        complete: Callable[..., int] = import_module("click.shell_completion").shell_complete
        return complete(cli, {"obj": options}, PROGRAM, _COMPLETE_VARIABLE, instruction)
    try:
        code = _call(given, options)
        sys.stdout.flush()
    except BrokenPipeError:
        _silence(sys.stdout.fileno())
        return BROKEN_PIPE
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the end of the line: whatever it is gets a sentence
        return _fail(error, options, as_json=options.as_json or _asks_for_json(given))
    return code


def _call(arguments: list[str], options: GlobalOptions) -> int:
    """Parse and run. A command returns its exit code, or None for 0."""
    for argument in arguments:
        if "\0" in argument:  # from a caller in Python: the system hands none over
            raise Misuse(
                f"{argument!a} cannot be an argument: it holds a NUL character.", hint="Name something without it."
            )
    try:
        with cli.make_context(PROGRAM, arguments, obj=options) as ctx:
            code = cli.invoke(ctx)
            return code if isinstance(code, int) else 0
    except click.exceptions.Exit as stopped:
        return stopped.exit_code


def _fail(error: BaseException, options: GlobalOptions, *, as_json: bool) -> int:
    failure = failure_of(error)
    if options.debug:
        import_module("traceback").print_exception(error)
    if isinstance(error, click.exceptions.NoArgsIsHelpError) and not as_json:
        sys.stderr.write(error.message + "\n")
    else:
        write_failure(failure, as_json=as_json)
    return failure.exit_code


def _asks_for_json(arguments: list[str]) -> bool:
    """Whether --json was given, for errors that end the parsing before it is reached."""
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return "--json" in options


def _prepare_streams() -> None:
    """Let there be three streams, and text that their encoding does not have be written as escapes, which is no error.

    Where one was closed, the next file that is opened would take its place: what is printed would be written into it.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free, which is this one
            os.set_inheritable(opened, True)  # as streams are: a program that is started from here needs three, too
    if sys.stdin is None:
        sys.stdin = Path(os.devnull).open()  # noqa: SIM115 (as long as the program)
    if sys.stdout is None:
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _silence(descriptor: int) -> None:
    """Let what is still buffered for a closed pipe go nowhere, so that the interpreter's last flush succeeds."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)
