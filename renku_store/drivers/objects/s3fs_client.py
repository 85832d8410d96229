"""Requests to a bucket through s3fs: its sessions, its event loop, its translated errors.

s3fs turns what a server answers into `OSError`s and keeps the answer as their cause: a refused condition (412) arrives
as `EINVAL` or `FileExistsError`, a conflict (409) as `EBUSY` or `EIO`. So the cause is what is read here. s3fs also
drops parameters that its botocore does not know: conditions are sent only once that is known to know them. Reads, and
writes without a condition, are repeated by botocore (not by s3fs, too); conditional writes never are.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Iterator, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Any, BinaryIO, Final, NoReturn

import aiohttp
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
)
from fsspec.asyn import sync

from renku_store import bounds
from renku_store.drivers.forking import anew_after_fork
from renku_store.drivers.objects.client import ConditionFailedError, ObjectHead, UncertainError
from renku_store.drivers.objects.options import S3Place
from renku_store.drivers.objects.replies import NO_CREDENTIALS, Refusal, pauses
from renku_store.drivers.objects.s3fs_files import file_system
from renku_store.drivers.objects.s3fs_replies import (
    MARK,
    NO_BUCKET,
    answer_of,
    head_of,
    listed,
    raise_if_no_bucket,
    refused_deletions,
    tag_of,
)
from renku_store.errors import UnsafeDriverError

_DELETE_MAX_KEYS: Final = 1_000
"""Keys that one request may delete, by the protocol."""
_sync: Final[Any] = sync
_FAILURES: Final = (OSError, BotoCoreError, ClientError, aiohttp.ClientError, HTTPException)
_NOT_SENT: Final = (
    ConnectTimeoutError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
)


class S3fsClient:
    """One bucket through s3fs; safe to use from many threads. `read_seconds`: how long a server may be silent."""

    def __init__(self, place: S3Place, *, read_seconds: float = bounds.OBJECT_READ_SECONDS) -> None:
        self._bucket = place.bucket
        self._server = place.endpoint or "AWS"
        self._place = place
        self._read_seconds = read_seconds
        self._files: dict[tuple[int, int], Any] = {}
        self._conditions_known = False
        self._bucket_seen = False
        self.begin_anew()
        anew_after_fork(self)

    def begin_anew(self) -> None:
        """After a fork: no thread is making a file system here. Those there are stay, as they belong to the parent."""
        self._making = threading.Lock()

    def head(self, key: str) -> ObjectHead | None:
        """Size, time and tag, or None where there is no such object."""
        with self._named_errors("look at", key):
            try:
                return head_of(key, self._call("head_object", Key=key))
            except FileNotFoundError as error:
                raise_if_no_bucket(error)
                self._look_for_bucket(key)
                return None

    def _look_for_bucket(self, key: str) -> None:
        """Raise where there is no bucket: the reply to a HEAD does not tell it from a missing object."""
        if not self._bucket_seen:
            self._call("list_objects_v2", Prefix=key, MaxKeys=1)
            self._bucket_seen = True

    def get(self, key: str, *, start: int = 0, length: int | None = None) -> tuple[bytes, ObjectHead] | None:
        """The bytes from `start`, at most `length`, and the head; None where there is no such object."""
        if length == 0:
            return self._nothing_of(key)
        with self._named_errors("read", key):
            try:
                files = self._repeating
                found: tuple[bytes, ObjectHead] = _sync(files.loop, self._get, files, key, start, length)
            except FileNotFoundError as error:
                raise_if_no_bucket(error)
                return None
            except OSError as error:
                answered = answer_of(error)
                if answered is None or answered[0] != 416:
                    raise
                return self._nothing_of(key)
            return found

    def get_pieces(self, key: str, *, length: int | None = None) -> tuple[Sequence[bytes], ObjectHead] | None:
        """The same from the start: the library gives one piece."""
        found = self.get(key, length=length)
        return found and ((found[0],), found[1])

    def _nothing_of(self, key: str) -> tuple[bytes, ObjectHead] | None:
        head = self.head(key)
        return None if head is None else (b"", head)

    async def _get(self, files: Any, key: str, start: int, length: int | None) -> tuple[bytes, ObjectHead]:
        """The bytes; again where a body breaks off, which the libraries leave to their caller."""
        wanted: dict[str, Any] = {}
        if start or length is not None:
            wanted["Range"] = f"bytes={start}-" + (str(start + length - 1) if length is not None else "")
        attempts = bounds.OBJECT_ATTEMPTS
        while True:
            attempts -= 1
            answer = await self._request(files, "get_object", Key=key, **wanted)
            try:
                async with answer["Body"] as body:
                    data: bytes = await body.read()
                break
            except _FAILURES:
                if attempts <= 0:
                    raise
                await asyncio.sleep(bounds.OBJECT_FIRST_PAUSE_SECONDS)
        if wanted and "ContentRange" not in answer:  # the server ignores ranges
            return data[start:][:length], head_of(key, answer)
        return data, head_of(key, answer)

    def put(
        self,
        key: str,
        data: bytes | memoryview,
        *,
        if_absent: bool = False,
        if_match: str | None = None,
        mark: str | None = None,
    ) -> str | None:
        """Write an object in one request; gives its tag. Conditions are sent once."""
        parameters: dict[str, Any] = {"Key": key, "Body": bytes(data)}
        if mark is not None:
            parameters["Metadata"] = {MARK: mark}
        if not if_absent and if_match is None:
            with self._named_errors("write", key):
                return tag_of(self._call("put_object", **parameters))
        parameters |= {"IfNoneMatch": "*"} if if_absent else {"IfMatch": if_match}
        with self._named_errors("write", key):
            self._check_conditions()
            try:
                return tag_of(self._call("put_object", once=True, **parameters))
            except _FAILURES as error:
                self._raise_conditional(error, key)

    def _raise_conditional(self, error: Exception, key: str) -> NoReturn:
        """Say what a failure of a conditional write means; where it was refused, or never sent, that is certain."""
        refusal = self._refusal(error)
        if refusal.status in {404, 409, 412} and refusal.code not in NO_BUCKET:
            raise ConditionFailedError(refusal.code) from error
        unavailable = refusal.error("write", self._url(key))
        if refusal.uncertain and not _was_never_sent(error):
            raise UncertainError(unavailable.message) from unavailable
        raise unavailable from error

    def put_file(self, key: str, path: Path, part_bytes: int) -> str | None:
        """Write a large object in parts of so many bytes, in constant memory, with no condition; gives its tag."""
        with self._named_errors("write", key), open(path, "rb") as file:
            files = self._repeating
            tag: str | None = _sync(files.loop, self._put_parts, files, key, file, part_bytes)
        return tag

    async def _put_parts(self, files: Any, key: str, file: BinaryIO, part_bytes: int) -> str | None:
        upload = (await self._request(files, "create_multipart_upload", Key=key))["UploadId"]
        try:
            parts: list[dict[str, Any]] = []
            for first in _steps(os.fstat(file.fileno()).st_size, part_bytes, bounds.OBJECT_PARTS_AT_ONCE):
                sent = (self._put_part(files, key, upload, file, number, part_bytes) for number in first)
                parts += await asyncio.gather(*sent)
            done = await self._request(
                files, "complete_multipart_upload", Key=key, UploadId=upload, MultipartUpload={"Parts": parts}
            )
        except BaseException:
            # Parts of an upload that is never completed take room, and are not listed; the failure is what counts.
            with contextlib.suppress(*_FAILURES):
                await self._request(files, "abort_multipart_upload", Key=key, UploadId=upload)
            raise
        return tag_of(done)

    async def _put_part(
        self, files: Any, key: str, upload: str, file: BinaryIO, number: int, part_bytes: int
    ) -> dict[str, Any]:
        data = await asyncio.to_thread(os.pread, file.fileno(), part_bytes, (number - 1) * part_bytes)
        sent = await self._request(files, "upload_part", Key=key, UploadId=upload, PartNumber=number, Body=data)
        return {"PartNumber": number, "ETag": sent["ETag"]}

    def compares_checksums(self, key: str, *, in_parts: bool) -> bool | None:  # noqa: ARG002
        """False: the checksums that botocore sends are its own choice."""
        return False

    def copy(self, source: str, target: str) -> bool:
        """Copy on the server, replacing; False where there is no such object."""
        with self._named_errors("copy", source):
            try:
                self._call("copy_object", Key=target, CopySource={"Bucket": self._bucket, "Key": source})
            except FileNotFoundError as error:
                raise_if_no_bucket(error)
                return False
        return True

    def delete(self, keys: Sequence[str]) -> None:
        """Remove objects; no error for those that are not there."""
        for first in range(0, len(keys), _DELETE_MAX_KEYS):
            self._delete_some(keys[first : first + _DELETE_MAX_KEYS])

    def _delete_some(self, keys: Sequence[str]) -> None:
        """Remove as many as one request may name; again those that the server was too busy for."""
        waits = pauses()
        while refused := self._still_there(keys):
            lasting = {key: refusal for key, refusal in refused.items() if key not in keys or not refusal.passing}
            pause = next(waits, None)
            if lasting or pause is None:
                key, refusal = next(iter((lasting or refused).items()))
                raise refusal.error("delete", self._url(key))
            keys = [*refused]
            time.sleep(pause)

    def _still_there(self, keys: Sequence[str]) -> dict[str, Refusal]:
        """Ask for objects to be removed; gives those that the reply, which is 200 all the same, says are not."""
        with self._named_errors("delete", keys[0]):
            try:
                if len(keys) == 1:
                    self._call("delete_object", Key=keys[0])
                    return {}
                wanted = {"Objects": [{"Key": key} for key in keys], "Quiet": True}
                answer = self._call("delete_objects", Delete=wanted)
            except FileNotFoundError as error:
                raise_if_no_bucket(error)
                return {}
        return refused_deletions(answer.get("Errors", ()), self._server)

    def list(self, prefix: str) -> Iterator[ObjectHead]:
        """Every object whose key begins with `prefix`, in the order of keys, page by page."""
        for page in self._pages(prefix):
            for found in page.get("Contents", ()):
                yield listed(found)

    def folders(self, prefix: str) -> Iterator[ObjectHead | str]:
        """What is directly below `prefix` (ends in `/`, or empty): objects, and the full prefixes of folders."""
        for page in self._pages(prefix, Delimiter="/"):
            for found in page.get("Contents", ()):
                if found["Key"] != prefix:
                    yield listed(found)
            for folder in page.get("CommonPrefixes", ()):
                yield folder["Prefix"]

    def _pages(self, prefix: str, **parameters: Any) -> Iterator[dict[str, Any]]:
        """The pages of a listing as the server gives them now; s3fs keeps none of them."""
        while True:
            with self._named_errors("list", prefix):
                page = self._call("list_objects_v2", Prefix=prefix, **parameters)
            yield page
            token = page.get("NextContinuationToken")
            if not page.get("IsTruncated") or not token:
                return
            parameters["ContinuationToken"] = token

    def close(self) -> None:
        """Let go of connections."""
        with self._making:
            for (process, _), files in self._files.items():
                if process == os.getpid():
                    with contextlib.suppress(*_FAILURES):  # one that never came to be
                        files.close_session(files.loop, files.s3)
            self._files.clear()

    # Requests

    @property
    def _repeating(self) -> Any:
        return self._file_system(bounds.OBJECT_ATTEMPTS)

    def _file_system(self, attempts: int) -> Any:
        """The file system that sends a request so often; a forked process has its own, as event loops do not fork."""
        which = (os.getpid(), attempts)
        with self._making:
            if which not in self._files:
                self._files[which] = file_system(self._place, attempts, self._read_seconds)
            return self._files[which]

    def _call(self, method: str, *, once: bool = False, **parameters: Any) -> dict[str, Any]:
        attempts = 1 if once else bounds.OBJECT_ATTEMPTS
        files = self._file_system(attempts)
        found: dict[str, Any] = _sync(files.loop, self._request, files, method, attempts=attempts, **parameters)
        return found

    async def _request(
        self, files: Any, method: str, attempts: int = bounds.OBJECT_ATTEMPTS, **parameters: Any
    ) -> dict[str, Any]:
        """A request from s3fs's own loop, by its coroutine, which is public by fsspec's rule for names.

        Again where an answer breaks off, which botocore does not repeat. `files` is asked for outside the loop: making
        one waits for it.
        """
        while True:
            attempts -= 1
            try:
                answer: dict[str, Any] = await files._call_s3(method, Bucket=self._bucket, **parameters)  # noqa: SLF001
            except aiohttp.ClientPayloadError:
                if attempts <= 0:
                    raise
                await asyncio.sleep(bounds.OBJECT_FIRST_PAUSE_SECONDS)
            else:
                return answer

    def _check_conditions(self) -> None:
        """Refuse a botocore whose requests cannot hold conditions: s3fs would leave them out without a word."""
        if self._conditions_known:
            return
        model = self._file_system(1).s3.meta.service_model.operation_model("PutObject").input_shape.members
        if not {"IfMatch", "IfNoneMatch"} <= model.keys():
            raise UnsafeDriverError(
                "The installed botocore cannot send conditional writes.",
                hint="pip install --upgrade 's3fs' 'aiobotocore>=2.19'",
            )
        self._conditions_known = True

    @contextlib.contextmanager
    def _named_errors(self, doing: str, key: str) -> Iterator[None]:
        try:
            yield
        except _FAILURES as error:
            raise self._refusal(error).error(doing, self._url(key)) from error

    def _refusal(self, error: BaseException) -> Refusal:
        answered = answer_of(error)
        if answered is not None:
            return Refusal(self._server, *answered)
        if isinstance(error, NoCredentialsError | PartialCredentialsError):
            return Refusal(self._server, code=NO_CREDENTIALS, lasting=True)
        return Refusal(self._server, failure=" ".join((str(error) or type(error).__name__).split()).rstrip("."))

    def _url(self, key: str) -> str:
        return f"s3://{self._bucket}/{key}"


def _was_never_sent(error: Exception) -> bool:
    """Whether a request cannot have been carried out: aiobotocore takes one that broke off for out of reach, too."""
    if isinstance(error, EndpointConnectionError):
        return isinstance(error.kwargs.get("error"), aiohttp.ClientConnectorError)
    return isinstance(error, _NOT_SENT)


def _steps(size: int, part_bytes: int, at_once: int) -> Iterator[range]:
    """The numbers of an object's parts, so many at once, from 1."""
    count = max(1, -(-size // part_bytes))
    for first in range(1, count + 1, at_once):
        yield range(first, min(first + at_once, count + 1))
