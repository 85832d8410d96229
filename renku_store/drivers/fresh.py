"""New objects of folders that are not there yet: written into a folder of their own, which gets its name as a whole.

Keeps invariant 2 as a rename of each would: all of it is synced before the one name appears in which they all do. A
first import is spared two entries of folders for each object.
"""

from __future__ import annotations

import contextlib
import os

from renku_store.drivers.tree import Tree
from renku_store.durability import step

Pairs = list[tuple[str, str]]
"""Temporary files, each with the path that it shall have."""


class FreshFolders:
    """The folders that one batch makes; for one thread."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._made: dict[str, tuple[str, dict[str, str]] | None] = {}
        """By the name to come: where a folder is, and its files; None for one that is there."""

    def place(self, target: str) -> str | None:
        """Where to write the file that shall be `target`; None if its folder is there, or the name was asked for."""
        folder = target[: target.rindex("/")]
        try:
            made = self._made[folder]
        except KeyError:
            made = self._made[folder] = self._make(folder)
        if made is None:
            return None
        place, files = made
        path = place + target[len(folder) :]
        if path in files:
            return None
        files[path] = target
        return path

    def _make(self, folder: str) -> tuple[str, dict[str, str]] | None:
        if not self._tree.renames or os.path.lexists(folder):
            return None
        place = self._tree.new_temporary()
        self._made[folder] = (place, {})
        self._tree.make_folder(place)
        return self._made[folder]

    def drop(self, path: str, target: str) -> None:
        """Forget a file that could not be written."""
        made = self._made[target[: target.rindex("/")]]
        if made is not None:
            del made[1][path]

    def name_all(self) -> tuple[list[str], Pairs]:
        """Give the folders their names; tells those, and the files of all others, to be named one by one."""
        named: list[str] = []
        left: Pairs = []
        for folder, made in self._made.items():
            if made is None:
                continue
            if self._tree.take_folder(made[0], folder):
                named.append(folder)
            else:
                left += made[1].items()
        for folder in named:
            del self._made[folder]
        return named, left

    def __bool__(self) -> bool:
        """Whether anything waits for a name."""
        return any(made is not None and made[1] for made in self._made.values())

    def close(self) -> None:
        """Remove what has no name."""
        while self._made:
            made = self._made.popitem()[1]
            if made is not None:
                for path in made[1]:
                    with contextlib.suppress(OSError), step("temporary remove"):
                        os.unlink(path)
                with contextlib.suppress(OSError), step("temporary remove"):
                    os.rmdir(made[0])
