"""Work that many tasks ask for, done for all who wait in one go: a commit is shared by those that came meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Question = TypeVar("Question")
Answer = TypeVar("Answer")


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
        self._waiting: list[tuple[Question, asyncio.Future[Answer]]] = []
        self._task: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def ask(self, question: Question) -> Answer:
        """The answer to one question. Whoever is cancelled leaves the question: it is answered all the same."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:  # the former one was left, and nobody in it can be answered any more
            self._loop, self._task, self._waiting = loop, None, []
        future: asyncio.Future[Answer] = loop.create_future()
        self._waiting.append((question, future))
        if self._task is None:
            self._task = asyncio.create_task(self._drain())
        return await future

    async def flush(self) -> None:
        """Wait until everything that was asked is answered."""
        while self._task is not None and self._loop is asyncio.get_running_loop():
            await asyncio.shield(self._task)

    async def _drain(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._loop is loop and self._waiting:
                group, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
                await self._answer(group)
        except asyncio.CancelledError:  # the loop is being closed: nobody is to be asked for in another
            if self._loop is loop:
                for _, future in self._waiting:
                    future.cancel()
                self._waiting = []
            raise
        finally:
            if self._loop is loop:
                self._task = None

    async def _answer(self, group: Sequence[tuple[Question, asyncio.Future[Answer]]]) -> None:
        answers: Sequence[Answer | Exception]
        try:
            answers = await self._work([question for question, _ in group])
        except Exception as error:  # noqa: BLE001 (each waiter gets it; none is swallowed)
            answers = [error] * len(group)
        for (_, future), answer in zip(group, answers, strict=True):
            if future.cancelled():
                continue
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)
