"""The registry of handlers, made when somebody asks it: who finds nothing to run has no need of it."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, redirect_stdout
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


class Handlers:
    """The registry of a call of the command line."""

    @cached_property
    def registry(self) -> ProducerRegistry:
        """What comes along, and what installed packages offer."""
        return renku_store.default_registry()

    def price(self, node: GraphNode) -> CostRule | None:
        """What a call of a node is expected to take."""
        return self.registry.price(node)
