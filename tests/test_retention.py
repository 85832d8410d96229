"""Retention: what the rules keep, the trash, and what collection makes of it. Invariants 5, 6, 9 and 11."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renku_store import (
    BadInputError,
    BlobCorruptError,
    BlobMissingError,
    CollectionReport,
    DamageError,
    InvalidValueError,
    Manifest,
    ManifestStub,
    Movie,
    NotFoundError,
    PruneReport,
    RetentionPolicy,
    StoreUnavailableError,
    collect,
    open_store,
    prune,
    restore_expired,
    run_movie,
    set_inputs,
    tag_revision,
    untag,
)
from renku_store.compaction import compact
from renku_store.retention.budget import Holding, mask, over_budget, stored
from renku_store.retention.policy import Candidate, kept
from tests import children
from tests.authoring import (
    LONG,
    artefact_event,
    connection_of,
    lose_database,
    modified_at,
    opened,
    publish,
    texts,
)
from tests.roots import Root
from tests.running.conftest import BLUEPRINT, Studio
from tests.test_gc import LENGTHY, age, objects

pytestmark = pytest.mark.backdates

WEEK = 7 * 86_400.0
LAST = RetentionPolicy(keep_last=1)


@pytest.fixture
def movie(any_root: Root) -> Iterator[Movie]:
    """Five revisions, each with a blob of its own and one that all share."""
    with open_store(any_root) as store:
        movie = store.create_movie("film")
        for number in range(1, 6):
            publish(movie, {"own": f"{number} " + LONG, "shared": "shared " + LONG})
        yield movie


def names(report: PruneReport) -> tuple[list[str], list[str]]:
    return [entry.revision for entry in report.kept], [entry.revision for entry in report.removed]


def marks(movie: Movie) -> list[str]:
    """The marks of expired revisions, as objects."""
    return sorted(f"manifests/{name}" for name in movie.driver.children("manifests/") if name.endswith(".expired.json"))


def let_time_pass(movie: Movie, seconds: float = 2 * WEEK) -> None:
    """Let marks, blobs and files have been written longer ago."""
    for path in marks(movie):
        text = movie.driver.read(path).decode()
        said = text.partition('"expiredAt":"')[2].partition('"')[0]
        earlier = datetime.fromisoformat(said) - timedelta(seconds=seconds)
        movie.driver.replace(path, text.replace(said, earlier.strftime("%Y-%m-%dT%H:%M:%S.000Z")).encode())
    age(movie, seconds)


def swept(movie: Movie, **options: object) -> CollectionReport:
    return collect(movie, force=True, **options)  # type: ignore[arg-type]


def expired(movie: Movie) -> list[str]:
    return [entry.revision for entry, _ in movie.manifests.history() if isinstance(entry, ManifestStub)]


def trashed(movie: Movie) -> list[str]:
    return [
        entry.revision
        for entry, _ in movie.manifests.history()
        if isinstance(entry, Manifest) and movie.manifests.expiry(entry.revision)
    ]


# The rules

START = datetime(2026, 1, 1, tzinfo=UTC)
NOW = datetime(2027, 6, 1, tzinfo=UTC)
Counts = st.integers(0, 5)
Policies = st.builds(
    RetentionPolicy,
    keep_last=Counts,
    keep_hourly=Counts,
    keep_daily=Counts,
    keep_weekly=Counts,
    keep_monthly=Counts,
    keep_yearly=Counts,
    within_seconds=st.none() | st.floats(0, 40_000_000),
)
Candidates = st.lists(
    st.tuples(st.integers(0, 60_000_000), st.lists(st.sampled_from(["a", "b", "c"]), max_size=2)), max_size=25
).map(
    lambda drawn: [
        Candidate(number, START + timedelta(seconds=seconds), tuple(tags))
        for number, (seconds, tags) in enumerate(drawn, 1)
    ]
)


@given(candidates=Candidates, policy=Policies)
def test_the_newest_and_the_tagged_always_stay(candidates: list[Candidate], policy: RetentionPolicy) -> None:
    """Whatever the rules and the clocks say; and each that stays has a reason."""
    found = kept(candidates, policy, NOW)
    assert {candidate.number for candidate in candidates if candidate.tags} <= found.keys()
    assert not candidates or len(candidates) in found
    assert all(found.values())


@given(candidates=Candidates, one=Policies, other=Policies)
def test_a_rule_more_never_lets_more_go(
    candidates: list[Candidate], one: RetentionPolicy, other: RetentionPolicy
) -> None:
    """Of two policies, the one that is at least as generous in everything keeps at least as much."""
    both = RetentionPolicy(
        *(max(getattr(one, name), getattr(other, name)) for name in list(RetentionPolicy.__dataclass_fields__)[:6]),
        within_seconds=max((one.within_seconds or 0.0, other.within_seconds or 0.0)),
    )
    if one.keeps:
        assert kept(candidates, one, NOW).keys() <= kept(candidates, both, NOW).keys()


@given(candidates=Candidates, policy=Policies)
def test_what_stayed_once_stays_when_asked_again(candidates: list[Candidate], policy: RetentionPolicy) -> None:
    """Pruning twice with the same rules at the same time lets nothing more go."""
    first = kept(candidates, policy, NOW)
    again = kept([candidate for candidate in candidates if candidate.number in first], policy, NOW)
    assert again == first


def test_periods_count_only_where_there_is_a_revision() -> None:
    """The newest of each of the last so many days, weeks, months that have one; in UTC."""
    moments = ["2026-01-05T10:00", "2026-01-05T23:59", "2026-01-06T00:00", "2026-03-01T12:00", "2026-03-01T12:30"]
    candidates = [
        Candidate(number, datetime.fromisoformat(moment).replace(tzinfo=UTC))
        for number, moment in enumerate(moments, 1)
    ]
    assert kept(candidates, RetentionPolicy(keep_daily=3), NOW) == {
        5: ["newest", "daily 2026-03-01"],
        3: ["daily 2026-01-06"],
        2: ["daily 2026-01-05"],
    }
    assert kept(candidates, RetentionPolicy(keep_monthly=9), NOW).keys() == {5, 3}
    assert kept(candidates, RetentionPolicy(keep_weekly=9), NOW) == {
        5: ["newest", "weekly 2026-W09"],
        3: ["weekly 2026-W02"],
    }
    assert kept(candidates, RetentionPolicy(keep_yearly=1), NOW).keys() == {5}
    assert kept(candidates, RetentionPolicy(keep_hourly=2), NOW).keys() == {5, 3}


def test_within_counts_from_now_and_the_future_counts_as_now() -> None:
    """A revision dated next year is as young as one of this moment, and takes the place of no other year."""
    candidates = [
        Candidate(1, NOW - timedelta(days=31)),
        Candidate(2, NOW - timedelta(days=29)),
        Candidate(3, NOW + timedelta(days=400)),
        Candidate(4, NOW),
    ]
    assert kept(candidates, RetentionPolicy(within_seconds=30 * 86_400), NOW).keys() == {2, 3, 4}
    assert kept(candidates, RetentionPolicy(keep_yearly=1), NOW) == {4: ["newest", "yearly 2027"]}


@pytest.mark.parametrize("value", [-1, float("nan"), float("inf")])
def test_a_rule_is_a_number_from_zero(value: float) -> None:
    """Anything else is refused by name."""
    with pytest.raises(InvalidValueError, match="within_seconds"):
        RetentionPolicy(within_seconds=value)


# The size budget

Holdings = st.lists(
    st.builds(Holding, holders=st.integers(1, 2**9 - 1).map(lambda bits: bits << 1), bytes=st.integers(0, 99)),
    max_size=12,
)


@given(holdings=Holdings, staying=st.sets(st.integers(1, 9), min_size=1), max_bytes=st.integers(0, 400))
def test_the_budget_is_met_or_all_that_may_go_has_gone(
    holdings: list[Holding], staying: set[int], max_bytes: int
) -> None:
    """And not one more goes than is needed for it."""
    expirable = set(range(1, 10)) - staying
    going = list(over_budget(holdings, staying=staying, expirable=expirable, max_bytes=max_bytes))
    left = stored(holdings, mask(staying | expirable - set(going)))
    assert left <= max_bytes or set(going) == expirable
    assert len(going) == len(set(going))
    assert set(going) <= expirable
    if going:
        assert stored(holdings, mask(staying | expirable - set(going[:-1]))) > max_bytes


def test_of_the_older_half_the_cheapest_per_byte_goes_first() -> None:
    """The oldest where prices are the same, or nothing would be freed; a dear one outlives a cheap younger one."""
    same = [Holding(1 << number, 100) for number in range(1, 7)]
    assert list(over_budget(same, staying={7}, expirable=range(1, 7), max_bytes=300)) == [1, 2, 3]
    dear = [Holding(1 << number, 100, cost=5.0 if number == 1 else 0.1) for number in range(1, 7)]
    assert list(over_budget(dear, staying={7}, expirable=range(1, 7), max_bytes=300)) == [2, 3, 4]
    shared = [Holding(0b111110, 100)]
    assert list(over_budget(shared, staying={6}, expirable=range(1, 6), max_bytes=10)) == [1, 2, 3, 4, 5]


def test_a_budget_lets_go_until_it_fits(movie: Movie) -> None:
    """Bytes on the disk that the kept ones need; where it cannot be met, a remark says so."""
    whole = prune(movie, RetentionPolicy(max_bytes=10**9), dry_run=True)
    assert (names(whole)[1], whole.freed_bytes) == ([], 0)
    own = whole.kept_bytes // 6 + 10
    report = prune(movie, RetentionPolicy(max_bytes=whole.kept_bytes - own), dry_run=True)
    assert names(report)[1] == ["rev-0002", "rev-0001"]
    assert report.kept_bytes + report.freed_bytes == whole.kept_bytes
    nothing = prune(movie, RetentionPolicy(max_bytes=0), dry_run=True)
    assert names(nothing) == (["rev-0005"], ["rev-0004", "rev-0003", "rev-0002", "rev-0001"])
    assert "never expire" in nothing.notes[0]
    tag_revision(movie, "2", "mine")
    assert names(prune(movie, RetentionPolicy(max_bytes=0), dry_run=True))[0] == ["rev-0005", "rev-0002"]


# Pruning and the trash


def test_what_no_rule_keeps_is_in_the_trash_and_readable(movie: Movie) -> None:
    """A dry run says the same and writes nothing."""
    policy = RetentionPolicy(keep_last=2)
    before = sorted(movie.driver.children("manifests/"))
    planned = prune(movie, policy, dry_run=True)
    assert sorted(movie.driver.children("manifests/")) == before
    report = prune(movie, policy)
    assert names(planned) == names(report) == (["rev-0005", "rev-0004"], ["rev-0003", "rev-0002", "rev-0001"])
    assert (planned.freed_bytes, planned.dry_run, report.dry_run) == (report.freed_bytes, True, False)
    assert report.freed_bytes > 0
    assert trashed(movie) == ["rev-0003", "rev-0002", "rev-0001"]
    assert texts(movie, "rev-0001")["own"] == "1 " + LONG
    assert names(prune(movie, policy)) == (["rev-0005", "rev-0004"], [])


def test_the_trash_is_live_until_its_time_is_over(movie: Movie) -> None:
    """Collection takes nothing that is in it, however old its blobs are."""
    prune(movie, LAST)
    age(movie, 86_400 * 3)
    assert (swept(movie).removed, swept(movie).expired) == (0, 0)
    assert texts(movie, "rev-0001")["own"] == "1 " + LONG


def test_after_its_time_an_expired_revision_is_a_stub_and_its_bytes_are_gone(movie: Movie) -> None:
    """The chain goes on through stubs; what other revisions share stays; the next collection finds nothing to do."""
    prune(movie, LAST)
    before = {entry.revision: digest for entry, digest in movie.manifests.history()}
    chain = objects(movie)
    let_time_pass(movie)
    looked = collect(movie, dry_run=True)
    report = swept(movie)
    assert (report.expired, report.removed) == (4, 4) == (looked.expired, looked.removed)
    assert {entry.revision: digest for entry, digest in movie.manifests.history()} == before
    assert expired(movie) == ["rev-0004", "rev-0003", "rev-0002", "rev-0001"]
    assert len(chain - objects(movie)) == 4
    assert texts(movie) == {"own": "5 " + LONG, "shared": "shared " + LONG}
    with pytest.raises(NotFoundError, match="rev-0001 has expired"):
        movie.manifests.load("rev-0001")
    again = swept(movie)
    assert (again.expired, again.removed) == (0, 0)
    publish(movie, {"own": "6 " + LONG})
    assert names(prune(movie, LAST)) == (["rev-0006"], ["rev-0005"])


def test_an_index_made_anew_knows_what_has_expired(movie: Movie) -> None:
    """Trash, stubs and tags are objects."""
    tag_revision(movie, "3", "mine")
    prune(movie, RetentionPolicy(keep_last=2))
    let_time_pass(movie)
    swept(movie)
    prune(movie, LAST)
    movie.close()
    lose_database(movie.root)
    with opened(movie.root) as anew:
        assert expired(anew) == ["rev-0002", "rev-0001"]
        assert trashed(anew) == ["rev-0004"]
        assert names(prune(anew, LAST)) == (["rev-0005", "rev-0003"], [])
        assert anew.manifests.resolve("mine") == "rev-0003"


def test_a_mark_must_be_old_by_its_own_word_and_by_its_file(movie: Movie) -> None:
    """A clock that was wrong at one of the two does not empty the trash; what lies in the future is told of."""
    prune(movie, LAST)
    for path in marks(movie):
        modified_at(movie, path, 0)
    assert swept(movie).expired == 0
    let_time_pass(movie)
    modified_at(movie, marks(movie)[0])
    modified_at(movie, marks(movie)[1], 2**33)
    report = swept(movie)
    assert report.expired == 2
    assert "1 of the marks of expired revisions are dated in the future" in report.notes[0]


def test_what_is_in_the_trash_comes_back(movie: Movie) -> None:
    """All of it, or what is named; its blobs are young again, so that it is whole whatever comes."""
    prune(movie, LAST)
    assert restore_expired(movie, ["rev-0002"]).restored == ["rev-0002"]
    assert trashed(movie) == ["rev-0004", "rev-0003", "rev-0001"]
    age(movie)
    assert restore_expired(movie).restored == ["rev-0001", "rev-0003", "rev-0004"]
    assert trashed(movie) == []
    assert restore_expired(movie).restored == []
    with movie.metadata.read() as reader:
        digest = movie.manifests.load("rev-0001").artefacts["own"].hash
        assert reader.blobs.get([digest])[digest].touched_at > reader.now_ms() - 60_000
    with pytest.raises(NotFoundError, match="rev-0002 is not in the trash"):
        restore_expired(movie, ["rev-0002"])


def test_what_is_gone_for_good_does_not_come_back(movie: Movie) -> None:
    """One sentence says so; nothing happens to the others."""
    prune(movie, LAST)
    let_time_pass(movie)
    swept(movie)
    with pytest.raises(NotFoundError, match="rev-0001 cannot be brought back"):
        restore_expired(movie, ["rev-0001"])
    assert restore_expired(movie).restored == []


def test_a_revision_that_lost_a_blob_stays_in_the_trash(movie: Movie) -> None:
    """The error names the blob; the others come back."""
    prune(movie, LAST)
    lost = movie.manifests.load("rev-0002").artefacts["own"].hash
    movie.driver.delete(movie.blobs.stat(lost).path)
    with pytest.raises(BlobMissingError, match=lost):
        restore_expired(movie)
    assert trashed(movie) == ["rev-0002"]
    with pytest.raises(BlobMissingError, match=lost):
        tag_revision(movie, "2", "mine")
    assert movie.tags.all() == []


def test_nothing_is_pruned_for_nothing(movie: Movie) -> None:
    """An empty policy, a tag that is not there, a revision that is not there or may not go."""
    with pytest.raises(InvalidValueError, match="empty"):
        prune(movie, RetentionPolicy())
    tag_revision(movie, "2", "final-cut")
    with pytest.raises(NotFoundError, match="no tag 'final'") as caught:
        prune(movie, RetentionPolicy(keep_tags=("final",)))
    assert "final-cut" in caught.value.hint
    for revision, why in (("5", "newest"), ("latest", "newest"), ("2", "tagged final-cut"), ("final-cut", "tagged")):
        with pytest.raises(BadInputError, match=why):
            prune(movie, RetentionPolicy(), expire=[revision])
    with pytest.raises(NotFoundError):
        prune(movie, RetentionPolicy(), expire=["9"])
    assert trashed(movie) == []


def test_a_revision_can_go_by_name(movie: Movie) -> None:
    """Alone, or besides the rules; asked for again it is no error."""
    report = prune(movie, RetentionPolicy(), expire=["rev-0003"])
    assert names(report) == (["rev-0005", "rev-0004", "rev-0002", "rev-0001"], ["rev-0003"])
    assert report.removed[0].why == "asked for by name"
    again = prune(movie, RetentionPolicy(keep_last=9), expire=["3", "4"])
    assert names(again)[1] == ["rev-0004"]
    assert again.notes == ["rev-0003 is in the trash already."]
    assert trashed(movie) == ["rev-0004", "rev-0003"]


def test_a_tag_that_cannot_be_read_ends_pruning_and_collection(movie: Movie) -> None:
    """It might protect any revision: nothing is marked, stubbed or condemned."""
    prune(movie, RetentionPolicy(keep_last=4))
    let_time_pass(movie)
    tag_revision(movie, "3", "mine")
    movie.driver.replace("tags/mine.json", b"{")
    waste = movie.blobs.put(b"waste")
    let_time_pass(movie)
    with pytest.raises(BlobCorruptError, match=r"tags/mine\.json"):
        prune(movie, LAST)
    with pytest.raises(BlobCorruptError, match=r"tags/mine\.json"):
        swept(movie)
    assert movie.blobs.has(waste)
    assert (trashed(movie), expired(movie)) == (["rev-0001"], [])


def _damage(movie: Movie, revision: str) -> str:
    path = f"manifests/{revision}.json"
    movie.driver.replace(path, movie.driver.read(path).replace(b"text/plain", b"text/plaim"))
    return path


def test_a_damaged_manifest_never_expires_by_a_rule(movie: Movie) -> None:
    """Nor is one in the trash made a stub: collection ends and names it."""
    _damage(movie, "rev-0002")
    report = prune(movie, LAST)
    assert names(report) == (["rev-0005", "rev-0002"], ["rev-0004", "rev-0003", "rev-0001"])
    assert 0 < report.notes[0].index("fsck --repair") < report.notes[0].index("--expire rev-0002")
    path = _damage(movie, "rev-0003")
    let_time_pass(movie)
    before = movie.driver.read(path)
    with pytest.raises(DamageError, match="rev-0003"):
        swept(movie)
    assert movie.driver.read(path) == before


@pytest.mark.parametrize("missing", [False, True])
def test_a_manifest_that_the_index_can_write_anew_goes_to_the_trash(movie: Movie, *, missing: bool) -> None:
    """Byte for byte; so it can be brought back, and what was left of the damaged one is in quarantine."""
    before = movie.driver.read("manifests/rev-0002.json")
    path = _damage(movie, "rev-0002")
    if missing:
        movie.driver.delete(path)
    [removed] = prune(movie, RetentionPolicy(), expire=["rev-0002"], dry_run=True).removed
    assert not removed.lost
    report = prune(movie, RetentionPolicy(), expire=["rev-0002"])
    assert ("written anew" in report.notes[0], report.removed[0].lost) == (True, False)
    assert movie.driver.read(path) == before
    assert trashed(movie) == ["rev-0002"]
    assert len([*movie.driver.children("quarantine/")]) == (0 if missing else 1)
    assert restore_expired(movie, ["rev-0002"]).restored == ["rev-0002"]
    assert texts(movie, "rev-0002")["own"] == "2 " + LONG


def test_a_revision_of_which_one_page_is_damaged_goes_to_the_trash(movie: Movie) -> None:
    """Its manifest is whole, and a copy may have the page."""
    publish(movie, {f"many[{number}].out": f"{number}" for number in range(1_100)})
    publish(movie, {"own": "last"})
    page = next(iter(movie.manifests.load("rev-0006").pages or ())).hash
    path = movie.blobs.stat(page).path
    before = movie.driver.read(path)
    movie.driver.replace(path, b"something else")
    report = prune(movie, RetentionPolicy(), expire=["rev-0006"])
    assert (report.notes, report.removed[0].lost, trashed(movie)) == ([], False, ["rev-0006"])
    with pytest.raises(DamageError):
        restore_expired(movie, ["rev-0006"])
    movie.driver.replace(path, before)
    assert restore_expired(movie, ["rev-0006"]).restored == ["rev-0006"]


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("in_trash", [False, True])
def test_a_damaged_manifest_can_be_let_go_by_name(movie: Movie, *, missing: bool, in_trash: bool) -> None:
    """A stub takes its place at once, as nothing tells what it said; then collection goes on."""
    archive = movie.manifests.load("rev-0002").archive
    assert archive is not None
    movie.driver.delete(archive.name)
    if in_trash:
        prune(movie, RetentionPolicy(), expire=["2"])
    path = _damage(movie, "rev-0002")
    if missing:
        movie.driver.delete(path)
    with pytest.raises(DamageError):
        swept(movie)
    report = prune(movie, RetentionPolicy(), expire=["rev-0002"])
    assert [(gone.revision, gone.lost) for gone in report.removed] == [("rev-0002", True)]
    assert "rev-0002 went for good" in report.notes[0]
    assert expired(movie) == ["rev-0002"]
    assert len([*movie.driver.children("quarantine/")]) == (0 if missing else 1)
    age(movie, 86_400 * 3)
    assert swept(movie).removed == 1
    assert texts(movie, "rev-0001")["own"] == "1 " + LONG
    with pytest.raises(NotFoundError, match="could not be read when it was let go"):
        restore_expired(movie, ["rev-0002"])


def test_a_mark_that_cannot_be_read_is_none(movie: Movie) -> None:
    """Its revision counts as kept, and pruning it again makes the mark good."""
    prune(movie, LAST)
    movie.driver.replace("manifests/rev-0002.expired.json", b"{}")
    assert "rev-0002" not in trashed(movie)
    assert names(prune(movie, LAST))[1] == ["rev-0002"]
    assert len(trashed(movie)) == 4


def test_a_mark_of_another_manifest_ends_collection(movie: Movie) -> None:
    """It says a hash, and that must be the manifest's."""
    prune(movie, LAST)
    let_time_pass(movie)
    path = "manifests/rev-0002.expired.json"
    said = movie.driver.read(path)
    digest = said.partition(b'"hash":"')[2][:64]
    movie.driver.replace(path, said.replace(digest, b"0" * 64))
    modified_at(movie, path, 0)
    with pytest.raises(BlobCorruptError, match="rev-0002"):
        swept(movie)


def test_the_newest_revision_is_never_a_stub(movie: Movie) -> None:
    """Not even where somebody marked it by hand."""
    prune(movie, LAST)
    said = movie.driver.read("manifests/rev-0004.expired.json").decode()
    digests = [movie.manifests.load_with_hash(str(number))[1] for number in (4, 5)]
    forged = said.replace("rev-0004", "rev-0005").replace(*digests)
    movie.driver.replace("manifests/rev-0005.expired.json", forged.encode())
    let_time_pass(movie)
    assert movie.manifests.expiry("rev-0005") is not None
    assert swept(movie).expired == 4
    assert texts(movie, "rev-0005")["own"] == "5 " + LONG


def test_pruning_repairs_the_pointer_first(movie: Movie) -> None:
    """Whoever reads `current.json` alone is never led to a revision that has expired."""
    pointer = movie.driver.read("current.json").decode()
    digest = movie.manifests.load_with_hash("4")[1]
    newest = movie.manifests.load_with_hash("5")[1]
    movie.driver.replace("current.json", pointer.replace("rev-0005", "rev-0004").replace(newest, digest).encode())
    assert names(prune(movie, LAST))[0] == ["rev-0005"]
    assert b"rev-0005" in movie.driver.read("current.json")


@pytest.mark.parametrize("act", ["prune", "restore", "tag", "untag", "collect"])
def test_whoever_changes_marks_or_tags_is_alone(movie: Movie, monkeypatch: pytest.MonkeyPatch, act: str) -> None:
    """While another holds the lock `retention` nothing is changed, and who holds it is said."""
    tag_revision(movie, "2", "mine")
    prune(movie, LAST)
    let_time_pass(movie)
    actions = {
        "prune": lambda: prune(movie, LAST),
        "restore": lambda: restore_expired(movie),
        "tag": lambda: tag_revision(movie, "1", "other"),
        "untag": lambda: untag(movie, "mine"),
        "collect": lambda: swept(movie),
    }
    monkeypatch.setattr("renku_store.bounds.BUSY_MAX_SECONDS", 0.05)
    with (
        movie.driver.lock("retention", wait_seconds=1),
        pytest.raises(StoreUnavailableError, match=rf"retention.*process {os.getpid()}"),
    ):
        actions[act]()
    assert (len(trashed(movie)), expired(movie), len(movie.tags.all())) == (3, [], 1)
    actions[act]()


def test_a_trash_time_of_nothing_needs_force(movie: Movie) -> None:
    """So does a collection that would take more than half: then not even a stub is made."""
    prune(movie, LAST)
    with pytest.raises(BadInputError, match="trash time of 0"):
        collect(movie, trash_seconds=0)
    let_time_pass(movie)
    with pytest.raises(BadInputError, match="more than half"):
        collect(movie)
    assert expired(movie) == []
    for seconds in (-1.0, float("nan")):
        with pytest.raises(InvalidValueError):
            collect(movie, trash_seconds=seconds)
    restore_expired(movie)
    prune(movie, LAST)
    report = swept(movie, trash_seconds=0)
    assert report.expired == 4
    assert "instead of a week" in report.notes[0]


def test_results_of_expired_revisions_leave_the_reuse_index(any_root: Root) -> None:
    """Traces and takes are gone with their bytes, and a later run makes them anew."""
    studio = Studio()
    with open_store(any_root) as store:
        movie = store.create_movie("film")
        set_inputs(movie, {"@blueprint": BLUEPRINT, "segments": LENGTHY})
        first = asyncio.run(run_movie(movie, produce=studio))
        changed = [{**LENGTHY[0], "text": "other words " * 900}, *LENGTHY[1:]]
        set_inputs(movie, {"segments": changed})
        asyncio.run(run_movie(movie, produce=studio))
        signature = first.jobs["say[0]"].signature
        assert signature is not None
        prune(movie, LAST)
        let_time_pass(movie)
        assert movie.events.find_trace(signature) is not None
        report = swept(movie)
        assert report.traces > 0
        assert movie.events.find_trace(signature) is None
        with movie.metadata.read() as reader:
            assert reader.events.traces(signature) == []
        studio.calls.clear()
        set_inputs(movie, {"segments": LENGTHY})
        again = asyncio.run(run_movie(movie, produce=studio))
        assert (again.status, studio.calls["say[0]"]) == ("published", 1)
        assert again.jobs["say[0]"].status == "made"


# Old runs


def test_what_old_runs_leave_goes_when_nothing_needs_it(any_root: Root) -> None:
    """Plans of all ended runs; archives, rows and records of expired ones, once no result of theirs can be reused."""
    with open_store(any_root) as store:
        movie = store.create_movie("film")
        studio = Studio()
        set_inputs(movie, {"@blueprint": BLUEPRINT, "segments": LENGTHY})
        runs = []
        for word in ("one", "two", "three"):
            segments = [{**segment, "text": f"{word} " * 900, "title": f"{word} " * 900} for segment in LENGTHY]
            set_inputs(movie, {"segments": segments})
            runs.append(asyncio.run(run_movie(movie, produce=studio)).run or "")
        prune(movie, RetentionPolicy(), expire=["rev-0002"])
        let_time_pass(movie)
        assert (swept(movie).runs, len([*movie.driver.children("runs/")])) == (0, 3)
        report = swept(movie, keep_runs_seconds=0)
        assert (report.plans, report.runs) == (3, 0)
        assert set(movie.archives.runs()) == set(runs)
        assert expired(movie) == ["rev-0002"]
        # Short results are inline and can always be reused: their run is needed for as long as they are.
        with movie.metadata.write():
            connection_of(movie).execute("DELETE FROM traces WHERE run = ?", (runs[1],))
        assert swept(movie, keep_runs_seconds=0).runs == 1
        assert set(movie.archives.runs()) == {runs[0], runs[2]}
        assert list(movie.events.stream(run=runs[1])) == []
        with movie.metadata.read() as reader:
            assert reader.runs.get(runs[1]) is None
        latest = movie.events.latest_artefact("say[0].audio", "rev-0001")
        assert latest is not None
        assert latest.run == runs[0]
        movie.close()
        lose_database(any_root)
        with opened(any_root) as anew:
            assert [e.revision for e, _ in anew.manifests.history()] == ["rev-0003", "rev-0002", "rev-0001"]
            assert swept(anew).removed == 0
            assert texts(anew)


def test_an_abandoned_run_retires_only_when_its_results_are_gone(movie: Movie) -> None:
    """Until then they can be reused, and a new index learns of them from the archive."""
    run = movie.events.new_id()
    token = movie.leases.start(run, base_revision="rev-0005", edits_through=0)
    movie.events.append_artefact(artefact_event(movie, "own", "given up " + LONG, run=run))
    movie.archiver.archive(run, 0)
    with movie.metadata.write() as writer:
        writer.runs.update(run, status="abandoned", ended_at="2020-01-01T00:00:00.000Z")
        writer.runs.release(token)
    assert swept(movie, keep_runs_seconds=0).runs == 0
    assert run in movie.archives.runs()
    age(movie, 86_400 * 3)
    # The result is the newest of its artefact until another one is made: a look-up points at it.
    assert (swept(movie, keep_runs_seconds=0).traces, run in movie.archives.runs()) == (1, True)
    publish(movie, {"own": "newer " + LONG})
    assert swept(movie, keep_runs_seconds=0).runs == 1
    assert run not in movie.archives.runs()
    assert list(movie.events.stream(run=run)) == []


def test_the_archive_of_a_kept_revision_stays(movie: Movie) -> None:
    """Its manifest names it, even where nothing points at what is in it."""
    _, base = movie.manifests.load_current()
    empty = movie.manifests.build_from_events("rev-0006")
    movie.manifests.save_manifest(empty, previous_hash=base)
    publish(movie, {"own": "7 " + LONG})
    for _ in range(2):
        report = swept(movie, keep_runs_seconds=0)
        assert (report.runs, report.notes) == (0, [])
    assert empty.run in movie.archives.runs()


def test_an_archive_stays_while_a_result_in_it_can_be_reused(movie: Movie) -> None:
    """Its rows may have left by compaction: then it alone can tell a new index of the result."""
    run = movie.events.new_id()
    token = movie.leases.start(run, base_revision="rev-0005", edits_through=0)
    event = movie.events.append_artefact(artefact_event(movie, "own", "short", run=run))
    movie.archiver.archive(run, 0)
    with movie.metadata.write() as writer:
        writer.runs.update(run, status="abandoned", ended_at="2020-01-01T00:00:00.000Z")
        writer.runs.release(token)
    publish(movie, {"own": "newer " + LONG})
    compact(movie)
    with movie.metadata.read() as reader:
        assert reader.events.artefacts_after(0, 99, run=run) == []
    assert swept(movie, keep_runs_seconds=0).runs == 0
    assert run in movie.archives.runs()
    assert movie.events.find_trace(event.signature or "") is not None


def test_rows_that_no_archive_lists_never_leave(movie: Movie) -> None:
    """Invariant 4: where the archive is missing, or lacks an event, everything of the run stays."""
    run = movie.events.new_id()
    token = movie.leases.start(run, base_revision="rev-0005", edits_through=0)
    movie.events.append_input("private", 1, run=run)
    with movie.metadata.write() as writer:
        writer.runs.update(run, status="abandoned", ended_at="2020-01-01T00:00:00.000Z")
        writer.runs.release(token)
    assert swept(movie, keep_runs_seconds=0).runs == 0
    assert len(list(movie.events.stream(run=run))) == 1
    movie.archiver.archive(run, 0)
    movie.events.append_input("private", 2, run=run)
    assert swept(movie, keep_runs_seconds=0).runs == 0
    assert len(list(movie.events.stream(run=run))) == 2


# Several processes

PRUNE = """
    import sys
    from renku_store import RetentionPolicy, prune
    from tests.authoring import opened
    with opened(sys.argv[1]) as movie:
        print("ready", flush=True)
        for _ in range(int(sys.argv[2])):
            prune(movie, RetentionPolicy(keep_last=1))
"""


@pytest.mark.processes
def test_pruning_and_publishing_at_once_never_lets_the_newest_go(movie: Movie) -> None:
    """Another process prunes all the time while revisions are published."""
    child = children.start(PRUNE, movie.root, 25)
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    for number in range(6, 16):
        publish(movie, {"own": f"{number} " + LONG})
        newest = movie.manifests.load_current()[0].revision
        assert movie.manifests.expiry(newest) is None
    ended = children.finish(child)
    assert ended.code == 0, ended.err
    report = prune(movie, LAST)
    assert names(report)[0] == ["rev-0015"]
    assert len(trashed(movie)) == 14


@pytest.mark.processes
def test_bringing_back_and_collecting_at_once_is_whole_or_refused(movie: Movie, tmp_path: Path) -> None:
    """At the end of the trash time: the revision is back and complete, or a sentence says that it is gone."""
    script = """
        import sys, time
        from pathlib import Path
        from renku_store import NotFoundError, collect, restore_expired
        from tests.authoring import opened
        with opened(sys.argv[1]) as movie:
            print("ready", flush=True)
            while not Path(sys.argv[3]).exists():
                time.sleep(0.001)
            time.sleep(float(sys.argv[4]))
            if sys.argv[2] == "collect":
                collect(movie, grace_seconds=0, trash_seconds=3_600, force=True)
            else:
                for revision in ("rev-0003", "rev-0001", "rev-0004", "rev-0002"):
                    try:
                        restore_expired(movie, [revision])
                        print(revision)
                    except NotFoundError as error:
                        assert "cannot be brought back" in error.message, error.message
    """
    movie.close()
    outcomes = set()
    for trial in range(3):
        root = tmp_path / f"trial-{trial}"
        with open_store(root) as store:
            film = store.create_movie("film")
            for number in range(1, 6):
                publish(film, {"own": f"{number} " + LONG, "shared": "shared " + LONG})
            prune(film, LAST)
            let_time_pass(film)
        go = tmp_path / f"go-{trial}"
        delays = {"collect": 0.0, "restore": trial * 0.008}
        running = [children.start(script, root, what, go, delays[what]) for what in delays]
        for child in running:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
        go.touch()
        ended = [children.finish(child) for child in running]
        assert [one.code for one in ended] == [0, 0], [one.err for one in ended]
        back = set(ended[1].out.split())
        with opened(root) as after:
            assert set(expired(after)) == {f"rev-{number:04d}" for number in range(1, 5)} - back
            for revision in [*back, "rev-0005"]:
                assert texts(after, revision)["own"] == f"{int(revision[4:])} " + LONG
        outcomes.add(len(back))
    assert outcomes <= {0, 1, 2, 3, 4}
