"""Ids: what they look like, and one clear sentence when they do not."""

from __future__ import annotations

import re
from typing import Final

from renku_store import bounds
from renku_store.errors import InvalidIdError

_MOVIE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_REVISION: Final = re.compile(r"rev-(\d{4,12})")
_RUN: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_NOT_A_NAME: Final = re.compile(r"[/\\]|\.\.")
_PLAIN: Final = re.compile(rf"(?!\.\Z|.*\.\.)[!-.0-\[\]-~]{{1,{bounds.ID_MAX_BYTES}}}")
"""Ids as nearly all are, ASCII without blanks: known to be allowed by one look."""


def check_movie_id(movie: str) -> str:
    """Return the movie id, or raise `InvalidIdError`."""
    if not _MOVIE.fullmatch(movie):
        raise InvalidIdError(
            f"The movie id {shown_id(movie)} is not allowed.",
            hint="Use a letter or digit, then up to 127 letters, digits, dots, underscores or dashes.",
        )
    return movie


def check_id(thing: str, value: str) -> str:
    """Return the id of an input, artefact, job or producer (`thing` says which), or raise `InvalidIdError`.

    Ids are at most 512 bytes of printable text without slashes, backslashes, `..` or blanks at either end, so that each
    of them can be a name in a folder, an argument in a shell and a key in JSON.
    """
    if not value:
        raise InvalidIdError(
            f"An {thing} id may not be empty." if thing[0] in "aeiou" else f"A {thing} id may not be empty.",
            hint="Give it a name.",
        )
    if _PLAIN.fullmatch(value):
        return value
    if len(value.encode("utf-8", "surrogatepass")) > bounds.ID_MAX_BYTES:
        raise InvalidIdError(
            f"The {thing} id {shown_id(value)} is longer than {bounds.ID_MAX_BYTES} bytes.", hint="Shorten it."
        )
    if value == "." or not value.isprintable() or value != value.strip() or _NOT_A_NAME.search(value):
        raise InvalidIdError(
            f"The {thing} id {shown_id(value)} is not allowed.",
            hint="Leave out slashes, backslashes, '..', control characters, and blanks at the ends.",
        )
    return value


def revision_name(number: int) -> str:
    """`rev-0001` for 1; numbers start at 1."""
    return f"rev-{number:04d}"


def revision_number(revision: str) -> int:
    """1 for `rev-0001`; raises `InvalidIdError` for anything that is not a revision's one right name."""
    match = _REVISION.fullmatch(revision)
    if match is None or int(match[1]) == 0 or revision_name(int(match[1])) != revision:
        raise InvalidIdError(f"{shown_id(revision)} is not a revision.", hint="Revisions look like rev-0001.")
    return int(match[1])


def check_run_id(run: str) -> str:
    """Return the run id (a UUID of version 7), or raise `InvalidIdError`."""
    if not _RUN.fullmatch(run):
        raise InvalidIdError(f"{shown_id(run)} is not a run id.", hint="`renku-store status` lists the runs.")
    return run


def check_hash(digest: str) -> str:
    """Return the digest, or raise `InvalidIdError` unless it is 64 lower-case hex digits."""
    try:
        is_hash = len(digest) == 64 and bytes.fromhex(digest).hex() == digest  # half the time of a pattern
    except ValueError:
        is_hash = False
    if not is_hash:
        raise InvalidIdError(f"{shown_id(digest)} is not a hash.", hint="Hashes are 64 lower-case hex digits.")
    return digest


def shown_id(value: str) -> str:
    """The start of an id in quotes, in ASCII, short enough for a message."""
    text = ascii(value)
    return text if len(text) <= 80 else text[:60] + "...'"
