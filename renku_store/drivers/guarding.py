"""Lets nothing be written to a root before a probe has said that it is safe; reading needs no probe.

Invariant 11: opening a root that cannot be written writes nothing, because only a first write asks. The answer is kept
in the workspace of this machine, for the same library in the same version; one that said no is asked for anew.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO, Final

import orjson

from renku_store import bounds
from renku_store.clock import Clock, SystemClock
from renku_store.drivers.base import Batch, Driver, Guarantees, ObjectStat, identity_of
from renku_store.drivers.caching.cache import ObjectCache
from renku_store.drivers.forking import anew_after_fork
from renku_store.drivers.probe import PROBE_VERSION, ProbeReport, probe

KEPT: Final = "probe.json"
_found_safe: Final[set[tuple[str, str]]] = set()
"""Storages that this process has found safe, and by which library: every root there is as safe."""


class Gate:
    """Whether a root may be written to: asked once in a process, and kept. Safe to use from many threads."""

    def __init__(self, driver: Driver, via: str, clock: Clock | None = None, storage: str | None = None) -> None:
        self.driver = driver
        self.via = via
        self._storage = storage
        self._clock = clock or SystemClock()
        self.begin_anew()
        anew_after_fork(self)
        self._report: ProbeReport | None = None
        self._open = False

    def begin_anew(self) -> None:
        """After a fork: nobody is asking here."""
        self._asking = threading.Lock()

    def pass_through(self) -> None:
        """Return where the root is safe; else raise `UnsafeDriverError`, which names what is missing."""
        if self._open:
            return
        with self._asking:
            known = (self._storage, self.via) in _found_safe or self._kept()
            if self._report is None and not known:
                self._report = self._probed()
            if self._report is not None:
                self._report.raise_unsafe()
            self._open = True

    def ask(self) -> ProbeReport:
        """Probe now, whatever is kept, and keep the answer."""
        with self._asking:
            self._report = self._probed()
            self._open = self._report.safe
            return self._report

    def _probed(self) -> ProbeReport:
        report = probe(self.driver, self._clock, self.via)
        if report.safe and self._storage is not None:
            _found_safe.add((self._storage, self.via))
        # Who cannot keep the answer asks again the next time; what needs the workspace says what is wrong with it.
        with contextlib.suppress(OSError):
            self._keep(report)
        return report

    def _keep(self, report: ProbeReport) -> None:
        if report.workspace is None or report.url == str(report.workspace):  # it would lie among the movies
            return
        document = {
            "version": PROBE_VERSION,
            "url": report.url,
            "via": report.via,
            "probedAt": report.probed_at.isoformat(),
            "missing": report.missing,
            "writeSeconds": report.write_seconds,
            "readSeconds": report.read_seconds,
        }
        os.makedirs(report.workspace, exist_ok=True)
        descriptor, path = tempfile.mkstemp(dir=report.workspace, prefix=f"{KEPT}-")
        with open(descriptor, "wb") as file:
            file.write(orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
        os.replace(path, report.workspace / KEPT)

    def _kept(self) -> bool:
        """Whether a kept answer says that the root is safe, and counts."""
        workspace = self.driver.workspace()
        if workspace is None:
            return False
        try:
            document: Any = orjson.loads((workspace / KEPT).read_bytes())
            age = self._clock.now() - datetime.fromisoformat(document["probedAt"])
            said = (document["version"], document["url"], document["via"], document["missing"])
        except (OSError, ValueError, TypeError, KeyError):
            return False
        if not timedelta(0) <= age < timedelta(seconds=bounds.PROBE_KEEP_SECONDS):
            return False
        return said == (PROBE_VERSION, self.driver.url, self.via, [])


class GuardedDriver:
    """A driver behind a gate: it passes everything on, writes only once the gate is open."""

    def __init__(self, driver: Driver, gate: Gate) -> None:
        self._driver = driver
        self.gate = gate

    @property
    def guarantees(self) -> Guarantees:
        """What the driver declares."""
        return self._driver.guarantees

    @property
    def url(self) -> str:
        """What was opened."""
        return self._driver.url

    @property
    def identity(self) -> str:
        """What was opened, and on which server."""
        return identity_of(self._driver)

    @property
    def read_only(self) -> bool:
        """Whether nothing can be written here."""
        return self._driver.read_only

    def workspace(self) -> Path | None:
        """The folder of this machine for this folder of the storage."""
        return self._driver.workspace()

    def sub(self, prefix: str) -> GuardedDriver:
        """The same storage seen from a folder, behind the same gate."""
        return GuardedDriver(self._driver.sub(prefix), self.gate)

    # Reading, and what leaves objects as they are

    def read(self, name: str, limit: int | None = None) -> bytes:
        """The bytes, at most the first `limit`."""
        return self._driver.read(name, limit)

    def read_many(self, names: Iterable[str], limit: int | None = None) -> dict[str, bytes]:
        """`read` of many names."""
        return self._driver.read_many(names, limit)

    def open(self, name: str) -> BinaryIO:
        """A stream of the bytes."""
        return self._driver.open(name)

    def stat(self, name: str) -> ObjectStat | None:
        """Size and time, or None where there is no such object."""
        return self._driver.stat(name)

    def stat_many(self, names: Iterable[str]) -> dict[str, ObjectStat]:
        """`stat` of many names."""
        return self._driver.stat_many(names)

    def among(self, names: Iterable[str]) -> set[str]:
        """Those of many names that there are."""
        return self._driver.among(names)

    def list(self, prefix: str) -> Iterator[ObjectStat]:
        """Every object below a folder."""
        return self._driver.list(prefix)

    def children(self, prefix: str) -> Iterator[str]:
        """The names directly below a folder."""
        return self._driver.children(prefix)

    def local_path(self, name: str) -> Path | None:
        """The file that an object is; None where it is none."""
        return self._driver.local_path(name)

    def clone_to(self, name: str, target: Path) -> bool:
        """Let an empty file share the object's blocks; False where that cannot be done."""
        return self._driver.clone_to(name, target)

    def cache(self) -> ObjectCache | None:
        """Where this machine keeps copies of blobs."""
        return self._driver.cache()

    def free_bytes(self) -> int | None:
        """How many bytes can still be written; None where nobody knows."""
        return self._driver.free_bytes()

    def lock(self, name: str, *, shared: bool = False, wait_seconds: float) -> AbstractContextManager[None]:
        """Hold a lock among all processes of this machine."""
        return self._driver.lock(name, shared=shared, wait_seconds=wait_seconds)

    def scratch(self) -> Path:
        """A local folder for temporary files."""
        return self._driver.scratch()

    def settle(self, names: Iterable[str]) -> None:
        """Make durable the names of objects that another writer may have created a moment ago."""
        self._driver.settle(names)

    def close(self) -> None:
        """Let go of connections."""
        self._driver.close()

    # Writing

    def batch(self) -> AbstractContextManager[Batch]:
        """Write many new objects."""
        self.gate.pass_through()
        return self._driver.batch()

    def create(self, name: str, data: bytes) -> bool:
        """Create an object if the name is free, atomically."""
        self.gate.pass_through()
        return self._driver.create(name, data)

    def replace(self, name: str, data: bytes) -> None:
        """Create or replace an object, atomically."""
        self.gate.pass_through()
        self._driver.replace(name, data)

    def compare_and_swap(self, name: str, expected: bytes | None, data: bytes) -> bool:
        """Replace if the object's bytes are still `expected`."""
        self.gate.pass_through()
        return self._driver.compare_and_swap(name, expected, data)

    def move(self, name: str, target: str) -> bool:
        """Give an object another, free name."""
        self.gate.pass_through()
        return self._driver.move(name, target)

    def renew(self, name: str) -> None:
        """Let an object's `modified` be now."""
        self.gate.pass_through()
        self._driver.renew(name)

    def delete(self, name: str) -> None:
        """Remove an object."""
        self.gate.pass_through()
        self._driver.delete(name)

    def delete_many(self, names: Iterable[str]) -> None:
        """Remove many objects."""
        self.gate.pass_through()
        self._driver.delete_many(names)


def guarded(driver: Driver, via: str, storage: str | None = None) -> GuardedDriver:
    """A driver that a probe has to find safe before its first write.

    `via` names the library, with its version; `storage` what the root is a part of, such as its bucket on its server:
    a process tries that out once, not each root in it.
    """
    return GuardedDriver(driver, Gate(driver, via, storage=storage))
