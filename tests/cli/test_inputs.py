"""`init`, `movies` and `set`."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import pytest

from renku_store import open_store
from tests.cli.conftest import BLUEPRINT, LINES, Call

GRAPH = {
    "nodes": [
        {
            "jobId": "a",
            "producer": "a",
            "inputs": [{"name": "x", "ref": {"kind": "input", "id": "x"}}],
            "produces": [{"id": "a.out", "name": "out", "mimeType": "text/plain"}],
            "provider": "command",
            "providerModel": "argv",
            "config": {"argv": ["sh", "-c", "cp request.json outputs/out"]},
        }
    ],
    "edges": [],
}


def _value(name: str, root: str = "builds") -> object:
    with open_store(root) as store, store.movie("tiny") as movie:
        event = movie.events.latest_input(name)
        assert event is not None
        return movie.events.read_value(event)


def test_init_creates_a_movie_with_its_blueprint(call: Call, place: Path) -> None:
    """The blueprint is kept word by word; the answer names movie and root."""
    (place / "b.yaml").write_text(BLUEPRINT)
    done = call("init", "tiny", "--blueprint", "b.yaml", "--json")
    assert (done.code, done.json) == (0, {"movie": "tiny", "root": "builds"})
    assert _value("@blueprint") == BLUEPRINT
    assert call("movies", "--json").json == [{"id": "tiny", "revision": None, "artefacts": 0, "bytes": 0}]


@pytest.mark.parametrize("arguments", [["init", "new", "--graph"], ["--movie", "tiny", "run", "--dry-run", "--graph"]])
def test_a_misspelt_key_of_a_graph_is_told(call: Call, movie: str, place: Path, arguments: list[str]) -> None:
    """Nobody waits for what a key says that means nothing; `set @blueprint` refuses it as well."""
    job = {"jobId": "a", "producer": "a", "provider": "x", "providerModel": "m", "produces": ["a.out"], "inputs": []}
    (place / "g.json").write_text(json.dumps({"nodes": [{**job, "timeoutSecond": 5}]}))
    for words in ([*arguments, "g.json"], ["--movie", "tiny", "set", "@blueprint", "@g.json"]):
        done = call(*words, "--json")
        assert (done.code, done.error["kind"]) == (2, "GraphError")
        assert done.error["message"] == "The job a has no key 'timeoutSecond'."
        assert done.error["hint"] == "Did you mean timeoutSeconds?"


def test_init_with_a_graph_can_be_run(call: Call, place: Path) -> None:
    """A graph takes the place of the blueprint."""
    (place / "g.json").write_text(json.dumps(GRAPH))
    assert call("init", "tiny", "--graph", "g.json").code == 0
    assert call("set", "x", "7").code == 0
    assert call("run").code == 0
    assert json.loads(call("cat", "a.out").out)["inputs"] == {"x": {"value": 7}}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- a\n- b\n", "b.yaml:1:"),
        ("name: a\nname: b\n", "b.yaml:2:"),
        ("name: x\nproducerz: {}\n", "b.yaml:2:"),
        ("a: &a [1]\nb: [*a, *a", "b.yaml:"),
    ],
)
def test_a_wrong_blueprint_creates_nothing(call: Call, place: Path, text: str, said: str) -> None:
    """It is read before the movie is made; the error has file and line."""
    (place / "b.yaml").write_text(text)
    done = call("init", "tiny", "--blueprint", "b.yaml", "--json")
    assert (done.code, done.error["kind"]) == (2, "BlueprintError")
    assert done.error["message"].startswith(said)
    assert call("movies", "--json").json == []


_TEXT = json.dumps(GRAPH)
_TWICE = _TEXT.replace('"jobId"', '"context": {"k": [{"z": 1, "z": 2}]}, "jobId"', 1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"nodes": [], "nodes": []}', "g.json has the key 'nodes' twice."),
        (_TWICE, f"The job {GRAPH['nodes'][0]['jobId']} has the key 'z' twice."),
        (_TEXT.replace('"jobId"', '"context": {"k": 9007199254740993}, "jobId"', 1), "9007199254740993"),
        (_TEXT.replace('"jobId"', '"timeoutSeconds": -5, "jobId"', 1), "timeoutSeconds must be more than 0"),
    ],
)
def test_a_wrong_graph_creates_nothing(call: Call, place: Path, text: str, said: str) -> None:
    """It is read before the movie is made, by `init` as by `run` and `set`; the error names the job."""
    (place / "g.json").write_text(text)
    done = call("init", "tiny", "--graph", "g.json", "--json")
    assert done.code == 2
    assert said in done.error["message"]
    assert call("movies", "--json").json == []
    assert call("init", "tiny").code == 0
    assert call("run", "--graph", "g.json").code == 2
    assert call("set", "@blueprint", "@g.json").code == 2
    assert call("events").out == ""


def test_a_movie_that_is_there_is_a_conflict(call: Call, movie: str) -> None:
    """Nobody's movie is overwritten."""
    assert call("init", movie).code == 3


@pytest.mark.parametrize("name", ["../x", "a/b", "..", "-x", "a\x07", "x" * 129, ""])
def test_a_movie_id_that_is_not_allowed_is_refused(call: Call, place: Path, name: str) -> None:
    """Ids are names of folders; these are not."""
    done = call("init", "--json", "--", name)
    assert (done.code, done.error["kind"]) == (2, "InvalidIdError")
    assert not (place / "builds").exists()


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        (["--blueprint", "none.yaml"], "NotFoundError"),
        (["--blueprint", "."], "InvalidValueError"),
        (["--blueprint", "latin1"], "InvalidValueError"),
        (["--graph", "latin1"], "InvalidValueError"),
        (["--graph", "list.json"], "GraphError"),
        (["--graph", "list.json", "--blueprint", "x"], "UsageError"),
    ],
)
def test_a_file_that_is_none_is_named(call: Call, place: Path, arguments: list[str], kind: str) -> None:
    """Missing, a folder, not text, not JSON, not a graph, two at once."""
    (place / "latin1").write_bytes(b"name: caf\xe9\n")
    (place / "list.json").write_text("[]")
    done = call("init", "x", *arguments, "--json")
    assert (done.code, done.error["kind"]) == (2, kind)
    assert not (place / "builds").exists()


@pytest.mark.parametrize(
    ("text", "value"),
    [("plain", "plain"), ("5", "5"), ("[1]", "[1]"), ("-5", "-5"), ("@@home", "@home"), ('"q"', '"q"'), ("", "")],
)
def test_an_input_declared_as_string_takes_the_text_as_it_is(call: Call, movie: str, text: str, value: str) -> None:
    """Nobody has to quote twice."""
    assert call("set", "greeting", text).code == 0
    assert _value("greeting") == value


def test_the_content_of_a_file_is_treated_like_a_value(call: Call, movie: str, place: Path) -> None:
    """JSON for a list, text for a string; a file that is not there is an error."""
    (place / "lines.json").write_text(json.dumps(LINES[:1]))
    (place / "hi.txt").write_text("good\nday\n")
    assert call("set", "lines", "@lines.json").code == 0
    assert call("set", "greeting", "@hi.txt").code == 0
    assert (_value("lines"), _value("greeting")) == (LINES[:1], "good\nday\n")
    assert call("set", "greeting", "@none.txt").code == 2


def test_standard_input_can_be_a_value(call: Call, movie: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`... | renku-store set greeting @-`."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"piped")))
    assert call("set", "greeting", "@-").code == 0
    assert _value("greeting") == "piped"


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        (["lines", "5"], "InvalidValueError"),
        (["lines", "oops"], "InvalidValueError"),
        (["lnes", "[]"], "NotFoundError"),
        (["lines[9].text", "x"], "UsageError"),
        (["lines[0].txt", "x"], "UsageError"),
        (["lines", "[1e999]"], "InvalidValueError"),
        (["lines"], "UsageError"),
        ([], "UsageError"),
        (["lines", "[]", "--file", "x"], "UsageError"),
        (["greeting", "--fiel"], "UsageError"),
        (["greeting", "--file", "list.yaml"], "UsageError"),
        (["--file", "list.yaml"], "BlueprintError"),
        (["--file", "twice.yaml"], "BlueprintError"),
        (["--file", "part.yaml"], "InvalidValueError"),
        (["a/b", "x"], "InvalidIdError"),
        (["greeting", "@"], "UsageError"),
        (["--file", ""], "InvalidValueError"),
        (["@config", "1"], "InvalidValueError"),
        (["@config", "[]"], "InvalidValueError"),
        (["@config", '{"word": {"config": 1}}'], "InvalidValueError"),
        (["@config", '{"word": {"speed": 1}}'], "InvalidValueError"),
        (["@confg", "{}"], "NotFoundError"),
        (["@", "{}"], "NotFoundError"),
    ],
)
def test_a_wrong_edit_is_refused_and_nothing_is_set(
    call: Call, movie: str, place: Path, arguments: list[str], kind: str
) -> None:
    """Types, ids, places and files are checked first; of several inputs all are set or none."""
    (place / "list.yaml").write_text("- 1\n")
    (place / "twice.yaml").write_text("greeting: a\ngreeting: b\n")
    (place / "part.yaml").write_text("greeting: a\nlines: 5\n")
    before = call("status", "--json").json["pending"]
    done = call("set", *arguments, "--json")
    assert (done.code, done.error["kind"], done.out) == (2, kind, "")
    assert call("status", "--json").json["pending"] == before


def test_a_file_without_a_name_is_told_as_such(call: Call, movie: str) -> None:
    """Not as a folder, with nothing where its name should stand."""
    for arguments in (["set", "greeting", "@"], ["run", "--inputs", ""], ["run", "--events", ""]):
        refused = call(*arguments)
        assert refused.code == 2
        assert "names no file" in refused.err or "No file is named" in refused.err


def test_the_form_of_config_is_checked_and_no_more(call: Call, movie: str) -> None:
    """Producers that it names may come with the next blueprint; null takes it away."""
    for value in ('{"later": {"config": {"speed": 1}}}', '{"word": {"config": {}}}', "{}", "null"):
        assert call("set", "@config", value).code == 0
    assert call("plan").code == 0
    assert "Did you mean @config?" in call("set", "@confg", "{}").err
    assert "@blueprint and @config" in call("set", "@zzz", "{}").err


def test_a_file_sets_all_its_inputs(call: Call, movie: str, place: Path) -> None:
    """By the rules of YAML 1.2: `no` is a text; the answer has an id and a hash for each."""
    (place / "inputs.yaml").write_text("greeting: no\nlines: [{text: a}]\n")
    done = call("set", "--file", "inputs.yaml", "--json")
    assert [sorted(entry) for entry in done.json] == [["hash", "id"], ["hash", "id"]]
    assert {entry["id"] for entry in done.json} == {"greeting", "lines"}
    assert (_value("greeting"), _value("lines")) == ("no", [{"text": "a"}])


def test_one_place_of_an_input_can_be_set(call: Call, movie: str) -> None:
    """Only that place changes, of the value that a run would take now; text stays text."""
    assert call("set", "lines[1].text", "5").code == 0
    assert call("set", "lines[0].text", "one!", "--json").json[0]["id"] == "lines"
    assert _value("lines") == [{"text": "one!"}, {"text": "5"}, {"text": "three"}]


def test_a_dash_after_two_dashes_is_a_value(call: Call, movie: str) -> None:
    """`--` ends the options."""
    assert call("set", "greeting", "--", "--file").code == 0
    assert _value("greeting") == "--file"


def test_a_value_of_ten_megabytes_is_kept_and_shown_short(call: Call, movie: str, place: Path) -> None:
    """It becomes a blob; no table shows all of it."""
    (place / "big.txt").write_text("x" * 10_000_000)
    assert call("set", "greeting", "@big.txt").code == 0
    assert len(call("status").out) < 2_000
    assert _value("greeting") == "x" * 10_000_000


def test_a_blueprint_can_be_replaced(call: Call, built: str, place: Path) -> None:
    """It is an input like others, and is checked like one."""
    (place / "new.yaml").write_text(BLUEPRINT.replace("name: tiny", "name: other"))
    assert call("set", "@blueprint", "@new.yaml").code == 0
    assert str(_value("@blueprint")).startswith("name: other")
    assert call("set", "@blueprint", "nonsense").code == 2


def test_paths_that_are_not_utf8_are_used_and_shown(call: Call, built: str) -> None:
    """Paths are bytes; they are shown as far as they can be, and are never a reason to fail."""
    path = os.fsdecode(b"caf\xe9")
    assert call("export", "latest", path).out.startswith("caf\\xe9 holds rev-0001")
    assert Path(path).is_dir()
    assert call("set", "greeting", f"@{path}.txt").err.startswith("error: There is no file caf\\xe9.txt.")
    done = call("set", "greeting", f"@{path}.txt", "--json")
    assert done.error["message"] == f"There is no file {path}.txt."


def test_the_only_movie_need_not_be_named_and_several_must(call: Call, movie: str) -> None:
    """The error lists them."""
    assert call("log").code == 0
    assert call("init", "other").code == 0
    done = call("log", "--json")
    assert (done.code, done.error["kind"]) == (2, "NotFoundError")
    assert "other, tiny" in done.error["message"]
    assert call("log", "--movie", "tiny").code == 0
    assert "Did you mean tiny?" in call("--movie", "tini", "log").err


def test_an_empty_root_is_not_the_present_folder(call: Call) -> None:
    """A variable that is not set in a script must not scatter movies."""
    assert call("--root", "", "init", "m", "--json").error["kind"] == "UsageError"


def test_a_root_that_is_a_file_cannot_be_used(call: Call, place: Path) -> None:
    """Code 5, and the path."""
    (place / "file").write_text("")
    done = call("movies", "--root", "file", "--json")
    assert (done.code, done.error["kind"]) == (5, "StoreUnavailableError")


def test_one_damaged_movie_is_listed_and_harms_no_other(call: Call, movie: str, place: Path) -> None:
    """`movies` shows the others, and then the error of the one that cannot be opened, with its exit code."""
    call("init", "other")
    (place / "builds" / "other" / "format.json").write_text('{"format": 99}')
    done = call("movies", "--json")
    assert [entry["id"] for entry in done.json] == ["other", movie]
    assert done.code == 5
    assert done.error["kind"] == "UnsupportedFormatError"
    assert "damaged" in call("movies").out
