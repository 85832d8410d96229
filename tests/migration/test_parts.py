"""The parts of a migration by themselves: a folder that is never left, ids, references, lines, labels in ids."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renku_store.migration.folder import OldFolder, PathMissingError, PathRefusedError
from renku_store.migration.graphs import kind_of, labels_in
from renku_store.migration.reading import Findings, read_lines, revision_of, revision_within, safe_id, time_of
from renku_store.migration.references import asset_path, paths_in, referring
from renku_store.records.ids import check_id

JSON = st.recursive(
    st.none()
    | st.integers()
    | st.text(max_size=5)
    | st.sampled_from(["assets/rev0/a", "./assets/current/b", "assets"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a file, and one outside."""
    (tmp_path / "film" / "a").mkdir(parents=True)
    (tmp_path / "film" / "a" / "file").write_bytes(b"inside")
    (tmp_path / "secret").write_bytes(b"secret")
    return tmp_path / "film"


def test_a_file_is_found_by_any_way_within(folder: Path) -> None:
    """Dots that stay within, and links to files and folders, relative or absolute, lead to where the file is."""
    (folder / "b").symlink_to("a")
    (folder / "c").symlink_to(folder.absolute() / "b" / "file")
    with OldFolder(folder) as old:
        for path in ("a/file", "./a//file", "a/../a/file", "b/file", "c", "b/../c"):
            assert old.resolve(path) == ("a/file", 6), path
            assert old.read(path) == b"inside"


@pytest.mark.parametrize("path", ["", "/etc/passwd", "../secret", "a/../../secret", "out", "way/secret", "loop", "a",
                                  "pipe", "C:\\x", "a\\file", "a/\0"])  # fmt: skip
def test_whatever_leads_out_or_is_no_file_is_refused(path: str, folder: Path) -> None:
    """Nothing is opened there, and nothing is waited for."""
    (folder / "out").symlink_to(folder.parent.absolute() / "secret")
    (folder / "way").symlink_to("..")
    (folder / "loop").symlink_to("loop")
    os.mkfifo(folder / "pipe")
    with OldFolder(folder) as old, pytest.raises(PathRefusedError):
        old.open(path).close()


def test_a_link_that_takes_the_place_of_a_file_is_seen_when_it_is_read(folder: Path) -> None:
    """What was looked at counts for nothing: each opening walks anew, and follows nothing by itself."""
    with OldFolder(folder) as old:
        assert old.resolve("a/file") == ("a/file", 6)
        (folder / "a" / "file").unlink()
        (folder / "a" / "file").symlink_to(folder.parent / "secret")
        with pytest.raises(PathRefusedError):
            old.read("a/file")
        (folder / "a" / "file").unlink()
        with pytest.raises(PathMissingError):
            old.read("a/file")


@given(st.text(max_size=20) | st.text("./\\%@ \0a", max_size=8))
def test_every_id_becomes_one_that_is_allowed(text: str) -> None:
    """The same where it was allowed, and the same again when it is asked for twice."""
    found = safe_id(text)
    assert check_id("artefact", found) == found
    assert not found.startswith("@")
    assert safe_id(found) == found


@given(st.lists(st.text("./%~a", max_size=4), unique=True, max_size=8))
def test_two_ids_never_become_one(texts: list[str]) -> None:
    """Whatever is escaped has a mark of its own."""
    assert len({safe_id(text) for text in texts}) == len(texts)


@given(JSON)
def test_no_path_is_left_and_nothing_else_changes(value: object) -> None:
    """Every text that is a path becomes a reference, or null; the rest of the value stays."""
    found = referring(value, lambda path, around, key: path if "rev0" in path else None)  # type: ignore[arg-type]
    assert not any(asset_path(path) == path and not around.get("artefact") for path, around, _ in paths_in(found))
    if not any(paths_in(value)):  # type: ignore[arg-type]
        assert found == value


def test_lines_are_read_as_far_as_they_can_be(tmp_path: Path) -> None:
    """Empty lines, what is no object, torn lines in the middle and at the end; a whole last line needs no line feed."""
    lines = ['{"id": 1}', "", "[1]", '{"id": 2, "x": {"id": 3', '{"tor{"id": 4}', '{"id": 5}']
    (tmp_path / "log").write_text("\n".join(lines))
    found = Findings()
    with OldFolder(tmp_path) as old:
        read = [(place, line["id"]) for place, line in read_lines(old, "log", found)]
    assert read == [("log:1", 1), ("log:5", 4), ("log:6", 5)]
    assert [problem.what for problem in found.problems()] == ["log:3", "log:4", "log:5"]
    assert [problem.kind for problem in found.problems()] == ["refused", "torn", "torn"]


LINE = {"id": "a", "rev": 1, "content": {"id": "b", "rev": 2, "content": [{"id": "c", "rev": 3}]}, "hash": "sha:1"}
CONTENT_LAST = {"id": "a", "rev": 1, "hash": "sha:1", "content": LINE["content"]}
CONTENT_LISTED = {"id": "a", "rev": 1, "hash": "sha:1", "content": [LINE["content"]]}


@pytest.mark.parametrize("line", [LINE, CONTENT_LAST, CONTENT_LISTED])
@pytest.mark.parametrize("behind", ["", "\n"])
def test_a_torn_line_is_never_read_as_a_value_within_it(line: object, behind: str, tmp_path: Path) -> None:
    """Wherever the line was torn off, nothing of it is taken for a line, though its content looks like one."""
    text = json.dumps(line)
    for end in range(1, len(text)):
        (tmp_path / "log").write_text(text[:end] + behind)
        found = Findings()
        with OldFolder(tmp_path) as old:
            assert list(read_lines(old, "log", found)) == [], text[:end]
        assert [problem.kind for problem in found.problems()] == ["torn"], text[:end]


@pytest.mark.parametrize("line", [LINE, CONTENT_LAST, CONTENT_LISTED])
def test_what_is_written_behind_a_torn_line_is_read(line: object, tmp_path: Path) -> None:
    """But for where a value was to begin with the last member: there it could be that value."""
    text, behind = json.dumps(line), json.dumps(line).replace('"a"', '"d"')
    for end in range(1, len(text)):
        (tmp_path / "log").write_text(text[:end] + behind + "\n")
        found = Findings()
        with OldFolder(tmp_path) as old:
            read = [document["id"] for _, document in read_lines(old, "log", found)]
        could_be_a_value = text[:end].rstrip(" [").endswith(":") and '"hash"' in text[:end]
        assert read == ["d"] or (could_be_a_value and read == []), text[:end]
        assert [problem.kind for problem in found.problems()] == ["torn"], text[:end]


def test_numbers_names_and_times_are_read_liberally() -> None:
    """As people and programs wrote them."""
    assert [revision_of(name) for name in ("rev0", "rev3_cons", "rev-0012", 7, "x", True, -1)] == [
        0, 3, 12, 7, None, None, None,
    ]  # fmt: skip
    assert revision_within("j2-audio_producer-seg0-rev1.json") == 1
    assert revision_within("preview2.json") is None
    same = ["2025-10-26T10:00:00Z", "2025-10-26T12:00:00+02:00", "2025-10-26 10:00:00", 1761472800, 1761472800000]
    assert {time_of({"at": when}, "at") for when in same} == {"2025-10-26T10:00:00.000Z"}
    assert time_of({"at": "yesterday"}, "at") is None


def test_numbers_in_ids_tell_segments_apart() -> None:
    """Those that belong to a word's meaning do not count."""
    assert [labels_in(name) for name in ("image_2_0", "seg2.img0", "narration[2].audio", "mp3_asset", "music")] == [
        (2, 0), (2, 0), (2,), (), (),
    ]  # fmt: skip
    assert [kind_of(name) for name in ("image_2_0", "narration[2].audio", "music")] == [
        "image", "narration.audio", "music",
    ]  # fmt: skip
