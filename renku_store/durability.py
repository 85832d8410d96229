"""Names for the steps after which something is, or may be, on the disk for good.

Serves invariant 11: a test can kill the process before and after each of them, make each of them fail, and see with
strace that no durable system call lies outside. Without a listener a step costs a fraction of a microsecond.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Final, Literal

Moment = Literal["before", "after"]
Listener = Callable[[Moment, str], None]
"""Called in the thread of the step, with the name; an error that it raises `before` leaves the step undone."""

STEPS: Final = {
    "file sync": "the bytes of one new object, still without a name, are synced",
    "filesystem sync": "everything written to the file system so far is synced at once",
    "folder make": "one missing folder is made",
    "folder sync": "the names in one folder are synced",
    "object link": "a complete file gets its name, if that is free, by a hard link (created objects)",
    "object rename": "a complete file gets its name, if that is free, by a rename (batches)",
    "folder rename": "a folder of complete files gets its name, and they theirs, if that is free (batches)",
    "object replace": "a complete file takes a name over from the file that had it",
    "object move": "an object gets another name (quarantine)",
    "object delete": "an object loses its name",
    "temporary remove": "the temporary name of a file goes",
    "database open": "the files of the database are opened, and made where they are missing",
    "database journal": "the database is switched to its write-ahead log",
    "database schema": "the missing parts of the schema are committed",
    "database commit": "one transaction is committed; a full write-ahead log is copied back after it",
    "database close": "the last one to close copies the write-ahead log back and removes it",
}
"""Every name, with what happens between `before` and `after`. Names are stable; new ones may come."""

_listener: Listener | None = None


class _Unheard:
    __slots__ = ()

    def __enter__(self) -> None:
        return

    def __exit__(self, *_: object) -> None:
        return


class _Heard:
    __slots__ = ("_listener", "_name")

    def __init__(self, name: str, listener: Listener) -> None:
        self._name = name
        self._listener = listener

    def __enter__(self) -> None:
        self._listener("before", self._name)

    def __exit__(self, *_: object) -> None:
        self._listener("after", self._name)


_UNHEARD: Final = _Unheard()


def step(name: str) -> AbstractContextManager[None]:
    """The context of one durable system call, or of a group that cannot be told apart; `name` is one of `STEPS`."""
    return _UNHEARD if _listener is None else _Heard(name, _listener)


def is_heard() -> bool:
    """Whether there is a listener now."""
    return _listener is not None


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Within the context, `listener` hears of every step of this process, in all threads; for tests.

    `after` comes after a step that failed, too. One listener at a time: an inner one replaces the outer one.
    """
    # One for the whole process, so that a step is a single look-up away.
    global _listener  # noqa: PLW0603
    outer, _listener = _listener, listener
    try:
        yield
    finally:
        _listener = outer
