"""What is loaded when somebody asks for it: names of a room, or a library that few of a module's callers come to need.

A room uses `late_names` that everybody opens and few use whole: see `rebuild`. A module on the way of every start uses
`late_module` for what takes long to load and is needed only where there is work to do: see `archives`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from types import ModuleType


def late_names(room: str, names: Mapping[str, str]) -> Callable[[str], object]:
    """The `__getattr__` of a room: `names` are those that each of its modules gives, separated by spaces."""
    modules = {name: module for module, given in names.items() for name in given.split()}

    def __getattr__(name: str) -> object:  # noqa: N807 - what the room calls it
        if name not in modules:
            raise AttributeError(f"module {room!r} has no attribute {name!r}")
        return getattr(import_module(f"{room}.{modules[name]}"), name)

    return __getattr__


class late_module:  # noqa: N801 - stands where an import would
    """A library, not one of our rooms, that is loaded when something of it is asked for.

    Type checkers read the import beside it, under `TYPE_CHECKING`.
    """

    __slots__ = ("_module", "_name")

    def __init__(self, name: str) -> None:
        self._name = name
        self._module: ModuleType | None = None

    def __getattr__(self, name: str) -> object:
        module = self._module
        if module is None:
            module = self._module = import_module(self._name)
        return getattr(module, name)
