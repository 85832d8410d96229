"""S3 through obstore: requests leave Python as soon as they are made, and conditions have errors of their own.

Every request is sent once by the library and repeated here where that is safe: the library repeats neither deletions
whose reply was lost nor replies whose body broke off, and tells little of conditional writes that it repeated. Only
the parts of a large object are left to it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError
from obstore.store import S3Store

from renku_store import bounds
from renku_store.drivers import posix
from renku_store.drivers.objects.client import ConditionFailedError, ObjectHead, UncertainError
from renku_store.drivers.objects.obstore_replies import refusal_of
from renku_store.drivers.objects.obstore_threads import check_process
from renku_store.drivers.objects.obstore_together import Together
from renku_store.drivers.objects.obstore_trial import refuses_wrong_checksum
from renku_store.drivers.objects.options import S3Place
from renku_store.drivers.objects.replies import Refusal, pauses
from renku_store.errors import StoreUnavailableError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer
    from obstore import GetResult, ObjectMeta, PutMode
    from obstore.store import ClientConfig, RetryConfig

T = TypeVar("T")

_MARK: Final = "renku-mark"
"""The user metadata that holds a writer's mark."""
_PAGE: Final = 1_000
"""Objects in one reply to a listing, by the protocol."""
_QUICK_MAX_BYTES: Final = 65_536
"""What is sent in no time: the time for the reply counts from the beginning of the request."""
_PIECES_FROM_BYTES: Final = 1_048_576
"""From here a reply is not put together by the library: whoever puts it together copies it once instead of twice."""
_FAILURES: Final = (BaseError, OSError, ValueError)


class ObstoreClient:
    """Requests to the bucket of a place; from any thread.

    `credentials`: gives obstore's `S3Credential` when it is asked; None for what the environment says.
    `read_seconds`: how long a server may be silent; `request_seconds`: how long one request may take, with all of its
    bytes. Raises `StoreUnavailableError`.
    """

    def __init__(
        self,
        place: S3Place,
        *,
        credentials: Callable[[], dict[str, Any]] | None = None,
        read_seconds: float = bounds.OBJECT_READ_SECONDS,
        request_seconds: float = bounds.OBJECT_REQUEST_SECONDS,
    ) -> None:
        self._place = place
        self._server = place.endpoint or "AWS"
        self._bucket_seen = False
        self._slow = _options(place, credentials, request_seconds, request_seconds)
        self._quick = _options(place, credentials, read_seconds, request_seconds)
        self._store = S3Store(place.bucket, retry_config={"max_retries": 0}, **self._quick)
        self._sending = S3Store(place.bucket, retry_config={"max_retries": 0}, **self._slow)
        self._repeating: S3Store | None = None

    def head(self, key: str) -> ObjectHead | None:
        """Size, time and tag, or None where there is no such object."""
        try:
            return self._ask("look at", key, lambda: _head(obstore.head(self._store, key)))
        except FileNotFoundError:
            if not self._bucket_seen:
                # The reply to a HEAD does not tell a missing bucket from a missing object. Nothing beside the key is
                # listed: credentials may end at the prefix of the root, and others may have odd keys elsewhere.
                self._ask("look at", key, lambda: next(iter(obstore.list(self._store, key, chunk_size=1)), None))
                self._bucket_seen = True
            return None

    def get(self, key: str, *, start: int = 0, length: int | None = None) -> tuple[bytes, ObjectHead] | None:
        """The bytes from `start`, at most `length`, and the head; None where there is no such object."""
        try:
            data, head = self._ask("read", key, lambda: self._get(key, start, length, _whole))
        except FileNotFoundError:
            return None
        return data or b"", head

    def get_pieces(self, key: str, *, length: int | None = None) -> tuple[Sequence[ReadableBuffer], ObjectHead] | None:
        """The same from the start, without the mark, in buffers of the library, large ones as they came."""
        try:
            pieces, head = self._ask("read", key, lambda: self._get(key, 0, length, _pieces))
        except FileNotFoundError:
            return None
        return pieces or (), head

    def fetches_of_one_thread(self) -> Together:
        """Whole objects, asked for by the calling thread alone."""
        return Together(self._store)

    def _get(
        self, key: str, start: int, length: int | None, take: Callable[[GetResult], tuple[T, ObjectHead]]
    ) -> tuple[T | None, ObjectHead]:
        if length == 0:
            return None, _head(obstore.head(self._store, key))
        try:
            if length is not None:
                found = obstore.get(self._store, key, options={"range": (start, start + length)})
            elif start:
                found = obstore.get(self._store, key, options={"range": {"offset": start}})
            else:
                found = obstore.get(self._store, key)
            return take(found)
        except BaseError as error:
            if self._refusal(error).status != 416:
                raise
            # The range begins at the end, or beyond it.
            return None, _head(obstore.head(self._store, key))

    def put(
        self,
        key: str,
        data: bytes | memoryview,
        *,
        if_absent: bool = False,
        if_match: str | None = None,
        mark: str | None = None,
    ) -> str | None:
        """Write an object in one request; gives its tag."""
        store = self._store if len(data) <= _QUICK_MAX_BYTES else self._sending
        attributes = None if mark is None else {_MARK: mark}
        if not if_absent and if_match is None:
            made = self._ask(
                "write", key, lambda: obstore.put(store, key, data, attributes=attributes, use_multipart=False)
            )
            return made["e_tag"]
        check_process()
        mode: PutMode = "create" if if_match is None else {"e_tag": if_match}
        try:
            return obstore.put(store, key, data, attributes=attributes, mode=mode)["e_tag"]
        except _FAILURES as error:
            self._raise_conditional(key, error)

    def _raise_conditional(self, key: str, error: Exception) -> NoReturn:
        """Say what the failure of a conditional write means."""
        refusal = self._refusal(error)
        refused = isinstance(error, AlreadyExistsError | PreconditionError) or refusal.status in {404, 409, 412}
        if refused and refusal.code != "NoSuchBucket":
            raise ConditionFailedError(refusal.code) from None
        unavailable = refusal.error("write", self._url(key))
        if refusal.uncertain:
            raise UncertainError(unavailable.message) from unavailable
        raise unavailable from None

    def put_file(self, key: str, path: Path, part_bytes: int) -> str | None:
        """Write a large object in parts of so many bytes, in constant memory; gives its tag."""
        check_process()
        try:
            made = obstore.put(
                self._store_for_parts(),
                key,
                path,
                use_multipart=True,
                chunk_size=part_bytes,
                max_concurrency=bounds.OBJECT_PARTS_AT_ONCE,
            )
        except _FAILURES as error:
            raise self._refusal(error).error("write", self._url(key)) from None
        return made["e_tag"]

    def _store_for_parts(self) -> S3Store:
        """A store that repeats by itself; made when the first large object comes."""
        if self._repeating is None:
            retry: RetryConfig = {
                "max_retries": bounds.OBJECT_ATTEMPTS - 1,
                "backoff": {
                    "init_backoff": timedelta(seconds=bounds.OBJECT_FIRST_PAUSE_SECONDS),
                    "max_backoff": timedelta(seconds=bounds.OBJECT_PAUSE_MAX_SECONDS),
                },
            }
            self._repeating = S3Store(self._place.bucket, retry_config=retry, **self._slow)
        return self._repeating

    def compares_checksums(self, key: str, *, in_parts: bool) -> bool | None:
        """Whether uploads are refused whose SHA-256 is another's; None where a trial does not tell."""
        check_process()
        answer = refuses_wrong_checksum(self._place.bucket, self._quick, key, in_parts=in_parts)
        if answer is False:
            with contextlib.suppress(StoreUnavailableError):  # what stays there goes with the trials of a later probe
                self.delete([key])
        return answer

    def copy(self, source: str, target: str) -> bool:
        """Copy on the server, replacing; False where there is no such object."""
        try:
            self._ask("copy", source, lambda: obstore.copy(self._store, source, target))
        except FileNotFoundError:
            return False
        return True

    def delete(self, keys: Sequence[str]) -> None:
        """Remove objects; no error for those that are not there."""
        if keys:
            try:
                self._ask("delete", keys[0], lambda: self._delete(keys))
            except FileNotFoundError:
                # The server takes it for an error that one is not there, and the library tells of one alone.
                for key in keys if len(keys) > 1 else ():
                    self.delete([key])

    def _delete(self, keys: Sequence[str]) -> None:
        try:
            obstore.delete(self._store, [*keys])
        except BaseError as error:
            if self._refusal(error).code == "NoSuchKey":
                raise FileNotFoundError from error
            raise

    def list(self, prefix: str) -> Iterator[ObjectHead]:
        """Every object whose key begins with `prefix`, page by page; it goes on where a reply broke off."""
        pages = _Pages(self._store, prefix)
        while page := self._ask("list", prefix, pages.next):
            for meta in page:
                # The library drops the slash at the end of `a/b/`, an empty object by which others mark a folder.
                if meta["size"] or self.head(meta["path"]) is not None:
                    yield _head(meta)

    def folders(self, prefix: str) -> Iterator[ObjectHead | str]:
        """What is directly below `prefix`: objects, and the full prefixes of folders."""
        found = self._ask("list", prefix, lambda: obstore.list_with_delimiter(self._store, prefix or None))
        for folder in found["common_prefixes"]:
            yield f"{folder.rstrip('/')}/"
        yield from map(_head, found["objects"])

    def close(self) -> None:
        """Nothing to do: connections go with the object."""

    def _ask(self, doing: str, key: str, action: Callable[[], T]) -> T:
        """Do what can be repeated until the server answers; `FileNotFoundError` where there is no such object."""
        check_process()
        waits = pauses()
        while True:
            try:
                return action()
            except _FAILURES as error:
                refusal = self._refusal(error)
                if isinstance(error, FileNotFoundError) and refusal.code != "NoSuchBucket":
                    raise
                pause = next(waits, None)
                if pause is None or not refusal.passing:
                    raise refusal.error(doing, self._url(key)) from None
            time.sleep(pause)

    def _refusal(self, error: Exception) -> Refusal:
        return refusal_of(error, self._server)

    def _url(self, key: str) -> str:
        return f"s3://{self._place.bucket}/{key}"


class _Pages:
    """The pages of a listing; after a failure, the next one begins behind the last object seen."""

    def __init__(self, store: S3Store, prefix: str) -> None:
        self._store = store
        self._prefix = prefix or None
        self._last: str | None = None
        self._stream: Iterator[Sequence[ObjectMeta]] | None = None

    def next(self) -> Sequence[ObjectMeta]:
        """The next page; an empty one at the end."""
        if self._stream is None:
            self._stream = iter(obstore.list(self._store, self._prefix, offset=self._last, chunk_size=_PAGE))
        try:
            page = next(self._stream, ())
        except _FAILURES:
            self._stream = None
            raise
        if page:
            self._last = page[-1]["path"]
        return page


def _options(
    place: S3Place, credentials: Callable[[], dict[str, Any]] | None, read_seconds: float, request_seconds: float
) -> dict[str, Any]:
    """What a place means to obstore, which reads the environment for whatever is not said."""
    client: ClientConfig = {
        "connect_timeout": timedelta(seconds=bounds.OBJECT_CONNECT_SECONDS),
        "read_timeout": timedelta(seconds=read_seconds),
        "timeout": timedelta(seconds=request_seconds),
        "allow_http": (place.endpoint or "").startswith("http://"),
        "allow_invalid_certificates": not place.verify,
    }
    if place.ca is not None:
        try:
            client["root_certificate"] = Path(place.ca).read_bytes()
        except OSError as error:
            raise posix.unavailable(error, "read", place.ca) from error
    said: dict[str, Any] = {
        "client_options": client,
        "conditional_put": "etag",
        # Costs nothing, as the signature needs it; servers that ignore the signature's verify this one.
        "checksum_algorithm": "SHA256",
        "skip_signature": place.anonymous,
        "virtual_hosted_style_request": not place.path_style,
    }
    if place.endpoint is not None:
        # The environment's would go before `endpoint`.
        said["endpoint"] = said["aws_endpoint_url_s3"] = place.endpoint
    if place.region is not None:
        said["region"] = place.region
    if credentials is not None and not place.anonymous:
        said["credential_provider"] = credentials
    return said


def _whole(found: GetResult) -> tuple[bytes, ObjectHead]:
    return found.bytes().to_bytes(), _head(found.meta, found.attributes.get(_MARK))


def _pieces(found: GetResult) -> tuple[Sequence[ReadableBuffer], ObjectHead]:
    meta = found.meta
    if meta["size"] < _PIECES_FROM_BYTES:
        return (found.bytes(),), _head(meta)
    return [*found.stream(min_chunk_size=1)], _head(meta)


def _head(meta: ObjectMeta, mark: str | None = None) -> ObjectHead:
    return ObjectHead(meta["path"], meta["size"], meta["last_modified"].timestamp(), meta["e_tag"], mark)
