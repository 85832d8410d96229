"""One transaction on a connection: committed or rolled back, its errors those of the house."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final

import apsw

from renku_store.metadata.sqlite.connection import Patience
from renku_store.metadata.sqlite.faults import damaged, named_error

READ: Final = "BEGIN"
WRITE: Final = "BEGIN IMMEDIATE"


@contextmanager
def begun(
    connection: apsw.Connection,
    path: Path,
    patience: Patience,
    statement: str,
    committing: AbstractContextManager[object] | None = None,
) -> Iterator[None]:
    """Begin with `statement`; commit, within `committing`, when the context ends without an error, else roll back.

    Each rolls back only its own: what a signal's handler begins right after another has begun is refused, and leaves
    that one as it is. Raises `StoreUnavailableError`, `DamageError`.
    """
    patience.start()
    is_anothers = connection.in_transaction
    try:
        connection.execute(statement)  # within, so that nothing stays begun where a signal's handler raises after it
        yield
        if committing is None:
            connection.execute("COMMIT")
        else:
            with committing:
                connection.execute("COMMIT")
    except apsw.Error as error:
        named = named_error(error, path, patience.seconds)
        if named is None:
            raise
        raise named from error
    except UnicodeDecodeError as error:
        raise damaged(path, "holds text that is none") from error
    finally:
        # SQLite has already rolled back by itself after some errors, such as a full disk.
        if connection.in_transaction and not is_anothers:
            connection.execute("ROLLBACK")
