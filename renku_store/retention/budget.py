"""The size budget: which revisions go, until what stays fits. Pure.

What a revision frees is what no other one that stays needs. At each step the older half of those that may go is looked
at (rounded up); of it goes the one whose freed bytes cost least to make, per byte; where none of them frees anything by
itself, the oldest. Recency bounds the choice and price decides in it, as in GreedyDual-Size caching (P. Cao, S. Irani:
Cost-Aware WWW Proxy Caching Algorithms, 1997), without its clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Holding:
    """Blobs that the same revisions need: bit N of `holders` says whether revision N does.

    `bytes` are those on the disk, `cost` is what the calls took that made them, in US dollars.
    """

    holders: int
    bytes: int
    cost: float = 0.0


def mask(numbers: Iterable[int]) -> int:
    """The bits of some revisions."""
    found = 0
    for number in numbers:
        found |= 1 << number
    return found


def stored(holdings: Iterable[Holding], revisions: int) -> int:
    """The bytes that some revisions (as a mask) need together."""
    return sum(holding.bytes for holding in holdings if holding.holders & revisions)


def over_budget(
    holdings: Sequence[Holding], *, staying: Iterable[int], expirable: Iterable[int], max_bytes: int
) -> Iterator[int]:
    """The revisions that have to go until all that stay need at most `max_bytes`, in the order in which they go.

    `expirable` may go, `staying` may not. Where the budget cannot be met, all of `expirable` go.
    """
    left = sorted(expirable)
    present = mask([*staying, *left])
    remaining = [holding for holding in holdings if holding.holders & present]
    total = sum(holding.bytes for holding in remaining)
    while total > max_bytes and left:
        number = _next(remaining, present, left[: (len(left) + 1) // 2])
        left.remove(number)
        present &= ~(1 << number)
        gone = {id(holding) for holding in remaining if not holding.holders & present}
        total -= sum(holding.bytes for holding in remaining if id(holding) in gone)
        remaining = [holding for holding in remaining if id(holding) not in gone]
        yield number


def _next(holdings: Iterable[Holding], present: int, choice: Sequence[int]) -> int:
    freed: dict[int, tuple[int, float]] = {}
    for holding in holdings:
        holders = holding.holders & present
        if holders & (holders - 1) == 0:
            number = holders.bit_length() - 1
            size, cost = freed.get(number, (0, 0.0))
            freed[number] = size + holding.bytes, cost + holding.cost
    prices = {number: freed[number][1] / freed[number][0] for number in choice if number in freed and freed[number][0]}
    return min(prices, key=lambda number: (prices[number], number)) if prices else choice[0]
