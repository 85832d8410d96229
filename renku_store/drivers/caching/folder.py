"""The folder of a cache: where files lie, who may write one, and what becomes of a disk that fails.

An error of the disk while something is written is told once; after it nothing is written by this process.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from renku_store.drivers import posix
from renku_store.drivers.caching.ledger import PART, Account, Ledger, blocks
from renku_store.drivers.caching.records import file_bytes
from renku_store.late import late_module

if TYPE_CHECKING:
    import logging
else:
    logging = late_module("logging")


class Folder:
    """A folder of cached files with a limit in bytes. Safe to use from many threads and processes."""

    def __init__(self, path: Path, max_bytes: int, now_ns: Callable[[], int] = time.time_ns) -> None:
        self.root = path
        self.max_bytes = max_bytes
        self.ledger = Ledger(path, max_bytes)
        self._now_ns = now_ns
        self._writable = True

    def path(self, name: str) -> str:
        """Where an object lies that is complete."""
        return f"{self.root}/{name[:2]}/{name}"

    def part_path(self, name: str) -> str:
        """Where it lies until then."""
        return f"{self.path(name)}{PART}"

    def takes(self, size: int) -> bool:
        """Whether an object of `size` bytes may be kept: one takes at most half of the limit."""
        return self._writable and 2 * blocks(file_bytes(size)) <= self.max_bytes

    def lock_part(self, name: str) -> int | None:
        """The descriptor of an object's part, locked until it is closed; None where somebody else has it."""
        path = self.part_path(name)
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever had it may have completed or removed it in between.
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                return descriptor
        except (BlockingIOError, FileNotFoundError):
            pass
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        return None

    def appear(self, name: str, account: Account) -> None:
        """Give a complete part, which the caller has locked, its name."""
        self.touch(self.part_path(name))
        path = self.path(name)
        replaced = os.stat(path).st_size if os.path.exists(path) else 0
        os.rename(self.part_path(name), path)
        account.give_back(blocks(replaced))

    def touch(self, path: str) -> None:
        """Note that a file was used now."""
        now = self._now_ns()
        os.utime(path, ns=(now, now))

    @contextlib.contextmanager
    def alone(self) -> Iterator[Account | None]:
        """Have the folder to oneself, to write; None where others do not let go of it, or the disk fails.

        An error of the disk ends the context.
        """
        with contextlib.ExitStack() as stack:
            account: Account | None = None
            try:
                account = stack.enter_context(self.ledger.alone())
            except OSError as error:
                self.give_up(error)
            try:
                yield account
            except OSError as error:
                self.give_up(error)

    def give_up(self, error: OSError) -> None:
        """Write nothing any more, and say why, once."""
        if self._writable:
            self._writable = False
            said = posix.unavailable(error, "write", error.filename or self.root).message
            logging.getLogger("renku_store").warning("nothing more is kept in the read cache: %s", said)
