"""A bucket in the memory of a process that counts what is asked of it, as the client of an object driver."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from renku_store.drivers.caching.cache import ObjectCache
from renku_store.drivers.objects.client import ConditionFailedError, ObjectHead
from renku_store.drivers.objects.driver import ObjectDriver


class CountedBucket:
    """Objects by key. `reads` are the keys and places of all reads, `read_bytes` what they gave together.

    `before_read` is called with the key and the place before each read.
    """

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.reads: list[tuple[str, int]] = []
        self.looks: list[str] = []
        self.read_bytes = 0
        self.before_read: Callable[[str, int], None] = lambda _key, _start: None
        self._lock = threading.Lock()

    def _head(self, key: str) -> ObjectHead:
        return ObjectHead(key, len(self.objects[key]), 0.0, f'"{hash(self.objects[key]):x}"')

    def head(self, key: str) -> ObjectHead | None:
        self.looks.append(key)
        return self._head(key) if key in self.objects else None

    def get(self, key: str, *, start: int = 0, length: int | None = None) -> tuple[bytes, ObjectHead] | None:
        self.before_read(key, start)
        if key not in self.objects:
            return None
        data = self.objects[key][start:] if length is None else self.objects[key][start : start + length]
        with self._lock:
            self.reads.append((key, start))
            self.read_bytes += len(data)
        return data, self._head(key)

    def get_pieces(self, key: str, *, length: int | None = None) -> tuple[Sequence[bytes], ObjectHead] | None:
        found = self.get(key, length=length)
        return found and ((found[0][:1], found[0][1:]), found[1])

    def put(
        self, key: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None, mark: str | None = None
    ) -> str | None:
        with self._lock:
            if if_absent and key in self.objects:
                raise ConditionFailedError
            self.objects[key] = bytes(data)
            return None

    def put_file(self, key: str, path: Path, part_bytes: int) -> str | None:
        return self.put(key, path.read_bytes())

    def compares_checksums(self, key: str, *, in_parts: bool) -> bool | None:
        return False

    def copy(self, source: str, target: str) -> bool:
        if source in self.objects:
            self.objects[target] = self.objects[source]
        return source in self.objects

    def delete(self, keys: Sequence[str]) -> None:
        for key in keys:
            self.objects.pop(key, None)

    def list(self, prefix: str) -> Iterator[ObjectHead]:
        return iter([self._head(key) for key in sorted(self.objects) if key.startswith(prefix)])

    def folders(self, prefix: str) -> Iterator[ObjectHead | str]:
        return iter([])

    def close(self) -> None:
        pass


def driver_of(bucket: CountedBucket, workspace: Path, cache: ObjectCache | None) -> ObjectDriver:
    """A driver for the whole bucket, on one machine."""
    return ObjectDriver(bucket, url="counted://bucket", prefix="", workspace=workspace, cache=cache)
