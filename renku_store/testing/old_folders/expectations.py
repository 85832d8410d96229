"""What a migration of a generated folder has to give."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class ExpectedRevision:
    """A revision: `artefacts` are exact bytes, or a value where any JSON of it will do; `labels` are the old hashes."""

    name: str
    created_at: str
    inputs: dict[str, Any]
    artefacts: dict[str, Any]
    labels: dict[str, str]
    missing: set[str] = field(default_factory=set[str])
    refused: set[str] = field(default_factory=set[str])


@dataclass(slots=True)
class ExpectedMovie:
    """A movie: its revisions in order, and all values that its inputs ever had, with editors: (id, value, editor)."""

    id: str
    revisions: list[ExpectedRevision] = field(default_factory=list[ExpectedRevision])
    history: list[tuple[str, Any, str]] = field(default_factory=list[tuple[str, Any, str]])
    torn: int = 0
    failed: set[str] = field(default_factory=set[str])

    @property
    def whole(self) -> bool:
        """Whether nothing is missing, and nothing refused."""
        return not any(revision.missing or revision.refused for revision in self.revisions)
