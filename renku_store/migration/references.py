"""Paths into revision folders become references to artefacts, wherever they stand in a value. Pure.

A text that begins with `assets/` (or `./assets/`) is such a path; `{"artefact": ID}` takes its place.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Final
from urllib.parse import unquote

from renku_store.migration.reading import safe_id
from renku_store.records._base import Json

PREFIX: Final = "assets/"
CURRENT: Final = "assets/current/"
_ELSEWHERE: Final = re.compile(
    r"(?:file:(?://)?|(?=[/.])|(?=[^\s:/]+/))((?:[^\n:/]*/)*)(assets/(?:rev\d{1,9}(?:_cons)?|current)/[^\n]+)"
)
"""A path into a revision folder that begins above it: `/builds/film/assets/rev0/a.png`, or as a URL of a file."""
_SOUND: Final = frozenset({"narration", "music", "voice", "sound", "speech", "sfx"})

Find = Callable[[str, Mapping[str, Json], str], str | None]
"""The artefact that a path stands for, given the object that it stands in, and its key there; None: nothing tells."""


def asset_path(text: object) -> str | None:
    """The path that a text is; None for any other value."""
    if not isinstance(text, str):
        return None
    plain = text.removeprefix("./")
    return plain if plain.startswith(PREFIX) or _ELSEWHERE.fullmatch(plain) else None


def within(path: str, names: Collection[str]) -> str:
    """A path below `assets/` for one that leads there through a folder of one of these names; any other as it is."""
    match = None if path.startswith(PREFIX) else _ELSEWHERE.fullmatch(path)
    if match is None or match[1].strip("/").rpartition("/")[2] not in {"", ".", *names}:
        return path
    return unquote(match[2]) if path.startswith("file:") else match[2]


def referring(value: Json, find: Find, ids: Collection[str] = ()) -> Json:
    """The value with every path replaced; one that stands for nothing becomes null.

    So is an asset id (`imageAssetId`) that is one of these old `ids`, by the new one.
    """
    return _replaced(value, find, ids, {}, "")


def _replaced(value: Json, find: Find, ids: Collection[str], around: Mapping[str, Json], key: str) -> Json:
    if isinstance(value, dict):
        return {inner: _replaced(item, find, ids, value, inner) for inner, item in value.items()}
    if isinstance(value, list):
        return [_replaced(item, find, ids, around, key) for item in value]
    if isinstance(value, str) and key.endswith("AssetId") and value in ids:
        return safe_id(value)
    path = asset_path(value)
    if path is None:
        return value
    artefact = find(path, around, key)
    return None if artefact is None else {"artefact": artefact}


def paths_in(value: Json) -> Iterator[tuple[str, Mapping[str, Json], str]]:
    """Every path in a value, with the object that it stands in, and its key there; those of lists in their order."""
    waiting: list[tuple[Json, Mapping[str, Json], str]] = [(value, {}, "")]
    while waiting:
        item, around, key = waiting.pop()
        if isinstance(item, dict):
            waiting.extend((below, item, inner) for inner, below in reversed(item.items()))
        elif isinstance(item, list):
            waiting.extend((below, around, key) for below in reversed(item))
        elif (path := asset_path(item)) is not None:
            yield path, around, key


def named_beside(around: Mapping[str, Json], key: str) -> str | None:
    """The asset id that belongs to a path: `imageAssetId` beside `imageUrl`, the only one there, or that of sound."""
    ids = {name[: -len("AssetId")].lower(): value for name, value in around.items() if name.endswith("AssetId")}
    texts = {stem: value for stem, value in ids.items() if isinstance(value, str) and value}
    stem = key.lower().removesuffix("url").removesuffix("path")
    if stem in texts:
        return texts[stem]
    paths = [name for name, value in around.items() if asset_path(value) is not None]
    if len(texts) == 1 and len(paths) == 1:
        return next(iter(texts.values()))
    sounds = [value for name, value in texts.items() if name in _SOUND]
    return sounds[0] if stem == "audio" and len(sounds) == 1 else None
