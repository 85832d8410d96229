"""`doctor`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Self

import pytest

from renku_cli import probes
from tests.cli.conftest import Call


def test_a_sound_machine_is_said_to_be(call: Call, place: Path) -> None:
    """Every check has a name and a result; versions and extras are told; nothing is left behind."""
    found = call("doctor", "--json")
    assert (found.code, found.json["ok"]) == (0, True)
    checks = {check["name"]: check["status"] for check in found.json["checks"]}
    assert {"sqlite", "root", "writable", "hard links", "atomic create", "reflink", "fsync", "free space"} <= set(
        checks
    )
    assert "failed" not in checks.values()
    assert found.json["versions"]["pydantic"]
    assert found.json["extras"]["demo"]["installed"]
    assert list(place.iterdir()) == []


def test_the_root_itself_is_tried_where_it_is_there(call: Call, built: str, place: Path) -> None:
    """And left as it was."""
    before = sorted(path.name for path in (place / "builds").iterdir())
    shown = call("doctor").out
    assert "root\tok\tbuilds\n" in shown
    assert "it holds 1 movie" in shown
    assert sorted(path.name for path in (place / "builds").iterdir()) == before


@pytest.mark.parametrize("root", ["file", "file/below", "nowhere://bucket/videos"])
def test_a_root_that_cannot_be_ends_with_5(call: Call, place: Path, root: str) -> None:
    """A file, a path below a file, a scheme without a driver."""
    (place / "file").write_text("")
    done = call("doctor", "--root", root, "--json")
    assert (done.code, done.json["ok"]) == (5, False)


def test_a_file_system_that_lets_two_win_is_unsafe(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """The probe believes what it sees."""

    class Careless:
        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None:
            return

        @property
        def driver(self) -> Careless:
            return self

        def create(self, name: str, data: bytes) -> bool:
            return True

    monkeypatch.setattr(probes, "open_store", lambda root: Careless())
    done = call("doctor", "--json")
    assert done.code == 5
    assert {check["name"]: check["status"] for check in done.json["checks"]}["atomic create"] == "failed"


def test_a_folder_without_room_or_rights_is_a_warning(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """Published movies can still be read from there."""

    def refused(*_: object, **__: object) -> object:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "TemporaryDirectory", refused)
    monkeypatch.setattr(probes, "LOW_BYTES", 10**30)
    done = call("doctor", "--json")
    statuses = {check["name"]: check["status"] for check in done.json["checks"]}
    assert (done.code, statuses["writable"], statuses["free space"]) == (0, "warning", "warning")


def test_a_root_that_is_a_url_is_looked_at_through_its_driver(call: Call, place: Path) -> None:
    """A folder by its URL is a folder; memory is safe, and empty in each process."""
    (place / "builds").mkdir(exist_ok=True)
    folder = call("doctor", "--root", f"file://{place}/builds", "--json")
    assert folder.code == 0
    assert "hard links" in {check["name"] for check in folder.json["checks"]}
    memory = call("doctor", "--root", "memory://films", "--json")
    assert (memory.code, memory.json["ok"]) == (0, True)
    assert {check["name"]: check["detail"] for check in memory.json["checks"]}["root"] == "memory://films"


def test_a_root_of_another_file_system_is_no_folder_of_that_name(call: Call, place: Path) -> None:
    """What every write refuses is not said to be sound, and no folder named like the URL is looked at."""
    done = call("doctor", "--root", f"local://{place}/elsewhere", "--json")
    assert (done.code, done.json["ok"]) == (5, False)
    assert done.json["root"] == f"local://{place}/elsewhere"
    assert {check["name"]: check["status"] for check in done.json["checks"]}["safe"] == "failed"
