"""What is added to stores: contents, each another one. Needs the standard library only."""

from __future__ import annotations

import json
from collections.abc import Iterator
from random import Random

JSON_BYTES = 120
"""About what one entry of a JSON content takes."""


def contents(number: int, count: int, size: int) -> Iterator[bytes]:
    """Those of a round: `count` of `size` bytes, made by one copy each as they are asked for, which all sides pay."""
    random = Random(f"{size} {number}")
    body = random.randbytes(size - 16)
    for _ in range(count):
        yield random.randbytes(16) + body


def json_contents(number: int, count: int, size: int) -> Iterator[bytes]:
    """The same of JSON, cut to size: segments of a narration, which zstd compresses to less than half."""
    random = Random(f"json {size} {number}")
    words = [f"{random.getrandbits(30):x}" for _ in range(200)]
    segments = [
        {"segment": place, "text": " ".join(random.choices(words, k=12)), "seconds": round(random.random() * 9, 2)}
        for place in range(size // JSON_BYTES + 1)
    ]
    body = json.dumps(segments).encode()[: size - 26]
    for place in range(count):
        yield b'{"id":"%08x-%04x","n":' % (place, number & 0xFFFF) + body
