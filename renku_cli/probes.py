"""What a folder's file system can do, tried out in a temporary folder that is removed again."""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Literal

from renku_cli.text import size
from renku_store import ProbeReport, StoreError, open_store

if sys.platform == "linux":
    import fcntl

    def _cloned(source: int, target: int) -> bool:
        """Whether the file system lets two files share their content; both are open descriptors."""
        try:
            fcntl.ioctl(target, 0x40049409, source)  # FICLONE
        except OSError:
            return False
        return True

else:

    def _cloned(source: int, target: int) -> bool:  # noqa: ARG001 - the same call as on Linux
        """Whether two files share their content now: not tried here."""
        return False


Status = Literal["ok", "warning", "failed"]

CREATORS: Final = 8
"""Threads that race for one name."""
ROUNDS: Final = 10
"""Names that they race for: a file system without atomic creation shows itself within a few."""
SYNCS: Final = 5
LOW_BYTES: Final = 1_000_000_000
"""Less free space than this is soon used up by video."""
SLOW_REPLY_SECONDS: Final = 0.5
"""A storage that takes longer to answer is far away, or overloaded: a publication asks it some ten times."""
SLOW_SECONDS: Final = 0.1
"""An fsync slower than this makes every publication slow."""


@dataclass(frozen=True, slots=True)
class Check:
    """Something that was looked at: `failed` means that a store here would be unsafe or cannot be used."""

    name: str
    status: Status
    detail: str


def check_root(root: str) -> Iterator[Check]:
    """Everything about a folder as build root; where it is not there yet, about that in which it would be made."""
    folder = _nearest_folder(Path(root).absolute())
    if folder is None:
        yield Check("root", "failed", f"{root} is a file, or lies below one.")
        return
    made = folder == Path(root).absolute()
    yield Check("root", "ok", f"{root}" if made else f"{root} does not exist yet; looked at {folder}.")
    yield _free_space(folder)
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".renku-doctor-") as name:
            yield Check("writable", "ok", "Files can be made here.")
            yield from (probe(Path(name)) for probe in (_hard_links, _atomic_create, _reflink, _sync))
    except OSError as error:
        yield Check("writable", "warning", f"Nothing can be written: {error.strerror}. What is published can be read.")


def check_report(report: ProbeReport) -> Iterator[Check]:
    """What the probe of a root without a folder has found."""
    yield Check("root", "ok", report.url + (f", through {report.via}" if report.via else ""))
    guarantees = report.guarantees
    if report.denied is not None:
        yield Check("writable", "warning", f"Read-only here: {report.denied} What is published can be read.")
    elif report.missing:
        yield Check("safe", "failed", f"No movie can be written there: {'; '.join(report.missing)}.")
    else:
        tried = "tried out just now" if report.write_seconds is not None else "by the nature of its driver"
        yield Check("safe", "ok", f"Movies can be written there, {tried}.")
    untried = report.denied is not None
    created = _kept(guarantees.atomic_create, "Of many creators of one name one wins.", untried=untried)
    yield Check("atomic create", *created)
    swap = _kept(
        guarantees.compare_and_swap, "What has changed meanwhile is not replaced.", needed=False, untried=untried
    )
    yield Check("compare and swap", *swap)
    listed = _kept(guarantees.strong_listing, "A listing holds whatever was created before it.", untried=untried)
    yield Check("listing", *listed)
    for weakness in report.weaker:
        yield Check("guarantees", "ok", f"{weakness[0].upper()}{weakness[1:]}.")
    if report.write_seconds is not None and report.read_seconds is not None:
        slow = max(report.write_seconds, report.read_seconds) > SLOW_REPLY_SECONDS
        told = f"{report.write_seconds * 1000:.1f} ms to write 4 KiB, {report.read_seconds * 1000:.1f} ms to read them."
        yield Check("latency", "warning" if slow else "ok", told)
    if report.free_bytes is None:
        yield Check("free space", "ok", "Nobody knows how much there is.")
    else:
        yield _enough(report.free_bytes)
    if report.workspace is not None and (folder := _nearest_folder(report.workspace)) is not None:
        yield Check("workspace", _free_space(folder).status, f"{report.workspace}, {_free_space(folder).detail}")
    if report.cache is not None:
        used, limit = size(report.cache_used_bytes), size(report.cache_max_bytes)
        yield Check("read cache", "ok", f"{report.cache}, {used} of at most {limit}.")


def _kept(guaranteed: bool, meaning: str, *, needed: bool = True, untried: bool = False) -> tuple[Status, str]:
    """What is guaranteed; `untried`: nothing may be written there, by which it would show."""
    if guaranteed and untried:
        return "warning", "Not tried, as nothing may be written there."
    if guaranteed:
        return "ok", meaning
    return ("failed" if needed else "warning"), "Not guaranteed."


def _nearest_folder(path: Path) -> Path | None:
    """The path if it is a folder, or the nearest folder above what does not exist; None where a file is in the way."""
    for candidate in (path, *path.parents):
        if candidate.is_dir():
            return candidate
        if os.path.lexists(candidate):
            return None
    return None


def _free_space(folder: Path) -> Check:
    found = os.statvfs(folder)
    return _enough(found.f_bavail * found.f_frsize)


def _enough(free: int) -> Check:
    return Check("free space", "ok" if free >= LOW_BYTES else "warning", f"{size(free)} free.")


def _hard_links(folder: Path) -> Check:
    source = folder / "source"
    source.write_bytes(b"x")
    try:
        (folder / "linked").hardlink_to(source)
    except OSError as error:
        return Check("hard links", "warning", f"None here ({error.strerror}): names are taken in another way.")
    return Check("hard links", "ok", "Names can be taken by linking complete files.")


def _atomic_create(folder: Path) -> Check:
    """Let the store's own driver race for names; of all creators of one exactly one may win."""
    try:
        with open_store(folder / "store") as store, ThreadPoolExecutor(CREATORS) as pool:
            for number in range(ROUNDS):
                create = partial(store.driver.create, f"name-{number}")
                winners = sum(pool.map(create, (b"%d" % creator for creator in range(CREATORS))))
                if winners != 1:
                    return Check("atomic create", "failed", f"{winners} of {CREATORS} creators of one name won.")
    except StoreError as error:
        return Check("atomic create", "failed", error.message)
    return Check("atomic create", "ok", f"{CREATORS} creators, one winner, {ROUNDS} times.")


def _reflink(folder: Path) -> Check:
    source, clone = folder / "origin", folder / "clone"
    source.write_bytes(b"x" * 4096)
    with source.open("rb") as read, clone.open("wb") as write:
        if _cloned(read.fileno(), write.fileno()):
            return Check("reflink", "ok", "Large files are cloned, not copied.")
    return Check("reflink", "ok", "None here: large files are copied.")


def _sync(folder: Path) -> Check:
    seconds: list[float] = []
    for number in range(SYNCS):
        began = time.perf_counter()
        with (folder / f"synced-{number}").open("wb") as file:
            file.write(b"x" * 4096)
            file.flush()
            os.fsync(file.fileno())
        seconds.append(time.perf_counter() - began)
    median = statistics.median(seconds)
    return Check("fsync", "ok" if median < SLOW_SECONDS else "warning", f"{median * 1000:.1f} ms for 4 KiB.")
