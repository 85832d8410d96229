"""`rebuild`: what it prints, and that it is the way out of a damaged database."""

from __future__ import annotations

from pathlib import Path

import pytest

from renku_store import open_store
from tests.cli.conftest import Call


def test_rebuild_tells_what_the_new_database_holds(call: Call, built: str, place: Path) -> None:
    """As JSON and in a sentence; edits that wait are still there."""
    assert call("set", "greeting", "good day").code == 0
    found = call("rebuild", "--json").json
    assert found["movie"] == built
    assert (found["revisions"], found["artefacts"], found["runs"], found["salvaged"]) == (1, 5, 1, 1)
    assert found["leftOut"] == []
    assert "quarantined" not in found
    told = call("rebuild")
    assert told.code == 0
    held = f"1 revision, 5 artefacts, 1 blob, 1 run, {found['events']} events"
    assert told.out.splitlines() == [
        f"Made the database of tiny anew: {held}.",
        "1 event came from the old database alone.",
    ]
    assert [edit["input"] for edit in call("status", "--json").json["pending"]] == ["greeting"]


def test_the_hint_of_a_damaged_database_is_the_command_that_mends_it(call: Call, built: str, place: Path) -> None:
    """Every command ends with 4 before, and works after; the damaged file is in quarantine."""
    (place / "builds/tiny/metadata.db").write_bytes(b"garbage " * 999)
    refused = call("log", "--json")
    assert refused.code == 4
    assert "`renku-store rebuild`" in refused.error["hint"]
    found = call("rebuild", "--json").json
    assert (place / "builds/tiny" / found["quarantined"]).read_bytes() == b"garbage " * 999
    assert [revision["revision"] for revision in call("log", "--json").json] == ["rev-0001"]
    assert call("run", "--json").json["status"] == "unchanged"


def test_a_damaged_revision_is_named_with_what_to_do(call: Call, built: str, place: Path) -> None:
    """On standard error; the rest is there. The old database, if it is there, has the bytes of the newest one."""
    manifest = place / "builds/tiny/manifests/rev-0001.json"
    sound = manifest.read_bytes()
    manifest.write_bytes(sound[:-9])
    assert "The manifest of rev-0001 was lost; it is back, byte for byte" in call("rebuild").err
    assert manifest.read_bytes() == sound
    manifest.write_bytes(sound[:-9])
    for part in (place / "builds/tiny").glob("metadata.db*"):
        part.unlink()
    told = call("rebuild")
    assert told.code == 0
    assert "The manifest of rev-0001 is damaged or missing, and was left out" in told.err


def test_an_open_movie_is_an_error_with_code_5(
    call: Call, built: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And so is a name that there is none of, with code 2."""
    monkeypatch.setattr("renku_store.bounds.OPEN_LOCK_WAIT_SECONDS", 0.05)
    with open_store(place / "builds") as store:
        store.movie(built)
        refused = call("rebuild", "--json")
    assert (refused.code, refused.error["kind"]) == (5, "StoreUnavailableError")
    assert call("rebuild", "--movie", "tinny").code == 2
