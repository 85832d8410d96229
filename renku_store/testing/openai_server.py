"""A server on the loopback that speaks OpenAI's wire format, and misbehaves as it is told to.

    with OpenAIServer() as server:
        server.script(Reply(status=429, headers={"Retry-After": "1"}), Reply("All is well."))
        ... OPENAI_BASE_URL=server.base_url ...

Answers what is scripted, in order, and then `Reply()` for ever. It knows streamed chat completions, images and speech.
"""

from __future__ import annotations

import base64
import json
import struct
import threading
import zlib
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Literal, Self

PIECE_CHARS: Final = 4
"""A streamed text comes in pieces of this many characters, like tokens."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer: `text`, or an error of a `status` beyond 299 with the provider's `code`.

    `pause_seconds` pass before each piece. After `pieces` of them (None: all) the answer ends in its own way: `done` as
    it should, `stall` with silence until the client hangs up, `break` with a connection that is cut, `stop` with an
    ordinary end of the stream that comes too early. `refusal`: the text is one. `finish` is why the model has stopped.
    """

    text: str = "Water rises, cools and falls."
    status: int = 200
    code: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    pause_seconds: float = 0.0
    pieces: int | None = None
    ending: Literal["done", "stall", "break", "stop"] = "done"
    refusal: bool = False
    finish: str = "stop"


@dataclass(frozen=True, slots=True)
class Received:
    """A request as it came: its path, its headers in lower case, and its body."""

    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]


class OpenAIServer:
    """The server; a context manager. `received` are all requests so far, oldest first."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self._script: deque[Reply] = deque()
        self._lock = threading.Lock()
        self.closing = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_for(self))
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self._thread = threading.Thread(target=self._server.serve_forever, name="openai server", daemon=True)

    @property
    def base_url(self) -> str:
        """What clients are given as their base URL."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def script(self, *replies: Reply) -> None:
        """Say how the next requests are answered."""
        with self._lock:
            self._script.extend(replies)

    def take(self, received: Received) -> tuple[Reply, int]:
        """Note a request; gives the answer, and the request's number from 1."""
        with self._lock:
            self.received.append(received)
            return (self._script.popleft() if self._script else Reply()), len(self.received)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler_for(server: OpenAIServer) -> type[BaseHTTPRequestHandler]:
    class Handler(_Handler):
        owner = server

    return Handler


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner: OpenAIServer

    def do_POST(self) -> None:
        """Answer one request."""
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
        headers = {name.lower(): value for name, value in self.headers.items()}
        reply, number = self.owner.take(Received(self.path, headers, body))
        try:
            self._answer(reply, body, f"req-{number}")
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (its base calls it so)
        """Say nothing."""

    def _answer(self, reply: Reply, body: dict[str, Any], request_id: str) -> None:
        if reply.status >= 300:
            error = {"message": reply.text, "type": "error", "param": None, "code": reply.code}
            self._whole(reply, json.dumps({"error": error}).encode(), "application/json", request_id)
        elif self.path.endswith("/chat/completions"):
            self._streamed(reply, _events(reply, body), "text/event-stream", request_id)
        elif self.path.endswith("/images/generations"):
            self._whole(reply, _image(body), "application/json", request_id)
        elif self.path.endswith("/audio/speech"):
            self._streamed(reply, _sound(reply), "audio/wav", request_id)
        else:
            error = {"message": f"There is no {self.path}.", "type": "error", "param": None, "code": None}
            self._whole(Reply(status=404), json.dumps({"error": error}).encode(), "application/json", request_id)

    def _begin(self, reply: Reply, mime_type: str, request_id: str, **headers: str) -> None:
        self.send_response_only(reply.status)
        for name, value in {"Content-Type": mime_type, "x-request-id": request_id, **headers, **reply.headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def _whole(self, reply: Reply, data: bytes, mime_type: str, request_id: str) -> None:
        self._pause(reply.pause_seconds)
        if reply.ending == "stall":
            self._pause(None)
            return
        self._begin(reply, mime_type, request_id, **{"Content-Length": str(len(data))})
        if reply.ending == "break":
            self.wfile.write(data[: len(data) // 2])
            self.close_connection = True
            return
        self.wfile.write(data)

    def _streamed(self, reply: Reply, pieces: Iterator[bytes], mime_type: str, request_id: str) -> None:
        self._begin(reply, mime_type, request_id, **{"Transfer-Encoding": "chunked"})
        for count, piece in enumerate(pieces):
            if count == reply.pieces:
                if reply.ending != "stop":
                    self.wfile.flush()
                    self._pause(None if reply.ending == "stall" else 0)
                    self.close_connection = True
                    return
                break
            self._pause(reply.pause_seconds)
            self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")

    def _pause(self, seconds: float | None) -> None:
        if seconds is None or seconds > 0:
            self.owner.closing.wait(seconds)


def _events(reply: Reply, body: Mapping[str, Any]) -> Iterator[bytes]:
    key = "refusal" if reply.refusal else "content"
    for place in range(0, len(reply.text), PIECE_CHARS):
        yield _event(body, [{"index": 0, "delta": {key: reply.text[place : place + PIECE_CHARS]}}])
    yield _event(body, [{"index": 0, "delta": {}, "finish_reason": reply.finish}])
    if (body.get("stream_options") or {}).get("include_usage"):
        used = {"prompt_tokens": 1_000, "completion_tokens": len(reply.text), "total_tokens": 1_000 + len(reply.text)}
        yield _event(body, [], usage={**used, "prompt_tokens_details": {"cached_tokens": 400}})
    yield b"data: [DONE]\n\n"


def _event(body: Mapping[str, Any], choices: list[dict[str, Any]], **more: Any) -> bytes:
    chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": body.get("model")}
    return f"data: {json.dumps({**chunk, 'choices': choices, **more})}\n\n".encode()


def _image(body: Mapping[str, Any]) -> bytes:
    data = base64.b64encode(png()).decode()
    if body.get("response_format") == "url":
        return json.dumps({"created": 1, "data": [{"url": "http://127.0.0.1/picture.png"}]}).encode()
    usage = {"input_tokens": 10, "output_tokens": 1_000, "total_tokens": 1_010,
             "input_tokens_details": {"image_tokens": 0, "text_tokens": 10}}  # fmt: skip
    return json.dumps({"created": 1, "data": [{"b64_json": data}], "usage": usage}).encode()


def _sound(reply: Reply) -> Iterator[bytes]:
    frames = bytes(2 * 100 * len(reply.text))
    head = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + len(frames), b"WAVE", b"fmt ", 16, 1, 1, 8000, 16000, 2, 16,
                       b"data", len(frames))  # fmt: skip
    data = head + frames
    for place in range(0, len(data), 1_000):
        yield data[place : place + 1_000]


def png() -> bytes:
    """The picture that the server draws: one grey pixel."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\x00\x80")) + chunk(b"IEND", b"")
    )
