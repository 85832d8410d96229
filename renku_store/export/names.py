"""File names for artefacts: safe on every file system, and never two that a file system could take for one. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from itertools import count
from typing import Final

from renku_store.hashing import hash_bytes
from renku_store.media_types import extension

INDEX: Final = ".renku-export.json"
MANIFEST: Final = "manifest.json"
TIMELINE: Final = "timeline.json"
NAME_MAX_BYTES: Final = 200
"""File systems take 255 bytes; temp files and other programs' suffixes need room."""

_UNSAFE: Final = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*]')
_DEVICES: Final = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)


def file_names(mime_types: Mapping[str, str]) -> dict[str, str]:
    """A file name for each artefact id, given the MIME types: the id, and the type's extension.

    Characters that some file system refuses become `_`. Where two ids would differ by such a character, by case, by
    Unicode form or by being too long only, all but the first (by id) get a part of their own: eight hex digits of the
    id's hash; or of another one that is made of the id, where somebody has given an artefact that very name.
    """
    taken = {_folded(name) for name in (INDEX, MANIFEST, TIMELINE)}
    names: dict[str, str] = {}
    for key in sorted(mime_types):
        suffix = extension(mime_types[key])
        name = _fitted(key, suffix, "")
        for number in count():
            if _folded(name) not in taken:
                break
            name = _fitted(key, suffix, _mark(key, number))
        taken.add(_folded(name))
        names[key] = name
    return names


def is_plain_name(name: str) -> bool:
    """Whether this can only be a file in the folder itself."""
    return bool(name) and name not in {".", ".."} and not _UNSAFE.search(name)


def _mark(key: str, number: int) -> str:
    """The parts that a name of an id may get, one after another."""
    text = f"{key}\n{number}" if number else key
    return "~" + hash_bytes(text.encode())[:8]


def _fitted(key: str, suffix: str, mark: str) -> str:
    stem = _UNSAFE.sub("_", key).strip(". ") or "_"
    if _DEVICES.match(stem):
        stem = "_" + stem
    if stem.lower().endswith(suffix.lower()) and suffix:
        stem = stem[: -len(suffix)] or "_"
    data = (stem + mark + suffix).encode()
    if len(data) <= NAME_MAX_BYTES:
        return stem + mark + suffix
    mark = mark or _mark(key, 0)
    kept = stem.encode()[: NAME_MAX_BYTES - len((mark + suffix).encode())].decode(errors="ignore")
    return kept + mark + suffix


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())
