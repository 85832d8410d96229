"""Runs that are seen from elsewhere, by the file in which they tell what they do."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
import time
from pathlib import Path
from typing import Self

import pytest

from renku_store import Job, JobContext, Movie, NotFoundError, Produced, RunProgress, collect, follow_run, run_movie
from renku_store import following as room
from tests.running.conftest import Studio, movie, store, studio

__all__ = ["movie", "store", "studio"]


def files(movie: Movie) -> list[Path]:
    return list((Path(movie.root) / movie.id / "tmp").glob("progress-*"))


class Going:
    """A run in a thread of its own whose calls wait until they are let go."""

    def __init__(self, movie: Movie) -> None:
        self.events: list[RunProgress] = []
        self.begun = threading.Event()
        self.go = threading.Event()
        self._movie = movie
        self._studio = Studio()
        self._thread = threading.Thread(target=self._run)
        self.status = ""

    def _run(self) -> None:
        report = asyncio.run(run_movie(self._movie, produce=self._produce, on_event=self.events.append))
        self.status = report.status

    async def _produce(self, job: Job, context: JobContext) -> Produced:
        self.begun.set()
        await asyncio.to_thread(self.go.wait)
        return await self._studio(job, context)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self.begun.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        self.go.set()
        self._thread.join(30)

    @property
    def run(self) -> str:
        return self.events[0].run


def test_a_follower_gets_the_very_events_of_the_run(movie: Movie) -> None:
    """Those before it came, too; and it ends with the run, whose file is gone then."""
    with Going(movie) as going:
        following = follow_run(movie, going.run, poll_seconds=0.01)
        first = next(following)
        going.go.set()
        seen = [first, *following]
    assert going.status == "published"
    assert seen == going.events
    assert seen[-1].event == "run-finished"
    assert files(movie) == []


def test_a_run_that_does_not_go_on_cannot_be_followed(movie: Movie, studio: Studio) -> None:
    """Neither one that has ended nor one that never was."""
    report = asyncio.run(run_movie(movie, produce=studio))
    for run in (report.run or "", "01932c5e-4a7b-7c3d-8e9f-0a1b2c3d4e5f"):
        with pytest.raises(NotFoundError):
            next(follow_run(movie, run))


def test_a_collection_leaves_the_file_of_a_run_that_goes_on(movie: Movie) -> None:
    """However long it has told nothing; the file of one that was killed goes."""
    with Going(movie) as going:
        (path,) = files(movie)
        old = time.time() - 10 * 86_400
        os.utime(path, (old, old))
        dead = path.with_name("progress-01932c5e-4a7b-7c3d-8e9f-0a1b2c3d4e5f.jsonl")
        dead.write_text("{}\n")
        os.utime(dead, (old, old))
        collect(movie, grace_seconds=0.0)
        assert files(movie) == [path]
        following = follow_run(movie, going.run, poll_seconds=0.01)
        going.go.set()
        assert [*following] == going.events


def test_a_line_that_is_cut_off_is_left_out(movie: Movie) -> None:
    """As a full disk leaves it; the others are read."""
    with Going(movie) as going:
        (path,) = files(movie)
        with path.open("ab") as file:
            file.write(b'{"event":"job-fini\n')
        following = follow_run(movie, going.run, poll_seconds=0.01)
        going.go.set()
        assert [*following] == going.events


def test_where_nothing_can_be_written_the_run_goes_on(
    movie: Movie, studio: Studio, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With one remark in the log, whether the file cannot be made or the disk is full later."""
    monkeypatch.setattr(room, "progress_path", lambda movie, run: Path("/nonexistent/progress.jsonl"))
    assert asyncio.run(run_movie(movie, produce=studio)).status == "published"
    assert caplog.text.count("cannot be followed") == 1


def test_a_disk_that_fills_up_ends_the_telling_and_not_the_run(
    movie: Movie, studio: Studio, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """/dev/full takes nothing."""
    monkeypatch.setattr(room, "progress_path", lambda movie, run: _Full())
    assert asyncio.run(run_movie(movie, produce=studio)).status == "published"
    assert caplog.text.count("cannot be followed") == 1
    assert os.strerror(errno.ENOSPC) in caplog.text


class _Full:
    """A place on a full disk."""

    def unlink(self, *, missing_ok: bool) -> None:
        assert missing_ok

    def open(self, mode: str, buffering: int) -> object:
        return Path("/dev/full").open("wb", buffering=buffering)
