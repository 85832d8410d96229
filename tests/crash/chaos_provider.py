"""A provider on the loopback for a chaos run: it answers, or refuses, fails, stalls or hangs up.

    python -m tests.crash.chaos_provider LEDGER SEED CALM

It prints its port. What it does for money is in its ledger, a line of JSON each, written before the reply goes out:
`begun` (a polled call was accepted), `fetched` (its result was handed out) and `answered` (a direct call).
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

STALL_SECONDS = 1.5
"""Longer than the client waits."""
RETRY_AFTER_SECONDS = 0.2
_TROUBLES = (("refuse", 0.08), ("fail", 0.06), ("stall", 0.02), ("hang up", 0.05))
_POLLS_UNTIL_DONE = 2


def answer(request: str) -> str:
    """What is made of a request: a text whose length and content follow from it alone."""
    digest = hashlib.sha256(request.encode()).hexdigest()
    return f"made of {digest} " * (1 + int(digest[:4], 16) % 120)


class Provider(ThreadingHTTPServer):
    """The server, its ledger, and the calls that it works on."""

    daemon_threads = True

    def __init__(self, ledger: Path, seed: int, *, calm: bool) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self._ledger = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._chance = random.Random(seed)
        self._calm = calm
        self._lock = threading.Lock()
        self._calls: dict[str, dict[str, Any]] = {}

    def trouble(self) -> str | None:
        """What goes wrong with this request, if anything does."""
        with self._lock:
            chance = self._chance.random()
        for name, share in () if self._calm else _TROUBLES:
            if chance < share:
                return name
            chance -= share
        return None

    def note(self, kind: str, request: str, caller: str, call: str | None = None) -> None:
        """Write a line into the ledger."""
        line = json.dumps({"kind": kind, "request": request, "caller": caller, "call": call, "at": time.time()}) + "\n"
        os.write(self._ledger, line.encode())

    def begin(self, request: str, caller: str) -> str:
        """Accept a polled call, which is paid for from now on."""
        with self._lock:
            call = f"call-{len(self._calls) + 1}"
            self._calls[call] = {"request": request, "polls": 0}
        self.note("begun", request, caller, call)
        return call

    def look(self, call: str, caller: str) -> str | None:
        """The result of a polled call, None while it is being made. Raises `KeyError` for an unknown one."""
        with self._lock:
            entry = self._calls[call]
            entry["polls"] += 1
            if entry["polls"] < _POLLS_UNTIL_DONE:
                return None
        self.note("fetched", entry["request"], caller, call)
        return answer(entry["request"])

    def handle_error(self, request: object, client_address: object) -> None:
        """Whoever called is gone: nothing to do."""


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Provider

    def do_POST(self) -> None:
        """`/direct` answers at once, `/begin` gives the name of a call that goes on."""
        request = self.rfile.read(int(self.headers["Content-Length"])).decode()
        if self._troubled():
            return
        caller = self.headers["X-Caller"]
        if self.path == "/begin":
            self._reply(202, {"call": self.server.begin(request, caller)})
            return
        self.server.note("answered", request, caller)
        self._reply(200, {"text": answer(request)})

    def do_GET(self) -> None:
        """`/calls/NAME`: the result, or that it is not there yet."""
        if self._troubled():
            return
        try:
            text = self.server.look(self.path.rpartition("/")[2], self.headers["X-Caller"])
        except KeyError:
            self._reply(404, {})
            return
        self._reply(202 if text is None else 200, {"text": text})

    def _troubled(self) -> bool:
        match self.server.trouble():
            case "refuse":
                self._reply(429, {}, {"Retry-After": str(RETRY_AFTER_SECONDS)})
            case "fail":
                self._reply(500, {})
            case "stall":
                time.sleep(STALL_SECONDS)
            case "hang up":
                self.connection.shutdown(socket.SHUT_RDWR)
            case _:
                return False
        self.close_connection = True
        return True

    def _reply(self, status: int, body: object, headers: dict[str, str] | None = None) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the name that the base class gives it)
        """Nothing is printed."""


def main() -> None:
    """Serve until killed."""
    ledger, seed, calm = sys.argv[1:]
    provider = Provider(Path(ledger), int(seed), calm=calm == "calm")
    print(provider.server_port, flush=True)  # noqa: T201 (whoever started it reads it)
    provider.serve_forever()


if __name__ == "__main__":
    main()
