"""One round of one peer, in the peers' own environment: `peer_work.py PEER WORK FOLDER ROUND COUNT BYTES`.

Prints how many seconds the work took, without the start of this process and of programs that it calls. WORK is `add`,
`again`, `read`, or `gc`: of contents that are added first, every other is dead.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

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

    def fill(self, given: Iterator[bytes]) -> None:
        """Add them, and choose the dead."""
        self._dead = self.add(given)[::2]

    def collect(self) -> None:
        """It is told which are dead: it knows of no references."""
        self._container.delete_objects(self._dead)
        self._container.clean_storage()

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

    name = ""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.source = folder / "source"
        self.starts = 0
        self.source.mkdir(exist_ok=True)

    def prepare(self, given: Iterator[bytes]) -> None:
        """Write the files."""
        for number, content in enumerate(given):
            (self.source / f"{number:06}").write_bytes(content)

    def fill(self, given: Iterator[bytes]) -> None:
        """Add all of them, then every other alone: what only the first addition named is dead."""
        self.prepare(given)
        self.add(iter(()))
        for path in sorted(self.source.iterdir())[::2]:
            if path.is_file():
                path.unlink()
        self.add(iter(()))

    def add(self, _given: Iterator[bytes]) -> list[str]:
        """All files, read and hashed, whatever is known of them."""
        raise NotImplementedError

    def read(self, _ids: list[str]) -> None:
        """Everything that was added, verified."""
        raise NotImplementedError

    def collect(self) -> None:
        """Remove what is dead."""
        raise NotImplementedError

    def call(self, *words: str) -> None:
        """Run it to its end."""
        self.starts += 1
        environment = {
            **os.environ,
            "HOME": str(self.folder),
            "BORG_BASE_DIR": str(self.folder),
            "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
            "DVC_NO_ANALYTICS": "1",
            "DVC_SITE_CACHE_DIR": str(self.folder / "site"),
            "GIT_CONFIG_NOSYSTEM": "1",
            "RESTIC_PASSWORD": "x",
        }
        subprocess.run(
            [self.name, *words], cwd=self.source, env=environment, check=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def start_seconds(self) -> float:
        """How long it takes to start and do nothing: the smallest of three."""
        taken = []
        for _ in range(3):
            started = time.perf_counter()
            self.call("version" if self.name == "restic" else "--version")
            taken.append(time.perf_counter() - started)
        return min(taken)


class Git(Program):
    """`git add`, its objects synced in one batch."""

    name = "git"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        if not (self.source / ".git").exists():
            self.call("init", "-q")
            for name, value in (("core.fsync", "added"), ("core.fsyncMethod", "batch"), ("gc.auto", "0")):
                self.call("config", name, value)

    def add(self, _given: Iterator[bytes]) -> list[str]:
        """Without the index, so that all is hashed."""
        (self.source / ".git" / "index").unlink(missing_ok=True)
        self.call("add", "-A", ".")
        return []

    def collect(self) -> None:
        """Loose objects that the index does not name; nothing is packed."""
        self.call("prune", "--expire=now")

    def read(self, _ids: list[str]) -> None:
        """Every object is read and hashed."""
        self.call("fsck", "--full", "--no-dangling")


class Restic(Program):
    """`restic backup`, without a cache; it encrypts."""

    name = "restic"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._words = ("-q", "-r", str(folder / "repository"), "--no-cache")
        if not (folder / "repository").exists():
            self.call(*self._words, "init")

    def add(self, _given: Iterator[bytes]) -> list[str]:
        """All files read, whatever is known of them."""
        self.call(*self._words, "backup", "--force", ".")
        return []

    def collect(self) -> None:
        """The first snapshot is forgotten, and what it alone named goes; packs that keep a part are written anew."""
        self.call(*self._words, "forget", "--keep-last", "1", "--group-by", "", "--prune", "--max-unused", "0")

    def read(self, _ids: list[str]) -> None:
        """Every pack is read and verified."""
        self.call(*self._words, "check", "--read-data")


class Borg(Program):
    """`borg create`, without a cache of files, encryption or compression."""

    name = "borg"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._repository = str(folder / "repository")
        if not (folder / "repository").exists():
            self.call("init", "--encryption", "none", self._repository)

    def add(self, _given: Iterator[bytes]) -> list[str]:
        """All files read, whatever is known of them."""
        words = ("create", "--files-cache", "disabled", "--compression", "none")
        self.call(*words, f"{self._repository}::{time.time_ns()}", ".")
        return []

    def collect(self) -> None:
        """The first archive is deleted, and what it alone named goes; segments that keep a part are written anew."""
        self.call("prune", "--keep-last", "1", self._repository)
        self.call("compact", "--threshold", "0", self._repository)

    def read(self, _ids: list[str]) -> None:
        """Every chunk is read and verified."""
        self.call("check", "--verify-data", self._repository)


class Dvc(Program):
    """`dvc add` of the folder, into a cache by content; without Git."""

    name = "dvc"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        if not (folder / ".dvc").exists():
            self.call("--cd", str(folder), "init", "--no-scm", "-q")

    def add(self, _given: Iterator[bytes]) -> list[str]:
        """Without what it noted of files, so that all is hashed."""
        shutil.rmtree(self.folder / "site", ignore_errors=True)
        self.call("--cd", str(self.folder), "add", "-q", "source")
        return []

    def collect(self) -> None:
        """What the folder as it is does not name."""
        self.call("--cd", str(self.folder), "gc", "--workspace", "--force", "-q")


PEERS: dict[str, Callable[[Path], Any]] = {
    "sqlite": Sqlite,
    "disk-objectstore, loose": DiskObjectstore,
    "disk-objectstore, packed": DiskObjectstorePack,
    "diskcache": DiskCache,
    "git": Git,
    "restic": Restic,
    "borg": Borg,
    "dvc": Dvc,
}


def main(peer: str, work: str, folder: Path, number: int, count: int, size: int) -> None:
    """Do the work and tell the seconds."""
    folder.mkdir(parents=True, exist_ok=True)
    opened = PEERS[peer](folder)
    start = opened.start_seconds() if isinstance(opened, Program) else 0.0
    given, known = contents(number, count, size), folder / "ids.json"
    if work == "gc":
        opened.fill(given)
    elif work == "add" and isinstance(opened, Program):
        opened.prepare(given)
    ids: list[str] = []
    before = opened.starts if isinstance(opened, Program) else 0
    started = time.perf_counter()
    if work == "gc":
        opened.collect()
    elif work == "read":
        opened.read(json.loads(known.read_text(encoding="utf-8")))
    else:
        ids = opened.add(contents(number, count, size))
    seconds = time.perf_counter() - started
    if work == "add":
        known.write_text(json.dumps(ids), encoding="utf-8")
    print(max(0.0, seconds - start * (opened.starts - before)) if isinstance(opened, Program) else seconds)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), *map(int, sys.argv[4:7]))
