"""The histories of a revision folder: one line per input or artefact and revision, found again by id and revision."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, Self, TypeVar

from renku_store.migration.folder import OldFolder
from renku_store.migration.reading import (
    Findings,
    has_succeeded,
    read_lines,
    revision_said,
    safe_id,
    text_of,
    time_of,
)
from renku_store.records._base import Json


@dataclass(frozen=True, slots=True)
class InputLine:
    """A value of an input; `label` is its opaque hash."""

    id: str
    rev: int
    content: Json
    label: str | None
    edited_by: str
    created_at: str | None

    @classmethod
    def of(cls, document: Mapping[str, Any], _position: int) -> Self | None:
        """The line that an object is; None where it says too little."""
        name, rev = text_of(document, "id"), revision_said(document.get("rev"))
        if name is None or rev is None or "content" not in document:
            return None
        by = text_of(document, "edited_by", "editedBy") or "user"
        return cls(
            name, rev, document["content"], text_of(document, "hash"), by, time_of(document, "created_at", "createdAt")
        )


@dataclass(frozen=True, slots=True)
class ArtefactLine:
    """What became of an artefact in a revision; `position` is that of the line, from 0.

    `labels` are its opaque hashes, `upstream` the producers it came from, without its own.
    """

    id: str
    rev: int
    position: int
    content: Json
    path: str | None
    label: str | None
    labels: frozenset[str]
    succeeded: bool | None
    producer: str | None
    upstream: tuple[str, ...]
    created_at: str | None

    @classmethod
    def of(cls, document: Mapping[str, Any], position: int) -> Self | None:
        """The line that an object is; None where it says too little."""
        name, rev = text_of(document, "id"), revision_said(document.get("rev"))
        if name is None or rev is None:
            return None
        content, path = document.get("content"), text_of(document, "asset_path", "assetPath")
        succeeded = has_succeeded(document.get("status"))
        if succeeded is None and (content is not None or path is not None):
            succeeded = True
        label = text_of(document, "content_hash", "contentHash", "full_hash", "fullHash")
        labels = [text_of(document, key) for key in ("content_hash", "contentHash", "full_hash", "fullHash")]
        producer = text_of(document, "produced_by", "producedBy")
        noted = document.get("deps")
        upstream = [safe_id(dep) for dep in noted if isinstance(dep, str) and dep] if isinstance(noted, list) else []
        return cls(
            name, rev, position, content, path, label, frozenset(filter(None, labels)), succeeded,
            safe_id(producer) if producer else None, tuple(upstream), time_of(document, "created_at", "createdAt"),
        )  # fmt: skip


class Line(Protocol):
    """What both have."""

    @property
    def id(self) -> str:
        """Of what."""
        ...

    @property
    def rev(self) -> int:
        """In which revision."""
        ...


L = TypeVar("L", bound=Line)


class Lines(Generic[L]):
    """All lines of one file, in the order of revisions, and of the file within each."""

    def __init__(self, lines: list[L]) -> None:
        self._lines = sorted(lines, key=_revision)
        self._by_id: dict[str, list[L]] = {}
        for line in self._lines:
            self._by_id.setdefault(line.id, []).append(line)

    @classmethod
    def read(
        cls, folder: OldFolder, path: str, of: Callable[[Mapping[str, Any], int], L | None], findings: Findings
    ) -> Lines[L]:
        """The lines of a file; those that say too little are refused."""
        lines: list[L] = []
        for position, (place, document) in enumerate(read_lines(folder, path, findings)):
            line = of(document, position)
            if line is None:
                findings.add("refused", place, "The line has no id, no revision, or no value.")
            else:
                lines.append(line)
        return Lines(lines)

    def __iter__(self) -> Iterator[L]:
        return iter(self._lines)

    def between(self, after: int, through: int | None) -> list[L]:
        """The lines of revisions after one, up to another one (None: all)."""
        end = len(self._lines) if through is None else bisect_right(self._lines, through, key=_revision)
        return self._lines[bisect_right(self._lines, after, key=_revision) : end]

    def of(self, name: str) -> list[L]:
        """The lines of one id, oldest first."""
        return self._by_id.get(name, [])

    def up_to(self, name: str, number: int) -> list[L]:
        """The lines of one id whose revision is not above a number, oldest first."""
        lines = self.of(name)
        return lines[: bisect_right(lines, number, key=_revision)]


def _revision(line: Line) -> int:
    return line.rev
