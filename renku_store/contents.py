"""Whether bytes can be what their MIME type says, as far as the first of them tell. Pure."""

from __future__ import annotations

import codecs
from typing import Final

from renku_store.media_types import is_text

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
    b"PK\x03\x04": "ZIP",
    b"PK\x05\x06": "ZIP",
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
    "MP3": {"audio/mpeg", "audio/mp3", "audio/flac", "audio/x-flac"},
    "PDF": {"application/pdf"},
    "ZIP": {"application/zip", "application/x-zip-compressed"},
}
"""The types that each of these formats goes by; a type that is not here could be anything."""
_KNOWN: Final = frozenset().union(*_TYPES.values())
_TEXT_CONTROLS: Final = frozenset("\t\n\v\f\r\x1b")
"""Control characters that people's text has: white space, and escapes for terminals."""


def contradiction(mime_type: str, head: bytes) -> str | None:
    """Why content that begins with `head`, a kilobyte or more, cannot be of this type, as `JPEG data`; None if it can.

    Only what is certain counts: a format that gives itself away, or plain text, where the type means another; and
    nothing at all where the type is not one of text. Of a type that is not known here everything can be right, and
    what is plain text can always be of a type of text.
    """
    essence = mime_type.partition(";")[0].strip().lower()
    if not head:
        return None if is_text(essence) else "empty"
    plain, found = _is_plain_text(head), _format(head)
    if is_text(essence):
        return f"{found} data" if found and not plain else None
    if essence not in _KNOWN or (found and essence in _TYPES[found]):
        return None
    if found:
        return f"{found} data"
    late_pdf = essence == "application/pdf" and b"%PDF-" in head  # which its readers take with lines before it
    return "text" if plain and not late_pdf else None


def _is_plain_text(head: bytes) -> bool:
    """Whether this is UTF-8, perhaps cut within a character, without control characters that text does not have."""
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return all(character.isprintable() or character in _TEXT_CONTROLS or ord(character) > 0x9F for character in text)


def _format(head: bytes) -> str | None:
    if head[:4] == b"RIFF":
        return _RIFF.get(head[8:12])
    if head[4:8] == b"ftyp":
        return "MP4"
    return next((name for start, name in _STARTS.items() if head.startswith(start)), None)
