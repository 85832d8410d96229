"""`rollback`, `stats` and `compact`: what they print, how they end, and that nothing published is touched."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import LINES, Call


@pytest.fixture
def grown(call: Call, built: str) -> str:
    """A movie of three revisions."""
    for greeting in ("hi", "hey"):
        assert call("set", "greeting", greeting).code == 0
        assert call("run").code == 0
    return built


def test_rollback_publishes_and_says_what(call: Call, grown: str) -> None:
    """The fields of the contract; the plan is empty and a run unchanged afterwards."""
    done = call("rollback", "1", "--json").json
    assert set(done) == {"revision", "hash", "restored", "status", "pending"}
    assert (done["revision"], done["restored"], done["status"], done["pending"]) == (
        "rev-0004", "rev-0001", "published", [],
    )  # fmt: skip
    shown = call("inspect", "--json").json
    assert shown["hash"] == done["hash"]
    assert shown["contentHash"] == call("inspect", "rev-0001", "--json").json["contentHash"]
    assert call("diff", "rev-0001", "latest", "--json").json["artefacts"] == {"added": [], "removed": [], "changed": []}
    assert call("run", "--json").json["status"] == "unchanged"
    assert call("rollback", "latest", "--json").json["status"] == "unchanged"
    assert call("rollback", "rev-0001").out == "rev-0004 is what rev-0001 was: nothing to publish.\n"
    assert call("rollback", "rev-0002").out == "Published rev-0005, which is what rev-0002 was.\n"


def test_rollback_names_edits_that_stay_pending(call: Call, grown: str) -> None:
    """On standard error for people, as `pending` for programs; the next run takes them."""
    call("set", "greeting", "moin")
    called = call("rollback", "rev-0001")
    assert called.code == 0
    assert "1 edit still pending, for the next run: greeting." in called.err
    assert call("rollback", "rev-0002", "--json").json["pending"] == ["greeting"]
    assert call("run", "--json").json["revision"] == "rev-0006"
    assert "moin" in call("cat", "word[0].text").out


def test_rollback_to_what_is_not_there_is_an_error(call: Call, grown: str, place: Path) -> None:
    """Code 2 for a revision that never was, 4 for one whose bytes are gone."""
    assert call("rollback", "rev-0009").code == 2
    assert call("rollback").code == 2
    graph = call("inspect", "rev-0001", "--json").json["graph"]
    for path in (place / "builds/tiny/blobs").rglob(f"{graph}*"):
        path.unlink()
    called = call("rollback", "rev-0001", "--json")
    assert called.code == 4
    assert called.error["kind"] == "BlobMissingError"
    assert graph in called.error["message"]


def test_stats_counts(call: Call, grown: str) -> None:
    """The fields of the contract, consistent with each other and with what `log` and `inspect` say."""
    found = call("stats", "--json").json
    revisions = call("log", "--json").json
    assert (found["movie"], found["revisions"], found["expired"], found["trash"]) == ("tiny", 3, 0, 0)
    assert found["logicalBytes"] == sum(call("inspect", r["revision"], "--json").json["bytes"] for r in revisions)
    assert [entry["revision"] for entry in found["growth"]] == ["rev-0001", "rev-0002", "rev-0003"]
    assert sum(entry["newBytes"] for entry in found["growth"]) <= found["uniqueBytes"]
    assert [entry["made"] for entry in found["growth"]] == [entry["made"] for entry in reversed(revisions)]
    assert set(found["cost"]) == {"spent", "published", "unpublished", "saved"}
    assert found["storedBytes"] <= found["uniqueBytes"]


def test_stats_for_people(call: Call, grown: str) -> None:
    """Facts, then a line a revision."""
    lines = call("stats").out.splitlines()
    assert lines[0] == "tiny"
    assert "revisions\t3" in lines
    assert lines[-4] == "revision\tcreated\tnew\ton disk\tmade\treused\tcost"
    assert lines[-1].startswith("rev-0003\t")


def test_compact_drops_rows_and_events_shows_them(call: Call, grown: str) -> None:
    """The same lines before and after, but for numbers; a second time there is nothing to do."""
    before = call("events").out
    looked = call("compact", "--dry-run", "--json").json
    assert call("events").out == before
    done = call("compact", "--json")
    assert done.code == 0
    assert set(done.json) == {"runs", "rows", "keptRows", "bytesBefore", "bytesAfter", "problems"}
    assert (done.json["runs"], done.json["rows"]) == (looked["runs"], looked["rows"]) == (3, looked["rows"])
    assert done.json["rows"] > 0
    assert call("events").out == before
    assert call("events", "greeting").out.count("set") == 2
    assert call("compact").out.startswith("Dropped 0 rows of 0 runs; ")
    assert call("compact", "--dry-run").out.startswith("Would drop 0 rows of 0 runs; ")


def test_compact_ends_with_code_4_beside_a_damaged_archive(call: Call, grown: str, place: Path) -> None:
    """The others are compacted; what is damaged is named, in the document too."""
    run = call("inspect", "rev-0002", "--json").json["run"]
    path = place / f"builds/tiny/events/{run}.jsonl.zst"
    path.write_bytes(path.read_bytes()[:-9])
    called = call("compact", "--json")
    assert called.code == 4
    [problem] = called.json["problems"]
    assert (problem["run"], problem["revision"]) == (run, "rev-0002")
    assert called.json["runs"] == 2
    again = call("compact")
    assert again.code == 4
    assert again.err.startswith("rev-0002: ")


def test_a_follower_shows_each_event_once(call: Call, grown: str) -> None:
    """Also where the log begins in archives: nothing comes again with the rows."""
    call("compact")
    count = len(call("events").out.splitlines())
    renku_store = str(Path(sys.executable).parent / "renku-store")
    command = [renku_store, "events", "--follow", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as follower:
        assert follower.stdout is not None
        followed = [json.loads(follower.stdout.readline()) for _ in range(count)]
        assert call("set", "lines", json.dumps(LINES[:1])).code == 0
        followed.append(json.loads(follower.stdout.readline()))
        follower.terminate()
        assert follower.stdout.read() == ""
    assert len({event["id"] for event in followed}) == count + 1
    assert followed[-1]["input"] == "lines"
