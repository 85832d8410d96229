"""Tries out whether a driver keeps what it declares, by trial objects that are removed again.

Invariants 5 and 7 rest on creations that one wins and on replacements that are never lost; servers that ignore
conditions say so only when many write at once. The answer is kept on this machine, beside what else belongs to the root
here: in the driver's workspace, never in a movie.
"""

from __future__ import annotations

import secrets
import statistics
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final

from renku_store import bounds
from renku_store.clock import Clock
from renku_store.drivers.base import Driver, Guarantees
from renku_store.errors import BlobMissingError, StoreUnavailableError, UnsafeDriverError

PROBE_VERSION: Final = 1
"""Raised when something more is tried: older answers count no longer."""
TRIALS: Final = ".renku-probe/"
"""Where trial objects are below a root: no movie can have this name."""
_SAFE_HINT: Final = (
    "Use a storage with conditional writes (S3: `If-None-Match`), or a folder; later a shared PostgreSQL database can "
    "arbitrate between writers instead."
)


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """What a driver has shown. `missing` says in words what it lacks to be safe; nothing: it is safe.

    `weaker` says what it lacks and the store can do without. `write_seconds` and `read_seconds` are the medians of a
    small write and read, None where they were not tried: a driver that says itself that it is not safe is believed.
    `via` names the library between, and its version; `workspace` is this machine's folder for the root, `cache` the
    one for blobs of all roots that are far away, which takes `cache_used_bytes` of `cache_max_bytes`. `denied` says why
    nothing may be written there with these credentials, None where it may: then nothing was tried, and reading works.
    """

    url: str
    via: str
    guarantees: Guarantees
    missing: tuple[str, ...]
    weaker: tuple[str, ...]
    write_seconds: float | None
    read_seconds: float | None
    free_bytes: int | None
    workspace: Path | None
    probed_at: datetime
    cache: Path | None = None
    cache_used_bytes: int = 0
    cache_max_bytes: int = 0
    denied: str | None = None

    @property
    def safe(self) -> bool:
        """Whether movies may be written there."""
        return not self.missing and self.denied is None

    def raise_unsafe(self) -> None:
        """Raise `UnsafeDriverError` with what is missing, and what would help."""
        if self.missing:
            raise UnsafeDriverError(
                f"{self.url} is no safe place for movies: {'; '.join(self.missing)}.", hint=_SAFE_HINT
            )


def probe(driver: Driver, clock: Clock, via: str = "", *, by_trial: bool = True) -> ProbeReport:
    """Try a driver out with objects below `.renku-probe/`; they are removed, also those of a probe that was killed.

    Not `by_trial`: what it declares is believed, and nothing is written.
    Raises `StoreUnavailableError` where the storage cannot be reached or written to: that is no answer.
    """
    guarantees = driver.guarantees
    missing = _declared_missing(guarantees)
    seconds: tuple[float | None, float | None] = (None, None)
    if by_trial and not missing:
        folder = f"{TRIALS}{secrets.token_hex(8)}/"
        trial = driver.sub(folder)
        try:
            fault = _fault(trial, guarantees, clock)
            if fault is None:
                seconds = _latency(trial, clock)
            else:
                missing.append(fault)
        finally:
            _remove_trials(driver, folder)
    cache = driver.cache()
    return ProbeReport(
        url=driver.url,
        via=via,
        guarantees=guarantees,
        missing=tuple(missing),
        weaker=tuple(_declared_weaker(guarantees)),
        write_seconds=seconds[0],
        read_seconds=seconds[1],
        free_bytes=driver.free_bytes(),
        workspace=driver.workspace(),
        probed_at=clock.now(),
        cache=None if cache is None else cache.folder,
        cache_used_bytes=0 if cache is None else cache.used_bytes(),
        cache_max_bytes=0 if cache is None else cache.max_bytes,
    )


def _declared_missing(guarantees: Guarantees) -> list[str]:
    missing = []
    if not guarantees.atomic_create:
        missing.append("it cannot create an object only if there is none of that name (exclusive creation)")
    if not guarantees.strong_listing:
        missing.append("its listings may leave out what was just written")
    return missing


def _declared_weaker(guarantees: Guarantees) -> Iterator[str]:
    if not guarantees.compare_and_swap:
        yield (
            "it cannot replace an object only if it is unchanged: current.json may name an older revision for a moment "
            "when two machines publish"
        )
    if not guarantees.shared_index:
        yield "each machine has an index of its own"


def _fault(trial: Driver, guarantees: Guarantees, clock: Clock) -> str | None:
    """The first thing that a driver does not keep, by trial: each once, then again while there is time."""
    until = clock.monotonic() + bounds.PROBE_RACES_SECONDS
    with ThreadPoolExecutor(bounds.PROBE_CREATORS, thread_name_prefix="renku-store-probe") as pool:
        trials = [partial(_creation, trial, pool), partial(_sight, trial)]
        if guarantees.compare_and_swap:
            trials.insert(1, partial(_replacement, trial, pool))
        for round_ in range(bounds.PROBE_ROUNDS):
            fault = next(filter(None, (try_it(round_) for try_it in trials)), None)
            if fault is not None or clock.monotonic() > until:
                return fault
    return None


def _race(pool: ThreadPoolExecutor, write: Callable[[bytes], bool]) -> list[bytes]:
    """Let threads that start together write, each bytes of its own; what those wrote that were told they had won.

    Raises `StoreUnavailableError` where nobody knows who has won, because some got no answer.
    """
    barrier = threading.Barrier(bounds.PROBE_CREATORS)
    unknown: list[StoreUnavailableError] = []

    def run(data: bytes) -> bool:
        barrier.wait()
        try:
            return write(data)
        except StoreUnavailableError as error:
            unknown.append(error)
            return False

    written = [b"%032d" % number for number in range(bounds.PROBE_CREATORS)]
    winners = [data for data, won in zip(written, pool.map(run, written), strict=True) if won]
    if unknown and len(winners) <= 1:
        raise unknown[0]
    return winners


def _creation(trial: Driver, pool: ThreadPoolExecutor, round_: int) -> str | None:
    name = f"created-{round_}"
    winners = _race(pool, partial(trial.create, name))
    if len(winners) != 1:
        return (
            f"{len(winners)} of {bounds.PROBE_CREATORS} that created one name at the same time were told that they had "
            "(its conditions are ignored)"
        )
    if trial.create(name, b"late") or trial.read(name) != winners[0]:
        return "an object that was created if there was none was written over by another creator"
    return None


def _replacement(trial: Driver, pool: ThreadPoolExecutor, round_: int) -> str | None:
    name = f"replaced-{round_}"
    trial.create(name, b"first")
    winners = _race(pool, partial(trial.compare_and_swap, name, b"first"))
    if len(winners) != 1:
        return (
            f"{len(winners)} of {bounds.PROBE_CREATORS} that replaced one object if unchanged were told that they had"
        )
    if trial.compare_and_swap(name, b"first", b"late") or trial.read(name) != winners[0]:
        return "an object was replaced though it had changed"
    return None


def _sight(trial: Driver, round_: int) -> str | None:
    """Whether what was written, replaced and deleted is seen so at once."""
    folder, name = f"seen-{round_}/", f"seen-{round_}/x"
    trial.create(name, b"one")
    if _read(trial, name) != b"one" or trial.stat(name) is None:
        return "what was just written cannot be read"
    if [found.name for found in trial.list(folder)] != [name]:
        return "what was just written is not listed"
    trial.replace(name, b"two")
    if _read(trial, name) != b"two":
        return "what was just replaced is read as it was"
    trial.delete(name)
    if _read(trial, name) is not None or trial.stat(name) is not None or [*trial.list(folder)]:
        return "what was just deleted is still there"
    return None


def _read(trial: Driver, name: str) -> bytes | None:
    try:
        return trial.read(name)
    except BlobMissingError:
        return None


def _latency(trial: Driver, clock: Clock) -> tuple[float, float]:
    """The medians of small writes and reads, in seconds."""
    writes, reads = [], []
    for number in range(bounds.PROBE_SAMPLES):
        began = clock.monotonic()
        trial.replace(f"sample-{number}", secrets.token_bytes(bounds.PROBE_SAMPLE_BYTES))
        written = clock.monotonic()
        trial.read(f"sample-{number}")
        writes.append(written - began)
        reads.append(clock.monotonic() - written)
    return statistics.median(writes), statistics.median(reads)


def _remove_trials(driver: Driver, folder: str) -> None:
    """Remove the objects of this probe, and those that killed ones have left; what is old, the storage's clock says."""
    found = [*driver.list(TRIALS)]
    newest = max((stat.modified for stat in found if stat.name.startswith(folder)), default=0.0)
    old = newest - bounds.PROBE_LEFTOVER_SECONDS
    driver.delete_many([stat.name for stat in found if stat.name.startswith(folder) or stat.modified < old])
