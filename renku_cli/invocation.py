"""How this program was called, so that a printed command works when it is copied."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

from renku_cli.grammar import PROGRAM


def program(argv0: str | None = None) -> str:
    """The words, quoted, that call this program again from the present folder."""
    called = sys.argv[0] if argv0 is None else argv0
    if Path(called).name == "__main__.py":
        return f"{shlex.quote(_from_here(sys.executable))} -m renku_cli"
    if Path(called).name != PROGRAM:
        return PROGRAM
    found = shutil.which(PROGRAM)
    if os.sep not in called or (found is not None and _same(found, called)):
        return PROGRAM
    return shlex.quote(_from_here(called))


def command_line(*words: str) -> str:
    """A command of this program with its arguments, quoted for a shell."""
    return " ".join([program(), *(shlex.quote(word) for word in words)])


def _from_here(path: str) -> str:
    """The path from the present folder where that is below it."""
    if not Path(path).is_absolute():
        return path
    here = Path.cwd()
    return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else path


def _same(one: str, other: str) -> bool:
    try:
        return Path(one).samefile(other)
    except OSError:
        return False
