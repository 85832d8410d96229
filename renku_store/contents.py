"""Whether bytes can be what their MIME type says, as far as the first of them tell. Pure."""

from __future__ import annotations

from typing import Final

from renku_store.media_types import is_text

HEAD_BYTES: Final = 16
"""How much of a content `contradiction` looks at."""

_RIFF: Final = {b"WAVE": "WAV", b"WEBP": "WebP"}
_STARTS: Final = {
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"\x1a\x45\xdf\xa3": "Matroska",
    b"OggS": "Ogg",
    b"fLaC": "FLAC",
    b"ID3": "MP3",
    b"%PDF-": "PDF",
}
_TYPES: Final = {
    "PNG": {"image/png", "image/apng"},
    "JPEG": {"image/jpeg", "image/jpg"},
    "GIF": {"image/gif"},
    "WebP": {"image/webp"},
    "WAV": {"audio/wav", "audio/x-wav", "audio/wave", "audio/vnd.wave"},
    "MP4": {"video/mp4", "audio/mp4", "audio/x-m4a", "video/quicktime", "image/heic", "image/heif", "image/avif"},
    "Matroska": {"video/webm", "audio/webm", "video/x-matroska", "audio/x-matroska"},
    "Ogg": {"audio/ogg", "video/ogg", "application/ogg", "audio/opus"},
    "FLAC": {"audio/flac", "audio/x-flac"},
    "MP3": {"audio/mpeg", "audio/mp3"},
    "PDF": {"application/pdf"},
}
"""The types that each of these formats goes by; a type that is not here could be anything."""
_KNOWN: Final = frozenset().union(*_TYPES.values())


def contradiction(mime_type: str, head: bytes) -> str | None:
    """Why content that begins with `head` cannot be of this type, as such as `JPEG data`; None if it can.

    Only what is certain counts: a format that gives itself away where the type means another, and nothing at all where
    the type is not one of text.
    """
    essence = mime_type.partition(";")[0].strip().lower()
    if not head:
        return None if is_text(essence) else "empty"
    found = _format(head)
    if found is None or essence in _TYPES[found]:
        return None
    return f"{found} data" if essence in _KNOWN or is_text(essence) else None


def _format(head: bytes) -> str | None:
    if head[:4] == b"RIFF":
        return _RIFF.get(head[8:12])
    if head[4:8] == b"ftyp":
        return "MP4"
    return next((name for start, name in _STARTS.items() if head.startswith(start)), None)
