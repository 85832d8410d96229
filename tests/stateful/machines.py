"""What two machines do at once that share objects, and each of which has an index of its own."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

from renku_store import (
    BlobMissingError,
    InputConflictError,
    ManifestConflictError,
    Movie,
    PublishedRevision,
    RevisionExistsError,
    RunReport,
    StoreUnavailableError,
    bounds,
    collect,
    run_movie,
)
from renku_store.conclusion import end_run
from renku_store.hashing import hash_bytes, manifest_content_hash
from renku_store.leases import AlreadyMade, Claimed
from renku_store.running.results import Outcome
from renku_store.testing.interleaving import Fleet, Machine, Scenario
from renku_store.testing.invariants import check_invariants
from tests.stateful.protocols import CLIP, NODE, SIGNATURE, Ends, event, forget_broken, next_manifest, published, store
from tests.stateful.rebasing import one_run, produce

MACHINES: Final = ("here", "there")
OLD: Final = b"what nobody needs any more"
EDITED: Final = b"what a person puts again"
REUSED: Final = b"what an abandoned run has made"
AGAIN: Final = b"what a manifest names that no event names"
LONG_AGO: Final = 3 * 86_400.0


def fleet_of(machine: Machine) -> Fleet:
    """The fleet that a scenario runs on."""
    assert isinstance(machine, Fleet)
    return machine


def opened(machine: Machine, on: str, process: str) -> Movie:
    """The movie as a process has it that has just opened it on a machine."""
    return fleet_of(machine).open_on(on, process)


def put(machine: Machine, movie: Movie, data: bytes) -> str:
    """Put bytes, again if a collector takes them meanwhile: then they stay for the grace time, less some hours."""
    while True:
        before = machine.timeline.unix_seconds()
        with suppress(StoreUnavailableError):
            blob = movie.blobs.put(data)
            machine.promise(blob.hash, before + bounds.GC_GRACE_SECONDS - bounds.YOUNG_SECONDS - 60.0)
            return blob.hash


def edited(machine: Machine, movie: Movie, artefact: str, data: bytes) -> None:
    """Give an artefact new bytes, as an edit of the movie."""
    put(machine, movie, data)
    movie.events.append_artefact(event(movie, artefact, movie.blobs.put(data)))


def settled(machine: Machine) -> Movie:
    """The movie on each machine as its next process finds it, looked at invariant by invariant."""
    movies = [opened(machine, on, f"opener {on}") for on in MACHINES]
    for movie in movies:
        movie.committer.repair()
        check_invariants(movie, with_fsck=False)
    return movies[-1]


def known_on_both(machine: Machine) -> None:
    """A movie of one revision, which both machines have opened."""
    movie = opened(machine, "here", "author")
    movie.events.append_input("voice", "en")
    edited(machine, movie, "a", b"the first a")
    published(movie)
    settled(machine)
    machine.timeline.pass_by(60.0)


# Publishing


def race_to_publish(machine: Machine) -> Ends:
    """A publisher of one edit on each machine, and an opener that repairs what it sees."""
    done: list[PublishedRevision] = []
    edits: list[str] = []

    def publisher(on: str) -> None:
        movie = opened(machine, on, f"publisher {on}")

        def work() -> None:
            edited(machine, movie, f"b {on}", on.encode())
            edits.append(f"b {on}")
            for _ in range(3):
                try:
                    done.append(published(movie))
                except (ManifestConflictError, RevisionExistsError):
                    movie.committer.repair()
                else:
                    return

        machine.scheduler.spawn(f"publisher {on}", work)

    for on in MACHINES:
        publisher(on)
    if machine.random.random() < 0.3:
        opener = opened(machine, machine.random.choice(MACHINES), "opener")
        machine.scheduler.spawn("opener", opener.committer.repair)

    def end() -> None:
        movie = settled(machine)
        chain = {entry.revision: digest for entry, digest in movie.manifests.revisions()}
        for revision in done:
            assert chain[revision.revision] == revision.hash, f"{revision.revision} is another one by now"
        for on in MACHINES:
            left = opened(machine, on, f"last {on}")
            if left.events.pending():
                published(left)
        final = settled(machine).manifests.load_current()[0]
        assert set(edits) <= final.artefacts.keys(), f"lost: {set(edits) - final.artefacts.keys()}"

    return end


# Collecting


def old_and_unused(machine: Machine) -> None:
    """Bytes that nobody needs, put days ago on both machines; a result of an abandoned run that can be reused."""
    known_on_both(machine)
    movie = opened(machine, "here", "author")
    for data in (OLD, EDITED, AGAIN):
        movie.blobs.put(data)
    run = movie.events.new_id()
    token = movie.leases.start(run, base_revision="rev-0001", edits_through=0)
    movie.leases.claim(SIGNATURE, token, "wanted")
    store(movie, token, Outcome(NODE, SIGNATURE, {"out": REUSED}, {"out": CLIP}, attempts=1))
    end_run(movie, token, "abandoned", 0, {})
    settled(machine)
    machine.timeline.pass_by(LONG_AGO)


def collector(machine: Machine, on: str) -> None:
    """Somebody who collects on a machine, again if another collector holds it up."""
    movie = opened(machine, on, f"collector {on}")

    def work() -> None:
        with suppress(StoreUnavailableError):
            collect(movie, force=True)

    machine.scheduler.spawn(f"collector {on}", work)


def writer(machine: Machine, on: str, kind: str, wanted: dict[str, bytes]) -> None:
    """Somebody on a machine who puts, edits, reuses or publishes what is old; `wanted`: what stays from then on."""
    movie = opened(machine, on, kind)

    def work() -> None:
        if kind == "put":
            put(machine, movie, OLD)
        elif kind == "edit":
            edited(machine, movie, "edit", EDITED)
            wanted["edit"] = EDITED
        elif kind == "reuse":
            reuse(movie)
            wanted["wanted.out"] = REUSED
        elif publish_old(movie):
            wanted["old"] = AGAIN

    machine.scheduler.spawn(kind, work)


def collect_beside_writers(machine: Machine) -> Ends:
    """Collectors on one machine or both, writers on either."""
    kinds = ["put", "edit", "reuse", "publish"]
    machine.random.shuffle(kinds)
    if machine.random.random() < 0.4:
        kinds = ["publish"]
    fleet_of(machine).in_batches_of(machine.random.choice([1, 500]))
    wanted: dict[str, bytes] = {}
    first = machine.random.choice(MACHINES)
    for on in MACHINES if machine.random.random() < 0.3 else (first,):
        collector(machine, on)
    for kind in kinds[: machine.random.randint(1, 2)]:
        writer(machine, machine.random.choice(MACHINES), kind, wanted)

    def end() -> None:
        machine.timeline.pass_by(2 * bounds.SWEEP_SECONDS)
        movie = settled(machine)
        kept = {entry.blob for manifest, _ in movie.manifests.revisions() for entry in manifest.artefacts.values()}
        for on in MACHINES:
            pending = opened(machine, on, f"asked {on}").events.pending()
            kept |= {edit.value.blob for edit in pending if edit.type == "artefact" and edit.value}
        for name, data in wanted.items():
            assert hash_bytes(data) in kept, f"{name} is not kept"
            assert movie.blobs.read(hash_bytes(data)) == data
        if machine.random.random() < 0.1:
            nothing_is_left(machine, kept)

    return end


def nothing_is_left(machine: Machine, kept: set[str | None]) -> None:
    """Much later a collection on either machine removes all that nothing needs, whoever was killed before."""
    machine.timeline.pass_by(3 * bounds.EDIT_INTENT_SECONDS)
    movie = opened(machine, machine.random.choice(MACHINES), "sweeper")
    with movie.metadata.read() as reader:
        wants_more = reader.revisions.intents() or reader.runs.list(unfinished=True)
        own = {edit.value.blob for edit in movie.events.pending() if edit.type == "artefact" and edit.value}
    published_ones = {e.blob for m, _ in movie.manifests.revisions() for e in m.artefacts.values()}
    machine.promises.clear()
    machine.storage.watchers.clear()
    collect(movie, force=True)
    present = set(movie.blobs.digests())
    assert published_ones | own <= present
    assert wants_more or present <= kept, "what nothing needs is still there"
    asked = {f"intents/{edit.id}.json" for edit in movie.events.pending()}
    left = [name for name in machine.storage.objects if name.startswith(("gc/", "intents/")) and name not in asked]
    assert not left, f"{left} are still there"


def reuse(movie: Movie) -> None:
    """A run that finds an earlier result, takes it over or makes it anew, and publishes it."""
    movie.committer.repair()
    run = movie.events.new_id()
    token = movie.leases.start(run, base_revision="rev-0001", edits_through=0)
    while True:
        answer = movie.leases.claim(SIGNATURE, token, "wanted")
        outcome = Outcome(NODE, SIGNATURE, {"out": REUSED}, {"out": CLIP}, attempts=1)
        if not isinstance(answer, Claimed):
            assert isinstance(answer, AlreadyMade)
            outcome = Outcome(NODE, SIGNATURE, trace=answer.trace)
        try:
            store(movie, token, outcome)
        except StoreUnavailableError:
            movie.leases.unclaim(SIGNATURE, token)
        except BlobMissingError:
            assert isinstance(answer, AlreadyMade)
            forget_broken(movie, answer.trace)
        else:
            break
    while True:
        try:
            manifest, previous = next_manifest(movie, run)
            movie.archiver.archive(run, 0, token=token)
            movie.manifests.save_manifest(manifest, previous_hash=previous, token=token)
        except (ManifestConflictError, RevisionExistsError):
            movie.committer.repair()
            continue
        movie.leases.release(token)
        return


def publish_old(movie: Movie) -> bool:
    """Publish a manifest that names old bytes which no event names; False if they have been collected before."""
    while True:
        try:
            manifest, previous = next_manifest(movie)
        except RevisionExistsError:
            continue
        named = {"hash": hash_bytes(AGAIN), "size": len(AGAIN), "blob": hash_bytes(AGAIN)}
        old = manifest.artefacts["a"].replace(**named)
        changed = manifest.replace(artefacts={**manifest.artefacts, "old": old})
        changed = changed.replace(content_hash=manifest_content_hash(changed))
        try:
            movie.manifests.save_manifest(changed, previous_hash=previous)
        except BlobMissingError:
            return False
        except (ManifestConflictError, RevisionExistsError):
            movie.committer.repair()
            continue
        return True


# Whole runs


def made_on_both(machine: Machine) -> None:
    """A movie of one revision, made by a run on one machine, which both have opened."""
    one_run(machine)
    settled(machine)


def run_on_both(machine: Machine) -> Ends:
    """A run with private inputs on each machine, one of which may be killed; perhaps a collector."""
    reports: dict[str, RunReport] = {}
    conflicts: list[str] = []
    names = machine.random.choice([("a", "b"), ("b", "a"), ("a", "a")])

    def runner(on: str, name: str, value: int) -> None:
        movie = opened(machine, on, f"run {on}")

        def work() -> None:
            loop = asyncio.new_event_loop()
            try:
                run = run_movie(movie, produce=produce, inputs={name: value})
                reports[on] = loop.run_until_complete(run)
            except InputConflictError:
                conflicts.append(on)
            finally:
                loop.close()

        machine.scheduler.spawn(f"run {on}", work)

    for value, (on, name) in enumerate(zip(MACHINES, names, strict=True), 1):
        runner(on, name, value)
    if machine.random.random() < 0.3:
        machine.timeline.pass_by(LONG_AGO)
        collector(machine, machine.random.choice(MACHINES))

    def end() -> None:
        movie = settled(machine)
        for value, (on, name) in enumerate(zip(MACHINES, names, strict=True), 1):
            if on in reports:
                revision = reports[on].revision
                assert revision is not None
                assert movie.manifests.load(revision).inputs[name].value == value
        assert len({report.revision for report in reports.values()}) == len(reports), "two share a revision"
        assert not conflicts or names[0] == names[1], "a conflict though each set another input"
        alive = len(names) - sum(who.startswith("run") and w == "KILLED" for who, w, _ in machine.scheduler.trace)
        assert len(reports) + len(conflicts) >= alive
        finished_later(machine, reports)

    return end


def finished_later(machine: Machine, reports: dict[str, RunReport]) -> None:
    """A run that was killed is taken up on its machine, and on that one alone."""
    machine.timeline.pass_by(60.0)
    for on in MACHINES:
        movie = opened(machine, on, f"next {on}")
        movie.committer.repair()
        own = [record.run for record in movie.leases.unfinished() if not record.elsewhere]
        loop = asyncio.new_event_loop()
        try:
            with suppress(InputConflictError):
                report = loop.run_until_complete(run_movie(movie, produce=produce))
                assert report.run is None or not own or report.run in own
        finally:
            loop.close()
    settled(machine)
    assert reports.keys() <= set(MACHINES)


PUBLISH_APART = Scenario(
    "publish_apart",
    known_on_both,
    race_to_publish,
    horizon=150,
    mortals=("publisher here", "publisher there", "opener"),
    kills=2,
)
COLLECT_APART = Scenario(
    "collect_apart",
    old_and_unused,
    collect_beside_writers,
    horizon=230,
    mortals=("collector here", "collector there", "put", "edit", "reuse", "publish"),
    kills=2,
)
RUN_APART = Scenario(
    "run_apart",
    made_on_both,
    run_on_both,
    horizon=230,
    mortals=("run here", "run there"),
    kills=1,
)
