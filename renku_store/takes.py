"""The takes of an artefact: every result that was ever made for it, and choosing one.

Keeps invariant 9: the bytes of a chosen take are seen, and live, when the choice is appended; from then on they stay.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

from renku_store.clock import timestamp
from renku_store.errors import BadInputError, BlobMissingError, DamageError, InvalidValueError, NotFoundError
from renku_store.movie import Movie
from renku_store.outlook import look, present_graph
from renku_store.records._base import Hash, Record
from renku_store.records.events import ArtefactEvent, Trace
from renku_store.records.graph import GraphNode
from renku_store.records.ids import check_id, revision_name, revision_number
from renku_store.records.manifest import ArtefactValue, Manifest
from renku_store.records.plan import ExecutionPlan
from renku_store.versions import standing

_READ_BYTES = 1024 * 1024


class Take(Record):
    """A result of an artefact's job: its number, from 1 in the order in which they were made, and what it gave.

    `revision` is the first one that holds its bytes; `cost` is that of the whole call, in US dollars. `current`: it is
    what stands, whichever inputs it was made for, or will by a choice that holds; `usable`: its bytes are there.
    """

    take: int
    hash: Hash
    size: int
    mime_type: str
    revision: str | None = None
    created_at: str
    cost: float
    current: bool
    usable: bool
    signature: Hash | None = None
    result: str


def list_takes(movie: Movie, artefact: str) -> list[Take]:
    """Every result that was ever made for an artefact, whatever its inputs were, newest first.

    Numbers stay, but for two things: a collection that forgets an abandoned run (90 days after its end, by default)
    forgets its takes, and another machine may tell later of earlier ones. Takes made after those are counted anew.

    Raises `NotFoundError` for an artefact that no job makes, or ever made, `DamageError` where the archive that tells
    of a result is damaged.
    """
    check_id("artefact", artefact)
    events = _made(movie, artefact)
    if not events:
        _check_known(movie, artefact)
        return []
    traces = _traces(movie, events)
    sizes = {v.blob: v.size for trace in traces.values() for v in trace.outputs.values() if v.blob}
    gone = movie.blobs.damaged(sizes)
    with movie.metadata.read() as reader:
        revisions = reader.events.artefact_revisions(artefact)
    first = {digest: revision_name(number) for number, digest in reversed(revisions) if digest is not None}
    base, _ = movie.manifests.current() or (None, None)
    if base is not None and artefact in base.artefacts:  # its publisher may have died before it was booked
        first.setdefault(base.artefacts[artefact].hash, base.revision)
    current = _current(movie, artefact, events, base)
    takes: list[Take] = []
    for number, event in enumerate(events, 1):
        value, trace = event.value, traces.get(event.result or "")
        if value is not None:
            takes.append(
                Take(
                    take=number,
                    hash=value.hash,
                    size=value.size,
                    mime_type=value.mime_type,
                    revision=first.get(value.hash),
                    created_at=event.created_at,
                    cost=trace.cost if trace is not None else event.cost or 0.0,
                    current=event.result == current,
                    usable=trace is not None and not _blobs(trace) & gone,
                    signature=event.signature,
                    result=event.result or "",
                )
            )
    return takes[::-1]


def take_value(movie: Movie, artefact: str, number: int) -> ArtefactValue:
    """What a take gave for the artefact, to be read. Raises what `list_takes` raises, and `BlobMissingError`."""
    take = _numbered(list_takes(movie, artefact), artefact, number)
    event = next(event for event in _made(movie, artefact) if event.result == take.result)
    if event.value is None or not take.usable:
        raise _gone(take, artefact)
    return event.value


def choose_take(movie: Movie, artefact: str, number: int) -> Take:
    """Let a take stand for all outputs of its job; the next run takes the choice, and calls nobody for it.

    It is movie-wide, and holds as long as the job's inputs are what they are now, whichever the take was made from.
    Nothing is noted where the take stands for these very inputs already.
    Raises `NotFoundError` for a take that there is not, `BlobMissingError` or `BlobCorruptError` for one whose bytes
    are not there any more, `InvalidValueError` where a choice could not be seen: a person's version stands for the
    artefact, or a job before it is to be made first.
    """
    take = _numbered(list_takes(movie, artefact), artefact, number)
    plan = look(movie).plan
    node = _maker(plan, artefact)
    signature = _holding(plan, node, artefact)
    trace = _traces(movie, [event for event in _made(movie, artefact) if event.result == take.result]).get(take.result)
    if trace is None:
        raise _gone(take, artefact)
    outputs = _outputs(node, trace)
    _check_bytes(movie, take, artefact, outputs.values())
    if not take.current or plan.jobs[node.job_id].state != "clean":
        movie.events.append_many(_choice(movie, node, signature, trace, outputs))
    return take.replace(current=True)


def _numbered(takes: list[Take], artefact: str, number: int) -> Take:
    take = next((take for take in takes if take.take == number), None)
    if take is None:
        hint = f"It has {len(takes)}: `renku-store takes '{artefact}'` lists them." if takes else "It was not made yet."
        raise NotFoundError(f"There is no take {number} of {artefact}.", hint=hint)
    return take


def _made(movie: Movie, artefact: str) -> list[ArtefactEvent]:
    """The events by which results gave the artefact a value, one for each, oldest first: ids are in order of time."""
    found: dict[str, ArtefactEvent] = {}
    for event in movie.events.stream(about=artefact):
        made = isinstance(event, ArtefactEvent) and event.artefact == artefact and event.status in {"succeeded", "kept"}
        if made and isinstance(event, ArtefactEvent) and event.result is not None and event.value is not None:
            found.setdefault(event.result, event)
    return sorted(found.values(), key=lambda event: event.id)


def _traces(movie: Movie, events: Iterable[ArtefactEvent]) -> dict[str, Trace]:
    """The results that the index still holds, by their ids."""
    signatures = {event.signature for event in events if event.signature is not None}
    with movie.metadata.read() as reader:
        return {trace.result: trace for known in signatures for trace in reader.events.traces(known)}


def _blobs(trace: Trace) -> set[str]:
    return {value.blob for value in trace.outputs.values() if value.blob}


def _current(movie: Movie, artefact: str, events: Iterable[ArtefactEvent], base: Manifest | None) -> str | None:
    """The result that stands, or will with the next run; None under a person's version, or where none does.

    `base` may not be booked yet, where another process has published it just now, or died before it could: what the
    index knows counts only where it agrees with the manifest.
    """
    pending = movie.events.pending()
    present = standing(base.artefacts if base else {}, pending, artefact)
    if base is None or present is None or present.edited_by is not None:
        return None
    chosen = [
        event.result
        for event in pending
        if isinstance(event, ArtefactEvent) and event.artefact == artefact and event.status == "chosen"
    ]
    if chosen and _holds(movie, artefact):
        return chosen[-1]
    with movie.metadata.read() as reader:
        event = reader.events.artefact_at(artefact, revision_number(base.revision))
    if event is not None and event.result is not None and event.value is not None and event.value.hash == present.hash:
        return event.result
    alike = [event.result for event in events if event.value is not None and event.value.hash == present.hash]
    return alike[-1] if alike else None


def _holds(movie: Movie, artefact: str) -> bool:
    """Whether the next run takes what was chosen: not where the inputs have changed since, or its job is gone."""
    try:
        return artefact in look(movie).plan.edits
    except (BadInputError, DamageError):  # nobody can say before the inputs are mended: no run takes or drops it
        return True


def _check_known(movie: Movie, artefact: str) -> None:
    known = {output.id for node in present_graph(movie).nodes for output in node.produces}
    if artefact not in known:
        near = difflib.get_close_matches(artefact, known, n=3, cutoff=0.5)
        hint = f"Did you mean {' or '.join(near)}?" if near else "`renku-store inspect` lists the artefacts."
        raise NotFoundError(f"No job makes an artefact {artefact}.", hint=hint)


def _maker(plan: ExecutionPlan, artefact: str) -> GraphNode:
    for node in plan.graph.nodes:
        if any(output.id == artefact for output in node.produces):
            return node
    raise InvalidValueError(
        f"No job makes {artefact} any more, so that no take can stand for it.",
        hint="Bring its job back in the inputs or the blueprint first.",
    )


def _holding(plan: ExecutionPlan, node: GraphNode, artefact: str) -> str:
    """The signature that a choice holds for."""
    edit = plan.edits.get(artefact)
    if edit is not None and edit.edited_by is not None:
        raise InvalidValueError(
            f"{edit.edited_by}'s version stands for {artefact}, before every take.",
            hint=f"Undo that first: renku-store edit '{artefact}' --undo",
        )
    planned = plan.jobs[node.job_id]
    if planned.signature is None:
        waits = next((reason.subject for reason in planned.reasons if reason.kind == "upstream"), "another job")
        raise InvalidValueError(
            f"No take of {artefact} can be chosen yet: {node.job_id} reads what {waits} is still to make.",
            hint="`renku-store run`, then choose.",
        )
    return planned.signature


def _outputs(node: GraphNode, trace: Trace) -> dict[str, ArtefactValue]:
    found = {output.id: trace.outputs.get(output.name) for output in node.produces}
    if missing := [key for key, value in found.items() if value is None]:
        raise InvalidValueError(
            f"That take has nothing for {missing[0]}: its producer had other outputs then.",
            hint="Choose a later take.",
        )
    return {key: value for key, value in found.items() if value is not None}


def _check_bytes(movie: Movie, take: Take, artefact: str, values: Iterable[ArtefactValue]) -> None:
    """Read the take through: what was chosen must be what was heard or seen."""
    for value in values:
        if value.blob is None:
            continue
        if not movie.blobs.has(value.blob):
            raise _gone(take, artefact)
        with movie.blobs.open(value.blob) as source:
            while source.read(_READ_BYTES):
                pass


def _gone(take: Take, artefact: str) -> BlobMissingError:
    return BlobMissingError(
        f"The bytes of take {take.take} of {artefact} are not there any more.",
        hint="They were collected, or lost; `renku-store run --regen` makes another take.",
    )


def _choice(
    movie: Movie, node: GraphNode, signature: str, trace: Trace, values: Mapping[str, ArtefactValue]
) -> list[ArtefactEvent]:
    now = timestamp(movie.events.clock.now())
    return [
        ArtefactEvent(
            id=movie.events.new_id(),
            artefact=output.id,
            status="chosen",
            output=output.name,
            job=node.job_id,
            producer=node.producer,
            signature=signature,
            result=trace.result,
            value=values[output.id],
            created_at=now,
        )
        for output in node.produces
    ]
