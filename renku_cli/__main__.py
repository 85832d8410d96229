"""`python -m renku_cli` is `renku-store`."""

from __future__ import annotations

import sys

from renku_cli.main import run

if __name__ == "__main__":
    sys.exit(run())
