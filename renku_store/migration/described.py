"""What an older layout holds, said in one way for all of them: readers write it, the writer of movies reads it.

Nothing here says how the older layout names, stores or encodes anything, but for the labels that people know it by.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from renku_store.records._base import Json

CONFIGURATION: Final = "configuration"
"""The input that is what people were editing: the newest revision has it."""
NOTHING_LEFT: Final = "It succeeded, as was noted; what it made is not there."
"""What is said of a result that was paid for and is gone."""
ProblemKind = Literal["missing", "refused", "torn"]


@dataclass(frozen=True, slots=True)
class FileContent:
    """Bytes in a file of the old folder: `path` within it, every link resolved; `size` in bytes when it was looked at.

    `sha256` is what the bytes must have, where the layout promises that.
    """

    path: str
    size: int
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class HeldContent:
    """Bytes that stood in a document of the old folder."""

    data: bytes


Content = FileContent | HeldContent


@dataclass(frozen=True, slots=True)
class OldInput:
    """A value of an input, and who gave it when (ISO 8601 in UTC).

    `line` is what its line says of revision, label and time: that stays the same when the folder grows.
    """

    id: str
    value: Json
    legacy_hash: str | None
    edited_by: str
    created_at: str
    line: tuple[int, str | None, str | None] | None = None


@dataclass(frozen=True, slots=True)
class OldArtefact:
    """The value of an artefact. `path` is where the old layout said that it is, as it was written there.

    `edited_by` names the person whose version it is; `made` is then what its producer had made, where that is there.
    """

    id: str
    mime_type: str
    content: Content
    legacy_hash: str | None = None
    producer: str | None = None
    path: str | None = None
    edited_by: str | None = None
    made: Content | None = None


@dataclass(frozen=True, slots=True)
class OldAttempt:
    """One try to make an artefact: `value` where it gave one that is still there, `error` where it failed.

    `cost` in US dollars and `seconds` are those of the whole job, and stand at one attempt of it only. `told` is the
    result, or the event of a failure, by which an earlier migration has told of it.
    """

    artefact: str
    succeeded: bool
    created_at: str
    value: OldArtefact | None = None
    producer: str | None = None
    error: str | None = None
    cost: float | None = None
    seconds: float | None = None
    told: str | None = None


@dataclass(frozen=True, slots=True)
class OldRevision:
    """A revision, complete: `name` is what people call it there.

    `graph` is the document of its jobs (`parse_graph`), None for none. `history` and `attempts` are what happened since
    the revision before, oldest first. `stale` are artefacts whose newest attempt failed after their inputs had changed.
    `about` is what else was noted of it, job records included.
    """

    name: str
    number: int
    created_at: str
    inputs: Mapping[str, OldInput]
    artefacts: Mapping[str, OldArtefact]
    timeline: str | None = None
    graph: Json = None
    history: tuple[OldInput, ...] = ()
    attempts: tuple[OldAttempt, ...] = ()
    stale: frozenset[str] = frozenset()
    about: Mapping[str, Json] = field(default_factory=dict[str, Json])


@dataclass(frozen=True, slots=True)
class OldProblem:
    """What could not be read: `what` is its path or id, `why` a sentence; `revision` has it, where one does."""

    kind: ProblemKind
    what: str
    why: str
    revision: str | None = None
    artefact: str | None = None


@dataclass(frozen=True, slots=True)
class OldMovie:
    """A movie in an older layout: its revisions in order, and what happened after the newest of them.

    `size` is what its files take in bytes. `notes` are sentences for people, of what needs nobody's care.
    """

    id: str
    layout: str
    revisions: tuple[OldRevision, ...]
    size: int
    later_inputs: tuple[OldInput, ...] = ()
    later_attempts: tuple[OldAttempt, ...] = ()
    later_jobs: tuple[Json, ...] = ()
    problems: tuple[OldProblem, ...] = ()
    notes: tuple[str, ...] = ()
