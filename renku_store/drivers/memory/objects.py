"""Bytes with their times under names, and the folders that these make: one step a change, under one lock."""

from __future__ import annotations

import threading
import time

from renku_store.drivers.base import ObjectStat
from renku_store.drivers.memory.locks import MemoryLocks
from renku_store.drivers.scratch import Scratch
from renku_store.errors import StoreUnavailableError


class Objects:
    """What is below one `memory://NAME`. Safe to use from many threads."""

    def __init__(self, name: str) -> None:
        self.url = f"memory://{name}"
        self.locks = MemoryLocks()
        self.scratch = Scratch()
        self.changing = threading.RLock()
        self.forgotten = False
        self._found: dict[str, tuple[bytes, float]] = {}
        self._folders: dict[str, dict[str, None]] = {}

    def forget(self) -> None:
        """Let go of everything; nobody can use it any more."""
        with self.changing:
            self.forgotten = True
            self._found.clear()
            self._folders.clear()
        self.scratch.remove()

    def get(self, name: str) -> bytes | None:
        """The bytes, or None."""
        found = self._found.get(name)
        return found[0] if found is not None else None

    def stat(self, name: str) -> ObjectStat | None:
        """Size and time, or None."""
        found = self._found.get(name)
        return ObjectStat(name, len(found[0]), found[1]) if found is not None else None

    def put(self, name: str, data: bytes, *, replace: bool, modified: float | None = None) -> bool:
        """Create an object, or replace it if that is wanted; False if it is there and is not to be replaced.

        Raises `StoreUnavailableError` where the name is a folder's, or a part of it an object's, as in a file system.
        """
        with self.changing:
            there = name in self._found
            if there and not replace:
                return False
            if not there:
                self._make_room(name)
            self._found[name] = (data, time.time() if modified is None else modified)
            return True

    def remove(self, name: str) -> None:
        """Remove an object, and the folders in which it was the last."""
        with self.changing:
            if self._found.pop(name, None) is None:
                return
            child = name
            while child:
                folder, last = _split(child)
                del self._folders[folder][last]
                if self._folders[folder]:
                    return
                del self._folders[folder]
                child = folder

    def move(self, name: str, target: str) -> bool:
        """Give an object another, free name, in one step."""
        with self.changing:
            found = self._found.get(name)
            if found is None or not self.put(target, found[0], replace=False, modified=found[1]):
                return False
            self.remove(name)
            return True

    def children(self, folder: str) -> list[str]:
        """The names directly below a folder; those of folders end in `/`."""
        with self.changing:
            return [*self._folders.get(folder, ())]

    def below(self, folder: str) -> list[ObjectStat]:
        """Every object below a folder, as they are at one moment."""
        found: list[ObjectStat] = []
        folders = [folder]
        with self.changing:
            while folders:
                level = folders.pop()
                for child in self._folders.get(level, ()):
                    stat = None if child.endswith("/") else self.stat(f"{level}{child}")
                    if stat is None:
                        folders.append(f"{level}{child}")
                    else:
                        found.append(stat)
        return found

    def _make_room(self, name: str) -> None:
        levels = [name[: end + 1] for end, letter in enumerate(name) if letter == "/"]
        taken = next((level for level in levels if level[:-1] in self._found), None)
        if taken is not None or f"{name}/" in self._folders:
            what = f"{taken[:-1]} is an object" if taken is not None else "this is a folder"
            raise StoreUnavailableError(f"Cannot write {self.url}/{name}: {what}.", hint="Choose another name.")
        child = name
        while child:
            folder, last = _split(child)
            there = self._folders.setdefault(folder, {})
            if last in there:
                return
            there[last] = None
            child = folder


def _split(name: str) -> tuple[str, str]:
    """The folder of a name, and the rest of it; a folder's name ends in `/`."""
    cut = name.rstrip("/").rfind("/") + 1
    return name[:cut], name[cut:]
