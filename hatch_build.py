"""Compiles `renku_store/drivers/_bulk.c` when the package is built or installed from its source.

Where that cannot be done (not Linux, no compiler, no headers of Python) a warning says so: all works without it.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import sysconfig
from contextlib import suppress
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from packaging.tags import sys_tags

_SOURCE = "renku_store/drivers/_bulk.c"
_TARGET = "renku_store/drivers/_bulk.abi3.so"
_FLAGS = ("-O2", "-Wall", "-Wextra", "-Werror=implicit-function-declaration", "-fPIC", "-shared", "-s")


class CompiledPart(BuildHookInterface[Any]):
    """Adds the compiled part to a wheel, and lays it beside its source for an editable installation."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and say of the wheel for which platform it is."""
        del version
        if self.target_name != "wheel" or not _can_be_compiled():
            return
        root = Path(self.root)
        try:
            _compile(root / _SOURCE, root / _TARGET)
        except (OSError, ValueError, subprocess.CalledProcessError) as error:
            said = getattr(error, "stderr", None) or error
            self.app.display_warning(f"{_SOURCE} was not compiled; many small files will take longer. {said}")
            with suppress(OSError):  # of an earlier source
                (root / _TARGET).unlink()
            return
        # What the system is may be more than what this Python is: 32 bits on a kernel of 64.
        platforms = (tag.platform for tag in sys_tags())
        platform = next(name for name in platforms if not name.startswith(("manylinux", "musllinux")))
        build_data["pure_python"] = False
        build_data["tag"] = f"cp311-abi3-{platform}"
        build_data["force_include"][str(root / _TARGET)] = _TARGET


def _can_be_compiled() -> bool:
    """Whether this is a Python with the stable interface, on a system that has the calls."""
    stable = sys.implementation.name == "cpython" and not sysconfig.get_config_var("Py_GIL_DISABLED")
    return stable and sys.platform.startswith("linux")


def _compile(source: Path, target: Path) -> None:
    """Leaves an earlier target alone until there is a new one, which running programs do not see."""
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    new = target.with_suffix(f".{os.getpid()}.new")
    command = [*compiler, *_FLAGS, f"-I{sysconfig.get_path('include')}", str(source), "-o", str(new)]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL)
        new.replace(target)
    finally:
        new.unlink(missing_ok=True)
