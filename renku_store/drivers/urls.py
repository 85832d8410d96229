"""What a root is called: its scheme, and the options that its driver does not know."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, TypeAlias

from renku_store.drivers.base import Driver
from renku_store.errors import InvalidValueError

DriverFactory: TypeAlias = Callable[[str, Mapping[str, Any]], Driver]
"""Opens the root of a URL with options, which go before those of the same name in the URL."""

_URL: Final = re.compile(r"([A-Za-z][A-Za-z0-9+._-]*)://")
"""As RFC 3986 has it, and with `_`, which some file systems of fsspec have in theirs."""
_UNSEEN: Final = re.compile(r"[\x00-\x1f\x7f]+")


def scheme_of(root: str) -> str | None:
    """The scheme of a URL in lower case, or None for a path; `InvalidValueError` for what is neither."""
    found = _URL.match(root)
    if found is not None:
        return found[1].lower()
    if "::" in root and "://" in root:
        raise InvalidValueError(
            f"{without_secrets(root)} is not a root.", hint="Roots are not chained: give the path or the URL itself."
        )
    if "://" in root and "/" not in root.partition("://")[0]:
        raise InvalidValueError(
            f"{without_secrets(root)} is not a root: no URL begins like this.",
            hint="Correct the URL; a folder of such a name is ./ and its name.",
        )
    return None


def without_secrets(url: str) -> str:
    """A URL to be shown: without a user's name and password, and without its options, which may hold some."""
    scheme, mark, rest = _UNSEEN.sub("", url).partition("://")
    if not mark:
        return url
    authority, slash, path = re.split(r"[?#]", rest, maxsplit=1)[0].partition("/")
    return f"{scheme.lower()}{mark}{authority.rpartition('@')[2]}{slash}{path}"


def checked_path(path: str) -> str:
    """The path of a file or folder of this machine; `InvalidValueError` for one with a NUL, which no path can hold."""
    if "\0" in path:
        raise InvalidValueError(
            f"{path!a} cannot be the name of a file or folder: it holds a NUL character.", hint="Correct the path."
        )
    return path


def refuse_unknown_options(url: str, options: Collection[str], known: Collection[str] = ()) -> None:
    """Raise `InvalidValueError` for the first option that the driver of a root does not know."""
    for option in sorted(set(options) - set(known)):
        near = difflib.get_close_matches(option, known, n=1)
        listed = f"Known are {', '.join(sorted(known))}." if known else "It has none."
        raise InvalidValueError(
            f"The driver of {without_secrets(url)} has no option {option}.",
            hint=f"Did you mean {near[0]}?" if near else listed,
        )
