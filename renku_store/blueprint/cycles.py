"""Names that wait for names: an order in which each comes after what it waits for, or the cycle that prevents one."""

from __future__ import annotations

from collections.abc import Collection, Mapping


def in_order(waits: Mapping[str, Collection[str]]) -> tuple[list[str], list[str]]:
    """All names in such an order, and no cycle; or an incomplete order, and one cycle (a, b, a: b waits for a).

    Every name that is waited for must be a key of `waits`.
    """
    followers: dict[str, list[str]] = {name: [] for name in waits}
    counts = {name: len(set(befores)) for name, befores in waits.items()}
    for name, befores in waits.items():
        for before in dict.fromkeys(befores):
            followers[before].append(name)
    order = [name for name, count in counts.items() if not count]
    for name in order:
        for follower in followers[name]:
            counts[follower] -= 1
            if not counts[follower]:
                order.append(follower)
    return order, [] if len(order) == len(waits) else _cycle(waits, {name for name in waits if counts[name]})


def _cycle(waits: Mapping[str, Collection[str]], stuck: set[str]) -> list[str]:
    name = next(name for name in waits if name in stuck)
    path: list[str] = []
    places: dict[str, int] = {}
    while name not in places:
        places[name] = len(path)
        path.append(name)
        name = next(before for before in waits[name] if before in stuck)
    cycle = path[places[name] :][::-1]
    names = list(waits)
    first = cycle.index(min(cycle, key=names.index))
    return [*cycle[first:], *cycle[: first + 1]]
