"""What threads ask for at once is done in one go."""

from __future__ import annotations

import dis
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renku_store import BlobMissingError, Movie, StoreUnavailableError, combining, open_store
from renku_store.combining import Combined
from renku_store.durability import listening
from renku_store.records.events import ArtefactEvent
from renku_store.records.manifest import ArtefactValue

THREADS = 8


@pytest.fixture
def movie(tmp_path: Path) -> Iterator[Movie]:
    with open_store(tmp_path) as store:
        yield store.create_movie("film")


def at_once(work: Sequence[Callable[[], object]]) -> list[object]:
    """Call each in a thread of its own; what it raised stands for an answer."""
    answers: list[object] = [None] * len(work)

    def call(place: int) -> None:
        try:
            answers[place] = work[place]()
        except Exception as error:  # noqa: BLE001 (an answer, too)
            answers[place] = error

    threads = [threading.Thread(target=call, args=(place,)) for place in range(len(work))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(600)
        assert not thread.is_alive()
    return answers


class Busy:
    """A first question that is under way until `go`; whatever is asked meanwhile waits."""

    def __init__(self, most: int = 100) -> None:
        self.groups: list[list[int]] = []
        self.go = threading.Event()
        self.begun = threading.Event()
        self.combined: Combined[int, int] = Combined(self.work, most, lambda error: isinstance(error, ValueError))

    def work(self, questions: Sequence[int]) -> Sequence[int]:
        self.groups.append(list(questions))
        if questions == [0]:
            self.begun.set()
            assert self.go.wait(600)
        if any(question < 0 for question in questions):
            raise ValueError(f"{questions}")
        if 99 in questions:
            raise KeyError("all")
        return [question * 2 for question in questions]

    def ask(self, questions: Sequence[int]) -> list[object]:
        """The answers of questions that all wait while the first is under way."""
        first = threading.Thread(target=self.combined.ask, args=(0,))
        first.start()
        assert self.begun.wait(600)
        answers: list[object] = []
        rest = threading.Thread(
            target=lambda: answers.extend(at_once([lambda q=q: self.combined.ask(q) for q in questions]))
        )
        rest.start()
        waiting = self.combined._waiting
        tick = threading.Event()
        while len(waiting) < 1 + len(questions):  # the first stands there until it is answered
            tick.wait(0.001)
        self.go.set()
        rest.join(600)
        first.join(600)
        return answers


@given(questions=st.lists(st.integers(-3, 9).filter(bool), min_size=1, max_size=THREADS), most=st.integers(1, 5))
def test_each_gets_its_own_answer(questions: list[int], most: int) -> None:
    """What is wrong with one is raised for who asked it; no group is larger than it may be."""
    busy = Busy(most)
    answers = busy.ask(questions)
    for question, answer in zip(questions, answers, strict=True):
        assert answer == question * 2 if question > 0 else isinstance(answer, ValueError)
    assert all(len(group) <= most for group in busy.groups)
    assert busy.combined._waiting == []


def test_what_waits_is_done_in_one_go() -> None:
    """However many threads: one after the first."""
    busy = Busy()
    assert busy.ask(range(1, THREADS + 1)) == [2 * question for question in range(1, THREADS + 1)]
    first, rest = busy.groups
    assert (first, sorted(rest)) == ([0], list(range(1, THREADS + 1)))


def test_what_is_everybodys_matter_is_asked_once() -> None:
    """A store that is busy is not waited for by each of them in turn."""
    busy = Busy()
    answers = busy.ask([1, 99, 2])
    assert [type(answer) for answer in answers] == [KeyError] * 3
    assert len(busy.groups) == 2


def test_those_who_were_answered_together_are_waited_for_and_the_last_of_them_ends_the_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However long a group may wait: when all are back, it goes on with all of them."""
    busy = Busy()
    busy.ask(range(1, THREADS + 1))
    assert busy.combined._expected == THREADS
    monkeypatch.setattr(combining, "_GATHER_SECONDS", 600)
    monkeypatch.setattr(combining, "_GATHER_MOST_SECONDS", 600)
    for number in (2, 3):
        at_once([partial(busy.combined.ask, question) for question in range(1, THREADS + 1)])
        assert sorted(busy.groups[number]) == [*range(1, THREADS + 1)]
    assert len(busy.groups) == 4


def test_who_is_alone_waits_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither at first, nor once the others have stayed away."""
    busy = Busy()
    busy.ask([1, 2])
    assert busy.combined.ask(3) == 6
    monkeypatch.setattr(combining, "_GATHER_SECONDS", 600)
    monkeypatch.setattr(combining, "_GATHER_MOST_SECONDS", 600)
    assert [busy.combined.ask(question) for question in (4, 5)] == [8, 10]
    assert busy.groups[2:] == [[3], [4], [5]]


def test_a_thread_that_is_to_end_leaves_the_others_questions_to_them() -> None:
    """Ctrl-C in the thread that does the work for all: its own question is dropped, theirs are answered."""
    begun, go = threading.Event(), threading.Event()
    groups: list[list[int]] = []

    def work(questions: Sequence[int]) -> Sequence[int]:
        groups.append(list(questions))
        if len(groups) == 1:
            begun.set()
            assert go.wait(600)
            raise KeyboardInterrupt
        return questions

    combined: Combined[int, int] = Combined(work, 10, lambda error: True)
    ended: list[type[BaseException]] = []

    def first() -> None:
        try:
            combined.ask(0)
        except KeyboardInterrupt as error:
            ended.append(type(error))

    leader = threading.Thread(target=first)
    leader.start()
    assert begun.wait(600)
    answers: list[object] = []
    rest = threading.Thread(target=lambda: answers.extend(at_once([lambda q=q: combined.ask(q) for q in (1, 2)])))
    rest.start()
    tick = threading.Event()
    while len(combined._waiting) < 2:
        tick.wait(0.001)
    go.set()
    rest.join(600)
    leader.join(600)
    assert (answers, ended) == ([1, 2], [KeyboardInterrupt])
    assert combined.ask(5) == 5


def test_a_forked_process_waits_for_nobody() -> None:
    """The thread that is at work for all is not in it."""
    combined: Combined[int, int] = Combined(lambda questions: questions, 10, lambda error: True)
    combined._turn.acquire()
    child = os.fork()
    if child == 0:
        os._exit(0 if combined.ask(3) == 3 else 1)
    assert os.waitpid(child, 0)[1] == 0


def event(movie: Movie, name: str, blob: str | None = None) -> ArtefactEvent:
    inline = None if blob else "x"
    value = ArtefactValue(hash=blob or "0" * 64, size=1, mime_type="text/plain", blob=blob, inline=inline)
    return ArtefactEvent(
        id=movie.events.new_id(),
        artefact=name,
        status="succeeded",
        output="out",
        value=value,
        signature="1" * 64,
        result=movie.events.new_id(),
        created_at="2026-01-01T00:00:00.000Z",
    )


def test_appends_of_threads_that_wait_share_a_commit_and_keep_their_order(movie: Movie) -> None:
    """Each event is there once with a number of its own, and the latest values are those of the greatest numbers."""
    commits = 0

    def count(moment: str, name: str) -> None:
        nonlocal commits
        commits += (moment, name) == ("after", "database commit")

    done: list[object] = []
    with listening(count), movie.metadata.write():
        rest = threading.Thread(
            target=lambda: done.extend(
                at_once([lambda n=n: movie.events.append_artefact(event(movie, f"a{n % 3}")) for n in range(THREADS)])
            )
        )
        rest.start()
        tick = threading.Event()
        while len(movie.events._appending._waiting) < THREADS:
            tick.wait(0.001)
    rest.join(600)
    assert commits <= 3, "the one that kept all waiting, the first of them, and the rest"
    numbers = [stored.seq for stored in done if isinstance(stored, ArtefactEvent)]
    assert len(set(numbers)) == THREADS
    for name in ("a0", "a1", "a2"):
        newest = movie.events.latest_artefact(name)
        assert newest is not None
        assert newest.seq == max(found.seq or 0 for found in movie.events.stream_artefacts() if found.artefact == name)


def test_an_event_that_names_a_missing_blob_is_refused_alone(movie: Movie) -> None:
    """The others of its commit are appended."""
    with movie.metadata.write():
        done: list[object] = []
        calls = [
            lambda: movie.events.append_artefact(event(movie, "good")),
            lambda: movie.events.append_artefact(event(movie, "bad", "f" * 64)),
            lambda: movie.events.append_artefact(event(movie, "fine")),
        ]
        rest = threading.Thread(target=lambda: done.extend(at_once(calls)))
        rest.start()
        tick = threading.Event()
        while len(movie.events._appending._waiting) < 2:
            tick.wait(0.001)
    rest.join(600)
    good, bad, fine = done
    assert isinstance(bad, BlobMissingError)
    assert {found.artefact for found in movie.events.stream_artefacts()} == {"good", "fine"}
    assert isinstance(good, ArtefactEvent)
    assert isinstance(fine, ArtefactEvent)


def test_a_store_that_is_busy_is_named_for_each(movie: Movie, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is appended, and nobody waits in turn for what the first has waited for."""

    def busy(_self: object) -> object:
        raise StoreUnavailableError("busy", reason="busy")

    with monkeypatch.context() as patch:
        patch.setattr(type(movie.metadata), "write", busy)
        answers = at_once([lambda: movie.events.append_artefact(event(movie, "a"))] * 3)
    assert [type(answer) for answer in answers] == [StoreUnavailableError] * 3
    assert list(movie.events.stream_artefacts()) == []


class Interrupted(BaseException):
    """What the handler of a signal raises."""


def _interrupt() -> None:
    raise Interrupted


def cut_off_at(moment: int, work: Callable[[], object], file: str, handler: Callable[[], object] = _interrupt) -> bool:
    """Call `work`, in which a signal's handler runs at one of the moments at which the interpreter looks for signals.

    These are after each call, each backward jump, and the beginning of each function, in the frames of `file`. False
    once there are fewer such moments.
    """
    left, interrupts, before = moment, True, dict[FrameType, str]()

    def look(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal left, interrupts
        if frame.f_code.co_filename != file:
            return None
        frame.f_trace_opcodes = True
        if event != "opcode":
            return look
        looks = before.get(frame, "").startswith(("CALL", "JUMP_BACKWARD", "RESUME"))
        code = frame.f_code.co_code
        before[frame] = dis.opname[code[frame.f_lasti]]
        left -= looks
        if looks and left < 0 and interrupts:
            interrupts = False
            handler()
        return look

    ended: list[BaseException] = []

    def traced() -> None:
        sys.settrace(look)
        try:
            work()
        except Interrupted:
            pass
        except BaseException as error:  # noqa: BLE001 (raised below)
            ended.append(error)

    # In a thread of its own: an exception that comes right at the end of a handler can leave the interpreter in the
    # belief that the handler's exception is still being handled, for as long as the thread lives.
    thread = threading.Thread(target=traced)
    thread.start()
    thread.join()
    if ended:
        raise ended[0]
    return not interrupts


def asked_in_time(ask: Callable[[], object]) -> bool:
    """Whether a thread that asks is answered at all."""
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(20)
    return not thread.is_alive()


COMBINING = sys.modules[Combined.__module__].__file__ or ""


@pytest.mark.parametrize("fails", [False, True])
def test_a_signal_at_any_moment_leaves_nobody_waiting(fails: bool) -> None:
    """Wherever an exception from without ends who asks, the next one is answered, and nothing is left in the list."""

    def work(questions: Sequence[int]) -> Sequence[int]:
        if fails and 1 in questions:
            raise ValueError
        return questions

    def ask(combined: Combined[int, int]) -> None:
        with suppress(ValueError):
            combined.ask(1)

    for moment in range(1_000):
        combined: Combined[int, int] = Combined(work, 10, lambda error: True)
        if not cut_off_at(moment, partial(ask, combined), COMBINING):
            assert moment > 8, "there are that many moments"
            return
        assert asked_in_time(partial(combined.ask, 2)), f"who comes after a signal at moment {moment}"
        assert combined._waiting == []
    raise AssertionError("the call does not end")


@pytest.mark.parametrize("expected", [0, 4])
def test_those_whom_an_interrupted_thread_answers_are_answered_all_the_same(expected: int) -> None:
    """The one who has the turn, with others' questions in its group, is ended at any moment; also while it gathers."""
    for moment in range(1_000):
        combined: Combined[int, int] = Combined(lambda questions: questions, 10, lambda error: True)
        combined._expected = expected
        answers: list[object] = []
        others = threading.Thread(
            target=lambda c=combined, a=answers: a.extend(at_once([lambda q=q: c.ask(q) for q in (1, 2)])), daemon=True
        )
        combined._turn.acquire()
        others.start()
        tick = threading.Event()
        while len(combined._waiting) < 2:
            tick.wait(0.001)
        combined._turn.release()
        was_cut_off = cut_off_at(moment, partial(combined.ask, 0), COMBINING)
        others.join(20)
        assert answers == [1, 2], f"a signal at moment {moment}"
        if not was_cut_off:
            return
    raise AssertionError("the call does not end")


def test_a_question_whose_asker_was_interrupted_is_not_asked_later() -> None:
    """Who was told that it ended is not taken at its word hours later, when somebody else asks."""
    groups: list[list[int]] = []

    def work(questions: Sequence[int]) -> Sequence[int]:
        groups.append(list(questions))
        if 0 in questions:
            raise KeyboardInterrupt
        return questions

    combined: Combined[int, int] = Combined(work, 10, lambda error: True)
    with pytest.raises(KeyboardInterrupt):
        combined.ask(0)
    assert combined.ask(1) == 1
    assert groups == [[0], [1]]


def test_the_handler_of_a_signal_may_ask_amid_its_own_thread_s_work() -> None:
    """It waits for nobody: its own thread has the turn."""
    combined: Combined[int, int]

    def work(questions: Sequence[int]) -> Sequence[int]:
        return [combined.ask(questions[0] - 1) + 1] if questions[0] else questions

    combined = Combined(work, 10, lambda error: True)
    assert combined.ask(1) == 1


@pytest.mark.parametrize("expected", [0, 4])
def test_the_handler_of_a_signal_may_ask_at_any_moment_of_its_own_thread_s_question(expected: int) -> None:
    """Also right before the work and right after it, while its thread has the turn; both are answered."""
    for moment in range(1_000):
        combined: Combined[int, int] = Combined(lambda questions: [2 * q for q in questions], 10, lambda error: True)
        combined._expected = expected
        answers: dict[int, int] = {}

        def ask(question: int, c: Combined[int, int] = combined, a: dict[int, int] = answers) -> None:
            a[question] = c.ask(question)

        cut_off: list[bool] = []
        whole = partial(cut_off_at, moment, partial(ask, 1), COMBINING, partial(ask, 2))
        assert asked_in_time(lambda c=cut_off, w=whole: c.append(w())), f"a signal at moment {moment}"
        assert answers == ({1: 2, 2: 4} if cut_off == [True] else {1: 2})
        assert asked_in_time(partial(ask, 3))
        assert combined._waiting == []
        if cut_off == [False]:
            assert moment > 8, "there are that many moments"
            return
    raise AssertionError("the call does not end")


@pytest.mark.parametrize("kind", ["read", "write"])
def test_an_append_within_a_transaction_of_its_thread_is_refused_at_once(movie: Movie, kind: str) -> None:
    """Even where another thread appends, which waits for the end of that transaction."""
    refused: list[str] = []

    def within() -> None:
        with getattr(movie.metadata, kind)():
            other.start()
            tick = threading.Event()
            while not movie.events._appending._waiting:
                tick.wait(0.001)
            try:
                movie.events.append_input("a", 1)
            except RuntimeError as error:
                refused.append(str(error))

    other = threading.Thread(target=lambda: movie.events.append_input("b", 2), daemon=True)
    thread = threading.Thread(target=within, daemon=True)
    thread.start()
    thread.join(20)
    assert [why for why in refused if "within" in why] == refused != []
    other.join(20)
    assert [event.input for event in movie.events.stream_inputs()] == ["b"]


@pytest.mark.parametrize("module", ["renku_store.metadata.sqlite.store", "renku_store.metadata.sqlite.transactions"])
def test_a_signal_amid_an_append_keeps_no_later_one_from_the_store(movie: Movie, module: str) -> None:
    """Neither the turn of writers nor a transaction stays anybody's: the next append of another thread is stored."""
    file = sys.modules[module].__file__ or ""
    for moment in range(1_000):
        was_cut_off = cut_off_at(moment, partial(movie.events.append_input, "a", moment), file)
        assert asked_in_time(partial(movie.events.append_input, "b", moment)), f"a signal at moment {moment}"
        newest = movie.events.latest_input("b")
        assert newest is not None
        assert movie.events.read_value(newest) == moment
        if not was_cut_off:
            assert moment > 2, "there are that many moments"
            return
    raise AssertionError("the append does not end")


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("module", ["renku_store.metadata.sqlite.store", "renku_store.metadata.sqlite.transactions"])
def test_a_signals_handler_that_reads_amid_a_write_leaves_it_whole(movie: Movie, module: str, fails: bool) -> None:
    """Whether the handler gets its answer or an error: the write is stored as one, or rolled back as one."""
    file = sys.modules[module].__file__ or ""
    token = movie.leases.start(movie.events.new_id(), base_revision=None, edits_through=0)

    def read() -> None:
        with suppress(Exception), movie.metadata.read() as reader:
            reader.events.latest_input("a")

    def write(signature: str) -> None:
        with suppress(KeyError), movie.metadata.write() as writer:
            writer.runs.claim(signature, token, "job")
            if fails:
                raise KeyError

    for moment in range(1_000):
        signature = f"{moment:064x}"
        was_interrupted = cut_off_at(moment, partial(write, signature), file, read)
        with movie.metadata.read() as reader:
            assert reader.runs.holds_claim(signature, token) != fails, f"a signal at moment {moment}"
        if not was_interrupted:
            assert moment > 2, "there are that many moments"
            movie.leases.release(token)
            return
    raise AssertionError("the write does not end")


@pytest.mark.parametrize(
    "module",
    [
        "renku_store.events",
        "renku_store.combining",
        "renku_store.metadata.sqlite.store",
        "renku_store.metadata.sqlite.transactions",
        "renku_store.drivers.locks",
    ],
)
def test_a_signals_handler_that_appends_amid_an_append_is_answered_at_once(movie: Movie, module: str) -> None:
    """Stored, or refused because its thread is writing: it never waits for the lock of its own thread."""
    file = sys.modules[module].__file__ or ""
    stored = 0

    def append(moment: int) -> None:
        nonlocal stored
        with suppress(RuntimeError):
            movie.events.append_input("handler", moment)
            stored += 1

    for moment in range(1_000):
        cut_off: list[bool] = []
        outer = partial(movie.events.append_input, "a", moment)
        whole = partial(cut_off_at, moment, outer, file, partial(append, moment))
        assert asked_in_time(lambda c=cut_off, w=whole: c.append(w())), f"a signal at moment {moment}"
        events = list(movie.events.stream_inputs())
        assert [event.value for event in events if event.input == "a"] == [*range(moment + 1)]
        assert len([event for event in events if event.input == "handler"]) == stored
        if cut_off == [False]:
            assert moment > 2, "there are that many moments"
            return
    raise AssertionError("the append does not end")
