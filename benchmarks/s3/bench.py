"""Measures putting objects into an S3 server and getting them back: our drivers beside the bare libraries."""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import obstore
import s3fs
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from blake3 import blake3
from measuring import arguments, machine, workplace
from obstore.store import S3Store

from renku_store.drivers.objects.driver import ObjectDriver
from renku_store.drivers.objects.obstore_client import ObstoreClient
from renku_store.drivers.objects.options import S3Place
from renku_store.drivers.objects.s3fs_client import S3fsClient
from tests.drivers.servers import ACCESS_KEY, BUCKET, REGION, SECRET_KEY, Server, seaweed_server, started

QUESTION = "How fast are objects put into an S3 server and got back, verified, beside the bare libraries?"
SIZES = {"small": 4_096, "large": 5 * 1_048_576}
COUNTS = {False: {"small": 2_000, "large": 100}, True: {"small": 200, "large": 10}}
CONCURRENCY = 32

Contents = dict[str, bytes]
"""Keys and bytes."""
Taken = dict[tuple[str, str], list[tuple[float, float]]]
"""What each task took each contender, round by round: seconds, and those of this process on the processors."""


class Ours:
    """The driver: staged, uploaded with conditions, every upload verified; every read hashed."""

    def __init__(self, client: Any, place: S3Place, folder: Path) -> None:
        self._driver = ObjectDriver(client, url=place.url, prefix="", workspace=folder, concurrency=CONCURRENCY)
        self._pool = ThreadPoolExecutor(CONCURRENCY)

    def put(self, contents: Contents) -> None:
        """One batch."""
        with self._driver.batch() as batch:
            for key, data in contents.items():
                staged = batch.stage()
                staged.write(data)
                batch.name(staged, key)
                if batch.full:
                    assert not batch.commit()
            assert not batch.commit()

    def get(self, digests: dict[str, str]) -> None:
        """Each by itself, from as many threads."""

        def look(key: str) -> None:
            assert blake3(self._driver.read(key)).hexdigest() == digests[key]

        list(self._pool.map(look, digests))


class Bare:
    """A library alone, used as its documentation says for many objects; nothing is verified."""

    def put(self, contents: Contents) -> None:
        """All of them, as many at once as allowed."""
        asyncio.run(self._all(self._putting, contents.items()))

    def get(self, digests: dict[str, str]) -> None:
        """All of them, as many at once as allowed."""
        asyncio.run(self._all(self._getting, digests))

    async def _all(self, action: Callable[[Any, Any], Awaitable[object]], items: Iterable[Any]) -> None:
        gate = asyncio.Semaphore(CONCURRENCY)
        async with AsyncExitStack() as stack:
            client = await self._open(stack)

            async def one(item: Any) -> None:
                async with gate:
                    await action(client, item)

            await asyncio.gather(*map(one, items))

    async def _open(self, stack: AsyncExitStack) -> Any:
        raise NotImplementedError

    async def _putting(self, client: Any, item: tuple[str, bytes]) -> object:
        raise NotImplementedError

    async def _getting(self, client: Any, key: str) -> object:
        raise NotImplementedError


class Obstore(Bare):
    """obstore, asynchronous."""

    def __init__(self, server: Server) -> None:
        self._store = S3Store(
            BUCKET,
            endpoint=server.endpoint,
            region=REGION,
            access_key_id=ACCESS_KEY,
            secret_access_key=SECRET_KEY,
            client_options={"allow_http": True},
        )

    async def _open(self, _: AsyncExitStack) -> S3Store:
        return self._store

    async def _putting(self, client: S3Store, item: tuple[str, bytes]) -> object:
        return await obstore.put_async(client, *item, use_multipart=False)

    async def _getting(self, client: S3Store, key: str) -> object:
        return (await (await obstore.get_async(client, key)).bytes_async()).to_bytes()


class Aiobotocore(Bare):
    """aiobotocore, with one client and as many connections as requests."""

    def __init__(self, server: Server) -> None:
        self._endpoint = server.endpoint

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

    async def _putting(self, client: Any, item: tuple[str, bytes]) -> object:
        return await client.put_object(Bucket=BUCKET, Key=item[0], Body=item[1])

    async def _getting(self, client: Any, key: str) -> object:
        reply = await client.get_object(Bucket=BUCKET, Key=key)
        async with reply["Body"] as body:
            return await body.read()


class S3fs:
    """s3fs, synchronous, with its own calls for many objects."""

    def __init__(self, server: Server) -> None:
        self._files = s3fs.S3FileSystem(
            key=ACCESS_KEY,
            secret=SECRET_KEY,
            endpoint_url=server.endpoint,
            client_kwargs={"region_name": REGION},
            config_kwargs={"max_pool_connections": CONCURRENCY},
            use_listings_cache=False,
        )

    def put(self, contents: Contents) -> None:
        """All of them in one call."""
        self._files.pipe({f"{BUCKET}/{key}": data for key, data in contents.items()}, batch_size=CONCURRENCY)

    def get(self, digests: dict[str, str]) -> None:
        """All of them in one call."""
        assert len(self._files.cat([f"{BUCKET}/{key}" for key in digests], batch_size=CONCURRENCY)) == len(digests)


def contents(contender: str, size: str, number: int, count: int) -> Contents:
    """Bytes that cannot be compressed, each another."""
    random = Random(f"{contender} {size} {number}")
    body = random.randbytes(SIZES[size] - 16)
    return {f"{contender}/{size}/{number}/{each:05d}": random.randbytes(16) + body for each in range(count)}


def measure(contenders: dict[str, Any], counts: dict[str, int], rounds: int) -> Taken:
    """What each task takes each contender, who take turns in another order each round, so that none follows another.

    Small objects are done with before large ones begin, whose bytes the server's disk is busy with for a while.
    """
    taken: Taken = {}
    for size in SIZES:
        for number in range(-1, rounds):  # the first is for connections, memory and the server's disk
            for name in Random(number).sample([*contenders], len(contenders)):
                made = contents(name, size, number, counts[size])
                digests = {key: blake3(data).hexdigest() for key, data in made.items()}
                for task, work in (
                    (f"put {size}", lambda who=contenders[name], what=made: who.put(what)),
                    (f"get {size}", lambda who=contenders[name], what=digests: who.get(what)),
                ):
                    before = time.perf_counter(), time.process_time()
                    work()
                    after = time.perf_counter(), time.process_time()
                    if number >= 0:
                        taken.setdefault((task, name), []).append((after[0] - before[0], after[1] - before[1]))
    return taken


def figures(taken: Taken, names: list[str]) -> list[dict[str, object]]:
    """Median and spread of each, and how fast it is as a share of the best bare library."""
    results: list[dict[str, object]] = []
    seconds = {which: [each[0] for each in rounds] for which, rounds in taken.items()}
    for task in dict.fromkeys(task for task, _ in taken):
        medians = {name: statistics.median(seconds[task, name]) for name in names}
        best = min(median for name, median in medians.items() if not name.startswith("ours"))
        spread = {
            name: {"median": round(medians[name], 4), "min": round(min(all_), 4), "max": round(max(all_), 4)}
            for name in names
            for all_ in [seconds[task, name]]
        }
        shares = {name: round(best / medians[name], 2) for name in names}
        processors = {name: round(statistics.median(each[1] for each in taken[task, name]), 4) for name in names}
        results.append(
            {
                "task": task,
                "seconds": spread,
                "share of the best library": shares,
                "processor seconds of the client": processors,
            }
        )
    return results


def show(document: dict[str, Any]) -> None:
    """Print it for people."""
    print(QUESTION)
    print(", ".join(f"{name} {value}" for name, value in {**document["machine"], "load": document["load"]}.items()))
    print(
        f"{document['rounds']} rounds, concurrency {CONCURRENCY}; seconds: median (min to max); "
        "speed as a share of the best bare library; processor seconds of the client"
    )
    for result in document["results"]:
        print(f"  {result['task']}")
        for name, each in result["seconds"].items():
            share = result["share of the best library"][name]
            processor = result["processor seconds of the client"][name]
            spread = f"{each['median']:.3f} ({each['min']:.3f} to {each['max']:.3f})"
            print(f"    {name:14} {spread}  {share:.2f}  {processor:.3f}")


def main() -> None:
    """Measure and report."""
    given = arguments(QUESTION)
    counts = COUNTS[given.quick]
    os.environ |= {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
    with workplace(given.directory) as folder:
        server = started(seaweed_server, folder.resolve() / "server")
        try:
            place = S3Place(BUCKET, "", endpoint=server.endpoint, region=REGION, path_style=True)
            contenders = {
                "ours, obstore": Ours(ObstoreClient(place), place, folder / "obstore"),
                "ours, s3fs": Ours(S3fsClient(place), place, folder / "s3fs"),
                "obstore": Obstore(server),
                "aiobotocore": Aiobotocore(server),
                "s3fs": S3fs(server),
            }
            taken = measure(contenders, counts, given.rounds)
        finally:
            server.stop()
    document = {
        "question": QUESTION,
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(given.directory),
        "server": "SeaweedFS (weed mini) on the loopback",
        "load": given.load,
        "quick": given.quick,
        "rounds": given.rounds,
        "concurrency": CONCURRENCY,
        "counts": {f"{count} x {SIZES[size]} bytes": size for size, count in counts.items()},
        "results": figures(taken, [*contenders]),
    }
    if given.json:
        print(json.dumps(document, indent=2))
    else:
        show(document)


if __name__ == "__main__":
    main()
