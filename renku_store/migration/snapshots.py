"""One revision of a revision folder: what its snapshot names, with the bytes, wherever they are by now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from renku_store.errors import InvalidValueError
from renku_store.hashing import canonical_json
from renku_store.migration.described import CONFIGURATION, OldArtefact, OldAttempt, OldInput, OldRevision
from renku_store.migration.files import type_of
from renku_store.migration.graphs import Made
from renku_store.migration.history import History
from renku_store.migration.lines import ArtefactLine
from renku_store.migration.owners import Owners
from renku_store.migration.reading import safe_id, text_of
from renku_store.migration.records_of_jobs import OldJob
from renku_store.migration.references import asset_path, named_beside, paths_in, referring
from renku_store.records._base import Json

TIMELINE: Final = "timeline"


class SnapshotReader:
    """Reads one snapshot; what it cannot find is noted in the findings of the history."""

    def __init__(self, history: History, number: int, snapshot: Mapping[str, Any]) -> None:
        self._history = history
        self._number = number
        self._name = f"rev{number}"
        self._snapshot = snapshot
        self._timeline: Json = snapshot.get("timeline")
        self._labels = self._labelled("artifact_hashes")
        self._input_labels = self._labelled("inputSource_hashes")
        self._artefacts: dict[str, OldArtefact] = {}
        self._missing: dict[str, str] = {}
        self._stale: set[str] = set()
        self._owners = Owners(history.files)
        self._beside: dict[str, str] = {}
        for path, around, key in paths_in(self._timeline):
            name = named_beside(around, key)
            if name is not None:
                self._beside.setdefault(name, path)
        history.ids.update(self._labels, self._beside)

    def revision(
        self,
        when: str,
        values: Iterable[OldInput],
        attempts: Iterable[OldAttempt],
        jobs: Sequence[OldJob],
        beside: Mapping[str, Any],
    ) -> OldRevision:
        """The revision. `beside` has the `configuration` and `metadata` of the movie, if this is its newest one."""
        timeline = self._timeline_id()
        documents: list[tuple[str, str | None, ArtefactLine]] = []
        for artefact, label in self._labels.items():
            if artefact != timeline or self._timeline is None:
                line = self._line(artefact, label)
                if line is not None and not isinstance(line.content, str | None) and any(paths_in(line.content)):
                    documents.append((artefact, label, line))  # once it is known which artefact has which file
                else:
                    self._take(artefact, label, line)
        for artefact, label, line in documents:
            self._take(artefact, label, line)
        if timeline is not None and self._timeline is not None:
            self._take_timeline(timeline)
        inputs = self._inputs(beside.get(CONFIGURATION))
        return OldRevision(
            name=self._name,
            number=self._number,
            created_at=when,
            inputs=inputs,
            artefacts=self._artefacts,
            timeline=timeline if timeline in self._artefacts else None,
            graph=self._graph(inputs, timeline),
            history=tuple(values),
            attempts=tuple(attempts),
            stale=frozenset(self._stale),
            about=self._about(when, jobs, beside),
        )

    def _labelled(self, member: str) -> dict[str, str | None]:
        """The ids that a member of the snapshot names, each with its label."""
        value = self._snapshot.get(member)
        if not isinstance(value, dict):
            if value is not None:
                self._refuse(member, "It is no object, so that it names nothing.")
            return {}
        if "" in value:
            self._refuse(member, "It has an empty name, which is left out.")
        return {key: label if isinstance(label, str) else None for key, label in value.items() if key}

    def _refuse(self, what: str, why: str) -> None:
        self._history.found.add("refused", what, why, revision=self._name)

    # Artefacts

    def _line(self, artefact: str, label: str | None) -> ArtefactLine | None:
        """The line that tells what an artefact is: the newest one, or where that tells of a failure, the label's."""
        lines = self._history.lines.up_to(artefact, self._number)
        if not lines or lines[-1].succeeded is not False:
            return lines[-1] if lines else None
        before = next((line for line in reversed(lines) if line.succeeded and label in line.labels), None)
        if before is not None and self._has_changed(artefact, before):
            self._stale.add(safe_id(artefact))
        return before

    def _has_changed(self, artefact: str, line: ArtefactLine) -> bool:
        """Whether anything that an artefact is made from has another label by now than when it was made."""
        producer = self._history.producers.get(self._history.maker(artefact, line) or "")
        read = {*(producer.reads if producer else ()), *line.upstream}
        since = self._history.inputs.between(line.rev, self._number)
        made = self._history.lines.between(line.rev, self._number)
        sources = [(safe_id(one.id), "") for one in since]
        sources += [(safe_id(one.id), self._history.maker(one.id, one) or "") for one in made if one.succeeded]
        return any(name in read or (maker and maker in read) for name, maker in sources)

    def _take(self, artefact: str, label: str | None, line: ArtefactLine | None) -> None:
        value = self._history.artefact_value(line, label, self._owner) if line is not None else None
        value = value or self._by_timeline(artefact, label, line)
        if value is not None:
            self._own(value)
            return
        path = (self._history.path_of(line) if line is not None else None) or self._beside.get(artefact)
        self._missing[safe_id(artefact)] = type_of(path or "")
        kind, why = self._history.files.why_not(path or "")
        if path is None:
            why = f"{self._why_unknown(artefact, line)} No clip has a file of it."
        self._history.found.add(
            kind, path or f"artefact {artefact}", why, revision=self._name, artefact=safe_id(artefact)
        )

    def _why_unknown(self, artefact: str, line: ArtefactLine | None) -> str:
        """Why nothing is known of an artefact that the snapshot names."""
        if line is not None:
            said = "has neither content nor a path" if line.content is None else "says what cannot be kept"
            return f"Its newest line, of rev{line.rev}, {said}."
        lines = self._history.lines.of(artefact)
        if not lines:
            return "No line says what it is."
        if lines[0].rev > self._number:
            return f"Its lines begin with rev{lines[0].rev}: none says what it was here."
        return "Its newest line says that it failed, and no earlier one has the snapshot's label."

    def _by_timeline(self, artefact: str, label: str | None, line: ArtefactLine | None) -> OldArtefact | None:
        path = self._beside.get(artefact)
        file = self._history.files.find(path) if path is not None else None
        if file is None:
            return None
        maker = self._history.maker(artefact, line)
        return OldArtefact(safe_id(artefact), file.mime_type, file.content, label, maker, path)

    def _own(self, value: OldArtefact) -> None:
        """Let paths to the file of an artefact stand for it."""
        self._artefacts[value.id] = value
        if value.path is not None:
            self._owners.add(value.path, value.id)

    def _owner(self, path: str, around: Mapping[str, Json], key: str) -> str | None:
        """The artefact that a path stands for in this revision; one that is nobody's becomes one of its own."""
        beside = named_beside(around, key)
        owner = self._owners.find(path, None if beside is None else safe_id(beside))
        if owner is None and beside is not None and (beside in self._labels or safe_id(beside) in self._artefacts):
            owner = safe_id(beside)
        return owner or self._adopted(path, beside)

    def _adopted(self, path: str, beside: str | None) -> str | None:
        """A new artefact for a file that a value names and the snapshot does not."""
        file = self._history.files.find(path)
        if file is not None:
            name = safe_id(beside or (self._history.files.inner(path) or path).replace("/", "."))
            while name in self._artefacts or name in self._missing:
                name += "~"
            self._own(OldArtefact(name, file.mime_type, file.content, None, None, path))
            return name
        kind, why = self._history.files.why_not(path)
        self._history.found.add(kind, path, why, revision=self._name)
        return None

    # Timeline, inputs, graph

    def _timeline_id(self) -> str | None:
        """The artefact that is the timeline: by its name, or as the only one like it that no line has bytes of."""
        if TIMELINE in self._labels:
            return TIMELINE
        if not isinstance(self._timeline, dict | list) or not self._timeline:
            if not isinstance(self._timeline, dict | list | None):
                self._refuse(TIMELINE, "It is neither an object nor a list.")
            return None
        bare = [
            artefact
            for artefact in self._labels
            if TIMELINE in artefact.lower()
            and (line := self._line(artefact, self._labels[artefact])) is not None
            and line.content is None
            and line.path is None
        ]
        return bare[0] if len(bare) == 1 else TIMELINE

    def _take_timeline(self, artefact: str) -> None:
        lines = self._history.lines.up_to(artefact, self._number)
        maker = self._history.maker(artefact, lines[-1] if lines else None)
        label = self._labels.get(artefact)
        value = self._history.document(artefact, self._timeline, label, maker, self._owner)
        if value is not None:
            self._artefacts[value.id] = value

    def _inputs(self, configuration: Any) -> dict[str, OldInput]:
        inputs: dict[str, OldInput] = {}
        for name, label in self._input_labels.items():
            lines = self._history.inputs.up_to(name, self._number)
            if not lines:
                why = "No line says what its value is."
                self._history.found.add("missing", f"input {name}", why, revision=self._name)
                continue
            value = self._history.input_value(lines[-1], label, self._owner)
            if value is not None:
                inputs[value.id] = value
        if isinstance(configuration, dict) and configuration and CONFIGURATION not in inputs:
            value = self._configuration(configuration)
            inputs.update({} if value is None else {CONFIGURATION: value})
        return inputs

    def _configuration(self, configuration: dict[str, Json]) -> OldInput | None:
        """What people were editing, as an input of the newest revision: no line has all of it."""
        value = referring(configuration, self._owner)
        try:
            canonical_json(value)
        except InvalidValueError as error:
            self._history.found.add("refused", "configuration.json", error.message)
            return None
        return OldInput(CONFIGURATION, value, None, "user", self._history.time)

    def _graph(self, inputs: Mapping[str, OldInput], timeline: str | None) -> Json:
        """The jobs of all that the snapshot names, what is missing included: that can be made anew."""
        old = {safe_id(name): name for name in self._history.ids}
        made = {key: Made(value.producer, value.mime_type, old.get(key, key)) for key, value in self._artefacts.items()}
        upstream: dict[str, Sequence[str]] = {}
        for artefact in self._labels:
            lines = self._history.lines.up_to(artefact, self._number)
            line = lines[-1] if lines else None
            name = safe_id(artefact)
            upstream[name] = line.upstream if line is not None else ()
            if name not in made:
                made[name] = Made(
                    self._history.maker(artefact, line), self._missing.get(name, "application/json"), artefact
                )
        shown = timeline if timeline in made else None
        return self._history.graph.document(self._history.producers, made, inputs, upstream, shown)

    def _about(self, when: str, jobs: Sequence[OldJob], beside: Mapping[str, Any]) -> dict[str, Json]:
        """What else was noted of the revision, paths left out: those into folders mean nothing any more."""
        changed = self._snapshot.get("changed_since_prev")
        about: dict[str, Any] = {
            "createdAt": when,
            "status": text_of(self._snapshot, "status"),
            "planRef": text_of(self._snapshot, "plan_ref"),
            "changedSincePrev": changed if isinstance(changed, list) else None,
            "jobs": [dict(job.record) for job in jobs] or None,
            "metadata": beside.get("metadata") or None,
            "producers": {k: v for k, v in self._history.declared.items() if k in {"config", "metadata"}} or None
            if beside
            else None,
        }
        return {
            key: _without_paths(value) for key, value in about.items() if value is not None and self._keeps(key, value)
        }

    def _keeps(self, key: str, value: Json) -> bool:
        """Whether a remark is one that can be kept; noted where it is not."""
        try:
            canonical_json(value)
        except InvalidValueError as error:
            self._refuse(key, error.message)
            return False
        return True


def _without_paths(value: Json) -> Json:
    if isinstance(value, dict):
        return {key: _without_paths(item) for key, item in value.items() if asset_path(item) is None}
    if isinstance(value, list):
        return [_without_paths(item) for item in value if asset_path(item) is None]
    return value
