"""How a run is archived: whose archive may be replaced, and what becomes of what the run had meant to publish.

Keeps invariants 3 (an archive names durable events) and 4 (what a manifest names is never replaced).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from typing import Final

from renku_store import bounds
from renku_store.archives import ArchiveStore
from renku_store.clock import Clock, timestamp
from renku_store.drivers.base import Driver
from renku_store.errors import DamageError, LeaseLostError, RevisionExistsError
from renku_store.events import EventLog
from renku_store.hashing import hash_bytes
from renku_store.indexing import names_run
from renku_store.manifests import ManifestStore
from renku_store.metadata.base import Intent, MetadataStore, Reader, Writer
from renku_store.records._base import Json
from renku_store.records.events import ArtefactEvent, RunEvent
from renku_store.records.ids import revision_name
from renku_store.records.manifest import ArchiveRef
from renku_store.records.run import LeaseToken

PUBLISH_LOCK: Final = "publish"
"""Shared by those who create a manifest, from the look at their intent on; held alone to withdraw an intent."""
_ALL: Final = 2**62


class RunArchiver:
    """Archives the runs of one movie."""

    def __init__(
        self,
        driver: Driver,
        metadata: MetadataStore,
        events: EventLog,
        manifests: ManifestStore,
        archives: ArchiveStore,
        clock: Clock,
    ) -> None:
        self._driver = driver
        self._metadata = metadata
        self._events = events
        self._manifests = manifests
        self._archives = archives
        self._clock = clock

    def archive(
        self, run: str, edits_through: int, *, edits: Collection[str] = (), token: LeaseToken | None = None
    ) -> ArchiveRef:
        """Archive a run: its own events, and the movie-wide edits up to `edits_through` that no revision has taken.

        With them go the pending `edits` of these ids, whatever came before them. Raises `LeaseLostError` if `token` is
        no longer the run's, `RevisionExistsError` for a run that has published: its archive is named by a manifest.
        """
        pending = self._events.pending()
        taken = [event for event in pending if (event.seq or 0) <= edits_through or event.id in edits]
        own = self._events.stream(run=run)
        data = self._archives.encode(run, (event for part in (taken, own) for event in part))
        # Under the write lock, so that nobody takes the run over, and publishes, between the look and the replacing.
        with self._apart_from_publishers(run) as apart, self._metadata.write() as transaction:
            check_run(transaction, run, token, None)
            self._check_unnamed(transaction, run)
            self._withdraw(transaction, run, apart=apart)
            return self._archives.save(run, data)

    def _check_unnamed(self, transaction: Writer, run: str) -> None:
        """Refuse to replace an archive that a manifest names, be it damaged or of a revision that is not booked."""
        if not self._archives.exists(run):
            return
        booked = {row.number: row.run for row in transaction.revisions.list(limit=_ALL)}
        for number in range(1, self._manifests.newest() + 1):
            named = booked[number] == run if number in booked else names_run(self._manifests.raw(number) or b"", run)
            if named:
                raise published_already(run, revision_name(number))

    def keep_late(self, events: Sequence[ArtefactEvent]) -> str:
        """Archive results that came after their run was another's, which may have archived it by then; gives the id.

        The archive is that of a run of its own, abandoned from the start, so that the results can be found again from
        the objects alone.
        """
        run, now = self._events.new_id(), timestamp(self._clock.now())
        late: list[Json] = [*sorted({event.run for event in events if event.run})]
        step = RunEvent(id=self._events.new_id(), run=run, kind="abandoned", data={"late": late}, created_at=now)
        with self._metadata.write() as transaction:
            transaction.runs.create(run, base_revision=None, edits_through=0, created_at=now)
            transaction.runs.update(run, status="abandoned", ended_at=now)
            transaction.events.append([step])
        self._archives.write(run, [*events, step])
        return run

    @contextmanager
    def _apart_from_publishers(self, run: str) -> Iterator[bool]:
        """If a run means to publish, wait until nobody creates a manifest, and keep them waiting; says whether it does.

        Whoever was about to create that of the run, and was held up, has done so by then, or will see that it is not
        meant any more.
        """
        with self._metadata.read() as reader:
            meant = intent_of(run, reader) is not None
        with self._driver.lock(PUBLISH_LOCK, wait_seconds=bounds.BUSY_MAX_SECONDS) if meant else nullcontext():
            yield meant

    def _withdraw(self, transaction: Writer, run: str, *, apart: bool) -> None:
        """Drop what a run had meant to publish: that names the archive which is about to be replaced."""
        intent = intent_of(run, transaction)
        if intent is None:
            return
        if not apart:
            raise LeaseLostError(f"The run {run} is being published.", hint="`renku-store status` shows by whom.")
        if self._manifests.raw(intent.number) == intent.manifest:
            raise published_already(run, revision_name(intent.number))
        transaction.revisions.drop_intent(run)

    def adopt(self, run: str, data: bytes, events: Collection[str]) -> bool:
        """Take over the archive that a run has in another root, which lists these events.

        False, and nothing is changed, where the one here lists others, or where somebody works on the run here.
        """
        with self._apart_from_publishers(run) as apart, self._metadata.write() as transaction:
            if self._archives.exists(run):
                if self._archives.digest(run) == hash_bytes(data):
                    self._archives.settle(run)
                    return True
                record = transaction.runs.get(run)
                if (record is not None and record.alive) or not self._lists_no_other(run, events):
                    return False
                self._check_unnamed(transaction, run)
                self._withdraw(transaction, run, apart=apart)
            self._archives.save(run, data)
        return True

    def _lists_no_other(self, run: str, events: Collection[str]) -> bool:
        with suppress(DamageError):
            return {event.id for event in self._archives.read(run)} <= {*events}
        return True


def check_run(transaction: Writer, run: str, token: LeaseToken | None, revision: str | None) -> None:
    """Refuse a run that others hold by now, or that has published another revision than this."""
    if token is not None and not transaction.runs.holds(token):
        raise LeaseLostError(f"The run {token.run} was taken over.", hint="`renku-store status` shows by whom.")
    record = transaction.runs.get(run)
    if record is not None and record.revision is not None and record.revision != revision:
        raise published_already(run, record.revision)


def intent_of(run: str, reader: Reader) -> Intent | None:
    """What a run means to publish; None where it does not, or has done so."""
    return next((intent for intent in reader.revisions.intents() if intent.run == run), None)


def published_already(run: str, revision: str) -> RevisionExistsError:
    """What a run is told that has published."""
    return RevisionExistsError(
        f"The run {run} has published {revision} already.", hint="What comes after it is another run's."
    )
