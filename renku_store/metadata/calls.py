"""What the metadata store knows of calls in flight: paid calls that a provider works on, by their signature.

Keeps what invariant 10 needs beyond one process: whoever claims a signature next finds the call that the last holder
has begun, and asks for its result instead of paying again.
"""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Mapping
from typing import Protocol

from msgspec import Struct

from renku_store.records._base import Json
from renku_store.records.run import LeaseToken


class CallInFlight(Struct, frozen=True):
    """A call that `job` of `run` has begun: the provider's name for it, and what its handler wants to find again.

    `noted_at` is in Unix milliseconds by the database's clock.
    """

    signature: str
    request_id: str
    data: Json
    run: str
    job: str
    noted_at: int


class CallReads(Protocol):
    """Looking."""

    def get(self, signature: str) -> CallInFlight | None:
        """The call in flight for a signature."""
        ...

    def among(self, signatures: Iterable[str]) -> dict[str, CallInFlight]:
        """The calls in flight for some signatures, as far as there are any."""
        ...

    def list(self) -> builtins.list[CallInFlight]:
        """Every call in flight, oldest first."""
        ...


class CallWrites(CallReads, Protocol):
    """Noting and dropping."""

    def note(self, signature: str, request_id: str, data: Json, token: LeaseToken, job: str) -> bool:
        """Note the call in flight for a signature, in place of any other; False, and nothing noted, without its claim.

        The claim is that of the job. `data` has a canonical JSON form.
        """
        ...

    def forget(self, signature: str, token: LeaseToken, job: str) -> bool:
        """Drop the call in flight for a signature; False, and nothing dropped, without this job's claim of it."""
        ...

    def forget_all(self, jobs: Mapping[str, str], token: LeaseToken) -> None:
        """Drop the calls in flight for those of some signatures whose claims are still their jobs'."""
        ...

    def restore(self, calls: Iterable[CallInFlight]) -> None:
        """Note calls as another database has them, where this one has none for their signature."""
        ...

    def retire(self, before_ms: int) -> int:
        """Drop those whose result has come, and those noted before a moment, where nobody holds the claim; how many."""
        ...


class CallsReading(Protocol):
    """A moment of the store that can be asked so."""

    @property
    def calls(self) -> CallReads:
        """Calls in flight."""
        ...


class CallsWriting(Protocol):
    """A writer that can note calls."""

    @property
    def calls(self) -> CallWrites:
        """Calls in flight."""
        ...
