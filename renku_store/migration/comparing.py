"""Whether a revision that is there already holds what the older layout says of it: two sources may bear one name.

The run of an old revision is known by names and times (`identity`), which a copied folder shares with its original.
Only its content tells them apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from blake3 import blake3

from renku_store.errors import MigrationError
from renku_store.hashing import hash_bytes
from renku_store.manifests import ManifestStore
from renku_store.migration.described import (
    CONFIGURATION,
    Content,
    FileContent,
    HeldContent,
    OldMovie,
    OldProblem,
    OldRevision,
)
from renku_store.migration.folder import OldFolder
from renku_store.migration.identity import run_of
from renku_store.migration.references import CURRENT
from renku_store.planner import input_entry
from renku_store.records.ids import revision_number
from renku_store.records.manifest import Manifest

_HELP: Final = "What is published stays; under another id (--movie) this can come over."
_EDITED: Final = f"input {CONFIGURATION}"
"""People go on editing it without a new revision."""


class Comparison:
    """Compares the revisions of an old movie with those that `published` says are there, by their runs.

    `took` hears of the bytes of each file that was read for that.
    """

    def __init__(
        self,
        folder: OldFolder,
        old: OldMovie,
        manifests: ManifestStore,
        published: Mapping[str, str],
        took: Callable[[int], None],
    ) -> None:
        self._folder = folder
        self._old = old
        self._manifests = manifests
        self._published = published
        self._took = took
        self._digests: dict[FileContent, str | None] = {}

    def result(self, left: Sequence[OldRevision]) -> tuple[bool, list[OldProblem]]:
        """Whether what is there is this movie, and what differs.

        If it is another movie, so is every revision that is `left`: it would follow on what is none of its own.
        """
        found = [problem for revision in self._old.revisions for problem in self._of(revision)]
        same = all(problem.what == _EDITED for problem in found)
        if not same:
            why = f"The revisions before it are not those that are there. {_HELP}"
            found += [OldProblem("refused", revision.name, why, revision=revision.name) for revision in left]
        return same, found

    def _of(self, revision: OldRevision) -> Iterator[OldProblem]:
        name = self._published.get(run_of(self._old, revision))
        manifest = self._manifests.entry(revision_number(name), None)[0] if name is not None else None
        if name is None or not isinstance(manifest, Manifest):
            return
        last = revision is self._old.revisions[-1]
        for key, artefact in revision.artefacts.items():
            held = manifest.artefacts.get(key)
            # The alias means another folder once there is a newer revision.
            meant = last or artefact.path is None or not artefact.path.startswith(CURRENT)
            digest = self._digest(artefact.content) if held is not None and meant else None
            if held is not None and digest is not None and digest != held.hash:
                path = artefact.content.path if isinstance(artefact.content, FileContent) else f"artefact {key}"
                why = f"{name} is there already, and holds other bytes. {_HELP}"
                yield OldProblem("refused", path, why, revision=revision.name, artefact=key)
        for key, given in revision.inputs.items():
            entry = manifest.inputs.get(key)
            changed = entry is None or entry.hash != input_entry(given.value).hash
            # What people are editing belongs to whichever revision is the newest one at the time.
            if changed and (key != CONFIGURATION or (last and entry is not None)):
                why = f"{name} is there already, and holds another value. {_HELP}"
                yield OldProblem("refused", f"input {key}", why, revision=revision.name)

    def _digest(self, content: Content) -> str | None:
        """The BLAKE3 digest of a content; None for a file that cannot be read."""
        if isinstance(content, HeldContent):
            return hash_bytes(content.data)
        if content not in self._digests:
            hasher = blake3()
            try:
                for chunk in self._folder.chunks(content.path):
                    hasher.update(chunk)
            except MigrationError:
                self._digests[content] = None
            else:
                self._digests[content] = hasher.hexdigest()
                self._took(content.size)
        return self._digests[content]
