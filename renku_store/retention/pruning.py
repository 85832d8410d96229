"""Letting revisions go: decide, then mark. Marked ones are in the trash, from which collection takes them for good.

    repair the pointer -> under the lock `retention`: read tags and index -> decide -> mark, oldest first

Keeps invariants 5 (what is in the trash stays whole) and 6 (nothing but marks is written, so the chain stands). Tags
are given under the same lock: a tagged revision never expires. The newest revision never does, whoever publishes
meanwhile.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from renku_store import bounds
from renku_store.errors import BadInputError, DamageError, InvalidValueError, NotFoundError
from renku_store.hashing import hash_bytes
from renku_store.manifests import ManifestStore
from renku_store.metadata.base import RevisionRow
from renku_store.movie import Movie
from renku_store.records.ids import revision_name
from renku_store.records.manifest import Expiry
from renku_store.remaking import remade
from renku_store.retention.budget import Holding, mask, over_budget, stored
from renku_store.retention.holdings import holdings_of
from renku_store.retention.policy import Candidate, RetentionPolicy, kept
from renku_store.retention.published import published
from renku_store.retention.reports import KeptRevision, PrunedRevision, PruneReport
from renku_store.retention.unreadable import let_go, write_anew
from renku_store.tags import RETENTION_LOCK
from renku_store.trash import marks, moment_of, no_page, put_marks

NO_RULE: Final = "no rule keeps it"
OVER_BUDGET: Final = "over the size budget"
ASKED: Final = "asked for by name"


def prune(movie: Movie, policy: RetentionPolicy, *, expire: Sequence[str] = (), dry_run: bool = False) -> PruneReport:
    """Move the revisions that no rule keeps, and those named in `expire`, to the trash; say why each other one stays.

    `dry_run` writes nothing. A revision named in `expire` whose manifest cannot be read any more, nor be written anew
    from the index, goes for good at once: there is nothing to bring back. Raises `InvalidValueError` where nothing is
    asked for, `BadInputError` for a named revision that is the newest or tagged, `NotFoundError` for one, or a tag,
    that is not there, `DamageError` for a tag that cannot be read.
    """
    if policy.empty and not expire:
        raise InvalidValueError(
            "The policy is empty: it would let every revision go but the newest.",
            hint="Say what stays, such as --keep-last 10 or --keep-daily 7, or name revisions with --expire.",
        )
    if dry_run:
        return _Pruning(movie, policy, expire).report(dry_run=True)
    movie.committer.repair()
    with movie.driver.lock(RETENTION_LOCK, wait_seconds=bounds.BUSY_MAX_SECONDS):
        pruning = _Pruning(movie, policy, expire)
        pruning.carry_out()
        return pruning.report(dry_run=False)


@dataclass(slots=True)
class _Decision:
    kept: dict[int, list[str]] = field(default_factory=dict[int, list[str]])
    removed: dict[int, str] = field(default_factory=dict[int, str])
    notes: list[str] = field(default_factory=list[str])


class _Pruning:
    """One look at the revisions, and what the policy says of them."""

    def __init__(self, movie: Movie, policy: RetentionPolicy, expire: Sequence[str]) -> None:
        self._movie = movie
        self._policy = policy
        self._manifests = ManifestStore(movie.driver, movie.blobs.read)
        self._tags = movie.tags.by_revision()
        self._marked = {mark.number for mark in marks(movie.driver)}
        self._newest = self._manifests.newest()
        with movie.metadata.read() as reader:
            self._now_ms = reader.now_ms()
        self._rows = published(movie, self._manifests, self._newest)
        self._holdings: list[Holding] = []
        self._unreadable: list[int] = []
        self._anew: dict[int, bytes] = {}
        self._gone_already: list[str] = []
        self._decision = self._decide(self._named(expire))

    def report(self, *, dry_run: bool) -> PruneReport:
        """What was decided."""
        decision = self._decision
        staying, going = mask(decision.kept), mask(decision.removed)
        holdings = self._held()
        kept_bytes = stored(holdings, staying)
        return PruneReport(
            kept=[
                KeptRevision(revision=revision_name(number), created_at=self._created(number) or "", reasons=reasons)
                for number, reasons in sorted(decision.kept.items(), reverse=True)
            ],
            removed=[
                PrunedRevision(
                    revision=revision_name(number),
                    created_at=self._created(number),
                    why=why,
                    lost=number in self._unreadable,
                )
                for number, why in sorted(decision.removed.items(), reverse=True)
            ],
            freed_bytes=stored(holdings, staying | going) - kept_bytes,
            kept_bytes=kept_bytes,
            dry_run=dry_run,
            notes=decision.notes,
        )

    def carry_out(self) -> None:
        """Mark what was decided to go, under the lock `retention`."""
        for number, data in self._anew.items():
            self._decision.notes.append(write_anew(self._movie, number, data))
        for number in self._unreadable:
            self._decision.notes.append(let_go(self._movie, number, self._rows.get(number)))
        when = moment_of(self._now_ms)
        put_marks(
            self._movie.driver,
            (
                Expiry(revision=revision_name(number), hash=self._rows[number].hash, expired_at=when, why=why)
                for number, why in sorted(self._decision.removed.items())
                if number not in self._unreadable
            ),
        )

    def _decide(self, named: set[int]) -> _Decision:
        decision = _Decision(notes=list(self._gone_already))
        self._check_tags()
        present = {number: row for number, row in self._rows.items() if not self._gone(row)}
        candidates = [self._candidate(row) for number, row in present.items() if number not in named]
        now = datetime.fromtimestamp(self._now_ms / 1000, UTC)
        if self._policy.empty:
            decision.kept = {candidate.number: ["not named"] for candidate in candidates}
        else:
            decision.kept = kept(candidates, self._policy, now)
            gone = present.keys() - decision.kept.keys() - named
            decision.removed = dict.fromkeys(gone, NO_RULE)
            self._fit(decision)
        for number in named:
            decision.removed[number] = ASKED
            if not self._readable(number):
                self._look_anew(number)
        self._leave_damaged(decision, named)
        return decision

    def _fit(self, decision: _Decision) -> None:
        """Let go of what does not fit into the size budget."""
        if self._policy.max_bytes is None:
            return
        fixed = {number for number in decision.kept if self._protected(number)}
        going = list(
            over_budget(
                self._held(),
                staying=fixed,
                expirable=decision.kept.keys() - fixed,
                max_bytes=self._policy.max_bytes,
            )
        )
        for number in going:
            del decision.kept[number]
            decision.removed[number] = OVER_BUDGET
        left = stored(self._held(), mask(decision.kept))
        if left > self._policy.max_bytes:
            decision.notes.append(
                f"What stays takes {left:,} bytes, more than the budget of {self._policy.max_bytes:,}: "
                "the newest revision and tagged ones never expire."
            )

    def _leave_damaged(self, decision: _Decision, named: set[int]) -> None:
        """What a rule would let go and cannot be read stays until somebody says so by name: a copy may mend it."""
        for number in sorted(decision.removed.keys() - named):
            data = self._manifests.raw(number)
            if data is None or hash_bytes(data) != self._rows[number].hash:
                del decision.removed[number]
                if self._manifests.glance(number).get("expired") is not True:
                    self._keep_damaged(decision, number)
        for number in range(1, self._newest):
            if number not in self._rows and number not in named | self._marked:
                self._keep_damaged(decision, number)

    def _keep_damaged(self, decision: _Decision, number: int) -> None:
        revision = revision_name(number)
        decision.kept[number] = ["its manifest is damaged"]
        decision.notes.append(
            f"The manifest of {revision} is damaged or missing: `renku-store fsck --repair` brings it back if it can, "
            f"and from a copy with `--from PATH`; `renku-store prune --expire {revision}` lets it go."
        )

    def _candidate(self, row: RevisionRow) -> Candidate:
        tags = tuple(self._tags.get(revision_name(row.number), ()))
        return Candidate(row.number, _moment(row.created_at, self._now_ms), tags)

    def _gone(self, row: RevisionRow) -> bool:
        return row.expired or row.number in self._marked

    def _protected(self, number: int) -> bool:
        return number >= self._newest or revision_name(number) in self._tags

    def _readable(self, number: int) -> bool:
        row = self._rows.get(number)
        if row is None:
            return False
        try:
            ManifestStore(self._movie.driver, no_page).entry(number, row.hash)
        except (DamageError, NotFoundError):
            return False
        return True

    def _look_anew(self, number: int) -> None:
        """See whether what cannot be read can be written anew: then it goes to the trash as others do."""
        data = remade(self._movie, number, self._rows.get)
        if data is None:
            self._unreadable.append(number)
        else:
            self._anew[number] = data

    def _named(self, revisions: Iterable[str]) -> set[int]:
        """The revisions that are to go by name, without those that are gone already."""
        named: set[int] = set()
        for text in revisions:
            number = self._movie.manifests.number(text)
            revision = revision_name(number)
            if number >= self._newest:
                raise BadInputError(f"{revision} is the newest revision: it never expires.", hint="Publish another.")
            tags = self._tags.get(revision)
            if tags:
                raise BadInputError(
                    f"{revision} is tagged {', '.join(tags)}: it does not expire.",
                    hint=f"`renku-store tag --delete {tags[0]}` takes the tag away.",
                )
            row = self._rows.get(number)
            if row is None or not self._gone(row) or not self._readable(number):
                named.add(number)
            else:
                where = "has expired for good" if row.expired else "is in the trash"
                self._gone_already.append(f"{revision} {where} already.")
        return named

    def _check_tags(self) -> None:
        known = {tag for tags in self._tags.values() for tag in tags}
        for tag in self._policy.keep_tags:
            if tag not in known:
                near = difflib.get_close_matches(tag, known, n=3, cutoff=0.5)
                hint = f"Did you mean {' or '.join(near)}?" if near else "`renku-store tag` lists the tags."
                raise NotFoundError(f"There is no tag {tag[:128]!a}.", hint=hint)

    def _created(self, number: int) -> str | None:
        row = self._rows.get(number)
        return row.created_at if row else None

    def _held(self) -> list[Holding]:
        if not self._holdings:
            self._holdings = holdings_of(self._movie, self._newest, costs=self._policy.max_bytes is not None)
        return self._holdings


def _moment(text: str, now_ms: int) -> datetime:
    """When a revision was published; one that says nothing of use counts as of now."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        return datetime.fromtimestamp(now_ms / 1000, UTC)
