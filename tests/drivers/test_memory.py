"""The memory driver: the shared suite, and what only memory can do."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renku_store import (
    InvalidValueError,
    ManifestConflictError,
    Movie,
    RevisionExistsError,
    StoreUnavailableError,
    forget_memory,
    open_store,
    run_movie,
    set_inputs,
)
from renku_store.drivers.memory.driver import MemoryDriver
from renku_store.drivers.memory.objects import Objects
from renku_store.testing.driver_suite import DriverSuite
from renku_store.testing.invariants import check_invariants
from tests import children
from tests.authoring import LONG, check_whole, publish, texts
from tests.running.conftest import BLUEPRINT, SEGMENTS, Studio


class TestMemoryDriver(DriverSuite):
    """The suite, on a root of its own."""

    @pytest.fixture
    def driver(self) -> MemoryDriver:
        return MemoryDriver(Objects("suite"))


class TestAFolderOfAMemoryDriver(DriverSuite):
    """The suite, below a folder."""

    @pytest.fixture
    def driver(self) -> MemoryDriver:
        return MemoryDriver(Objects("suite")).sub("deep/er")


@pytest.fixture
def root(request: pytest.FixtureRequest) -> Iterator[str]:
    """A name of its own."""
    url = f"memory://{uuid4().hex}"
    yield url
    forget_memory(url)


def test_stores_that_open_one_name_see_each_other(root: str) -> None:
    """The objects, the database, and what others do while a movie is open; another name is another root."""
    with open_store(root) as one, open_store(f"{root}/") as two, open_store(f"{root}-other") as other:
        ours = one.create_movie("film")
        theirs = two.movie("film")
        publish(ours, {"a": "one", "b": LONG})
        theirs.events.append_input("voice", "en")
        publish(theirs, {"a": "two"})
        assert texts(ours) == texts(theirs) == {"a": "two", "b": LONG}
        assert len({movie.metadata.epoch for movie in (ours, theirs)}) == 1
        check_whole(ours)
        assert (one.ids(), other.ids()) == (["film"], [])
    with open_store(root) as again:
        check_invariants(again.movie("film"))


def test_a_folder_of_a_root_is_a_root(root: str) -> None:
    """Its movies are none of the one above, and its database is not that of a movie of the same name there."""
    with open_store(f"{root}/deep/er") as below, open_store(root) as above:
        publish(below.create_movie("film"), {"a": "below"})
        assert above.ids() == []
        publish(above.create_movie("film"), {"a": "above"})
        assert [texts(store.movie("film"))["a"] for store in (below, above)] == ["below", "above"]


def test_what_is_forgotten_is_gone_for_everybody(root: str) -> None:
    """Who has it open is told so; who opens it anew finds it empty, at once, whatever was held."""
    with open_store(root) as store:
        movie = store.create_movie("film")
        publish(movie, {"a": LONG})
        scratch = movie.driver.scratch()
        forget_memory(root)
        assert not scratch.exists()
        with pytest.raises(StoreUnavailableError, match="was forgotten"):
            store.ids()
        with pytest.raises(StoreUnavailableError, match="closed"):
            movie.events.append_input("voice", "en")
        with open_store(root) as anew:
            assert anew.ids() == []
            publish(anew.create_movie("film"), {"a": "other"})
            assert texts(anew.movie("film")) == {"a": "other"}
    forget_memory(root)
    forget_memory(f"{root}-never-opened")


@pytest.mark.parametrize("url", ["builds", "s3://bucket", "memory://name/film", "memory://name?x=1"])
def test_only_a_whole_root_in_memory_can_be_forgotten(url: str) -> None:
    """Anything else is refused by name."""
    with pytest.raises(InvalidValueError):
        forget_memory(url)


def test_threads_of_two_stores_publish_one_chain(root: str) -> None:
    """Each publishes on what the others did; nobody's work is lost."""
    with open_store(root) as store:
        store.create_movie("film")

    def work(number: int) -> None:
        with open_store(root) as store:
            movie = store.movie("film")
            for turn in range(5):
                publish_again(movie, {f"by {number}": f"turn {turn}"})

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    with open_store(root) as store:
        movie = store.movie("film")
        check_whole(movie)
        assert movie.manifests.resolve("latest") == "rev-0020"
        assert texts(movie) == {f"by {number}": "turn 4" for number in range(4)}


def publish_again(movie: Movie, artefacts: dict[str, str]) -> None:
    """Publish, on whatever others publish meanwhile."""
    while True:
        try:
            publish(movie, artefacts)
        except (ManifestConflictError, RevisionExistsError):
            continue
        return


def test_a_rebuild_waits_for_those_who_have_the_movie_open(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And names them; afterwards the new database is everybody's."""
    monkeypatch.setattr("renku_store.bounds.OPEN_LOCK_WAIT_SECONDS", 0.05)
    with open_store(root) as one, open_store(root) as two:
        movie = one.create_movie("film")
        publish(movie, {"a": LONG})
        with pytest.raises(StoreUnavailableError, match=rf"held by process {os.getpid()} \("):
            two.rebuild("film")
        epoch = movie.metadata.epoch
        movie.close()
        assert two.rebuild("film").revisions == 1
        assert one.movie("film").metadata.epoch == two.movie("film").metadata.epoch > epoch
        check_invariants(one.movie("film"))


def test_runs_of_two_stores_pay_for_nothing_twice(root: str) -> None:
    """Claims hold among all who share the memory: who comes second waits, and publishes nothing or the rest."""
    studio = Studio()
    studio.pause_seconds = 0.01
    with open_store(root) as store:
        set_inputs(store.create_movie("film"), {"@blueprint": BLUEPRINT, "segments": SEGMENTS})

    def run(_: int) -> str:
        with open_store(root) as store:
            return asyncio.run(run_movie(store.movie("film"), produce=studio)).status

    with ThreadPoolExecutor(3) as pool:
        ended = list(pool.map(run, range(3)))
    assert "published" in ended
    assert set(ended) <= {"published", "unchanged"}
    assert set(studio.calls.values()) == {1}
    with open_store(root) as store:
        check_invariants(store.movie("film"))


EVERYTHING = """
    import asyncio, os, sys, tempfile
    from renku_store import (
        RetentionPolicy, check_movie, collect, compact, edit_artefact, open_store, prune, restore_expired, rollback,
        run_movie, set_inputs,
    )
    from renku_store.testing.invariants import check_invariants
    from tests.authoring import LONG, publish
    from tests.running.conftest import BLUEPRINT, SEGMENTS, Studio

    os.environ["TMPDIR"], tempfile.tempdir = sys.argv[1], None
    os.chdir(sys.argv[2])
    with open_store("memory://films") as store:
        movie = store.create_movie("by-hand")
        for number in range(4):
            publish(movie, {"a": f"{number} " + LONG}, {"voice": str(number)})
        rollback(movie, "rev-0001")
        prune(movie, RetentionPolicy(keep_last=2))
        restore_expired(movie, ["rev-0002"])
        prune(movie, RetentionPolicy(keep_last=2))
        collect(movie, grace_seconds=0, trash_seconds=0, force=True)
        compact(movie)
        assert check_movie(movie).ok
        movie.close()
        store.rebuild("by-hand")
        with store.examine("by-hand") as examined:
            assert check_movie(examined).ok
        check_invariants(store.movie("by-hand"))
        print(os.listdir(sys.argv[1]) + os.listdir(sys.argv[2]))
        movie = store.create_movie("by-runs")
        set_inputs(movie, {"@blueprint": BLUEPRINT, "segments": SEGMENTS})
        assert asyncio.run(run_movie(movie, produce=Studio())).status == "published"
        edit_artefact(movie, "say[0].audio", b"RIFF\\x0c\\0\\0\\0WAVEby hand")
        assert asyncio.run(run_movie(movie, produce=Studio())).status == "published"
        check_invariants(movie)
        files = [len(found) for _, _, found in os.walk(sys.argv[1])]
        print(sorted(set(files)), os.listdir(sys.argv[2]))
"""


def test_everything_works_without_a_file(tmp_path: Path) -> None:
    """But the folders that producers work in, which are made with the first call and go with the process."""
    temporary, here = tmp_path / "temporary", tmp_path / "here"
    temporary.mkdir()
    here.mkdir()
    ended = children.run(EVERYTHING, temporary, here)
    assert ended.code == 0, ended.err
    without_calls, after_calls = ended.out.splitlines()
    assert without_calls == "[]"
    assert after_calls == "[0] []", "folders without files"
    assert sorted(tmp_path.rglob("*")) == [here, temporary]


NAMES = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=4).map("/".join)
CHANGES = st.lists(st.tuples(st.sampled_from(["create", "replace", "delete", "move"]), NAMES, NAMES), max_size=40)


@given(changes=CHANGES)
def test_folders_are_what_the_names_of_objects_make_them(changes: list[tuple[str, str, str]]) -> None:
    """After any changes: nothing is listed twice or left out, and a folder is there while it holds something."""
    driver, model = MemoryDriver(Objects("law")), dict[str, bytes]()
    for number, (action, name, target) in enumerate(changes):
        data = b"%d" % number
        with suppress(StoreUnavailableError):  # an object where a folder is, or the other way round
            match action:
                case "create" if driver.create(name, data):
                    model[name] = data
                case "replace":
                    driver.replace(name, data)
                    model[name] = data
                case "delete":
                    driver.delete(name)
                    model.pop(name, None)
                case "move" if driver.move(name, target):
                    model[target] = model.pop(name)
        assert not any(f"{name}/" == other[: len(name) + 1] for name in model for other in model)
    assert {found.name: driver.read(found.name) for found in driver.list("")} == model
    folders = {""} | {name[: end + 1] for name in model for end, letter in enumerate(name) if letter == "/"}
    for folder in folders:
        below = [name.removeprefix(folder) for name in model if name.startswith(folder)]
        children = sorted(driver.children(folder))
        assert children == sorted({first + slash for first, slash, _ in (name.partition("/") for name in below)})
        assert {found.name for found in driver.list(folder)} == {f"{folder}{name}" for name in below}
    assert list(driver.children("d/")) == []
