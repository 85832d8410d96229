"""Migration to every kind of root, object storage among them: the same revisions, killed half-way, and taken up."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from random import Random

import pytest

from renku_store import migrate, open_store
from renku_store.testing.invariants import check_invariants
from renku_store.testing.old_folders import build_manifest_logs, build_revision_folder
from tests import children
from tests.migration.checking import check_migrated, state_of
from tests.roots import Root


def test_movies_of_both_layouts_come_over(any_root: Root, tmp_path: Path) -> None:
    """Each artefact of each old revision has the same bytes; a second migration adds nothing."""
    odd = {"gaps", "torn", "missing", "consolidated", "same bytes"}
    wanted = {
        "film": build_revision_folder(tmp_path / "old/film", Random(1), revisions=3, irregularities=odd),
        "logs": build_manifest_logs(tmp_path / "old/logs", Random(2), revisions=2),
    }
    before = state_of(tmp_path / "old")
    with open_store(any_root) as store:
        done = migrate(tmp_path / "old", store, every=True)
        for report in done.movies:
            assert report.problem is None
            check_migrated(wanted[report.id], report, store.movie(report.id), tmp_path / "out" / report.id)
            check_invariants(store.movie(report.id))
    with open_store(any_root) as store:
        again = migrate(tmp_path / "old", store, every=True)
        assert [report.added for report in again.movies] == [0, 0]
        assert [report.mapped for report in again.movies] == [report.mapped for report in done.movies]
    assert state_of(tmp_path / "old") == before


@pytest.mark.processes
@pytest.mark.long_away
@pytest.mark.parametrize("files", [1, 9, 30])
def test_killed_half_way_it_goes_on(files: int, any_root: Root, tmp_path: Path) -> None:
    """A process that dies when it has read so many files leaves what another one completes."""
    expected = build_revision_folder(tmp_path / "old/film", Random(3), segments=3, images=2, revisions=3, changes=0.8)
    script = """
        import os, signal, sys
        from renku_store import migrate, open_store

        def die(progress):
            if progress.files >= int(sys.argv[3]):
                os.kill(os.getpid(), signal.SIGKILL)

        with open_store(sys.argv[2]) as store:
            migrate(sys.argv[1], store, on_progress=die)
    """
    ended = children.run(script, tmp_path / "old/film", os.fspath(any_root), files)
    assert ended.code == -signal.SIGKILL, ended.err
    with open_store(any_root) as store:
        (report,) = migrate(tmp_path / "old", store).movies
        assert report.problem is None
        check_migrated(expected, report, store.movie("film"), tmp_path / "out")
        check_invariants(store.movie("film"))
