"""Where the program begins: `renku-store`, and `python -m renku_cli`, which is the same."""

from __future__ import annotations

import sys
from collections.abc import Callable

from renku_cli.table import load


def main() -> int:
    """Load the command line, and run it. As with any command, no garbage is looked for among what is being loaded."""
    started: Callable[[], int] = load("main:main")
    return started()


if __name__ == "__main__":
    sys.exit(main())
