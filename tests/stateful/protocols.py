"""The protocols of the store as scenarios: publishing, leases, single flight, collection beside writers."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial

from renku_store import (
    BlobMissingError,
    BlobRef,
    LeaseLostError,
    ManifestConflictError,
    Movie,
    NotFoundError,
    PublishedRevision,
    RevisionExistsError,
    StoreUnavailableError,
    collect,
)
from renku_store.clock import timestamp
from renku_store.hashing import hash_bytes, manifest_content_hash
from renku_store.leases import AlreadyMade, Claimed
from renku_store.records.events import ArtefactEvent, Trace
from renku_store.records.graph import GraphNode, GraphOutput
from renku_store.records.manifest import ArtefactValue, Manifest
from renku_store.records.run import LeaseToken
from renku_store.running.results import Outcome, ResultWriter, Stored
from renku_store.testing.interleaving import Machine, Scenario
from renku_store.testing.invariants import check_invariants

GRACE = 3_600.0
LEASE = 30.0
JUMPS = (40.0, 2 * GRACE, -500.0, -2 * GRACE)
LEASE_JUMPS = (40.0, 2 * GRACE, -20.0)
"""Set back by more, a clock lets the lease of a dead holder on another machine last longer by just that."""
CLIP = "video/mp4"

Ends = Callable[[], None]


def settled(machine: Machine) -> Movie:
    """The movie as the next process finds it: opened, repaired, looked at invariant by invariant."""
    movie = machine.open("opener")
    movie.committer.repair()
    check_invariants(movie, with_fsck=False)
    return movie


def put(machine: Machine, movie: Movie, data: bytes) -> BlobRef:
    """Put bytes: from then on they stay for the grace time, by whatever clock: it may be set twice meanwhile."""
    before, count = machine.timeline.unix_seconds(), len(machine.told)
    blob = movie.blobs.put(data)
    machine.promise(blob.hash, min(before, machine.timeline.unix_seconds(), *machine.told[count:]) + GRACE)
    return blob


def event(movie: Movie, artefact: str, blob: BlobRef, *, run: str | None = None, made: str = "") -> ArtefactEvent:
    """What tells of bytes that were put; `made` makes it a result of that signature."""
    return ArtefactEvent(
        id=movie.events.new_id(),
        run=run,
        artefact=artefact,
        status="succeeded",
        output="out",
        job=artefact,
        producer="hand",
        signature=hash_bytes(made.encode()) if made else None,
        result=movie.events.new_id() if made else None,
        value=ArtefactValue(hash=blob.hash, size=blob.size, mime_type=CLIP, blob=blob.hash),
        created_at=timestamp(movie.clock.now()),
    )


def told(machine: Machine, movie: Movie, artefact: str, data: bytes, *, run: str | None = None) -> None:
    """Put bytes and append the event that names them, at once or later; in the grace time they cannot be gone."""
    while True:
        try:
            blob = put(machine, movie, data)
        except StoreUnavailableError:
            continue
        if machine.random.random() < 0.5:
            machine.sleep(0.2 * machine.random.random())
        try:
            movie.events.append_artefact(event(movie, artefact, blob, run=run))
        except BlobMissingError:
            until = machine.promises.get(blob.hash, 0.0)
            assert until <= machine.timeline.unix_seconds(), "gone within the grace time"
        else:
            return


def next_manifest(movie: Movie, run: str | None = None) -> tuple[Manifest, str | None]:
    """The revision after the newest, and the hash of the newest."""
    current, digest = movie.manifests.current() or (None, None)
    number = int(current.revision.removeprefix("rev-")) + 1 if current else 1
    return movie.manifests.build_from_events(f"rev-{number:04d}", run=run), digest


def published(movie: Movie) -> PublishedRevision:
    """Publish all pending edits, whoever else does."""
    manifest, previous = next_manifest(movie)
    return movie.manifests.save_manifest(manifest, previous_hash=previous)


def first_revision(machine: Machine) -> None:
    """A movie of one revision."""
    movie = machine.open("author")
    movie.events.append_input("voice", "en")
    told(machine, movie, "a", b"the first a")
    published(movie)
    machine.timeline.pass_by(60.0)


# Publishing


def race_to_publish(machine: Machine) -> Ends:
    """Publishers of one edit each, an opener that repairs what it sees, all at once."""
    done: list[PublishedRevision] = []
    edits: list[str] = []

    def publisher(number: int) -> None:
        movie = machine.open(f"publisher{number}")

        def work() -> None:
            name = f"b{number}"
            told(machine, movie, name, name.encode())
            edits.append(name)
            for _ in range(3):
                try:
                    revision = published(movie)
                except (ManifestConflictError, RevisionExistsError):
                    pass
                else:
                    done.append(revision)
                    return

        machine.scheduler.spawn(f"publisher{number}", work)

    for number in range(machine.random.randint(2, 3)):
        publisher(number)
    opener = machine.open("opener0")
    machine.scheduler.spawn("opener0", opener.committer.repair)

    def end() -> None:
        movie = settled(machine)
        with movie.metadata.read() as reader:
            left = reader.revisions.intents()
        for intent in left:
            try:
                finished = movie.committer.finish(intent.run)
            except ManifestConflictError:
                continue
            if finished is None:  # the same revision was somebody else's by then
                assert movie.driver.read(f"manifests/rev-{intent.number:04d}.json") != intent.manifest
                continue
            assert movie.driver.read(f"manifests/{finished.revision}.json") == intent.manifest
        check_invariants(movie, with_fsck=False)
        chain = {manifest.revision: digest for manifest, digest in movie.manifests.revisions()}
        assert len({revision.revision for revision in done}) == len(done), "two were told the same revision is theirs"
        assert all(chain[revision.revision] == revision.hash for revision in done)
        newest = movie.manifests.load_current()[0].artefacts
        waiting = {e.artefact for e in movie.events.pending() if e.type == "artefact"}
        assert set(edits) <= newest.keys() | waiting, "an edit is lost"
        assert {e for e in edits if e in newest}.isdisjoint(waiting), "an edit is taken and waits"

    return end


# Leases


def unless_busy(work: Callable[[], None]) -> None:
    """Work, unless somebody holds a lock for too long."""
    with suppress(StoreUnavailableError):
        work()


def take_over_a_run(machine: Machine) -> Ends:
    """A holder that may be slow, dead or seen to be gone; another waits for its lease, and publishes or gives up."""
    elsewhere, gives_up, held_up = (machine.random.random() < share for share in (0.5, 0.4, 0.5))
    first, second = machine.open("first", elsewhere=elsewhere), machine.open("second")
    run = first.events.new_id()
    revisions: list[PublishedRevision] = []
    taken: list[LeaseToken] = []

    def conclude(movie: Movie, token: LeaseToken, by: str) -> None:
        late = bool(taken) and by == "first"
        try:
            told(machine, movie, "b", by.encode(), run=run)
            late = late or (bool(taken) and by == "first")
            movie.archiver.archive(run, 10**9, token=token)
            assert not late, "a late holder has archived"
            if gives_up and by == "second":
                return
            manifest, previous = next_manifest(movie, run)
            late = late or (bool(taken) and by == "first")
            revision = movie.manifests.save_manifest(manifest, previous_hash=previous, token=token)
            assert not late, "a late holder has published"
            revisions.append(revision)
        except (LeaseLostError, RevisionExistsError, ManifestConflictError):
            assert taken, "the only holder was refused"

    def begin() -> None:
        token = first.leases.start(run, base_revision="rev-0001", edits_through=0)
        conclude(first, token, "first")
        first.leases.release(token)

    def take_over() -> None:
        for tries in range(16):
            machine.sleep(0.001 * 2**tries)
            try:
                token = second.leases.take_over(run)
            except (LeaseLostError, NotFoundError, StoreUnavailableError):
                continue
            taken.append(token)
            finished = None if gives_up else second.committer.finish(run)
            if finished is not None:
                revisions.append(finished)
            else:
                conclude(second, token, "second")
            return

    machine.scheduler.spawn("first", begin)
    # Whoever stands still may do so with a lock in hand.
    machine.scheduler.spawn("second", partial(unless_busy, take_over) if held_up else take_over)
    if held_up:
        machine.scheduler.disturb(lambda: machine.scheduler.hold_up("first", 1.5 * LEASE))

    def end() -> None:
        movie = settled(machine)
        of_run = [(m.revision, digest) for m, digest in movie.manifests.revisions() if m.run == run]
        assert len(of_run) <= 1, "one run has published twice"
        assert all((revision.revision, revision.hash) in of_run for revision in revisions)

    return end


# Single flight

SIGNATURE = hash_bytes(b"what everybody wants")
NODE = GraphNode(
    job_id="wanted",
    producer="hand",
    provider="test",
    provider_model="test",
    produces=[GraphOutput(id="wanted.out", name="out", mime_type=CLIP)],
)


def store(movie: Movie, token: LeaseToken, outcome: Outcome) -> Stored:
    """What the runner does with one outcome; `LeaseLostError` where it may not."""
    writer = ResultWriter(
        movie.metadata, movie.blobs, movie.events.new_ids, movie.clock, token, movie.archiver.keep_late
    )
    answers, late = writer._commit([outcome])
    if late:
        movie.archiver.keep_late(late)
    if isinstance(answers[0], LeaseLostError):
        raise answers[0]
    return answers[0]


class Flight:
    """Runs that need one signature: each claims, calls or waits, and stores, while leases may be lost."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.calls: list[str] = []
        self.kept: list[str] = []
        self.protected: dict[str, float] = {}
        self.far: set[str] = set()

    def run(self, name: str) -> None:
        """Add a run, of a process here or elsewhere, whose heart beats or not."""
        random = self.machine.random
        elsewhere, beats = random.random() < 0.5, random.random() < 0.5
        self.far |= {name} if elsewhere else set()
        movie = self.machine.open(name, elsewhere=elsewhere)
        run = movie.events.new_id()

        def work() -> None:
            token = movie.leases.start(run, base_revision="rev-0001", edits_through=0)
            while True:
                try:
                    if self.attempt(name, movie, token, beats=beats):
                        return
                except LeaseLostError:
                    return

        self.machine.scheduler.spawn(name, work)

    def attempt(self, name: str, movie: Movie, token: LeaseToken, *, beats: bool) -> bool:
        """One claim and what follows from it; whether the run has its result."""
        answer = movie.leases.claim(SIGNATURE, token, "wanted")
        if isinstance(answer, AlreadyMade):
            store(movie, token, Outcome(NODE, SIGNATURE, trace=answer.trace))
            return True
        if isinstance(answer, Claimed):
            stored = self.call(name, movie, token, beats=beats)
            self.kept += [] if stored.ours else [name]
            return stored.ours
        self.machine.sleep(0.5)
        return False

    def call(self, name: str, movie: Movie, token: LeaseToken, *, beats: bool) -> Stored:
        """A call that takes some time: nobody else may be calling whose claim protects him."""
        machine = self.machine
        for other, until in self.protected.items():
            gone = not machine.scheduler.running(other) and other not in self.far
            assert gone or machine.timeline.latest >= until, f"{name} calls while {other} does"
        assert not has_trace(machine), f"{name} calls though there is a result"
        self.calls.append(name)
        self.protected[name] = claimed_at(machine, token) + LEASE
        for _ in range(3):
            machine.sleep(machine.random.random() * 2)
            if beats and movie.leases._renew(token) and claimed_at(machine, token):
                self.protected[name] = expires_at(machine, token)
        stored = store(movie, token, Outcome(NODE, SIGNATURE, {"out": name.encode()}, {"out": CLIP}, attempts=1))
        del self.protected[name]
        return stored

    def end(self) -> None:
        """One result counts as made; all others are kept, and no more than that."""
        machine = self.machine
        movie = settled(machine)
        results = [e for e in movie.events.stream() if e.type == "artefact" and e.artefact == "wanted.out"]
        assert len({e.result for e in results if e.status == "succeeded"}) <= 1, "two results count as made"
        assert len([e for e in results if e.status == "kept"]) >= len(self.kept)
        disturbed = any(what == "KILLED" for _, what, _ in machine.scheduler.trace) or machine.timeline.jumped
        assert len(self.calls) == 1 or disturbed, f"{self.calls} though nobody was killed and no lease ended"
        latest = movie.events.latest_artefact("wanted.out")
        assert latest is None or latest.status != "kept"


def want_the_same(machine: Machine) -> Ends:
    """Two or three runs that need one signature."""
    flight = Flight(machine)
    for number in range(machine.random.randint(2, 3)):
        flight.run(f"run{number}")
    return flight.end


def claimed_at(machine: Machine, token: LeaseToken) -> float:
    """When something was claimed under this token, in Unix seconds; 0 where nothing is."""
    query = "SELECT claimed_at FROM claims WHERE run = ? AND counter = ?"
    return max((at / 1000 for (at,) in machine.database.query(query, token.run, token.counter)), default=0.0)


def expires_at(machine: Machine, token: LeaseToken) -> float:
    """When the lease ends, in Unix seconds; 0 where it was lost."""
    query = "SELECT expires_at FROM leases WHERE run = ? AND counter = ?"
    return max((at / 1000 for (at,) in machine.database.query(query, token.run, token.counter)), default=0.0)


def has_trace(machine: Machine) -> bool:
    """Whether there is a result that can be used."""
    return bool(machine.database.query("SELECT 1 FROM traces WHERE signature = ?", bytes.fromhex(SIGNATURE)))


# Collection

WASTE, STRAY, REUSED, AGAIN = b"put and forgotten", b"without a row", b"an old result", b"in an old plan"
EDITS = {"put": WASTE, "stray": STRAY, "fresh": b"never put before"}
"""What writers put: bytes with a row, bytes without one, bytes that nobody has put before."""


def old_and_unused(machine: Machine) -> None:
    """Two revisions, and beside them what nothing needs any more: put, half put, made by a run that was given up."""
    first_revision(machine)
    movie = machine.open("author again")
    told(machine, movie, "a", b"the second a")
    published(movie)
    for data in (WASTE, STRAY, AGAIN):
        movie.blobs.put(data)
    with movie.metadata.write() as writer:
        writer.blobs.forget([hash_bytes(STRAY)])
    token = movie.leases.start(movie.events.new_id(), base_revision="rev-0002", edits_through=0)
    store(movie, token, Outcome(NODE, SIGNATURE, {"out": REUSED}, {"out": CLIP}, attempts=1))
    with movie.metadata.write() as writer:
        writer.runs.update(token.run, status="abandoned")
    movie.leases.release(token)
    machine.timeline.pass_by(3 * GRACE)


def collector(machine: Machine, name: str) -> None:
    """Add a collector; where another one collects it gives up."""
    movie = machine.open(name)

    def work() -> None:
        with suppress(StoreUnavailableError):
            collect(movie, grace_seconds=GRACE, force=True)

    machine.scheduler.spawn(name, work)


def writer(machine: Machine, kind: str, wanted: dict[str, bytes]) -> None:
    """Add a writer that notes what it wants to stay."""
    movie = machine.open(kind)

    def work() -> None:
        if kind in EDITS:
            told(machine, movie, kind, EDITS[kind])
            wanted[kind] = EDITS[kind]
            while True:
                with suppress(ManifestConflictError, RevisionExistsError):
                    published(movie)
                    return
        elif kind == "trace":
            reuse(movie)
            wanted["wanted.out"] = REUSED
        elif publish_old(movie):
            wanted["old"] = AGAIN

    machine.scheduler.spawn(kind, work)


def collect_beside_writers(machine: Machine) -> Ends:
    """One or two collectors; writers that put the same bytes again, reuse a result, or publish what is old."""
    kinds = [*EDITS, "trace", "intent"]
    machine.random.shuffle(kinds)
    thorough = machine.random.random() < 0.05
    wanted: dict[str, bytes] = {}
    for number in range(machine.random.choice([1, 1, 2])):
        collector(machine, f"collector{number}")
    for kind in kinds[: machine.random.randint(1, 2)]:
        writer(machine, kind, wanted)

    def end() -> None:
        movie = settled(machine)
        kept = {entry.blob for manifest, _ in movie.manifests.revisions() for entry in manifest.artefacts.values()}
        kept |= {e.value.blob for e in movie.events.pending() if e.type == "artefact" and e.value}
        for name, data in wanted.items():
            assert hash_bytes(data) in kept, f"{name} is not kept"
            assert movie.blobs.read(hash_bytes(data)) == data
        if thorough:
            nothing_is_left(machine, movie, kept)

    return end


def nothing_is_left(machine: Machine, movie: Movie, kept: set[str | None]) -> None:
    """A later collection finishes what is left to do: all that nothing needs goes, whoever was killed before."""
    machine.jump(max(0.0, -machine.timeline.jumped))
    machine.timeline.pass_by(3 * GRACE)
    collect(movie, grace_seconds=GRACE, force=True)
    check_invariants(movie)
    with movie.metadata.read() as reader:
        wants_more = reader.revisions.intents() or reader.runs.list(unfinished=True)
    assert wants_more or set(movie.blobs.digests()) == kept, "what nothing needs is still there"


def reuse(movie: Movie) -> None:
    """A run that finds an earlier result, takes it over or makes it anew, and publishes it."""
    run = movie.events.new_id()
    token = movie.leases.start(run, base_revision="rev-0002", edits_through=0)
    while True:
        answer = movie.leases.claim(SIGNATURE, token, "wanted")
        if isinstance(answer, Claimed):
            store(movie, token, Outcome(NODE, SIGNATURE, {"out": REUSED}, {"out": CLIP}, attempts=1))
            break
        assert isinstance(answer, AlreadyMade)
        try:
            store(movie, token, Outcome(NODE, SIGNATURE, trace=answer.trace))
            break
        except BlobMissingError:
            forget_broken(movie, answer.trace)
    while True:
        try:
            manifest, previous = next_manifest(movie, run)
            movie.archiver.archive(run, 0, token=token)
            movie.manifests.save_manifest(manifest, previous_hash=previous, token=token)
        except (ManifestConflictError, RevisionExistsError):
            continue
        return


def forget_broken(movie: Movie, trace: Trace) -> None:
    """What a run does with a trace whose bytes are gone (`RunSession`)."""
    gone = movie.blobs.damaged({value.blob: value.size for value in trace.outputs.values() if value.blob})
    with movie.metadata.write() as writer:
        writer.blobs.forget(gone)


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
            continue
        return True


PUBLISH = Scenario(
    "publish",
    first_revision,
    race_to_publish,
    horizon=150,
    mortals=("publisher0", "publisher1", "publisher2", "opener0"),
    kills=2,
    jumps=JUMPS,
)
TAKE_OVER = Scenario(
    "take_over",
    first_revision,
    take_over_a_run,
    horizon=90,
    mortals=("first", "first", "second"),
    kills=1,
    jumps=LEASE_JUMPS,
)
SINGLE_FLIGHT = Scenario(
    "single_flight",
    first_revision,
    want_the_same,
    horizon=60,
    mortals=("run0", "run1", "run2"),
    kills=2,
    jumps=LEASE_JUMPS,
)
COLLECT = Scenario(
    "collect",
    old_and_unused,
    collect_beside_writers,
    horizon=180,
    mortals=("collector0", "collector1", "put", "stray", "fresh", "trace", "intent"),
    kills=2,
    jumps=JUMPS,
)
ALL = (PUBLISH, TAKE_OVER, SINGLE_FLIGHT, COLLECT)
