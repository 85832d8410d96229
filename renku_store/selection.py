"""What a job reads, resolved: references to values, artefacts and their hashes. Pure; planner and runner share it.

A missing value is not null: an input whose reference selects nothing is left out, of the request and of the signature.
A part of an artefact that is nested too deeply to be a value is neither: no job that reads it can be made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

from renku_store.errors import InvalidValueError
from renku_store.hashing import artefact_item, hash_text, hash_value, list_item, value_item
from renku_store.media_types import is_json
from renku_store.records._base import Json
from renku_store.records.graph import GraphInput, GraphNode, ProducerGraph, Reference
from renku_store.records.manifest import ArtefactValue

_HASHED_ANEW_MAX: Final = 256
"""Characters of a text in an input that is hashed again for each job that reads it: to look it up takes no less."""
_NO_VALUE: Final = "no-value-"
"""What the digest of a part that cannot be a value begins with: no digest of a value does, so no result is its."""


class Missing:
    """The type of `MISSING`."""

    __slots__ = ()


MISSING: Final = Missing()
"""What a path selects where nothing is."""


def select(document: Json, path: Iterable[str | int]) -> Json | Missing:
    """The part of a JSON value that a path leads to, or `MISSING`."""
    value = document
    for step in path:
        if isinstance(step, int):
            if not isinstance(value, list) or not 0 <= step < len(value):
                return MISSING
            value = value[step]
        else:
            if not isinstance(value, dict) or step not in value:
                return MISSING
            value = value[step]
    return value


class Selection:
    """References against one state: input values, artefacts, and the JSON documents inside artefacts.

    `document` gives the parsed JSON of an artefact; it is asked only for references that go into one, and only if its
    MIME type is one of JSON: what is in another is missing, for whoever looks.
    """

    def __init__(
        self,
        inputs: Mapping[str, Json],
        artefacts: Mapping[str, ArtefactValue],
        document: Callable[[ArtefactValue], Json | Missing],
    ) -> None:
        self._inputs = inputs
        self._artefacts = artefacts
        self._document = document
        self._hashes: dict[tuple[str, str, tuple[str | int, ...]], str | None] = {}
        self._faults: dict[str, str] = {}  # by digest: why a part is no value

    def artefact(self, artefact_id: str) -> ArtefactValue | None:
        """The artefact's value in this state, if it has one."""
        return self._artefacts.get(artefact_id)

    def artefacts(self, artefact_ids: Iterable[str]) -> list[ArtefactValue | None]:
        """As `artefact`, of many."""
        return list(map(self._artefacts.get, artefact_ids))

    def value(self, reference: Reference) -> Json | Missing:
        """The JSON value that a reference to an input, or into an artefact, selects."""
        if reference.kind == "input":
            return select(self._inputs[reference.id], reference.path) if reference.id in self._inputs else MISSING
        artefact = self._artefacts.get(reference.id)
        document = MISSING if artefact is None or not is_json(artefact.mime_type) else self._document(artefact)
        return MISSING if isinstance(document, Missing) else select(document, reference.path)

    def item(self, reference: Reference | None) -> dict[str, Json] | None:
        """The signed form of what a reference selects; None where there is nothing."""
        if reference is None:
            return None
        if reference.kind == "artefact" and not reference.path:
            artefact = self._artefacts.get(reference.id)
            return None if artefact is None else artefact_item(artefact)
        digest = self.digest(reference)
        return None if digest is None else value_item(digest)

    def digest(self, reference: Reference) -> str | None:
        """The hash of the value that a reference to an input, or into an artefact, selects; None: there is none.

        What is no value has a digest like no other: `fault` says whether a job reads such a part.
        """
        if reference.kind == "input":
            value = self.value(reference)
            if isinstance(value, str) and len(value) <= _HASHED_ANEW_MAX:
                return hash_value(value)
        holder = reference.id if reference.kind == "input" else _content(self._artefacts.get(reference.id))
        key = (reference.kind, holder, tuple(reference.path))
        if key not in self._hashes:
            self._hashes[key] = self._hashed(reference, holder)
        return self._hashes[key]

    def _hashed(self, reference: Reference, holder: str) -> str | None:
        value = self.value(reference)
        if isinstance(value, Missing):
            return None
        try:
            return hash_value(value)
        except InvalidValueError as error:
            if reference.kind == "input":  # none is accepted
                raise
            digest = _NO_VALUE + hash_value([holder, *reference.path])
            self._faults[digest] = error.message
            return digest

    def fault(self, node: GraphNode) -> str | None:
        """Why a job that has been signed cannot be made, as a sentence: it reads a part that is no value; or None."""
        into = (ref for entry in node.inputs for ref in references(entry) if ref.kind == "artefact" and ref.path)
        for reference in into if self._faults else ():
            why = self._faults.get(self.digest(reference) or "")
            if why is not None:
                return f"{node.job_id} reads {reference.text()}, but that part of {reference.id} cannot be used: {why}"
        return None

    def digests(
        self, input_id: str, before: Sequence[str | int], positions: Iterable[int], after: Sequence[str]
    ) -> list[str | None]:
        """As `digest`, of many places of one input: of some elements of the list at `before` what is at `after`."""
        elements = select(self._inputs[input_id], before) if input_id in self._inputs else MISSING
        values: list[Json | Missing] = [MISSING for _ in positions]
        if isinstance(elements, list):
            count = len(elements)
            values = [elements[position] if position < count else MISSING for position in positions]
            for key in after:
                values = [value[key] if type(value) is dict and key in value else MISSING for value in values]
        return [
            hash_text(value)
            if type(value) is str and len(value) <= _HASHED_ANEW_MAX
            else self._digest(("input", input_id, (*before, position, *after)), value)
            for value, position in zip(values, positions, strict=True)
        ]

    def _digest(self, key: tuple[str, str, tuple[str | int, ...]], value: Json | Missing) -> str | None:
        if key not in self._hashes:
            self._hashes[key] = None if isinstance(value, Missing) else hash_value(value)
        return self._hashes[key]

    def signed(self, entry: GraphInput) -> dict[str, Json] | None:
        """The signed form of one input of a job; None where it is missing."""
        if entry.refs is not None:
            return list_item(self.item(reference) for reference in entry.refs)
        return self.item(entry.ref)

    def signed_inputs(self, node: GraphNode) -> dict[str, dict[str, Json]]:
        """What `hashing.signature` takes: every input of a job that is there."""
        found: dict[str, dict[str, Json]] = {}
        for entry in node.inputs:
            item = self.item(entry.ref) if entry.refs is None else self.signed(entry)
            if item is not None:
                found[entry.name] = item
        return found


def _content(artefact: ArtefactValue | None) -> str:
    """What the parts of an artefact depend on: its bytes, and whether they are JSON."""
    return "" if artefact is None else f"{artefact.hash} {artefact.mime_type}"


def references(entry: GraphInput) -> list[Reference]:
    """The references of an input, places without a job left out."""
    if entry.refs is not None:
        return [reference for reference in entry.refs if reference is not None]
    return [entry.ref] if entry.ref is not None else []


def artefacts_awaited(node: GraphNode) -> Iterator[str]:
    """The artefacts that must be final before a job is: what it reads and, for a placeholder, what decides it."""
    for entry in node.inputs:
        for reference in references(entry):
            if reference.kind == "artefact":
                yield reference.id
    if node.awaits is not None:
        yield from node.awaits.artefacts


def documents_needed(graph: ProducerGraph) -> set[str]:
    """The artefacts that some job reads into: those whose content is needed to tell what is dirty."""
    return {
        reference.id
        for node in graph.nodes
        for entry in node.inputs
        for reference in references(entry)
        if reference.kind == "artefact" and reference.path
    }
