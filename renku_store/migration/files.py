"""The files of a revision folder, found by the paths that documents name: `assets/rev1/images/seg0.png`."""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from unicodedata import normalize

from renku_store.migration.described import FileContent, ProblemKind
from renku_store.migration.folder import OldFolder, PathError, PathRefusedError, PathUnreadableError
from renku_store.migration.reading import revision_of, text_of
from renku_store.migration.references import CURRENT, PREFIX, within

_OF_REVISION: Final = re.compile(r"assets/(rev\d{1,9})(_cons)?/(.+)", re.DOTALL)
_TYPES: Final = {
    ".aac": "audio/aac",
    ".flac": "audio/flac",
    ".gif": "image/gif",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".json": "application/json",
    ".m4a": "audio/mp4",
    ".md": "text/markdown",
    ".mov": "video/quicktime",
    ".mp3": "audio/mpeg",
    ".mp4": "video/mp4",
    ".ogg": "audio/ogg",
    ".png": "image/png",
    ".srt": "application/x-subrip",
    ".txt": "text/plain",
    ".vtt": "text/vtt",
    ".wav": "audio/wav",
    ".webm": "video/webm",
    ".webp": "image/webp",
}
"""What the files of this trade are; the same on every machine."""
UNKNOWN_TYPE: Final = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Found:
    """A file, and what its name says that it is."""

    content: FileContent
    mime_type: str


def type_of(path: str) -> str:
    """The MIME type that the name of a file tells."""
    name = path.rpartition("/")[2].lower()
    suffix = f".{name.rpartition('.')[2]}" if "." in name else ""
    return _TYPES.get(suffix) or mimetypes.guess_type(f"x{suffix}", strict=False)[0] or UNKNOWN_TYPE


class AssetFiles:
    """Looks paths up, each once. `refused` are those that lead out of the folder, with the reason.

    `unreadable` are those of files that are there, and that the system does not let be read.
    """

    def __init__(self, folder: OldFolder, about: Mapping[str, Any]) -> None:
        self._folder = folder
        self._known: dict[str, Found | None] = {}
        self.refused: dict[str, str] = {}
        self.unreadable: dict[str, str] = {}
        self._names = {folder.name, text_of(about, "movie_id", "movieId", "video_id", "id") or folder.name}
        self._folders = sorted(
            (number, name)
            for name in _folders_in(folder, PREFIX.rstrip("/"))
            if (number := revision_of(name)) is not None and name.startswith("rev")
        )
        newest = f"{PREFIX}{self._folders[-1][1]}/" if self._folders else ""
        said = text_of(about, "active_assets_prefix", "activeAssetsPrefix") or newest
        self._active = f"{said.removeprefix('./').rstrip('/')}/" if said else ""

    def own(self, path: str) -> str:
        """A path within the folder, for one that leads into it from above."""
        return within(path.removeprefix("./"), self._names)

    def plain(self, path: str) -> str:
        """A path without the alias of the active revision."""
        path = self.own(path)
        return f"{self._active}{path.removeprefix(CURRENT)}" if path.startswith(CURRENT) else path

    def inner(self, path: str) -> str | None:
        """What a path names within its revision; None where it is no path into one."""
        path = self.own(path)
        if path.startswith(CURRENT):
            return path.removeprefix(CURRENT)
        match = _OF_REVISION.fullmatch(path)
        return match[3] if match else None

    def find(self, path: str) -> Found | None:
        """The file that a path names; None where there is none, or none that may be read."""
        if path not in self._known:
            self._known[path] = self._find(path)
        return self._known[path]

    def find_copy(self, path: str, number: int, following: int | None) -> Found | None:
        """The file of the same name in a folder from revision `number` up to, and without, `following`."""
        inner = self.inner(path)
        if inner is None or path in self.refused:
            return None
        for revision, name in self._folders:
            if revision >= number and (following is None or revision < following):
                found = self.find(f"{PREFIX}{name}/{inner}")
                if found is not None:
                    return found
        return None

    def why_not(self, path: str) -> tuple[ProblemKind, str]:
        """Why a path gave no file."""
        if path in self.refused:
            return "refused", self.refused[path]
        return "missing", self.unreadable.get(path, "There is no file there.")

    def _in_other_form(self, path: str) -> str | None:
        """The one path that is the same text in another normal form of Unicode; None where there is none, or several.

        Some systems write names with accents in one form, some in another, and documents in a third.
        """
        if path.isascii():
            return None
        found = ""
        for name in path.split("/"):
            try:
                names = [there.rstrip("/") for there in self._folder.names(found)]
            except PathError:
                return None
            alike = [there for there in names if normalize("NFC", there) == normalize("NFC", name)]
            if name not in alike and len(alike) != 1:
                return None
            found = f"{found}/{name if name in alike else alike[0]}".lstrip("/")
        return found

    def _find(self, path: str) -> Found | None:
        plain = self.plain(path)
        tried = [plain]
        match = _OF_REVISION.fullmatch(plain)
        if match is not None:
            # A consolidation that died half-way has left its folder under the other name.
            tried.append(f"{PREFIX}{match[1]}{'' if match[2] else '_cons'}/{match[3]}")
        for candidate in [*tried, *filter(None, map(self._in_other_form, tried))]:
            try:
                where, size = self._folder.resolve(candidate)
            except PathRefusedError as error:
                self.refused[path] = error.message
                return None
            except PathUnreadableError as error:
                self.unreadable[path] = error.why
                continue
            except PathError:
                continue
            return Found(FileContent(where, size), type_of(plain))
        return None


def _folders_in(folder: OldFolder, path: str) -> list[str]:
    """The folders in a folder; none where it cannot be listed, which each file that is looked for in it will tell."""
    try:
        return [name.rstrip("/") for name in folder.names(path) if name.endswith("/")]
    except PathError:
        return []
