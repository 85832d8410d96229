"""A film of many jobs whose producers call the provider of a chaos run, and a process that runs it once.

    python -m tests.crash.chaos_film ROOT PORT JOURNAL

Two producers of a segment call and wait; the other two begin a call, remember it, and ask until it is done. The process
notes in the journal what it has in its hands: `began`, `remembered` (durably), `got` (an answer), `lost` (no answer to
a request, which the provider may or may not have seen).
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from renku_store import (
    FileItem,
    Item,
    Job,
    JobContext,
    Movie,
    Produced,
    ProducerError,
    RateLimitedError,
    RetryPolicy,
    ValueItem,
    open_store,
    run_movie,
    set_inputs,
    with_retry,
    with_timeout,
)
from renku_store.calls import Produce

MOVIE = "chaos"
POLLED = frozenset({"write", "draw"})
CONCURRENCY = 8
TIMEOUT_SECONDS = 1.0
_POLL_SECONDS = 0.01
_JOBS_PER_SEGMENT = 4
_JOBS_BESIDE = 4

BLUEPRINT = """
name: chaos
inputs: {segments: {type: list, required: true}, title: {type: string, required: true}}
loops: {segment: {over: segments}}
producers:
  write: {for: [segment], run: chaos/write, inputs: {text: "segments[segment]"}, outputs: {out: {mimeType: text/plain}}}
  say: {for: [segment], run: chaos/say, inputs: {text: "write[segment].out"}, outputs: {out: {mimeType: audio/wav}}}
  draw: {for: [segment], run: chaos/draw, inputs: {text: "write[segment].out"}, outputs: {out: {mimeType: image/png}}}
  clip:
    for: [segment]
    run: chaos/clip
    inputs: {audio: "say[segment].out", image: "draw[segment].out"}
    outputs: {out: {mimeType: video/mp4}}
  cover: {run: chaos/draw, inputs: {title: title}, outputs: {out: {mimeType: image/png}}}
  music: {run: chaos/say, inputs: {title: title}, outputs: {out: {mimeType: audio/wav}}}
  credits: {run: chaos/write, inputs: {title: title, all: segments}, outputs: {out: {mimeType: text/plain}}}
  film:
    run: chaos/film
    inputs: {clips: "clip[*].out", cover: cover.out, music: music.out, credits: credits.out}
    outputs: {out: {mimeType: video/mp4}}
"""


def create(root: Path, jobs: int) -> None:
    """A movie of so many jobs, a multiple of four."""
    segments = (jobs - _JOBS_BESIDE) // _JOBS_PER_SEGMENT
    assert segments * _JOBS_PER_SEGMENT + _JOBS_BESIDE == jobs
    with open_store(root) as store:
        texts = [f"segment {number}" for number in range(segments)]
        set_inputs(store.create_movie(MOVIE), {"@blueprint": BLUEPRINT, "segments": texts, "title": "The film"})


class Journal:
    """What one process has in its hands, a line each; it survives the process."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def note(self, kind: str, request: str | None = None, call: str | None = None) -> None:
        """Write a line."""
        line = json.dumps({"kind": kind, "pid": os.getpid(), "request": request, "call": call}) + "\n"
        os.write(self._file, line.encode())


class Client:
    """Calls the provider. Whatever it is told or not told there becomes one of this project's errors."""

    def __init__(self, port: int, journal: Journal) -> None:
        self._port = port
        self._journal = journal

    async def __call__(self, job: Job, context: JobContext) -> Produced:
        request = json.dumps([job.producer, {name: _seen(item) for name, item in job.inputs.items()}], sort_keys=True)
        if job.model in POLLED:
            text, name = await self._polled(request, context)
        else:
            text, name = (await self._ask("POST", "/direct", request))["text"], None
            self._journal.note("got", request)
        return Produced({"out": text.encode()}, cost=0.01, request_id=name)

    async def _polled(self, request: str, context: JobContext) -> tuple[str, str]:
        call = context.remembered.request_id if context.remembered else None
        if call is None:
            call = str((await self._ask("POST", "/begin", request))["call"])
            await context.remember(call)
            self._journal.note("remembered", request, call)
        text = None
        while text is None:
            await asyncio.sleep(_POLL_SECONDS)
            text = (await self._ask("GET", f"/calls/{call}", ""))["text"]
        self._journal.note("got", request, call)
        return text, call

    async def _ask(self, method: str, path: str, body: str) -> dict[str, Any]:
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                status, headers, answer = await self._exchange(method, path, body.encode())
        except (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError) as error:
            self._journal.note("lost", body or None)
            raise ProducerError(f"no answer: {type(error).__name__}", retryable=True) from error
        if status == 429:
            raise RateLimitedError("too many", retry_after=float(headers["retry-after"]))
        if status >= 500:
            raise ProducerError("the provider failed", retryable=True)
        if status >= 400:
            raise ProducerError(f"the provider refused with {status}")
        answered: dict[str, Any] = json.loads(answer)
        return answered

    async def _exchange(self, method: str, path: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            head = f"{method} {path} HTTP/1.0\r\nX-Caller: {os.getpid()}\r\nContent-Length: {len(body)}\r\n\r\n"
            writer.write(head.encode() + body)
            await writer.drain()
            first = (await reader.readline()).split()
            if len(first) < 2:
                raise ConnectionResetError("the provider hung up")
            headers: dict[str, str] = {}
            while line := (await reader.readline()).strip():
                name, _, value = line.decode().partition(":")
                headers[name.strip().lower()] = value.strip()
            return int(first[1]), headers, await reader.readexactly(int(headers.get("content-length", "")))
        finally:
            writer.close()


def _seen(item: Item | None) -> Any:
    match item:
        case None:
            return None
        case ValueItem(value):
            return value
        case FileItem(path, mime_type):
            return [mime_type, path.read_text()]
        case _:
            return [_seen(place) for place in item]


def handler(client: Client) -> Produce:
    """The client with the wrappers that a person would put around it."""
    patience = RetryPolicy(attempts=4, base_seconds=0.02, longest_seconds=0.1)
    return with_retry(with_timeout(client, 10 * TIMEOUT_SECONDS), patience)


async def run_once(movie: Movie, client: Client) -> str:
    """Run the movie; how it ended."""
    return (await run_movie(movie, produce=handler(client), concurrency=CONCURRENCY)).status


def main() -> None:
    """Run once; exit 0 where nothing is left to be done."""
    root, port, journal_path = sys.argv[1:]
    journal = Journal(Path(journal_path))
    with open_store(root) as store:
        movie = store.movie(MOVIE)
        journal.note("began")
        ended = asyncio.run(run_once(movie, Client(int(port), journal)))
    journal.note(ended)
    sys.exit(0 if ended in {"published", "unchanged"} else 1)


if __name__ == "__main__":
    main()
