"""A folder that is still in use: migrated again and again while it grows, it comes to what a fresh migration gives."""

from __future__ import annotations

from pathlib import Path

from renku_store import InputEvent, Movie, Store, migrate, movie_status, open_store
from renku_store.testing.invariants import check_invariants
from tests.migration.checking import Old


def topic_before_its_snapshot(old: Old) -> None:
    """A movie whose topic was changed after its newest revision."""
    old.input("topic", 0, "A", hash="sha:a")
    old.artefact("script", 0, content="about A")
    old.snapshot(0, "script", inputs=("topic",))
    old.input("topic", 1, "B", hash="sha:b", created_at="2025-10-27T10:00:00Z")


def topic_with_its_snapshot(old: Old) -> None:
    """The old system went on: the topic was changed once more, and a revision made of that."""
    old.input("topic", 1, "C", hash="sha:c", created_at="2025-10-27T11:00:00Z")
    old.artefact("script", 1, content="about C")
    old.snapshot(1, "script", inputs=("topic",), created_at="2025-10-27T12:00:00Z")


def pending(movie: Movie) -> list[object]:
    """The values of edits that wait for the next run."""
    return [event.value for event in movie_status(movie).pending if isinstance(event, InputEvent)]


def topics(movie: Movie) -> list[object]:
    """Every value that the topic was given, in the order in which they became known."""
    return [event.value for event in movie.events.stream_inputs() if event.input == "topic"]


def test_a_revision_takes_the_edits_that_came_over_before_it(old: Old, store: Store) -> None:
    """An edit waits while no snapshot has it, and no longer; the next run does not go back to it."""
    topic_before_its_snapshot(old)
    migrate(old.path, store)
    movie = store.movie("film")
    assert pending(movie) == ["B"]
    topic_with_its_snapshot(old)
    for _ in range(2):
        (report,) = migrate(old.path, store).movies
        assert (report.whole, report.revisions) == (True, 2)
        assert pending(movie) == []
    assert movie.value(movie.manifests.load_current()[0].inputs["topic"]) == "C"
    check_invariants(movie)


def test_what_a_revision_took_is_not_pending_after_a_rebuild(old: Old, tmp_path: Path) -> None:
    """The archive that its manifest names tells which edits those are, without the database."""
    with open_store(tmp_path / "root") as store:
        topic_before_its_snapshot(old)
        migrate(old.path, store)
        topic_with_its_snapshot(old)
        migrate(old.path, store)
    for path in (tmp_path / "root" / "film").glob("metadata.db*"):
        path.unlink()
    with open_store(tmp_path / "root") as store:
        assert pending(store.movie("film")) == []
        assert "B" in topics(store.movie("film"))


def test_edits_of_people_stay_pending(old: Old, store: Store) -> None:
    """What somebody gave here between two migrations is taken by no old revision, wherever it stands among others."""
    topic_before_its_snapshot(old)
    migrate(old.path, store)
    movie = store.movie("film")
    movie.events.append_input("topic", "B", edited_by="ada")
    topic_with_its_snapshot(old)
    old.input("topic", 2, "D", hash="sha:d", created_at="2025-10-28T10:00:00Z")
    migrate(old.path, store)
    assert pending(movie) == ["B", "D"]
    assert [event.edited_by for event in movie_status(movie).pending if isinstance(event, InputEvent)] == [
        "ada", "user",
    ]  # fmt: skip
    check_invariants(movie)
