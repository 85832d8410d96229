"""Where the program begins: `renku-store`, and `python -m renku_cli`, which is the same."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from renku_cli.table import load

_INTERRUPTED: Final = 130
_TOLD: Final = b"error: Interrupted.\n"
_TOLD_AS_JSON: Final = b'{"error": {"kind": "Interrupted", "message": "Interrupted.", "hint": ""}}\n'


def main() -> int:
    """Load the command line, and run it. As with any command, no garbage is looked for among what is being loaded.

    Ctrl-C while it is being loaded ends as it does later, though nothing is there yet that would say so.
    """
    try:
        started: Callable[[], int] = load("main:main")
        return started()
    except KeyboardInterrupt:
        with suppress(OSError):  # nobody may read that any more
            os.write(2, _TOLD_AS_JSON if "--json" in sys.argv else _TOLD)
        return _INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
