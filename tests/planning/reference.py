"""What must be called, found out the slow way: every value compared, job by job, by recursion.

It knows nothing of signatures, traces or plans. It remembers what each published artefact was made from (the whole
request, as text) and which requests have ever been answered.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from typing import Any

from renku_store import Choices
from tests.planning.worlds import JobSpec, Place, World, answer, request_text

MISSING = object()


class RefusedError(Exception):
    """Choices that cannot be followed."""


@dataclass(frozen=True)
class Held:
    """A published artefact: its text, the request that it was made from, and whether it is marked as outdated."""

    text: str
    mime_type: str
    request: str
    outdated: bool = False


@dataclass
class Unfinished:
    """A run that has not come to its end: what it was asked for, and what its forced jobs have made already."""

    choices: Choices | None
    own: set[tuple[str, str]] = field(default_factory=set)


@dataclass
class Forecast:
    """What a run must do. `calls` is request -> the fewest and the most calls."""

    stale: set[str]
    left_out: set[str]
    statuses: dict[str, str]
    calls: dict[str, tuple[int, int]]
    known: set[str]
    held: dict[str, Held]

    @property
    def failed(self) -> bool:
        """Whether a job that was to be made is not."""
        return any(status in {"failed", "upstream failed"} for status in self.statuses.values())


class Reference:
    """The state of a movie by value."""

    def __init__(self) -> None:
        self.held: dict[str, Held] = {}
        self.published: World | None = None
        self.answered: set[str] = set()
        self.lost: set[str] = set()
        self.unfinished: list[Unfinished] = []

    def forecast(
        self,
        world: World,
        choices: Choices | None,
        broken: Collection[str],
        own: Collection[tuple[str, str]] = (),
    ) -> Forecast:
        """What a run of a world does."""
        return _Evaluation(self, world, choices or Choices(), broken, own).forecast()

    def usable(self, request: str) -> bool:
        """Whether a request was answered, and the answer is still there."""
        return request in self.answered and not self.lost.intersection(answer(request).values())

    def takes_up(self, world: World, choices: Choices | None) -> Unfinished | None:
        """The unfinished run that a run takes up: the newest that fits."""
        for run in reversed(self.unfinished):
            if choices is None or choices == run.choices:
                try:
                    self.forecast(world, run.choices, ())
                except RefusedError:
                    continue
                return run
        return None

    def differs(self, world: World, held: dict[str, Held]) -> bool:
        """Whether a revision of a world that holds this would be another than the newest."""
        return self.published != world or held != self.held

    def kept(self, world: World) -> dict[str, Held]:
        """What of the newest revision jobs of a world still make."""
        ids = {job.artefact(name) for job in world.jobs for name in job.outputs}
        return {key: value for key, value in self.held.items() if key in ids}


@dataclass
class _Evaluation:
    state: Reference
    world: World
    choices: Choices
    broken: Collection[str]
    own: Collection[tuple[str, str]]

    def __post_init__(self) -> None:
        self.jobs = {job.name: job for job in self.world.jobs}
        self.makers = {job.artefact(name): job.name for job in self.world.jobs for name in job.outputs}
        self.forced = self._named(self.choices.regen)
        self.pinned = self._named(self.choices.pin)
        targets = self._named(self.choices.targets)
        self.wanted = set().union(*map(self._with_all_before, targets)) if self.choices.targets else set(self.jobs)
        if self.forced & self.pinned:
            raise RefusedError
        for job in self.pinned:
            if not self._whole(self.jobs[job]):
                raise RefusedError
        self.seen_stale: dict[str, bool] = {}
        self.statuses: dict[str, str] = {}
        self.values: dict[str, Held] = {}
        self.needed: Counter[str] = Counter()
        self.remade: Counter[str] = Counter()
        self.known: set[str] = set()

    def forecast(self) -> Forecast:
        """Evaluate every job."""
        for job in sorted(self.world.jobs, key=lambda job: self._depth(job.name)):
            self._evaluate(job)
        stale = {name for name in self.jobs if self._stale(name)}
        left_out = {name for name in self.jobs if self._left_out(name)}
        return Forecast(stale, left_out, self.statuses, self._calls(), self.known, self.values)

    def _named(self, names: Collection[str]) -> set[str]:
        found: set[str] = set()
        for name in names:
            if name in self.jobs:
                found.add(name)
            elif name in self.makers:
                found.add(self.makers[name])
            elif jobs := {job.name for job in self.world.jobs if job.producer == name}:
                found |= jobs
            else:
                raise RefusedError
        return found

    def _reads(self, job: JobSpec) -> set[str]:
        places = [place for read in job.reads for place in read.places if place is not None]
        return {self.makers[place.id] for place in places if place.kind == "artefact"}

    def _before(self, job: JobSpec) -> set[str]:
        return self._reads(job) | set(job.after)

    def _with_all_before(self, name: str) -> set[str]:
        return {name}.union(*map(self._with_all_before, self._before(self.jobs[name])))

    def _depth(self, name: str) -> int:
        return 1 + max((self._depth(before) for before in self._before(self.jobs[name])), default=-1)

    def _whole(self, job: JobSpec) -> bool:
        held = [self.state.held.get(job.artefact(name)) for name in job.outputs]
        return all(one is not None and one.text not in self.state.lost for one in held)

    def _up_to_date(self, job: JobSpec, request: str) -> bool:
        held = [self.state.held.get(job.artefact(name)) for name in job.outputs]
        return self._whole(job) and all(one is not None and one.request == request for one in held)

    def _stale(self, name: str) -> bool:
        if name not in self.seen_stale:
            self.seen_stale[name] = self._is_stale(name)
        return self.seen_stale[name]

    def _is_stale(self, name: str) -> bool:
        """Whether a job must be looked at: forced, something before it must, or what it holds was made otherwise."""
        job = self.jobs[name]
        if name in self.pinned:
            return False
        if name in self.forced or any(self._stale(before) for before in self._reads(job)):
            return True
        return not self._up_to_date(job, self._request(job, self._held_text))

    def _left_out(self, name: str) -> bool:
        deepest = self.choices.up_to_layer
        return self._stale(name) and (
            name not in self.wanted
            or (deepest is not None and self._depth(name) > deepest)
            or any(self._left_out(before) for before in self._before(self.jobs[name]))
        )

    def _evaluate(self, job: JobSpec) -> None:
        if not self._stale(job.name):
            pinned_old = job.name in self.pinned and not self._pinned_in_vain(job)
            self._keep(job, "clean", outdated=pinned_old)
        elif self._left_out(job.name):
            self._keep(job, "skipped", outdated=True)
        elif any(self.statuses.get(before) in {"failed", "upstream failed"} for before in self._before(job)):
            self._keep(job, "upstream failed", outdated=True)
        else:
            self._make(job, self._request(job, lambda place: self.values[place.id].text))

    def _make(self, job: JobSpec, request: str) -> None:
        if not any(self._stale(before) for before in self._reads(job)):
            self.known.add(job.name)
        if job.name in self.forced:
            if (job.name, request) in self.own and self.state.usable(request):
                return self._take(job, request, "reused")
            self.remade[request] += 1
        elif self._up_to_date(job, request):
            return self._keep(job, "clean", outdated=False)
        elif self.state.usable(request):
            return self._take(job, request, "reused")
        else:
            self.needed[request] += 1
        if job.producer in self.broken:
            return self._keep(job, "failed", outdated=True)
        return self._take(job, request, "made")

    def _pinned_in_vain(self, job: JobSpec) -> bool:
        """Whether a pinned job would have been kept anyhow."""
        reads_stale = any(self._stale(before) for before in self._reads(job))
        return not reads_stale and self._up_to_date(job, self._request(job, self._held_text))

    def _keep(self, job: JobSpec, status: str, *, outdated: bool) -> None:
        self.statuses[job.name] = status
        for name in job.outputs:
            held = self.state.held.get(job.artefact(name))
            if held is not None and held.text not in self.state.lost:
                self.values[job.artefact(name)] = replace(held, outdated=outdated)

    def _take(self, job: JobSpec, request: str, status: str) -> None:
        self.statuses[job.name] = status
        for name, text in answer(request).items():
            self.values[job.artefact(name)] = Held(text, job.outputs[name], request)

    def _calls(self) -> dict[str, tuple[int, int]]:
        """Equal requests share one answer, unless they fail or were forced to have one of their own."""
        calls: dict[str, tuple[int, int]] = {}
        for request in self.needed | self.remade:
            needed, remade = self.needed[request], self.remade[request]
            if json.loads(request)[0] in self.broken:
                calls[request] = (needed + remade, needed + remade)
            else:
                calls[request] = (max(remade, 1), remade + (needed > 0))
        return calls

    def _held_text(self, place: Place) -> Any:
        held = self.state.held.get(place.id)
        return MISSING if held is None else held.text

    def _request(self, job: JobSpec, text_of: Callable[[Place], Any]) -> str:
        inputs: dict[str, Any] = {}
        for read in job.reads:
            items = [None if place is None else self._item(place, text_of) for place in read.places]
            if read.fan_in:
                inputs[read.name] = [None if item is MISSING else item for item in items]
            elif items[0] is not MISSING:
                inputs[read.name] = items[0]
        return request_text(job.producer, job.version, job.config, inputs, job.outputs)

    def _item(self, place: Place, text_of: Callable[[Place], Any]) -> Any:
        if place.kind == "input":
            found: Any = self.world.inputs[place.id]
        else:
            text = text_of(place)
            if text is MISSING:
                return MISSING
            if not place.path:
                return {"file": text, "type": self.jobs[self.makers[place.id]].outputs[place.id.rpartition(".")[2]]}
            try:
                found = json.loads(text)
            except json.JSONDecodeError:
                return MISSING
        for step in place.path:
            if isinstance(step, int):
                inside = isinstance(found, list) and step < len(found)
            else:
                inside = isinstance(found, dict) and step in found
            if not inside:
                return MISSING
            found = found[step]
        return {"value": found}
