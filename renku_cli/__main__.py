"""`python -m renku_cli` is `renku-store`."""

from __future__ import annotations

import sys

from renku_cli.main import main

if __name__ == "__main__":
    sys.exit(main())
