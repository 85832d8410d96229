"""pydantic's plugins, which it looks for among all installed packages: of use only where others' code is called."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_VARIABLE: Final = "PYDANTIC_DISABLE_PLUGINS"
_NONE: Final = "__all__"


class _Plugins:
    """Whether it was said here that there are none: what the environment says stands."""

    held_back = False


@contextmanager
def without_plugins() -> Iterator[None]:
    """Let none be looked for until the block ends, or `allow_plugins` is called."""
    if _VARIABLE not in os.environ:
        os.environ[_VARIABLE] = _NONE
        _Plugins.held_back = True
    try:
        yield
    finally:
        allow_plugins()


def allow_plugins() -> None:
    """Let the handlers of producers, and the programs that they start, find theirs."""
    if _Plugins.held_back:
        os.environ.pop(_VARIABLE, None)
        _Plugins.held_back = False
