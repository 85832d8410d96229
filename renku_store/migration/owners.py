"""Which artefact a path stands for: several can have one file, and the id beside the path says then which is meant."""

from __future__ import annotations

from renku_store.migration.files import AssetFiles
from renku_store.migration.references import CURRENT


class Owners:
    """The artefacts that have the files of a folder, the first that is noted of each file before all others."""

    def __init__(self, files: AssetFiles) -> None:
        self._files = files
        self._exact: dict[str, dict[str, None]] = {}
        self._inner: dict[str, dict[str, None]] = {}

    def add(self, path: str, artefact: str) -> None:
        """Note that an artefact has the file that a path names."""
        self._exact.setdefault(self._files.plain(path), {})[artefact] = None
        inner = self._files.inner(path)
        if inner is not None:
            self._inner.setdefault(inner, {})[artefact] = None

    def find(self, path: str, beside: str | None) -> str | None:
        """The artefact that has the file: the one that is named `beside` the path if it does, else the first."""
        exact = self._exact.get(self._files.plain(path), {})
        inner = self._inner.get(self._files.inner(path) or "", {})
        # The alias means the newest revision, and was written when that was this one.
        owners = (inner or exact) if self._files.own(path).startswith(CURRENT) else (exact or inner)
        return beside if beside in owners else next(iter(owners), None)
