"""What a copy did, or would do, and how far it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from renku_store.errors import StoreError


@dataclass(frozen=True, slots=True)
class CopyProgress:
    """How far the copy of a movie is: `revisions` of `of` looked at, `blobs` copied, and their stored `bytes`."""

    movie: str
    revisions: int
    of: int
    blobs: int
    bytes: int


@dataclass(frozen=True, slots=True)
class UncopiedObject:
    """An object (its path, or the hash of a blob) that is damaged or missing in the source, and who needs it."""

    object: str
    why: str
    revisions: list[str]


@dataclass(slots=True)
class MovieCopy:
    """What was copied of a movie: `revisions`, `blobs` and their stored `bytes`; `skipped` blobs were there already.

    `revision` is the newest one that the target has then. `archives` are those of runs, `tags` and `marks` of revisions
    in the trash are counted apart. `uncopied` is what the source has lost; `problem` is why not all could be copied,
    and `notes` say what a copy cannot hold.
    """

    id: str
    revision: str | None = None
    revisions: int = 0
    blobs: int = 0
    bytes: int = 0
    skipped: int = 0
    archives: int = 0
    tags: int = 0
    marks: int = 0
    uncopied: list[UncopiedObject] = field(default_factory=list[UncopiedObject])
    notes: list[str] = field(default_factory=list[str])
    problem: StoreError | None = None

    def to_json(self) -> dict[str, Any]:
        """The JSON form: a problem as `{kind, message, hint}`, absent where there is none, as are empty lists."""
        document: dict[str, Any] = {
            "id": self.id,
            "revision": self.revision,
            "revisions": self.revisions,
            "blobs": self.blobs,
            "bytes": self.bytes,
            "skipped": self.skipped,
            "archives": self.archives,
            "tags": self.tags,
            "marks": self.marks,
        }
        if self.uncopied:
            document["uncopied"] = [
                {"object": lost.object, "why": lost.why, "revisions": lost.revisions} for lost in self.uncopied
            ]
        if self.notes:
            document["notes"] = self.notes
        if self.problem is not None:
            problem = self.problem
            document["problem"] = {"kind": problem.kind, "message": problem.message, "hint": problem.hint}
        return document


@dataclass(frozen=True, slots=True)
class CopyReport:
    """The copies of all movies, sorted by id; `dry_run`: nothing was written."""

    movies: list[MovieCopy]
    dry_run: bool = False

    @property
    def problem(self) -> StoreError | None:
        """The first reason for which something could not be copied."""
        return next((movie.problem for movie in self.movies if movie.problem is not None), None)

    def to_json(self) -> dict[str, Any]:
        """The JSON form."""
        return {"movies": [movie.to_json() for movie in self.movies], "dryRun": self.dry_run}
