"""What the lines of a revision folder say: values of inputs and artefacts, wherever their bytes are by now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from renku_store.errors import InvalidValueError
from renku_store.hashing import canonical_json
from renku_store.migration.described import HeldContent, OldArtefact, OldInput
from renku_store.migration.files import AssetFiles, Found
from renku_store.migration.folder import OldFolder
from renku_store.migration.graphs import LastGraph, OldProducer, producers_of
from renku_store.migration.lines import ArtefactLine, InputLine, Lines
from renku_store.migration.old_json import document_bytes, is_canonical
from renku_store.migration.owners import Owners
from renku_store.migration.reading import NO_TIME, Findings, read_object, safe_id, time_of
from renku_store.migration.references import Find, asset_path, named_beside, paths_in, referring
from renku_store.records._base import Json

_TEXT: Final = "text/plain"
_JSON: Final = "application/json"


class History:
    """The histories of one folder; `about` is its `metadata.json`."""

    def __init__(self, folder: OldFolder, about: Mapping[str, Any], found: Findings) -> None:
        self.found = found
        self.time = time_of(about, "updated_at", "created_at") or NO_TIME
        self.files = AssetFiles(folder, about)
        self.declared = read_object(folder, "dag/producers.json", found)
        if not is_canonical(self.declared):
            found.add("refused", "dag/producers.json", "It holds what cannot be kept; configurations may be left out.")
        self.producers = producers_of(self.declared)
        self._makers = _makers(self.producers.values())
        self.inputs: Lines[InputLine] = Lines.read(folder, "dag/inputSources.jsonl", InputLine.of, found)
        self.lines: Lines[ArtefactLine] = Lines.read(folder, "dag/artifacts.jsonl", ArtefactLine.of, found)
        self.ids: set[str] = {line.id for line in self.lines}
        """The old ids of artefacts; snapshots add those that no line has."""
        self.unread: dict[str, str] = {}
        """By path why the file of a line, which is there, could not be read; nor was there a copy of it."""
        self._values: dict[tuple[int, str | None], OldArtefact | None] = {}
        self._owners: Owners | None = None
        self.graph = LastGraph()

    def anywhere(self, path: str, around: Mapping[str, Json], key: str) -> str | None:
        """The artefact that a path stands for, whatever the revision: the one that had the file, or is named beside it.

        Of several that had the file it is the one beside, else that of the newest line.
        """
        if self._owners is None:
            self._owners = Owners(self.files)
            for line in reversed([*self.lines]):
                if line.path is not None:
                    self._owners.add(line.path, safe_id(line.id))
        beside = named_beside(around, key)
        named = None if beside is None else safe_id(beside)
        return self._owners.find(path, named) or named

    def input_value(self, line: InputLine, label: str | None, find: Find) -> OldInput | None:
        """The value that a line says, with paths replaced; None where it is none that can be kept."""
        value = referring(line.content, find)
        try:
            canonical_json(value)
        except InvalidValueError as error:
            self.found.add("refused", f"input {line.id}", error.message)
            return None
        when, noted = line.created_at or self.time, (line.rev, line.label, line.created_at)
        return OldInput(safe_id(line.id), value, label or line.label, line.edited_by, when, noted)

    def maker(self, artefact: str, line: ArtefactLine | None) -> str | None:
        """The producer of an artefact: as its line says, as it was declared, or the only one that it came from."""
        if line is not None and line.producer is not None:
            return line.producer
        declared = self._makers.get(safe_id(artefact))
        if declared is None and line is not None and len(line.upstream) == 1:
            return line.upstream[0]
        return declared

    def artefact_value(self, line: ArtefactLine, label: str | None, find: Find) -> OldArtefact | None:
        """What a line says that an artefact is; None where nothing leads to bytes."""
        if not isinstance(line.content, str | None) and any(paths_in(line.content)):
            return self._value(line, label, find)
        key = (line.position, label)
        if key not in self._values:
            self._values[key] = self._value(line, label, find)
        return self._values[key]

    def path_of(self, line: ArtefactLine) -> str | None:
        """The path of the file that a line names; some have it where others have their content."""
        return line.path or asset_path(line.content)

    def _value(self, line: ArtefactLine, label: str | None, find: Find) -> OldArtefact | None:
        name, producer, legacy = safe_id(line.id), self.maker(line.id, line), label or line.label
        path = self.path_of(line)
        if path is not None:
            file = self.files.find(path) or self._copied(line, path)
            if file is None and path in self.files.unreadable:
                self.unread[path] = self.files.unreadable[path]
            return OldArtefact(name, file.mime_type, file.content, legacy, producer, path) if file else None
        if line.content is None:
            return None
        if isinstance(line.content, str):
            return OldArtefact(name, _TEXT, HeldContent(line.content.encode()), legacy, producer)
        return self.document(line.id, line.content, legacy, producer, find)

    def document(
        self, artefact: str, content: Json, legacy: str | None, producer: str | None, find: Find
    ) -> OldArtefact | None:
        """An artefact that is a JSON document, with paths replaced."""
        try:
            data = document_bytes(referring(content, find, self.ids))
        except InvalidValueError as error:
            self.found.add("refused", f"artefact {artefact}", error.message, artefact=safe_id(artefact))
            return None
        return OldArtefact(safe_id(artefact), _JSON, HeldContent(data), legacy, producer)

    def _copied(self, line: ArtefactLine, path: str) -> Found | None:
        """The file of a line whose own is gone: that of a line with the same label, or of a revision copied since."""
        if path in self.files.refused:
            return None
        others = [other for other in self.lines.of(line.id) if other.position != line.position]
        for other in others:
            if other.path is not None and other.labels & line.labels and (file := self.files.find(other.path)):
                return file
        following = min((other.rev for other in others if other.rev > line.rev), default=None)
        return self.files.find_copy(path, line.rev, following)


def _makers(producers: Iterable[OldProducer]) -> dict[str, str]:
    return {artefact: producer.id for producer in producers for artefact in producer.makes}
