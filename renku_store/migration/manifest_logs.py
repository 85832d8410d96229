"""Reads the first manifest-centric layout: `manifests/*.json`, logs of JSON lines, blobs named by SHA-256.

manifests/rev-0003.json      inputs {id: {hash, payloadDigest}}, artefacts {id: {hash, blob | inline, producedBy}}
events/inputs.log            id, revision, hash, payload, editedBy, createdAt
events/artefacts.log         artefactId, revision, output {blob | inline}, status, producedBy, diagnostics, createdAt
events/rev-0003.inputs.jsonl what was rotated out of these; `.artefacts.jsonl`
blobs/7f/7f3c....png         with or without an extension
runs/rev-0003-plan.json      layers of jobs: jobId, producer, inputs, produces, provider, providerModel
"""

from __future__ import annotations

import hashlib
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from renku_store.errors import InvalidValueError
from renku_store.hashing import canonical_json
from renku_store.migration.described import (
    Content,
    FileContent,
    HeldContent,
    OldArtefact,
    OldAttempt,
    OldInput,
    OldMovie,
    OldRevision,
    ProblemKind,
)
from renku_store.migration.files import UNKNOWN_TYPE, type_of
from renku_store.migration.folder import OldFolder, PathError, PathRefusedError
from renku_store.migration.graphs import Made
from renku_store.migration.old_json import OldJsonError, document_bytes, parse_old_json
from renku_store.migration.planned_jobs import PlannedJobs
from renku_store.migration.reading import (
    NO_TIME,
    Findings,
    error_text,
    has_succeeded,
    number_of,
    read_lines,
    read_object,
    revision_of,
    revision_said,
    safe_id,
    text_of,
    time_of,
)
from renku_store.records._base import Json

LAYOUT: Final = "manifest-logs"
TIMELINE: Final = "timeline"
_MANIFESTS: Final = "manifests"
_LOGS: Final = {"inputs": ("inputs.log",), "artefacts": ("artefacts.log", "artifacts.log")}
_ROTATED: Final = {"inputs": re.compile(r".*\.inputs\.jsonl"), "artefacts": re.compile(r".*\.art[ei]facts\.jsonl")}
_PLAIN_NAME: Final = re.compile(r"[0-9A-Za-z_-]{2,128}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_MADE_BY_PROGRAMS: Final = frozenset({"producer", "system"})


def is_manifest_logs(folder: OldFolder) -> bool:
    """Whether a folder is a movie in this layout."""
    logs = {name for named in _LOGS.values() for name in named}
    return folder.holds("manifests") or (folder.holds("events") and bool(logs & {*folder.names("events")}))


def read_manifest_logs(folder: OldFolder) -> OldMovie:
    """The movie in a folder; what cannot be read is among its problems."""
    return _Reader(folder).movie()


@dataclass(frozen=True, slots=True)
class _Event:
    """A line of a log, and the number of its revision."""

    id: str
    rev: int
    document: Mapping[str, Any]


class _Reader:
    def __init__(self, folder: OldFolder) -> None:
        self._folder = folder
        self._found = Findings()
        self._inputs = self._events("inputs", "id")
        self._artefacts = self._events("artefacts", "artefactId", "artifactId", "id")
        self._inputs_by_id, self._artefacts_by_id = _by_id(self._inputs), _by_id(self._artefacts)
        self._plans = PlannedJobs.read(folder, self._found)
        self._blobs: dict[str, dict[str, str]] = {}
        self._unreadable: dict[str, tuple[str, str]] = {}
        self._time = NO_TIME

    def movie(self) -> OldMovie:
        """All of it."""
        manifests = self._manifests()
        revisions: list[OldRevision] = []
        before = 0
        for number, path, manifest in manifests:
            self._time = time_of(manifest, "createdAt") or self._time
            revisions.append(self._revision(number, path, manifest, before))
            before = number
        later_attempts = tuple(self._attempts(before, None))
        for path, why in self._unreadable.values():
            self._found.add_untold(path, why)
        return OldMovie(
            id=self._folder.name,
            layout=LAYOUT,
            revisions=tuple(revisions),
            size=self._folder.size(),
            later_inputs=tuple(self._history(before, None)),
            later_attempts=later_attempts,
            problems=self._found.problems(),
            notes=tuple(self._found.notes),
        )

    def _manifests(self) -> list[tuple[int, str, dict[str, Any]]]:
        found: list[tuple[int, str, dict[str, Any]]] = []
        for name in self._folder.names(_MANIFESTS):
            number = revision_of(name.removesuffix(".json")) if name.endswith(".json") else None
            if number is not None:
                document = read_object(self._folder, f"{_MANIFESTS}/{name}", self._found)
                if document:
                    found.append((number, f"{_MANIFESTS}/{name}", document))
                else:
                    self._found.add_untold(f"{_MANIFESTS}/{name}", "It is an empty object, and no revision.")
        return sorted(found, key=lambda entry: entry[:2])

    def _events(self, kind: str, *keys: str) -> list[_Event]:
        """The lines of a log, those that were rotated out of it first."""
        names = self._folder.names("events")
        rotated = sorted(
            (name for name in names if _ROTATED[kind].fullmatch(name)),
            key=lambda name: (revision_of(name.partition(".")[0]) or 0, name),
        )
        found: list[_Event] = []
        for name in [*rotated, *(name for name in _LOGS[kind] if name in names)]:
            for place, document in read_lines(self._folder, f"events/{name}", self._found):
                key, rev = text_of(document, *keys), revision_said(document.get("revision"))
                if key is None or rev is None:
                    self._found.add("refused", place, "The line has no id, or no revision.")
                else:
                    found.append(_Event(key, rev, document))
        return sorted(found, key=lambda event: event.rev)

    # One revision

    def _revision(self, number: int, path: str, manifest: Mapping[str, Any], before: int) -> OldRevision:
        name = f"rev-{number:04d}"
        artefacts: dict[str, OldArtefact] = {}
        for key, entry in _objects(manifest.get("artefacts") or manifest.get("artifacts")):
            value = self._artefact(key, entry, number, name)
            if value is not None:
                artefacts[value.id] = value
        self._take_timeline(manifest.get("timeline"), artefacts)
        old = {safe_id(key): key for key, _ in _objects(manifest.get("artefacts") or manifest.get("artifacts"))}
        inputs: dict[str, OldInput] = {}
        for key, entry in _objects(manifest.get("inputs")):
            given = self._input(key, entry, number, name)
            if given is not None:
                inputs[given.id] = given
        made = {key: Made(value.producer, value.mime_type, old.get(key, key)) for key, value in artefacts.items()}
        timeline = TIMELINE if TIMELINE in artefacts else None
        return OldRevision(
            name=name,
            number=number,
            created_at=time_of(manifest, "createdAt") or self._time,
            inputs=inputs,
            artefacts=artefacts,
            timeline=timeline,
            graph=self._plans.graph(number, made, inputs.keys(), timeline),
            history=tuple(self._history(before, number)),
            attempts=tuple(self._attempts(before, number)),
            about=self._about(path, manifest),
        )

    def _about(self, path: str, manifest: Mapping[str, Any]) -> dict[str, Json]:
        """What else was noted: the hash that other documents know the manifest by."""
        digest = hashlib.sha256(self._folder.read(path)).hexdigest()
        return {"legacyHash": digest, "oldBase": text_of(manifest, "baseRevision")}

    def _input(self, key: str, entry: Mapping[str, Any], number: int, name: str) -> OldInput | None:
        label = text_of(entry, "hash")
        events = _up_to(self._inputs_by_id.get(key, []), number)
        event = next((event for event in reversed(events) if event.document.get("hash") == label), None)
        if event is None and "payloadDigest" in entry:
            value, told = _payload(entry["payloadDigest"])
            if told:
                return self._given(key, value, label, "user", time_of(entry, "createdAt"))
        event = event or (events[-1] if events else None)
        if event is None or "payload" not in event.document:
            self._found.add("missing", f"input {key}", "No line says what its value is.", revision=name)
            return None
        return self._of_event(event, label)

    def _of_event(self, event: _Event, label: str | None = None) -> OldInput | None:
        document = event.document
        by, when = text_of(document, "editedBy", "edited_by") or "user", time_of(document, "createdAt")
        noted = text_of(document, "hash")
        given = self._given(event.id, document["payload"], label or noted, by, when)
        return None if given is None else replace(given, line=(event.rev, noted, when))

    def _given(self, key: str, value: Json, label: str | None, by: str, when: str | None) -> OldInput | None:
        try:
            canonical_json(value)
        except InvalidValueError as error:
            self._found.add("refused", f"input {key}", error.message)
            return None
        return OldInput(safe_id(key), value, label, by, when or self._time)

    def _artefact(self, key: str, entry: Mapping[str, Any], number: int, name: str) -> OldArtefact | None:
        if has_succeeded(entry.get("status")) is False:
            return None
        label = text_of(entry, "hash")
        source: Mapping[str, Any] = entry
        if not isinstance(entry.get("blob"), dict) and not isinstance(entry.get("inline"), str):
            events = _up_to(self._artefacts_by_id.get(key, []), number)
            good = [event.document for event in events if has_succeeded(event.document.get("status"))]
            source = _output(good[-1]) if good else {}
        made = self._value(source)
        if made is None:
            self._lack(key, source, name)
            return None
        content, mime = made
        by = text_of(entry, "editedBy")
        edited = by is not None and by not in _MADE_BY_PROGRAMS
        original = text_of(entry, "originalHash")
        under = self._blob(original) if edited and original and original != label else None
        return OldArtefact(
            id=safe_id(key),
            mime_type=mime,
            content=content,
            legacy_hash=label,
            producer=_producer(entry),
            path=content.path if isinstance(content, FileContent) else None,
            edited_by=by if edited else None,
            made=under,
        )

    def _lack(self, key: str, source: Mapping[str, Any], name: str) -> None:
        blob = source.get("blob")
        digest = text_of(blob, "hash") if isinstance(blob, dict) else None
        kind: ProblemKind = "missing"
        what, why = f"artefact {key}", "Nothing says what it is."
        if digest:
            what, why = self._unreadable.get(_bare(digest), (f"blob {digest}", "There is no such blob."))
        if digest and not _PLAIN_NAME.fullmatch(_bare(digest)):
            kind, why = "refused", "This is no name of a blob."
        self._found.add(kind, what, why, revision=name, artefact=safe_id(key))

    def _value(self, source: Mapping[str, Any]) -> tuple[Content, str] | None:
        blob, inline = source.get("blob"), source.get("inline")
        if isinstance(blob, dict):
            digest = text_of(blob, "hash")
            content = self._blob(digest) if digest else None
            if content is None:
                return None
            return content, text_of(blob, "mimeType", "mime_type") or type_of(content.path) or UNKNOWN_TYPE
        return (HeldContent(inline.encode()), "text/plain") if isinstance(inline, str) else None

    def _blob(self, digest: str) -> FileContent | None:
        """The file of a blob, whatever extension it has."""
        bare = _bare(digest)
        if not _PLAIN_NAME.fullmatch(bare):
            return None
        for place in (f"blobs/{bare[:2]}", "blobs"):
            name = ""
            try:
                if place not in self._blobs:
                    self._blobs[place] = {name.partition(".")[0]: name for name in self._folder.names(place)}
                name = self._blobs[place].get(bare, "")
                if not name:
                    continue
                where, size = self._folder.resolve(f"{place}/{name}")
            except PathRefusedError as error:
                self._found.add("refused", f"{place}/{name}".rstrip("/"), error.message)
                return None
            except PathError as error:
                self._unreadable[bare] = (f"{place}/{name}".rstrip("/"), error.why)
                continue
            return FileContent(where, size, bare if _SHA256.fullmatch(bare) else None)
        return None

    def _take_timeline(self, document: object, artefacts: dict[str, OldArtefact]) -> None:
        if isinstance(document, dict) and document and TIMELINE not in artefacts:
            try:
                data = document_bytes(document)
            except InvalidValueError as error:
                self._found.add("refused", "timeline", error.message)
                return
            artefacts[TIMELINE] = OldArtefact(TIMELINE, "application/json", HeldContent(data))

    # What happened

    def _between(self, events: Sequence[_Event], after: int, through: int | None) -> Iterator[_Event]:
        end = len(events) if through is None else bisect_right(events, through, key=_revision)
        return iter(events[bisect_right(events, after, key=_revision) : end])

    def _history(self, after: int, through: int | None) -> Iterator[OldInput]:
        for event in self._between(self._inputs, after, through):
            given = self._of_event(event) if "payload" in event.document else None
            if given is not None:
                yield given

    def _attempts(self, after: int, through: int | None) -> Iterator[OldAttempt]:
        for event in self._between(self._artefacts, after, through):
            document = event.document
            succeeded = has_succeeded(document.get("status"))
            by = text_of(document, "editedBy")
            if succeeded is None or (by is not None and by not in _MADE_BY_PROGRAMS):
                continue
            noted = document.get("diagnostics")
            diagnostics = noted if isinstance(noted, dict) else {}
            made = self._value(_output(document)) if succeeded else None
            producer = _producer(document)
            value = OldArtefact(safe_id(event.id), made[1], made[0], None, producer) if made else None
            yield OldAttempt(
                artefact=safe_id(event.id),
                succeeded=succeeded,
                created_at=time_of(document, "createdAt") or self._time,
                value=value,
                producer=producer,
                error=None if succeeded else error_text(diagnostics.get("error")) or error_text(diagnostics or None),
                cost=number_of(diagnostics, "cost", "costUsd"),
                seconds=number_of(diagnostics, "durationSeconds"),
            )


def _objects(value: object) -> Iterator[tuple[str, dict[str, Any]]]:
    for key, entry in value.items() if isinstance(value, dict) else ():
        if key and isinstance(entry, dict):
            yield key, entry


def _by_id(events: Iterable[_Event]) -> dict[str, list[_Event]]:
    found: dict[str, list[_Event]] = {}
    for event in events:
        found.setdefault(event.id, []).append(event)
    return found


def _up_to(events: Sequence[_Event], number: int) -> Sequence[_Event]:
    """Those of revisions up to a number."""
    return events[: bisect_right(events, number, key=_revision)]


def _revision(event: _Event) -> int:
    return event.rev


def _output(document: Mapping[str, Any]) -> Mapping[str, Any]:
    output = document.get("output")
    return output if isinstance(output, dict) else {}


def _producer(document: Mapping[str, Any]) -> str | None:
    name = text_of(document, "producedBy", "produced_by")
    return safe_id(name) if name else None


def _bare(digest: str) -> str:
    return digest.removeprefix("sha256:").lower()


def _payload(digest: object) -> tuple[Json, bool]:
    """The value of which `payloadDigest` is the canonical JSON, and whether it is one."""
    try:
        return (parse_old_json(digest.encode(errors="replace")), True) if isinstance(digest, str) else (None, False)
    except OldJsonError:
        return None, False
