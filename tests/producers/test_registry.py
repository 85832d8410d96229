"""From `provider/model@version` to a handler."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from renku_store.calls import Job, JobContext, Produced
from renku_store.errors import InvalidIdError, NotFoundError, ProducerError
from renku_store.producers.registry import ENTRY_POINT_GROUP, ProducerRegistry, default_registry
from tests.producers.calling import Desk, data_of


async def one(job: Job, context: JobContext) -> Produced:
    return Produced({"out": b"one"})


async def other(job: Job, context: JobContext) -> Produced:
    return Produced({"out": b"other"})


async def wrong(job: Job, context: JobContext) -> Produced:
    return Produced({"something else": b""})


def test_a_handler_is_found_by_all_three_names() -> None:
    """Provider, model (which may have slashes) and version lead to one handler; the last one registered wins."""
    registry = ProducerRegistry({})
    registry.register("studio/flux/pro@1", one)
    registry.register("studio/flux/pro@2", one)
    registry.register("studio/flux/pro@2", other)
    assert registry.resolve("studio", "flux/pro", "1") is one
    assert registry.resolve("studio", "flux/pro", "2") is other
    assert registry.known() == ["studio/flux/pro@1", "studio/flux/pro@2"]


def test_a_handler_is_found_by_the_text_it_was_registered_with() -> None:
    """`resolve` takes `provider/model@version` as `register` does, and tells the nearest one likewise."""
    registry = ProducerRegistry({})
    registry.register("studio/flux/pro@1", one)
    registry.register_provider("lab", other)
    assert registry.resolve("studio/flux/pro@1") is one
    assert registry.resolve("lab/anything@3") is other
    with pytest.raises(NotFoundError, match="There is no producer studio/flux/pro@2") as caught:
        registry.resolve("studio/flux/pro@2")
    assert caught.value.hint == "Did you mean studio/flux/pro@1?"


def test_a_single_handler_goes_before_its_providers() -> None:
    """A handler for a whole provider takes what no other is registered for."""
    registry = ProducerRegistry({})
    registry.register_provider("studio", other)
    registry.register("studio/draw@1", one)
    assert registry.resolve("studio", "draw", "1") is one
    assert registry.resolve("studio", "draw", "2") is other


@pytest.mark.parametrize(
    "descriptor", ["", "draw", "studio/draw", "studio@1", "/draw@1", "studio/@1", "a b/c@1", "a/b@"]
)
def test_a_descriptor_has_one_form(descriptor: str) -> None:
    """Anything but `provider/model@version` is refused, by who registers and by who asks."""
    registry = ProducerRegistry({})
    with pytest.raises(InvalidIdError, match="does not name a producer"):
        registry.register(descriptor, one)
    with pytest.raises(InvalidIdError, match="does not name a producer"):
        registry.resolve(descriptor)


@pytest.mark.parametrize(
    ("asked", "hint"),
    [
        (("demo", "narate", "1"), "Did you mean demo/narrate@1?"),
        (("demo", "narrate", "2"), "Did you mean demo/narrate@1?"),
        (("comand", "argv", "1"), "Did you mean command?"),
    ],
)
def test_the_nearest_name_is_suggested(asked: tuple[str, str, str], hint: str) -> None:
    """A producer that is not there is met with the nearest one that is."""
    with pytest.raises(NotFoundError) as caught:
        default_registry().resolve(*asked)
    assert caught.value.hint == hint


def test_an_empty_registry_says_so() -> None:
    """Without anything near, what is known is listed."""
    with pytest.raises(NotFoundError) as caught:
        ProducerRegistry({}).resolve("a", "b", "1")
    assert caught.value.hint == "Nothing is registered."


def test_what_comes_with_the_project_is_there() -> None:
    """The default registry has `command`, `python` and the demo's five, and is the caller's own."""
    registry = default_registry()
    assert set(registry.known()) >= {
        *(
            "command",
            "python",
            "demo/narrate@1",
            "demo/slide@1",
            "demo/subtitles@1",
            "demo/timeline@1",
            "demo/assemble@1",
        )
    }
    registry.register("studio/draw@1", one)
    assert "studio/draw@1" not in default_registry().known()


def test_an_answer_is_checked_whoever_gives_it(desk: Desk) -> None:
    """A handler of another package is held to the same rules."""
    registry = ProducerRegistry({})
    registry.register("studio/draw@1", one)
    registry.register("studio/wrong@1", wrong)
    assert data_of(desk.call("studio/draw", registry=registry)) == b"one"
    with pytest.raises(ProducerError, match="'out' is missing"):
        desk.call("studio/wrong", registry=registry)


def test_packages_offer_handlers_which_are_loaded_when_asked_for(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An entry point is loaded with the first look-up of its provider, once, and not before."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "studio_offer.py").write_text(
        "from renku_store import Produced\n"
        "calls = []\n"
        "async def draw(job, context):\n    return Produced({'out': b'drawn'})\n"
        "def register(registry):\n    calls.append(1); registry.register('studio/draw@1', draw)\n"
    )
    registry = ProducerRegistry({"studio": EntryPoint("studio", "studio_offer:register", ENTRY_POINT_GROUP)})
    registry.register("mine/draw@1", one)
    registry.resolve("mine", "draw", "1")
    assert "studio_offer" not in sys.modules
    assert data_of(desk.call("studio/draw", registry=registry)) == b"drawn"
    desk.call("studio/draw", registry=registry)
    assert sys.modules.pop("studio_offer").calls == [1]


def test_an_offer_that_cannot_be_loaded_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken package fails the calls of its own provider, with the name of the entry point, and no others."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "studio_broken_offer.py").write_text("1 / 0\n")
    registry = ProducerRegistry({"studio": EntryPoint("studio", "studio_broken_offer:register", ENTRY_POINT_GROUP)})
    registry.register("mine/draw@1", one)
    with pytest.raises(ProducerError, match="'studio' cannot be loaded: ZeroDivisionError") as caught:
        registry.resolve("studio", "draw", "1")
    assert "studio_broken_offer:register" in caught.value.hint
    assert registry.resolve("mine", "draw", "1") is one
