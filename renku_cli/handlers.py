"""The registry of handlers, made when somebody asks it: who finds nothing to run has no need of it."""

from __future__ import annotations

import os
import sys
from contextlib import AbstractContextManager, redirect_stdout, suppress
from functools import cached_property
from typing import TYPE_CHECKING, TextIO

import renku_store

if TYPE_CHECKING:
    from renku_store import CostRule, GraphNode, ProducerRegistry


def heard_apart() -> AbstractContextManager[TextIO]:
    """Let what the code of producers prints go to standard error: standard output is for what a command gives.

    Inside a view it is shown above that.
    """
    return redirect_stdout(sys.stderr)


def take_stdout() -> None:
    """From here on only this program writes to its standard output: what others write there goes to standard error.

    That is C code and the programs that functions of producers start, of which `heard_apart` hears nothing. It lasts:
    what C code has printed may be written as late as at the end of the process.
    """
    stream = sys.__stdout__
    with suppress(OSError):  # no descriptor is left, or it is no file
        if stream is not None and sys.stdout is stream and stream.fileno() == 1:
            stream.flush()
            # It stays open as long as the program, as the one in whose place it is.
            own = open(os.dup(1), "w", encoding=stream.encoding, errors=stream.errors, closefd=False)  # noqa: SIM115
            os.dup2(2, 1)
            sys.stdout = own


class Handlers:
    """The registry of a call of the command line."""

    @cached_property
    def registry(self) -> ProducerRegistry:
        """What comes along, and what installed packages offer."""
        return renku_store.default_registry()

    def price(self, node: GraphNode) -> CostRule | None:
        """What a call of a node is expected to take."""
        return self.registry.price(node)
