"""What a soak came to, once all its processes have ended: held against the journal, the invariants and the inputs."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from renku_store.calls import Job, JobContext, Produced
from renku_store.errors import BlobMissingError
from renku_store.gc import collect
from renku_store.movie import Movie
from renku_store.outlook import private_edits
from renku_store.regenerate import run_movie
from renku_store.store import open_store
from renku_store.testing.invariants import violations
from renku_store.testing.soak.film import MOVIE, expected_artefacts, make
from renku_store.testing.soak.journal import JOURNAL, ROOT, Line, judge, lines


@dataclass(frozen=True, slots=True)
class SoakReport:
    """What was done (operation to outcome to count), and every violation, each a sentence with an invariant's number.

    `duplicates` counts the calls made again, by what excuses them.
    """

    seed: int
    seconds: float
    operations: dict[str, Counter[str]]
    kills: int
    stops: int
    revisions: int
    edits: int
    calls: int
    duplicates: Counter[str]
    violations: list[str] = field(default_factory=list)

    def summary(self) -> str:
        """Everything that was counted, a line each."""
        done = "; ".join(
            f"{name}: {', '.join(f'{count} {outcome}' for outcome, count in sorted(outcomes.items()))}"
            for name, outcomes in sorted(self.operations.items())
        )
        again = ", ".join(f"{count} {excuse}" for excuse, count in sorted(self.duplicates.items())) or "none"
        return (
            f"soak with seed {self.seed}, {self.seconds:g} seconds: {self.kills} kills, {self.stops} stops,"
            f" {self.revisions} revisions, {self.edits} edits, {self.calls} calls\n"
            f"operations: {done}\ncalls made again with an excuse: {again}\nviolations: {len(self.violations)}"
        )


def verdict(folder: Path, seed: int, seconds: float, told: Iterable[str]) -> SoakReport:
    """Look at everything that a soak left in `folder`; `told` are violations that were seen before."""
    journal = lines(folder / JOURNAL)
    found = [*told, *(line["text"] for line in journal if line["kind"] == "violation")]
    calls = judge(journal)
    found += calls.repeated
    with open_store(folder / ROOT) as store:
        movie = store.movie(MOVIE)
        found += violations(movie)
        found += _lost(movie, journal)
        found += _wrong_contents(movie, journal)
        found += _unfinished(movie)
        collect(movie, grace_seconds=0.0, force=True)
        found += violations(movie)
    with open_store(folder / ROOT) as store:
        store.rebuild(MOVIE)
        movie = store.movie(MOVIE)
        found += violations(movie)
        found += _lost(movie, journal)
        revisions = len(list(movie.manifests.history()))
    operations: dict[str, Counter[str]] = {}
    for line in journal:
        if line["kind"] == "operation":
            operations.setdefault(line["name"], Counter())[line["outcome"]] += 1
    kinds = Counter(line["kind"] for line in journal)
    return SoakReport(
        seed=seed,
        seconds=seconds,
        operations=operations,
        kills=kinds["killing"],
        stops=kinds["stopping"],
        revisions=revisions,
        edits=kinds["edit"],
        calls=calls.count,
        duplicates=calls.excused,
        violations=found,
    )


def _lost(movie: Movie, journal: Iterable[Line]) -> Iterator[str]:
    """Revisions and edits that were acknowledged and are not there, or as something else."""
    chain = {entry.revision: digest for entry, digest in movie.manifests.history()}
    history = {event.id: event.hash for event in movie.events.stream() if event.type == "input"}
    for line in journal:
        if line["kind"] == "published" and chain.get(line["revision"]) != line["hash"]:
            yield f"5: {line['revision']} was acknowledged as {line['hash']}, and is {chain.get(line['revision'])}."
        if line["kind"] == "edit" and history.get(line["id"]) != line["hash"]:
            yield f"4: The edit {line['id']} of {line['input']} was acknowledged, and is not in the history."


def _wrong_contents(movie: Movie, journal: Iterable[Line]) -> Iterator[str]:
    """Revisions of runs whose artefacts are not what their inputs make, and rollbacks to what was not there."""
    by_hand = {line["run"] for line in journal if line["kind"] == "by hand"}
    contents = {manifest.revision: manifest.content_hash for manifest, _ in movie.manifests.revisions()}
    for manifest, _ in movie.manifests.revisions():
        restored = _restored(movie, manifest.run)
        if restored is not None:
            if contents.get(restored, manifest.content_hash) != manifest.content_hash:
                yield f"{manifest.revision} is not what {restored} was, to which it was rolled back."
        elif manifest.run not in by_hand:
            yield from _wrong_content(movie, manifest.revision)


def _restored(movie: Movie, run: str) -> str | None:
    """The revision that a run rolled back to; None for other runs."""
    for event in movie.events.stream(run=run):
        if event.type == "run" and event.kind == "rollback":
            return str(event.data["to"])
    return None


def _wrong_content(movie: Movie, revision: str) -> Iterator[str]:
    manifest = movie.manifests.load(revision)
    expected = expected_artefacts({key: movie.value(entry) for key, entry in manifest.inputs.items()})
    actual = {key: artefact.hash for key, artefact in manifest.artefacts.items()}
    for key in sorted(expected.keys() | actual.keys()):
        if expected.get(key) != actual.get(key):
            yield f"{key} of {revision} is {actual.get(key)}, and its inputs make {expected.get(key)}."
    for artefact in manifest.artefacts.values():
        try:
            movie.read(artefact)
        except BlobMissingError as error:
            yield f"5: {revision}: {error.message}"


def _unfinished(movie: Movie) -> Iterator[str]:
    """Whatever was left can be gone on with, and comes to what the inputs make."""

    async def produce(job: Job, _context: JobContext) -> Produced:
        return Produced({"out": make(job)})

    while unfinished := movie.leases.unfinished():
        left = unfinished[-1]  # the newest: one without inputs of its own goes on with that
        own = {event.input: movie.events.read_value(event) for event in private_edits(movie, left.run)}
        report = asyncio.run(run_movie(movie, produce=produce, inputs=own))
        if report.status not in ("published", "unchanged"):
            yield f"11: The run {report.run} that was left over came to be {report.status}: {report.jobs}."
            return
        if left.run in {record.run for record in movie.leases.unfinished()}:
            yield f"11: These runs do not come to an end: {movie.leases.unfinished()}."
            break
    asyncio.run(run_movie(movie, produce=produce))
    yield from _wrong_content(movie, "latest")
