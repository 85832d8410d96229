"""Tags: names that people give to revisions, which then never expire.

A tag that cannot be read might protect any revision: whoever is about to let revisions go reads all of them, and ends
with the error where one is damaged.
"""

from __future__ import annotations

import re
from typing import Final

from renku_store.drivers.base import Driver
from renku_store.errors import (
    BlobCorruptError,
    BlobMissingError,
    DamageError,
    InvalidIdError,
    StoreError,
    StoreUnavailableError,
)
from renku_store.hashing import canonical_document
from renku_store.records._base import RecordError
from renku_store.records.ids import revision_number
from renku_store.records.manifest import Tag

RETENTION_LOCK: Final = "retention"
"""The lock under which tags, and marks of expired revisions, are made and removed, and manifests become stubs."""

_TAG: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_LIKE_A_REVISION: Final = re.compile(r"latest|(rev-?)?\d+", re.IGNORECASE)
_SUFFIX: Final = ".json"


def check_tag_name(name: str) -> str:
    """Return the name, or raise `InvalidIdError` for one that is not allowed, or that looks like a revision's."""
    if not _TAG.fullmatch(name):
        raise InvalidIdError(
            f"The tag {name[:64]!a} is not allowed.",
            hint="Use a letter or digit, then up to 127 letters, digits, dots, underscores or dashes.",
        )
    if _LIKE_A_REVISION.fullmatch(name):
        raise InvalidIdError(f"The tag {name} looks like a revision.", hint="Choose a name such as final-cut.")
    return name


def tag_path(name: str) -> str:
    """The path of a tag relative to its movie: `tags/final-cut.json`."""
    return f"tags/{check_tag_name(name)}{_SUFFIX}"


class TagStore:
    """The tags of one movie, as objects. Whoever changes them holds the lock `retention`."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def names(self) -> list[str]:
        """The names of all tags, sorted; files that do not end in `.json` are none."""
        files = self._driver.children("tags/")
        return sorted(name.removesuffix(_SUFFIX) for name in files if name.endswith(_SUFFIX))

    def readable(self) -> tuple[list[Tag], StoreError | None]:
        """The tags that can be read, by name, and why the first of the others cannot."""
        found: list[Tag] = []
        problem: StoreError | None = None
        for name in self.names():
            try:
                tag = self.get(name)
            except (DamageError, StoreUnavailableError) as error:
                problem = problem or error
            else:
                found += [tag] if tag is not None else []
        return found, problem

    def get(self, name: str) -> Tag | None:
        """A tag, or None where there is none of that name; `BlobCorruptError` where it cannot be read."""
        path = f"tags/{name}{_SUFFIX}"
        try:
            tag = Tag.read(self._driver.read(path))
            revision_number(tag.revision)
        except BlobMissingError:
            return None
        except (RecordError, InvalidIdError) as error:
            raise _damaged(path) from error
        if tag.name != name or not _is_tag_name(name):
            raise _damaged(path)
        return tag

    def all(self) -> list[Tag]:
        """Every tag, sorted by name; `BlobCorruptError` where one cannot be read."""
        return [tag for tag in map(self.get, self.names()) if tag is not None]

    def by_revision(self) -> dict[str, list[str]]:
        """The names of the tags of each revision that has any; `BlobCorruptError` where one cannot be read."""
        found: dict[str, list[str]] = {}
        for tag in self.all():
            found.setdefault(tag.revision, []).append(tag.name)
        return found

    def put(self, tag: Tag) -> None:
        """Give a name to a revision, or an existing name to another one; durable on return."""
        self._driver.replace(tag_path(tag.name), canonical_document(tag.to_json()))

    def remove(self, name: str) -> None:
        """Take a name away; durable on return. A crash before that may leave the tag, whole."""
        path = f"tags/{name}{_SUFFIX}"
        self._driver.delete(path)
        self._driver.settle([path])


def _is_tag_name(name: str) -> bool:
    try:
        check_tag_name(name)
    except InvalidIdError:
        return False
    return True


def _damaged(path: str) -> BlobCorruptError:
    return BlobCorruptError(
        f"The tag {path} cannot be read: it might name any revision.",
        hint="`renku-store tag --delete NAME` removes it, `renku-store tag --move REV NAME` gives it anew.",
    )
