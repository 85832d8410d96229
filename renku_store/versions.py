"""What people put in the place of what was made: their own versions of artefacts, and takes that they chose. Pure.

A person's version stands until it is undone, whatever is made under it; a chosen take stands for the signature under
which it was chosen.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Mapping
from operator import attrgetter
from typing import Final

from renku_store.records.events import ArtefactEvent, Event
from renku_store.records.graph import GraphNode
from renku_store.records.manifest import ManifestArtefact

DECISIONS: Final = frozenset({"edited", "edit-undone", "chosen", "accepted"})
"""The statuses of events by which people decide on artefacts, between runs."""
_EDITS: Final = frozenset({"edited", "edit-undone"})
_edited_by: Final = attrgetter("edited_by")


def after(held: ManifestArtefact | None, event: ArtefactEvent) -> ManifestArtefact | None:
    """An artefact after an event about it; None where there is none then."""
    if event.status == "edit-undone":
        return held.as_made() if held is not None else None
    if event.value is None or event.status == "kept":
        return held
    given = _given(event)
    if event.status == "edited":
        return given.over(held.as_made() if held is not None else None)
    # What restores an old state names no result, and stands as it is.
    if held is not None and held.edited_by is not None and (event.result is not None or event.status != "chosen"):
        return held.over(given)
    return given


def standing(base: Mapping[str, ManifestArtefact], events: Iterable[Event], artefact: str) -> ManifestArtefact | None:
    """An artefact of a base after what people did to it since, oldest first; None where there is none then."""
    present = base.get(artefact)
    for event in events:
        if isinstance(event, ArtefactEvent) and event.artefact == artefact and event.status in _EDITS:
            present = after(present, event)
    return present


def decided(
    base: Mapping[str, ManifestArtefact],
    events: Iterable[ArtefactEvent],
    *,
    within: Container[str],
    damaged: Collection[str] = (),
) -> dict[str, ManifestArtefact]:
    """What people decided on (`ExecutionPlan.edits`): in a base, and by the events since, oldest first.

    Only artefacts `within` the graph; what was made and is one of the `damaged` blobs is left out.
    """
    since = list(events)
    held = _edited(base, since)
    chosen: dict[str, ManifestArtefact] = {}
    for event in since:
        if event.status in {"chosen", "accepted"} and event.value is not None and event.signature is not None:
            chosen[event.artefact] = _given(event)
    for key, artefact in held.items():
        made = chosen.pop(key, None) or artefact.as_made()
        held[key] = artefact.over(None if made is None or made.blob in damaged else made)
    return {key: artefact for key, artefact in {**chosen, **held}.items() if key in within}


def homeless(
    base: Mapping[str, ManifestArtefact], events: Iterable[ArtefactEvent], *, within: Container[str]
) -> dict[str, ManifestArtefact]:
    """People's versions, in a base and by the events since, oldest first, of artefacts not `within` the graph."""
    return {key: artefact for key, artefact in _edited(base, events).items() if key not in within}


def _edited(base: Mapping[str, ManifestArtefact], events: Iterable[ArtefactEvent]) -> dict[str, ManifestArtefact]:
    """People's versions that stand after some events."""
    held = _of_people(base)
    for event in events:
        key = event.artefact
        if event.status in _EDITS:
            present = after(held.get(key, base.get(key)), event)
            if present is not None and present.edited_by is not None:
                held[key] = present
            else:
                held.pop(key, None)
    return held


def _of_people(base: Mapping[str, ManifestArtefact]) -> dict[str, ManifestArtefact]:
    """People's versions; mostly there are none, which is found out without a step of Python for each artefact."""
    if {None}.issuperset(map(_edited_by, base.values())):
        return {}
    return {key: artefact for key, artefact in base.items() if artefact.edited_by is not None}


def _given(event: ArtefactEvent) -> ManifestArtefact:
    by = (event.edited_by or "user") if event.status == "edited" else event.edited_by
    assert event.value is not None  # what people decide on has bytes
    return ManifestArtefact(
        **event.value.values(),
        produced_by=event.producer,
        job=event.job,
        signature=event.signature,
        edited_by=by if event.status in {"edited", "chosen"} else None,
        source=event.source,
    )


class Held:
    """The artefacts of a base revision, with what people decided on (`edits`, as in a plan) over them."""

    def __init__(self, base: Mapping[str, ManifestArtefact], edits: Mapping[str, ManifestArtefact]) -> None:
        self._base = base
        self._edits = edits

    def edited(self, artefact: str) -> bool:
        """Whether a person's version stands for it."""
        return artefact in self._edits and self._edits[artefact].edited_by is not None

    def all_edited(self, node: GraphNode) -> bool:
        """Whether people's versions stand for every output of a job."""
        return bool(node.produces) and all(self.edited(output.id) for output in node.produces)

    def chosen(self, artefact: str) -> ManifestArtefact | None:
        """The take that a person chose and no revision holds yet."""
        return None if self.edited(artefact) else self._edits.get(artefact)

    def made(self, artefact: str, signature: str | None) -> ManifestArtefact | None:
        """What its producer made: the take chosen for this very signature, else what the base holds."""
        edit = self._edits.get(artefact)
        if edit is not None and edit.edited_by is not None:
            return edit.as_made()
        if edit is not None and signature is not None and edit.signature == signature:
            return edit
        present = self._base.get(artefact)
        return present.as_made() if present is not None else None

    def shown(self, artefact: str, made: ManifestArtefact | None) -> ManifestArtefact | None:
        """What stands for it where its producer made this: that, or the person's version over it."""
        return self._edits[artefact].over(made) if self.edited(artefact) else made

    def present(self, artefact: str, signature: str | None = None) -> ManifestArtefact | None:
        """What stands for it now, its job having this signature."""
        return self.shown(artefact, self.made(artefact, signature))

    def without(self, lapsed: Collection[str]) -> dict[str, ManifestArtefact]:
        """What people decided on, but for choices that hold no longer."""
        return {key: entry for key, entry in self._edits.items() if key not in lapsed}

    def everything(self) -> Mapping[str, ManifestArtefact]:
        """What stands for every artefact before takes are chosen, which is for those who know signatures."""
        people = _of_people(self._base)
        if not people and not self._edits:
            return self._base
        shown = dict(self._base)
        for key in people:
            made = shown.pop(key).as_made()
            if made is not None:
                shown[key] = made
        shown.update((key, entry) for key, entry in self._edits.items() if entry.edited_by is not None)
        return shown


def marked(artefact: ManifestArtefact, *, outdated: bool | None) -> ManifestArtefact:
    """The same, marked as outdated or not; a person's version never is."""
    wanted = None if artefact.edited_by is not None else outdated
    return artefact if artefact.outdated == wanted else artefact.replace(outdated=wanted)


def source_changed(node: GraphNode, held: Held, signature: str | None) -> bool:
    """Whether other program files than today's made what is held of a job; where that was not noted, nobody can say."""
    return made_by_others(node.source, (output.id for output in node.produces), held, signature)


def made_by_others(source: str | None, outputs: Iterable[str], held: Held, signature: str | None) -> bool:
    """Whether some of the `outputs` of a job were made by other program files than those with this fingerprint."""
    made = (held.made(output, signature) for output in outputs)
    return source is not None and any(entry and entry.source not in {None, source} for entry in made)
