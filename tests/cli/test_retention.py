"""`prune` and `tag`: what they print, what they refuse, and how `log` and `inspect` show it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from renku_cli.misuse import Misuse
from renku_cli.quantities import bytes_of
from renku_store import open_store
from tests import children
from tests.cli.conftest import Call
from tests.test_retention import let_time_pass


@pytest.fixture
def three(call: Call, built: str) -> str:
    """The movie with three revisions."""
    for word in ("TWO", "2"):
        assert call("set", "lines[1].text", word).code == 0
        assert call("run").code == 0
    return built


@pytest.fixture
def later(three: str, place: Path) -> Callable[[], None]:
    """Let two weeks pass."""

    def passed() -> None:
        with open_store(place / "builds") as store:
            let_time_pass(store.movie(three))

    return passed


def test_prune_says_why_each_revision_stays(call: Call, three: str) -> None:
    """The fields of the contract; the dry run says the same, and the second call finds nothing."""
    looked = call("prune", "--keep-last", "1", "--keep-tag", "cut", "--dry-run", "--json")
    assert looked.code == 2
    assert call("tag", "1", "cut").code == 0
    looked = call("prune", "--keep-last", "1", "--keep-tag", "cut", "--dry-run", "--json")
    found = call("prune", "--keep-last", "1", "--keep-tag", "cut", "--json")
    assert {**looked.json, "dryRun": False} == found.json
    assert [(entry["revision"], entry["reasons"]) for entry in found.json["kept"]] == [
        ("rev-0003", ["newest", "last"]),
        ("rev-0001", ["tag cut"]),
    ]
    assert [(entry["revision"], entry["why"]) for entry in found.json["removed"]] == [("rev-0002", "no rule keeps it")]
    assert {"freedBytes", "keptBytes", "notes", "dryRun"} <= set(found.json)
    assert call("prune", "--keep-last", "1", "--json").json["removed"] == []


def test_prune_shows_a_table(call: Call, three: str) -> None:
    """Newest first, with what happens to each, and a sentence at the end."""
    lines = call("prune", "--keep-last=2", "--dry-run").out.splitlines()
    assert lines[0] == "revision\tcreated\twhat\twhy"
    assert [re.sub(r"\t[^\t]*Z\t", "\t", line) for line in lines[1:4]] == [
        "rev-0003\tstays\tnewest, last",
        "rev-0002\tstays\tlast",
        "rev-0001\texpires\tno rule keeps it",
    ]
    assert re.fullmatch(r"Would move 1 revision to the trash, .* that nothing else needs; 2 stay\.", lines[4])
    assert call("prune", "--keep-last=2").out.splitlines()[4].startswith("Moved 1 revision to the trash, ")


def test_what_can_only_be_let_go_for_good_is_not_said_to_be_in_the_trash(call: Call, three: str, place: Path) -> None:
    """Neither by the table nor by the sentence at its end."""
    with open_store(place / "builds") as store:
        movie = store.movie(three)
        archive = movie.manifests.load("rev-0001").archive
        assert archive is not None
        movie.driver.delete(archive.name)
        movie.driver.delete("manifests/rev-0001.json")
    lines = call("prune", "--expire", "1").out.splitlines()
    assert lines[3].split("\t")[::2] == ["rev-0001", "goes for good"]
    assert lines[4].startswith("Moved 0 revisions to the trash, let 1 revision go for good that cannot be read, ")
    assert "could not be read when it was let go" in call("prune", "--undo", "1").err


def test_undo_brings_back_what_is_in_the_trash(call: Call, three: str, later: Callable[[], None]) -> None:
    """By name or all; what is gone for good is an error with code 2."""
    assert call("prune", "--expire", "1", "--expire", "2").code == 0
    assert call("prune", "--undo", "1", "--json").json == {"restored": ["rev-0001"]}
    assert call("prune", "--undo").out == "Back from the trash: rev-0002.\n"
    assert call("prune", "--undo").out == "The trash is empty.\n"
    assert call("prune", "--expire", "1").code == 0
    later()
    assert "1 revision out of the trash" in call("gc", "--force").out
    refused = call("prune", "--undo", "1", "--json")
    assert (refused.code, refused.error["kind"]) == (2, "NotFoundError")
    assert "cannot be brought back" in refused.error["message"]


def test_the_log_shows_tags_trash_and_what_has_expired(call: Call, three: str, later: Callable[[], None]) -> None:
    """As JSON and in the table; `inspect` and `diff` cope with all of them."""
    assert call("tag", "latest", "cut").code == 0
    assert call("prune", "--expire", "1").code == 0
    later()
    assert call("gc", "--force").code == 0
    assert call("prune", "--expire", "2").code == 0
    log = call("log", "--json").json
    assert [(e["tags"], e.get("expired", False), "trashedAt" in e) for e in log] == [
        (["cut"], False, False),
        ([], False, True),
        ([], True, False),
    ]
    lines = call("log").out.splitlines()
    assert [line.split("\t")[-2:] for line in lines] == [
        ["tags", "state"],
        ["cut", "-"],
        ["-", "in the trash"],
        ["-", "expired"],
    ]
    assert "tagged cut" in call("inspect").out
    assert "in the trash since " in call("inspect", "2").out
    assert call("inspect", "cut", "--json").json["tags"] == ["cut"]
    assert "trashedAt" in call("inspect", "2", "--json").json
    gone = call("inspect", "1", "--json")
    assert (gone.code, gone.error["kind"]) == (2, "NotFoundError")
    assert call("diff", "2", "cut").code == 0
    assert call("cat", "book.text", "--rev", "cut").code == 0


def test_diff_across_an_expired_revision_adds_its_cost(call: Call, three: str, later: Callable[[], None]) -> None:
    """What it cost is in its stub."""
    assert call("prune", "--expire", "2").code == 0
    later()
    assert call("gc", "--force").code == 0
    assert call("diff", "1", "3", "--json").json["cost"] == 0.0


def test_tags_are_given_listed_moved_and_taken_away(call: Call, three: str) -> None:
    """The fields of the contract."""
    given = call("tag", "2", "final-cut", "--json").json
    assert (given["tag"], given["revision"]) == ("final-cut", "rev-0002")
    assert given["hash"] == call("inspect", "2", "--json").json["hash"]
    taken = call("tag", "3", "final-cut", "--json")
    assert (taken.code, taken.error["kind"]) == (2, "BadInputError")
    assert call("tag", "--move", "3", "final-cut").out == "final-cut is rev-0003.\n"
    [listed] = call("tag", "--json").json
    assert set(listed) == {"tag", "revision", "hash", "createdAt"}
    assert call("tag").out.splitlines()[1].startswith("final-cut\trev-0003\t")
    assert call("tag", "--delete", "final-cut", "--json").json == {"tag": "final-cut", "deleted": True}
    assert call("tag", "--json").json == []


def test_a_damaged_tag_is_code_4_after_the_others(call: Call, three: str, place: Path) -> None:
    """In the list of tags and in the log; `tag --delete` removes it."""
    assert call("tag", "1", "good").code == 0
    assert call("tag", "2", "bad").code == 0
    (place / "builds/tiny/tags/bad.json").write_text("{")
    listed = call("tag", "--json")
    assert (listed.code, listed.error["kind"]) == (4, "BlobCorruptError")
    assert [entry["tag"] for entry in listed.json] == ["good"]
    log = call("log", "--json")
    assert (log.code, [entry["tags"] for entry in log.json]) == (4, [[], [], ["good"]])
    assert call("inspect", "1").code == 0
    assert call("prune", "--keep-last", "1").code == 4
    assert call("gc", "--force").code == 4
    assert call("tag", "--delete", "bad").code == 0
    assert call("log").code == 0


def test_a_tag_that_nobody_may_read_hides_no_revision(call: Call, three: str, place: Path) -> None:
    """The log, the list of tags and a revision are shown with the other tags; then comes the error."""
    assert call("tag", "1", "good").code == 0
    assert call("tag", "2", "bad").code == 0
    (place / "builds/tiny/tags/bad.json").chmod(0)

    def asked(command: str) -> tuple[int, Any, str]:
        script = "import sys; from renku_cli.main import run; sys.exit(run(sys.argv[1:]))"
        ended = children.run(script, command, "--json", prefix=children.without_privilege())
        return ended.code, json.loads(ended.out), ended.err

    code, log, told = asked("log")
    assert (code, [entry["tags"] for entry in log]) == (5, [[], [], ["good"]])
    assert "tags/bad.json: permission is denied" in told
    code, tags, told = asked("tag")
    assert (code, [entry["tag"] for entry in tags]) == (5, ["good"])
    assert asked("inspect")[0] == 0


PRUNE_MISUSE = [
    [],
    ["--dry-run"],
    ["--keep-last", "0"],
    ["--keep-last", "-3"],
    ["--keep-last", "many"],
    ["--keep-daily", "1.5"],
    ["--within", "30"],
    ["--within", "-1d"],
    ["--within", "9999999999d"],
    ["--within", ""],
    ["--max-bytes", "lots"],
    ["--max-bytes", "-1"],
    ["--max-bytes", "1e9"],
    ["--max-bytes", "5 parsecs"],
    ["--keep-tag", "nobody"],
    ["--keep-tag", "../x"],
    ["--expire", "99"],
    ["--expire", "../x"],
    ["--expire", "latest"],
    ["--expire", "3"],
    ["rev-0001"],
    ["--undo", "rev-0001"],
    ["--undo", "99"],
    ["--undo", "--keep-last", "1"],
    ["--undo", "--dry-run"],
    ["--undo", "--expire", "1"],
]


def test_misuse_of_prune_is_code_2_and_changes_nothing(call: Call, three: str) -> None:
    """With a sentence, and without a traceback."""
    for arguments in PRUNE_MISUSE:
        done = call("prune", *arguments, "--json")
        assert (done.code, done.out) == (2, ""), arguments
        assert done.error["message"]
    assert all("trashedAt" not in entry for entry in call("log", "--json").json)


def test_huge_numbers_keep_everything(call: Call, three: str) -> None:
    """They are no error."""
    for arguments in (["--keep-last", "9" * 18], ["--within", "999999999d"], ["--max-bytes", "999PB"]):
        assert call("prune", *arguments, "--json").json["removed"] == []


TAG_MISUSE = [
    ["1"],
    ["1", "a/b"],
    ["1", "rev-2"],
    ["1", "2"],
    ["1", "latest"],
    ["1", ""],
    ["99", "x"],
    ["../x", "x"],
    ["--move"],
    ["--delete", "x"],
    ["--delete", "x", "1"],
    ["--delete", "../../format"],
    ["1", "x", "y"],
]


def test_misuse_of_tag_is_code_2_and_changes_nothing(call: Call, built: str) -> None:
    """With a sentence, and without a traceback."""
    for arguments in TAG_MISUSE:
        done = call("tag", *arguments, "--json")
        assert (done.code, done.out) == (2, ""), arguments
        assert done.error["message"]
    assert call("tag", "--json").json == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0", 0), ("123", 123), ("5B", 5), ("500MB", 500_000_000), ("2GiB", 2 << 30), ("1.5kB", 1_500), ("1 TB", 10**12)],
)
def test_a_size_is_decimal_binary_or_plain(text: str, expected: int) -> None:
    """As `ls` and `df` write them."""
    assert bytes_of(text) == expected


@pytest.mark.parametrize("text", ["", "MB", "1.5", "iB", "3 iB", "5XB", "0x10", "nan", "1,000"])
def test_what_is_no_size_is_refused(text: str) -> None:
    """By name, with an example."""
    with pytest.raises(Misuse, match="not a size"):
        bytes_of(text)


@pytest.mark.parametrize("span", ["-1d", "soon", "7"])
def test_gc_refuses_a_trash_time_that_is_none(call: Call, built: str, span: str) -> None:
    """And one of nothing without --force."""
    assert call("gc", f"--trash={span}").code == 2
    assert call("gc", f"--keep-runs={span}").code == 2
    refused = call("gc", "--trash", "0", "--json")
    assert refused.code == 2
    assert "--force" in refused.error["hint"]
    assert call("gc", "--trash", "0", "--force").code == 0
