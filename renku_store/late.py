"""Names that a room gives without loading where they are made, until somebody asks for them.

A room uses it that everybody opens and few use whole: see `rebuild`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module


def late_names(room: str, names: Mapping[str, str]) -> Callable[[str], object]:
    """The `__getattr__` of a room: `names` are those that each of its modules gives, separated by spaces."""
    modules = {name: module for module, given in names.items() for name in given.split()}

    def __getattr__(name: str) -> object:  # noqa: N807 - what the room calls it
        if name not in modules:
            raise AttributeError(f"module {room!r} has no attribute {name!r}")
        return getattr(import_module(f"{room}.{modules[name]}"), name)

    return __getattr__
