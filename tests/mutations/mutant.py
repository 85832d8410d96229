"""What a mutant is, and how it gets into a copy of the source."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Mutant:
    """`old` stands in `file` exactly once; with `new` in its place, each of `tests` fails (one of its cases does).

    `invariants` are the numbers of those that no longer hold.
    """

    name: str
    invariants: tuple[int, ...]
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def applied(self, source: str) -> str:
        """The changed source; `ValueError` where it no longer applies."""
        count = source.count(self.old)
        if count != 1:
            raise ValueError(f"{self.name}: what it changes stands {count} times in {self.file}.")
        return source.replace(self.old, self.new)


def apply(mutant: Mutant, folder: Path) -> None:
    """Change the source below a folder."""
    path = folder / mutant.file
    path.write_text(mutant.applied(path.read_text(encoding="utf-8")), encoding="utf-8")
