"""What a movie would be: the revision that there is, the edits since, the graph that they give, and the plan.

Everything that the planner, which is pure, needs to be handed is read here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from operator import attrgetter

import orjson
from msgspec import Struct
from msgspec.structs import replace

from renku_store.blueprint.collector import paused_collector
from renku_store.costs import Prices, dollars
from renku_store.durations import with_seconds
from renku_store.errors import BadInputError, DamageError, NotFoundError
from renku_store.expansion import FormerState, JsonReader, graph_as_held, settle, source_of
from renku_store.forecast import forecast
from renku_store.hashing import hash_value
from renku_store.movie import Movie
from renku_store.origins import origins_of
from renku_store.planner import Planner, input_entry
from renku_store.projection import differs
from renku_store.records._base import Json
from renku_store.records.events import ArtefactEvent, InputEvent
from renku_store.records.graph import ProducerGraph
from renku_store.records.ids import check_id
from renku_store.records.inputs import check_reserved
from renku_store.records.manifest import ArtefactValue, Manifest, ManifestArtefact, ManifestInput
from renku_store.records.plan import Choices, ExecutionPlan
from renku_store.records.run import RunRecord
from renku_store.records.sheet import jobs_by_artefact, nodes_by_id
from renku_store.running.totals import run_totals
from renku_store.versions import DECISIONS, Held


class Outlook(Struct, frozen=True):
    """What a movie would be: its plan, on which revision, and which values that is made of."""

    plan: ExecutionPlan
    base: Manifest | None
    values: dict[str, Json]

    def of(self, movie: str, run: str) -> Outlook:
        """The same, as what a run of a movie sets out to do."""
        return replace(self, plan=self.plan.replace(run=run, movie=movie))

    @property
    def hashes(self) -> dict[str, str]:
        """The hash of every input that somebody has set."""
        return {key: entry.hash for key, entry in self.plan.inputs.items() if key not in self.plan.defaults}

    @property
    def base_hashes(self) -> dict[str, str]:
        """The hash of every input of the revision that the plan stands on."""
        return {key: entry.hash for key, entry in self.base.inputs.items()} if self.base else {}


def plan_movie(
    movie: Movie,
    *,
    inputs: Mapping[str, Json] | None = None,
    choices: Choices | None = None,
    prices: Prices | None = None,
) -> ExecutionPlan:
    """What a run would do now, and why; writes nothing. `inputs` and `choices` are for that run alone.

    `prices` tell what calls cost where the blueprint does not: `ProducerRegistry.price`.

    Where the run would take up an unfinished one, the plan names it, and shows what comes of that run's own inputs and
    choices.
    """
    given = dict(inputs or {})
    check_reserved(given)
    outlook, unfinished = look_again(movie, given, choices)
    plan = priced(movie, outlook, prices).plan
    if unfinished is None:
        return plan
    own = private_edits(movie, unfinished.run)
    names = f", with its own {', '.join(sorted({event.input for event in own}))}" if own else ""
    spent = f"; it has spent {dollars(plan.spent)} so far" if plan.spent else ""
    told = f"The unfinished run {unfinished.run} would be taken up again{names}{spent}."
    return plan.replace(warnings=[told, *plan.warnings])


def present_graph(movie: Movie) -> ProducerGraph:
    """The graph that a run would have now, whatever there is to be planned. Raises what its inputs do not allow."""
    pending = [event for event in movie.events.pending() if isinstance(event, InputEvent)]
    base, _ = movie.manifests.current() or (None, None)
    edits = _values_given(movie, pending)
    present = {**_input_values(movie, base, replaced=edits.keys()), **edits}
    source = source_of(movie.id, present, inherited=present.keys())
    return graph_as_held(movie, source, base)


def priced(movie: Movie, outlook: Outlook, prices: Prices | None) -> Outlook:
    """The same with what it will cost, as far as anybody can say, and what the run that it is of has spent already."""
    plan = forecast(movie, outlook.plan, outlook.base, outlook.values, prices)
    spent = run_totals(movie.events.spent(plan.run), {}).cost if plan.run else 0.0
    return replace(outlook, plan=plan.replace(spent=spent or None))


def look_again(
    movie: Movie, given: Mapping[str, Json], choices: Choices | None = None
) -> tuple[Outlook, RunRecord | None]:
    """What a run would set out from, and the unfinished run that it would take up.

    One whose own inputs or choices do not fit the movie any more is left where it is: it must not keep others from
    running. `abandon` gives it up. So is one with an input that somebody else has changed and published since, unless
    its inputs are given once more; a warning says so.
    """
    warnings: list[str] = []
    for record in resumable(movie, given, choices):
        private = private_edits(movie, record.run)
        if private and not given and (told := _overruled(movie, record, private)):
            warnings.append(told)
            continue
        try:
            followed = choices_of(movie, record.run)
            outlook = look(movie, private, given=given, choices=followed)
            return outlook.of(movie.id, record.run), record
        except BadInputError:
            continue
        except DamageError as error:
            lost = _lost_input(movie, private)
            if lost is None:
                raise
            if not given:  # else all of its inputs are at hand once more, and another run is begun with them
                raise _input_lost(record.run, lost, error) from error
    outlook = look(movie, given=given, choices=choices)
    return replace(outlook, plan=outlook.plan.replace(warnings=[*warnings, *outlook.plan.warnings])), None


def _overruled(movie: Movie, record: RunRecord, private: Sequence[InputEvent]) -> str | None:
    """What to say of a run of whose own inputs others have published another value since it planned; else None."""
    current, _ = movie.manifests.current() or (None, None)
    if current is None or current.revision == record.base_revision:
        return None
    try:
        before = movie.manifests.load(record.base_revision).inputs if record.base_revision else {}
    except (NotFoundError, DamageError):  # expired meanwhile, or damaged: nobody can say what changed
        return None
    there, own = current.inputs, {event.input: event for event in private}
    others = [key for key in own if _hash_of(there, key) not in {own[key].hash, _hash_of(before, key)}]
    if others:  # what it had seen when it planned, it was meant to overrule
        known = _edits_seen(movie, record)
        others = [key for key in others if _hash_of(there, key) != known.get(key)]
    if not others:
        return None
    contested = [f"{key} is {_told(there.get(key))} there and {_told(own[key])} in the run" for key in sorted(others)]
    return (
        f"The unfinished run {record.run} is not taken up: {current.revision}, published since, changed the same:"
        f" {'; '.join(contested)}. Give its inputs again to go on with it, or `renku-store abandon {record.run}`."
    )


def _edits_seen(movie: Movie, record: RunRecord) -> dict[str, str]:
    """The hashes of the movie-wide values that a run had seen when it planned; none where they cannot be read."""
    seen = (edit for edit in movie.events.stream_inputs() if (edit.seq or 0) <= record.edits_through)
    try:
        return {edit.input: edit.hash for edit in seen if edit.run is None}
    except DamageError:  # of the archive of a run that was compacted: the next run must not wait for its repair
        return {}


def _told(given: ManifestInput | InputEvent | None) -> str:
    """A value without reading a blob, which may be damaged."""
    if given is None:
        return "not set"
    return in_short(given.value) if given.blob is None else f"the value {given.hash[:12]}"


def _hash_of(inputs: Mapping[str, ManifestInput], key: str) -> str | None:
    return inputs[key].hash if key in inputs else None


def in_short(value: object) -> str:
    """A value as JSON, cut where it is long."""
    text = orjson.dumps(value).decode()
    return text if len(text) <= 60 else text[:57] + "..."


def _lost_input(movie: Movie, private: Sequence[InputEvent]) -> str | None:
    """The first of a run's own inputs whose value is not there any more."""
    for event in private:
        try:
            movie.events.read_value(event)
        except DamageError:
            return event.input
    return None


def _input_lost(run: str, lost: str, error: DamageError) -> DamageError:
    return type(error)(
        f"The unfinished run {run} cannot be taken up: the value of its input {lost} is gone. {error.message}",
        hint=f"Give its inputs again (`renku-store run --inputs FILE`), or give it up: `renku-store abandon {run}`.",
    )


def resumable(movie: Movie, given: Mapping[str, Json], choices: Choices | None = None) -> Iterator[RunRecord]:
    """The runs that nobody holds and that have not ended, newest first.

    With inputs or choices given only those that have the very same.
    """
    wanted: dict[str, str] | None = None
    for record in reversed(movie.leases.unfinished()):
        if record.alive or record.elsewhere:
            continue
        if wanted is None:
            wanted = {key: hash_value(value) for key, value in given.items()}
        if wanted and wanted != {event.input: event.hash for event in private_edits(movie, record.run)}:
            continue
        if choices is None or choices == choices_of(movie, record.run):
            yield record


def choices_of(movie: Movie, run: str) -> Choices | None:
    """The choices that a run follows, as its plan says; None where it has none, or no plan that can be read."""
    try:
        return movie.plans.load(run).choices
    except (NotFoundError, DamageError):
        return None


def private_edits(movie: Movie, run: str) -> list[InputEvent]:
    """The inputs that are a run's own until it publishes, oldest first."""
    return [event for event in movie.events.stream(run=run) if isinstance(event, InputEvent)]


@paused_collector()
def look(
    movie: Movie,
    private: Sequence[InputEvent] = (),
    *,
    given: Mapping[str, Json] | None = None,
    edits_through: int | None = None,
    choices: Choices | None = None,
) -> Outlook:
    """What the movie would be with the edits that are pending, and with those that are `private` to a run.

    Of two edits of one input the later one counts, whoever made it; `given` are later still. Edits beyond the number
    `edits_through` are left for the next run (None: there are no later ones).
    """
    for key in given or {}:
        check_id("input", key)
    entries = {key: input_entry(value) for key, value in (given or {}).items()}
    # Edits first: one that a run takes in between is then seen twice, which is no harm, and never not at all.
    seen = [event for event in movie.events.pending() if edits_through is None or (event.seq or 0) <= edits_through]
    pending = [event for event in seen if isinstance(event, InputEvent)]
    decisions = [event for event in seen if isinstance(event, ArtefactEvent) and event.status in DECISIONS]
    taken: list[InputEvent | ArtefactEvent] = [*pending, *decisions]
    base, base_hash = movie.manifests.current() or (None, None)
    in_order = sorted([*pending, *private], key=lambda event: event.seq or 0)
    edits = {**_values_given(movie, in_order), **(given or {})}
    before = _input_values(movie, base, replaced=edits.keys())
    entries |= {key: entry for key, entry in base.inputs.items() if key not in edits} if base else {}
    present = {**before, **edits}
    own = {event.input for event in private}.union(given or ())
    source = source_of(movie.id, present, inherited=present.keys() - own)
    undeclared = sorted(present.keys() - source.given.keys())
    former, documents = FormerState(movie, base, before, source), JsonReader(movie)
    origins = origins_of(movie, base, decisions) if base is not None else {}
    damaged = movie.blobs.damaged({value.blob: value.size for value in _values_held(base, decisions) if value.blob})

    def planned(graph: ProducerGraph, failed: Collection[str] = ()) -> ExecutionPlan:
        return Planner.compute_plan(
            graph=graph,
            manifest=base,
            manifest_hash=base_hash,
            inputs=source.values,
            pending_edits=decisions,
            former=former,
            origins=origins,
            defaults=source.values.keys() - source.given.keys(),
            document=documents.read,
            damaged=damaged,
            failed=failed,
            edits_through=max((event.seq or 0 for event in taken), default=edits_through or 0),
            choices=choices,
            entries=entries,
        )

    plan = settle(movie, source, base, planned)
    dirty = {entry.signature for entry in plan.jobs.values() if entry.state != "clean" and entry.signature}
    failed = movie.events.failed(dirty)
    if failed:
        plan = settle(movie, source, base, partial(planned, failed=failed))
    unused = [f"The input {key} is left out: the blueprint does not declare it any more." for key in undeclared]
    plan = _timed(movie, plan).replace(movie=movie.id, warnings=[*unused, *plan.warnings])
    return Outlook(plan, base, source.values)


def _timed(movie: Movie, plan: ExecutionPlan) -> ExecutionPlan:
    nodes = nodes_by_id(plan.graph)
    producers = {nodes[job].producer for job in plan.dirty}
    return with_seconds(plan, movie.events.durations(producers)) if producers else plan


def _input_values(movie: Movie, base: Manifest | None, *, replaced: Collection[str]) -> dict[str, Json]:
    """The values of a revision's inputs; a damaged one is no harm where a new value replaces it."""
    values: dict[str, Json] = {}
    for key, entry in base.inputs.items() if base else ():
        try:
            values[key] = movie.value(entry)
        except DamageError:
            if key not in replaced:
                raise
    return values


def _values_given(movie: Movie, edits: Iterable[InputEvent]) -> dict[str, Json]:
    """The value of each input by its last edit; an earlier one may be damaged."""
    return {key: movie.events.read_value(event) for key, event in {edit.input: edit for edit in edits}.items()}


def _values_held(base: Manifest | None, decisions: Sequence[ArtefactEvent]) -> Iterator[ArtefactValue]:
    """Every value that may stand for an artefact: of the base, under people's versions, and of decisions since."""
    held = base.artefacts.values() if base else ()
    return chain(
        held,
        filter(None, map(attrgetter("made"), held)),
        (event.value for event in decisions if event.value is not None),
    )


def anything_to_do(outlook: Outlook) -> bool:
    """Whether a run would do or publish anything."""
    plan = outlook.plan
    if plan.dirty:
        return True
    if any(job.left_out for job in plan.jobs.values()):
        return False  # what was asked for is there; edits wait for a run that makes something of them
    artefacts = _settled(plan, outlook.base.artefacts if outlook.base else {})
    inputs = {key: value for key, value in plan.inputs.items() if key not in plan.defaults}
    return differs(outlook.base, inputs, artefacts, plan.graph_hash)


def _settled(plan: ExecutionPlan, base: Mapping[str, ManifestArtefact]) -> dict[str, ManifestArtefact]:
    """The artefacts that a revision would hold if every job of a plan were clean."""
    held = Held(base, plan.edits)
    makers = jobs_by_artefact(plan.graph)
    found = ((key, held.present(key, plan.jobs[job].signature)) for key, job in makers.items())
    return {key: artefact for key, artefact in found if artefact is not None}
