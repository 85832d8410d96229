"""`log`, `inspect`, `diff`, `cat`, `events` and `export`."""

from __future__ import annotations

import base64
import hashlib
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from renku_store import hash_bytes
from tests.cli.conftest import BLUEPRINT, Call, program


@pytest.fixture
def twice(call: Call, built: str) -> str:
    """The movie with a second revision, in which one line is another."""
    assert call("set", "lines[1].text", "TWO").code == 0
    assert call("run").code == 0
    return built


def test_the_log_is_newest_first(call: Call, twice: str) -> None:
    """Each entry names its hash and its base; --limit shows the newest only."""
    log = call("log", "--json").json
    assert [entry["revision"] for entry in log] == ["rev-0002", "rev-0001"]
    assert [entry["baseRevision"] for entry in log] == ["rev-0001", None]
    assert [entry["made"] for entry in log] == [2, 4]
    assert set(log[0]) == {"revision", "hash", "baseRevision", "createdAt", "made", "reused", "cost", "saved", "tags"}
    assert call("log", "-n", "1", "--json").json == log[:1]
    assert call("log").out.splitlines()[1].startswith("rev-0002\t")


@pytest.mark.parametrize("wrong", ["0", "-1", "x", "1000000001", "99999999999999999999"])
def test_a_number_of_revisions_that_cannot_be_is_bad_use(call: Call, built: str, wrong: str) -> None:
    """Too large a one is no fault of the program; the largest that is allowed shows all."""
    refused = call("log", "-n", wrong, "--json")
    assert (refused.code, refused.error["kind"]) == (2, "UsageError")
    assert len(call("log", "-n", "1000000000", "--json").json) == 1


def test_inspect_gives_the_whole_manifest_with_hash_and_bytes(call: Call, twice: str, place: Path) -> None:
    """It is the file's own content, and can be piped into any reader of JSON."""
    found = call("inspect", "rev-0001", "--json").json
    raw = (place / "builds/tiny/manifests/rev-0001.json").read_bytes()
    written = json.loads(raw)
    assert found["hash"] == hash_bytes(raw)
    assert found["bytes"] == sum(artefact["size"] for artefact in written["artefacts"].values())
    assert {key: found[key] for key in written} == written
    piped = program("inspect", "rev-0001", "--json").stdout
    tool = subprocess.run([sys.executable, "-m", "json.tool"], input=piped, text=True, capture_output=True, check=True)
    assert json.loads(tool.stdout) == found


@pytest.mark.parametrize("name", ["latest", "rev-0002", "rev-2", "2"])
def test_a_revision_has_several_names(call: Call, twice: str, name: str) -> None:
    """What a person types is understood."""
    assert call("inspect", name, "--json").json["revision"] == "rev-0002"


@pytest.mark.parametrize(
    ("name", "kind"), [("rev-99", "NotFoundError"), ("../x", "InvalidIdError"), ("0", "InvalidIdError")]
)
def test_an_unknown_revision_is_an_error(call: Call, built: str, name: str, kind: str) -> None:
    """The same in every command that takes one."""
    for command in (
        ["inspect", name],
        ["diff", "1", name],
        ["cat", "book.text", "--rev", name],
        ["export", name, "out"],
    ):
        done = call(*command, "--json")
        assert (done.code, done.error["kind"]) == (2, kind)


def test_inspect_shows_inputs_and_artefacts(call: Call, built: str) -> None:
    """For people: what it took, values, artefacts with type, size and maker."""
    lines = call("inspect").out.splitlines()
    assert lines[0] == "tiny rev-0001"
    assert "2 inputs" in lines
    assert any(line.startswith("word[0].text\ttext/plain\t") and "\tword[0]\t" in line for line in lines)


def test_diff_lists_what_was_added_removed_and_changed_and_why(call: Call, twice: str) -> None:
    """By content hash; the reasons lead to the edit."""
    found = call("diff", "rev-0001", "rev-0002", "--json").json
    assert found["inputs"] == {"added": [], "removed": [], "changed": ["lines"]}
    assert found["artefacts"] == {"added": [], "removed": [], "changed": ["book.text", "word[1].text"]}
    assert found["reasons"]["word[1]"] == [{"kind": "input changed", "subject": "lines[1].text", "detail": "line"}]
    assert found["cost"] == 0.0
    shown = call("diff", "1", "2").out
    assert '~\tlines[1].text\t"two"\t"TWO"\n' in shown
    assert "input changed: lines[1].text (line)" in shown
    assert "hold the same" in call("diff", "1", "1").out


def test_diff_shows_the_whole_of_an_input_that_differs_in_several_places(call: Call, built: str) -> None:
    """One place is named where there is one."""
    assert call("set", "lines", '[{"text": "uno"}, {"text": "dos"}, {"text": "three"}]').code == 0
    assert call("run").code == 0
    shown = call("diff", "1", "2").out
    assert '~\tlines\t[{"text": "one"}, {"text": "two"}, {"text": "three"}]\t' in shown


def test_diff_tells_an_input_that_had_its_default_as_changed(call: Call, built: str, place: Path) -> None:
    """The default stands where a value would that nobody had set; what was not declared at all has come."""
    assert call("set", "greeting", "hi").code == 0
    assert call("run").code == 0
    assert call("diff", "1", "2", "--json").json["inputs"] == {"added": [], "removed": [], "changed": ["greeting"]}
    assert call("diff", "2", "1", "--json").json["inputs"] == {"added": [], "removed": [], "changed": ["greeting"]}
    assert '~\tgreeting\t"hello"\t"hi"\n' in call("diff", "1", "2").out
    assert '~\tgreeting\t"hi"\t"hello"\n' in call("diff", "2", "1").out
    declared = "inputs:\n  tone: {type: string, default: warm}\n"
    (place / "toned.yaml").write_text(BLUEPRINT.replace("inputs:\n", declared, 1))
    assert call("set", "@blueprint", "@toned.yaml").code == 0
    assert call("set", "tone", "cold").code == 0
    assert call("run").code == 0
    inputs = call("diff", "2", "3", "--json").json["inputs"]
    assert inputs == {"added": ["tone"], "removed": [], "changed": ["@blueprint"]}


def test_diff_of_an_input_that_was_set_to_its_default_says_that_it_was_set(call: Call, built: str) -> None:
    """Its value is what it was; that somebody decided on it is new."""
    assert call("set", "greeting", "hello").code == 0
    assert call("run", "--json").json["status"] == "published"
    assert call("diff", "1", "2", "--json").json["inputs"] == {"added": ["greeting"], "removed": [], "changed": []}


def test_diff_sees_what_comes_and_goes(call: Call, built: str) -> None:
    """A segment more, one way; a segment less, the other way."""
    assert call("set", "lines", '[{"text": "one"}, {"text": "two"}, {"text": "three"}, {"text": "four"}]').code == 0
    assert call("run").code == 0
    assert call("diff", "1", "2", "--json").json["artefacts"]["added"] == ["word[3].text"]
    assert call("diff", "2", "1", "--json").json["artefacts"]["removed"] == ["word[3].text"]


def test_cat_writes_the_exact_bytes(call: Call, twice: str) -> None:
    """Of any revision; inline or not."""
    before = json.loads(call("cat", "word[1].text", "--rev", "1").out)
    after = json.loads(call("cat", "word[1].text").out)
    assert (before["inputs"]["line"]["value"], after["inputs"]["line"]["value"]) == ("two", "TWO")
    found = call("cat", "word[1].text", "--json").json
    assert (json.loads(found["content"]), found["encoding"]) == (after, "utf-8")
    assert found["size"] == len(found["content"])


def test_cat_streams_what_is_large_and_not_text(call: Call, place: Path) -> None:
    """Bytes pass through as they are, 3 MB of them."""
    binary = BLUEPRINT.replace("cat request.json", "head -c 3000000 /dev/urandom").replace("text/plain", "video/mp4")
    (place / "b.yaml").write_text(binary)
    assert call("init", "m", "--blueprint", "b.yaml").code == 0
    assert call("set", "lines", '[{"text": "one"}]').code == 0
    assert call("run").code == 0
    done = subprocess.run(
        [str(Path(sys.executable).parent / "renku-store"), "cat", "word[0].text"], capture_output=True, check=True
    )
    found = call("cat", "word[0].text", "--json").json
    assert len(done.stdout) == 3_000_000
    assert hash_bytes(done.stdout) == found["hash"]
    assert base64.b64decode(found["content"]) == done.stdout


def test_cat_of_a_damaged_artefact_ends_with_4(call: Call, place: Path) -> None:
    """One bit is enough; what was written is not the whole."""
    (place / "b.yaml").write_text(BLUEPRINT.replace("cat request.json", "head -c 100000 /dev/urandom"))
    assert call("init", "m", "--blueprint", "b.yaml").code == 0
    assert call("set", "lines", '[{"text": "one"}]').code == 0
    assert call("run").code == 0
    digest = call("inspect", "--json").json["artefacts"]["word[0].text"]["hash"]
    blob = place / "builds" / "m" / "blobs" / digest[:2] / digest
    blob.chmod(0o644)
    data = bytearray(blob.read_bytes())
    data[5] ^= 1
    blob.write_bytes(data)
    done = subprocess.run(
        [str(Path(sys.executable).parent / "renku-store"), "cat", "word[0].text", "--json"],
        capture_output=True,
        check=False,
    )
    assert done.returncode == 4
    assert json.loads(done.stderr)["error"]["kind"] == "BlobCorruptError"
    assert call("export", "latest", "out").code == 4


def test_an_unknown_artefact_has_the_nearest_names(call: Call, built: str) -> None:
    """Typing errors are answered."""
    done = call("cat", "word[1].txt", "--json")
    assert (done.code, done.error["kind"]) == (2, "NotFoundError")
    assert "word[1].text" in done.error["hint"]


def test_events_tell_what_happened_in_order(call: Call, twice: str) -> None:
    """One object a line; all of them, or those about one thing."""
    events = [json.loads(line) for line in call("events", "--json").out.splitlines()]
    assert [event["seq"] for event in events] == sorted(event["seq"] for event in events)
    assert {event["type"] for event in events} == {"input", "artefact", "run"}
    about = [json.loads(line) for line in call("events", "word[1].text", "--json").out.splitlines()]
    assert [event["artefact"] for event in about] == ["word[1].text"] * 2
    lines = call("events", "lines").out.splitlines()
    assert len(lines) == 2
    assert "  input  lines  set by user to [" in lines[0]
    run = about[0]["run"]
    assert f"run  {run}  published" in call("events", run).out


def test_events_about_nothing_are_an_error(call: Call, built: str) -> None:
    """With the nearest name."""
    done = call("events", "lins", "--json")
    assert (done.code, done.error["kind"]) == (2, "NotFoundError")
    assert "lines" in done.error["hint"]


def test_events_can_be_followed(call: Call, built: str) -> None:
    """What happens later comes too, until somebody ends it."""
    with subprocess.Popen(
        [str(Path(sys.executable).parent / "renku-store"), "events", "greeting", "--follow", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert call("set", "greeting", "hi").code == 0
        assert json.loads(process.stdout.readline())["value"] == "hi"
        assert call("set", "greeting", "there").code == 0
        assert json.loads(process.stdout.readline())["value"] == "there"
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=600)
    assert process.returncode == 130


def test_export_says_what_it_did(call: Call, twice: str, place: Path) -> None:
    """Again there is nothing to write; another revision writes what differs."""
    first = call("export", "1", "out", "--json").json
    assert (first["files"], first["written"], first["removed"]) == (7, 7, 0)
    assert call("export", "1", "out", "--json").json["written"] == 0
    assert call("export", "latest", "out", "--json").json["written"] == 3
    assert first["bytes"] > 0
    exported = (place / "out" / "word[1].text.txt").read_bytes()
    assert hashlib.sha256(exported).digest() == hashlib.sha256(call("cat", "word[1].text").out.encode()).digest()


@pytest.mark.parametrize("target", ["builds", "builds/tiny", "builds/tiny/x/y", "tiny.yaml"])
def test_export_into_the_store_or_onto_a_file_is_refused(call: Call, built: str, target: str) -> None:
    """The store's own folders are the store's."""
    done = call("export", "1", target, "--json")
    assert (done.code, done.error["kind"]) == (2, "InvalidValueError")


def test_a_movie_without_revisions_has_an_empty_log(call: Call, movie: str) -> None:
    """That is no error; asking for one is."""
    assert call("log", "--json").json == []
    assert call("inspect").code == 2
