"""A proxy between a client and an HTTP server that lets chosen requests go wrong, each in a way of its own.

It passes bytes on as they are, so that signatures stay valid. A fault belongs to the n-th request that it matches; what
it met is in `requests`, and what the server answered to it.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import BinaryIO, Literal, Self

Kind = Literal["drop", "reset", "reset after", "delay", "late", "truncate", "answer", "answer after", "corrupt"]
"""What happens to a request.

`drop`: the server carries it out, the connection closes without a reply. `reset`: the connection is reset before the
server has seen it; `reset after`: after it has carried it out. `delay`: the reply comes after `release` was called, or
never. `late`: the client is left without a reply, and the server sees the request only after `release`. `truncate`: the
body of the reply ends after `keep` bytes. `answer`: the server does not see it, the reply is an error of `status` and
`code`, or has the `body` that is said; `answer after`: it has carried it out nevertheless. `corrupt`: the server sees
another last byte of the body.
"""


@dataclass(frozen=True)
class Request:
    """A request as it came in: head and body as bytes, names of headers in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    raw: bytes

    @property
    def conditional(self) -> bool:
        """Whether it is a write under a condition."""
        return self.method == "PUT" and bool({"if-match", "if-none-match"} & set(self.headers))


@dataclass
class Fault:
    """What is to happen to the requests from the `first` to the `last` (from 1) of those that `matches` is true for."""

    kind: Kind
    matches: Callable[[Request], bool] = lambda _: True
    first: int = 1
    last: int = 1
    keep: int = 0
    status: int = 503
    code: str = "SlowDown"
    body: bytes | None = None
    met: int = 0
    struck: list[Request] = field(default_factory=list)
    release: threading.Event = field(default_factory=threading.Event)

    def strikes(self, request: Request) -> bool:
        """Whether it is this request's turn."""
        if not self.matches(request):
            return False
        self.met += 1
        if not self.first <= self.met <= self.last:
            return False
        self.struck.append(request)
        return True


@dataclass
class Seen:
    """A request and the status that the server answered; None if it has not seen it (yet)."""

    request: Request
    status: int | None = None


class Proxy:
    """Listens on a free port of the loopback while its context is open."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._ended = False
        self.faults: list[Fault] = []
        self.requests: list[Seen] = []

    @property
    def endpoint(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for fault in self.faults:
            fault.release.set()
        with self._lock:
            for each in self._open:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(30)

    def inject(self, fault: Fault) -> Fault:
        """Let a fault happen from now on."""
        with self._lock:
            self.faults.append(fault)
        return fault

    def calm(self) -> None:
        """Let nothing happen any more; what waits goes on."""
        with self._lock:
            for fault in self.faults:
                fault.release.set()
            self.faults = []

    def settled(self, fault: Fault) -> bool:
        """Whether the server has answered every request that a fault struck and did not keep from it."""
        if fault.kind in {"reset", "answer"}:
            return True
        with self._lock:
            answered = [seen.request for seen in self.requests if seen.status is not None]
        return all(any(request is each for each in answered) for request in fault.struck)

    def _start(self, action: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=action, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._ended:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._start(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        with self._lock:
            self._open.add(client)
        with client, client.makefile("rb") as reader, contextlib.suppress(OSError):
            while (request := _read_request(reader)) is not None and self._pass_on(client, request):
                pass
        with self._lock:
            self._open.discard(client)

    def _pass_on(self, client: socket.socket, request: Request) -> bool:
        """Answer one request; False if the connection ends with it."""
        with self._lock:
            seen = Seen(request)
            self.requests.append(seen)
            fault = next((fault for fault in self.faults if fault.strikes(request)), None)
        if fault is None:
            client.sendall(self._ask(seen))
            return True
        if fault.kind == "reset":
            return _reset(client)
        if fault.kind == "answer":
            client.sendall(_refusal(fault))
            return True
        if fault.kind == "late":
            self._start(self._ask_late, fault, seen)
            return False
        if fault.kind == "corrupt":
            changed = replace(request, raw=request.raw[:-1] + bytes([request.raw[-1] ^ 1]))
            client.sendall(self._ask(Seen(changed)))
            return True
        reply = self._ask(seen)
        match fault.kind:
            case "reset after":
                return _reset(client)
            case "delay":
                fault.release.wait(60)
                client.sendall(reply)
            case "truncate":
                head, separator, body = reply.partition(b"\r\n\r\n")
                client.sendall(head + separator + body[: fault.keep])
            case "answer after":
                client.sendall(_refusal(fault))
                return True
        return False

    def _ask_late(self, fault: Fault, seen: Seen) -> None:
        fault.release.wait(60)
        with contextlib.suppress(OSError):
            self._ask(seen)

    def _ask(self, seen: Seen) -> bytes:
        with socket.create_connection(("127.0.0.1", self._target), timeout=60) as server:
            server.sendall(seen.request.raw)
            with server.makefile("rb") as reader:
                reply, status = _read_reply(reader, seen.request.method)
        seen.status = status
        return reply


def _read_head(reader: BinaryIO) -> tuple[bytes, str, dict[str, str]] | None:
    lines = [reader.readline()]
    if not lines[0]:
        return None
    while lines[-1] not in {b"\r\n", b""}:
        lines.append(reader.readline())
    headers = dict(line.decode("latin-1").rstrip("\r\n").split(":", 1) for line in lines[1:-1])
    return b"".join(lines), lines[0].decode("latin-1"), {name.lower(): text.strip() for name, text in headers.items()}


def _read_request(reader: BinaryIO) -> Request | None:
    found = _read_head(reader)
    if found is None:
        return None
    head, first, headers = found
    method, path, _ = first.split(" ", 2)
    return Request(method, path, headers, head + _read_body(reader, headers))


def _read_reply(reader: BinaryIO, method: str) -> tuple[bytes, int]:
    found = _read_head(reader)
    if found is None:
        raise ConnectionError("The server closed the connection.")
    head, first, headers = found
    status = int(first.split(" ", 2)[1])
    if status == 100:
        return _read_reply(reader, method)
    has_body = method != "HEAD" and status not in {204, 304}
    return head + (_read_body(reader, headers, reply=True) if has_body else b""), status


def _read_body(reader: BinaryIO, headers: dict[str, str], *, reply: bool = False) -> bytes:
    if headers.get("transfer-encoding", "").lower() == "chunked":
        return b"".join(_chunks(reader))
    if "content-length" in headers:
        return reader.read(int(headers["content-length"]))
    return reader.read() if reply else b""


def _chunks(reader: BinaryIO) -> Iterator[bytes]:
    while True:
        line = reader.readline()
        yield line
        size = int(line.split(b";")[0], 16)
        yield reader.read(size + 2)
        if size == 0:
            return


def _refusal(fault: Fault) -> bytes:
    refusal = f"<?xml version='1.0'?><Error><Code>{fault.code}</Code><Message>As asked for.</Message></Error>"
    body = refusal.encode() if fault.body is None else fault.body
    return b"HTTP/1.1 %d Told So\r\ncontent-type: application/xml\r\ncontent-length: %d\r\n\r\n%s" % (
        fault.status,
        len(body),
        body,
    )


def _reset(client: socket.socket) -> bool:
    """Close so that the peer sees a reset: without lingering."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    return False
