"""The exception tree, grouped by what a caller does about it.

    StoreError
    ├── BadInputError            what was given cannot be; change it and call again
    │   ├── InvalidIdError           an id that is not allowed
    │   ├── InvalidValueError        a value that has no canonical JSON, or not the declared type
    │   ├── NotFoundError            a movie, revision, artefact, blob or run that is not there
    │   ├── BlueprintError           the blueprint; carries file and line
    │   ├── GraphError               a cycle, a duplicate, an unresolved reference
    │   └── MigrationError           an older layout that cannot be read
    ├── ConflictError            someone else was faster; read again, rebase, or retry
    │   ├── ManifestConflictError    the revision exists with other bytes; carries both hashes
    │   ├── RevisionExistsError      the revision to be created is already published
    │   ├── InputConflictError       two edits of one input; carries both values of each
    │   ├── StalePlanError           the plan's base is no longer the current revision
    │   └── LeaseLostError           the run was taken over; nothing more may be published by it
    ├── DamageError              stored bytes are wrong or gone; repair, or make them anew
    │   ├── BlobCorruptError         the bytes do not have the hash that names them
    │   └── BlobMissingError         a named object is not there
    ├── JobError                 the outside world failed; the run can be resumed
    │   ├── ProducerError            a producer failed; `retryable` says whether trying again may help
    │   ├── RateLimitedError         the provider asks for a pause; `retry_after` in seconds
    │   └── BudgetExceededError      the next call would exceed the budget
    └── UnusableError            the store itself cannot be used from here
        ├── StoreUnavailableError    not reachable, not writable, full, or locked too long
        ├── UnsafeDriverError        the driver lacks a guarantee that an invariant needs
        └── UnsupportedFormatError   written by a newer version, or by something else

`kind` is the class name: stable, and what `--json` prints. Messages are one sentence that names the thing; hints say
what to do.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, Literal

_SHOWN_OF_CYCLE: Final = 12


class StoreError(Exception):
    """Base of every error that this project raises on purpose.

    `message` is one sentence with the id or path in it, `hint` a suggestion (may be empty).
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    @property
    def kind(self) -> str:
        """The stable name of this kind of error, such as `NotFoundError`."""
        return type(self).__name__

    def __reduce__(self) -> tuple[Any, ...]:
        """With all that it says: a process of a pool hands its errors over."""
        return _as_it_was, (type(self), self.args, self.__dict__)


def _as_it_was(kind: type[StoreError], words: tuple[Any, ...], said: dict[str, Any]) -> StoreError:
    error = kind.__new__(kind, *words)
    error.__dict__.update(said)
    return error


class BadInputError(StoreError):
    """What was given cannot be; change it and call again."""


class InvalidIdError(BadInputError):
    """An id that is not allowed."""


class InvalidValueError(BadInputError):
    """A value without canonical JSON (NaN, Infinity, an integer beyond 2^53), or not of the declared type."""


class NotFoundError(BadInputError):
    """Something named by the caller is not there."""


class BlueprintError(BadInputError):
    """The blueprint cannot be read; `file` and `line` (from 1) say where, when known."""

    def __init__(self, message: str, *, hint: str = "", file: str | None = None, line: int | None = None) -> None:
        place = f"{file or 'blueprint'}:{line}: " if line is not None else (f"{file}: " if file else "")
        super().__init__(place + message, hint=hint)
        self.file = file
        self.line = line


class GraphError(BadInputError):
    """The graph has a cycle, a duplicate or an unresolved reference; `reason` says which."""

    def __init__(self, message: str, *, hint: str = "", reason: str = "unresolved") -> None:
        super().__init__(message, hint=hint)
        self.reason = reason

    @classmethod
    def of_cycle(cls, jobs: list[str]) -> GraphError:
        """The error for jobs each of which waits for the one before it; the first is also the last."""
        shown = jobs if len(jobs) <= _SHOWN_OF_CYCLE else [*jobs[: _SHOWN_OF_CYCLE - 2], "...", jobs[-1]]
        return cls(
            f"The jobs wait for each other in a cycle: {' -> '.join(shown)}.",
            hint="One of them must not read what comes after it.",
            reason="cycle",
        )


class MigrationError(BadInputError):
    """An older layout cannot be read."""


class ConflictError(StoreError):
    """Someone else was faster."""


class ManifestConflictError(ConflictError):
    """The revision exists with other bytes: `expected` and `actual` are manifest hashes (None: no revision)."""

    def __init__(self, message: str, *, expected: str | None, actual: str | None, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.expected = expected
        self.actual = actual


class RevisionExistsError(ConflictError):
    """The revision to be created is already published."""


class InputConflictError(ConflictError):
    """Two decisions on one input or artefact: `values` maps each id to (theirs, ours), of artefacts the hashes."""

    def __init__(self, message: str, *, values: Mapping[str, tuple[object, object]], hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.values = dict(values)


class StalePlanError(ConflictError):
    """The plan's base is no longer the current revision."""


class LeaseLostError(ConflictError):
    """The run was taken over by another process; it may publish nothing more."""


class DamageError(StoreError):
    """Stored bytes are wrong or gone."""


class BlobCorruptError(DamageError):
    """The bytes of an object do not have the hash that names them."""


class BlobMissingError(DamageError):
    """A named object is not there."""


class JobError(StoreError):
    """The outside world failed; the run can be resumed."""


class ProducerError(JobError):
    """A producer failed; `retryable` says whether trying again may help, `diagnostics` is the end of its output.

    `cost` is what the call took nevertheless, in US dollars.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        retryable: bool = False,
        diagnostics: str | None = None,
        cost: float = 0.0,
    ) -> None:
        super().__init__(message, hint=hint)
        self.retryable = retryable
        self.diagnostics = diagnostics
        self.cost = cost


class RateLimitedError(JobError):
    """The provider asks for a pause of `retry_after` seconds (None: it did not say).

    What cannot be a time (below 0, infinite, no number) counts as not said.
    """

    def __init__(self, message: str, *, hint: str = "", retry_after: float | None = None) -> None:
        super().__init__(message, hint=hint)
        said = isinstance(retry_after, int | float) and 0 <= retry_after < math.inf
        self.retry_after = retry_after if said else None
        self.retryable = True


class BudgetExceededError(JobError):
    """The next call would exceed the budget of the run."""


class UnusableError(StoreError):
    """The store itself cannot be used from here."""


class StoreUnavailableError(UnusableError):
    """Not reachable, not writable, full, or locked for too long.

    `reason` says which where it may pass by itself: `busy` (somebody else holds a lock) or `full` (the disk); and
    `denied` where the storage does not allow it with these credentials.
    """

    def __init__(
        self, message: str, *, hint: str = "", reason: Literal["busy", "full", "denied", "other"] = "other"
    ) -> None:
        super().__init__(message, hint=hint)
        self.reason: Literal["busy", "full", "denied", "other"] = reason


class UnsafeDriverError(UnusableError):
    """The driver lacks a guarantee that an invariant needs."""


class UnsupportedFormatError(UnusableError):
    """Written by a newer version of this project, or by something else."""
