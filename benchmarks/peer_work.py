"""One round of one peer, in the peers' own environment: `peer_work.py PEER WORK FOLDER ROUND COUNT BYTES`.

Prints how many seconds the work took, without the start of this process. WORK is `add`, `again` or `read`.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import diskcache
from contents import contents
from disk_objectstore import Container


class Sqlite:
    """A table of hash and bytes, one synced transaction."""

    def __init__(self, folder: Path) -> None:
        self._db = sqlite3.connect(folder / "blobs.db", isolation_level=None)
        self._db.execute("PRAGMA journal_mode = wal")
        self._db.execute("PRAGMA synchronous = full")
        self._db.execute("CREATE TABLE IF NOT EXISTS blobs (hash BLOB PRIMARY KEY, content BLOB) WITHOUT ROWID")

    def add(self, given: Iterator[bytes]) -> list[str]:
        """All in one transaction."""
        ids = []
        self._db.execute("BEGIN")
        for content in given:
            digest = sha256(content).digest()
            self._db.execute("INSERT OR IGNORE INTO blobs VALUES (?, ?)", (digest, content))
            ids.append(digest.hex())
        self._db.execute("COMMIT")
        return ids

    def read(self, ids: list[str]) -> None:
        """One look-up each, hashed."""
        for digest in ids:
            ((content,),) = self._db.execute("SELECT content FROM blobs WHERE hash = ?", (bytes.fromhex(digest),))
            assert sha256(content).hexdigest() == digest


class DiskObjectstore:
    """Loose objects, each synced."""

    packed = False

    def __init__(self, folder: Path) -> None:
        self._container = Container(folder / "container")
        if not self._container.is_initialised:
            self._container.init_container()

    def add(self, given: Iterator[bytes]) -> list[str]:
        """One file each."""
        if self.packed:
            return list(self._container.add_objects_to_pack(list(given), compress=False))
        return [self._container.add_object(content) for content in given]

    def read(self, ids: list[str]) -> None:
        """One look-up each, hashed: it does not look at the hash by itself."""
        for digest in ids:
            assert sha256(self._container.get_object_content(digest)).hexdigest() == digest


class DiskObjectstorePack(DiskObjectstore):
    """Objects appended to one file, and an index."""

    packed = True


class DiskCache:
    """SQLite, and files for what is large; one transaction."""

    def __init__(self, folder: Path) -> None:
        self._cache = diskcache.Cache(os.fspath(folder / "cache"), eviction_policy="none", size_limit=2**40)

    def add(self, given: Iterator[bytes]) -> list[str]:
        """Under their hash."""
        ids = []
        with self._cache.transact():
            for content in given:
                ids.append(sha256(content).hexdigest())
                if ids[-1] not in self._cache:
                    self._cache.set(ids[-1], content)
        return ids

    def read(self, ids: list[str]) -> None:
        """One look-up each, hashed."""
        for digest in ids:
            assert sha256(self._cache[digest]).hexdigest() == digest


class Program:
    """A program that adds a folder of files; they are written beforehand, and that is not counted."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._source = folder / "source"
        self._source.mkdir(exist_ok=True)

    def prepare(self, given: Iterator[bytes]) -> None:
        """Write the files."""
        for number, content in enumerate(given):
            (self._source / f"{number:06}").write_bytes(content)

    def call(self, *command: str, given: bytes = b"") -> None:
        """Run one program to its end."""
        environment = {**os.environ, "RESTIC_PASSWORD": "x", "GIT_CONFIG_NOSYSTEM": "1", "HOME": str(self._folder)}
        subprocess.run(
            command, cwd=self._source, input=given, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env=environment, check=True,
        )  # fmt: skip


class Git(Program):
    """`git add`, its objects synced in one batch."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        if not (self._source / ".git").exists():
            self.call("git", "init", "-q")
            for name, value in (("core.fsync", "added"), ("core.fsyncMethod", "batch"), ("gc.auto", "0")):
                self.call("git", "config", name, value)

    def add(self, _given: Iterator[bytes]) -> list[str]:
        """Without the index, so that all is hashed."""
        (self._source / ".git" / "index").unlink(missing_ok=True)
        self.call("git", "add", "-A", ".")
        return []

    def read(self, _ids: list[str]) -> None:
        """Every object is read and hashed."""
        self.call("git", "fsck", "--full", "--no-dangling")


class Restic(Program):
    """`restic backup`, without a cache."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._repository = str(folder / "repository")
        if not (folder / "repository").exists():
            self.call("restic", "-q", "-r", self._repository, "--no-cache", "init")

    def add(self, _given: Iterator[bytes]) -> list[str]:
        """All files read, whatever is known of them."""
        self.call("restic", "-q", "-r", self._repository, "--no-cache", "backup", "--force", ".")
        return []

    def read(self, _ids: list[str]) -> None:
        """Every pack is read and verified."""
        self.call("restic", "-q", "-r", self._repository, "--no-cache", "check", "--read-data")


PEERS: dict[str, Callable[[Path], Sqlite | DiskObjectstore | DiskCache | Git | Restic]] = {
    "sqlite": Sqlite,
    "disk-objectstore, loose": DiskObjectstore,
    "disk-objectstore, packed": DiskObjectstorePack,
    "diskcache": DiskCache,
    "git": Git,
    "restic": Restic,
}


def main(peer: str, work: str, folder: Path, number: int, count: int, size: int) -> None:
    """Do the work and tell the seconds."""
    folder.mkdir(parents=True, exist_ok=True)
    opened = PEERS[peer](folder)
    if work == "add" and isinstance(opened, Program):
        opened.prepare(contents(number, count, size))
    known = folder / "ids.json"
    started = time.perf_counter()
    if work == "read":
        opened.read(json.loads(known.read_text(encoding="utf-8")))
    else:
        ids = opened.add(contents(number, count, size))
    seconds = time.perf_counter() - started
    if work == "add":
        known.write_text(json.dumps(ids), encoding="utf-8")
    print(seconds)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), *map(int, sys.argv[4:7]))
