"""A clock that is set back changes the order of nothing: not of takes, of choices and results, nor of the log."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest

from renku_store import (
    Choices,
    Job,
    JobContext,
    Movie,
    Produced,
    RunReport,
    SystemClock,
    choose_take,
    compact,
    list_takes,
    open_store,
    run_movie,
    set_inputs,
)
from renku_store.clock import unix_milliseconds
from tests.authoring import lose_database
from tests.running.conftest import BLUEPRINT, SEGMENTS, Studio

ART = "draw[1].image"
RETITLED = [SEGMENTS[0], {"text": "two", "title": "Another"}, SEGMENTS[2]]


class ShiftedClock(SystemClock):
    """A clock that goes wrong by some hours."""

    def __init__(self, hours: float) -> None:
        self.hours = hours

    def now(self) -> datetime:
        """The time of day, as it would be so many hours from now."""
        return datetime.now(UTC) + timedelta(hours=self.hours)


class Painter:
    """A provider that never paints the same picture twice."""

    def __init__(self) -> None:
        self.studio = Studio()
        self._number = count(1)

    async def __call__(self, job: Job, context: JobContext) -> Produced:
        await self.studio(job, context)
        picture = f"picture {next(self._number)}"
        json = {key for key in job.outputs if job.outputs[key].mime_type == "application/json"}
        made = {key: f'"{picture}"' if key in json else picture for key in job.outputs}
        return Produced(made, cost=0.25)


At = Callable[[float], AbstractContextManager[Movie]]


@pytest.fixture
def painter() -> Painter:
    return Painter()


@pytest.fixture
def at(tmp_path: Path) -> At:
    """The movie as a process has it whose clock is wrong by some hours."""

    @contextmanager
    def opened(hours: float) -> Iterator[Movie]:
        with open_store(tmp_path / "builds", clock=ShiftedClock(hours)) as store:
            if not store.ids():
                set_inputs(store.create_movie("small"), {"@blueprint": BLUEPRINT, "segments": SEGMENTS})
            yield store.movie("small")

    return opened


def run(movie: Movie, painter: Painter, *regen: str) -> RunReport:
    return asyncio.run(run_movie(movie, produce=painter, choices=Choices(regen=list(regen)) if regen else None))


def there_and_back(movie: Movie, painter: Painter) -> None:
    """Change what the picture is made from, and change it back: what a look-up gives stands then."""
    for segments in (RETITLED, SEGMENTS):
        set_inputs(movie, {"segments": segments})
        run(movie, painter)


def test_takes_are_numbered_as_they_were_made(at: At, painter: Painter) -> None:
    """The newest has the greatest number, and it stands; also in an index that is made anew."""
    for hours in (0, -1, -2):
        with at(hours) as movie:
            run(movie, painter, "draw[1]")
    with at(-3) as movie:
        takes = [(take.take, take.revision, take.current) for take in list_takes(movie, ART)]
        assert takes == [(3, "rev-0003", True), (2, "rev-0002", False), (1, "rev-0001", False)]
        moments = [take.created_at for take in list_takes(movie, ART)]
        assert moments == sorted(moments, reverse=True)
        root = movie.root
    lose_database(root, "small")
    with at(-4) as movie:
        assert [(take.take, take.revision, take.current) for take in list_takes(movie, ART)] == takes


def test_a_choice_counts_before_what_was_made_earlier(at: At, painter: Painter) -> None:
    """Though the clock says that it was made later."""
    with at(0) as movie:
        run(movie, painter)
        run(movie, painter, "draw[1]")
    with at(-1) as movie:
        first = choose_take(movie, ART, 1).hash
        run(movie, painter)
        there_and_back(movie, painter)
        assert movie.artefact(ART).hash == first


def test_a_new_take_counts_before_what_was_chosen_or_made_earlier(at: At, painter: Painter) -> None:
    """It was asked for, and paid."""
    with at(0) as movie:
        run(movie, painter)
        run(movie, painter, "draw[1]")
        choose_take(movie, ART, 1)
        run(movie, painter)
    with at(-1) as movie:
        run(movie, painter, "draw[1]")
        newest = movie.artefact(ART).hash
        there_and_back(movie, painter)
        assert movie.artefact(ART).hash == newest
        root = movie.root
    lose_database(root, "small")
    with at(0) as movie:
        there_and_back(movie, painter)
        assert movie.artefact(ART).hash == newest


def test_compaction_keeps_the_log_in_order(at: At, painter: Painter) -> None:
    """What came after a revision still does, and all comes in the order in which it became durable."""
    with at(0) as movie:
        run(movie, painter)
    with at(-1) as movie:
        set_inputs(movie, {"voice": "de"})
        painter.studio.broken = {"film"}
        run(movie, painter)
        painter.studio.broken = set()
        run(movie, painter)
        everything = [event.id for event in movie.events.stream()]
        since = [event.id for event in movie.events.stream_artefacts("rev-0001")]
        assert compact(movie).rows > 0
        assert [event.id for event in movie.events.stream()] == everything
        assert [event.id for event in movie.events.stream_artefacts("rev-0001")] == since


def test_what_another_process_appends_meanwhile_is_not_gone_behind(at: At) -> None:
    """Who works on, with a clock that is behind by now, is told with the next append."""
    with at(-1) as movie, at(0) as other:
        set_inputs(movie, {"voice": "de"})
        ahead = set_inputs(other, {"voice": "fr"})[0]
        set_inputs(movie, {"voice": "it"})
        after = set_inputs(movie, {"voice": "es"})[0]
        assert (after.id, after.created_at) > (ahead.id, ahead.created_at)
        assert after.created_at > ahead.created_at


def test_a_clock_that_was_far_ahead_once_is_no_harm(at: At, painter: Painter) -> None:
    """Ids and times are counted on from there by milliseconds, and revisions say what the clock says."""
    with at(24 * 365 * 80) as movie:
        run(movie, painter)
    with at(0) as movie:
        run(movie, painter, "draw[1]")
        takes = list_takes(movie, ART)
        assert [(take.take, take.current) for take in takes] == [(2, True), (1, False)]
        passed = datetime.fromisoformat(takes[0].created_at) - datetime.fromisoformat(takes[1].created_at)
        assert timedelta(0) < passed < timedelta(seconds=60)
        published = datetime.fromisoformat(movie.manifests.load("latest").created_at)
        assert unix_milliseconds(published) <= unix_milliseconds(datetime.now(UTC))
