"""The movie of a soak: a small graph whose every result can be told from the inputs."""

from __future__ import annotations

from hashlib import shake_256
from typing import Final

from renku_store.calls import FileItem, Item, Job, ValueItem
from renku_store.hashing import hash_bytes
from renku_store.records._base import Json

MOVIE: Final = "soak"
NUMBERS: Final = ("a", "b", "c", "d")
"""The inputs that are numbers; each has a chain of three jobs."""


def blueprint() -> str:
    """The movie's blueprint: results that are inline, plain blobs and packed blobs, and a film of them all."""
    chains = "".join(
        f"  {name}1: {{run: soak/inline, inputs: {{of: {name}}}, outputs: {{out: {{mimeType: text/plain}}}}}}\n"
        f"  {name}2: {{run: soak/noise, inputs: {{of: {name}1.out}},"
        " outputs: {out: {mimeType: application/octet-stream}}}\n"
        f"  {name}3: {{run: soak/long, inputs: {{of: {name}2.out}}, outputs: {{out: {{mimeType: text/plain}}}}}}\n"
        for name in NUMBERS
    )
    inputs = ", ".join(f"{name}: {{type: integer, default: 0}}" for name in NUMBERS)
    of = ", ".join(f"{name}: {name}3.out" for name in NUMBERS)
    return (
        f"inputs: {{{inputs}, title: {{type: string, default: none}}}}\nproducers:\n{chains}"
        f"  film: {{run: soak/inline, inputs: {{title: title, {of}}}, outputs: {{out: {{mimeType: text/plain}}}}}}\n"
    )


def content(producer: str, inputs: dict[str, str]) -> bytes:
    """What a job makes of the words that its inputs come to; nothing else decides it."""
    words = f"{producer}({', '.join(f'{name}={inputs[name]}' for name in sorted(inputs))})"
    match producer[1:]:
        case "2":
            return words.encode() + b"\n" + shake_256(words.encode()).digest(6_000)
        case "3":
            return (words + " and so on").encode() * 200
        case _:
            return words.encode()


def make(job: Job) -> bytes:
    """The output of a job."""
    return content(job.producer, {name: _words(item) for name, item in job.inputs.items()})


def _words(item: Item) -> str:
    match item:
        case ValueItem(value):
            return words_of(value)
        case FileItem(path, _):
            return words_of(path.read_bytes())
        case _:
            return "+".join(_words(place) for place in item if place is not None)


def words_of(value: Json | bytes) -> str:
    """How an input appears in what is made of it."""
    return hash_bytes(value) if isinstance(value, bytes) else hash_bytes(str(value).encode())[:16]


def expected_artefacts(values: dict[str, Json]) -> dict[str, str]:
    """The hash of every artefact of a movie whose inputs have these values."""
    made: dict[str, bytes] = {}
    for name in NUMBERS:
        made[f"{name}1"] = content(f"{name}1", {"of": words_of(values.get(name, 0))})
        made[f"{name}2"] = content(f"{name}2", {"of": words_of(made[f"{name}1"])})
        made[f"{name}3"] = content(f"{name}3", {"of": words_of(made[f"{name}2"])})
    film = {"title": words_of(values.get("title", "none")), **{name: words_of(made[f"{name}3"]) for name in NUMBERS}}
    made["film"] = content("film", film)
    return {f"{name}.out": hash_bytes(data) for name, data in made.items()}
