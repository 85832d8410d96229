"""Names of objects as keys of a bucket, and back.

A key is the prefix of the root and the name. Control characters and backslashes, which servers refuse, change or cannot
list, become the percent-encoding of their UTF-8, as does the percent sign; names of this project have none of them.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote, unquote

from renku_store.drivers.tree import check_name, is_name
from renku_store.errors import InvalidIdError

_ENCODED: Final = re.compile("[\x00-\x1f\x7f-\x9f%\\\\\ufffe\uffff]")


class Keys:
    """The keys below one folder of a bucket; `prefix` ends in a slash, or is empty."""

    def __init__(self, prefix: str) -> None:
        self.prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""

    def key(self, name: str) -> str:
        """The key of an object; `InvalidIdError` for what is not an object name."""
        return f"{self.prefix}{_encoded(name)}"

    def folder(self, prefix: str) -> str:
        """The prefix of the keys below a folder (ends in `/`, or empty)."""
        return f"{self.key(prefix.rstrip('/'))}/" if prefix else self.prefix

    def name(self, key: str) -> str | None:
        """The name of the object that has a key; None where no name has it, as with what other programs make.

        Such as the empty objects ending in `/` by which they mark folders.
        """
        name = unquote(key[len(self.prefix) :])
        return name if is_name(name) and self.key(name) == key else None


def _encoded(name: str) -> str:
    checked = check_name(name)
    if checked.isascii() and checked.isprintable() and not ("%" in checked or "\\" in checked):
        return checked
    try:
        checked.encode()
    except UnicodeEncodeError as error:
        raise InvalidIdError(
            f"{name!a} is not an object name.", hint="An object storage takes names that are text only."
        ) from error
    return _ENCODED.sub(lambda found: quote(found[0], safe=""), checked)
