"""What of a job is other than when its outputs were made, in words. Pure; the planner's reasons are made of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property

from msgspec import Struct

from renku_store.records.graph import GraphInput, GraphNode
from renku_store.records.plan import Reason
from renku_store.selection import Selection, references

_SIGNED_FIELDS = ("producer", "version", "provider", "provider_model", "config", "context")


def in_words(reason: Reason) -> str:
    """A reason as a person reads it: `input changed: segments[2].text (text)`."""
    return f"{reason.kind}: {reason.subject}" + (f" ({reason.detail})" if reason.detail else "")


class Origin(Struct, frozen=True):
    """An older revision that the outputs of a job were made for, later ones having left them as they were.

    `then`: the job and the state as they were; without it the revision is the first that had these bytes, and nobody
    can say any more what they were made from.
    """

    revision: str
    then: tuple[GraphNode, Selection] | None = None


class Differences:
    """What is other than in the base revision, or in that which a job's outputs were made for, where that is known."""

    def __init__(
        self,
        before: Callable[[], tuple[Mapping[str, GraphNode], Selection]],
        now: Selection,
        origins: Mapping[str, Origin] | None = None,
    ) -> None:
        """`before` gives the base revision's jobs, by id, and its state; it is asked once something is other."""
        self._read = before
        self._now = now
        self._origins = origins or {}

    @cached_property
    def _before(self) -> tuple[Mapping[str, GraphNode], Selection]:
        return self._read()

    def of(self, node: GraphNode, *, sure: bool) -> list[Reason]:
        """The reasons why this job's signature is not that of its outputs; with `sure` at least one is given."""
        origin = self._origins.get(node.job_id)
        if origin is None:
            nodes, past = self._before
            base = nodes.get(node.job_id)
            reasons = [*self._since(base, past, node)] if base is not None else []
            vague = "made from other inputs" if base is not None else "nothing tells what it was made from"
        else:
            found = self._since(*origin.then, node) if origin.then is not None else ()
            reasons = [_dated(reason, origin.revision) for reason in found]
            vague = f"made from other inputs; its bytes are those of {origin.revision}"
        if sure and not reasons:
            reasons.append(Reason(kind="input changed", subject=node.job_id, detail=vague))
        return reasons

    def made_in(self, job: str) -> str | None:
        """The older revision that a job's outputs were made for, where that is known and not the base."""
        origin = self._origins.get(job)
        return origin.revision if origin is not None and origin.then is not None else None

    def _since(self, then: GraphNode, past: Selection, node: GraphNode) -> Iterable[Reason]:
        """What is other than it was then."""
        for name in _SIGNED_FIELDS:
            if getattr(then, name) != getattr(node, name):
                yield Reason(kind="producer changed", subject=node.producer, detail=f"its {_words(name)}")
        if _signed_outputs(then) != _signed_outputs(node):
            yield Reason(kind="producer changed", subject=node.producer, detail="its outputs")
        before = {entry.name: entry for entry in then.inputs}
        for entry in node.inputs:
            former = before.pop(entry.name, None)
            if former is None:
                yield Reason(kind="input changed", subject=_subject(entry), detail=f"{entry.name} is new")
            elif past.signed(former) != self._now.signed(entry):
                yield Reason(kind="input changed", subject=self._changed(former, past, entry), detail=entry.name)
        for name, entry in before.items():
            yield Reason(kind="input changed", subject=_subject(entry), detail=f"{name} is read no longer")

    def _changed(self, former: GraphInput, past: Selection, entry: GraphInput) -> str:
        """What has changed of an input: of a fan-in the places that are new, gone or other than before."""
        before = {reference.text(): past.item(reference) for reference in references(former)}
        now = {reference.text(): self._now.item(reference) for reference in references(entry)}
        differing = [text for text in {**now, **before} if before.get(text) != now.get(text)]
        return _named(differing) if differing else _subject(entry)


def _dated(reason: Reason, revision: str) -> Reason:
    return reason.replace(detail=f"{reason.detail}, since {revision}")


def _named(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def _signed_outputs(node: GraphNode) -> dict[str, str]:
    return {output.name: output.mime_type for output in node.produces}


def _subject(entry: GraphInput) -> str:
    named: Sequence[str] = [reference.text() for reference in references(entry)]
    return _named(named) if named else entry.name


def _words(field: str) -> str:
    return field.replace("provider_model", "model")
