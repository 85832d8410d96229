"""What the processes of a soak write down, in one file, and what calls made twice it excuses.

A line is one append: the order of lines is an order in time, whoever wrote them. A process that is killed while it
writes may leave a cut line, which harms no other.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson

ROOT: Final = "root"
JOURNAL: Final = "journal"
END: Final = "end"
"""Names in the folder of a soak: the build root, the journal, and the file that tells everyone to end."""

Line = Mapping[str, Any]
"""`kind`, `pid`, and what belongs to the kind."""


class Journal:
    """An append-only file of lines. Safe to use from many threads and processes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)

    def write(self, kind: str, *, pid: int | None = None, **data: object) -> None:
        """Append a line, about this process unless another is named."""
        line = orjson.dumps({"kind": kind, "pid": os.getpid() if pid is None else pid, **data})
        # It begins with a line feed, so that a line which was cut does not swallow this one.
        os.write(self._descriptor, b"\n" + line + b"\n")

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._descriptor)


def lines(path: Path) -> list[Line]:
    """Every whole line."""
    return [*parsed(path.read_bytes())]


def parsed(data: bytes) -> Iterator[Line]:
    """The whole lines of a part of a journal that ends with a line."""
    for text in data.split(b"\n"):
        if text:
            try:
                yield orjson.loads(text)
            except orjson.JSONDecodeError:
                continue


@dataclass(slots=True)
class _Call:
    pid: int
    begun: int
    ended: str | None = None
    ended_at: int = 0
    blobs: list[str] = field(default_factory=list)
    stored: bool = False


@dataclass(slots=True)
class _Collection:
    """When some blobs were not to be reused: until its end or, if it was killed, that of the next one."""

    begun: int
    ended: int | None = None
    seen: set[str] | None = None


@dataclass(slots=True)
class Calls:
    """The calls of a journal: how many there were, and those that were not the first for their signature, by excuse."""

    count: int = 0
    excused: Counter[str] = field(default_factory=Counter)
    repeated: list[str] = field(default_factory=list)


class _Judge:
    def __init__(self, short_leases: set[int]) -> None:
        self._short_leases = short_leases
        self._killed: set[int] = set()
        self._stopped: set[int] = set()
        self._calls: dict[str, list[_Call]] = {}
        self._open: dict[int, _Collection] = {}
        self._collections: list[_Collection] = []
        self._late: list[tuple[_Call, str]] = []
        self._found = Calls()

    def end(self) -> Calls:
        """What all of it comes to: who called late, after its lease had run out, must not have had its result taken."""
        for call, told in self._late:
            if call.stored:
                self._found.repeated.append(told)
            else:
                self._found.excused["came late"] += 1
        return self._found

    def hear(self, number: int, line: Line) -> None:
        kind, pid = line["kind"], line["pid"]
        match kind:
            case "killing":
                self._killed.add(pid)
            case "stopping":
                self._stopped.add(pid)
            case "call":
                self._call(number, line)
            case "produced" | "failed" | "cancelled":
                self._ended(number, line)
            case "stored":
                self._find(pid, line["signature"]).stored = True
            case "collecting":
                self._open[pid] = _Collection(number)
                self._collections.append(self._open[pid])
            case "condemned":
                self._open[pid].seen = set(line["blobs"])
            case "collected":
                self._close(number)

    def _close(self, number: int) -> None:
        # There is one collector at a time: the others had been killed, and this one finished what they had begun.
        for collection in self._open.values():
            collection.ended = number
        self._open.clear()

    def _find(self, pid: int, signature: str) -> _Call:
        return next(call for call in reversed(self._calls[signature]) if call.pid == pid)

    def _ended(self, number: int, line: Line) -> None:
        call = self._find(line["pid"], line["signature"])
        call.ended, call.ended_at, call.blobs = line["kind"], number, line.get("blobs", [])

    def _call(self, number: int, line: Line) -> None:
        pid, job = line["pid"], line["job"]
        earlier = self._calls.setdefault(line["signature"], [])
        excuses = [self._excuse(call, forced=line.get("forced", False)) for call in earlier]
        self._found.count += 1
        call = _Call(pid, number)
        wrong = [before for before, excuse in zip(earlier, excuses, strict=True) if excuse is None]
        if wrong:
            told = ", ".join(f"by {before.pid} from line {before.begun}, {before.ended or 'open'}" for before in wrong)
            told = f"10: {job} was called again by {pid} in line {number} after {told}."
            if pid in self._short_leases:
                self._late.append((call, told))
            else:
                self._found.repeated.append(told)
        elif earlier:
            self._found.excused[str(excuses[-1])] += 1
        earlier.append(call)

    def _excuse(self, call: _Call, *, forced: bool) -> str | None:
        """Why a call may be made again, or None."""
        if call.ended in {"failed", "cancelled"}:
            return str(call.ended)
        if not call.stored and call.pid in self._killed:
            return "killed"
        if not call.stored and call.pid in self._stopped | self._short_leases:
            return "lease ran out"
        if call.ended == "produced" and forced:
            return "forced"
        if call.ended is not None and any(self._took(collection, call) for collection in self._collections):
            return "collected"
        return None

    def _took(self, collection: _Collection, call: _Call) -> bool:
        over = collection.ended is not None and collection.ended < call.ended_at
        return not over and bool(call.blobs) and (collection.seen is None or not collection.seen.isdisjoint(call.blobs))


def judge(journal: Iterable[Line]) -> Calls:
    """Hold every call of a journal against the calls for the same signature before it (invariant 10).

    A call may be made again if the one before it failed or was cancelled, if its process was killed before the result
    was stored, if its lease ran out (only of processes that have short ones, or were stopped), if what it had made was
    condemned by a collection, or if it has ended and somebody asked for another take. A caller with a short lease may
    have claimed before it was stopped and call after its lease has run out; then what it makes is a take of its own.
    """
    found = list(journal)
    short = {line["pid"] for line in found if line["kind"] == "started" and line["short_lease"]}
    judge = _Judge(short)
    for number, line in enumerate(found):
        judge.hear(number, line)
    return judge.end()
