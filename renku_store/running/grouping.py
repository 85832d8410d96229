"""Work that many tasks ask for, done for all who wait in one go: a commit is shared by those that came meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Question = TypeVar("Question")
Answer = TypeVar("Answer")


class _Asked(Generic[Question, Answer]):
    """One question, and where its answer is waited for; `is_left`: nobody will answer it."""

    __slots__ = ("_answer", "future", "is_left", "question")

    def __init__(self, question: Question) -> None:
        self.question = question
        self.future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.is_left = False
        self._answer: tuple[Answer | Exception] | None = None

    def tell(self, answer: Answer | Exception) -> None:
        self._answer = (answer,)
        if self.future.cancelled():
            return
        if isinstance(answer, Exception):
            self.future.set_exception(answer)
        else:
            self.future.set_result(answer)

    def leave(self) -> None:
        self.is_left = True
        self.future.cancel()

    def wait_again(self) -> None:
        self.future = asyncio.get_running_loop().create_future()
        if self._answer is not None:
            self.tell(*self._answer)


class Grouped(Generic[Question, Answer]):
    """Asks `work` for groups of at most `most` questions, one group at a time, in the order in which they came.

    `work` gives an answer for each question; one that is an exception is raised for who asked. What it raises itself is
    raised for all of the group.
    """

    def __init__(
        self, work: Callable[[Sequence[Question]], Awaitable[Sequence[Answer | Exception]]], most: int
    ) -> None:
        self._work = work
        self._most = most
        self._waiting: list[_Asked[Question, Answer]] = []
        self._task: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def ask(self, question: Question) -> Answer:
        """The answer to one question. Whoever is cancelled leaves the question: it is answered all the same."""
        return await self._asked(question).future

    async def ask_to_the_end(self, question: Question) -> tuple[Answer, bool]:
        """The answer to one question even for who is cancelled meanwhile; says whether he was.

        As `finishing.to_the_end`, without a task, or a second future, for each who asks.
        """
        asked = self._asked(question)
        cancelled = False
        while True:
            try:
                return await asked.future, cancelled
            except asyncio.CancelledError:
                if asked.is_left:
                    raise
                cancelled = True
                if asked.future.cancelled():
                    asked.wait_again()

    async def flush(self) -> None:
        """Wait until everything that was asked is answered."""
        while self._task is not None and self._loop is asyncio.get_running_loop():
            await asyncio.shield(self._task)

    def _asked(self, question: Question) -> _Asked[Question, Answer]:
        loop = asyncio.get_running_loop()
        if self._loop is not loop:  # the former one was left, and nobody in it can be answered any more
            self._loop, self._task, self._waiting = loop, None, []
        asked: _Asked[Question, Answer] = _Asked(question)
        self._waiting.append(asked)
        if self._task is None:
            self._begin()
        return asked

    def _begin(self) -> None:
        self._task = asyncio.create_task(self._drain())
        self._task.add_done_callback(self._begin_again)

    def _begin_again(self, task: asyncio.Task[None]) -> None:
        """After one that never began, as a loop that ends may cancel it before: who waits to the end would for ever."""
        if task is self._task:
            self._begin()

    async def _drain(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._loop is loop and self._waiting:
                group, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
                await self._answer(group)
        except asyncio.CancelledError:  # the loop is being closed: nobody is to be asked for in another
            if self._loop is loop:
                for asked in self._waiting:
                    asked.leave()
                self._waiting = []
            raise
        finally:
            if self._loop is loop:
                self._task = None

    async def _answer(self, group: Sequence[_Asked[Question, Answer]]) -> None:
        answers: Sequence[Answer | Exception]
        try:
            answers = await self._work([asked.question for asked in group])
        except asyncio.CancelledError:
            for asked in group:
                asked.leave()
            raise
        except Exception as error:  # noqa: BLE001 (each waiter gets it; none is swallowed)
            answers = [error] * len(group)
        for asked, answer in zip(group, answers, strict=True):
            asked.tell(answer)
