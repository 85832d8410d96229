"""New objects of a batch: staged on this machine, then uploaded side by side and verified.

Keeps invariant 2 in an object storage: a name appears with a request that carries, or completes, all of its bytes, and
one that exists is not written. What arrived is compared with what was sent before `commit` returns. Memory stays
constant: what waits in a file is read once there is a share for it, and large objects go in parts.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

from renku_store import bounds
from renku_store.drivers import posix
from renku_store.drivers.base import StagedFile
from renku_store.drivers.objects.client import ConditionFailedError, ObjectClient, UncertainError
from renku_store.drivers.objects.comparing import Comparison
from renku_store.drivers.objects.keys import Keys
from renku_store.drivers.objects.replies import pauses, unsettled
from renku_store.drivers.objects.staging import Room, StagedObject
from renku_store.drivers.objects.verifying import SentBytes, SentFile, Verifier, part_bytes
from renku_store.drivers.objects.working import Flow, Share, Workers
from renku_store.drivers.tree import Tree
from renku_store.errors import BlobCorruptError, StoreUnavailableError

T = TypeVar("T", SentBytes, SentFile)

_SENT_MAX: Final = 2
"""How often an object is sent that does not arrive as it was."""


@dataclass(frozen=True, slots=True)
class Upload:
    """A complete object on its way to a key; `url` names the object in errors."""

    key: str
    url: str
    staged: StagedObject


class _TakenError(Exception):
    """The name exists; what is there is left alone."""


class _DamagedError(Exception):
    """The name holds what was sent from here, and not as it was."""


class Uploader:
    """Writes files to free names; one for a root, for many threads.

    `workers` are its threads. `trials`: the prefix of keys for trials. `conditional`: the storage can refuse to write
    what exists; else it is looked first, which others can slip through. `memory` is for what waits to be uploaded.
    """

    def __init__(self, client: ObjectClient, workers: Workers, trials: str, *, conditional: bool) -> None:
        self._client = client
        self.workers = workers
        self._conditional = conditional
        self.memory = Share(bounds.OBJECT_STAGED_TOTAL_BYTES)
        self._share = Share(bounds.OBJECT_IN_FLIGHT_MAX_BYTES)
        self._verifier = Verifier(client)
        self._comparison = Comparison(client, trials)

    def upload(self, uploads: Iterable[Upload], existing: set[str]) -> None:
        """Upload everything; adds to `existing` the keys that existed and were left alone.

        Raises `StoreUnavailableError`, and `BlobCorruptError` where something else than was sent has arrived.
        """
        self.workers.map(self._putting(existing), uploads)

    def flow(self, existing: set[str]) -> Flow[Upload]:
        """The same for uploads that come one after another."""
        return self.workers.flow(self._putting(existing))

    def _putting(self, existing: set[str]) -> Callable[[Upload], None]:
        def put(upload: Upload) -> None:
            try:
                self._put(upload)
            except _TakenError:
                existing.add(upload.key)
            except OSError as error:
                raise posix.unavailable(error, "read", str(upload.staged.path)) from error

        return put

    def _put(self, upload: Upload) -> None:
        size = upload.staged.size()
        in_parts = size > bounds.OBJECT_PART_BYTES
        if (in_parts or not self._conditional) and self._client.head(upload.key) is not None:
            raise _TakenError
        needed = part_bytes(size) * bounds.OBJECT_PARTS_AT_ONCE if in_parts else size
        with self._share.take(needed - upload.staged.held):
            if in_parts:
                self._put_verified(upload, SentFile(str(upload.staged.path), size), self._put_in_parts)
            else:
                data = upload.staged.data()
                self._put_verified(upload, SentBytes(data), lambda upload, sent: self._put_at_once(upload, sent, data))

    def _put_verified(self, upload: Upload, sent: T, put: Callable[[Upload, T], str | None]) -> None:
        compared = self._comparison.made_by_server(sent.size, in_parts=isinstance(sent, SentFile))
        for _ in range(_SENT_MAX):
            try:
                tag = put(upload, sent)
            except _DamagedError:
                self._client.delete([upload.key])
                continue
            if self._verifier.arrived(upload.key, upload.url, tag, sent, compared=compared):
                return
            found = self._client.head(upload.key)
            if found is not None and tag in {None, found.etag}:
                self._client.delete([upload.key])
        raise BlobCorruptError(
            f"{upload.url} did not hold what was sent, {_SENT_MAX} times.",
            hint="Something between here and the storage changes bytes; what had arrived was removed.",
        )

    def _put_at_once(self, upload: Upload, sent: SentBytes, data: bytes | memoryview) -> str | None:
        if not self._conditional:
            return self._client.put(upload.key, data)
        mark = secrets.token_hex(16)
        lost: UncertainError | None = None
        for pause in (*pauses(), None):
            try:
                return self._client.put(upload.key, data, if_absent=True, mark=mark)
            except ConditionFailedError:
                pass
            except UncertainError as error:
                lost = error
            found = self._client.head(upload.key)
            if found is not None and lost is None:
                raise _TakenError
            if found is not None and self._is_ours(upload, sent, mark, lost):
                return found.etag
            if pause is not None:
                time.sleep(pause)
        raise unsettled(upload.url, lost)

    def _is_ours(self, upload: Upload, sent: SentBytes, mark: str, lost: UncertainError | None) -> bool:
        """Whether the object is the one whose reply was lost, and whole; False where it is gone by now.

        Raises `_TakenError` where it is another's, `_DamagedError` where it is ours and does not hold what was sent.
        """
        found = self._client.get(upload.key, length=1)  # a look does not tell the mark
        if found is None:
            return False
        head = found[1]
        if head.mark not in {None, mark}:
            raise _TakenError
        if self._verifier.arrived(upload.key, upload.url, head.etag, sent, doubtful=True):
            return True
        if head.mark == mark:
            raise _DamagedError
        raise StoreUnavailableError(
            f"Nobody knows whose {upload.url} is: no reply came when it was written, and it is not what was sent.",
            hint="Look at the object: remove it if it is damaged, then try again.",
        ) from lost

    def _put_in_parts(self, upload: Upload, sent: SentFile) -> str | None:
        for last in (False, True):
            try:
                return self._client.put_file(upload.key, Path(str(upload.staged.path)), part_bytes(sent.size))
            except StoreUnavailableError:
                # The reply to the last request may have been lost, which completes the object.
                found = self._client.head(upload.key)
                if found is not None and self._verifier.arrived(
                    upload.key, upload.url, found.etag, sent, doubtful=True
                ):
                    return found.etag
                if last:
                    raise
        raise AssertionError("The last attempt returns or raises.")


class ObjectBatch:
    """New objects that are uploaded side by side; for one thread."""

    def __init__(self, uploader: Uploader, tree: Tree, keys: Keys, url: str) -> None:
        self._uploader = uploader
        self._tree = tree
        self._keys = keys
        self._url = url
        self._room = Room(uploader.memory)
        self._staged: dict[StagedObject, str | None] = {}
        self._begun: dict[StagedObject, None] = {}
        self._names: dict[str, str] = {}
        self._existing: set[str] = set()
        self._flow: Flow[Upload] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._flow is not None:
            self._flow.stop()
        self._remove(tuple(self._begun))
        for staged in tuple(self._staged):
            self.discard(staged)

    @property
    def full(self) -> bool:
        """Whether it holds as much in memory as it should."""
        return self._room.taken >= bounds.OBJECT_BATCH_BYTES

    def stage(self) -> StagedObject:
        """Begin a new object."""
        staged = StagedObject(self._tree, self._room)
        self._staged[staged] = None
        return staged

    def name(self, staged: StagedFile, name: str) -> None:
        """Say under which name a staged file, now complete, shall appear."""
        assert isinstance(staged, StagedObject)
        self._keys.key(name)
        self._staged[staged] = name
        try:
            staged.close()
        except OSError as error:
            raise posix.unavailable(error, "write", str(staged.path)) from error

    def add(self, data: bytes, name: str) -> None:
        """Stage a whole object, and say under which name it shall appear."""
        staged = self.stage()
        staged.write(data)
        self.name(staged, name)

    def discard(self, staged: StagedFile) -> None:
        """Forget a staged object and remove its temporary file; not once its upload has begun."""
        assert isinstance(staged, StagedObject)
        if staged in self._staged:
            del self._staged[staged]
            staged.remove()

    def begin(self) -> None:
        """Let the uploads of what is named begin, and wait until there is room for more; `commit` waits for the rest.

        So names appear before the commit, each with all of its bytes; only who may let them does this. Raises what
        `commit` raises.
        """
        if self._flow is None:
            self._flow = self._uploader.flow(self._existing)
        self._flow.add(self._uploads())
        self._remove(upload.staged for upload in self._flow.done())
        while self.full and (done := self._flow.done(wait=True)):
            self._remove(upload.staged for upload in done)

    def commit(self) -> frozenset[str]:
        """Upload what was named and verify it; returns the names that existed and were left alone.

        After an error some of the names may exist, whole.
        """
        if self._flow is None:
            self._uploader.upload(self._uploads(), self._existing)
        else:
            self._flow.add(self._uploads())
            self._flow.finish()
            self._flow = None
        self._remove(tuple(self._begun))
        names, self._names = self._names, {}
        existing = frozenset(names[key] for key in self._existing)
        self._existing = set()
        return existing

    def _uploads(self) -> list[Upload]:
        """What is named by now, as uploads that begin; of two files for one name the first."""
        uploads: list[Upload] = []
        for staged, name in tuple(self._staged.items()):
            if name is None:
                continue
            key = self._keys.key(name)
            if key in self._names:
                self._existing.add(key)
                self.discard(staged)
                continue
            self._names[key] = name
            del self._staged[staged]
            self._begun[staged] = None
            uploads.append(Upload(key, f"{self._url}/{name}", staged))
        return uploads

    def _remove(self, uploaded: Iterable[StagedObject]) -> None:
        for staged in uploaded:
            del self._begun[staged]
            staged.remove()
