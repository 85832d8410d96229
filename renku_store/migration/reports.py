"""What a migration did, or would do, and how far it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from renku_store.errors import StoreError, UnusableError


@dataclass(frozen=True, slots=True)
class MigrationProgress:
    """How far the migration of a movie is: `revisions` of `of` are there, `files` were read, with so many `bytes`."""

    movie: str
    revisions: int
    of: int
    files: int
    bytes: int


class Progress:
    """Counts what was read of a movie, to carry it over or to compare it with what is there, and tells of it."""

    def __init__(self, movie: str, of: int, tell: Callable[[MigrationProgress], None]) -> None:
        self.done = 0
        self._movie = movie
        self._of = of
        self._tell = tell
        self._files = self._bytes = 0

    def took(self, length: int) -> None:
        """One more file, of so many bytes."""
        self._files, self._bytes = self._files + 1, self._bytes + length
        self.say()

    def published(self) -> None:
        """One more revision is there."""
        self.done += 1
        self.say()

    def say(self) -> None:
        """Tell how far it is."""
        self._tell(MigrationProgress(self._movie, self.done, self._of, self._files, self._bytes))


@dataclass(frozen=True, slots=True)
class UnmigratedItem:
    """What did not come along: a path (or the id of what has none), why, and who needs it by the old names."""

    path: str
    why: str
    revision: str | None = None
    artefact: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The JSON form; absent fields are left out."""
        document = {"path": self.path, "why": self.why, "revision": self.revision, "artefact": self.artefact}
        return {key: value for key, value in document.items() if value is not None}


@dataclass(frozen=True, slots=True)
class MigratedPath:
    """A path that the old layout named, the artefact that stands for it, and the new revisions that have it so."""

    path: str
    artefact: str
    revisions: list[str]


@dataclass(slots=True)
class MigratedBytes:
    """Bytes before and after.

    Of the old `folder`; `named` by all revisions together, as if each were complete; of `content` that differs; and
    `stored` for that, compressed.
    """

    folder: int = 0
    named: int = 0
    content: int = 0
    stored: int = 0

    @property
    def saved(self) -> int:
        """What storing content once, and compressed, saves against complete revisions."""
        return max(0, self.named - self.stored)

    def to_json(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "folder": self.folder,
            "named": self.named,
            "content": self.content,
            "stored": self.stored,
            "saved": self.saved,
        }


@dataclass(slots=True)
class MovieMigration:
    """What came over of a movie.

    `revisions` are there now, of which this call has `added` some; `artefacts` are those of all of them together.
    `mapped` says which old revision is which new one.

    `missing` was named and is nowhere, `refused` led out of the folder or cannot be kept, `torn` are damaged lines.
    `problem` is why the migration of this movie ended before its end.
    """

    id: str
    source: str
    layout: str = ""
    revisions: int = 0
    added: int = 0
    artefacts: int = 0
    mapped: dict[str, str] = field(default_factory=dict[str, str])
    missing: list[UnmigratedItem] = field(default_factory=list[UnmigratedItem])
    refused: list[UnmigratedItem] = field(default_factory=list[UnmigratedItem])
    torn: list[UnmigratedItem] = field(default_factory=list[UnmigratedItem])
    paths: list[MigratedPath] = field(default_factory=list[MigratedPath])
    bytes: MigratedBytes = field(default_factory=MigratedBytes)
    notes: list[str] = field(default_factory=list[str])
    problem: StoreError | None = None

    @property
    def whole(self) -> bool:
        """Whether everything came along."""
        return not (self.missing or self.refused or self.problem)

    def to_json(self) -> dict[str, Any]:
        """The JSON form: a problem as `{kind, message, hint}`, absent where there is none."""
        document: dict[str, Any] = {
            "movie": self.id,
            "source": self.source,
            "layout": self.layout,
            "revisions": self.revisions,
            "added": self.added,
            "artefacts": self.artefacts,
            "mapped": self.mapped,
            "missing": [item.to_json() for item in self.missing],
            "refused": [item.to_json() for item in self.refused],
            "torn": [item.to_json() for item in self.torn],
            "bytes": self.bytes.to_json(),
            "paths": [
                {"path": path.path, "artefact": path.artefact, "revisions": path.revisions} for path in self.paths
            ],
            "notes": self.notes,
        }
        if self.problem is not None:
            problem = self.problem
            document["problem"] = {"kind": problem.kind, "message": problem.message, "hint": problem.hint}
        return document


@dataclass(frozen=True, slots=True)
class MigrationReport:
    """The migrations of all movies, in the order of their folders; `dry_run`: nothing was written.

    `several`: it was asked for all movies of a folder, so that the JSON form lists them.
    """

    movies: list[MovieMigration]
    dry_run: bool = False
    several: bool = False

    @property
    def whole(self) -> bool:
        """Whether everything came along: nothing is missing, nothing was refused."""
        return all(movie.whole for movie in self.movies)

    @property
    def problem(self) -> StoreError | None:
        """The first reason for which a movie was not migrated to its end; the one that ended it all counts before."""
        problems = [movie.problem for movie in self.movies if movie.problem is not None]
        return next((problem for problem in problems if isinstance(problem, UnusableError)), next(iter(problems), None))

    def to_json(self) -> dict[str, Any]:
        """The JSON form: that of the movie, or sums over several and the list of them."""
        if not self.several:
            return {**self.movies[0].to_json(), "dryRun": self.dry_run}
        return {
            "revisions": sum(movie.revisions for movie in self.movies),
            "added": sum(movie.added for movie in self.movies),
            "artefacts": sum(movie.artefacts for movie in self.movies),
            "missing": [{"movie": movie.id, **item.to_json()} for movie in self.movies for item in movie.missing],
            "refused": [{"movie": movie.id, **item.to_json()} for movie in self.movies for item in movie.refused],
            "mapped": {movie.id: movie.mapped for movie in self.movies},
            "movies": [movie.to_json() for movie in self.movies],
            "dryRun": self.dry_run,
        }
