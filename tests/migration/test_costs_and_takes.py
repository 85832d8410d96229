"""What an old movie had paid for: every dollar is told once, and every result is a take that can be had again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from renku_store import Movie, Store, collect, forget_memory, list_takes, migrate, movie_stats, open_store, take_value
from renku_store.testing.invariants import check_invariants
from tests.cli.conftest import program
from tests.migration.checking import STAMP, Old

OUTPUTS = ["music", "image_0", "image_1", "upscaled/0"]
JOBS = st.lists(
    st.fixed_dictionaries(
        {
            "status": st.sampled_from(["succeeded", "failed", "running", None]),
            "outputs": st.lists(st.sampled_from(OUTPUTS), max_size=3),
            "cost": st.sampled_from([0.5, 0.25, 0, 3, "0.50", " 1.25 ", "$2", "1e-1", None]),
            "rev": st.sampled_from([None, 0, 1, 9, "1"]),
            "jobId": st.sampled_from(["one", "two"]),
            "minute": st.integers(0, 59),
        }
    ),
    max_size=6,
)
LINES = st.lists(st.tuples(st.sampled_from(OUTPUTS[:3]), st.booleans(), st.integers(0, 2)), max_size=6)


def spent(movie: Movie) -> float:
    """US dollars, as the movie says."""
    return movie_stats(movie).cost.spent


def amount(cost: float | str | None) -> float:
    """What a record says that a job took."""
    return float(cost.strip().removeprefix("$")) if isinstance(cost, str) else float(cost or 0)


@settings(max_examples=max(20, settings.default.max_examples // 3))
@given(JOBS, LINES)
def test_the_sum_of_all_records_is_what_was_spent(jobs: list[dict[str, Any]], lines: list[tuple[Any, ...]]) -> None:
    """Whatever they are about, however they ended, and in whatever order: no record is forgotten, none counts twice."""
    with TemporaryDirectory() as name, open_store("memory://costs") as store:
        old = Old(Path(name) / "film")
        for at, (artefact, succeeded, rev) in enumerate(lines):
            old.put(f"assets/rev{rev}/{artefact}-{at}.bin", b"%d" % (at % 3))
            path = f"assets/rev{rev}/{artefact}-{at}.bin" if succeeded else None
            old.artefact(artefact, rev, path, status="succeeded" if succeeded else "failed")
        for rev in (0, 1):
            old.snapshot(rev, *{line[0] for line in lines if line[1] and line[2] <= rev})
        for at, job in enumerate(jobs):
            when = f"2025-10-26T09:{job['minute']:02d}:00Z"
            old.write(f"dag/jobs/j{at}.json", {"producer": "maker", "completed_at": when, **job})
        try:
            (report,) = migrate(old.path, store).movies
            assert (report.problem, report.notes) == (None, [])
            assert spent(store.movie("film")) == pytest.approx(sum(amount(job["cost"]) for job in jobs))
            check_invariants(store.movie("film"))
        finally:
            forget_memory("memory://costs")


@pytest.mark.parametrize("cost", ["free", -1, [1], "1.2.3", True])
def test_a_cost_that_is_none_is_told_of(cost: Any, old: Old, store: Store) -> None:
    """It cannot be added up, and nothing else is lost for it."""
    old.artefact("text", 0, content="words")
    old.snapshot(0, "text")
    old.write("dag/jobs/j1.json", {"jobId": "j1", "status": "succeeded", "outputs": ["text"], "cost": cost})
    (report,) = migrate(old.path, store).movies
    assert report.whole
    assert [note.startswith("The cost of the job j1 is no amount") for note in report.notes] == [True]


def folder_with_takes(old: Old) -> None:
    """An image that was made three times in one revision, beside its thumbnail, which was made once."""
    old.write(
        "dag/producers.json", {"producers": [{"id": "maker", "inputs": ["topic"], "outputs": ["image", "small"]}]}
    )
    old.input("topic", 0, "war")
    for at in (1, 2, 3):
        old.put(f"assets/rev0/{at}.png", b"take %d " % at * 9)
        old.artefact("image", 0, f"assets/rev0/{at}.png", created_at=f"2025-10-26T09:0{at}:00Z")
        old.write(f"dag/jobs/j{at}.json", {"jobId": f"j{at}", "status": "succeeded", "outputs": ["image"], "rev": 0,
                                           "cost": at, "completed_at": f"2025-10-26T09:0{at}:00Z"})  # fmt: skip
    old.put("assets/rev0/small.png", b"small")
    old.artefact("small", 0, "assets/rev0/small.png")
    old.snapshot(0, "image", "small", inputs=("topic",))


def logs_with_takes(old: Old) -> None:
    """The same in the layout of the first manifests."""
    lines = []
    for at in (1, 2, 3):
        data = b"take %d " % at * 9
        digest = hashlib.sha256(data).hexdigest()
        old.put(f"blobs/{digest[:2]}/{digest}.png", data)
        blob = {"hash": digest, "size": len(data), "mimeType": "image/png"}
        lines.append({"artefactId": "image", "revision": "rev-0001", "output": {"blob": blob}, "status": "succeeded",
                      "producedBy": "maker", "diagnostics": {"cost": str(at)},
                      "createdAt": f"2025-10-26T09:0{at}:00Z"})  # fmt: skip
    (old.path / "dag/producers.json").unlink()
    (old.path / "dag").rmdir()
    old.put("events/artefacts.log", "".join(json.dumps(line) + "\n" for line in lines).encode())
    held = {"hash": lines[-1]["output"]["blob"]["hash"], "blob": lines[-1]["output"]["blob"], "producedBy": "maker"}
    old.write("manifests/rev-0001.json", {"revision": "rev-0001", "createdAt": STAMP, "artefacts": {"image": held}})


@pytest.mark.parametrize("make", [folder_with_takes, logs_with_takes])
def test_takes_come_over_and_can_be_used(make: Callable[[Old], None], old: Old, tmp_path: Path) -> None:
    """They are listed, read, kept by a collection, found again by a rebuild, and chosen for nothing."""
    make(old)

    def call(*arguments: str) -> str:
        done = program("--root", str(tmp_path / "root"), "--movie", "film", *arguments, cwd=tmp_path)
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        return done.stdout

    def check() -> None:
        takes = json.loads(call("takes", "image", "--json"))
        takes = takes if isinstance(takes, list) else takes["takes"]
        assert [(take["take"], take["usable"], take["cost"]) for take in takes] == [
            (3, True, 3), (2, True, 2), (1, True, 1),
        ]  # fmt: skip
        for at in (1, 2, 3):
            assert call("cat", "image", "--take", str(at)) == f"take {at} " * 9

    call("migrate", str(old.path))
    check()
    call("gc", "--grace", "0h")
    call("fsck")
    check()
    call("rebuild")
    call("gc", "--grace", "0h")
    call("fsck")
    check()
    for path in (tmp_path / "root" / "film").glob("metadata.db*"):
        path.unlink()
    check()
    call("takes", "image", "--use", "1")
    call("run")
    assert call("cat", "image") == "take 1 " * 9
    assert json.loads(call("stats", "--json"))["cost"]["spent"] == 6
    with open_store(tmp_path / "root") as store:
        check_invariants(store.movie("film"))
        assert len(list(store.movie("film").manifests.revisions())) == 2
        assert store.movie("film").manifests.load_current()[0].artefacts.keys() >= {"image"}


def test_takes_of_what_was_made_after_the_newest_revision_stay(old: Old, store: Store) -> None:
    """They belong to no revision, and were paid for all the same."""
    old.put("assets/rev0/a.png", b"old")
    old.put("assets/rev1/a.png", b"new")
    old.artefact("image", 0, "assets/rev0/a.png")
    old.snapshot(0, "image")
    old.artefact("image", 1, "assets/rev1/a.png")
    old.write("dag/jobs/j.json", {"jobId": "j", "status": "succeeded", "outputs": ["image"], "rev": 1, "cost": 2})
    (report,) = migrate(old.path, store).movies
    assert report.whole
    movie = store.movie("film")
    collect(movie, grace_seconds=0)
    assert {movie.read(take_value(movie, "image", take.take)) for take in list_takes(movie, "image")} == {
        b"old", b"new",
    }  # fmt: skip
    assert spent(movie) == 2
