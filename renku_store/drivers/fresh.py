"""New objects of folders that are not there yet: written into a folder of their own, which gets its name as a whole.

Keeps invariant 2 as a rename of each would: all of it is synced before the one name appears in which they all do. A
first import is spared two entries of folders for each object.
"""

from __future__ import annotations

import contextlib
import os
import stat

from renku_store.drivers.tree import TEMPORARY, Tree
from renku_store.durability import step

Pairs = list[tuple[str, str]]
"""Temporary files, each with the path that it shall have."""


class FreshFolders:
    """The folders that one batch makes; for one thread."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._made: dict[str, tuple[str, dict[str, str]] | None] = {}
        """By the name to come: where a folder is, and its files; None for one that is there."""
        self._likes: dict[str, bool] = {}

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
        if not self._tree.renames or os.path.lexists(folder) or not self._alike(os.path.dirname(folder)):
            return None
        place = self._tree.new_temporary()
        made = self._made[folder] = (place, dict[str, str]())
        try:
            self._tree.make_folder(place)
        except BaseException:
            del self._made[folder]
            with contextlib.suppress(OSError):
                os.rmdir(place)
            raise
        return made

    def _alike(self, above: str) -> bool:
        """Whether a folder that is made in `tmp` belongs to the group to which it would there (by its setgid bit)."""
        if above not in self._likes:
            groups = {_group(path) for path in (f"{self._tree.root}/{TEMPORARY}", above) if os.path.lexists(path)}
            self._likes[above] = len(groups) <= 1
        return self._likes[above]

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
            place, files = made
            if _holds(place, len(files)) and self._tree.take_folder(place, folder):
                named.append(folder)
            else:
                left += files.items()
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


def _group(folder: str) -> int | None:
    """The group of what is made in a folder; None for that of who makes it."""
    status = os.stat(folder)
    return status.st_gid if status.st_mode & stat.S_ISGID else None


def _holds(folder: str, count: int) -> bool:
    """Whether it has so many files, as far as can be told: one may have been taken away by whoever clears `tmp`."""
    try:
        return len(os.listdir(folder)) == count
    except OSError:
        return False
