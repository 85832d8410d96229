"""Which jobs wait for which, and in what order, as positions in arrays."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from itertools import groupby


class Rows:
    """Lists of positions, one per job, end to end in one array."""

    __slots__ = ("_starts", "_targets")

    def __init__(self, starts: array[int], targets: array[int]) -> None:
        self._starts = starts
        self._targets = targets

    @classmethod
    def collect(cls, rows: Iterable[Iterable[int]]) -> Rows:
        """The lists of all jobs, in order."""
        starts, targets = array("q", [0]), array("i")
        for row in rows:
            if row:
                targets.extend(row)
            starts.append(len(targets))
        return cls(starts, targets)

    def of(self, position: int) -> array[int]:
        """The list of one job."""
        return self._targets[self._starts[position] : self._starts[position + 1]]

    def turned(self) -> Rows:
        """The same pairs seen from their other ends; each row is sorted."""
        size = len(self._starts) - 1
        starts = array("q", [0]) * (size + 1)
        for target in self._targets:
            starts[target + 1] += 1
        for position in range(size):
            starts[position + 1] += starts[position]
        free = starts[:]
        targets = array("i", [0]) * len(self._targets)
        for position in range(size):
            for target in self.of(position):
                targets[free[target]] = position
                free[target] += 1
        return Rows(starts, targets)


def by_layer(layers: Sequence[int]) -> array[int]:
    """The positions by the layers that they have, within a layer in their own order."""
    places = [array("i") for _ in range(max(layers, default=-1) + 1)]
    start = 0
    for layer, run in groupby(layers):  # mostly those of a whole producer
        end = start + len([*run])
        places[layer].extend(range(start, end))
        start = end
    return sum(places, array("i"))
