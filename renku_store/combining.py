"""Work that many threads ask for, done by one of them for all that wait: those that came meanwhile share a commit.

What `running.grouping` is for tasks of an event loop.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar

_LOOK_SECONDS: Final = 1.0
"""How often who waits looks whether it has its answer, in case Ctrl-C hit the thread that was about to say so."""
_GATHER_SECONDS: Final = 0.001
"""How long a group waits for those who were answered in the one before, and are likely to ask again at once."""

Question = TypeVar("Question")
Answer = TypeVar("Answer")


class _Asked(Generic[Question, Answer]):
    __slots__ = ("answer", "error", "is_done", "leads", "question", "woken")

    def __init__(self, question: Question) -> None:
        self.question = question
        self.is_done = False
        self.leads = False
        self.answer: Answer
        self.error: Exception | None = None
        self.woken = threading.Lock()
        self.woken.acquire()


class Combined(Generic[Question, Answer]):
    """Asks `work` for groups of at most `most` questions, in the order in which they came; one group at a time.

    `work` gives an answer for each question, or fails and has done nothing. Where `of_one` says that its error may be
    the matter of one question, each is asked by itself then; else it is everybody's.
    """

    def __init__(
        self, work: Callable[[Sequence[Question]], Sequence[Answer]], most: int, of_one: Callable[[Exception], bool]
    ) -> None:
        self._work = work
        self._most = most
        self._of_one = of_one
        self._waiting: list[_Asked[Question, Answer]] = []
        self._lock = threading.Lock()
        self._is_led = False
        self._answered = 0
        self._process = os.getpid()

    def ask(self, question: Question) -> Answer:
        """The answer to one question, found by this thread or by one that came before it."""
        if self._process != os.getpid():  # forked while somebody was at work, maybe
            return self._work([question])[0]
        asked: _Asked[Question, Answer] = _Asked(question)
        with self._lock:
            self._waiting.append(asked)
            asked.leads = not self._is_led
            self._is_led = True
        try:
            while not asked.leads and not asked.is_done:
                asked.woken.acquire(timeout=_LOOK_SECONDS)
            if not asked.is_done:
                self._lead(asked)
        except BaseException:  # this thread is to end, and leaves the others' questions to them
            with self._lock:
                if asked in self._waiting:
                    self._waiting.remove(asked)
            self._pass_on(asked)
            raise
        if asked.error is not None:
            raise asked.error
        return asked.answer

    def _lead(self, leader: _Asked[Question, Answer]) -> None:
        """Answer the first who wait, of whom this thread is one; then let the next do so."""
        self._gather()
        with self._lock:
            group = self._waiting[: self._most]
            del self._waiting[: len(group)]
            self._answered = len(group)
        try:
            self._answer(group)
        except BaseException:
            with self._lock:
                self._waiting[:0] = [asked for asked in group if not asked.is_done]
            raise
        self._pass_on(leader)
        for asked in group:
            if asked is not leader:
                asked.woken.release()

    def _gather(self) -> None:
        """Let those run who were answered just now: they are more than one, and a group costs about what one costs."""
        if self._answered > 1:
            deadline = time.monotonic() + _GATHER_SECONDS
            while len(self._waiting) < self._answered and time.monotonic() < deadline:
                time.sleep(0)

    def _pass_on(self, leader: _Asked[Question, Answer]) -> None:
        with self._lock:
            if not leader.leads:
                return
            leader.leads = False
            self._is_led = bool(self._waiting)
            if self._is_led:
                self._waiting[0].leads = True
                self._waiting[0].woken.release()

    def _answer(self, group: Sequence[_Asked[Question, Answer]]) -> None:
        try:
            answers = self._work([asked.question for asked in group])
        except Exception as error:  # noqa: BLE001 (each who asked gets what is the matter)
            if len(group) > 1 and self._of_one(error):
                for asked in group:
                    self._answer([asked])
                return
            for asked in group:
                asked.error, asked.is_done = error, True
        else:
            for asked, answer in zip(group, answers, strict=True):
                asked.answer, asked.is_done = answer, True
