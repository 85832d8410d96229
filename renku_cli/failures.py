"""Errors on their way out: which exit code, and how they are written to standard error."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, TextIO

import click

from renku_cli.grammar import PROGRAM
from renku_cli.text import neutral, neutral_lines
from renku_store import (
    BadInputError,
    ConflictError,
    DamageError,
    InputConflictError,
    JobError,
    StoreError,
    UnusableError,
)

BAD_USE: Final = 2
INTERRUPTED: Final = 130
BROKEN_PIPE: Final = 141
"""What a shell reports for a program that a closed pipe ended (128 + SIGPIPE); nothing is printed."""
_MEMORY_HINT: Final = "Something that is read whole is too large: a page, a graph, a JSON artefact."
_SYSTEM_HINT: Final = "`renku-store doctor` shows what the system allows here, and how much room is left."
INTERNAL: Final = 70
"""EX_SOFTWARE of sysexits.h: a fault of this program, which the contract's codes do not cover."""

_EXIT_CODES: Final = {BadInputError: 2, ConflictError: 3, DamageError: 4, UnusableError: 5, JobError: 1}


class Failure(NamedTuple):
    """What there is to say about an error; `details` are further members of its JSON form."""

    kind: str
    message: str
    hint: str
    exit_code: int
    details: Mapping[str, Any] = {}


def failure_of(error: BaseException) -> Failure:
    """What to say about an error, whatever it is."""
    if isinstance(error, StoreError):
        code = next((code for group, code in _EXIT_CODES.items() if isinstance(error, group)), 1)
        return Failure(error.kind, error.message, error.hint, code, _details(error))
    if isinstance(error, click.UsageError):
        return Failure("UsageError", _sentence(error.format_message()), _usage_hint(error), BAD_USE)
    if isinstance(error, click.ClickException):
        return Failure("UsageError", _sentence(error.format_message()), f"`{PROGRAM} --help` shows more.", BAD_USE)
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return Failure("Interrupted", "Interrupted.", "", INTERRUPTED)
    if isinstance(error, OSError):
        place = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
        return Failure("StoreUnavailableError", f"{place}{error.strerror or error}.", _SYSTEM_HINT, 5)
    if isinstance(error, MemoryError):
        return Failure("StoreUnavailableError", "There is not enough memory for this.", _MEMORY_HINT, 5)
    return Failure(
        "InternalError",
        f"A fault of renku-store itself: {type(error).__name__}: {error}",
        "Run again with --debug for the traceback, and report it.",
        INTERNAL,
    )


def write_failure(failure: Failure, *, as_json: bool) -> None:
    """Write an error to standard error; nothing happens if nobody reads that any more."""
    try:
        if as_json:
            body = {"kind": failure.kind, "message": failure.message, "hint": failure.hint, **failure.details}
            sys.stderr.write(json.dumps({"error": body}) + "\n")
        else:
            sys.stderr.write(f"{paint('error:', '1;31', sys.stderr)} {neutral_lines(failure.message)}\n")
            if failure.hint:
                sys.stderr.write(f"{paint('hint:', '36', sys.stderr)} {neutral_lines(failure.hint)}\n")
            for name, (theirs, ours) in failure.details.get("values", {}).items():
                sys.stderr.write(f"  {neutral(name)}: theirs {json.dumps(theirs)}, ours {json.dumps(ours)}\n")
        sys.stderr.flush()
    except OSError:
        return


def paint(text: str, style: str, stream: TextIO) -> str:
    """The text in an ANSI style where the stream is a terminal that shows colours and nobody asked for none."""
    return f"\x1b[{style}m{text}\x1b[0m" if colourful(stream) else text


def colourful(stream: TextIO) -> bool:
    """Whether colours may be written to a stream (https://no-color.org: any non-empty NO_COLOR says no)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb"


def _details(error: StoreError) -> dict[str, Any]:
    if isinstance(error, InputConflictError):
        return {"values": {name: list(values) for name, values in error.values.items()}}
    return {}


def _sentence(message: str) -> str:
    return message if message.endswith((".", "?", "!", "\n")) else message + "."


def _usage_hint(error: click.UsageError) -> str:
    hint = getattr(error, "hint", "")
    near: list[str] = getattr(error, "possibilities", None) or []
    if hint or near:
        return str(hint or f"Did you mean {' or '.join(near)}?")
    return f"`{error.ctx.command_path if error.ctx else PROGRAM} --help` shows how it is used."
