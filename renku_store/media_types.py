"""MIME types: which are text, and which file name extension they take."""

from __future__ import annotations

import mimetypes
from typing import Final

_TEXT: Final = frozenset(
    {
        "application/ecmascript",
        "application/javascript",
        "application/json",
        "application/ld+json",
        "application/toml",
        "application/x-subrip",
        "application/x-yaml",
        "application/xml",
        "application/yaml",
        "image/svg+xml",
    }
)
_EXTENSIONS: Final = {
    "application/json": ".json",
    "application/x-subrip": ".srt",
    "application/yaml": ".yaml",
    "audio/aac": ".aac",
    "audio/flac": ".flac",
    "audio/mpeg": ".mp3",
    "audio/ogg": ".ogg",
    "audio/wav": ".wav",
    "image/jpeg": ".jpg",
    "image/png": ".png",
    "image/webp": ".webp",
    "text/markdown": ".md",
    "text/plain": ".txt",
    "text/vtt": ".vtt",
    "video/mp4": ".mp4",
    "video/webm": ".webm",
}


def _essence(mime_type: str) -> str:
    return mime_type.partition(";")[0].strip().lower()


def is_text(mime_type: str) -> bool:
    """Whether content of this type is text for people: `text/*`, JSON, XML, YAML and their kin."""
    essence = _essence(mime_type)
    return essence.startswith("text/") or essence in _TEXT or essence.endswith(("+json", "+xml", "+yaml"))


def is_json(mime_type: str) -> bool:
    """Whether content of this type is a JSON document."""
    essence = _essence(mime_type)
    return essence == "application/json" or essence.endswith("+json")


def extension(mime_type: str) -> str:
    """The extension of a file of this type with its dot, such as `.png`; empty where none is known.

    The same on every machine for the types of this trade; the system's table is asked for others.
    """
    essence = _essence(mime_type)
    return _EXTENSIONS.get(essence) or mimetypes.guess_extension(essence, strict=False) or ""
