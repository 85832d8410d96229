"""`gc`: what it prints, what it refuses, and that nothing published is touched."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from renku_cli.commands.gc import seconds_of
from renku_cli.misuse import Misuse
from renku_store import Movie, open_store
from tests.cli.conftest import Call
from tests.test_gc import age


@pytest.fixture
def wasted(call: Call, built: str, place: Path) -> str:
    """The hash of an old blob that nothing names, in a movie of one revision."""
    with open_store(place / "builds") as store:
        movie: Movie = store.movie(built)
        digest = movie.blobs.put(b"waste " * 10).hash
        age(movie, 2 * 86_400)
    return digest


def test_gc_removes_what_nothing_needs_and_says_how_much(call: Call, wasted: str) -> None:
    """The fields of the contract; a second call finds nothing."""
    found = call("gc", "--json", "--force").json
    assert {"removed", "removedBytes", "kept", "keptBytes", "condemned"} <= set(found)
    assert (found["removed"], found["removedBytes"], found["condemned"]) == (1, 60, 1)
    assert "blobs" not in found
    assert call("gc").out.startswith("Removed 0 blobs, 0 B; ")
    assert call("cat", "book.text").code == 0


def test_a_dry_run_lists_the_blobs(call: Call, wasted: str) -> None:
    """As JSON and as a table; nothing is removed."""
    [blob] = call("gc", "--dry-run", "--json").json["blobs"]
    assert blob == {"hash": wasted, "bytes": 60, "kind": "unknown"}
    lines = call("gc", "--dry-run").out.splitlines()
    assert lines[0] == "blob\tbytes\twhat\tid\tlast used by\tcost"
    assert lines[1] == f"{wasted[:12]}\t60 B\tunknown\t-\t-\t-"
    assert lines[2].startswith("Would remove 1 blob, 60 B; ")


def test_the_brake_is_bad_use(call: Call, wasted: str, place: Path) -> None:
    """Code 2, and the hint names the option."""
    with open_store(place / "builds") as store:
        movie = store.movie("tiny")
        movie.blobs.put(os.urandom(10_000))
        age(movie, 2 * 86_400)
    refused = call("gc", "--json")
    assert refused.code == 2
    assert refused.error["kind"] == "BadInputError"
    assert "--force" in refused.error["hint"]


def test_damage_ends_it_with_code_4(call: Call, wasted: str, place: Path) -> None:
    """An unreadable revision might need anything."""
    (place / "builds/tiny/manifests/rev-0001.json").write_text(json.dumps({"format": 1}))
    refused = call("gc", "--force", "--json")
    assert (refused.code, refused.error["kind"]) == (4, "BlobCorruptError")


@pytest.mark.parametrize(("text", "seconds"), [("0", 0), ("90s", 90), ("1.5m", 90), ("24h", 86_400), ("7d", 604_800)])
def test_a_grace_time_has_a_unit(text: str, seconds: float) -> None:
    """Seconds, minutes, hours, days."""
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "24", "h", "-1h", "1w", "1e9d", "nan"])
def test_a_span_that_is_none_is_refused(call: Call, built: str, text: str) -> None:
    """By name, with an example."""
    with pytest.raises(Misuse, match="not a span of time"):
        seconds_of(text)
    assert call("gc", f"--grace={text}").code == 2
