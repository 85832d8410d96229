"""Programs that tests run beside themselves: plainly, under strace, on a full disk, or on a read-only root."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

_TIMEOUT_SECONDS = 600
_TRACED = "openat,write,fsync,fdatasync,syncfs,link,linkat,rename,renameat,renameat2,unlink,unlinkat,mkdir,pwrite64"


@dataclass(frozen=True)
class Ended:
    """How a child ended and what it wrote."""

    code: int
    out: str
    err: str


def start(script: str, *arguments: object, prefix: list[str] | None = None) -> subprocess.Popen[str]:
    """Start a Python script with arguments (`sys.argv[1:]`), by way of a prefix of the command line."""
    command = [*(prefix or []), sys.executable, "-c", textwrap.dedent(script), *map(os.fspath, map(str, arguments))]
    environment = {**os.environ, "PYTHONWARNINGS": "error", "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.Popen(
        command, env=environment, text=True, errors="replace", stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def finish(child: subprocess.Popen[str], *, timeout_seconds: float = _TIMEOUT_SECONDS) -> Ended:
    """Wait for a child."""
    with child:
        out, err = child.communicate(timeout=timeout_seconds)
    return Ended(child.returncode, out, err)


def run(
    script: str, *arguments: object, prefix: list[str] | None = None, timeout_seconds: float = _TIMEOUT_SECONDS
) -> Ended:
    """Run a Python script to its end."""
    return finish(start(script, *arguments, prefix=prefix), timeout_seconds=timeout_seconds)


def trace(script: str, *arguments: object, log: Path, inject: str | None = None) -> tuple[Ended, list[str]]:
    """Run a script under strace: how it ended, and in order its calls that change files, with the paths of descriptors.

    `inject` is strace's own expression, such as `link:error=EPERM`, or several with blanks between.
    """
    prefix = ["strace", "-f", "-qq", "-y", "-s", "0", "-e", f"trace={_TRACED}", "-e", "signal=none", "-o", str(log)]
    for expression in (inject or "").split():
        prefix += ["-e", f"inject={expression}"]
    ended = run(script, *arguments, prefix=prefix)
    return ended, [line.partition(" ")[2].strip() for line in log.read_text(errors="replace").splitlines()]


def in_own_mounts(setup: str) -> list[str] | None:
    """A prefix that runs a program after `setup` (shell) in mounts of its own; None where that is not allowed."""
    prefix = ["unshare", *([] if os.geteuid() == 0 else ["-r"]), "-m", "sh", "-c", f'{setup} && exec "$@"', "sh"]
    try:
        works = subprocess.run([*prefix, "true"], capture_output=True, timeout=_TIMEOUT_SECONDS, check=False)
    except FileNotFoundError:
        return None
    return prefix if works.returncode == 0 else None


def on_small_disk(folder: Path, kibibytes: int) -> list[str]:
    """A prefix that runs a program with a tiny file system at `folder`.

    Where nothing may be mounted, every write but the first fails as on a full one.
    """
    mount = in_own_mounts(f"mount -t tmpfs -o size={kibibytes}k tmpfs {shlex.quote(str(folder))}")
    return mount or ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "inject=write:error=ENOSPC:when=2+"]


def on_read_only(folder: Path) -> list[str]:
    """A prefix that runs a program for which `folder` cannot be written to.

    Where nothing may be mounted, for want of permission; the superuser then goes without its power to ignore that.
    """
    path = shlex.quote(str(folder))
    mount = in_own_mounts(f"mount --bind {path} {path} && mount -o remount,bind,ro {path}")
    if mount is not None:
        return mount
    for level in [folder, *folder.rglob("*")]:
        level.chmod(0o555)
    return without_privilege()


def without_privilege() -> list[str]:
    """A prefix that runs a program for which the modes of files count, whoever it belongs to."""
    return ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []


def with_failing_disk(path: Path, call: str, *, after: int = 0) -> list[str]:
    """A prefix that runs a program for which a system call on a path ends with EIO, once it was made so many times."""
    inject = f"inject={call}:error=EIO:when={after + 1}+"
    return ["strace", "-f", "-qq", "-e", "signal=none", "-o", "/dev/null", "-P", str(path), "-e", inject]
