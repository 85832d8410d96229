"""Work that many threads ask for, done by one of them for all that wait: those that came meanwhile share a commit.

What `running.grouping` is for tasks of an event loop.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Question = TypeVar("Question")
Answer = TypeVar("Answer")


class _Asked(Generic[Question, Answer]):
    __slots__ = ("answer", "error", "is_done", "question")

    def __init__(self, question: Question) -> None:
        self.question = question
        self.is_done = False
        self.answer: Answer
        self.error: Exception | None = None


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
        self._turn = threading.Lock()
        self._process = os.getpid()

    def ask(self, question: Question) -> Answer:
        """The answer to one question, found by this thread or by one that has the turn before it."""
        if self._process != os.getpid():  # forked while somebody had the turn, maybe
            return self._work([question])[0]
        asked: _Asked[Question, Answer] = _Asked(question)
        self._waiting.append(asked)
        with self._turn:
            while not asked.is_done:
                group = self._waiting[: self._most]
                del self._waiting[: len(group)]
                try:
                    self._answer(group)
                except BaseException:  # this thread is to end, and leaves the others' questions to them
                    self._waiting[:0] = [other for other in group if other is not asked and not other.is_done]
                    if asked not in group:
                        self._waiting.remove(asked)
                    raise
        if asked.error is not None:
            raise asked.error
        return asked.answer

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
