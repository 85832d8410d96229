"""What an append costs, as counts that no machine's mood changes: syncs of a commit, validations of an event."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from types import FrameType

import pytest

from renku_store import Movie, combining, open_store
from renku_store.combining import Combined
from renku_store.records import _base
from renku_store.records.events import read_outputs
from tests import children
from tests.authoring import artefact_event
from tests.test_combining import at_once

THREADS = 16

APPENDS = """
    import os, sys, threading
    from pathlib import Path
    from tests.authoring import artefact_event, opened
    from tests.test_combining import at_once
    with opened(Path(sys.argv[1])) as movie:
        sizes = [1, 1, 100, 1_000]
        batches = [[artefact_event(movie, f"a{n}.out", str(n), run="r") for n in range(size)] for size in sizes]
        one_each = [artefact_event(movie, f"b{n}.out", str(n), run="r") for n in range(16)]
        for place, batch in enumerate(batches):
            movie.events.append_many(batch)
            os.mkdir(Path(sys.argv[1], f"told-{place}"))
        with movie.metadata.write():
            calls = [lambda event=event: movie.events.append_artefact(event) for event in one_each]
            rest = threading.Thread(target=lambda: at_once(calls))
            rest.start()
            tick = threading.Event()
            while len(movie.events._appending._waiting) < len(one_each):
                tick.wait(0.001)
        rest.join()
        os.mkdir(Path(sys.argv[1], "told-4"))
"""


def test_a_commit_is_one_sync_however_many_events_it_has(tmp_path: Path) -> None:
    """Of the log, and of nothing else; threads that wait share it."""
    with open_store(tmp_path / "root") as store:
        store.create_movie("film")
    ended, calls = children.trace(APPENDS, tmp_path / "root", log=tmp_path / "log")
    assert (ended.err, ended.code) == ("", 0)
    told = [place for place, call in enumerate(calls) if re.match(r"mkdir\(.*/told-\d", call)]
    assert len(told) == 5
    between = [calls[before:after] for before, after in pairwise(told)]  # the first commit begins the log
    syncs = [[call for call in some if re.match(r"(fsync|fdatasync|syncfs)\(", call)] for some in between]
    assert all("metadata.db-wal" in call for some in syncs for call in some)
    assert [len(some) for some in syncs[:3]] == [1, 1, 1], "of 1, of 100 and of 1,000 events"
    assert len(syncs[3]) <= 2, "of who came first, and of all who waited meanwhile"


@pytest.fixture
def movie(tmp_path: Path) -> Iterator[Movie]:
    with open_store(tmp_path) as store:
        yield store.create_movie("film")


def calls_of(work: Callable[[], object]) -> Counter[str]:
    """How often functions are called, by their qualified names."""
    counts = Counter[str]()

    def called(frame: FrameType, event: str, argument: object) -> None:
        if event == "call":
            counts[frame.f_code.co_qualname] += 1
        elif event == "c_call":
            counts[getattr(argument, "__qualname__", "")] += 1

    sys.setprofile(called)
    try:
        work()
    finally:
        sys.setprofile(None)
    return counts


def test_an_event_is_looked_at_once(movie: Movie) -> None:
    """Its id is checked once, nothing of it is parsed, and what is written as JSON are the outputs of its trace."""
    few, many = ([artefact_event(movie, f"a{n}.out", f"{n} of {of}", run="r") for n in range(of)] for of in (10, 110))
    movie.events.append_many([artefact_event(movie, "first.out", "first", run="r")])
    counts = calls_of(lambda: movie.events.append_many(many))
    counts.subtract(calls_of(lambda: movie.events.append_many(few)))
    each = {name: count / 100 for name, count in counts.items() if count >= 100}
    assert each["check_id"] == 1
    assert each["Encoder.encode"] == each["trace_row"] == each["artefact_row"] == 1
    assert each["Record.replace"] == 1, "the event with its number"
    parsing = {"Decoder.decode", "decode", "convert", "loads", "read_as", "made_of", "canonical_json", "blake3"}
    assert not parsing & each.keys()
    assert sum(each.values()) <= 23


def test_outputs_are_read_by_a_reader_that_is_made_once() -> None:
    """Which kind they are is looked into the first time only."""
    assert read_outputs("{}") == {}
    made = _base._decoder.cache_info().misses
    assert [read_outputs("{}") for _ in range(3)] == [{}, {}, {}]
    assert _base._decoder.cache_info().misses == made


@pytest.mark.parametrize("most", [3, 100])
def test_those_who_are_answered_wake_one_another(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has to look by itself, and who has answered wakes no crowd."""
    monkeypatch.setattr(combining, "_LOOK_SECONDS", 600)
    combined: Combined[int, int] = Combined(lambda questions: questions, most, lambda error: True)
    rounds = 30

    def ask(first: int) -> list[int]:
        return [combined.ask(first + number) for number in range(rounds)]

    def woken_by_leaving() -> int:
        counts = calls_of(lambda: combined.ask(0))
        return counts["_Asked.wake"]

    answers = at_once([lambda n=n: ask(n * rounds) for n in range(THREADS)])
    assert answers == [[*range(n * rounds, (n + 1) * rounds)] for n in range(THREADS)]
    assert (combined._waiting, [*combined._asleep]) == ([], [])
    combined._asleep.extend(combining._Asked(number) for number in range(THREADS))
    assert woken_by_leaving() == 1
