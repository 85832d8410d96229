"""Functions as producers: what they are given, what they may answer, and how they fail."""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Generator
from pathlib import Path
from types import ModuleType

import pytest

from renku_store.errors import ProducerError, RateLimitedError
from tests.producers.calling import Desk, File, data_of

FUNCTIONS = """
import asyncio, threading
from pathlib import Path
from renku_store import Produced, ProducerError, RateLimitedError

seen = []
release = threading.Event()

def upper(request):
    return request.inputs["text"].value.upper()

async def both(request):
    await asyncio.sleep(0)
    path = request.directory / "made.bin"
    path.write_bytes(request.inputs["file"].path.read_bytes() * 2)
    return {"text": request.inputs["file"].mime_type, "file": path}

def priced(request):
    return Produced({"out": b"x"}, mime_types={"out": "text/plain"}, cost=0.5, request_id="req-1")

class Maker:
    async def __call__(self, request):
        return b"made by an object"

maker = Maker()

def roundabout(request):
    return Maker()(request)

def look(request):
    seen.append(request)
    return b""

def broken(request):
    raise KeyError("no such segment")

async def broken_later(request):
    await asyncio.sleep(0)
    raise KeyError("no such segment")

def leaves(request):
    raise SystemExit("gone")

def stops(request):
    raise StopIteration

def busy(request):
    raise ProducerError("Not now.", retryable=True)

async def limited(request):
    raise RateLimitedError("Slow down.", retry_after=2.5)

async def hangs(request):
    try:
        await asyncio.sleep(600)
    finally:
        seen.append("cancelled")

def blocks(request):
    seen.append("begun")
    release.wait()
    return b"too late"

async def own_timeout(request):
    raise TimeoutError("the provider was slow")

answers = {
    "number": 7,
    "none": None,
    "other name": {"other": b"x"},
    "extra name": {"out": b"x", "other": b"y"},
    "a list": {"out": [1]},
    "no file": {"out": Path("/no/such/file")},
    "lone surrogate": "\\ud800",
    "too long": "é" * 60,
    "bad type": Produced({"out": b""}, mime_types={"out": "nonsense"}),
    "bad cost": Produced({"out": b""}, cost=float("nan")),
}

def answer(request):
    return answers[request.config["which"]]

def foreign(request):
    return Path(request.config["path"])
"""


@pytest.fixture
def functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[ModuleType]:
    """A module with functions of every kind, importable as `studio_functions`."""
    (tmp_path / "studio_functions.py").write_text(FUNCTIONS)
    (tmp_path / "studio_broken.py").write_text("import json\njson.no_such_thing\n")
    (tmp_path / "studio_needy.py").write_text("import no_such_dependency\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("studio_functions")
    for name in ("studio_functions", "studio_broken", "studio_needy"):
        sys.modules.pop(name, None)


pytestmark = pytest.mark.usefixtures("functions")


def test_a_function_answers_with_its_one_output(desk: Desk) -> None:
    """A text that is returned is the one output, as UTF-8."""
    assert data_of(desk.call("python/studio_functions.upper", inputs={"text": "über"})) == "ÜBER".encode()


def test_a_coroutine_function_answers_with_several(desk: Desk) -> None:
    """A dict gives each output, as text or as a file in the call's own folder."""
    made = desk.call("python/studio_functions.both", inputs={"file": File(b"ab", "x/y")}, outputs=["text", "file"])
    assert (data_of(made, "text"), data_of(made, "file")) == (b"x/y", b"abab")


@pytest.mark.parametrize("name", ["maker", "roundabout"])
def test_whatever_can_be_called_is_a_function(desk: Desk, name: str) -> None:
    """An object with `__call__` does, and what turns out to be awaitable is awaited."""
    assert data_of(desk.call(f"python/studio_functions.{name}")) == b"made by an object"


def test_produced_tells_the_rest(desk: Desk) -> None:
    """Cost, request id and MIME types are handed on."""
    made = desk.call("python/studio_functions.priced")
    assert (made.cost, made.request_id, dict(made.mime_types)) == (0.5, "req-1", {"out": "text/plain"})


def test_a_function_sees_no_more_than_what_is_signed(desk: Desk, functions: ModuleType) -> None:
    """The request has no job id, run or signature; but for the folder, all of it is signed."""
    desk.call("python/studio_functions.look@2", config={"a": 1}, context={"b": 2})
    (request,) = functions.seen
    assert set(request.__slots__) == {
        *("producer", "version", "provider", "model", "config", "context", "inputs", "outputs", "directory")
    }
    assert (request.version, request.config, request.context) == ("2", {"a": 1}, {"b": 2})


@pytest.mark.parametrize("name", ["broken", "broken_later"])
def test_an_exception_is_a_failure_with_its_traceback(desk: Desk, name: str) -> None:
    """The message names function and exception; the traceback begins in the function's own module."""
    with pytest.raises(ProducerError, match=f"studio_functions.{name} raised KeyError: 'no such segment'") as caught:
        desk.call(f"python/studio_functions.{name}")
    assert not caught.value.retryable
    assert caught.value.diagnostics is not None
    assert "studio_functions.py" in caught.value.diagnostics


@pytest.mark.parametrize(("name", "said"), [("leaves", "SystemExit: gone"), ("stops", "StopIteration")])
def test_no_exception_escapes_from_a_thread(desk: Desk, name: str, said: str) -> None:
    """An exit or a StopIteration, which a future cannot carry, is a failure like others."""
    with pytest.raises(ProducerError, match=said):
        desk.call(f"python/studio_functions.{name}")


def test_a_function_may_ask_to_be_tried_again(desk: Desk) -> None:
    """The project's own errors pass through with what they say."""
    with pytest.raises(ProducerError, match="Not now") as busy:
        desk.call("python/studio_functions.busy")
    assert busy.value.retryable
    with pytest.raises(RateLimitedError, match="Slow down") as limited:
        desk.call("python/studio_functions.limited")
    assert limited.value.retry_after == 2.5


def test_a_coroutine_is_cancelled_when_its_time_is_up(desk: Desk, functions: ModuleType) -> None:
    """A timeout ends a coroutine where it stands."""
    with pytest.raises(ProducerError, match=r"did not return within 0.05 seconds"):
        desk.call("python/studio_functions.hangs", timeout_seconds=0.05)
    assert functions.seen == ["cancelled"]


def test_a_thread_is_left_alone_when_its_time_is_up(desk: Desk, functions: ModuleType) -> None:
    """A timeout drops the result of a plain function; the thread goes on by itself and holds up nothing."""
    with pytest.raises(ProducerError, match=r"did not return within 0.2 seconds"):
        desk.call("python/studio_functions.blocks", timeout_seconds=0.2)
    assert functions.seen == ["begun"]
    functions.release.set()
    for thread in threading.enumerate():
        if thread.name == "producer":
            assert thread.daemon
            thread.join()


def test_a_timeout_within_a_function_is_its_own_failure(desk: Desk) -> None:
    """A TimeoutError that the function raises is not mistaken for the job's."""
    with pytest.raises(ProducerError, match="raised TimeoutError: the provider was slow"):
        desk.call("python/studio_functions.own_timeout")


@pytest.mark.parametrize(
    ("which", "complaint"),
    [
        ("number", "returned a value of type int"),
        ("none", "returned a value of type NoneType"),
        ("other name", "'out' is missing"),
        ("extra name", "'other' that was not asked for"),
        ("a list", "'out' is of type list"),
        ("no file", "outside the job's directory"),
        ("lone surrogate", "lone surrogate"),
        ("too long", "larger than the 100 bytes"),
        ("bad type", "no MIME type"),
        ("bad cost", "cost nan"),
    ],
)
def test_a_wrong_answer_is_refused_by_name(desk: Desk, which: str, complaint: str) -> None:
    """What is not an answer to the request is an error that says why."""
    with pytest.raises(ProducerError, match=complaint):
        desk.call("python/studio_functions.answer", config={"which": which}, max_output_bytes=100)


def test_one_result_does_not_do_for_two_outputs(desk: Desk) -> None:
    """Where several outputs are asked for, each is named."""
    with pytest.raises(ProducerError, match="2 outputs are asked for"):
        desk.call("python/studio_functions.upper", inputs={"text": "x"}, outputs=["a", "b"])


def test_a_foreign_file_is_not_handed_over(desk: Desk, tmp_path: Path) -> None:
    """A path outside the call's folder is refused, also through a link: the file would be moved away from its owner."""
    (tmp_path / "mine").write_text("mine")

    def refused(path: Path) -> None:
        with pytest.raises(ProducerError, match=r"outside the job's directory|a symbolic link"):
            desk.call("python/studio_functions.foreign", config={"path": str(path)})

    refused(tmp_path / "mine")
    refused(tmp_path / "calls" / "call-2" / ".." / ".." / "mine")
    (tmp_path / "calls" / "call-3").mkdir(parents=True)
    (tmp_path / "calls" / "call-3" / "link").symlink_to(tmp_path / "mine")
    refused(tmp_path / "calls" / "call-3" / "link")


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("studio_missing.make", "The module studio_missing was not found"),
        ("studio_functions.uper", "no function 'uper'"),
        ("studio_functions.seen", "no function 'seen'"),
        ("studio_broken.make", "The import of studio_broken raised AttributeError"),
        ("studio_needy.make", "The import of studio_needy raised ModuleNotFoundError: .*no_such_dependency"),
        ("make", "does not name a module and a function"),
        ("studio functions.make", "does not name a module and a function"),
        ("..make", "does not name a module and a function"),
    ],
)
def test_a_function_that_is_not_there_is_named(desk: Desk, name: str, complaint: str) -> None:
    """A module or function that cannot be had says which, and why."""
    with pytest.raises(ProducerError, match=complaint):
        desk.call(f"python/{name}")


def test_the_nearest_function_is_suggested(desk: Desk) -> None:
    """A typing error is met with the right name."""
    with pytest.raises(ProducerError) as caught:
        desk.call("python/studio_functions.uper")
    assert caught.value.hint == "Did you mean python:studio_functions.upper?"
