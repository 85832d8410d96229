"""Who puts and gets objects: ours, and the libraries alone, as they are and with the same verification as ours.

The work is the same for all: many contents, each under its BLAKE3 hash below a folder, 32 requests at once; what is got
ends as Python `bytes`. Who verifies computes the name itself, writes only if the name is free (`If-None-Match: *`) with
a checksum that the server compares, and hashes what it got before it hands it over. The others are told the names.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Protocol

import obstore
import s3fs
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from blake3 import blake3
from obstore.store import S3Store

from renku_store import BlobRef, open_store
from renku_store.blobs.reading import check
from renku_store.drivers.objects.client import ObjectClient
from renku_store.drivers.objects.driver import ObjectDriver
from renku_store.drivers.objects.options import S3Place
from renku_store.hashing import hash_bytes
from tests.drivers.servers import ACCESS_KEY, BUCKET, REGION, SECRET_KEY, Server

CONCURRENCY = 32

Contents = Mapping[str, bytes]
"""Bytes by their hash."""


class Contender(Protocol):
    """One way to put and get."""

    verifies: bool

    def put(self, folder: str, contents: Contents) -> None:
        """Put all of them."""
        ...

    def get(self, folder: str, digests: Iterable[str]) -> None:
        """Get all of them."""
        ...


class Ours:
    """The driver: uploaded with conditions, every upload verified; every read hashed before it is handed over."""

    verifies = True

    def __init__(self, client: ObjectClient, place: S3Place, folder: Path) -> None:
        self._driver = ObjectDriver(client, url=place.url, prefix="", workspace=folder, concurrency=CONCURRENCY)

    def put(self, folder: str, contents: Contents) -> None:
        """One batch, as the intake of blobs fills it."""
        with self._driver.batch() as batch:
            for data in contents.values():
                staged = batch.stage()
                staged.write(data)
                batch.name(staged, f"{folder}/{hash_bytes(data)}")
                if batch.full:
                    batch.begin()
            assert not batch.commit()

    def get(self, folder: str, digests: Iterable[str]) -> None:
        """All of them, each checked as it comes."""
        for name, data in self._driver.read_each(f"{folder}/{digest}" for digest in digests):
            check(name.rpartition("/")[2], data, None)
            del data  # as the others let go what they have handed over, before the next one comes


class OursInThreads(Ours):
    """The same, but that each object is read by itself, as from threads that do not know each other."""

    def __init__(self, client: ObjectClient, place: S3Place, folder: Path) -> None:
        super().__init__(client, place, folder)
        self._pool = ThreadPoolExecutor(CONCURRENCY)

    def get(self, folder: str, digests: Iterable[str]) -> None:
        """Each by itself, from as many threads as requests."""

        def look(digest: str) -> None:
            check(digest, self._driver.read(f"{folder}/{digest}"), None)

        list(self._pool.map(look, digests))


class OursInAMovie:
    """A movie's blobs, as a user puts and reads them; read on a machine that has none of them yet.

    Both machines keep what they put or read in a cache on their disk, as they do unless they are told otherwise.
    """

    verifies = True

    def __init__(self, server: Server, place: S3Place, folder: Path) -> None:
        self._here, self._there = (
            open_store(
                f"{place.url}/movies",
                endpoint=server.endpoint,
                region=REGION,
                path_style=True,
                cache=folder / machine,
                concurrency=CONCURRENCY,
            )
            for machine in ("here", "there")
        )
        self._movie = self._here.create_movie("film")
        self._reader = self._there.movie("film")
        self._pool = ThreadPoolExecutor(CONCURRENCY)
        self._blobs: dict[str, BlobRef] = {}

    def put(self, folder: str, contents: Contents) -> None:  # noqa: ARG002
        """All of them in one call, under names that follow from what they are; durable, and in the index."""
        stored = self._movie.blobs.put_many(contents.values())
        self._blobs = {blob.hash: blob for blob in stored}

    def get(self, folder: str, digests: Iterable[str]) -> None:  # noqa: ARG002
        """Each by itself, from as many threads as requests."""

        def read(digest: str) -> None:
            self._reader.blobs.read(self._blobs[digest])

        list(self._pool.map(read, digests))


class _Library:
    """A library alone, used as its documentation says for many objects."""

    def __init__(self, *, verifies: bool) -> None:
        self.verifies = verifies

    def named(self, digest: str, data: bytes) -> str:
        """The name of a content: computed by those who verify."""
        return blake3(data).hexdigest() if self.verifies else digest

    def handed_over(self, digest: str, data: bytes) -> bytes:
        """What was got, once it was found to be right by those who verify."""
        assert not self.verifies or blake3(data).hexdigest() == digest
        return data


class _Asynchronous(_Library):
    """One event loop, as many requests at once as allowed."""

    def put(self, folder: str, contents: Contents) -> None:
        """All of them, as many at once as allowed."""
        asyncio.run(self._all(self._putting, folder, contents.items()))

    def get(self, folder: str, digests: Iterable[str]) -> None:
        """All of them, as many at once as allowed."""
        asyncio.run(self._all(self._getting, folder, digests))

    async def _all(
        self, action: Callable[[Any, str, Any], Awaitable[object]], folder: str, items: Iterable[Any]
    ) -> None:
        gate = asyncio.Semaphore(CONCURRENCY)
        async with AsyncExitStack() as stack:
            client = await self._open(stack)

            async def one(item: Any) -> None:
                async with gate:
                    await action(client, folder, item)

            await asyncio.gather(*map(one, items))

    async def _open(self, stack: AsyncExitStack) -> Any:
        raise NotImplementedError

    async def _putting(self, client: Any, folder: str, item: tuple[str, bytes]) -> object:
        raise NotImplementedError

    async def _getting(self, client: Any, folder: str, digest: str) -> bytes:
        raise NotImplementedError


def _obstore(server: Server, *, verifies: bool) -> S3Store:
    said: dict[str, Any] = {"checksum_algorithm": "SHA256"} if verifies else {}
    return S3Store(
        BUCKET,
        endpoint=server.endpoint,
        region=REGION,
        access_key_id=ACCESS_KEY,
        secret_access_key=SECRET_KEY,
        client_options={"allow_http": True},
        **said,
    )


class Obstore(_Asynchronous):
    """obstore, asynchronous. Its signature needs the SHA-256 of the bytes, so that the checksum costs nothing more."""

    def __init__(self, server: Server, *, verifies: bool) -> None:
        super().__init__(verifies=verifies)
        self._store = _obstore(server, verifies=verifies)

    async def _open(self, stack: AsyncExitStack) -> S3Store:  # noqa: ARG002
        return self._store

    async def _putting(self, client: S3Store, folder: str, item: tuple[str, bytes]) -> object:
        key, data = f"{folder}/{self.named(*item)}", item[1]
        if self.verifies:
            return await obstore.put_async(client, key, data, mode="create")
        return await obstore.put_async(client, key, data, use_multipart=False)

    async def _getting(self, client: S3Store, folder: str, digest: str) -> bytes:
        found = await (await obstore.get_async(client, f"{folder}/{digest}")).bytes_async()
        return self.handed_over(digest, found.to_bytes())


class ObstoreInThreads(_Library):
    """obstore, its blocking calls from as many threads as requests."""

    def __init__(self, server: Server, *, verifies: bool) -> None:
        super().__init__(verifies=verifies)
        self._store = _obstore(server, verifies=verifies)
        self._pool = ThreadPoolExecutor(CONCURRENCY)

    def put(self, folder: str, contents: Contents) -> None:
        """All of them, as many at once as there are threads."""

        def put(item: tuple[str, bytes]) -> object:
            key, data = f"{folder}/{self.named(*item)}", item[1]
            if self.verifies:
                return obstore.put(self._store, key, data, mode="create")
            return obstore.put(self._store, key, data, use_multipart=False)

        list(self._pool.map(put, contents.items()))

    def get(self, folder: str, digests: Iterable[str]) -> None:
        """All of them, as many at once as there are threads."""

        def get(digest: str) -> bool:
            found = obstore.get(self._store, f"{folder}/{digest}").bytes()
            return bool(self.handed_over(digest, found.to_bytes()))

        list(self._pool.map(get, digests))


class Aiobotocore(_Asynchronous):
    """aiobotocore, with one client and as many connections as requests; it sends a CRC-32 with all it puts."""

    def __init__(self, server: Server, *, verifies: bool) -> None:
        super().__init__(verifies=verifies)
        self._endpoint = server.endpoint
        self._conditions = {"IfNoneMatch": "*"} if verifies else {}

    async def _open(self, stack: AsyncExitStack) -> Any:
        made = get_session().create_client(
            "s3",
            endpoint_url=self._endpoint,
            region_name=REGION,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
            config=AioConfig(max_pool_connections=CONCURRENCY, s3={"addressing_style": "path"}),
        )
        return await stack.enter_async_context(made)

    async def _putting(self, client: Any, folder: str, item: tuple[str, bytes]) -> object:
        key = f"{folder}/{self.named(*item)}"
        return await client.put_object(Bucket=BUCKET, Key=key, Body=item[1], **self._conditions)

    async def _getting(self, client: Any, folder: str, digest: str) -> bytes:
        reply = await client.get_object(Bucket=BUCKET, Key=f"{folder}/{digest}")
        async with reply["Body"] as body:
            return self.handed_over(digest, await body.read())


class S3fs(_Library):
    """s3fs, synchronous, with its own calls for many objects; botocore below it sends a CRC-32 with all it puts."""

    def __init__(self, server: Server, *, verifies: bool) -> None:
        super().__init__(verifies=verifies)
        self._conditions = {"mode": "create"} if verifies else {}
        self._files = s3fs.S3FileSystem(
            key=ACCESS_KEY,
            secret=SECRET_KEY,
            endpoint_url=server.endpoint,
            client_kwargs={"region_name": REGION},
            config_kwargs={"max_pool_connections": CONCURRENCY},
            use_listings_cache=False,
            max_concurrency=1,  # of one object: more would ask for the size of each before it is read
        )

    def put(self, folder: str, contents: Contents) -> None:
        """All of them in one call."""
        named = {f"{BUCKET}/{folder}/{self.named(digest, data)}": data for digest, data in contents.items()}
        self._files.pipe(named, batch_size=CONCURRENCY, **self._conditions)

    def get(self, folder: str, digests: Iterable[str]) -> None:
        """All of them in one call."""
        found: Any = self._files.cat([f"{BUCKET}/{folder}/{digest}" for digest in digests], batch_size=CONCURRENCY)
        for path, data in found.items():
            self.handed_over(path.rpartition("/")[2], data)
