"""Real S3 servers for tests: SeaweedFS and moto, on the loopback, one of each for a test process, with free ports.

A pytest plugin: the fixtures `seaweed` and `moto` start them when the first test asks, and stop them by their own
process id when the session ends; one that is killed takes them along (Linux). `seaweed_place` and `moto_place` give
each test a prefix of its own.
"""

from __future__ import annotations

import functools
import http.client
import itertools
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import obstore
import pytest
from botocore.loaders import JSONFileLoader
from obstore.exceptions import BaseError
from obstore.store import S3Store

from renku_store.drivers.objects.options import S3Place

ACCESS_KEY = "test-key"
SECRET_KEY = "test-secret-that-no-message-shows"
READER_KEY = "reader-key"
READER_SECRET = "reader-secret-that-no-message-shows"
REGION = "us-east-1"
BUCKET = "renku"

_START_SECONDS = 300.0
_STARTS_MAX = 5
_numbers = itertools.count()
_description = functools.cache(JSONFileLoader().load_file)
_FOREIGN = ("AWS_", "S3_", "WEED_", "MOTO_")
_TIED = """
import ctypes, os, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, 9)
    if os.getppid() != int(sys.argv[1]):
        sys.exit("Whoever wanted this server is gone.")
os.execv(sys.argv[2], sys.argv[2:])
"""
"""Becomes another program, which the kernel kills (PR_SET_PDEATHSIG) when the thread has ended that started it."""


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now, all different."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@dataclass
class Server:
    """A server process that can be killed and started again at the same address, with what it has stored."""

    name: str
    port: int
    command: list[str]
    log: Path
    makes_bucket: bool
    leftovers: list[Path] = field(default_factory=list)
    process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables by which clients find credentials for it."""
        return {
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def start(self) -> bool:
        """Start it, and wait until it answers; False if it does not (a port was taken meanwhile)."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
        environment |= {"HOME": str(self.log.parent), "TMPDIR": str(self.log.parent)}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-S", "-c", _TIED, str(os.getpid()), *self.command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                cwd=self.log.parent,
            )
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                return False
            if self.answers() and self.stores():
                return True
            time.sleep(0.05)
        self.kill()
        return False

    def answers(self) -> bool:
        """Whether it serves requests."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/")
            return connection.getresponse().status < 500
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def stores(self) -> bool:
        """Whether an object can be written to the bucket, which SeaweedFS makes some time after its first answer."""
        if not self.makes_bucket:
            return self.request("PUT", f"/{BUCKET}") == 200
        store = S3Store(
            BUCKET,
            endpoint=self.endpoint,
            region=REGION,
            access_key_id=ACCESS_KEY,
            secret_access_key=SECRET_KEY,
            client_options={"allow_http": True},
            retry_config={"max_retries": 0},
        )
        try:
            obstore.put(store, "started", b"")
            obstore.delete(store, "started")
        except (BaseError, FileNotFoundError):
            return False
        return True

    def kill(self) -> None:
        """End it at once, as a crash would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def stop(self) -> None:
        """End it and remove what it leaves beside its folder."""
        self.kill()
        for path in self.leftovers:
            with suppress(FileNotFoundError):
                path.unlink()

    def place(self, bucket: str = BUCKET) -> S3Place:
        """A prefix that nobody else uses."""
        return S3Place(
            bucket=bucket,
            prefix=f"{os.getpid():x}-{next(_numbers)}",
            endpoint=self.endpoint,
            region=REGION,
            path_style=True,
        )

    def request(self, method: str, path: str) -> int:
        """The status of a bare request, without a signature."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path)
            return connection.getresponse().status
        finally:
            connection.close()


def seaweed_server(folder: Path) -> Server:
    """SeaweedFS with one bucket, one identity that may do everything and one that may only read; not started."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "data").mkdir()
    rights = {"name": "writer", "actions": ["Admin", "Read", "Write", "List", "Tagging"]}
    reads = {"name": "reader", "actions": ["Read", "List"]}
    identities = [
        rights | {"credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}]},
        reads | {"credentials": [{"accessKey": READER_KEY, "secretKey": READER_SECRET}]},
    ]
    (folder / "s3.json").write_text(json.dumps({"identities": identities}))
    parts = ("master", "volume", "filer", "s3", "admin")
    ports = free_ports(2 * len(parts))
    http_port, grpc_port = dict(zip(parts, ports, strict=False)), dict(zip(parts, ports[len(parts) :], strict=True))
    options = [f"-{part}.port={http_port[part]}" for part in parts]
    options += [f"-{part}.port.grpc={grpc_port[part]}" for part in parts]
    options += ["-master.telemetry=false", "-webdav=false", "-admin.ui=false", "-s3.port.iceberg=0", "-s3.port.lance=0"]
    options += ["-s3.autoCreateBucket=false", f"-s3.config={folder / 's3.json'}", f"-bucket={BUCKET}"]
    sockets = [f"seaweedfs-{part}-grpc-{grpc_port[part]}.sock" for part in parts]
    sockets += [f"seaweedfs-{part}-{http_port[part]}.sock" for part in ("filer", "s3")]
    return Server(
        "SeaweedFS",
        http_port["s3"],
        [_program("weed"), "mini", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={folder / 'data'}", *options],
        folder / "log",
        True,
        [Path("/tmp") / name for name in sockets],
    )


def moto_server(folder: Path) -> Server:
    """A server of moto's, which takes any credentials; not started. What it stores is lost when it is killed."""
    folder.mkdir(parents=True, exist_ok=True)
    (port,) = free_ports(1)
    program = [sys.executable, str(Path(__file__).with_name("moto_server.py"))]
    return Server("moto", port, [*program, "-H", "127.0.0.1", "-p", str(port)], folder / "log", False)


def _program(name: str) -> str:
    found = shutil.which(name, path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    assert found is not None, f"{name} is not installed: pip install 'renku-store[dev]'"
    return found


def started(make: Callable[[Path], Server], folder: Path) -> Server:
    """A server that answers and has the bucket; another is tried where a port was taken meanwhile."""
    for number in range(_STARTS_MAX):
        server = make(folder / str(number))
        if server.start():
            return server
        server.stop()
    raise RuntimeError(f"No server could be started: {server.log.read_text(errors='replace')[-2000:]}")


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """SeaweedFS, running, with a bucket."""
    folder = tmp_path_factory.mktemp("seaweed")
    server = started(seaweed_server, folder)
    yield server
    server.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server of moto, running, with a bucket."""
    server = started(moto_server, tmp_path_factory.mktemp("moto"))
    yield server
    server.stop()


@pytest.fixture
def s3_environment(monkeypatch: pytest.MonkeyPatch) -> Mapping[str, str]:
    """Credentials of the test servers, and nothing else of this machine's settings for S3.

    A client of botocore reads descriptions of services, which takes longer than most tests: they are read once.
    """
    monkeypatch.setattr(JSONFileLoader, "load_file", lambda _self, path: _description(path))
    for name in tuple(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    values = {
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    return values


@pytest.fixture
def seaweed_place(seaweed: Server, s3_environment: Mapping[str, str]) -> S3Place:
    """An empty prefix on SeaweedFS, with credentials in the environment."""
    return seaweed.place()


@pytest.fixture
def moto_place(moto: Server, s3_environment: Mapping[str, str]) -> S3Place:
    """An empty prefix on moto's server, with credentials in the environment."""
    return moto.place()


def credentials() -> dict[str, Any]:
    """The same keys as a client may ask for them."""
    return {"access_key_id": ACCESS_KEY, "secret_access_key": SECRET_KEY, "expires_at": None}


def behind(place: S3Place, endpoint: str) -> S3Place:
    """The same place, asked by way of another address."""
    return replace(place, endpoint=endpoint)
