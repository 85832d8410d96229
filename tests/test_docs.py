"""The documentation agrees with itself and with the code: links, names, errors, fields."""

from __future__ import annotations

import ast
import inspect
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

import renku_store
from renku_cli.failures import failure_of
from renku_store.records._base import Record
from renku_store.records.events import ArtefactEvent, ArtefactStatus, InputEvent, RunEvent, RunEventKind
from renku_store.records.manifest import Manifest, ManifestArtefact, ManifestInput, Pointer
from renku_store.records.run import ProgressKind, RunProgress
from renku_store.running.limit_rules import _RETRY_KEYS as RETRY_ENTRIES
from renku_store.running.limit_rules import _RULE_KEYS as LIMIT_ENTRIES

_TOP = Path(__file__).resolve().parents[1]
_DOCS = _TOP / "docs"
_PAGES = sorted(
    [*_TOP.glob("*.md"), *_DOCS.rglob("*.md"), *(_TOP / "benchmarks").rglob("*.md"), _TOP / "tests/vectors/README.md"]
)
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
_EVENT_FIELDS = {"type", "id", "seq", "run", "createdAt"}


_ERRORS = (_DOCS / "reference/errors.md").read_text(encoding="utf-8")


def _name(page: Path) -> str:
    return page.relative_to(_TOP).as_posix()


def _prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def _anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", _prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _targets(page: Path) -> Iterator[tuple[str, Path, str]]:
    for link in _LINK.findall(_prose(page)):
        if "://" not in link:
            path, _, anchor = link.partition("#")
            yield link, (page.parent / path).resolve() if path else page, anchor


def _first_column(text: str) -> list[str]:
    """What stands in backquotes in the first column of tables."""
    return re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE)


def _section(page: Path, begin: str, end: str) -> str:
    text = page.read_text(encoding="utf-8")
    assert text.count(begin) == 1
    return text.partition(begin)[2].partition(end)[0]


@pytest.mark.parametrize("page", _PAGES, ids=_name)
def test_internal_links_lead_somewhere(page: Path) -> None:
    """The file of each relative link exists, and the heading of each anchor."""
    for link, target, anchor in _targets(page):
        assert target.exists(), link
        assert not anchor or anchor in _anchors(target), link


def test_every_page_is_in_the_index() -> None:
    """Nobody has to guess that a page exists; decisions are in a list of their own."""
    listed = {target for _, target, _ in _targets(_DOCS / "index.md")}
    pages = {page for page in _DOCS.rglob("*.md") if page.parent.name != "adr"}
    assert pages - listed == {_DOCS / "index.md"}
    assert _DOCS / "adr" / "README.md" in listed


def test_the_python_reference_lists_the_public_names_and_no_others() -> None:
    """A name that is added to the package, or taken from it, is added to the page, or taken from it."""
    listed = _first_column((_DOCS / "reference/python.md").read_text(encoding="utf-8"))
    assert sorted(listed) == sorted(renku_store.__all__)


def test_no_public_name_is_that_of_a_module() -> None:
    """Decision 0008: an imported module would take the place of a function of its name."""
    modules = {path.stem for path in (_TOP / "renku_store").iterdir() if path.suffix == ".py" or path.is_dir()}
    assert not modules & set(renku_store.__all__)


def _errors() -> list[type[renku_store.StoreError]]:
    found = [renku_store.StoreError]
    for error in found:
        found += error.__subclasses__()
    return [error for error in found if error.__module__ == "renku_store.errors"]


def test_the_error_reference_has_every_kind_with_its_group_and_exit_code() -> None:
    """The table, the tree of classes and the command line say the same."""
    rows = re.findall(r"^\| `(\w+)` \| (?:`(\w+)`)? ?\| (\d+) \|", _ERRORS, re.MULTILINE)
    told = {kind: (group, int(code)) for kind, group, code in rows}
    extra = {
        "ManifestConflictError": {"expected": None, "actual": None},
        "InputConflictError": {"values": {}},
    }
    assert told == {
        error.__name__: (
            "" if error is renku_store.StoreError else error.__bases__[0].__name__,
            failure_of(error("A sentence.", **extra.get(error.__name__, {}))).exit_code,
        )
        for error in _errors()
    }


def test_the_error_reference_says_what_each_kind_carries() -> None:
    """What an error takes beyond its sentence and hint stands in the last column of its row."""
    rows = dict(re.findall(r"^\| `(\w+)` \|.*\|([^|]*)\|$", _ERRORS, re.MULTILINE))
    for error in _errors():
        own = vars(error).get("__init__")
        carried = set(inspect.signature(own).parameters) - {"self", "message", "hint"} if own else set()
        assert {f"`{name}`" for name in carried} <= set(re.findall(r"`\w+`", rows[error.__name__])), error.__name__


def test_there_is_a_remedy_for_every_kind_of_error_that_is_raised() -> None:
    """Groups and kinds that nothing raises yet are left out; `DamageError` is both, a group and raised."""
    told = _first_column((_DOCS / "how-to/when-things-go-wrong.md").read_text(encoding="utf-8"))
    sources = [path.read_text(encoding="utf-8") for path in (_TOP / "renku_store").rglob("*.py")]
    names = {error.__name__ for error in _errors()}
    raised = {name for name in names if any(re.search(rf"(?<!class )\b{name}\(", source) for source in sources)}
    defined = {"StoreError", "BadInputError", "ConflictError", "JobError", "UnusableError"}
    assert raised - defined <= set(told)


def _fields(record: type[Record]) -> set[str]:
    tag = record.__struct_config__.tag_field
    return {*record.__struct_encode_fields__, *([tag] if tag else ())}


@pytest.mark.parametrize(
    ("begin", "end", "record", "common"),
    [
        ("## `current.json`", "\n## ", Pointer, set()),
        ("## Manifest", "The five fields", Manifest, set()),
        ("An **input** has", "Inputs are those", ManifestInput, {"hash"}),
        ("An **artefact** has", "`inline` or `blob`:", ManifestArtefact, set()),
        ("An event of type `input`", "An event of type `artefact`", InputEvent, _EVENT_FIELDS),
        ("An event of type `artefact`", "An event of type `run`", ArtefactEvent, _EVENT_FIELDS),
        ("An event of type `run`", "Artefact events of status", RunEvent, _EVENT_FIELDS),
    ],
    ids=["pointer", "manifest", "input", "artefact", "input event", "artefact event", "run event"],
)
def test_the_format_reference_has_every_field(begin: str, end: str, record: type[Record], common: set[str]) -> None:
    """What is written to disk and what the page says are the same fields."""
    told = set(_first_column(_section(_DOCS / "reference/format.md", begin, end)))
    assert told | common == _fields(record)


def test_the_format_reference_has_every_kind_of_event() -> None:
    """Whoever reads archives knows every word that may stand in them."""
    told = set(re.findall(r"`([a-z-]+)`", (_DOCS / "reference/format.md").read_text(encoding="utf-8")))
    assert {*get_args(ArtefactStatus), *get_args(RunEventKind)} <= told


def test_the_events_page_has_every_kind_and_status() -> None:
    """Whoever listens knows every word that may come, and every field."""
    page = _DOCS / "reference/events.md"
    assert _first_column(_section(page, "## What happened", "\n## ")) == list(get_args(ArtefactStatus))
    assert _first_column(_section(page, "## Steps of a run", "\n## ")) == list(get_args(RunEventKind))
    told = _first_column(_section(page, "## While a run goes", "\x00"))
    kinds = get_args(ProgressKind)
    assert set(told) == _fields(RunProgress) | set(kinds)


def _data_keys() -> dict[str, set[str]]:
    """By constant in a call, the keys of the `dict` literals beside it: of an event's kind, those of its `data`."""
    found: dict[str, set[str]] = {}
    for path in (_TOP / "renku_store").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                given = [*node.args, *(keyword.value for keyword in node.keywords)]
                keys = [key for one in given if isinstance(one, ast.Dict) for key in one.keys]
                texts = {key.value for key in keys if isinstance(key, ast.Constant) and isinstance(key.value, str)}
                for one in given:
                    if texts and isinstance(one, ast.Constant) and isinstance(one.value, str):
                        found.setdefault(one.value, set()).update(texts)
    return found


def test_the_events_page_has_the_data_of_each_kind() -> None:
    """A key that the code writes stands in the row of its kind."""
    text = (_DOCS / "reference/events.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([a-z-]+)` \| (.*)$", text, re.MULTILINE))
    written = _data_keys()
    known = {kind: written[kind] for kind in [*get_args(ProgressKind), *get_args(RunEventKind)] if kind in written}
    assert {"job-waiting", "job-remembered", "job-attempt-failed", "run-stopping", "published"} <= known.keys()
    for kind, keys in known.items():
        assert {f"`{key}`" for key in keys} <= set(re.findall(r"`\w+`", rows[kind])), kind


def test_the_configuration_page_has_every_variable_and_entry() -> None:
    """What the code reads of the environment, and of the sections of the config file, stands on the page."""
    page = _DOCS / "reference/configuration.md"
    text = page.read_text(encoding="utf-8")
    source = "".join(
        path.read_text(encoding="utf-8") for top in ("renku_store", "renku_cli") for path in (_TOP / top).rglob("*.py")
    )
    named = set(re.findall(r"\b_?RENKU_STORE_[A-Z]+(?:_[A-Z]+)*\b", source)) - {"RENKU_STORE_"}
    assert named == set(re.findall(r"\b_?RENKU_STORE_[A-Z]+(?:_[A-Z]+)*\b", text))
    cells = re.findall(r"^\| (`.*?`) \|", _section(page, "### Limits", "\n##"), re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", "".join(cells))) == set(LIMIT_ENTRIES)
    assert set(_first_column(_section(page, "### Retries", "\n## "))) == set(RETRY_ENTRIES)


def test_the_performance_page_has_the_figures_of_the_result_files() -> None:
    """A measurement that is done anew is told anew: `benchmarks/run.py --page` writes the table."""
    table = subprocess.run(
        [sys.executable, str(_TOP / "benchmarks/run.py"), "--table"], capture_output=True, text=True, check=True
    ).stdout
    page = (_DOCS / "explanation/performance.md").read_text(encoding="utf-8")
    assert page.count("| question | task |") == 1
    assert table in page


def test_the_architecture_page_names_modules_that_are_there() -> None:
    """`running.session` on the page is `renku_store/running/session.py`."""
    text = (_DOCS / "explanation/architecture.md").read_text(encoding="utf-8")
    rooms = {path.stem for path in (_TOP / "renku_store").iterdir()}
    named = [name for name in re.findall(r"`([a-z_]+(?:\.[a-z_]+)+)`", text) if name.partition(".")[0] in rooms]
    assert len(named) > 5
    for name in named:
        path = _TOP / "renku_store" / name.replace(".", "/")
        assert path.is_dir() or path.with_suffix(".py").is_file() or name.endswith((".put", ".db")), name


def test_the_architecture_page_has_every_room() -> None:
    """A room that is built, or given up, is built or given up on the page."""
    table = _section(_DOCS / "explanation/architecture.md", "## Floor by floor", "Three rules")
    told = set(re.findall(r"`(\w+)`", table)) - {"open_store", "renku_store", "renku_cli"}
    rooms = {
        path.stem
        for path in (_TOP / "renku_store").iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert told == {room for room in rooms if not room.startswith("_")}


def test_the_decisions_are_all_in_their_list() -> None:
    """The list of decisions has every file with its own title."""
    rows = re.findall(
        r"^\| \[(\d{4})\]\((\S+)\) \| (.*) \|$", (_DOCS / "adr/README.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    told = {path: f"# {number} {title}" for number, path, title in rows}
    files = sorted((_DOCS / "adr").glob("0*.md"))
    assert told == {path.name: path.read_text(encoding="utf-8").splitlines()[0] for path in files}


def test_glossary_terms_are_sorted_and_have_one_meaning() -> None:
    """A term is found where it is looked for, once."""
    terms = re.findall(r"^\| ([^|]+?) \| ", (_DOCS / "glossary.md").read_text(encoding="utf-8"), re.MULTILINE)[1:]
    assert terms == sorted(set(terms), key=str.lower)


@pytest.mark.parametrize("bench", sorted((_TOP / "benchmarks").glob("*/bench.py")), ids=lambda path: path.parent.name)
def test_a_benchmark_runs_and_has_a_question_and_a_result(bench: Path, tmp_path: Path) -> None:
    """Each is documented, has a result with machine and date, and still measures the same tasks."""
    given = [sys.executable, str(bench), "--quick", "--rounds", "1", "--json", "--directory", str(tmp_path)]
    ended = subprocess.run(given, capture_output=True, check=True, timeout=120)
    document = json.loads(ended.stdout)
    assert f"# {document['question']}" in (bench.parent / "README.md").read_text(encoding="utf-8")
    assert list(tmp_path.iterdir()) == []
    (*_, newest) = sorted((bench.parent / "results").glob("*.json"))
    kept = json.loads(newest.read_text(encoding="utf-8"))
    assert kept["question"] == document["question"]
    assert kept["machine"].keys() == document["machine"].keys()
    assert not kept["quick"]
    shapes = [{re.sub(r"[\d,]+", "N", one["task"]) for one in each["results"]} for each in (kept, document)]
    assert shapes[0] == shapes[1]  # of other sizes, and of more of them where the largest are asked for
    for result in kept["results"]:
        for seconds in result["seconds"].values() if "seconds" in result else [result["ours"], result["limit"]]:
            assert 0 < seconds["min"] <= seconds["median"] <= seconds["max"]
