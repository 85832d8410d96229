"""Expired revisions: what their stubs keep, before anything of retention runs. Invariants 5 and 6."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from renku_store import BlobCorruptError, Manifest, NotFoundError, collect, open_store
from renku_store.encoding import encode_stub
from renku_store.hashing import canonical_document
from renku_store.records.manifest import ManifestStub
from tests.authoring import LONG, lose_database, opened, publish, read_by_another_hand, texts


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A movie of four revisions; the second is a stub, as a collection leaves it."""
    with open_store(tmp_path) as store:
        movie = store.create_movie("film")
        for number in range(1, 5):
            publish(movie, {"a.out": f"{number} {LONG}"}, {"title": f"title {number}"})
        manifest, digest = movie.manifests.load_with_hash("rev-0002")
        movie.driver.replace("manifests/rev-0002.json", encode_stub(manifest, digest))
    return tmp_path


def test_the_chain_goes_through_a_stub(root: Path) -> None:
    """Every revision is in the history with the hash of its manifest; only those that have not expired are read."""
    with opened(root) as movie:
        history = list(movie.manifests.history())
        assert [entry.revision for entry, _ in history] == ["rev-0004", "rev-0003", "rev-0002", "rev-0001"]
        assert [isinstance(entry, Manifest) for entry, _ in history] == [True, True, False, True]
        for (later, _), (_, digest) in pairwise(history):
            assert later.base_hash == digest
        assert [manifest.revision for manifest, _ in movie.manifests.revisions()] == [
            "rev-0004",
            "rev-0003",
            "rev-0001",
        ]


def test_an_expired_revision_is_named_as_expired_and_its_neighbours_are_read(root: Path) -> None:
    """Loading it is an error with one sentence; the others are as they were."""
    with opened(root) as movie:
        with pytest.raises(NotFoundError, match="rev-0002 has expired"):
            movie.manifests.load("rev-0002")
        assert texts(movie, "rev-0001") == {"a.out": f"1 {LONG}"}
        assert texts(movie, "rev-0003") == {"a.out": f"3 {LONG}"}
    assert read_by_another_hand(root) == {"a.out": f"4 {LONG}"}


def test_without_the_database_an_expired_revision_keeps_its_place_in_the_index(root: Path) -> None:
    """Its row says so; its run counts as published, and the edits that it took are not pending again."""
    lose_database(root)
    with opened(root) as movie:
        with movie.metadata.read() as reader:
            rows = {row.number: row for row in reader.revisions.list(limit=10)}
            assert {number: row.expired for number, row in rows.items()} == {1: False, 2: True, 3: False, 4: False}
            record = reader.runs.get(rows[2].run)
        assert record is not None
        assert (record.status, record.revision) == ("published", "rev-0002")
        assert movie.events.pending() == []
        assert publish(movie, {"a.out": "next"}).revision == "rev-0005"


def test_a_collection_lets_go_of_what_only_an_expired_revision_had(root: Path) -> None:
    """Blobs of the revisions that are left stay."""
    with opened(root) as movie:
        report = collect(movie, grace_seconds=0)
        assert report.removed == 1
        assert texts(movie, "rev-0003") == {"a.out": f"3 {LONG}"}


@pytest.mark.parametrize("field", ["hash", "base_hash", "revision"])
def test_a_stub_that_lies_is_damage(root: Path, field: str) -> None:
    """Its hash must be what the next revision calls its base, and its base hash that of the one before."""
    with opened(root) as movie:
        stub = next(entry for entry, _ in movie.manifests.history() if isinstance(entry, ManifestStub))
        wrong = stub.replace(**{field: "rev-0003" if field == "revision" else "0" * 64})
        movie.driver.replace("manifests/rev-0002.json", canonical_document(wrong.to_json()))
        with pytest.raises(BlobCorruptError):
            list(movie.manifests.history())


def test_an_input_that_says_it_has_expired_is_no_stub(root: Path) -> None:
    """Only the document's own field counts, not the text of a value near its beginning."""
    with opened(root) as movie:
        published = publish(movie, {"a.out": "x"}, {"aa": {"expired": True}})
        manifest = movie.manifests.load(published.revision)
        assert manifest.inputs["aa"].value == {"expired": True}
