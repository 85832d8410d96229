"""What of a job is other than in the base revision, in words. Pure; the planner's reasons are made of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from renku_store.records.graph import GraphInput, GraphNode, ProducerGraph
from renku_store.records.plan import Reason
from renku_store.selection import Selection, references

_SIGNED_FIELDS = ("producer", "version", "provider", "provider_model", "config", "context")


def in_words(reason: Reason) -> str:
    """A reason as a person reads it: `input changed: segments[2].text (text)`."""
    return f"{reason.kind}: {reason.subject}" + (f" ({reason.detail})" if reason.detail else "")


class Differences:
    """What is other than in the base manifest, job by job, where the base graph tells."""

    def __init__(self, base_graph: ProducerGraph | None, past: Selection, now: Selection) -> None:
        self._nodes = {node.job_id: node for node in base_graph.nodes} if base_graph else {}
        self._past = past
        self._now = now

    def of(self, node: GraphNode, *, sure: bool) -> list[Reason]:
        """The reasons why this job's signature is not the base's; with `sure` at least one is given."""
        base = self._nodes.get(node.job_id)
        if base is None:
            return [Reason(kind="input changed", subject=node.job_id, detail="made from other inputs")] if sure else []
        reasons = [
            Reason(kind="producer changed", subject=node.producer, detail=f"its {_words(name)}")
            for name in _SIGNED_FIELDS
            if getattr(base, name) != getattr(node, name)
        ]
        if _signed_outputs(base) != _signed_outputs(node):
            reasons.append(Reason(kind="producer changed", subject=node.producer, detail="its outputs"))
        reasons.extend(self._inputs(base, node))
        if sure and not reasons:
            reasons.append(Reason(kind="input changed", subject=node.job_id, detail="made from other inputs"))
        return reasons

    def _inputs(self, base: GraphNode, node: GraphNode) -> Iterable[Reason]:
        before = {entry.name: entry for entry in base.inputs}
        for entry in node.inputs:
            past = before.pop(entry.name, None)
            if past is None:
                yield Reason(kind="input changed", subject=_subject(entry), detail=f"{entry.name} is new")
            elif self._past.signed(past) != self._now.signed(entry):
                yield Reason(kind="input changed", subject=self._changed(past, entry), detail=entry.name)
        for name, entry in before.items():
            yield Reason(kind="input changed", subject=_subject(entry), detail=f"{name} is read no longer")

    def _changed(self, past: GraphInput, entry: GraphInput) -> str:
        """What has changed of an input: of a fan-in the places that are new, gone or other than before."""
        before = {reference.text(): self._past.item(reference) for reference in references(past)}
        now = {reference.text(): self._now.item(reference) for reference in references(entry)}
        differing = [text for text in {**now, **before} if before.get(text) != now.get(text)]
        return _named(differing) if differing else _subject(entry)


def _named(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def _signed_outputs(node: GraphNode) -> dict[str, str]:
    return {output.name: output.mime_type for output in node.produces}


def _subject(entry: GraphInput) -> str:
    named: Sequence[str] = [reference.text() for reference in references(entry)]
    return _named(named) if named else entry.name


def _words(field: str) -> str:
    return field.replace("provider_model", "model")
