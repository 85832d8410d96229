"""What ids, records, errors, timestamps and bounds promise to everybody who uses them."""

from __future__ import annotations

import ast
import inspect
import re
import uuid
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from unittest import mock

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from renku_store import bounds, clock, errors
from renku_store.clock import SystemClock, timestamp
from renku_store.encoding import read_page
from renku_store.errors import InvalidIdError
from renku_store.records import ids
from renku_store.records._base import RecordError
from renku_store.records.blob import blob_path
from renku_store.records.events import ArtefactEvent, InputEvent, JobFailure, RunEvent, read_event
from renku_store.records.graph import CostRule, GraphEdge, GraphNode, ProducerGraph, Reference
from renku_store.records.manifest import ArtefactValue, Manifest, ManifestInput
from renku_store.records.plan import ExecutionPlan, PlannedJob

_HASH = "0123456789abcdef" * 4

# Ids


@pytest.mark.parametrize("movie", ["a", "Water-cycle_2.1", "0", "x" * 128])
def test_good_movie_ids_pass(movie: str) -> None:
    """A movie id that the model allows is returned as it is."""
    assert ids.check_movie_id(movie) == movie


@pytest.mark.parametrize("movie", ["", ".", "..", ".git", "-x", "a/b", "a\\b", "a b", "ä", "a\n", "a\0", "x" * 129])
def test_bad_movie_ids_are_refused(movie: str) -> None:
    """A movie id is a safe name of one folder, or refused with a printable message."""
    with pytest.raises(InvalidIdError) as refusal:
        ids.check_movie_id(movie)
    assert refusal.value.message.isprintable()
    assert refusal.value.hint


@pytest.mark.parametrize("value", ["narration[2].audio", "@blueprint", "bild[ä].png", "a b", "-", "x" * 512, ".x"])
def test_good_ids_pass(value: str) -> None:
    """An id that can be a name in a folder, an argument and a key is returned as it is."""
    assert ids.check_id("artefact", value) == value


@pytest.mark.parametrize(
    "value",
    [
        "",
        ".",
        "..",
        "a..b",
        "../a",
        "a/b",
        "a\\b",
        " a",
        "a ",
        "a\tb",
        "a\n",
        "a\0b",
        "a\x7f",
        "\u202ea",
        "\ud800",
        "ä" * 257,
    ],
)
def test_bad_ids_are_refused(value: str) -> None:
    """An id that could leave its folder, hide itself or break a line is refused with a printable message."""
    with pytest.raises(InvalidIdError, match="artefact id") as refusal:
        ids.check_id("artefact", value)
    assert refusal.value.message.isprintable()
    assert len(refusal.value.message) < 200


@given(st.text() | st.text("ab./\\ [1]~\x7f\n", max_size=6) | st.integers(508, 516).map("x".__mul__))
def test_ids_that_are_known_by_one_look_are_those_that_all_looks_allow(value: str) -> None:
    """The short way of what nearly all ids are says the same as the way without it."""

    def said() -> str:
        try:
            return ids.check_id("input", value)
        except InvalidIdError as error:
            return f"refused: {error.message}"

    short = said()
    with mock.patch.object(ids, "_PLAIN", re.compile(r"(?!)")):
        assert said() == short


@given(st.text())
def test_whatever_passes_is_one_name_in_a_folder(value: str) -> None:
    """No text that passes can name anything but an entry of the folder that it is put in."""
    try:
        ids.check_id("input", value)
    except InvalidIdError:
        return
    assert value not in {"", ".", ".."}
    assert not set(value) & set("/\\\0\n\r")
    assert len(value.encode()) <= bounds.ID_MAX_BYTES


@given(st.integers(1, 10**12 - 1))
def test_revision_names_and_numbers_are_inverse(number: int) -> None:
    """A revision's number has one name, and the name that number."""
    assert ids.revision_number(ids.revision_name(number)) == number


@pytest.mark.parametrize(
    "name", ["rev-0000", "rev-1", "rev-00001", "rev-01000", "latest", "rev-", "REV-0001", "rev-0001\n", "rev-٠٠٠١"]
)
def test_a_revision_has_no_other_name(name: str) -> None:
    """Every other way to write a revision is refused, so that its files have one name."""
    with pytest.raises(InvalidIdError, match="not a revision"):
        ids.revision_number(name)


@given(st.lists(st.integers(0, 2**48 - 1), min_size=2, max_size=5), st.binary(min_size=10, max_size=10))
def test_run_ids_are_uuids_in_the_order_of_time(times: list[int], random: bytes) -> None:
    """A run id is a UUID of version 7 as Python's own parser sees it, and sorts as text by its time."""
    made = [clock.uuid7(time, random) for time in times]
    assert all(ids.check_run_id(run) == run for run in made)
    assert all((parsed := uuid.UUID(run)).version == 7 and parsed.variant == uuid.RFC_4122 for run in made)
    assert sorted(set(made)) == [clock.uuid7(time, random) for time in sorted(set(times))]


@given(st.binary(min_size=10, max_size=10), st.binary(min_size=10, max_size=10))
def test_run_ids_keep_74_random_bits(one: bytes, other: bytes) -> None:
    """Two run ids of one millisecond are equal only where all bits but those of version and variant are."""
    kept = ~(0xF << 76 | 0x3 << 62)
    same = int.from_bytes(one, "big") & kept == int.from_bytes(other, "big") & kept
    assert (clock.uuid7(5, one) == clock.uuid7(5, other)) == same


@pytest.mark.parametrize(
    "run", ["", "x", "0190a5b0-0000-4000-8000-000000000000", "0190A5B0-0000-7000-8000-000000000000"]
)
def test_other_texts_are_no_run_ids(run: str) -> None:
    """Other versions and upper-case digits are refused: a run has one name."""
    with pytest.raises(InvalidIdError, match="not a run id"):
        ids.check_run_id(run)


@pytest.mark.parametrize("digest", ["", "0" * 63, "0" * 65, "g" * 64, "A" * 64, "0" * 64 + "\n"])
def test_other_texts_are_no_hashes(digest: str) -> None:
    """A hash is 64 lower-case hex digits and nothing else, in functions and in records that are read."""
    with pytest.raises(InvalidIdError, match="not a hash"):
        ids.check_hash(digest)
    with pytest.raises(RecordError, match=r"^hash: Expected str"):
        ManifestInput.from_json({"hash": digest, "value": 1})


def test_blobs_lie_under_the_first_two_digits() -> None:
    """A blob's path holds its hash in full, below a folder of its first two digits."""
    assert blob_path(_HASH) == f"blobs/01/{_HASH}"
    assert blob_path(_HASH, "zstd") == f"blobs/01/{_HASH}.zst"


# Records


def _manifest(**fields: Any) -> Manifest:
    required = {"format": 1, "movie": "m", "revision": "rev-0001", "run": "r", "created_at": "t", "content_hash": _HASH}
    return Manifest(**{**required, **fields})


def test_records_are_camel_case_outside() -> None:
    """Written keys are camelCase, absent fields are left out."""
    value = ArtefactValue(hash=_HASH, size=3, mime_type="text/plain", inline="abc")
    assert value.to_json() == {"hash": _HASH, "size": 3, "mimeType": "text/plain", "inline": "abc"}
    assert ArtefactValue.from_json(value.to_json()) == ArtefactValue.read(value.to_bytes()) == value
    assert GraphEdge.from_json({"from": "a", "to": "b"}).to_json() == {"from": "a", "to": "b"}


def test_null_is_a_value() -> None:
    """A value of null is written, as input and inside config; only absent fields are left out."""
    held = _manifest(inputs={"a": ManifestInput(hash=_HASH), "b": ManifestInput(hash=_HASH, value={"x": None})})
    assert held.to_json()["inputs"]["a"] == {"hash": _HASH, "value": None}
    assert held.to_json()["inputs"]["b"]["value"] == {"x": None}
    node = GraphNode(job_id="a", producer="a", provider="p", provider_model="m", produces=[], config={"title": None})
    assert node.to_json()["config"] == {"title": None}
    edit = InputEvent(id="i", input="a", hash=_HASH, created_at="t")
    assert edit.to_json()["value"] is None


def test_a_value_in_a_blob_is_not_written_inline() -> None:
    """An input is written with its value or with its blob, never with both."""
    assert ManifestInput(hash=_HASH, blob=_HASH).to_json() == {"hash": _HASH, "blob": _HASH}
    assert "value" not in InputEvent(id="i", input="a", hash=_HASH, blob=_HASH, created_at="t").to_json()


def test_records_are_frozen_and_keep_reading_newer_ones() -> None:
    """A record cannot be changed, and a field that a later version added does no harm."""
    manifest = _manifest()
    with pytest.raises(AttributeError, match="immutable"):
        manifest.movie = "other"  # type: ignore[misc]
    assert Manifest.from_json({**manifest.to_json(), "colour": "blue"}) == manifest


@pytest.mark.parametrize("kind", [InputEvent, ArtefactEvent, RunEvent])
def test_events_are_told_apart_by_type(kind: type[Any]) -> None:
    """Reading an event gives the record that was written."""
    facts = {"id": "i", "run": "r", "input": "a", "hash": _HASH, "artefact": "a", "status": "failed", "kind": "planned"}
    event = kind.from_json({**facts, "type": kind.type, "createdAt": "t"})
    read = read_event(event.to_bytes())
    assert type(read) is kind
    assert read == event


def test_events_are_written_in_the_order_of_earlier_versions() -> None:
    """An archive that is made anew from its rows has the bytes, and so the hash, that its revision names."""
    shared = {"seq": 7, "id": "i", "run": "r", "created_at": "t"}
    value = ArtefactValue(hash=_HASH, size=1, mime_type="text/plain", inline="a", blob=None)
    failure = JobFailure(kind="k", message="m", diagnostics="d", cost=0.5)
    every = {"output": "o", "job": "j", "producer": "p", "signature": _HASH, "result": "x", "value": value}
    every |= {"cost": 1.0, "attempts": 2, "request_id": "q", "duration_seconds": 0.25, "failure": failure}
    events: list[InputEvent | ArtefactEvent | RunEvent] = [
        InputEvent(input="a", hash=_HASH, value=[None], **shared),
        InputEvent(input="a", hash=_HASH, blob=_HASH, edited_by="ada", **shared),
        ArtefactEvent(artefact="a", status="failed", edited_by="ada", source=_HASH, **every, **shared),
        RunEvent(kind="planned", data={"jobs": 1}, **shared),
    ]
    head, end = '"seq":7,"id":"i","run":"r",', '"createdAt":"t"'
    assert [event.to_bytes().decode().replace(_HASH, "H") for event in events] == [
        f'{{"type":"input",{head}"input":"a","hash":"H","editedBy":"user",{end},"value":[null]}}',
        f'{{"type":"input",{head}"input":"a","hash":"H","blob":"H","editedBy":"ada",{end}}}',
        (
            f'{{"type":"artefact",{head}"artefact":"a","status":"failed","output":"o","job":"j","producer":"p","signature":"H",'
            '"result":"x","value":{"hash":"H","size":1,"mimeType":"text/plain","inline":"a"},"cost":1.0,"attempts":2,'
            '"requestId":"q","durationSeconds":0.25,"failure":{"kind":"k","message":"m","retryable":false,"diagnostics":"d",'
            f'"cost":0.5}},"editedBy":"ada","source":"H",{end}}}'
        ),
        f'{{"type":"run",{head}"kind":"planned","data":{{"jobs":1}},{end}}}',
    ]


@pytest.mark.parametrize(("step", "kept"), [(2, 2), ("2", "2"), ("text", "text")])
def test_steps_into_a_value_keep_their_type(step: object, kept: object) -> None:
    """A position stays a number and a key stays text, also after reading."""
    reference = Reference.from_json({"kind": "input", "id": "segments", "path": [step]})
    assert reference.path == [kept]
    assert type(reference.path[0]) is type(kept)
    assert Reference.from_json(reference.to_json()) == reference


@pytest.mark.parametrize("step", [True, 1.0, None, ["a"]])
def test_other_steps_are_refused(step: object) -> None:
    """True is not position 1."""
    with pytest.raises(RecordError):
        Reference.from_json({"kind": "input", "id": "segments", "path": [step]})


def test_references_read_as_people_write_them() -> None:
    """A reference shows keys with dots and positions in brackets."""
    assert (
        Reference(kind="artefact", id="script.out", path=["segments", 2, "text"]).text()
        == "script.out.segments[2].text"
    )


def _priced(cost: object) -> dict[str, Any]:
    node = {"jobId": "a", "producer": "p", "produces": [], "provider": "x", "providerModel": "y", "cost": cost}
    return {"nodes": [node]}


@pytest.mark.parametrize("cost", [0.04, 0, 3])
def test_a_number_as_the_cost_of_a_job_is_short_for_both_bounds(cost: float) -> None:
    """Whoever reads the graph, or makes the node, gets the rule; what is written is the rule."""
    rule = CostRule(low=cost, high=cost)
    read = [ProducerGraph.from_json(_priced(cost)), ProducerGraph.read(orjson.dumps(_priced(cost)))]
    plan = {"format": 1, "revision": "rev-0001", "layers": [], "jobs": {}, "graphHash": _HASH, "inputs": {}}
    read.append(ExecutionPlan.from_json({**plan, "graph": _priced(cost)}).graph)
    for graph in read:
        assert graph.nodes[0].cost == rule
        assert graph.to_json()["nodes"][0]["cost"] == {"low": cost, "high": cost}
    assert GraphNode.from_json(_priced(cost)["nodes"][0]).cost == rule


@pytest.mark.parametrize("cost", [-1, True, "1", [1], {"low": 1}])
def test_other_costs_of_a_job_are_refused(cost: object) -> None:
    """What is read is checked."""
    with pytest.raises(RecordError, match=r"nodes\[0\]\.cost"):
        ProducerGraph.from_json(_priced(cost))


def test_dirty_jobs_are_those_of_the_layers() -> None:
    """A plan's dirty jobs come layer by layer."""
    plan = ExecutionPlan.from_json(
        {
            "format": 1,
            "revision": "rev-0001",
            "layers": [["a", "b"], [], ["c"]],
            "jobs": {"a": PlannedJob(state="dirty", layer=0).to_json()},
            "graph": {"nodes": []},
            "graphHash": _HASH,
            "inputs": {},
        }
    )
    assert plan.dirty == ["a", "b", "c"]


# Time, errors, bounds


@given(st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)), st.integers(-23, 23))  # noqa: DTZ001 (zoned below)
def test_timestamps_are_utc_and_sort_as_time(moment: datetime, hours: int) -> None:
    """A timestamp has one width, is in UTC whatever the zone, cuts to milliseconds, and sorts as text by time."""
    zoned = moment.replace(tzinfo=timezone(timedelta(hours=hours)))
    written = timestamp(zoned)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", written)
    assert timedelta(0) <= zoned - datetime.fromisoformat(written) < timedelta(milliseconds=1)
    assert timestamp(zoned + timedelta(milliseconds=1)) > written


def test_the_system_clock_tells_aware_time_that_goes_forward() -> None:
    """The clock's time of day is in UTC, and its durations never shrink."""
    clock = SystemClock()
    assert clock.now().tzinfo is UTC
    assert clock.monotonic() <= clock.monotonic()


def _kinds() -> list[type[errors.StoreError]]:
    return [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.StoreError)]


def test_the_drawing_of_the_error_tree_is_the_tree() -> None:
    """The head of the module shows every error below its own parent."""
    drawn: dict[str, str] = {}
    parents: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        if match := re.match(r"    ([│ ├└─]*)(\w+Error)\b", line):
            depth = len(match[1]) // 4
            parents[depth:] = [match[2]]
            drawn[match[2]] = parents[depth - 1] if depth else "Exception"
    assert drawn == {kind.__name__: kind.__bases__[0].__name__ for kind in _kinds()}


@pytest.mark.parametrize("kind", _kinds())
def test_errors_carry_kind_message_and_hint(kind: type[errors.StoreError]) -> None:
    """Each error has a stable kind, shows its message as text, and keeps the hint apart."""
    parameters = inspect.signature(kind).parameters
    more = {
        name: {"a": (1, 2)} if name == "values" else None
        for name in ("expected", "actual", "values")
        if name in parameters
    }
    error = kind("The thing x is gone.", hint="Make it anew.", **more)
    assert (error.kind, error.message, error.hint, str(error)) == (
        kind.__name__,
        "The thing x is gone.",
        "Make it anew.",
        "The thing x is gone.",
    )


def test_blueprint_errors_say_where() -> None:
    """A blueprint's error begins with file and line, as editors understand them."""
    assert str(errors.BlueprintError("Oops.", file="movie.yaml", line=3)) == "movie.yaml:3: Oops."
    assert str(errors.BlueprintError("Oops.", line=3)) == "blueprint:3: Oops."
    assert str(errors.BlueprintError("Oops.", file="movie.yaml")) == "movie.yaml: Oops."
    assert str(errors.BlueprintError("Oops.")) == "Oops."


def test_every_bound_has_its_reason() -> None:
    """Each constant of `bounds` is followed by a sentence that says why it is what it is."""
    body = ast.parse(inspect.getsource(bounds)).body
    for statement, after in zip(body, [*body[1:], None], strict=True):
        if isinstance(statement, ast.AnnAssign):
            said = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
            assert said, f"{ast.unparse(statement.target)} has no reason"


@pytest.mark.parametrize("digest", ["0" * 63, "0" * 65, "g" * 64, "A" * 64, "../" * 21 + "x", "0" * 63 + "\n"])
@pytest.mark.parametrize("field", ["hash", "blob", "signature", "source", "made"])
def test_no_other_text_is_the_digest_of_an_artefact(field: str, digest: str) -> None:
    """All of a page are looked at together, and one that is none is found among them."""
    sound = {"hash": _HASH, "size": 1, "mimeType": "text/plain", "blob": _HASH, "signature": _HASH, "source": _HASH}
    made = {"hash": digest, "size": 1, "mimeType": "text/plain", "inline": "a"}
    page = {"a": sound, "b": {**sound, field: made if field == "made" else digest}, "c": sound}
    with pytest.raises(RecordError):
        read_page(orjson.dumps(page))
    assert len(read_page(orjson.dumps({**page, "b": sound}))) == 3
