"""Objects in a storage that is asked over a network, through any client; what is of this machine lies in a workspace.

Keeps invariants 2 (through uploading), and what 5 and 7 rest on: creation that one wins and replacement of what was
expected, also where replies are lost (through conditional). Locks, temporary files and the database are in the
workspace: they hold among the processes of this machine, and `guarantees` says so. Objects are durable when the
storage has answered.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, cast

from renku_store import bounds
from renku_store.drivers import locks, posix
from renku_store.drivers.base import Guarantees, ObjectStat
from renku_store.drivers.caching.cache import ObjectCache
from renku_store.drivers.objects.client import ObjectClient
from renku_store.drivers.objects.conditional import ConditionalWrite
from renku_store.drivers.objects.copying import Copier
from renku_store.drivers.objects.fetching import fetch_each
from renku_store.drivers.objects.keys import Keys
from renku_store.drivers.objects.limiting import LimitedClient, Permits
from renku_store.drivers.objects.streaming import ObjectStream, read_pieces, read_range
from renku_store.drivers.objects.uploading import ObjectBatch, Uploader
from renku_store.drivers.objects.working import Workers
from renku_store.drivers.probe import TRIALS
from renku_store.drivers.tree import LOCKS, TEMPORARY, Tree, check_name
from renku_store.errors import BlobMissingError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

S3_GUARANTEES: Final = Guarantees(atomic_create=True, compare_and_swap=True, strong_listing=True, shared_index=False)
"""What S3 promises since 2024, and servers that speak like it have to show."""
_DELETE_AT_ONCE: Final = 1_000
"""Keys that one request may name."""


class ObjectDriver:
    """Objects below a prefix of a bucket. Safe to use from many threads; nothing is asked of the storage to make one.

    `url` names the root in messages and has no secrets; `server` is what follows it in `identity`; `workspace` is this
    machine's folder for it, made with the first write; `uploader` is that of another driver of the same root, whose
    threads are shared. Raises `StoreUnavailableError` with what the server said.
    """

    def __init__(
        self,
        client: ObjectClient,
        *,
        url: str,
        prefix: str,
        workspace: Path,
        server: str = "",
        concurrency: int = bounds.OBJECT_CONCURRENCY,
        guarantees: Guarantees = S3_GUARANTEES,
        uploader: Uploader | None = None,
        cache: ObjectCache | None = None,
    ) -> None:
        self._client = client if isinstance(client, LimitedClient) else LimitedClient(client, Permits(concurrency))
        self._cache = cache
        self._url = url.rstrip("/")
        self._server = server
        self._keys = Keys(prefix)
        self._guarantees = guarantees
        self._uploader = uploader or Uploader(
            self._client, Workers(concurrency), self._keys.folder(TRIALS), conditional=guarantees.atomic_create
        )
        self._workers = self._uploader.workers
        self._workspace = Path(os.path.abspath(workspace))
        self._tree = Tree(str(self._workspace))
        self._copier = Copier(
            self._client,
            self._tree,
            self._keys.folder(f"{TEMPORARY}/"),
            conditional=self._guarantees.compare_and_swap,
        )

    @property
    def guarantees(self) -> Guarantees:
        """What the storage was found, or is known, to do."""
        return self._guarantees

    @property
    def url(self) -> str:
        """What was opened, such as `s3://bucket/videos/film`."""
        return self._url

    @property
    def identity(self) -> str:
        """The URL, and the server where it has to be named."""
        return self._url + self._server

    @property
    def read_only(self) -> bool:
        """False: only a write shows whether the credentials allow it."""
        return False

    def workspace(self) -> Path:
        """This machine's folder for the database, locks and temporary files of this part of the storage."""
        return self._workspace

    def cache(self) -> ObjectCache | None:
        """Where this machine keeps copies of blobs, if it does."""
        return self._cache

    # Reading

    def read(self, name: str, limit: int | None = None) -> bytes:
        """The bytes, at most the first `limit`; `BlobMissingError` where there is no such object."""
        found = read_range(self._client, self._keys.key(name), self._at(name), length=limit)
        if found is None:
            raise self._missing(name)
        return found[0]

    def read_many(self, names: Iterable[str], limit: int | None = None) -> dict[str, bytes]:
        """`read` of many names, side by side."""
        return dict(self.read_each(names, limit))

    def read_each(self, names: Iterable[str], limit: int | None = None) -> Iterator[tuple[str, bytes]]:
        """`read` of many names, each given as soon as it came; those that are not there are left out."""

        def fetch(name: str) -> Sequence[ReadableBuffer] | None:
            return read_pieces(self._client, self._keys.key(name), self._at(name), length=limit)

        return fetch_each(names, fetch, self._workers, self._client if limit is None else None, self._keys.key)

    def open(self, name: str) -> BinaryIO:
        """A seekable stream in constant memory; `BlobMissingError` where there is no such object."""
        stream = ObjectStream(self._client, self._keys.key(name), self._at(name), lambda: self._missing(name))
        return cast("BinaryIO", io.BufferedReader(stream, bounds.CHUNK_BYTES))

    def stat(self, name: str) -> ObjectStat | None:
        """Size and time by the server's clock, or None where there is no such object."""
        head = self._client.head(self._keys.key(name))
        return None if head is None else ObjectStat(name, head.size, head.modified)

    def stat_many(self, names: Iterable[str]) -> dict[str, ObjectStat]:
        """`stat` of many names, side by side."""
        found: dict[str, ObjectStat] = {}

        def look(name: str) -> None:
            head = self._client.head(self._keys.key(name))
            if head is not None:
                found[name] = ObjectStat(name, head.size, head.modified)

        self._workers.map(look, dict.fromkeys(names))
        return found

    def among(self, names: Iterable[str]) -> set[str]:
        """Those of many names that there are."""
        return set(self.stat_many(names))

    def list(self, prefix: str) -> Iterator[ObjectStat]:
        """Every object below the folder `prefix`, page by page; temporary ones only if these are asked for."""
        shown = prefix.startswith(f"{TEMPORARY}/")
        for head in self._client.list(self._keys.folder(prefix)):
            name = self._keys.name(head.key)
            if name is not None and name.startswith(prefix) and (shown or not name.startswith(f"{TEMPORARY}/")):
                yield ObjectStat(name, head.size, head.modified)

    def children(self, prefix: str) -> Iterator[str]:
        """The names directly below the folder `prefix`; folders end in `/`."""
        folder = self._keys.folder(prefix)
        for found in self._client.folders(folder):
            end = "/" if isinstance(found, str) else ""
            name = self._keys.name(found.removesuffix("/") if isinstance(found, str) else found.key)
            if name is not None and name.startswith(prefix):
                yield f"{name[len(prefix) :]}{end}"

    # Writing

    def batch(self) -> ObjectBatch:
        """Write many new objects, uploaded side by side."""
        return ObjectBatch(self._uploader, self._tree, self._keys, self._url)

    def create(self, name: str, data: bytes) -> bool:
        """Create an object in one request if the name is free; False, and nothing written, if it is not."""
        key = self._keys.key(name)
        if self._guarantees.atomic_create:
            return ConditionalWrite(self._client, key, data, self._at(name)).create()
        with self._alone(name):
            if self._client.head(key) is not None:
                return False
            self._client.put(key, data)
            return True

    def replace(self, name: str, data: bytes) -> None:
        """Create or replace an object in one request."""
        self._client.put(self._keys.key(name), data)

    def compare_and_swap(self, name: str, expected: bytes | None, data: bytes) -> bool:
        """Replace if the bytes are still `expected` (None: it does not exist); else False.

        Atomic among all machines if the storage can compare (`guarantees`), else among those of this machine.
        """
        key = self._keys.key(name)
        if self._guarantees.compare_and_swap:
            return ConditionalWrite(self._client, key, data, self._at(name)).swap(expected)
        with self._alone(name):
            found = self._client.get(key)
            if (None if found is None else found[0]) != expected:
                return False
            self._client.put(key, data)
            return True

    def _alone(self, name: str) -> contextlib.AbstractContextManager[None]:
        return self.lock(f"swap/{name}", wait_seconds=bounds.BUSY_MAX_SECONDS)

    def settle(self, names: Iterable[str]) -> None:
        """Nothing to do: what can be seen in an object storage is durable."""

    def move(self, name: str, target: str) -> bool:
        """Copy to a free name on the server, then delete; False if it is not there or the name is taken."""
        source, key = self._keys.key(name), self._keys.key(target)
        if self._client.head(key) is not None or not self._copier.copy(source, key, self._at(name)):
            return False
        self._client.delete([source])
        return True

    def renew(self, name: str) -> None:
        """Let an object's `modified` be now; nothing where it is not there."""
        self._copier.renew(self._keys.key(name), self._at(name))

    def delete(self, name: str) -> None:
        """Remove an object; no error if it is not there."""
        self._client.delete([self._keys.key(name)])

    def delete_many(self, names: Iterable[str]) -> None:
        """Remove many objects, up to 1,000 by a request."""
        keys = [*dict.fromkeys(map(self._keys.key, names))]
        self._workers.map(
            self._client.delete, (keys[at : at + _DELETE_AT_ONCE] for at in range(0, len(keys), _DELETE_AT_ONCE))
        )

    # The rest

    def local_path(self, name: str) -> None:
        """None: objects are no files of this machine."""
        check_name(name)

    def free_bytes(self) -> None:
        """None: nobody knows."""

    def clone_to(self, name: str, target: Path) -> bool:  # noqa: ARG002
        """False: there is nothing to share blocks with."""
        check_name(name)
        return False

    @contextlib.contextmanager
    def lock(self, name: str, *, shared: bool = False, wait_seconds: float) -> Iterator[None]:
        """Hold a lock among this machine's processes; `StoreUnavailableError` names the holder after the wait."""
        path = self._tree.path(f"{LOCKS}/{name}")
        try:
            self._tree.make_folder(os.path.dirname(path))
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise posix.unavailable(error, "lock", path) from error
        try:
            with locks.hold(descriptor, path, shared=shared, wait_seconds=wait_seconds):
                yield
        finally:
            os.close(descriptor)

    def scratch(self) -> Path:
        """The folder `tmp/scratch` of the workspace."""
        path = self._workspace / TEMPORARY / "scratch"
        try:
            self._tree.make_folder(str(path))
        except OSError as error:
            raise posix.unavailable(error, "write below", path) from error
        return path

    def sub(self, prefix: str) -> ObjectDriver:
        """The same storage seen from a folder; it shares connections, threads and permits.

        But for those of a probe: whoever may have few requests under way is not to miss what only races show.
        """
        folder = check_name(prefix.rstrip("/"))
        probing = folder.startswith(TRIALS)
        return ObjectDriver(
            LimitedClient(self._client.bare, Permits(bounds.PROBE_CREATORS)) if probing else self._client,
            url=f"{self._url}/{folder}",
            prefix=self._keys.folder(f"{folder}/"),
            workspace=self._workspace / folder,
            server=self._server,
            guarantees=self._guarantees,
            uploader=self._uploader,
            cache=self._cache,
        )

    def close(self) -> None:
        """Let go of connections and threads; what was made of this driver by `sub` goes with it."""
        self._workers.close()
        self._client.close()

    def _at(self, name: str) -> str:
        return f"{self._url}/{name}"

    def _missing(self, name: str) -> BlobMissingError:
        return BlobMissingError(
            f"There is no object {self._at(name)}.", hint="Restore it from a copy, or make it anew."
        )
