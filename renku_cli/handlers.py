"""The registry of handlers, made when somebody asks it: who finds nothing to run has no need of it."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import renku_store

if TYPE_CHECKING:
    from renku_store import CostRule, GraphNode, ProducerRegistry


class Handlers:
    """The registry of a call of the command line."""

    @cached_property
    def registry(self) -> ProducerRegistry:
        """What comes along, and what installed packages offer."""
        return renku_store.default_registry()

    def price(self, node: GraphNode) -> CostRule | None:
        """What a call of a node is expected to take."""
        return self.registry.price(node)
