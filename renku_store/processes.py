"""Which process holds something: how it is known to others of the machine, and whether it is gone."""

from __future__ import annotations

import os
import sys
from functools import cache
from pathlib import Path
from typing import Final

from renku_store.records.run import Holder

_COMMAND_MAX_CHARS: Final = 200
_DEAD_STATES: Final = frozenset({"Z", "X", "x"})


def this_process() -> Holder:
    """This process, as other processes of the machine can recognise it."""
    command = _printable(" ".join(sys.argv))[:_COMMAND_MAX_CHARS]
    return Holder(_host(), os.getpid(), _start_of(os.getpid()) or "", command)


def process_alive(holder: Holder) -> bool:
    """False if the process is known to be gone; True for one that lives, or that cannot be seen from here.

    Only processes of the same host, boot and namespaces can be seen: two containers may well have one name. A
    number that another process has by now does not deceive, as the time of its start is part of the holder.
    """
    if holder.host != _host() or not holder.process_start:
        return True
    here, _, started = holder.process_start.rpartition("/")
    return here != _place() or _start_of(holder.pid) in {"", f"{here}/{started}"}


def boot() -> str | None:
    """Which boot of the machine this is, as its clocks tell; None where that cannot be told.

    All processes with the same answer have the same monotonic clock: in a time namespace it is another one.
    """
    return _place().partition("/")[0] or None


def host_name() -> str:
    """What this machine calls itself (the `gethostname` of `socket`, which takes long to load)."""
    return os.uname().nodename


@cache
def _host() -> str:
    return _printable(host_name())


def _start_of(pid: int) -> str | None:
    """When a process started, as `boot/namespace/ticks`; None for one that is gone, empty where that cannot be told."""
    place = _place()
    if not place:
        return ""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return "" if _is_hidden(pid) else None
    except OSError:
        return ""
    # Fields 3 and 22 of proc(5): the state, and the start in ticks since boot. A zombie holds nothing any more.
    return None if fields[0] in _DEAD_STATES else f"{place}/{fields[19]}"


def _is_hidden(pid: int) -> bool:
    """Whether a process that `/proc` does not show is there all the same, and another user's (proc(5), `hidepid`)."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):  # the number may be from a damaged file
        return False
    return False


@cache
def _place() -> str:
    """This boot with its time namespace, and this process namespace, as `boot/namespace`; empty without a `/proc`."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}{_time_namespace()}/{Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _time_namespace() -> str:
    """That of the clocks, and of the starts of processes; empty where the kernel has none (before 5.6)."""
    try:
        return f" {Path('/proc/self/ns/time').readlink()}"
    except OSError:
        return ""


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)
