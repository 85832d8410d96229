"""Archives of events: what is written is read back, by this project and by others; damage is named."""

from __future__ import annotations

import io
import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from renku_store.archives import ArchiveStore, archive_path
from renku_store.drivers.local import LocalDriver
from renku_store.errors import BlobCorruptError, BlobMissingError, InvalidIdError, UnsupportedFormatError
from renku_store.hashing import hash_bytes
from renku_store.records.events import Event, RunEvent
from tests.metadata.samples import NOW, digest, input_event, made, new_id

RUN = "01890a5d-ac96-774b-bcce-b302099a8057"


def read_by_another_hand(path: Path) -> list[dict[str, object]]:
    """A reader of the format: a zstd frame, in it one JSON object a line, the first a header."""
    with path.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as stream:
        return [json.loads(line) for line in io.TextIOWrapper(stream, encoding="utf-8")]


@pytest.fixture
def archives(tmp_path: Path) -> ArchiveStore:
    return ArchiveStore(LocalDriver(tmp_path), "film")


def events() -> list[Event]:
    return [
        input_event("title", None),
        input_event("text", {"a": ["line\n\u2028\x85", None, 1e18]}, run=RUN),
        made("say.out", "x", run=RUN),
        RunEvent(id=new_id(), run=RUN, kind="planned", data={"base": None}, created_at=NOW),
    ]


def packed(*lines: bytes) -> bytes:
    return zstandard.compress(b"".join(line + b"\n" for line in lines))


def test_events_come_back_in_order_with_their_ids(archives: ArchiveStore, tmp_path: Path) -> None:
    """Null values, line ends inside text and large numbers included."""
    written = events()
    reference = archives.write(RUN, written)
    assert [*archives.read(RUN, reference.hash)] == written
    assert reference.name == f"events/{RUN}.jsonl.zst"
    assert reference.hash == hash_bytes((tmp_path / reference.name).read_bytes())
    assert archives.runs() == [RUN]


def test_another_reader_sees_a_header_and_one_event_a_line(archives: ArchiveStore, tmp_path: Path) -> None:
    """With nothing of this project."""
    archives.write(RUN, events())
    header, *lines = read_by_another_hand(tmp_path / archive_path(RUN))
    assert header == {"type": "archive", "format": 1, "movie": "film", "run": RUN}
    assert [line["type"] for line in lines] == ["input", "input", "artefact", "run"]
    assert lines[0]["value"] is None
    assert "seq" not in lines[0]


def test_the_same_events_give_the_same_bytes(archives: ArchiveStore) -> None:
    """A resumed publish meets its own archive again."""
    written = events()
    assert archives.encode(RUN, written) == archives.encode(RUN, written)


@given(size=st.integers(0, 10**6))
def test_a_truncated_archive_is_never_taken_for_a_shorter_one(
    tmp_path_factory: pytest.TempPathFactory, size: int
) -> None:
    """Even where no manifest says its hash."""
    archives = ArchiveStore(LocalDriver(tmp_path_factory.mktemp("movie")), "film")
    data = archives.encode(RUN, [made("say.out", n, run=RUN) for n in range(3)])
    archives.save(RUN, data[: size % len(data)])
    with pytest.raises(BlobCorruptError, match=RUN):
        list(archives.read(RUN))


@given(place=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_one_altered_bit_gives_the_same_events_or_an_error(
    tmp_path_factory: pytest.TempPathFactory, place: int, bit: int
) -> None:
    """The frame carries a checksum of its content."""
    archives = ArchiveStore(LocalDriver(tmp_path_factory.mktemp("movie")), "film")
    written: list[Event] = [made("say.out", n, run=RUN) for n in range(3)]
    data = bytearray(archives.encode(RUN, written))
    data[place % len(data)] ^= 1 << bit
    archives.save(RUN, bytes(data))
    try:
        read = [*archives.read(RUN)]
    except BlobCorruptError:
        return
    assert read == written


def test_with_a_known_hash_other_bytes_are_refused_before_the_first_event(archives: ArchiveStore) -> None:
    """A manifest says what its archive must be."""
    reference = archives.write(RUN, events())
    archives.write(RUN, [*events(), made("a.out", 1)])
    with pytest.raises(BlobCorruptError, match=RUN):
        next(archives.read(RUN, reference.hash))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not zstd",
        packed(),
        packed(b"not json"),
        packed(b"[]"),
        packed(b'{"type":"archive","format":1,"movie":"film","run":"another"}'),
        packed(b'{"type":"archive","format":1,"movie":"film","run":"%s"}' % RUN.encode(), b'{"type":"unknown"}'),
        packed(b'{"type":"archive","format":1,"movie":"film","run":"%s"}' % RUN.encode(), b"\xff\xfe"),
        packed(b'{"type":"archive","format":1,"movie":"film","run":"%s"}' % RUN.encode(), b"{}")[:-1],
    ],
)
def test_what_is_no_archive_is_named_as_damage(archives: ArchiveStore, data: bytes) -> None:
    """Not one, empty, of another run, of unknown events, not text."""
    archives.save(RUN, data)
    with pytest.raises(BlobCorruptError, match=RUN):
        list(archives.read(RUN))


def test_an_archive_of_a_newer_version_is_refused(archives: ArchiveStore) -> None:
    """Its events may mean something else."""
    archives.save(RUN, packed(b'{"type":"archive","format":2,"movie":"film","run":"%s"}' % RUN.encode()))
    with pytest.raises(UnsupportedFormatError, match="format 2"):
        list(archives.read(RUN))


def test_names_that_are_no_archives_are_passed_over(archives: ArchiveStore, tmp_path: Path) -> None:
    """A foreign file is not a run; a run's id is checked before it becomes a path."""
    archives.write(RUN, [])
    (tmp_path / "events/notes.jsonl.zst").write_bytes(b"")
    (tmp_path / f"events/{RUN}.jsonl.zst.bak").write_bytes(b"")
    assert archives.runs() == [RUN]
    assert [*archives.read(RUN)] == []
    with pytest.raises(InvalidIdError):
        archives.write("../x", [])
    with pytest.raises(BlobMissingError):
        list(archives.read(new_id()))


def test_a_hundred_thousand_events_pass_in_little_memory(archives: ArchiveStore) -> None:
    """Neither writing nor reading holds all of them: what is held is about their compressed size."""
    one = made("say.out", "x" * 50, run=RUN)

    def many() -> Iterator[Event]:
        for number in range(100_000):
            yield one.replace(id=new_id(), signature=digest(number))

    tracemalloc.start()
    try:
        archives.write(RUN, many())
        count = sum(1 for _ in archives.read(RUN))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 100_000
    assert peak < 32 * 1_048_576
