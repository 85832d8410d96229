"""A process that migrates one movie after the other for the one that has started it (`side_by_side`).

Its standard input is a pipe to that process, both ways. What it cannot say through that, it does not say: then it ends,
and its movie is done once more by who has started it.
"""

from __future__ import annotations

import os
import signal
from multiprocessing.connection import Connection

from renku_store.errors import StoreError
from renku_store.migration.layouts import OldPlace
from renku_store.migration.one_movie import migrated
from renku_store.migration.reports import MigrationProgress
from renku_store.store import open_store


def work(pipe: Connection) -> None:
    """Migrate what is handed out, until the pipe ends."""
    root, telling, dry_run = pipe.recv()

    def tell(progress: MigrationProgress) -> None:
        if not telling and pipe.poll():  # nothing is said meanwhile: that is the end of it
            raise EOFError
        try:
            if telling:
                pipe.send(progress)
        except OSError as error:  # which would be taken for one of the disk
            raise EOFError from error

    def take(name: str) -> None:
        pipe.send(name)
        answer = pipe.recv()
        if isinstance(answer, StoreError):
            raise answer

    with open_store(root) as store:
        while True:
            place = pipe.recv()
            assert isinstance(place, OldPlace)
            pipe.send(migrated(place, store, None, tell, take, dry_run=dry_run))


def main() -> None:
    """Work for the process at the other end of the standard input."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who has started it decides
    with Connection(os.dup(0)) as pipe:
        try:
            work(pipe)
        except (EOFError, OSError):
            return


if __name__ == "__main__":
    main()
