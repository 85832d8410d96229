"""Publishing: one chain whoever publishes, conflicts with both hashes, replies that got lost."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from renku_store import (
    BlobMissingError,
    InvalidValueError,
    LeaseLostError,
    ManifestConflictError,
    Movie,
    NotFoundError,
    RevisionExistsError,
    Store,
    abandon,
    open_store,
    run_movie,
    set_inputs,
)
from renku_store.archives import archive_path
from renku_store.commit import Committer, PublishedRevision
from renku_store.metadata.base import Intent
from renku_store.records._base import Json
from tests import children
from tests.authoring import (
    LONG,
    check_whole,
    connection_of,
    intend,
    intents,
    next_one,
    opened,
    publish,
    texts,
)
from tests.roots import Root
from tests.running.conftest import BLUEPRINT, Studio

SEGMENTS: list[Json] = [{"text": text, "title": text.upper()} for text in ("one", "two", "three")]


@pytest.fixture
def root(any_root: Root) -> Root:
    return any_root


@pytest.fixture
def store(root: Root) -> Iterator[Store]:
    with open_store(root) as store:
        yield store


@pytest.fixture
def studio() -> Studio:
    return Studio()


@pytest.fixture
def movie(store: Store) -> Movie:
    """A movie of one revision."""
    movie = store.create_movie("film")
    publish(movie, {"a": "one", "b": LONG}, {"voice": "en"})
    return movie


@pytest.fixture
def film(store: Store) -> Movie:
    """A movie with a blueprint, not run yet."""
    movie = store.create_movie("film")
    set_inputs(movie, {"@blueprint": BLUEPRINT, "segments": SEGMENTS})
    return movie


# Conflicts


def test_a_conflict_names_both_hashes_and_drops_the_intent(movie: Movie) -> None:
    """Two built on the same base: the second is told what is there and what it had."""
    ours, base = next_one(movie, "ours")
    theirs = publish(movie, {"a": "theirs"})
    intent = intend(movie, ours)
    with pytest.raises(ManifestConflictError, match="rev-0002") as caught:
        movie.manifests.save_manifest(ours, previous_hash=base)
    assert (caught.value.expected, caught.value.actual) == (intent.hash, theirs.hash)
    assert intents(movie) == []
    assert texts(movie)["a"] == "theirs"
    check_whole(movie)


def test_another_base_than_the_published_one_is_a_conflict(movie: Movie) -> None:
    """Before anything is written: no intent, no manifest."""
    ours, base = next_one(movie, "ours")
    other = ours.replace(base_hash="0" * 64)
    for previous in (base, None):
        with pytest.raises(ManifestConflictError):
            movie.manifests.save_manifest(other, previous_hash=previous)
    with pytest.raises(ManifestConflictError) as caught:
        movie.manifests.save_manifest(other, previous_hash="0" * 64)
    assert (caught.value.expected, caught.value.actual) == ("0" * 64, base)
    assert intents(movie) == []
    check_whole(movie)


def test_no_revision_is_published_beyond_a_gap(movie: Movie) -> None:
    """One chain: a revision without the one before it is refused, base hash or not."""
    manifest = movie.manifests.build_from_events("rev-0002")
    far = manifest.replace(revision="rev-0005", base_revision="rev-0004", base_hash=None)
    with pytest.raises(ManifestConflictError, match="rev-0004"):
        movie.manifests.save_manifest(far, previous_hash=None)
    check_whole(movie)


def test_a_lost_reply_is_no_conflict_with_oneself(movie: Movie) -> None:
    """The manifest exists with our bytes: we had won, again and again."""
    ours, base = next_one(movie, "ours")
    intent = intend(movie, ours)
    movie.driver.create("manifests/rev-0002.json", intent.manifest)
    expected = PublishedRevision("rev-0002", intent.hash, intent.run)
    assert movie.committer.finish(ours.run) == expected
    assert movie.committer.finish(ours.run) is None
    assert movie.manifests.save_manifest(ours, previous_hash=base) == expected
    check_whole(movie)


def test_a_run_that_died_with_an_intent_publishes_exactly_those_bytes(root: Root, movie: Movie) -> None:
    """Whoever takes it up, whatever was edited since."""
    intent = intend(movie, next_one(movie, "ours")[0])
    movie.close()
    with opened(root) as again:
        again.events.append_input("voice", "fr")
        assert again.committer.finish(intent.run) == PublishedRevision("rev-0002", intent.hash, intent.run)
        assert again.driver.read("manifests/rev-0002.json") == intent.manifest
        assert [getattr(event, "value", None) for event in again.events.pending()] == ["fr"]
        check_whole(again)


@pytest.mark.damages
def test_a_missing_blob_is_named_before_the_intent(movie: Movie) -> None:
    """Nothing can be published that could not be read."""
    ours, base = next_one(movie, LONG + "more")
    digest = ours.artefacts["a"].hash
    movie.driver.delete(movie.blobs.stat(digest).path)
    with pytest.raises(BlobMissingError, match=digest):
        movie.manifests.save_manifest(ours, previous_hash=base)
    assert intents(movie) == []
    check_whole(movie)


def test_a_manifest_that_contradicts_itself_is_refused(movie: Movie) -> None:
    """Once created it could never be put right."""
    ours, base = next_one(movie, "ours")
    inputs = {"voice": ours.inputs["voice"].replace(value="other")}
    artefacts = {**ours.artefacts, "a": ours.artefacts["a"].replace(inline="other")}
    wrongs: list[dict[str, object]] = [
        {"artefacts": {}}, {"artefacts": artefacts}, {"inputs": inputs}, {"movie": "other"}, {"base_revision": None},
        {"timeline": "a"}, {"archive": ours.archive.replace(name="x") if ours.archive else None},
    ]  # fmt: skip
    for wrong in wrongs:
        with pytest.raises(InvalidValueError, match="rev-0002"):
            movie.manifests.save_manifest(ours.replace(**wrong), previous_hash=base)
    check_whole(movie)


def test_a_run_publishes_once_and_its_archive_is_never_replaced(movie: Movie) -> None:
    """A published manifest names its archive by hash."""
    first = movie.manifests.load("rev-0001")
    before = movie.driver.read(archive_path(first.run))
    with pytest.raises(RevisionExistsError, match="rev-0001"):
        movie.archiver.archive(first.run, 10**9)
    ours, base = next_one(movie, "ours")
    with pytest.raises(RevisionExistsError, match="rev-0001"):
        movie.manifests.save_manifest(ours.replace(run=first.run, archive=first.archive), previous_hash=base)
    assert movie.driver.read(archive_path(first.run)) == before
    assert intents(movie) == []


def test_a_run_that_was_taken_over_archives_and_publishes_nothing(movie: Movie) -> None:
    """The late holder is told; the archive stays that of the present one."""
    ours, base = next_one(movie, "ours")
    run = movie.events.new_id()
    late = movie.leases.start(run, base_revision="rev-0001", edits_through=0)
    movie.leases.release(late)
    present = movie.leases.take_over(run)
    archive = movie.archiver.archive(run, 10**9, token=present)
    ours = ours.replace(run=run, archive=archive)
    before = movie.driver.read(archive_path(run))
    with pytest.raises(LeaseLostError):
        movie.archiver.archive(run, 0, token=late)
    with pytest.raises(LeaseLostError):
        movie.manifests.save_manifest(ours, previous_hash=base, token=late)
    assert movie.driver.read(archive_path(run)) == before
    assert movie.manifests.save_manifest(ours, previous_hash=base, token=present).revision == "rev-0002"


def test_archiving_a_run_again_withdraws_what_it_had_meant_to_publish(movie: Movie) -> None:
    """That would name an archive which is no more; where it is published already, archiving is refused."""
    ours, _ = next_one(movie, "ours")
    intend(movie, ours)
    archive = movie.archiver.archive(ours.run, 0)
    assert intents(movie) == []
    ours = ours.replace(archive=archive)
    movie.driver.create("manifests/rev-0002.json", intend(movie, ours).manifest)
    with pytest.raises(RevisionExistsError, match="rev-0002"):
        movie.archiver.archive(ours.run, 10**9)


def test_a_publisher_that_was_given_up_meanwhile_publishes_nothing(
    movie: Movie, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Held up between what it meant to publish and the manifest, while others took it for dead and archived it anew."""
    publish(movie, {"a": "one"})
    carry_out = Committer._carry_out

    def held_up(committer: Committer, intent: Intent) -> PublishedRevision:
        with opened(movie.root) as other:
            other.archiver.archive(intent.run, 0)
        return carry_out(committer, intent)

    with monkeypatch.context() as patch:
        patch.setattr(Committer, "_carry_out", held_up)
        with pytest.raises(LeaseLostError, match="was withdrawn"):
            publish(movie, {"a": "two"})
    assert texts(movie)["a"] == "one"
    published = publish(movie, {"a": "three"})
    assert texts(movie, published.revision)["a"] == "three"
    check_whole(movie)


def test_a_run_that_published_before_it_died_cannot_be_abandoned(film: Movie, studio: Studio) -> None:
    """Another process that has the movie open since before sees that it has ended."""
    report = asyncio.run(run_movie(film, produce=studio))
    assert report.run is not None
    with film.metadata.write() as writer:
        writer.runs.update(report.run, status="running")
    connection = connection_of(film)
    for table in ("revision_inputs", "revision_artefacts", "manifest_blobs", "revisions"):
        connection.execute(f"DELETE FROM {table}")
    connection.execute("UPDATE runs SET revision = NULL")
    before = film.driver.read(archive_path(report.run))
    with pytest.raises(NotFoundError):
        abandon(film, report.run)
    assert film.driver.read(archive_path(report.run)) == before
    check_whole(film)


# Several publishers


PUBLISHER = """
    import sys
    from renku_store import ManifestConflictError, RevisionExistsError
    from tests.authoring import opened, publish
    with opened(sys.argv[1]) as movie:
        for turn in range(int(sys.argv[3])):
            while True:
                try:
                    print(publish(movie, {f"by {sys.argv[2]}": f"turn {turn}"}).revision)
                    break
                except ManifestConflictError as error:
                    assert error.actual and error.actual != error.expected
                except RevisionExistsError:
                    continue  # another published it between our look at the newest and our building of the next
"""


@pytest.mark.processes
def test_two_processes_that_publish_at_once_make_one_chain(root: Root, store: Store) -> None:
    """One wins rev-0001, the other is told and goes on; nothing is lost."""
    store.create_movie("film")
    store.close()
    together = [children.start(PUBLISHER, root, name, 1) for name in "ab"]
    ended = [children.finish(child) for child in together]
    assert [child.code for child in ended] == [0, 0], ended
    assert sorted(child.out for child in ended) == ["rev-0001\n", "rev-0002\n"]
    with opened(root) as movie:
        check_whole(movie)
        assert texts(movie) == {"by a": "turn 0", "by b": "turn 0"}


@pytest.mark.processes
@pytest.mark.long_away
def test_ten_publishers_with_retry_make_one_contiguous_chain(root: Root, store: Store) -> None:
    """Thirty revisions, each with another's work kept."""
    store.create_movie("film")
    store.close()
    together = [children.start(PUBLISHER, root, name, 3) for name in range(10)]
    ended = [children.finish(child) for child in together]
    assert [child.code for child in ended] == [0] * 10, [child.err for child in ended]
    assert sorted("".join(child.out for child in ended).split()) == [f"rev-{n:04d}" for n in range(1, 31)]
    with opened(root) as movie:
        check_whole(movie)
        assert texts(movie) == {f"by {name}": "turn 2" for name in range(10)}
