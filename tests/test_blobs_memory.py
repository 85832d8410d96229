"""Memory: files and streams of any size pass through in a bounded amount of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import children

SCRIPT = """
    import os, sys
    from pathlib import Path
    from renku_store.blobs import BlobStore
    from renku_store.drivers.local import LocalDriver
    from renku_store.metadata.sqlite.opening import MEMORY, open_sqlite
    def peak():
        return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
    folder, source = Path(sys.argv[1]), Path(sys.argv[2])
    blobs = BlobStore(LocalDriver(folder / "movie"), open_sqlite(Path(MEMORY)))
    blobs.read(blobs.put(b"small"))
    idle = peak()
    stored = blobs.put_file(source)
    with source.open("rb") as stream:
        assert blobs.put(stream) == stored
    assert stored.size == source.stat().st_size
    with blobs.open(stored) as stream:
        assert sum(map(len, iter(lambda: stream.read(1 << 20), b""))) == stored.size
    blobs.copy_to(stored, folder / "copy")
    print(blobs.stat(stored).encoding, peak() - idle)
"""


def used(folder: Path, source: Path) -> tuple[str, int]:
    """How a file was stored, and the KiB that putting, reading and copying it took beyond the idle process."""
    ended = children.run(SCRIPT, folder, source)
    assert ended.err == ""
    encoding, kibibytes = ended.out.split()
    return encoding, int(kibibytes)


def write_noise(path: Path, mebibytes: int) -> None:
    """A file that does not compress."""
    with Path("/dev/urandom").open("rb") as noise, path.open("wb") as file:
        for _ in range(mebibytes):
            file.write(noise.read(1 << 20))


def test_a_large_file_passes_in_constant_memory(tmp_path: Path) -> None:
    """256 MiB of noise within 64 MiB above the idle process."""
    write_noise(tmp_path / "source", 256)
    encoding, kibibytes = used(tmp_path, tmp_path / "source")
    assert encoding == "raw"
    assert kibibytes < 64 << 10


def test_a_large_compressible_file_passes_in_constant_memory(tmp_path: Path) -> None:
    """256 MiB of zeros, which become a few KiB."""
    with (tmp_path / "source").open("wb") as file:
        file.truncate(256 << 20)
    encoding, kibibytes = used(tmp_path, tmp_path / "source")
    assert encoding == "zstd"
    assert kibibytes < 64 << 10


@pytest.mark.long
@pytest.mark.parametrize("kind", ["noise", "zeros"])
def test_two_gibibytes_pass_in_constant_memory(tmp_path: Path, kind: str) -> None:
    """2 GiB within 64 MiB above the idle process."""
    if kind == "noise":
        write_noise(tmp_path / "source", 2 << 10)
    else:
        with (tmp_path / "source").open("wb") as file:
            file.truncate(2 << 30)
    _, kibibytes = used(tmp_path, tmp_path / "source")
    assert kibibytes < 64 << 10
