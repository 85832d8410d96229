"""What a call cost, from what the provider counted and a table of prices. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from renku_store.errors import ProducerError
from renku_store.records._base import Json

_MILLION: Final = 1_000_000
_KEYS: Final = ("input", "cachedInput", "output", "characters", "image")


@dataclass(frozen=True, slots=True)
class Usage:
    """What a call used: tokens in (of which some were cached) and out, characters spoken, images made."""

    input: int = 0
    cached: int = 0
    output: int = 0
    characters: int = 0
    images: int = 0


@dataclass(frozen=True, slots=True)
class Prices:
    """US dollars: per million tokens in, cached and out, per million characters, per image."""

    input: float = 0.0
    cached: float | None = None
    output: float = 0.0
    characters: float = 0.0
    image: float = 0.0

    def cost(self, usage: Usage) -> float:
        """US dollars for a call."""
        cached = self.input if self.cached is None else self.cached
        per_million = (
            (usage.input - usage.cached) * self.input
            + usage.cached * cached
            + usage.output * self.output
            + usage.characters * self.characters
        )
        return round(max(0.0, per_million / _MILLION + usage.images * self.image), 9)


def read_prices(table: Json) -> Prices:
    """Read a table of prices; raises `ProducerError` for one that is wrong."""
    if not isinstance(table, Mapping):
        raise ProducerError("The prices are not a mapping.", hint=f"Known keys are {', '.join(_KEYS)}.")
    given: dict[str, float] = {}
    for key, value in table.items():
        if key not in _KEYS or isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
            raise ProducerError(
                f"The price {key!r} is not known, or no number of dollars from 0.",
                hint=f"Known are {', '.join(_KEYS)}.",
            )
        given[key] = float(value)
    return Prices(
        input=given.get("input", 0.0),
        cached=given.get("cachedInput"),
        output=given.get("output", 0.0),
        characters=given.get("characters", 0.0),
        image=given.get("image", 0.0),
    )
