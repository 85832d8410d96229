"""`doctor` of roots on real servers."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.cli.conftest import Call
from tests.drivers.servers import (
    ACCESS_KEY,
    BUCKET,
    READER_KEY,
    READER_SECRET,
    SECRET_KEY,
    Server,
    free_ports,
    started,
)


@pytest.fixture(autouse=True)
def _cache(place: Path, s3_environment: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RENKU_STORE_CACHE", str(place / "cache"))


def _root(server: Server, scheme: str = "s3") -> str:
    at = server.place()
    return f"{scheme}://{at.bucket}/{at.prefix}?endpoint={at.endpoint}&region={at.region}"


def _rclone(folder: Path) -> Server:
    (folder / "served" / BUCKET).mkdir(parents=True)
    program = shutil.which("rclone", path=str(Path(sys.executable).parent))
    assert program is not None
    (port,) = free_ports(1)
    serve = [program, "serve", "s3", "--addr", f"127.0.0.1:{port}", "--auth-key", f"{ACCESS_KEY},{SECRET_KEY}"]
    return Server("rclone", port, [*serve, "--config", "", str(folder / "served")], folder / "log", makes_bucket=True)


@pytest.fixture
def rclone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that ignores conditions."""
    server = started(_rclone, tmp_path_factory.mktemp("rclone"))
    yield server
    server.stop()


@pytest.mark.parametrize("scheme", ["s3", "s3+fsspec"])
def test_a_remote_root_is_tried_out(call: Call, moto: Server, scheme: str, place: Path) -> None:
    """Guarantees, latency, the library and its version, free space, the folder of this machine."""
    root = _root(moto, scheme)
    done = call("doctor", "--root", root, "--json")
    assert (done.code, done.json["ok"]) == (0, True)
    probe = done.json["probe"]
    assert (probe["safe"], probe["missing"], probe["freeBytes"]) == (True, [], None)
    assert probe["guarantees"]["atomicCreate"]
    assert not probe["guarantees"]["sharedIndex"]
    assert 0 < probe["writeSeconds"] < 60
    assert 0 < probe["readSeconds"] < 60
    assert Path(probe["workspace"]).is_relative_to(place / "cache")
    folder = place / "cache" / "renku-store" / "blobs"
    assert probe["cache"] == {"folder": str(folder), "usedBytes": 0, "maxBytes": 10 * 1024**3}
    checks = {check["name"]: check for check in done.json["checks"]}
    assert checks["read cache"]["detail"].startswith(str(folder))
    assert {"root", "safe", "atomic create", "compare and swap", "listing", "latency", "free space", "store"} <= set(
        checks
    )
    assert "Nobody knows" in checks["free space"]["detail"]
    assert any(name in checks["root"]["detail"] for name in ("obstore 0.", "s3fs 20"))
    shown = call("doctor", "--root", root)
    assert shown.code == 0
    assert "it holds 0 movies" in shown.out
    assert "ms to write 4 KiB" in shown.out
    assert SECRET_KEY not in shown.out + shown.err + done.out + done.err


@pytest.mark.parametrize("scheme", ["s3", "s3+fsspec"])
def test_credentials_that_may_only_read_are_a_warning(
    call: Call, seaweed: Server, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Code 0: what is published can be read. Those that the server does not know are a failure."""
    root = _root(seaweed, scheme)
    assert call("init", "film", "--root", root).code == 0
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", READER_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", READER_SECRET)
    done = call("doctor", "--root", root, "--json")
    assert (done.code, done.json["ok"]) == (0, True), done.out
    checks = {check["name"]: check for check in done.json["checks"]}
    assert checks["writable"]["status"] == "warning"
    assert checks["writable"]["detail"].startswith("Read-only here: ")
    assert "safe" not in checks
    for name in ("atomic create", "compare and swap", "listing"):
        assert (checks[name]["status"], checks[name]["detail"][:9]) == ("warning", "Not tried"), checks[name]
    assert "1 movie" in checks["store"]["detail"]
    assert done.json["probe"]["safe"] is False
    assert "AccessDenied" in done.json["probe"]["denied"]
    assert READER_SECRET not in done.out + done.err
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2hunter2")
    assert call("doctor", "--root", root, "--json").code == 5


def test_a_server_that_ignores_conditions_is_unsafe(call: Call, rclone: Server) -> None:
    """Code 5, with what it did; every command that would write there says the same, and what would help."""
    root = _root(rclone)
    done = call("doctor", "--root", root, "--json")
    assert (done.code, done.json["ok"], done.json["probe"]["safe"]) == (5, False, False)
    checks = {check["name"]: check for check in done.json["checks"]}
    assert checks["safe"]["status"] == "failed"
    assert "of 16 that created one name" in checks["safe"]["detail"]
    refused = call("--json", "--root", root, "init", "film")
    assert refused.code == 5
    assert refused.error["kind"] == "UnsafeDriverError"
    assert "If-None-Match" in refused.error["hint"]
    assert call("--root", root, "--json", "movies").json == []


@pytest.mark.parametrize(
    ("root", "words"),
    [
        ("s3://bucket/videos?endpoint=http://127.0.0.1:1&region=us-east-1", "cannot be reached"),
        ("s3://bucket/videos?regoin=x", "Did you mean region?"),
        ("s3://key:hunter2@bucket", "holds no credentials"),
        ("s3://bucket?secret_access_key=hunter2", "is a credential"),
        ("sftp://user:secret/hunter2@host/x", "paramiko"),
        ("gcs://bucket/videos", "gcsfs"),
    ],
)
def test_a_root_that_cannot_be_tried_says_why(
    call: Call, root: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what to do about it, and code 5."""
    monkeypatch.setattr("renku_store.bounds.OBJECT_ATTEMPTS", 1)
    done = call("doctor", "--root", root, "--json")
    assert done.code == 5
    (check,) = [check for check in done.json["checks"] if check["name"] == "root"]
    assert words in check["detail"]
    assert "hunter2" not in done.out + done.err
