"""Threads for requests that go side by side, and shares of the memory that they may take together."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from typing import TypeVar

from renku_store.drivers.forking import anew_after_fork

T = TypeVar("T")


class Workers:
    """A pool of `count` threads, made with the first use; safe to use from many threads, and after a fork."""

    def __init__(self, count: int) -> None:
        self._count = count
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
        if len(every) <= 1 or self._count <= 1:
            for item in every:
                action(item)
            return
        pool = self._get()
        futures = [pool.submit(action, item) for item in every]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            _end(futures)
        for future in futures:
            if not future.cancelled():
                future.result()

    def close(self) -> None:
        """Let the threads go when they have nothing to do; the next use makes new ones."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False)

    def _get(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._count, thread_name_prefix="renku-store-objects")
            return self._pool


def _end(futures: Iterable[Future[None]]) -> None:
    """Let what has begun come to its end, so that nobody takes its file away under it."""
    begun = [future for future in futures if not future.cancel()]
    wait(begun)


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
