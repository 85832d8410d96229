"""Statistics: sums over the index that agree with what the manifests and the disk say."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from renku_store import Movie, abandon, collect, compact, movie_stats, open_store, run_movie, set_inputs
from renku_store.encoding import encode_stub
from renku_store.manifests import ManifestStore
from renku_store.records._base import Json
from tests import children
from tests.authoring import LONG, artefact_event, lose_database, opened, publish
from tests.running.conftest import BLUEPRINT, Studio
from tests.test_gc import age

LONGER = "a longer text " * 400
SEGMENTS: list[Json] = [{"text": text, "title": text.upper()} for text in ("one", "two", "three")]


@pytest.fixture
def movie(tmp_path: Path) -> Iterator[Movie]:
    with open_store(tmp_path / "root") as store:
        yield store.create_movie("film")


def expire(movie: Movie, number: int) -> None:
    manifest, digest = movie.manifests.load_with_hash(f"rev-{number:04d}")
    movie.driver.replace(f"manifests/rev-{number:04d}.json", encode_stub(manifest, digest))
    with movie.metadata.write() as writer:
        writer.revisions.expire(number)


def logical(movie: Movie) -> int:
    """What the manifests say: the bytes of all artefacts of all kept revisions."""
    return sum(a.size for manifest, _ in movie.manifests.revisions() for a in manifest.artefacts.values())


def ratio(movie: Movie) -> float:
    """What the manifests say: that to the same with each content once."""
    sizes = {a.hash: a.size for manifest, _ in movie.manifests.revisions() for a in manifest.artefacts.values()}
    return round(logical(movie) / sum(sizes.values()), 3) if sizes else 1.0


def test_an_empty_movie_has_nothing(movie: Movie) -> None:
    """No division by zero either."""
    found = movie_stats(movie)
    assert (found.revisions, found.artefacts, found.logical_bytes, found.blobs) == (0, 0, 0, 0)
    assert (found.dedup_ratio, found.compression_ratio, found.growth) == (1.0, 1.0, [])
    assert found.cost.spent == 0
    assert found.database_bytes > 0


def test_each_sum_is_what_manifests_and_disk_say(movie: Movie) -> None:
    """Shared content counts once; each revision brought what no earlier one named."""
    publish(movie, {"a": LONG, "b": LONG, "c": "short"})
    publish(movie, {"b": LONGER})
    publish(movie, {"a": LONGER, "c": "other"})
    found = movie_stats(movie)
    assert (found.revisions, found.artefacts, found.blobs) == (3, 3, 2)
    assert found.logical_bytes == logical(movie)
    assert found.unique_bytes == len(LONG) + len(LONGER)
    assert found.dedup_ratio == ratio(movie) > 2
    folder = Path(movie.root, movie.id)
    assert found.stored_bytes == sum(path.stat().st_size for path in (folder / "blobs").rglob("*") if path.is_file())
    assert found.archive_bytes == sum(path.stat().st_size for path in (folder / "events").iterdir())
    assert found.compression_ratio == round(found.unique_bytes / found.stored_bytes, 3)
    assert [entry.new_bytes for entry in found.growth] == [len(LONG), len(LONGER), 0]
    assert sum(entry.new_stored_bytes for entry in found.growth) == found.stored_bytes
    assert (found.unnamed_blobs, found.unnamed_bytes) == (0, 0)


def test_what_is_no_artefact_does_not_make_a_movie_seem_to_be_kept_twice(movie: Movie) -> None:
    """Blueprints and graphs are blobs, too; artefacts of which each is there once are told as 1 to 1."""
    publish(movie, {"a": "short"}, {"@blueprint": "x" * 5_000})
    found = movie_stats(movie)
    assert found.unique_bytes > found.logical_bytes
    assert found.dedup_ratio == 1.0


def test_what_no_kept_revision_names_is_told_apart(movie: Movie) -> None:
    """Waste, pending edits, and what only expired revisions named; collected, it is gone from the sums."""
    publish(movie, {"a": LONG})
    publish(movie, {"a": LONGER})
    movie.blobs.put(b"waste " * 1_000)
    assert movie_stats(movie).unnamed_blobs == 1
    expire(movie, 1)
    found = movie_stats(movie)
    assert (found.revisions, found.expired, found.trash, found.unnamed_blobs) == (1, 1, 0, 2)
    assert found.logical_bytes == len(LONGER)
    assert [entry.expired for entry in found.growth] == [True, False]
    age(movie)
    collect(movie, grace_seconds=3_600, force=True)
    found = movie_stats(movie)
    assert (found.blobs, found.unnamed_blobs, found.unique_bytes) == (1, 0, len(LONGER))
    assert [entry.new_bytes for entry in found.growth] == [0, len(LONGER)]


def test_what_was_paid_is_known_after_compaction_and_collection(movie: Movie) -> None:
    """Every call counts once, whether its run was published or given up, and whether its row is still there."""
    set_inputs(movie, {"@blueprint": BLUEPRINT, "segments": SEGMENTS})
    asyncio.run(run_movie(movie, produce=Studio()))
    set_inputs(movie, {"voice": "de"})
    broken = Studio()
    broken.broken = {"say[1]"}
    failed = asyncio.run(run_movie(movie, produce=broken))
    assert failed.run is not None
    abandon(movie, failed.run)
    found = movie_stats(movie)
    paid = round(0.01 * (10 + failed.made), 6)
    assert (found.cost.spent, found.cost.published) == (paid, 0.1)
    assert found.cost.unpublished == round(paid - 0.1, 6)
    asyncio.run(run_movie(movie, produce=Studio()))
    found = movie_stats(movie)
    first = {event.id for event in movie.events.stream_artefacts() if event.cost and event.seq}
    expire(movie, 1)
    assert compact(movie).rows > 0
    assert {event.id for event in movie.events.stream_artefacts() if event.cost and event.seq} < first
    assert movie_stats(movie).cost == found.cost
    age(movie)
    collect(movie, grace_seconds=3_600, force=True)
    assert movie_stats(movie).cost.published == found.cost.published


def test_a_call_without_a_signature_is_paid_too(movie: Movie) -> None:
    """Costs of events that are no results to reuse are costs."""
    event = artefact_event(movie, "a", "by hand")
    movie.events.append_artefact(event.replace(signature=None, result=None))
    assert movie_stats(movie).cost.spent == 0.5


def test_a_read_only_root_has_statistics(movie: Movie, tmp_path: Path) -> None:
    """The same with its database; without it, what the manifests and objects tell."""
    publish(movie, {"a": LONG, "b": "short"})
    publish(movie, {"a": LONGER})
    whole = movie_stats(movie)
    movie.close()
    script = """
        import sys
        from renku_store import movie_stats
        from tests.authoring import opened
        with opened(sys.argv[1]) as movie:
            assert movie.read_only
            found = movie_stats(movie)
            print(found.revisions, found.artefacts, found.blobs, found.logical_bytes, found.stored_bytes)
            print(found.dedup_ratio)
    """
    expected = [str(n) for n in (2, 2, 2, whole.logical_bytes, whole.stored_bytes, whole.dedup_ratio)]
    root = tmp_path / "root"
    ended = children.run(script, root, prefix=children.on_read_only(root))
    assert ended.out.split() == expected, ended.err
    for path in [root, *root.rglob("*")]:
        path.chmod(0o755)
    lose_database(root)
    ended = children.run(script, root, prefix=children.on_read_only(root))
    assert ended.out.split() == expected, ended.err


def test_no_manifest_is_read(movie: Movie, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand revisions of a large movie are sums over the index."""
    publish(movie, {"a": LONG})
    publish(movie, {"a": LONGER})

    def refuse(*_: object) -> None:
        raise AssertionError("a manifest was read")

    monkeypatch.setattr(ManifestStore, "entry", refuse)
    assert movie_stats(movie).revisions == 2


CHANGES = st.dictionaries(st.sampled_from("abcd"), st.sampled_from([LONG, LONGER, "x", "yy", LONG * 2]), max_size=3)


@settings(max_examples=25)
@given(revisions=st.lists(CHANGES, min_size=1, max_size=6), data=st.data())
def test_sums_agree_with_the_manifests_for_any_history(
    tmp_path_factory: pytest.TempPathFactory, revisions: list[dict[str, str]], data: st.DataObject
) -> None:
    """Whatever changed and expired, compacted, and with the database lost."""
    root = tmp_path_factory.mktemp("stats")
    with open_store(root) as store:
        movie = store.create_movie("film")
        for number, changes in enumerate(revisions):
            publish(movie, changes, {"number": number})
        for number in data.draw(st.sets(st.integers(1, len(revisions) - 1)) if len(revisions) > 1 else st.just(set())):
            expire(movie, number)
        found = movie_stats(movie)
        assert found.logical_bytes == logical(movie)
        assert found.dedup_ratio == ratio(movie) >= 1
        assert found.artefacts == len(movie.manifests.load("latest").artefacts)
        compact(movie)
        after = movie_stats(movie)
        assert (after.logical_bytes, after.dedup_ratio) == (found.logical_bytes, found.dedup_ratio)
        movie.close()
    lose_database(root)
    with opened(root) as movie:
        again = movie_stats(movie)
        assert (again.revisions, again.expired, again.logical_bytes, again.dedup_ratio) == (
            found.revisions, found.expired, found.logical_bytes, found.dedup_ratio,
        )  # fmt: skip
