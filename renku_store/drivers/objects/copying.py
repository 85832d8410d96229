"""Copies within a bucket: made by the server where it can, through a temporary file where the object is too large.

An object is made young by writing it again with the bytes that it has, because servers refuse to copy one onto itself.
"""

from __future__ import annotations

import os
import secrets
import shutil
import time
from pathlib import Path

from renku_store import bounds
from renku_store.drivers import posix
from renku_store.drivers.objects.client import ConditionFailedError, ObjectClient, ObjectHead, UncertainError
from renku_store.drivers.objects.replies import pauses, unsettled
from renku_store.drivers.objects.streaming import ObjectStream, changed, read_range
from renku_store.drivers.objects.verifying import part_bytes
from renku_store.drivers.tree import Tree


class Copier:
    """Copies below one root; `aside` is the prefix of keys that are in no listing but their own. For many threads."""

    def __init__(self, client: ObjectClient, tree: Tree, aside: str, *, conditional: bool) -> None:
        self._client = client
        self._tree = tree
        self._aside = aside
        self._conditional = conditional

    def copy(self, source: str, target: str, url: str) -> bool:
        """Copy an object, replacing; False where it is not there."""
        head = self._client.head(source)
        if head is None:
            return False
        if head.size <= bounds.OBJECT_COPY_MAX_BYTES:
            return self._client.copy(source, target)
        self._copy_through_here(source, target, url, head)
        return True

    def renew(self, key: str, url: str) -> None:
        """Write an object again with its bytes, so that it is young; nothing where it is not there.

        Killed in between, it leaves a copy aside, which a collection removes.
        """
        head = self._client.head(key)
        if head is None:
            return
        if head.size <= bounds.OBJECT_PART_BYTES:
            self._put_again(key, url)
            return
        between = f"{self._aside}{secrets.token_hex(8)}"
        try:
            if self.copy(key, between, url):
                self.copy(between, key, url)
        finally:
            self._client.delete([between])

    def _put_again(self, key: str, url: str) -> None:
        """Write small objects only if they are still what was read: one that is being removed does not come back."""
        found = read_range(self._client, key, url)
        if found is None:
            return
        data, head = found
        if not self._conditional:
            self._client.put(key, data, mark=head.mark)
            return
        lost: UncertainError | None = None
        for pause in (*pauses(), None):
            try:
                self._client.put(key, data, if_match=head.etag, mark=head.mark)
            except ConditionFailedError:
                return
            except UncertainError as error:
                lost = error
            else:
                return
            if pause is not None:
                time.sleep(pause)
        raise unsettled(url, lost)

    def _copy_through_here(self, source: str, target: str, url: str, head: ObjectHead) -> None:
        path = ""
        try:
            descriptor, path = self._tree.open_temporary()
            with (
                open(descriptor, "wb") as file,
                ObjectStream(self._client, source, url, lambda: changed(url)) as stream,
            ):
                shutil.copyfileobj(stream, file, bounds.CHUNK_BYTES)
            self._client.put_file(target, Path(path), part_bytes(head.size))
        except OSError as error:
            raise posix.unavailable(error, "write", path or self._tree.root) from error
        finally:
            if path:
                os.unlink(path)
