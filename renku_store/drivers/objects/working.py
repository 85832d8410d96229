"""Threads for requests that go side by side, and shares of the memory that they may take together."""

from __future__ import annotations

import contextlib
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import Generic, TypeVar

from renku_store.drivers.forking import anew_after_fork
from renku_store.errors import StoreUnavailableError

T = TypeVar("T")


class Flow(Generic[T]):
    """Items worked on side by side by at most `count` threads, while more of them come; its owner is one thread.

    `submit` lets a thread do something. The first error keeps what has not begun from beginning. In a process forked
    meanwhile, which has none of the threads, it can only be left: all else raises `StoreUnavailableError`.
    """

    def __init__(
        self, submit: Callable[[Callable[[], None]], Future[None]], count: int, action: Callable[[T], None]
    ) -> None:
        self._process = os.getpid()
        self._submit = submit
        self._count = count
        self._action = action
        self._changed = threading.Condition()
        self._waiting: deque[T] = deque()
        self._done: list[T] = []
        self._running = 0
        self._failed = False
        self._runs: list[Future[None]] = []

    def add(self, items: Iterable[T]) -> None:
        """Let work on more items begin as soon as a thread is free."""
        self._check_process()
        with self._changed:
            if not self._failed:
                self._waiting.extend(items)
            begin = min(len(self._waiting), self._count - self._running)
            self._running += begin
        if len(self._runs) > 2 * self._count:
            self._runs = [run for run in self._runs if not run.done() or run.exception() is not None]
        self._runs += [self._submit(self._run) for _ in range(begin)]

    def done(self, *, wait: bool = False) -> list[T]:
        """What was done since it was last asked, or the first error.

        `wait`: until there is something; nothing is given then only if nothing is under way.
        """
        self._check_process()
        with self._changed:
            if wait:
                self._changed.wait_for(lambda: self._done or not self._running)
            done, self._done = self._done, []
            failed = self._failed
        if failed:
            self.finish()
        return done

    def finish(self) -> None:
        """Wait for everything; raises the first error."""
        self._check_process()
        try:
            wait(self._runs)
        finally:
            self.stop()
        runs, self._runs = self._runs, []
        for run in runs:
            run.result()

    def stop(self) -> None:
        """Let nothing more begin, and what has begun come to its end, so that nobody takes its file away under it."""
        if self._process != os.getpid():
            return
        with self._changed:
            self._waiting.clear()
        wait(self._runs)

    def _check_process(self) -> None:
        if self._process != os.getpid():
            raise StoreUnavailableError(
                "What another process began cannot go on in one that was forked from it.", hint="Begin anew there."
            )

    def _run(self) -> None:
        try:
            while taken := self._take():
                self._action(taken[0])
                with self._changed:
                    self._done += taken
                    self._changed.notify_all()
        except BaseException:
            with self._changed:
                self._failed = True
                self._waiting.clear()
                self._running -= 1
                self._changed.notify_all()
            raise

    def _take(self) -> list[T]:
        """The next item; none where this thread is no longer needed."""
        with self._changed:
            if self._waiting:
                return [self._waiting.popleft()]
            self._running -= 1
            self._changed.notify_all()
            return []


class Workers:
    """A pool of `count` threads, made with the first use; safe to use from many threads, and after a fork."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        anew_after_fork(self)

    def begin_anew(self) -> None:
        """After a fork: the pool is here, and none of its threads."""
        self._lock = threading.Lock()
        self._pool = None

    def map(self, action: Callable[[T], None], items: Iterable[T]) -> None:
        """Do something for every item, side by side; the first error keeps what has not begun from beginning."""
        every = [*items]
        if len(every) <= 1 or self.count <= 1:
            for item in every:
                action(item)
            return
        flow = self.flow(action)
        flow.add(every)
        flow.finish()

    def each(self, action: Callable[[T], None], items: Iterable[T], queues: Callable[[], bool]) -> Iterator[T]:
        """Do something for every item, side by side, and give each once it is done.

        As many as there are threads are under way, or done and not taken; twice as many while `queues` says so: then no
        thread waits until one is taken.
        """
        waiting = iter(items)
        flow = self.flow(action)
        ahead = 0
        try:
            while True:
                more = [*islice(waiting, max(self.count * (2 if queues() else 1) - ahead, 0))]
                flow.add(more)
                done = flow.done(wait=True)
                if not done:
                    return
                ahead += len(more) - len(done)
                yield from done
        finally:
            flow.stop()

    def flow(self, action: Callable[[T], None]) -> Flow[T]:
        """Something to be done for every item that comes, side by side."""
        return Flow(self._start, self.count, action)

    def close(self) -> None:
        """Let the threads go when they have nothing to do; the next use makes new ones."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False)

    def _start(self, run: Callable[[], None]) -> Future[None]:
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self.count, thread_name_prefix="renku-store-objects")
            return self._pool.submit(run)


class Share:
    """A number of bytes that many threads share; who waits for more than there is gets all of it, alone."""

    def __init__(self, total: int) -> None:
        self._total = total
        self.begin_anew()
        anew_after_fork(self)

    def begin_anew(self) -> None:
        """Nobody has anything of it."""
        self._free = self._total
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def take(self, count: int) -> Iterator[None]:
        """Hold `count` bytes, after waiting for them."""
        count = min(count, self._total)
        with self._changed:
            self._changed.wait_for(lambda: self._free >= count)
            self._free -= count
        try:
            yield
        finally:
            self.give_back(count)

    def take_now(self, count: int) -> bool:
        """Take `count` bytes, to be given back, if there are so many."""
        with self._changed:
            if count > self._free:
                return False
            self._free -= count
            return True

    def give_back(self, count: int) -> None:
        """Let others have them."""
        with self._changed:
            # What was taken before a fork is nobody's in this process.
            self._free = min(self._free + count, self._total)
            self._changed.notify_all()
