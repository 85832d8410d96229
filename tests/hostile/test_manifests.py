"""Manifests that were cut short or edited by hand, and pointers that say nothing or something wrong."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import children
from tests.cli.conftest import Call
from tests.hostile.conftest import JOBS, Ledger, Look

Harm = Callable[[bytes], bytes]

HARMS: dict[str, Harm] = {
    "empty": lambda data: b"",
    "cut short": lambda data: data[: len(data) // 2],
    "one bit": lambda data: data[:100] + bytes([data[100] ^ 1]) + data[101:],
    "a cost made smaller": lambda data: data.replace(b'"made":', b'"made":1'),
    "another value": lambda data: data.replace(b'"three"', b'"four"'),
    "laid out nicely": lambda data: json.dumps(json.loads(data), indent=2).encode(),
    "the end of a line": lambda data: data + b"\n",
    "a list": lambda data: b"[]",
    "null": lambda data: b"null",
    "an empty object": lambda data: b"{}",
    "not text": lambda data: b"\xff\xfe\x00",
    "deep": lambda data: b"[" * 100_000,
    "a key twice": lambda data: b'{"format":1,' + data[1:],
    "another movie's": lambda data: data.replace(b'"rev-0002"', b'"rev-0003"'),
}


@pytest.mark.parametrize(
    ("harm", "index"),
    [(harm, "with the index") for harm in HARMS]
    + [(harm, "without the index") for harm in ("cut short", "a cost made smaller", "not text", "deep")]
    + [(harm, "without index and pointer") for harm in HARMS if harm not in {"a cost made smaller", "one bit"}],
)
def test_a_damaged_newest_manifest_is_named_and_older_ones_stay_readable(
    call: Call, twice: Path, ledger: Ledger, harm: str, index: str
) -> None:
    """Whoever needs it ends with 4 and its name; nothing is run and nothing is written over it."""
    path = twice / "manifests" / "rev-0002.json"
    path.write_bytes(HARMS[harm](path.read_bytes()))
    if index != "with the index":
        (twice / "metadata.db").unlink()
    if index == "without index and pointer":
        (twice / "current.json").unlink()
    harmed = path.read_bytes()
    for command in (["inspect"], ["log"], ["plan"], ["run"], ["cat", "reel.video"], ["diff", "1", "2"], ["movies"]):
        called = call(*command, "--json")
        assert called.code == 4, (command, called.out[:200], called.err)
        assert called.error["kind"] == "BlobCorruptError"
        assert "manifest of rev-0002" in called.error["message"]
    assert call("inspect", "rev-0001", "--json").json["revision"] == "rev-0001"
    assert call("cat", "reel.video", "--rev", "1").code == 0
    assert call("events").code == 0
    assert not ledger.calls
    assert path.read_bytes() == harmed
    assert not list(path.parent.glob("rev-0003*"))


@pytest.mark.parametrize("harm", ["empty", "cut short", "another value", "deep"])
@pytest.mark.parametrize("index", ["with the index", "without the index"])
def test_a_damaged_older_manifest_harms_nothing_but_itself(
    call: Call, twice: Path, ledger: Ledger, harm: str, index: str
) -> None:
    """The newest can be read and built on; the log says which revision is damaged."""
    path = twice / "manifests" / "rev-0001.json"
    path.write_bytes(HARMS[harm](path.read_bytes()))
    if index == "without the index":
        (twice / "metadata.db").unlink()
    called = call("inspect", "rev-0001", "--json")
    assert (called.code, called.error["kind"]) == (4, "BlobCorruptError")
    assert call("cat", "reel.video").code == 0
    assert call("plan", "--json").json["layers"] == []
    assert call("run", "--json").json["status"] == "unchanged"
    called = call("log")
    assert called.code == 4
    assert "rev-0001 is damaged" in called.err
    assert [line.split("\t")[0] for line in called.out.splitlines()] == ["revision", "rev-0002"]
    assert call("log", "--limit", "1", "--json").json[0]["revision"] == "rev-0002"
    assert not ledger.calls
    assert call("set", "greeting", "good night").code == 0
    assert call("run", "--json").json["revision"] == "rev-0003"
    assert ledger.calls == JOBS


def test_a_missing_manifest_in_the_middle_is_said_to_be_missing(call: Call, twice: Path) -> None:
    """It is no end of the history, and its number is not given again."""
    (twice / "manifests" / "rev-0001.json").unlink()
    assert call("inspect", "latest", "--json").json["revision"] == "rev-0002"
    assert call("inspect", "rev-0001").code == 4
    called = call("log", "--json")
    assert (called.code, called.error["kind"]) == (4, "BlobMissingError")
    assert "rev-0001" in called.err
    assert [entry["revision"] for entry in called.json] == ["rev-0002"]
    assert call("set", "greeting", "good night").code == 0
    assert call("run", "--json").json["revision"] == "rev-0003"


POINTERS: dict[str, Harm] = {
    "empty": lambda data: b"",
    "garbage": lambda data: b"\x00\xff garbage",
    "cut short": lambda data: data[:30],
    "a list": lambda data: b"[]",
    "deep": lambda data: b"[" * 100_000,
    "not there yet": lambda data: data.replace(b"rev-0002", b"rev-0099"),
    "an older one": lambda data: data.replace(b"rev-0002", b"rev-0001"),
    "a wrong hash": lambda data: json.dumps({**json.loads(data), "hash": "0" * 64}).encode(),
    "no revision": lambda data: data.replace(b"rev-0002", b"../../up"),
    "another file": lambda data: data.replace(b"manifests/rev-0002.json", b"manifests/rev-0001.json"),
    "a folder": lambda data: b"",
}


def harm_pointer(folder: Path, harm: str) -> None:
    """Make a movie's pointer what the harm says."""
    path = folder / "current.json"
    data = POINTERS[harm](path.read_bytes())
    path.unlink()
    if harm == "a folder":
        path.mkdir()
    else:
        path.write_bytes(data)


@pytest.mark.parametrize(
    ("harm", "index"),
    [
        (harm, index)
        for harm in POINTERS
        for index in ("with the index", "without the index")
        if harm != "a folder" and (harm, index) != ("a wrong hash", "without the index")
    ],
)
def test_a_damaged_pointer_is_repaired_when_the_movie_is_opened_for_writing(
    call: Call, twice: Path, harm: str, index: str
) -> None:
    """Invariant 7: whoever opens the movie for writing puts it right, from the manifests."""
    pointer = twice / "current.json"
    before = json.loads(pointer.read_bytes())
    harm_pointer(twice, harm)
    if index == "without the index":
        (twice / "metadata.db").unlink()
    assert call("inspect", "--json").json["revision"] == "rev-0002"
    after = json.loads(pointer.read_bytes())
    assert {key: after[key] for key in ("revision", "manifest", "hash")} == {
        key: before[key] for key in ("revision", "manifest", "hash")
    }


def test_a_pointer_and_a_manifest_that_disagree_are_not_judged_without_the_index(call: Call, twice: Path) -> None:
    """Nobody is left to say which of the two is wrong; without the pointer, the manifest has to agree with itself."""
    harm_pointer(twice, "a wrong hash")
    (twice / "metadata.db").unlink()
    called = call("inspect", "--json")
    assert (called.code, called.error["kind"]) == (4, "BlobCorruptError")
    (twice / "current.json").unlink()
    assert call("inspect", "--json").json["revision"] == "rev-0002"


READ = """
import json, sys
from renku_store import StoreError, open_store
found = {}
with open_store(sys.argv[1]) as store:
    for id in store.ids():
        try:
            with store.movie(id) as movie:
                assert movie.read_only
                found[id] = [movie.manifests.load_current()[0].revision, len(movie.read(movie.artefact("reel.video")))]
        except StoreError as error:
            found[id] = [error.kind, error.message]
print(json.dumps(found))
"""


def test_a_damaged_pointer_on_a_read_only_root_hides_nothing(call: Call, place: Path, twice: Path, look: Look) -> None:
    """What was published is found through the manifests, and nothing is repaired."""
    for harm in POINTERS:
        for index in ("indexed", "bare"):
            copy = twice.parent / f"{harm.replace(' ', '-')}-{index}"
            shutil.copytree(twice, copy)
            harm_pointer(copy, harm)
            if index == "bare":
                (copy / "metadata.db").unlink()
    length = len(call("cat", "reel.video", "--movie", "film").out)
    prefix = children.on_read_only(twice.parent)
    before = look(twice.parent)
    ended = children.run(READ, twice.parent, prefix=prefix)
    assert ended.code == 0, ended.err
    found = json.loads(ended.out)
    bad = {key: value for key, value in found.items() if value != ["rev-0002", length]}
    assert set(bad) <= {"a-wrong-hash-bare"}, bad
    assert look(twice.parent) == before
