"""Writes a movie that was read from an older layout, by the same steps as everybody who publishes.

    for each revision, oldest first:  blobs -> run and events -> archive -> intent -> manifest -> pointer -> rows

Keeps invariant 11: until its manifest exists, the run of an old revision is an abandoned one; done again, it goes on.
Its id follows from the old revision, so that a manifest tells whether that revision is there (`identity`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Final, NamedTuple

from renku_store import bounds
from renku_store.clock import timestamp
from renku_store.hashing import canonical_json, hash_bytes
from renku_store.migration.chronicle import Chronicle
from renku_store.migration.contents import ContentCarrier
from renku_store.migration.described import Content, FileContent, HeldContent, OldInput, OldMovie, OldRevision
from renku_store.migration.folder import OldFolder
from renku_store.migration.identity import AFTER, run_after, run_of
from renku_store.migration.later import EarlierEdits, later_steps, not_said
from renku_store.migration.reading import Findings
from renku_store.migration.signing import Jobs, jobs_of, signatures
from renku_store.migration.told import ToldAttempts
from renku_store.movie import Movie
from renku_store.planner import input_entry
from renku_store.projection import next_manifest
from renku_store.records._base import Json
from renku_store.records.events import Event, InputEvent, RunEvent
from renku_store.records.ids import revision_name, revision_number
from renku_store.records.inputs import BLUEPRINT
from renku_store.records.manifest import ArtefactValue, Manifest, ManifestArtefact, ManifestInput, Metrics

_BLOB: Final = "application/octet-stream"
_LOCK: Final = "migrate"
"""Held by whoever migrates into a movie: two at once would make the same runs."""
_AHEAD: Final = 256
"""Contents that revisions name, from which on no further one is carried along with them: a killed migration goes on
from what is published."""
BY: Final = "migrate"
"""Who gave the graph of a migrated revision, which stands in no older document."""


def alone(movie: Movie) -> AbstractContextManager[None]:
    """Keep other migrations into a movie waiting, for some seconds; then they say who is at it."""
    return movie.driver.lock(_LOCK, wait_seconds=bounds.OPEN_LOCK_WAIT_SECONDS)


_Contents = list[tuple[Content, str]]
"""Contents, each with its MIME type."""


class _Entered(NamedTuple):
    """A value as a manifest holds it; the content is its blob, where it has one."""

    entry: ManifestInput
    content: HeldContent | None


class _Ready(NamedTuple):
    """The values of a revision's inputs, its graph among them, its jobs, and every content that it names."""

    values: dict[str, Json]
    entered: dict[str, _Entered]
    jobs: Jobs | None
    contents: _Contents


class MovieWriter:
    """Writes one old movie into one new one. `found` takes what turns out to be unreadable on the way.

    `published` has by run the revision that it has published; `left` are the old revisions that are not there yet.
    """

    def __init__(
        self,
        folder: OldFolder,
        old: OldMovie,
        movie: Movie,
        found: Findings,
        published: Mapping[str, str],
        *,
        took: Callable[[int], None],
    ) -> None:
        self._steps = list(later_steps(movie, old))
        self._told = ToldAttempts(movie, self._steps)
        self._old = old = self._told.marked(old, published)
        self.left = [revision for revision in old.revisions if run_of(old, revision) not in published]
        self._movie = movie
        self._found = found
        self._lost: dict[FileContent, str] = {}
        self._ready: dict[str, _Ready] = {}
        self._last: tuple[tuple[str, set[str]], Jobs | None] | None = None
        self._last_graph: tuple[Jobs, _Entered] | None = None
        self._carrier = ContentCarrier(folder, movie.blobs, self._lost.__setitem__, took)
        self._earlier = EarlierEdits(movie, old, self._steps)

    def publish(self, revision: OldRevision) -> str:
        """Publish an old revision as the newest one, and give its name. It takes the edits that came over before it.

        Raises `ManifestConflictError` if somebody else publishes meanwhile.
        """
        current = self._movie.manifests.current()
        base, base_hash = current or (None, None)
        values, entered, jobs, contents = self._made_ready(revision)
        del self._ready[revision.name]
        if jobs is None and revision.graph is not None:
            self._found.notes.append(f"The producers of {revision.name} make no graph: give the movie a blueprint.")
        self._carry(revision, contents)
        artefacts = self._artefacts(revision, values, jobs)
        inputs = _inputs(revision, entered)
        chronicle = Chronicle(self._carrier, self._movie.events.new_id, jobs, self._told.results)
        run = run_of(self._old, revision)
        taken = self._earlier.take(revision)
        events: list[Event] = [
            *_given(self._movie.events.new_id, run, revision, inputs, base, taken),
            *chronicle.attempts(run, revision, artefacts, base.artefacts if base else {}),
        ]
        self._begin(run, revision.name, revision.created_at, revision.about, base)
        if not any(event.type != "run" for event in self._movie.events.stream(run=run)):
            self._movie.events.append_many(events)
        manifest = next_manifest(
            base,
            base_hash,
            movie=self._movie.id,
            revision=revision_name(revision_number(base.revision) + 1 if base else 1),
            run=run,
            created_at=revision.created_at,
            graph=hash_bytes(jobs.data) if jobs else None,
            timeline=revision.timeline,
            inputs=inputs,
            artefacts=artefacts,
            archive=self._movie.archiver.archive(run, 0, edits={event.id for event in taken}),
            metrics=Metrics(made=chronicle.made, cost=round(chronicle.cost, 6)),
        )
        return self._movie.manifests.save_manifest(manifest, previous_hash=base_hash).revision

    def carry_ahead(self, revisions: Sequence[OldRevision]) -> int:
        """Put what the first of these revisions need, so many that their files share syncs; gives how many those are.

        Nothing names it until they are published.
        """
        contents: _Contents = []
        count = 0
        for revision in revisions:
            contents += self._made_ready(revision).contents
            count += 1
            if len(contents) >= _AHEAD:
                break
        self._carrier.carry(contents)
        return count

    def _made_ready(self, revision: OldRevision) -> _Ready:
        """What a revision is written from, worked out once."""
        if revision.name not in self._ready:
            values = {key: given.value for key, given in revision.inputs.items()}
            jobs = self._jobs(revision.graph, values)
            if jobs is not None:
                values[BLUEPRINT] = revision.graph
            entered = self._entered(values, jobs)
            self._ready[revision.name] = _Ready(values, entered, jobs, self._named(revision, entered, jobs))
        return self._ready[revision.name]

    def _entered(self, values: Mapping[str, Json], jobs: Jobs | None) -> dict[str, _Entered]:
        """The values as a manifest holds them; a graph that the revision before had, too, is not written out again."""
        entered = {key: _entered(value) for key, value in values.items() if key != BLUEPRINT or jobs is None}
        if jobs is not None:
            if self._last_graph is None or self._last_graph[0] is not jobs:
                self._last_graph = jobs, _entered(values[BLUEPRINT])
            entered[BLUEPRINT] = self._last_graph[1]
        return entered

    def _jobs(self, document: Json, values: Mapping[str, Json]) -> Jobs | None:
        """`jobs_of`; what the jobs of a graph read is resolved by which inputs there are, not by their values."""
        said = json.dumps(document), {*values}  # as text: to Python 1 and true are equal
        if self._last is None or not isinstance(document, dict) or self._last[0] != said:
            self._last = said, jobs_of(self._movie.id, document, values)
        return self._last[1]

    def _carry(self, revision: OldRevision, contents: _Contents) -> None:
        """Put every content that the revision, or its history, names; note what of its history cannot be read."""
        self._carrier.carry(contents)
        standing = {artefact.content for artefact in revision.artefacts.values()}
        for content, _ in contents:
            if isinstance(content, FileContent) and content not in standing and content in self._lost:
                self._found.add_untold(content.path, self._lost[content])

    def _named(self, revision: OldRevision, entered: Mapping[str, _Entered], jobs: Jobs | None) -> _Contents:
        """Every content that the revision, or its history, names."""
        contents: _Contents = [(HeldContent(jobs.data), _BLOB)] if jobs else []
        for _, content in [*entered.values(), *(_entered(given.value) for given in revision.history)]:
            if content is not None:
                contents.append((content, _BLOB))
        made = [attempt.value for attempt in revision.attempts if attempt.value is not None]
        for artefact in [*revision.artefacts.values(), *made]:
            contents.append((artefact.content, artefact.mime_type))
            if artefact.made is not None:
                contents.append((artefact.made, artefact.mime_type))
        return contents

    def _artefacts(
        self, revision: OldRevision, values: Mapping[str, Json], jobs: Jobs | None
    ) -> dict[str, ManifestArtefact]:
        """The artefacts of the manifest; one whose file cannot be read is noted as missing."""
        found: dict[str, ArtefactValue] = {}
        for key, artefact in revision.artefacts.items():
            value = self._carrier.value(artefact.content, artefact.mime_type)
            if value is not None:
                found[key] = value
            elif isinstance(artefact.content, FileContent):
                why = self._lost[artefact.content]
                self._found.add("missing", artefact.content.path, why, revision=revision.name, artefact=key)
        signed = signatures(jobs, values, found, revision.artefacts) if jobs else {}
        stale = {jobs.makers[key].job_id for key in revision.stale if jobs and key in jobs.makers}
        entries: dict[str, ManifestArtefact] = {}
        for key, value in found.items():
            artefact, node = revision.artefacts[key], jobs.makers.get(key) if jobs else None
            made = self._carrier.value(artefact.made, artefact.mime_type) if artefact.made is not None else None
            entries[key] = ManifestArtefact(
                **value.values(),
                produced_by=node.producer if node else artefact.producer,
                job=node.job_id if node else None,
                signature=signed[node.job_id] if node and node.job_id not in stale else None,
                edited_by=artefact.edited_by,
                made=made,
                legacy_hash=artefact.legacy_hash,
            )
        return entries

    def _begin(self, run: str, name: str, when: str, about: Mapping[str, Json], base: Manifest | None) -> None:
        """Note the run, over from the start, with its first step: a collection forgets one that has left nothing."""
        now = timestamp(self._movie.clock.now())
        revision = base.revision if base else None
        data: dict[str, Json] = {"base": revision, "movie": self._old.id, "layout": self._old.layout, "from": name}
        step = RunEvent(
            id=self._movie.events.new_id(), run=run, kind="migrated", data={**data, **about}, created_at=now
        )
        with self._movie.metadata.write() as writer:
            if writer.runs.get(run) is None:
                writer.runs.create(run, base_revision=revision, edits_through=0, created_at=when)
                writer.runs.update(run, status="abandoned", ended_at=now)
                writer.events.append([step])

    def take_later(self) -> None:
        """Take what happened after the newest old revision: edits become pending, attempts an abandoned run.

        Done again, it takes what has come since, and changes nothing where nothing has.
        """
        edits = self._earlier.absent()
        attempts = [tried for tried in self._old.later_attempts if tried.told is None]
        noted = {canonical_json(job) for step in self._steps for job in _listed(step.data.get("jobs"))}
        jobs = [job for job in self._old.later_jobs if canonical_json(job) not in noted]
        archived = [step.run for step in self._steps if self._movie.archives.exists(step.run)]
        run = run_after(self._old, len(archived), [key for key, _ in edits], attempts)
        seen = OldRevision(AFTER, 0, "", {}, {}, history=tuple(given for _, given in edits), attempts=tuple(attempts))
        self._carry(seen, self._named(seen, {}, None))
        last = self._last_jobs() if attempts else None
        chronicle = Chronicle(self._carrier, self._movie.events.new_id, last, self._told.results)
        events: list[Event] = [*chronicle.attempts(run, seen, {}, {})]
        events += [_event(given.id, given.value, key, None, given) for key, given in edits]
        unfinished = [step.run for step in self._steps if step.run not in archived]
        if events or jobs:
            current = self._movie.manifests.current()
            now = timestamp(self._movie.clock.now())
            self._begin(run, AFTER, now, {"jobs": jobs}, current[0] if current else None)
            self._movie.events.append_many(events)  # all or nothing: what is told is known by these
            unfinished.append(run)
        for ended in unfinished:
            self._movie.archiver.archive(ended, 0)

    def _last_jobs(self) -> Jobs | None:
        """The jobs of the newest old revision."""
        if not self._old.revisions:
            return None
        last = self._old.revisions[-1]
        return jobs_of(self._movie.id, last.graph, {key: given.value for key, given in last.inputs.items()})


def _listed(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []


def _entered(value: Json) -> _Entered:
    entry = input_entry(value)
    return _Entered(entry, None if entry.blob is None else HeldContent(canonical_json(value)))


def _inputs(revision: OldRevision, entered: Mapping[str, _Entered]) -> dict[str, ManifestInput]:
    entries: dict[str, ManifestInput] = {}
    for key, (entry, _) in entered.items():
        given = revision.inputs.get(key)
        entries[key] = entry.replace(legacy_hash=given.legacy_hash if given is not None else None)
    return entries


def _given(
    new_id: Callable[[], str],
    run: str,
    revision: OldRevision,
    inputs: Mapping[str, ManifestInput],
    base: Manifest | None,
    taken: Sequence[InputEvent],
) -> Iterator[InputEvent]:
    """Every value that was given since the revision before, and what the revision holds where that says otherwise.

    The edits that it has `taken` came over before, and tell of themselves.
    """
    last = {key: entry.hash for key, entry in base.inputs.items()} if base else {}
    last.update((event.input, event.hash) for event in taken)
    for given in not_said(revision.history, taken):
        event = _event(given.id, given.value, new_id(), run, given)
        last[given.id] = event.hash
        yield event
    for key, entry in inputs.items():
        if last.get(key) != entry.hash:
            source = revision.inputs.get(key)
            by, when = (source.edited_by, source.created_at) if source else (BY, revision.created_at)
            yield InputEvent(
                id=new_id(), run=run, input=key, hash=entry.hash, value=entry.value, blob=entry.blob,
                edited_by=by, created_at=when,
            )  # fmt: skip


def _event(key: str, value: Json, event_id: str, run: str | None, given: OldInput) -> InputEvent:
    entry = input_entry(value)
    return InputEvent(
        id=event_id, run=run, input=key, hash=entry.hash, value=entry.value, blob=entry.blob,
        edited_by=given.edited_by, created_at=given.created_at,
    )  # fmt: skip
