"""`rclone serve s3`, a server that ignores conditions: the probe must find out, and nothing may be written there."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pytest

from renku_store import UnsafeDriverError, open_store
from renku_store.drivers.guarding import GuardedDriver
from renku_store.drivers.objects.opening import open_s3_fsspec, open_s3_obstore
from tests.drivers.servers import ACCESS_KEY, BUCKET, SECRET_KEY, Server, free_ports, started


class RcloneServer(Server):
    """rclone, which may serve for reading only."""

    def stores(self) -> bool:
        """Whether it can be used as it is meant to."""
        return "--read-only" in self.command or super().stores()


def rclone_server(folder: Path, *options: str) -> RcloneServer:
    """rclone, serving a folder with one bucket; not started."""
    (folder / "served" / BUCKET).mkdir(parents=True)
    program = shutil.which("rclone", path=str(Path(sys.executable).parent))
    assert program is not None
    (port,) = free_ports(1)
    serve = [program, "serve", "s3", "--addr", f"127.0.0.1:{port}", "--auth-key", f"{ACCESS_KEY},{SECRET_KEY}"]
    command = [*serve, "--config", "", *options, str(folder / "served")]
    return RcloneServer("rclone", port, command, folder / "log", makes_bucket=True)


@pytest.fixture(scope="module")
def rclone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """rclone, running."""
    server = started(rclone_server, tmp_path_factory.mktemp("rclone"))
    yield server
    server.stop()


@pytest.fixture(params=["s3+fsspec", "s3+obstore"])
def url(request: pytest.FixtureRequest, rclone: Server, s3_environment: Mapping[str, str]) -> str:
    """A root on it, through each client."""
    return f"{request.param}://{BUCKET}/{request.param[3:]}?endpoint={rclone.endpoint}&region=us-east-1"


def served(rclone: Server) -> list[str]:
    """Every file below the bucket."""
    bucket = rclone.log.parent / "served" / BUCKET
    return [str(path.relative_to(bucket)) for path in bucket.rglob("*") if path.is_file()]


def opened(url: str, cache: Path) -> GuardedDriver:
    """The root, with a cache of its own."""
    opening = open_s3_fsspec if url.startswith("s3+fsspec") else open_s3_obstore
    return opening(url, {"cache": str(cache)})


def test_it_lets_many_racing_creators_win_and_the_probe_says_so(url: str, rclone: Server, tmp_path: Path) -> None:
    """Nothing of the trial stays there."""
    with closing(opened(url, tmp_path)) as driver:
        report = driver.gate.ask()
    assert not report.safe
    found = re.match(r"(\d+) of 16 that created one name at the same time were told", report.missing[0])
    assert found is not None
    assert int(found[1]) > 1
    assert served(rclone) == []


def test_no_movie_is_written_there(url: str, rclone: Server, tmp_path: Path) -> None:
    """The error names what is missing and what would help; nothing is left behind, reading asks for no probe."""
    with open_store(url, cache=tmp_path) as store:
        assert store.ids() == []
        assert not any(tmp_path.iterdir())
        for _ in range(2):
            with pytest.raises(UnsafeDriverError) as error:
                store.create_movie("film")
            assert "of 16 that created one name" in error.value.message
            assert "If-None-Match" in error.value.hint
            assert "PostgreSQL" in error.value.hint
        assert store.ids() == []
    assert served(rclone) == []
    with closing(opened(url, tmp_path)) as driver, pytest.raises(UnsafeDriverError):
        driver.sub("film").replace("current.json", b"{}")


@pytest.mark.parametrize("scheme", ["s3+fsspec", "s3+obstore"])
def test_what_another_has_written_there_can_be_read(
    scheme: str, s3_environment: Mapping[str, str], tmp_path: Path
) -> None:
    """Reading rests on no condition, asks for no probe and writes nothing, also where writing is not allowed."""
    server = rclone_server(tmp_path / "rclone", "--read-only")
    bucket = tmp_path / "rclone" / "served" / BUCKET
    with open_store(bucket) as store:
        digest = store.create_movie("film").blobs.put(b"x" * 10_000).hash
    (bucket / "film" / "metadata.db").unlink()
    before = served(server)
    assert server.start()
    try:
        url = f"{scheme}://{BUCKET}?endpoint={server.endpoint}&region=us-east-1"
        with open_store(url, cache=tmp_path / "cache") as store:
            assert store.ids() == ["film"]
            assert store.movie("film").blobs.read(digest) == b"x" * 10_000
    finally:
        server.stop()
    assert served(server) == before
