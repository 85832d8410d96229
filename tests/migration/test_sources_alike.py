"""Two folders that bear one id are two movies, whatever their names and times say: neither is lost for the other."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from renku_store import MovieMigration, Store, migrate
from tests.migration.checking import Old

FILE = "assets/rev0/a.png"


def film(path: Path, revisions: int = 2) -> Old:
    """A movie with a file, and a text that changes."""
    old = Old(path, movie_id="clean")
    old.put(FILE, b"picture")
    old.artefact("image", 0, FILE)
    old.input("topic", 0, "war")
    for rev in range(revisions):
        old.artefact("text", rev, content=f"{rev}")
        old.snapshot(rev, "image", "text", inputs=("topic",))
    return old


def copied(old: Old, name: str) -> Path:
    """A copy of a folder beside it, one byte of whose file is another."""
    target = old.path.with_name(name)
    shutil.copytree(old.path, target)
    (target / FILE).write_bytes(b"pictUre")
    return target


def refused(report: MovieMigration) -> list[tuple[str | None, str]]:
    """The revisions and paths that were refused."""
    return [(item.revision, item.path) for item in report.refused]


@pytest.mark.parametrize("dry_run", [True, False])
def test_two_folders_with_one_id_never_become_one_movie(dry_run: bool, tmp_path: Path, store: Store) -> None:
    """The first comes over; the second is refused by name, with what brings it over."""
    second = copied(film(tmp_path / "twin" / "a"), "b")
    first, other = migrate(tmp_path / "twin", store, every=True, dry_run=dry_run).movies
    assert (first.whole, first.added) == (True, 2)
    assert (other.whole, other.added, other.mapped) == (False, 0, {})
    (item,) = other.refused
    assert item.path == str(second)
    assert "a has the id clean" in item.why
    assert f"renku-store migrate {second} --movie ID" in item.why
    assert migrate(second, store, movie="other", dry_run=dry_run).whole


def test_a_link_to_a_folder_is_no_second_movie(tmp_path: Path, store: Store) -> None:
    """The same folder by another name is the same movie, and there already."""
    film(tmp_path / "twin" / "a")
    (tmp_path / "twin" / "latest").symlink_to("a")
    report = migrate(tmp_path / "twin", store, every=True)
    assert (report.whole, [movie.added for movie in report.movies]) == (True, [2, 0])


def test_what_is_there_already_is_compared_byte_for_byte(tmp_path: Path, store: Store) -> None:
    """A copy with one other byte is told of, in a dry run too, and nothing of it is taken for done."""
    old = film(tmp_path / "twin" / "a")
    other = copied(old, "b")
    assert migrate(old.path, store).whole
    for dry_run in (True, False):
        (report,) = migrate(other, store, dry_run=dry_run).movies
        assert refused(report) == [("rev0", FILE), ("rev1", FILE)]
        assert report.added == 0
    assert migrate(old.path, store).whole


def test_nothing_follows_on_the_revisions_of_another_movie(tmp_path: Path, store: Store) -> None:
    """The copy that has gone on is another movie from its first revision."""
    old = film(tmp_path / "twin" / "a", revisions=1)
    other = copied(film(tmp_path / "more" / "a"), "b")
    assert migrate(old.path, store).whole
    for dry_run in (True, False):
        (report,) = migrate(other, store, dry_run=dry_run).movies
        assert refused(report) == [("rev0", FILE), ("rev1", "rev1")]
        assert (report.added, report.mapped) == (0, {"rev0": "rev-0001"})
    assert len(list(store.movie("clean").manifests.revisions())) == 1


def test_another_value_of_an_input_is_told_of(tmp_path: Path, store: Store) -> None:
    """Inputs are content as well."""
    old = film(tmp_path / "a", revisions=1)
    assert migrate(old.path, store).whole
    lines = old.path / "dag/inputSources.jsonl"
    lines.write_text(lines.read_text().replace("war", "peace"))
    (report,) = migrate(old.path, store).movies
    assert refused(report) == [("rev0", "input topic")]


def test_a_source_that_has_grown_is_the_same_movie(tmp_path: Path, store: Store) -> None:
    """New revisions, another configuration and another meaning of `assets/current/` change nothing of older ones."""
    old = film(tmp_path / "a", revisions=1)
    old.write("configuration.json", {"general": 1})
    old.write("metadata.json", {"movie_id": "clean", "active_assets_prefix": "assets/rev0/"})
    old.artefact("cover", 0, "assets/current/cover.png")
    old.put("assets/rev0/cover.png", b"first")
    old.snapshot(0, "image", "text", "cover", inputs=("topic",))
    assert migrate(old.path, store).whole
    old.put("assets/rev1/cover.png", b"second")
    old.write("metadata.json", {"movie_id": "clean", "active_assets_prefix": "assets/rev1/"})
    old.write("configuration.json", {"general": 2})
    old.artefact("cover", 1, "assets/current/cover.png")
    old.snapshot(1, "image", "text", "cover", inputs=("topic",))
    for added in (1, 0):
        (report,) = migrate(old.path, store).movies
        assert (report.added, report.whole) == (added, True), report.refused
    old.write("configuration.json", {"general": 3})
    (report,) = migrate(old.path, store).movies
    assert refused(report) == [("rev1", "input configuration")]


def test_another_artefact_of_the_same_bytes_is_no_difference(old: Old, store: Store) -> None:
    """Which of several that share a file was meant was once told otherwise: a movie from then goes on all the same."""
    old.put(FILE, b"picture")
    clips = [{"imageUrl": FILE, "at": 1}, {"imageUrl": FILE, "at": True}]
    for name in ("a", "b"):
        old.artefact(name, 0, FILE)
    old.artefact("other", 0, content="picture")
    old.input("plan", 0, clips)

    old.snapshot(0, "a", "b", "other", inputs=("plan",), timeline=clips)
    migrate(old.path, store)
    before = store.movie("film").manifests.load("rev-0001")
    for rev in (0, 1):
        old.snapshot(rev, "b", "a", "other", inputs=("plan",), timeline=clips)
    (report,) = migrate(old.path, store).movies
    assert (report.whole, report.added) == (True, 1)
    after = store.movie("film").manifests.load("rev-0002")
    assert before.artefacts["timeline"].hash != after.artefacts["timeline"].hash
    assert before.inputs["plan"].hash != after.inputs["plan"].hash
    old.snapshot(0, "b", "a", "other", inputs=("plan",), timeline=[*clips, 2])
    (report,) = migrate(old.path, store).movies
    assert refused(report) == [("rev0", "artefact timeline")]
