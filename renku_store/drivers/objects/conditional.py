"""Conditional writes whose reply may be lost: read back what is there until it is known how they ended.

Keeps what invariants 5 and 7 rest on in an object storage. Each write carries a mark of its own, kept by the storage
beside the bytes, so that its writer tells its own object from another's with the same bytes. Where a storage keeps no
marks, equal bytes count as ours after a lost reply: the names that this is used for get bytes that mean the same.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator

from renku_store.drivers.objects.client import ConditionFailedError, ObjectClient, ObjectHead, UncertainError
from renku_store.drivers.objects.replies import pauses, unsettled
from renku_store.errors import StoreUnavailableError, UnsafeDriverError


class ConditionalWrite:
    """One write to one key, tried until its outcome is known; `url` names the object in errors."""

    def __init__(self, client: ObjectClient, key: str, data: bytes, url: str) -> None:
        self._client = client
        self._key = key
        self._data = data
        self._url = url
        self._mark = secrets.token_hex(16)
        self._lost: UncertainError | None = None

    def create(self) -> bool:
        """Write if the name is free; False if it is taken.

        Raises `StoreUnavailableError` where it cannot be learnt how it ended; a second try is safe.
        """
        for _ in self._attempts():
            if self._put(if_absent=True):
                return True
            found = self._client.get(self._key)
            if found is not None:
                return self._ours(*found)
        raise unsettled(self._url, self._lost)

    def swap(self, expected: bytes | None) -> bool:
        """Write if the object's bytes are `expected` (None: there is none); False, and nothing written, if not.

        Raises `StoreUnavailableError` where it cannot be learnt how it ended.
        """
        found = self._client.get(self._key)
        for _ in self._attempts():
            if (None if found is None else found[0]) != expected:
                return self._not_expected(found)
            if self._put(if_absent=True) if found is None else self._put(if_match=self._tag_of(found[1])):
                return True
            found = self._client.get(self._key)
            if found is not None and self._ours(*found):
                return True
        raise unsettled(self._url, self._lost)

    def _tag_of(self, head: ObjectHead) -> str:
        """What the condition compares: without a tag the write would have no condition at all."""
        if head.etag is None:
            raise UnsafeDriverError(
                f"The server gives {self._url} no entity tag, so that it cannot be replaced only if it is unchanged.",
                hint="Use a storage with conditional writes.",
            )
        return head.etag

    def _not_expected(self, found: tuple[bytes, ObjectHead] | None) -> bool:
        if self._lost is None:
            return False
        # Ours may have been carried out and then replaced by somebody who had read it.
        raise StoreUnavailableError(
            f"Nobody knows whether {self._url} was written: no reply came, and by now it "
            f"{'is gone' if found is None else 'holds something else'}.",
            hint="Read it again before you try again.",
        ) from self._lost

    def _put(self, *, if_absent: bool = False, if_match: str | None = None) -> bool:
        try:
            self._client.put(self._key, self._data, if_absent=if_absent, if_match=if_match, mark=self._mark)
        except ConditionFailedError:
            return False
        except UncertainError as error:
            self._lost = error
            return False
        return True

    def _ours(self, data: bytes, head: ObjectHead) -> bool:
        if head.mark is not None:
            return head.mark == self._mark
        return self._lost is not None and data == self._data

    def _attempts(self) -> Iterator[None]:
        yield
        for pause in pauses():
            time.sleep(pause)
            yield
