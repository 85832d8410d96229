"""`python -m renku_store.testing.soak [SECONDS [SEED]]`: exit code 1 where something was violated."""

from __future__ import annotations

import random
import sys
from pathlib import Path
from tempfile import mkdtemp

from renku_store.testing.soak.processes import soak

if __name__ == "__main__":
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(2**32)  # noqa: S311 (not a secret)
    folder = Path(mkdtemp(prefix="renku-soak-"))
    report = soak(folder, seconds=seconds, seed=seed)
    print("\n".join([report.summary(), *report.violations, f"all of it is in {folder}"]))  # noqa: T201
    sys.exit(bool(report.violations))
