"""The packages of others, each in an environment of its own below one folder, installed once and kept."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

PACKAGES: Final = {
    "stores": ("disk-objectstore==1.5.0", "diskcache==5.6.3"),
    "dvc": ("dvc==3.67.1",),
    "doit": ("doit==0.37.0",),
    "redun": ("redun==0.44.1",),
    "dagster": ("dagster==1.13.29",),
    "snakemake": ("snakemake==9.27.1",),
}
"""By the name of an environment. They are no dependencies of ours, and some want what others cannot bear."""
_TOLD: Final = "installed.txt"


def programs(folder: Path, name: str) -> Path:
    """Where Python and the programs of an environment are; it is made first unless it has just these packages."""
    place, wanted = folder.resolve() / name, " ".join(PACKAGES[name])
    told = place / _TOLD
    if not told.exists() or told.read_text(encoding="utf-8") != wanted:
        print(f"installing {wanted} into {place} ...", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(place)], check=True)
        subprocess.run([str(place / "bin/python"), "-m", "pip", "install", "-q", *PACKAGES[name]], check=True)
        told.write_text(wanted, encoding="utf-8")
    return place / "bin"
