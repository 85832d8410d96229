"""What is added to stores: contents that cannot be compressed, each another one. Needs the standard library only."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random


def contents(number: int, count: int, size: int) -> Iterator[bytes]:
    """Those of a round: `count` of `size` bytes, made by one copy each as they are asked for, which all sides pay."""
    random = Random(f"{size} {number}")
    body = random.randbytes(size - 16)
    for _ in range(count):
        yield random.randbytes(16) + body
