"""Blob files altered by a bit, cut short, grown or gone: wrong bytes are never handed on."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from renku_store import BlobCorruptError, BlobMissingError, ManifestArtefact, Movie, open_store
from tests.cli.conftest import Call
from tests.hostile.conftest import BLUEPRINT, JOBS, LINES, Ledger

HARMS = ["one bit", "cut short", "empty", "grown", "gone", "a folder"]
SEEN_AT_ONCE = {"cut short", "empty", "grown", "gone", "a folder"}
"""What a look at sizes tells; a flipped bit shows itself when the bytes are read."""


def blob_of(call: Call, movie: Path, artefact: str) -> Path:
    """The file of an artefact's blob."""
    entry = call("inspect", "--json").json["artefacts"][artefact]
    name = str(entry["blob"])
    return movie / "blobs" / name[:2] / name


def do_harm(path: Path, harm: str) -> None:
    data = path.read_bytes()
    middle = len(data) // 2
    path.unlink()
    match harm:
        case "one bit":
            path.write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])
        case "cut short":
            path.write_bytes(data[:middle])
        case "empty":
            path.write_bytes(b"")
        case "grown":
            path.write_bytes(data + b"!")
        case "a folder":
            path.mkdir()


def take(movie: Movie, entry: ManifestArtefact, pieces: list[bytes]) -> None:
    """Read an artefact to its end, piece by piece."""
    with movie.open(entry) as stream:
        while piece := stream.read(100):
            pieces.append(piece)


@pytest.mark.parametrize("harm", HARMS)
def test_a_damaged_artefact_is_never_handed_out(call: Call, place: Path, shown: Path, harm: str) -> None:
    """`cat`, `export` and the library end with an error that names the blob."""
    right = call("cat", "reel.video").out
    path = blob_of(call, shown, "reel.video")
    do_harm(path, harm)
    for command in (["cat", "reel.video"], ["cat", "reel.video", "--json"], ["export", "latest", "out"]):
        called = call(*command)
        assert called.code == 4, (command, called)
        assert path.name in called.err
        assert called.out != right
        assert "Traceback" not in called.err
    assert not [file for file in place.glob("out/**/*.mp4") if file.is_file()]
    with open_store(place / "builds") as store:
        movie = store.movie("film")
        entry = movie.artefact("reel.video")
        with pytest.raises((BlobCorruptError, BlobMissingError)):
            movie.read(entry)
        pieces: list[bytes] = []
        with pytest.raises((BlobCorruptError, BlobMissingError)):
            take(movie, entry, pieces)
        assert len(b"".join(pieces)) < entry.size
    assert call("inspect").code == call("log").code == 0


@pytest.mark.parametrize("harm", sorted(SEEN_AT_ONCE - {"a folder"}))
def test_what_a_look_tells_to_be_damaged_is_made_again(call: Call, shown: Path, ledger: Ledger, harm: str) -> None:
    """The job becomes dirty, the same bytes come again, nothing that read them runs, no revision is needed."""
    right = call("cat", "sound[1].audio").out
    do_harm(blob_of(call, shown, "sound[1].audio"), harm)
    jobs = call("plan", "--json").json["jobs"]
    assert jobs["sound[1]"]["state"] == "dirty"
    assert jobs["sound[1]"]["reasons"][0]["kind"] == "blob missing or damaged"
    assert call("run").code == 0
    assert ledger.calls == Counter(["sound[1]"])
    assert call("cat", "sound[1].audio").out == right


def test_a_flipped_bit_fails_the_job_that_reads_it_and_nothing_else(
    call: Call, place: Path, shown: Path, ledger: Ledger
) -> None:
    """No program is started on wrong bytes; the message says which, they are set aside, and the next run heals."""
    path = blob_of(call, shown, "sound[1].audio")
    do_harm(path, "one bit")
    (place / "film.yaml").write_text(BLUEPRINT.replace("cat inputs/*", "cat inputs/* inputs/*"))
    assert call("set", "@blueprint", "@film.yaml").code == 0
    called = call("run", "--json")
    assert called.code == 1
    assert called.json["jobs"]["reel"]["status"] == "failed"
    assert called.json["jobs"]["reel"]["error"]["kind"] == "BlobCorruptError"
    assert path.name in called.json["jobs"]["reel"]["error"]["message"]
    assert not ledger.calls
    assert not path.exists()
    assert [aside.name.partition("-")[0] for aside in (shown / "quarantine").iterdir()] == [path.name]
    assert call("run").code == 0
    assert ledger.calls == Counter(["sound[1]", "reel"])
    assert call("cat", "reel.video").out == 2 * "".join(call("cat", f"sound[{i}].audio").out for i in range(3))


@pytest.mark.parametrize("harm", sorted(SEEN_AT_ONCE - {"a folder"}))
def test_a_damaged_earlier_result_is_not_reused(call: Call, shown: Path, ledger: Ledger, harm: str) -> None:
    """A trace is usable only if its bytes are there; the others still are."""
    path = blob_of(call, shown, "sound[1].audio")
    right = call("cat", "reel.video").out
    assert call("set", "greeting", "good day").code == 0
    assert call("run").code == 0
    ledger.clear()
    do_harm(path, harm)
    assert call("set", "greeting", "hello").code == 0
    assert call("run").code == 0
    assert ledger.calls == Counter(["sound[1]"])
    assert call("cat", "reel.video").out == right


@pytest.mark.parametrize("harm", ["one bit", "cut short", "gone"])
def test_a_damaged_large_input_is_named_and_can_be_set_again(
    call: Call, place: Path, film: Path, ledger: Ledger, harm: str
) -> None:
    """Nothing is run on a value that is not the one that was set."""
    (place / "lines.json").write_text(json.dumps(["x" * 3000, *LINES[1:]]))
    assert call("set", "lines", "@lines.json").code == 0
    assert call("run").code == 0
    ledger.clear()
    entry = call("inspect", "--json").json["inputs"]["lines"]
    path = next(file for file in (film / "blobs").rglob("*") if file.name.removesuffix(".zst") == entry["blob"])
    do_harm(path, harm)
    for command in ("plan", "run"):
        called = call(command, "--json")
        assert (called.code, called.error["kind"][:4]) == (4, "Blob")
        assert entry["blob"] in called.error["message"]
    assert not ledger.calls
    assert call("inspect").code == 0
    assert call("cat", "reel.video").code == 0
    if harm == "one bit":
        path.unlink()  # as the hint says: that a value is there already is told by its name and size
    assert call("set", "lines", "@lines.json").code == 0
    assert call("run").code == 0
    assert not ledger.calls


def test_a_damaged_graph_costs_reasons_and_nothing_else(call: Call, shown: Path, ledger: Ledger) -> None:
    """The graph of a revision can be told anew from its inputs."""
    graph = call("inspect", "--json").json["graph"]
    path = next(file for file in (shown / "blobs").rglob("*") if file.name.removesuffix(".zst") == graph)
    do_harm(path, "cut short")
    assert call("plan", "--json").json["layers"] == []
    assert call("set", "greeting", "good day").code == 0
    assert call("run").code == 0
    assert ledger.calls == JOBS


def test_a_damaged_archive_costs_history_and_nothing_else(call: Call, twice: Path, ledger: Ledger) -> None:
    """Even where the index has to be made from it."""
    for path in (twice / "events").iterdir():
        path.write_bytes(path.read_bytes()[:40])
    (twice / "metadata.db").unlink()
    assert call("log").code == 0
    assert call("cat", "reel.video").code == 0
    assert call("plan", "--json").json["layers"] == []
    assert call("run", "--json").json["status"] == "unchanged"
    assert not ledger.calls
