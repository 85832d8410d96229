"""What a metadata store is: transactions over the tables of the model.

Objects are the truth; this is an index plus live state. A `Reader` sees one moment; a `Writer` is the only writer among
all processes that share the store, and what it did is durable when its context ends without an error.
Tables are grouped by what they are about, so that each store of the house asks for the group that it needs.
"""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Protocol

from renku_store.metadata.calls import CallsReading, CallsWriting
from renku_store.metadata.checks import CheckReads, CheckWrites
from renku_store.metadata.event_tables import EventReads, EventWrites
from renku_store.metadata.retirement import Retirement
from renku_store.metadata.upkeep import Space, UpkeepReading, UpkeepWriting
from renku_store.metadata.values import BlobSpan as BlobSpan
from renku_store.metadata.values import BlobUse as BlobUse
from renku_store.metadata.values import Intent as Intent
from renku_store.metadata.values import RevisionRow as RevisionRow
from renku_store.records.blob import BlobRow, Encoding
from renku_store.records.run import Holder, LeaseToken, RunRecord


class BlobReads(Protocol):
    """What is known of blobs."""

    def get(self, digests: Iterable[str]) -> dict[str, BlobRow]:
        """The rows there are, by hash."""
        ...

    def unknown(self, digests: Iterable[str]) -> builtins.list[str]:
        """Those that have no row."""
        ...

    def sizes_from(self, size: int) -> set[int]:
        """Which sizes contents have from `size` bytes on; one pass over all rows."""
        ...

    def unlike(self, digests: Iterable[str], encoding: Encoding) -> dict[str, BlobRow | None]:
        """Those that have no live row of an object so stored, with the row that they have."""
        ...

    def page(self, after: str, limit: int) -> list[BlobRow]:
        """Rows in the order of their hashes, beyond `after` (empty: from the first), at most `limit`."""
        ...

    def deleting(self, after: str, limit: int) -> dict[str, int]:
        """Stored sizes, in bytes, of what is being deleted, by hash and in that order, beyond `after`, at most `limit`.

        Costs as much as there is of it, however many rows there are.
        """
        ...

    def uncovered(self, seq: int, limit: int) -> list[tuple[int, str]]:
        """`seq` and blob of events beyond `seq` that no ended run covers, oldest first, at most `limit`.

        These are movie-wide edits that no published run has taken, and the events of every run that is neither
        published nor abandoned, whether the store knows the run or not.
        """
        ...

    def uses(self, seq: int, limit: int) -> list[BlobUse]:
        """The events beyond `seq` that name a blob, oldest first, at most `limit`."""
        ...

    def chosen(self) -> builtins.list[str]:
        """The blobs of the results that people chose or accepted: they stay as long as the choice does."""
        ...

    def broken_traces(self, number: int, limit: int) -> list[tuple[int, list[str]]]:
        """Traces beyond `number` some of whose blobs have no row: their numbers, and those blobs."""
        ...


class BlobWrites(BlobReads, Protocol):
    """Rows of blobs; callers have seen the object (invariants 8 and 9)."""

    def make_live(self, rows: Iterable[tuple[str, int, int, Encoding]]) -> None:
        """Insert or revive (hash, size, stored size, encoding), touched now by its clock; never a `deleting` row."""
        ...

    def touch(self, digests: Iterable[str]) -> int:
        """Set `touched_at` of live rows to now; gives how many of these are live."""
        ...

    def forget(self, digests: Iterable[str]) -> None:
        """Drop the rows of objects found gone or damaged: a missing row promises nothing (invariant 8)."""
        ...

    def condemn(self, digests: Iterable[str], before_ms: int) -> int:
        """Condemn those that are live and were last touched before a moment; gives how many."""
        ...

    def begin_deleting(self, digests: Iterable[str]) -> dict[str, int]:
        """Set those that are still condemned to `deleting`; gives their stored sizes."""
        ...

    def begin_deleting_strays(self, digests: Iterable[str]) -> list[str]:
        """Insert a `deleting` row for each that has no row; gives those."""
        ...

    def end_deleting(self, digests: Iterable[str]) -> None:
        """Drop `deleting` rows, whose objects are gone."""
        ...

    def drop_broken_traces(self, numbers: Iterable[int]) -> int:
        """Drop those of the traces that still name a blob without a row; gives how many."""
        ...


class RunReads(Protocol):
    """Runs and their leases."""

    def get(self, run: str) -> RunRecord | None:
        """One run; `alive` says whether its lease is held."""
        ...

    def list(self, *, unfinished: bool = False) -> list[RunRecord]:
        """Runs, oldest first; only those neither published nor abandoned if asked."""
        ...

    def holder(self, run: str) -> Holder | None:
        """Who holds the lease of a run, expired or not; None where nobody does."""
        ...

    def holds(self, token: LeaseToken) -> bool:
        """Whether this token is the lease's present one (even if overdue: nobody has taken it)."""
        ...

    def cancelled(self, token: LeaseToken) -> bool:
        """Whether the holder of this lease was asked to stop; a lease that is taken anew was not."""
        ...

    def seen_archives(self) -> dict[str, tuple[int, float]]:
        """What was read of other machines, as it was: bytes, and Unix seconds.

        Archives by run, manifests of revisions in the trash by revision.
        """
        ...


class RunWrites(RunReads, Protocol):
    """Runs, leases and claims. Times are the database's clock."""

    def create(
        self, run: str, *, base_revision: str | None, edits_through: int, created_at: str, elsewhere: bool = False
    ) -> None:
        """Insert a run, `planned`; `elsewhere`: it is another machine's."""
        ...

    def saw_archive(self, run: str, size: int, modified: float) -> None:
        """Note that an archive, or a manifest in the trash, was read, as it was; `run`: its name in `seen_archives`."""
        ...

    def update(
        self,
        run: str,
        *,
        status: str | None = None,
        base_revision: str | None = None,
        edits_through: int | None = None,
        revision: str | None = None,
        ended_at: str | None = None,
        elsewhere: bool | None = None,
    ) -> None:
        """Change what is given, leave the rest."""
        ...

    def acquire(self, run: str, holder: Holder, seconds: float, *, steal: bool = False) -> LeaseToken | None:
        """Take the lease of a run if nobody holds it unexpired (or `steal`); the token is greater than any before."""
        ...

    def renew(self, token: LeaseToken, seconds: float) -> bool:
        """Extend a lease; False if it is held under another token by now."""
        ...

    def cancel(self, run: str) -> bool:
        """Ask whoever holds the lease of a run to stop; False if nobody holds it unexpired."""
        ...

    def release(self, token: LeaseToken) -> None:
        """Give a lease up, and all claims of its run."""
        ...

    def claim(self, signature: str, token: LeaseToken, job: str, *, steal: bool = False) -> str | None:
        """Claim a signature for a run's job; None if it is ours, else the run that holds it (invariant 10).

        That may be the run itself, for another of its jobs. A claim lasts as long as the lease that it was made under;
        `steal` takes it whoever holds it, for a caller that has seen the holder's process gone.
        """
        ...

    def claim_free(self, wanted: Iterable[tuple[str, str]], token: LeaseToken) -> set[str]:
        """Claim those of some signatures, each with its job, that have no result and no claim, not even one overdue.

        Gives those that are ours now (invariant 10); of a signature that is named twice the first job has it.
        """
        ...

    def claims_held(self, jobs: Mapping[str, str], token: LeaseToken) -> set[str]:
        """Those of some signatures whose claims are still their jobs', as `holds_claim` says of one."""
        ...

    def holds_claim(self, signature: str, token: LeaseToken, job: str | None = None) -> bool:
        """Whether the claim is still ours, and that of this job if it is given: another of the run may have it."""
        ...

    def unclaim(self, signature: str, token: LeaseToken, job: str | None = None) -> None:
        """Release a claim of ours, and only that of this job if it is given; no error if it is not."""
        ...

    def unclaim_all(self, jobs: Mapping[str, str], token: LeaseToken) -> None:
        """Release those claims, by signature, that are still their jobs'; no error for what is not."""
        ...


class RevisionReads(Protocol):
    """Published revisions and intents."""

    def newest(self) -> RevisionRow | None:
        """The newest booked revision."""
        ...

    def get(self, number: int) -> RevisionRow | None:
        """One booked revision."""
        ...

    def list(self, *, before: int | None = None, limit: int) -> list[RevisionRow]:
        """Booked revisions, newest first, below `before`."""
        ...

    def intents(self) -> builtins.list[Intent]:
        """Every intent."""
        ...

    def doubtful(self) -> builtins.list[str]:
        """The blobs that the newest booked revision names and that have no live row."""
        ...

    def blob_spans(self, after: tuple[str, int], limit: int) -> builtins.list[BlobSpan]:
        """Which revisions name which blobs: spans beyond (hash, first revision), in that order, at most `limit`."""
        ...


class RevisionWrites(RevisionReads, Protocol):
    """Booking."""

    def put_intent(self, intent: Intent) -> None:
        """Record what a run is about to publish; replaces an earlier intent of the same run."""
        ...

    def drop_intent(self, run: str) -> None:
        """Forget a run's intent."""
        ...

    def expire(self, number: int) -> None:
        """Note that a booked revision's manifest is a stub by now."""
        ...

    def book(
        self,
        row: RevisionRow,
        *,
        blobs: Iterable[str],
        left: Iterable[str] | None = None,
        inputs: Mapping[str, str | None],
        artefacts: Mapping[str, str | None],
        taken: Iterable[str],
    ) -> None:
        """Index a published revision; again is no harm. Revisions are booked in rising order.

        `blobs` are all that its manifest names; or, where `left` gives those that the newest booked revision names and
        this one does not, at least those that this one names and that one does not. `inputs` and `artefacts` map the
        ids that changed against the base to their new hash, None where the revision has them no more; `taken` are the
        ids of the movie-wide events that the run took, pending no longer. The run's private inputs become latest
        values, where no edit came after them.
        """
        ...

    def take(self, ids: Iterable[str]) -> None:
        """Let movie-wide events be pending no longer, which a revision took that cannot tell which those are."""
        ...


class Reader(UpkeepReading, CallsReading, Protocol):
    """One moment of the store."""

    @property
    def events(self) -> EventReads:
        """Events, latest values, traces."""
        ...

    @property
    def blobs(self) -> BlobReads:
        """Blobs."""
        ...

    @property
    def runs(self) -> RunReads:
        """Runs, leases, claims."""
        ...

    @property
    def revisions(self) -> RevisionReads:
        """Revisions and intents."""
        ...

    @property
    def checks(self) -> CheckReads:
        """The tables held against each other."""
        ...

    def now_ms(self) -> int:
        """The database's clock, Unix milliseconds."""
        ...


class Writer(UpkeepWriting, CallsWriting, Protocol):
    """The one writer of a moment; it also reads."""

    @property
    def events(self) -> EventWrites:
        """Events, latest values, traces."""
        ...

    @property
    def blobs(self) -> BlobWrites:
        """Blobs."""
        ...

    @property
    def runs(self) -> RunWrites:
        """Runs, leases, claims."""
        ...

    @property
    def revisions(self) -> RevisionWrites:
        """Revisions and intents."""
        ...

    @property
    def checks(self) -> CheckWrites:
        """The tables held against each other."""
        ...

    @property
    def retirement(self) -> Retirement:
        """What old runs leave."""
        ...

    def now_ms(self) -> int:
        """The database's clock, Unix milliseconds."""
        ...


class MetadataStore(Space, Protocol):
    """Transactions over the tables; safe to use from many threads."""

    @property
    def epoch(self) -> int:
        """Grows with every rebuild of the database."""
        ...

    @property
    def is_within(self) -> bool:
        """Whether this thread is within a transaction: it must not wait for others then, who may wait for its end."""
        ...

    def last_id(self) -> str:
        """The greatest id of an event, as of the first call or the last append here if that was later; "" for none."""
        ...

    def read(self) -> AbstractContextManager[Reader]:
        """A moment to read."""
        ...

    def write(self) -> AbstractContextManager[Writer]:
        """The write lock; committed durably when the context ends without an error, rolled back otherwise."""
        ...

    def close(self) -> None:
        """Let go of the store."""
        ...
