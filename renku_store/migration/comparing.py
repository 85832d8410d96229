"""Whether a revision that is there already holds what the older layout says of it: two sources may bear one name.

The run of an old revision is known by names and times (`identity`), which a copied folder shares with its original.
Only its content tells them apart.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from blake3 import blake3

from renku_store.errors import DamageError, MigrationError
from renku_store.hashing import canonical_json, hash_bytes
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
from renku_store.migration.old_json import OldJsonError, parse_old_json
from renku_store.migration.references import CURRENT
from renku_store.planner import input_entry
from renku_store.records._base import Json
from renku_store.records.ids import revision_number
from renku_store.records.manifest import ArtefactValue, Manifest, ManifestInput

_HELP: Final = "What is published stays; under another id (--movie) this can come over."
_EDITED: Final = f"input {CONFIGURATION}"
"""People go on editing it without a new revision."""


class Comparison:
    """Compares the revisions of an old movie with those that `published` says are there, by their runs.

    `read` gives the bytes of a blob; `took` hears of the bytes of each file that was read for the comparison.
    References to artefacts of the same bytes are the same: of several that have one file another may be meant by now.
    """

    def __init__(
        self,
        folder: OldFolder,
        old: OldMovie,
        manifests: ManifestStore,
        read: Callable[[str], bytes],
        published: Mapping[str, str],
        took: Callable[[int], None],
    ) -> None:
        self._folder = folder
        self._old = old
        self._manifests = manifests
        self._read = read
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
            differs = held is not None and digest is not None and digest != held.hash
            if held is not None and differs and not self._alike(manifest, artefact.content, held):
                path = artefact.content.path if isinstance(artefact.content, FileContent) else f"artefact {key}"
                why = f"{name} is there already, and holds other bytes. {_HELP}"
                yield OldProblem("refused", path, why, revision=revision.name, artefact=key)
        for key, given in revision.inputs.items():
            entry = manifest.inputs.get(key)
            changed = entry is None or entry.hash != input_entry(given.value).hash
            if entry is not None and changed:
                changed = not self._alike(manifest, HeldContent(canonical_json(given.value)), entry)
            # What people are editing belongs to whichever revision is the newest one at the time.
            if changed and (key != CONFIGURATION or (last and entry is not None)):
                why = f"{name} is there already, and holds another value. {_HELP}"
                yield OldProblem("refused", f"input {key}", why, revision=revision.name)

    def _alike(self, manifest: Manifest, content: Content, held: ArtefactValue | ManifestInput) -> bool:
        """Whether a document differs from what is held of it in references only, to artefacts of the same bytes."""
        if not isinstance(content, HeldContent):
            return False
        try:
            theirs = self._document(held)
            ours = parse_old_json(content.data)
        except (OldJsonError, DamageError):  # it is no document, or cannot be read any more
            return False
        return _by_bytes(ours, manifest) == _by_bytes(theirs, manifest)

    def _document(self, held: ArtefactValue | ManifestInput) -> Json:
        if held.blob is not None:
            document: Json = parse_old_json(self._read(held.blob))
        elif isinstance(held, ManifestInput):
            document = held.value
        else:
            document = parse_old_json((held.inline or "").encode())
        return document

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


def _by_bytes(value: Json, manifest: Manifest) -> bytes:
    """The text of a document in which every reference names bytes, in place of the artefact that has them."""
    return json.dumps(_named(value, manifest), sort_keys=True).encode()  # as text: to Python 1 and true are equal


def _named(value: Json, manifest: Manifest) -> Json:
    if isinstance(value, list):
        return [_named(item, manifest) for item in value]
    if not isinstance(value, dict):
        return value
    name = value.get("artefact") if len(value) == 1 else None
    held = manifest.artefacts.get(name) if isinstance(name, str) else None
    return (
        {"artefact": f"{held.hash} {held.mime_type}"}
        if held is not None
        else {key: _named(item, manifest) for key, item in value.items()}
    )
