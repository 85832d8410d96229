"""A provider that is polled: it takes a job, which is paid for at once, names it, and has it done some time later."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from renku_store import (
    Job,
    JobContext,
    NotFoundError,
    Produced,
    ProducerError,
    RememberedCall,
    open_store,
    polled_call,
    run_movie,
)

POLL_SECONDS = 0.02


class JobServer:
    """Counts what is paid for (`begun`) and what is asked (`polled`); jobs are done once `done` is set.

    `failing` polls answer 500 first; jobs in `lost` are unknown by now, those in `failed` have failed for good.
    """

    def __init__(self) -> None:
        self.begun: list[dict[str, Any]] = []
        self.polled = 0
        self.done = threading.Event()
        self.failing = 0
        self.lost: set[str] = set()
        self.failed: set[str] = set()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/jobs"

    def begin(self, job: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        self.begun.append(job)
        return 200, {"id": f"job-{len(self.begun)}"}

    def poll(self, name: str) -> tuple[int, dict[str, Any]]:
        self.polled += 1
        if self.failing:
            self.failing -= 1
            return 500, {}
        number = int(name.partition("-")[2])
        if name in self.lost or not 0 < number <= len(self.begun):
            return 404, {}
        if name in self.failed:
            return 200, {"failed": "No."}
        return 200, {"text": f"{name} of {self.begun[number - 1]['job']}"} if self.done.is_set() else {}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self._send(owner.begin(json.loads(self.rfile.read(int(self.headers["Content-Length"])))))

            def do_GET(self) -> None:
                self._send(owner.poll(self.path.rpartition("/")[2]))

            def _send(self, answer: tuple[int, dict[str, Any]]) -> None:
                data = json.dumps(answer[1]).encode()
                self.send_response(answer[0])
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        return Handler


class Polled:
    """A handler of that provider."""

    def __init__(self, url: str) -> None:
        self.url = url

    async def __call__(self, job: Job, context: JobContext) -> Produced:
        async def begin() -> RememberedCall:
            answer = await self._ask("", {"job": job.job_id})
            return RememberedCall(answer["id"], {"url": self.url})

        async def fetch(call: RememberedCall) -> dict[str, Any]:
            assert call.data == {"url": self.url}
            while True:
                answer = await self._ask("/" + call.request_id)
                if "failed" in answer:
                    raise ProducerError(f"{call.request_id} has failed.")
                if answer:
                    return answer
                await asyncio.sleep(POLL_SECONDS)

        answer = await polled_call(context, begin, fetch)
        return Produced(dict.fromkeys(job.outputs, answer["text"]), cost=0.5)

    async def _ask(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()

        def ask() -> dict[str, Any]:
            with urllib.request.urlopen(self.url + path, data, timeout=30) as reply:
                return json.loads(reply.read())

        try:
            return await asyncio.to_thread(ask)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 404:
                raise NotFoundError(f"There is no {path}.") from error
            raise ProducerError("The provider has a problem.", retryable=True) from error


def main(root: str, url: str) -> None:
    """Run the movie `polled`, in a process that may be killed."""
    with open_store(root) as store:
        asyncio.run(run_movie(store.movie("polled"), produce=Polled(url)))


if __name__ == "__main__":
    main(*sys.argv[1:])
