"""Retention stopped at each durable step in turn: nothing kept is harmed, and doing it again ends it (invariant 11)."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from renku_store import Manifest, Movie, RetentionPolicy, collect, open_store, prune, restore_expired, tag_revision
from renku_store.durability import listening
from tests.authoring import LONG, artefact_event, opened, publish, texts
from tests.test_retention import LAST, expired, let_time_pass, trashed


class StoppedError(Exception):
    """The process ends here, as far as the test is concerned."""


def prepare(root: Path) -> None:
    """Four revisions, the first two of them ripe in the trash, and an abandoned run whose result is gone."""
    with open_store(root) as store:
        movie = store.create_movie("film")
        run = movie.events.new_id()
        token = movie.leases.start(run, base_revision=None, edits_through=0)
        movie.events.append_artefact(artefact_event(movie, "own", "given up " + LONG, run=run))
        movie.archiver.archive(run, 0)
        with movie.metadata.write() as writer:
            writer.runs.update(run, status="abandoned", ended_at="2020-01-01T00:00:00.000Z")
            writer.runs.release(token)
        for number in range(1, 5):
            publish(movie, {"own": f"{number} " + LONG, "shared": "shared " + LONG})
        prune(movie, RetentionPolicy(keep_last=2))
        let_time_pass(movie)


def gc(movie: Movie) -> None:
    collect(movie, force=True, keep_runs_seconds=3_600)


def collected(movie: Movie) -> None:
    assert expired(movie) == ["rev-0002", "rev-0001"]
    with movie.metadata.read() as reader:
        assert [row.expired for row in reader.revisions.list(limit=9)] == [False, False, True, True]
        assert [record.status for record in reader.runs.list()] == ["published"] * 4
    assert len(movie.archives.runs()) == 4
    assert len(set(movie.blobs.digests())) == 3


def back(movie: Movie) -> None:
    assert (trashed(movie), expired(movie)) == ([], [])


def pruned(movie: Movie) -> None:
    assert trashed(movie) == ["rev-0003", "rev-0002", "rev-0001"]


def tagged(movie: Movie) -> None:
    assert (movie.manifests.resolve("mine"), trashed(movie)) == ("rev-0001", ["rev-0002"])


ACTIONS: dict[str, tuple[Callable[[Movie], object], Callable[[Movie], None]]] = {
    "gc": (gc, collected),
    "prune": (lambda movie: prune(movie, LAST), pruned),
    "undo": (restore_expired, back),
    "tag": (lambda movie: tag_revision(movie, "1", "mine"), tagged),
}


@pytest.mark.parametrize("name", ACTIONS)
def test_stopped_at_any_step_it_is_finished_by_doing_it_again(tmp_path: Path, name: str) -> None:
    """Whatever is not a stub by then is whole, the chain holds, and the newest revision is untouched."""
    prepare(tmp_path / "template")
    act, check = ACTIONS[name]
    number, done = 0, False
    while not done:
        number += 1
        root = tmp_path / str(number)
        shutil.copytree(tmp_path / "template", root)
        left = [number]

        def stop(moment: str, _step: str, left: list[int] = left) -> None:
            if moment == "before":
                left[0] -= 1
                if left[0] == 0:
                    raise StoppedError

        with opened(root) as movie:
            try:
                with listening(stop):
                    act(movie)
                done = True
            except StoppedError:
                pass
        with opened(root) as movie:
            entries = [entry for entry, _ in movie.manifests.history()]
            assert len(entries) == 4
            for entry in entries:
                if isinstance(entry, Manifest):
                    assert texts(movie, entry.revision)["own"] == f"{int(entry.revision[4:])} " + LONG
            act(movie)
            check(movie)
        shutil.rmtree(root)
    assert number > {"gc": 10, "prune": 3, "undo": 2, "tag": 3}[name]
