"""A run's plan as it grows: expanded by the lists that the run makes, whatever order they become known in.

1. What was frozen when the run planned stays so: its inputs, choices and prices, what people decided on, and what it
   says of the jobs that it knew and did not leave out. Only the others are planned.
2. Lists that become known one by one lead to the same jobs as if all had been known at once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from functools import cached_property

from renku_store import bounds
from renku_store.costs import with_prices_of
from renku_store.durations import with_seconds
from renku_store.errors import BadInputError, NotFoundError
from renku_store.expansion import (
    Documents,
    Source,
    awaited,
    base_graph,
    content,
    expand_by,
    read_documents,
    source_of,
    unusable,
    with_warnings,
)
from renku_store.graph import GraphIndex
from renku_store.movie import Movie
from renku_store.planner import Planner
from renku_store.records._base import Json
from renku_store.records.graph import GraphNode, ProducerGraph
from renku_store.records.manifest import ArtefactValue, Manifest
from renku_store.records.plan import Choices, CostRange, ExecutionPlan, PlannedJob
from renku_store.selection import documents_needed
from renku_store.versions import Held

Finals = Callable[[Collection[str]], Mapping[str, ArtefactValue]]
"""Of some artefacts those that nothing in the run will change any more, with their values."""


class Growth:
    """What one run grows from: `plan` is the one that it set out with, `base` the revision under it.

    What does not change while the run goes on is read once, when it is first asked for. Not for several threads, but
    for `decides_nothing`.
    """

    def __init__(self, movie: Movie, plan: ExecutionPlan, base: Manifest | None) -> None:
        self._movie = movie
        self._base = base
        self._first = plan
        self._known: Documents = {}
        self._caught_up = False
        self._documents: dict[str, Json] = {}
        self._past: dict[str, CostRange | None] = {}
        self._seconds: dict[str, float | None] = {}

    def awaited(self, plan: ExecutionPlan) -> set[str]:
        """The artefacts that decide which jobs there are, and whose content was not looked at yet."""
        return awaited(plan.graph) - self._known.keys()

    def extended(self, plan: ExecutionPlan, final: Finals) -> ExecutionPlan:
        """The plan expanded by the lists that have been made since; the very same where there are none.

        Of the lists in what it expands to, those that are known are for the next call. Where a list asks for what
        cannot be, the jobs that wait for it stay placeholders, which say so. Raises `NotFoundError` if a list is not
        there of which the plan has the jobs.
        """
        if not self._caught_up:
            self._catch_up(plan, final)
        fresh = self._contents(final(self.awaited(plan)))
        if not fresh:
            return plan
        found = expand_by(self._source, self._known, fresh)
        try:
            after = self._planned(plan, found.graph)
        except BadInputError as error:
            found = expand_by(self._source, self._known, dict.fromkeys(fresh, unusable(error)))
            after = self._planned(plan, found.graph)
        return with_warnings(after, found.warnings)

    def decides_nothing(
        self, plan: ExecutionPlan, node: GraphNode, outputs: Mapping[str, ArtefactValue], final: Finals
    ) -> bool:
        """Whether these outputs of a job, by name, leave jobs unknown that wait for them: no list is in them, say."""
        asked = {output.id: outputs[output.name] for output in node.produces if output.id in awaited(plan.graph)}
        if not asked:
            return False
        given = self._contents(asked)
        lists = {**self._known, **given}
        try:
            graph = self._source.expand(lists).graph
            while more := self._contents(final(awaited(graph) - lists.keys())):
                lists |= more
                graph = self._source.expand(lists).graph
        except BadInputError:
            return True
        wrong = (node.awaits for node in graph.nodes if node.awaits is not None and node.awaits.problem is not None)
        return any(artefact in given for awaits in wrong for artefact in awaits.artefacts)

    @cached_property
    def _source(self) -> Source:
        return source_of(self._movie.id, {key: self._movie.value(entry) for key, entry in self._first.inputs.items()})

    @cached_property
    def _before(self) -> tuple[ProducerGraph | None, dict[str, Json] | None]:
        entries = self._base.inputs if self._base else {}
        return base_graph(self._movie, self._base, {key: self._movie.value(entry) for key, entry in entries.items()})

    @cached_property
    def _nodes_before(self) -> dict[str, GraphNode]:
        return {node.job_id: node for node in self._before[0].nodes} if self._before[0] else {}

    def _contents(self, values: Mapping[str, ArtefactValue]) -> Documents:
        return {artefact: content(self._movie, artefact, value) for artefact, value in values.items()}

    def _catch_up(self, plan: ExecutionPlan, final: Finals) -> None:
        """Learn the lists of which the plan has the jobs already."""
        looked_at = {output.id for node in plan.graph.nodes for output in node.produces} - awaited(plan.graph)
        waiting = (node.awaits for node in plan.graph.nodes if node.awaits is not None)
        in_question = {artefact for awaits in waiting for artefact in awaits.artefacts}
        graph = self._source.expand(self._known).graph
        while wanted := (awaited(graph) & looked_at) - self._known.keys():
            found = final(wanted)
            if missing := wanted - found.keys() - in_question:
                raise NotFoundError(
                    f"The plan has the jobs of the list in {min(missing)}, which is not there.", hint="Plan again."
                )
            if not found:
                break
            graph = expand_by(self._source, self._known, self._contents(found)).graph
        self._caught_up = True

    def _planned(self, plan: ExecutionPlan, graph: ProducerGraph) -> ExecutionPlan:
        """The plan of another graph, with everything else as it was frozen in `plan`."""
        decided = {job: known for job, known in plan.jobs.items() if _is_decided(known)}
        new = [node for node in graph.nodes if node.job_id not in decided]
        fit, unfit = self._fitting(plan, graph)
        after = Planner.compute_plan(
            graph=with_prices_of(graph, plan.graph),
            manifest=self._base,
            manifest_hash=plan.manifest_base_hash,
            inputs=self._source.values,
            decided_before=plan.edits,
            base_graph=self._before[0],
            base_inputs=self._before[1],
            defaults=plan.defaults,
            documents=self._documents_of(plan, new),
            damaged=self._damaged(plan, new),
            edits_through=plan.edits_through,
            choices=fit,
            past_costs=self._past_costs({node.producer for node in new}),
            decided_jobs=decided,
        )
        after = with_seconds(after, self._means({node.producer for node in new}), {node.job_id for node in new})
        frozen = {"run": plan.run, "movie": plan.movie, "choices": plan.choices, "warnings": plan.warnings}
        return with_warnings(after.replace(**frozen), [*after.warnings, *unfit])

    def _values(self, plan: ExecutionPlan, artefacts: Collection[str]) -> Iterator[tuple[str, ArtefactValue]]:
        """Every value that may stand for some artefacts, also under people's versions."""
        for key in artefacts:
            for held in (self._base.artefacts if self._base else {}, plan.edits):
                if key in held:
                    yield from ((key, value) for value in (held[key], held[key].made) if value is not None)

    def _documents_of(self, plan: ExecutionPlan, nodes: list[GraphNode]) -> dict[str, Json]:
        """The parsed content, by hash, of what some jobs read into, now or in the base."""
        past = [self._nodes_before[node.job_id] for node in nodes if node.job_id in self._nodes_before]
        needed = documents_needed(ProducerGraph(nodes=[*nodes, *past]))
        unread = [(key, value) for key, value in self._values(plan, needed) if value.hash not in self._documents]
        self._documents |= read_documents(self._movie, unread, needed)
        return self._documents

    def _damaged(self, plan: ExecutionPlan, nodes: list[GraphNode]) -> set[str]:
        values = self._values(plan, [output.id for node in nodes for output in node.produces])
        return self._movie.blobs.damaged({value.blob: value.size for _, value in values if value.blob})

    def _fitting(self, plan: ExecutionPlan, graph: ProducerGraph) -> tuple[Choices | None, list[str]]:
        """A person's choices as far as they fit a graph that nobody knew when they were made, and what does not fit.

        What names nothing is made, forced and kept by nobody; what is not there yet cannot be kept; and what a person's
        version stands for is not made anew.
        """
        choices = plan.choices
        if choices is None:
            return None, []
        index, held = GraphIndex(graph), Held(self._base.artefacts if self._base else {}, plan.edits)
        unfit: list[str] = []

        def named(name: str) -> list[str]:
            try:
                return index.jobs_named(name)
            except NotFoundError as error:
                unfit.append(f"{error.message} {error.hint}".strip())
                return []

        targets, regen, pin = (
            [job for name in names for job in named(name)] for names in (choices.targets, choices.regen, choices.pin)
        )
        unseen = [job for job in regen if held.all_edited(index.node(job))]
        unfit += [f"{job} is not made anew: what it makes would lie under a person's version." for job in unseen]
        keepable = [job for job in pin if _can_be_kept(index.node(job), held)]
        unfit += [f"{job} cannot be kept as it is, for it is new; it is made." for job in pin if job not in keepable]
        if choices.targets and not targets:
            # Without a target everything would be one; whatever made the list was wanted, and is done.
            targets = [next(job for job, known in plan.jobs.items() if _is_decided(known))]
        forced = [job for job in regen if job not in unseen]
        fit = Choices(targets=targets, regen=forced, pin=keepable, up_to_layer=choices.up_to_layer)
        return fit, [*dict.fromkeys(unfit)]

    def _past_costs(self, producers: Collection[str]) -> dict[str, CostRange]:
        if unasked := set(producers) - self._past.keys():
            with self._movie.metadata.read() as reader:
                past = reader.upkeep.past_costs(unasked, bounds.COST_HISTORY_RESULTS)
            ranges = {producer: CostRange(low=low, high=high) for producer, (low, high) in past.items()}
            self._past |= {producer: ranges.get(producer) for producer in unasked}
        return {producer: cost for producer, cost in self._past.items() if cost is not None}

    def _means(self, producers: Collection[str]) -> dict[str, float]:
        if unasked := set(producers) - self._seconds.keys():
            means = self._movie.events.durations(unasked)
            self._seconds |= {producer: means.get(producer) for producer in unasked}
        return {producer: mean for producer, mean in self._seconds.items() if mean is not None}


def _is_decided(job: PlannedJob) -> bool:
    """Whether what a plan says of a job stays, however the graph grows."""
    return job.state != "deferred" and not job.left_out


def _can_be_kept(node: GraphNode, held: Held) -> bool:
    return node.awaits is not None or all(held.present(output.id) is not None for output in node.produces)
