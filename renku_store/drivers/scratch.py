"""A temporary folder that is made when somebody asks for it and goes with this process."""

from __future__ import annotations

import os
import threading
import weakref
from pathlib import Path
from typing import TYPE_CHECKING

from renku_store.drivers import posix
from renku_store.late import late_module

if TYPE_CHECKING:
    import shutil
    import tempfile
else:
    shutil = late_module("shutil")
    tempfile = late_module("tempfile")


class Scratch:
    """The folder; safe to ask from many threads. A process forked from the one that made it leaves it alone."""

    def __init__(self) -> None:
        self._folder: str | None = None
        self._removal: weakref.finalize[[str, int], Scratch] | None = None
        self._making = threading.Lock()

    def folder(self, name: str) -> Path:
        """The folder `name` (a relative path) in it; `StoreUnavailableError` where it cannot be made."""
        with self._making:
            if self._folder is None or not os.path.isdir(self._folder):
                try:
                    self._folder = tempfile.mkdtemp(prefix="renku-store-")
                except OSError as error:
                    raise posix.unavailable(error, "write below", tempfile.gettempdir()) from error
                self._removal = weakref.finalize(self, _remove, self._folder, os.getpid())
            path = os.path.join(self._folder, name)
        try:
            os.makedirs(path, exist_ok=True)
        except OSError as error:
            raise posix.unavailable(error, "make", path) from error
        return Path(path)

    def remove(self) -> None:
        """Remove the folder with all that is in it; asking for it again makes another one."""
        with self._making:
            if self._removal is not None:
                self._removal()
            self._folder = self._removal = None


def _remove(folder: str, process: int) -> None:
    if process == os.getpid():
        shutil.rmtree(folder, ignore_errors=True)
