"""Work that many threads ask for, done by one of them for all that wait: those that came meanwhile share a commit.

What `running.grouping` is for tasks of an event loop.

1. Nobody depends on a thread that was chosen: whoever finds nobody at work answers all who wait. So an exception may
   end any of them at any instruction (Ctrl-C, a signal's handler), and the others go on, a moment later at the worst.
2. A question leaves the list only once it is answered, or nobody waits for its answer.
3. Those who are answered wake one another, one after the other: each would otherwise fight with all others for the
   interpreter. Whoever leaves wakes the next, by whatever way it leaves; so does whoever has answered.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Final, Generic, TypeVar

_LOOK_SECONDS: Final = 0.1
"""How often who waits looks by itself, in case an exception has ended the thread that was about to wake it."""
_GATHER_SECONDS: Final = 0.001
"""How long a group waits for another one who was answered just now, and is likely to ask again at once."""
_GATHER_MOST_SECONDS: Final = 0.004
"""How long it waits in all, while they come: it costs about as long as a group of 64 takes, and doubles its size."""

Question = TypeVar("Question")
Answer = TypeVar("Answer")


class _Asked(Generic[Question, Answer]):
    """A question; `is_over` once it has its answer or its error, or nobody waits for them any more."""

    __slots__ = ("_bell", "answer", "error", "has_left", "is_over", "question")

    def __init__(self, question: Question) -> None:
        self.question = question
        self.is_over = False
        self.has_left = False
        self.answer: Answer
        self.error: Exception | None = None
        self._bell = threading.Lock()
        self._bell.acquire()

    def wait(self, seconds: float) -> None:
        """Until it is woken, or so long; one that was woken before does not wait."""
        self._bell.acquire(timeout=seconds)

    def wake(self) -> None:
        """Let it look; again is no harm."""
        try:  # noqa: SIM105 (half as long)
            self._bell.release()
        except RuntimeError:  # it is awake
            pass


class Combined(Generic[Question, Answer]):
    """Asks `work` for groups of at most `most` questions, in the order in which they came; one group at a time.

    `work` gives an answer for each question, or fails and has done nothing. Where `of_one` says that its error may be
    the matter of one question, each is asked by itself then; else it is everybody's. A question may be asked again
    after `work` was cut off, so that it must be harmless to do again what was done.
    """

    def __init__(
        self, work: Callable[[Sequence[Question]], Sequence[Answer]], most: int, of_one: Callable[[Exception], bool]
    ) -> None:
        self._work = work
        self._most = most
        self._of_one = of_one
        self._waiting: list[_Asked[Question, Answer]] = []
        self._asleep: deque[_Asked[Question, Answer]] = deque()  # those answered who may not know it yet
        self._turn = threading.Lock()
        self._asking = set[int]()  # threads; an exception may leave one here, which then asks by itself
        self._expected = 0  # so many asked lately
        self._all_are_back: SimpleQueue[None] = SimpleQueue()
        self._process = os.getpid()

    def ask(self, question: Question) -> Answer:
        """The answer to one question, found by this thread or by one that came before it.

        Where an exception from without ends the wait, nobody knows whether it was answered.
        """
        thread = threading.get_ident()
        # Forked while somebody was at work, maybe; or called by a signal's handler amid this thread's own question.
        if self._process != os.getpid() or thread in self._asking:
            return self._work([question])[0]
        asked: _Asked[Question, Answer] = _Asked(question)
        try:
            self._asking.add(thread)
            self._waiting.append(asked)
            if len(self._waiting) >= self._expected > 1:
                self._all_are_back.put(None)
            while not asked.is_over:
                if self._turn.locked():
                    asked.wait(_LOOK_SECONDS)
                    continue
                # Nothing but `with` will do: the interpreter lets no signal in between the lock and the block.
                with self._turn:
                    if not asked.is_over:
                        self._answer_first()
                self._wake_next()
                if not asked.is_over:  # it comes in a later group
                    self._wake_answered()
        finally:
            asked.is_over = asked.has_left = True
            self._asking.discard(thread)
            if self._asleep:
                self._wake_answered()
        if asked.error is not None:
            raise asked.error
        return asked.answer

    def _answer_first(self) -> None:
        """Answer the first who wait; by whom has the turn."""
        self._gather()
        group = self._waiting[: self._most]
        self._answer([asked for asked in group if not asked.is_over])
        del self._waiting[: len(group)]
        self._expected = len(group) + len(self._waiting)
        self._asleep.extend(group)

    def _gather(self) -> None:
        """Let those come who asked just now: they are more than one, and a group costs about what one costs.

        Asleep, so that they find the interpreter free; the last of them ends it.
        """
        if self._expected < 2:
            return
        self._all_are_back = SimpleQueue()  # what an earlier one was told is over
        deadline, before = time.monotonic() + _GATHER_MOST_SECONDS, 0
        while before < len(self._waiting) < self._expected and time.monotonic() < deadline:
            before = len(self._waiting)
            with suppress(Empty):
                self._all_are_back.get(timeout=_GATHER_SECONDS)

    def _wake_next(self) -> None:
        """Let the first who waits find out that nobody is at work; by whom has just given up the turn."""
        for asked in self._waiting[:]:
            if not asked.is_over:
                asked.wake()
                return

    def _wake_answered(self) -> None:
        """Let the next who was answered leave, and wake the one after it; by whom leaves."""
        try:
            while (asked := self._asleep.popleft()).has_left:
                pass
        except IndexError:  # all have left
            return
        asked.wake()

    def _answer(self, group: Sequence[_Asked[Question, Answer]]) -> None:
        if not group:
            return
        try:
            answers = self._work([asked.question for asked in group])
        except Exception as error:  # noqa: BLE001 (each who asked gets what is the matter)
            if len(group) > 1 and self._of_one(error):
                for asked in group:
                    self._answer([asked])
                return
            for asked in group:
                asked.error, asked.is_over = error, True
        else:
            for asked, answer in zip(group, answers, strict=True):
                asked.answer, asked.is_over = answer, True
