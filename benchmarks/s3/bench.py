"""Measures putting objects into an S3 server and getting them back: our drivers beside the bare libraries.

`--only` measures a part of the tasks, `--into` adds its rounds to those that a results file holds already: a machine
that others need as well is taken for a few minutes at a time.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from blake3 import blake3
from contenders import (
    CONCURRENCY,
    Aiobotocore,
    Contender,
    Obstore,
    ObstoreInThreads,
    Ours,
    OursInAMovie,
    OursInThreads,
    S3fs,
)
from measuring import arguments, machine, workplace

from renku_store.drivers.objects.obstore_client import ObstoreClient
from renku_store.drivers.objects.options import S3Place
from renku_store.drivers.objects.s3fs_client import S3fsClient
from tests.drivers.servers import ACCESS_KEY, BUCKET, REGION, SECRET_KEY, Server, seaweed_server, started

QUESTION = "How fast are objects put into an S3 server and got back, verified, beside the bare libraries?"
SIZES = {"small": 4_096, "large": 5 * 1_048_576}
COUNTS = {False: {"small": 2_000, "large": 100}, True: {"small": 40, "large": 2}}
OURS = "ours, obstore"
"""The default of `s3://`, which the goal is about."""
COPIES_KEPT = 2
"""What the machines of a movie keep of what they put and read, beside the server."""

Taken = dict[str, dict[str, list[list[float]]]]
"""What each task took each contender, round by round: seconds, and those of this process on the processors."""


def contents(contender: str, size: str, number: int, count: int) -> dict[str, bytes]:
    """Bytes that cannot be compressed, each another, by their hash."""
    random = Random(f"{contender} {size} {number}")
    body = random.randbytes(SIZES[size] - 16)
    made = (random.randbytes(16) + body for _ in range(count))
    return {blake3(data).hexdigest(): data for data in made}


def contenders(server: Server, folder: Path) -> dict[str, Contender]:
    """All of them, on one server."""
    place = S3Place(BUCKET, "", endpoint=server.endpoint, region=REGION, path_style=True)
    made: dict[str, Contender] = {
        OURS: Ours(ObstoreClient(place), place, folder / "obstore"),
        "ours, obstore, one by one": OursInThreads(ObstoreClient(place), place, folder / "threads"),
        "ours, s3fs": Ours(S3fsClient(place), place, folder / "s3fs"),
        "ours, open_store": OursInAMovie(server, place, folder / "movie"),
    }
    for verifies in (True, False):
        end = ", verified" if verifies else ""
        made[f"obstore{end}"] = Obstore(server, verifies=verifies)
        made[f"obstore in threads{end}"] = ObstoreInThreads(server, verifies=verifies)
        made[f"aiobotocore{end}"] = Aiobotocore(server, verifies=verifies)
        made[f"s3fs{end}"] = S3fs(server, verifies=verifies)
    return made


def measure(all_: dict[str, Contender], size: str, count: int, rounds: Sequence[int], taken: Taken) -> None:
    """Note what each task takes each contender, who take turns in another order each round: none follows another.

    A round below 0 is not noted: it is for connections, memory and the server's disk.
    """
    for number in rounds:
        for name in Random(number).sample([*all_], len(all_)):
            made = contents(name, size, number, count)
            place = f"{name}/{size}/{number}"
            digests = [*made]
            for task, work in (
                (f"put {size}", lambda who=all_[name], where=place, what=made: who.put(where, what)),
                (f"get {size}", lambda who=all_[name], where=place, what=digests: who.get(where, what)),
            ):
                before = time.perf_counter(), time.process_time()
                work()
                after = time.perf_counter(), time.process_time()
                if number >= 0:
                    each = taken.setdefault(task, {}).setdefault(name, [])
                    each.append([round(after[0] - before[0], 4), round(after[1] - before[1], 4)])


def check_room(folder: Path, size: str, count: int, rounds: int, contenders: int) -> None:
    """End with a sentence where the disk would be filled: the server keeps what every round puts."""
    needed = SIZES[size] * count * rounds * (contenders + COPIES_KEPT)
    free = shutil.disk_usage(folder).free
    if needed > free:
        sys.exit(
            f"{rounds} rounds of {size} objects take {needed / 1e9:.0f} GB, and {folder} has {free / 1e9:.0f} GB free. "
            "Take fewer at a time, and add them up with --into."
        )


def hashing_seconds(size: str, count: int) -> float:
    """The processor time of BLAKE3 of all contents of a task, on one thread: what verifying costs at the least."""
    data = Random(size).randbytes(SIZES[size])
    before = time.process_time()
    for _ in range(count):
        blake3(data).digest()
    return round(time.process_time() - before, 4)


def figures(taken: Taken, verifying: dict[str, bool]) -> list[dict[str, object]]:
    """Median and spread of each, and how fast ours is as a share of the best others, verifying and bare."""
    results: list[dict[str, object]] = []
    for task, rounds in taken.items():
        seconds = {name: [each[0] for each in rounds[name]] for name in verifying if name in rounds}
        medians = {name: statistics.median(all_) for name, all_ in seconds.items()}
        peers = {name: median for name, median in medians.items() if not name.startswith("ours")}
        best = {
            kind: min((name for name in peers if verifying[name] is verifies), key=peers.__getitem__)
            for kind, verifies in (("verifying", True), ("bare", False))
        }
        results.append(
            {
                "task": task,
                "share of the best that verifies": round(medians[best["verifying"]] / medians[OURS], 2),
                "share of the best bare": round(medians[best["bare"]] / medians[OURS], 2),
                "best": best,
                "seconds": {
                    name: {"median": round(medians[name], 4), "min": min(all_), "max": max(all_)}
                    for name, all_ in seconds.items()
                },
                "processor seconds of the client": {
                    name: round(statistics.median(each[1] for each in rounds[name]), 4) for name in seconds
                },
            }
        )
    return results


def show(document: dict[str, Any]) -> None:
    """Print it for people."""
    print(QUESTION)
    print(", ".join(f"{name} {value}" for name, value in {**document["machine"], "loads": document["loads"]}.items()))
    print(
        f"concurrency {CONCURRENCY}; seconds: median (min to max); processor seconds of the client; "
        f"processor seconds of BLAKE3 alone: {document['processor seconds of BLAKE3']}"
    )
    for result in document["results"]:
        print(f"  {result['task']}: {OURS} is as fast as the best others")
        for kind in ("share of the best that verifies", "share of the best bare"):
            print(f"    {kind}: {result[kind]:.2f} ({result['best'][kind.rpartition(' ')[2].replace('ies', 'ying')]})")
        for name, each in result["seconds"].items():
            processor = result["processor seconds of the client"][name]
            spread = f"{each['median']:.3f} ({each['min']:.3f} to {each['max']:.3f})"
            print(f"    {name:30} {spread}  {processor:.3f}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=QUESTION)
    parser.add_argument("--only", choices=[*SIZES], help="objects of this size alone")
    parser.add_argument("--into", metavar="FILE", type=Path, help="add the rounds to those in this results file")
    return arguments(QUESTION, parser)


def main() -> None:
    """Measure and report."""
    given = _arguments()
    counts = COUNTS[given.quick]
    before = json.loads(given.into.read_text(encoding="utf-8")) if given.into and given.into.exists() else {}
    taken: Taken = before.get("rounds", {})
    hashing: dict[str, list[float]] = before.get("processor seconds of BLAKE3, each time", {})
    os.environ |= {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
    with workplace(given.directory) as folder:
        server = started(seaweed_server, folder.resolve() / "server")
        try:
            all_ = contenders(server, folder)
            # Small objects are done with before large ones begin, whose bytes the server's disk is busy with for long.
            for size in (given.only,) if given.only else SIZES:
                measured = len(next(iter(taken.get(f"put {size}", {"": []}).values())))
                rounds = [] if given.quick else [-1 - measured]
                rounds += range(measured, measured + given.rounds)
                check_room(folder, size, counts[size], len(rounds), len(all_))
                measure(all_, size, counts[size], rounds, taken)
                hashing.setdefault(size, []).append(hashing_seconds(size, counts[size]))
        finally:
            server.stop()
    document = {
        "question": QUESTION,
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(given.directory),
        "server": "SeaweedFS (weed mini) on the loopback",
        "loads": [*before.get("loads", []), given.load],
        "quick": given.quick,
        "concurrency": CONCURRENCY,
        "counts": {f"{count} x {SIZES[size]} bytes": size for size, count in counts.items()},
        "processor seconds of BLAKE3": {size: statistics.median(each) for size, each in hashing.items()},
        "results": figures(taken, {name: each.verifies for name, each in all_.items()}),
        "rounds": taken,
        "processor seconds of BLAKE3, each time": hashing,
    }
    if given.into:
        given.into.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    if given.json:
        print(json.dumps(document, indent=2))
    else:
        show(document)


if __name__ == "__main__":
    main()
