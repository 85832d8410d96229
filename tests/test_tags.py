"""Tags: names for revisions, which then never expire."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renku_store import (
    BadInputError,
    BlobCorruptError,
    InvalidIdError,
    Movie,
    NotFoundError,
    RetentionPolicy,
    StoreUnavailableError,
    collect,
    open_store,
    prune,
    tag_revision,
    untag,
)
from renku_store.tags import check_tag_name
from tests import children
from tests.authoring import LONG, opened, publish, texts
from tests.test_retention import LAST, let_time_pass, trashed


@pytest.fixture
def movie(tmp_path: Path) -> Iterator[Movie]:
    with open_store(tmp_path / "root") as store:
        movie = store.create_movie("film")
        for number in range(1, 4):
            publish(movie, {"own": f"{number} " + LONG})
        yield movie


def test_a_tag_stands_for_its_revision_everywhere(movie: Movie) -> None:
    """Loading, reading, tagging; the file is what the format says."""
    given = tag_revision(movie, "rev-0002", "final-cut")
    assert (given.tag, given.revision, given.restored) == ("final-cut", "rev-0002", False)
    manifest, digest = movie.manifests.load_with_hash("final-cut")
    assert (manifest.revision, digest) == ("rev-0002", given.hash)
    assert movie.artefact("own", "final-cut").hash == manifest.artefacts["own"].hash
    assert tag_revision(movie, "final-cut", "v2.0").revision == "rev-0002"
    document = json.loads(Path(movie.root, "film/tags/final-cut.json").read_bytes())
    assert document.pop("createdAt")
    assert document == {"name": "final-cut", "revision": "rev-0002", "hash": digest}
    assert [tag.name for tag in movie.tags.all()] == ["final-cut", "v2.0"]


def test_a_name_is_one_revisions_unless_it_is_moved(movie: Movie) -> None:
    """Again for the same revision is no error, and changes nothing."""
    tag_revision(movie, "1", "cut")
    before = movie.tags.get("cut")
    tag_revision(movie, "1", "cut")
    assert movie.tags.get("cut") == before
    with pytest.raises(BadInputError, match="rev-0001's") as caught:
        tag_revision(movie, "2", "cut")
    assert "--move" in caught.value.hint
    assert tag_revision(movie, "2", "cut", move=True).revision == "rev-0002"
    assert movie.manifests.resolve("cut") == "rev-0002"


def test_a_tag_can_be_taken_away(movie: Movie) -> None:
    """Then its name means nothing; the nearest is named where there is none."""
    tag_revision(movie, "1", "final-cut")
    with pytest.raises(InvalidIdError) as unknown:
        movie.manifests.resolve("final-cutt")
    assert "final-cut" in unknown.value.hint
    with pytest.raises(NotFoundError) as caught:
        untag(movie, "finalcut")
    assert "final-cut" in caught.value.hint
    untag(movie, "final-cut")
    assert movie.tags.all() == []
    with pytest.raises(InvalidIdError):
        movie.manifests.resolve("final-cut")


BAD = ["", ".", "..", "a/b", "a\\b", "-a", ".a", "a b", "a\n", "ä", "a" * 129, "../x", "latest", "Latest", "3", "003"]


@pytest.mark.parametrize("name", [*BAD, "rev-3", "rev-0003", "REV-3", "rev3", "9" * 40])
def test_a_name_that_is_not_allowed_is_refused(movie: Movie, name: str) -> None:
    """And creates nothing."""
    with pytest.raises(InvalidIdError):
        tag_revision(movie, "latest", name)
    with pytest.raises(NotFoundError):
        untag(movie, name)
    assert not Path(movie.root, "film/tags").exists()


@given(name=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", fullmatch=True))
def test_any_allowed_name_is_a_file_name_and_no_revision(name: str) -> None:
    """What is accepted can be told from revisions by its looks."""
    try:
        accepted = check_tag_name(name)
    except InvalidIdError:
        assert name.lower() == "latest" or name.lower().removeprefix("rev").lstrip("-").isdigit()
    else:
        assert len(f"{accepted}.json".encode()) <= 255
        assert not accepted.isdigit()


def test_a_tagged_revision_never_expires(movie: Movie) -> None:
    """Not by a rule, and not from the trash, however it came there."""
    prune(movie, LAST)
    let_time_pass(movie)
    path = Path(movie.root, "film/tags/by-hand.json")
    path.parent.mkdir()
    digest = movie.manifests.load_with_hash("1")[1]
    path.write_text(
        json.dumps({"name": "by-hand", "revision": "rev-0001", "hash": digest, "createdAt": "2026-01-01T00:00:00.000Z"})
    )
    assert collect(movie, force=True).expired == 1
    assert texts(movie, "by-hand")["own"] == "1 " + LONG
    with pytest.raises(NotFoundError, match="rev-0002 has expired"):
        tag_revision(movie, "2", "late")
    kept = prune(movie, RetentionPolicy(keep_tags=("by-hand",))).kept
    assert [(entry.revision, entry.reasons) for entry in kept] == [("rev-0003", ["newest"])]


def test_tagging_brings_a_revision_back_from_the_trash(movie: Movie) -> None:
    """And says so."""
    prune(movie, LAST)
    assert tag_revision(movie, "1", "mine").restored
    assert trashed(movie) == ["rev-0002"]
    assert [entry.reasons for entry in prune(movie, LAST).kept] == [["newest", "last"], ["tag mine"]]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"name":"x"}', "name", "revision", "hash"])
def test_a_damaged_tag_is_named_and_can_be_replaced(movie: Movie, content: str) -> None:
    """By giving it anew, or by taking it away; the others can be used."""
    tag_revision(movie, "1", "good")
    tag_revision(movie, "2", "bad")
    path = Path(movie.root, "film/tags/bad.json")
    if content.isalpha():
        path.write_text(json.dumps({**json.loads(path.read_text()), content: "no"}))
    else:
        path.write_text(content)
    (path.parent / "notes.txt").write_text("mine")
    for act in (movie.tags.all, lambda: movie.manifests.resolve("bad"), lambda: tag_revision(movie, "2", "bad")):
        with pytest.raises(BlobCorruptError, match=r"tags/bad\.json"):
            act()
    assert movie.manifests.resolve("good") == "rev-0001"
    tag_revision(movie, "3", "bad", move=True)
    assert [tag.revision for tag in movie.tags.all()] == ["rev-0003", "rev-0001"]
    path.write_text(content)
    untag(movie, "bad")
    assert [tag.name for tag in movie.tags.all()] == ["good"]


def test_a_link_that_leads_back_to_itself_is_told_as_damage_is(movie: Movie) -> None:
    """The others are listed."""
    tag_revision(movie, "1", "good")
    loop = Path(movie.root, "film/tags/loop.json")
    loop.symlink_to(loop)
    tags, problem = movie.tags.readable()
    assert [tag.name for tag in tags] == ["good"]
    assert isinstance(problem, StoreUnavailableError)
    assert "loop.json" in problem.message
    loop.unlink()
    loop.symlink_to("x" * 300)
    with pytest.raises(StoreUnavailableError, match=r"loop\.json"):  # what cannot be looked at may be anything
        movie.tags.names()


def test_a_tag_of_a_revision_that_is_not_there_is_an_error(movie: Movie) -> None:
    """As it may be in a folder that was copied in part."""
    tag_revision(movie, "latest", "mine")
    movie.close()
    for path in Path(movie.root, "film").glob("metadata.db*"):
        path.unlink()
    Path(movie.root, "film/manifests/rev-0003.json").unlink()
    Path(movie.root, "film/current.json").unlink()
    with opened(Path(movie.root)) as other, pytest.raises(NotFoundError, match="no revision rev-0003"):
        other.manifests.load("mine")


def test_tagging_and_pruning_at_once_never_loses_a_tagged_revision(movie: Movie) -> None:
    """Two processes prune and empty the trash while others give names: whoever got a name has its revision."""
    script = """
        import sys
        from pathlib import Path
        from renku_store import NotFoundError, RetentionPolicy, StoreUnavailableError, collect, prune, tag_revision
        from tests.authoring import opened
        with opened(Path(sys.argv[1])) as movie:
            if sys.argv[2] == "prune":
                for _ in range(12):
                    prune(movie, RetentionPolicy(keep_last=1))
                    try:
                        collect(movie, grace_seconds=0, trash_seconds=0, force=True)
                    except StoreUnavailableError:
                        pass
            else:
                for number in range(int(sys.argv[2]), 25, 2):
                    try:
                        tag_revision(movie, f"rev-{number:04d}", f"keep-{number}")
                        print(f"rev-{number:04d}", flush=True)
                    except NotFoundError:
                        pass
    """
    for number in range(4, 26):
        publish(movie, {"own": f"{number} " + LONG})
    # They begin with the oldest to expire, and with the youngest to be tagged.
    running = [children.start(script, movie.root, what) for what in ("prune", "prune", 1, 2)]
    ended = [children.finish(child) for child in running]
    assert [one.code for one in ended] == [0] * 4, [one.err for one in ended]
    named = set("".join(one.out for one in ended).split())
    assert {tag.revision for tag in movie.tags.all()} == named
    for revision in named:
        assert texts(movie, revision)["own"] == f"{int(revision[4:])} " + LONG
        assert movie.manifests.expiry(revision) is None
