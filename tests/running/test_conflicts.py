"""Several runs of one movie at once: who publishes what, and that nothing is paid for twice."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from renku_store import (
    Choices,
    DamageError,
    ExecutionPlan,
    InputConflictError,
    Json,
    ManifestConflictError,
    Movie,
    RunProgress,
    RunReport,
    Store,
    compact,
    movie_status,
    open_store,
    plan_movie,
    rollback,
    run_movie,
    set_inputs,
)
from renku_store.archives import archive_path
from renku_store.records.run import LeaseToken
from tests.running.conftest import SEGMENTS, Studio


def run(movie: Movie, studio: Studio, **more: object) -> RunReport:
    return asyncio.run(run_movie(movie, produce=studio, **more))  # type: ignore[arg-type]


def run_overtaken(
    movie: Movie, studio: Studio, *, ours: Mapping[str, Json], theirs: Mapping[str, Json], **more: Any
) -> RunReport:
    """Run with private inputs; when all is made, another store, as another process would, publishes with its own."""
    overtaken = False

    def overtake() -> None:
        with open_store(movie.root) as other:
            asyncio.run(run_movie(other.movie(movie.id), produce=studio, inputs=theirs))

    def listen(event: RunProgress) -> None:
        nonlocal overtaken
        if event.job == "film" and event.event == "job-finished" and not overtaken:
            overtaken = True
            thread = threading.Thread(target=overtake)
            thread.start()
            thread.join()

    return run(movie, studio, inputs=ours, on_event=listen, **more)


def changed(place: int, text: str) -> Json:
    return [{**segment, "text": text} if index == place else segment for index, segment in enumerate(SEGMENTS)]


def test_a_run_that_was_overtaken_plans_again_on_the_other_revision(movie: Movie, studio: Studio) -> None:
    """Both edits are in the last revision, on one chain, and no signature was made twice."""
    run(movie, studio)
    studio.calls.clear()
    report = run_overtaken(movie, studio, ours={"voice": "fr"}, theirs={"segments": changed(0, "new")})
    assert (report.status, report.revision) == ("published", "rev-0003")
    last, other, _ = [manifest for manifest, _ in movie.manifests.revisions()]
    assert (last.inputs["voice"].value, last.inputs["segments"].hash) == ("fr", other.inputs["segments"].hash)
    assert "voice" not in other.inputs
    assert last.base_revision == "rev-0002"
    # Ours, theirs, and both together, each made once: what had been made before the rebase was not made again.
    assert dict(studio.calls) == {
        "say[0]": 3, "say[1]": 1, "say[2]": 1, "length[0]": 3, "length[1]": 1, "length[2]": 1, "film": 3
    }  # fmt: skip
    assert (report.made, report.reused) == (10, 0)
    assert movie_status(movie).runs == []


def test_two_different_values_of_one_input_are_a_conflict_that_names_both(movie: Movie, studio: Studio) -> None:
    """Nobody can say which is meant: one revision, one error, and what was made for it is still there."""
    run(movie, studio)
    with pytest.raises(InputConflictError, match="voice") as caught:
        run_overtaken(movie, studio, ours={"voice": "fr"}, theirs={"voice": "de"})
    assert caught.value.values == {"voice": ("de", "fr")}
    assert movie.manifests.load("latest").inputs["voice"].value == "de"
    assert movie.manifests.resolve("latest") == "rev-0002"
    assert movie_status(movie).runs == []
    studio.calls.clear()
    assert run(movie, studio, inputs={"voice": "fr"}).status == "published"
    assert not studio.calls, "what the losing run had made is reused"


def test_the_same_value_twice_is_no_conflict(movie: Movie, studio: Studio) -> None:
    """Two people who mean the same agree; there is nothing left to publish."""
    run(movie, studio)
    report = run_overtaken(movie, studio, ours={"voice": "fr"}, theirs={"voice": "fr"})
    assert (report.status, report.revision) == ("unchanged", "rev-0002")


def test_failing_on_conflict_leaves_a_run_that_goes_on(movie: Movie, studio: Studio) -> None:
    """As asked, the overtaken run stops with both hashes; the next run continues it on the new revision."""
    run(movie, studio)

    with pytest.raises(ManifestConflictError) as caught:
        run_overtaken(movie, studio, ours={"voice": "fr"}, theirs={"segments": changed(0, "new")}, on_conflict="fail")
    assert caught.value.expected != caught.value.actual
    report = run(movie, studio)
    assert (report.status, report.revision) == ("published", "rev-0003")
    assert movie.manifests.load("latest").inputs["voice"].value == "fr"


def test_an_edit_during_a_run_waits_for_the_next_one(movie: Movie, studio: Studio) -> None:
    """A run publishes the edits that it had seen when it planned, and takes no later one from its owner."""
    run(movie, studio)
    set_inputs(movie, {"voice": "fr"})
    studio.during = lambda job: set_inputs(movie, {"voice": "de"}) and None if job.job_id == "film" else None
    assert run(movie, studio).revision == "rev-0002"
    studio.during = lambda job: None
    assert movie.manifests.load("latest").inputs["voice"].value == "fr"
    assert [event.value for event in movie_status(movie).pending] == ["de"]
    assert run(movie, studio).revision == "rev-0003"
    assert movie.manifests.load("latest").inputs["voice"].value == "de"


COUNTING = """
import json, os, pathlib, sys
request = json.load(open("request.json"))
with open(os.environ["COUNT_FILE"], "a") as log:
    log.write(json.dumps([request["producer"], request["inputs"]], sort_keys=True) + "\\n")
pathlib.Path("outputs/text").write_text(json.dumps(request["inputs"], sort_keys=True))
"""
INPUTS = [f"i{number}" for number in range(10)]
MANY = (
    "inputs: {" + ", ".join(f"{name}: {{type: integer, default: 0}}" for name in INPUTS) + "}\nproducers:\n"
    + "".join(
        f"  p{name}: {{run: command, argv: [{sys.executable}, -c, {json.dumps(COUNTING)}], "
        f"inputs: {{value: {name}}}, outputs: {{text: {{mimeType: text/plain}}}}}}\n"
        for name in INPUTS
    )
)  # fmt: skip


def test_ten_processes_with_ten_edits_make_ten_revisions_and_every_result_once(store: Store, tmp_path: Path) -> None:
    """Each `run --inputs` changes another input, all at once: one chain, every edit in the last, no call made twice."""
    movie = store.create_movie("many")
    set_inputs(movie, {"@blueprint": MANY})
    count = tmp_path / "calls"
    environment = {**os.environ, "COUNT_FILE": str(count)}
    command = [sys.executable, "-m", "renku_cli", "--root", movie.root, "run", "--json"]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    processes = []
    for number, name in enumerate(INPUTS, 1):
        values = tmp_path / f"{name}.yaml"
        values.write_text(f"{name}: {number}\n")
        processes.append(
            subprocess.Popen(
                [*command, "--inputs", str(values)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
        )
    reports = []
    for process in processes:
        out, err = process.communicate(timeout=240)
        assert process.returncode == 0, err.decode()
        reports.append(json.loads(out))
    assert sorted(report["revision"] for report in reports) == [f"rev-{number:04d}" for number in range(2, 12)]
    history = list(movie.manifests.revisions())
    assert len(history) == 11
    final = {key: entry.value for key, entry in history[0][0].inputs.items() if key in INPUTS}
    assert final == {name: number for number, name in enumerate(INPUTS, 1)}
    calls = Counter(count.read_text().splitlines())
    assert len(calls) == 20
    assert set(calls.values()) == {1}


def test_of_two_plain_runs_that_want_an_unfinished_one_the_later_begins_its_own(movie: Movie, studio: Studio) -> None:
    """Whoever comes second finds it held, runs beside it, and pays for nothing that the other makes."""
    studio.broken = {"film"}
    failed = run(movie, studio)
    assert failed.status == "failed"
    studio.broken = set()
    others: list[RunReport] = []
    looks: list[str | None] = []

    def resume_elsewhere() -> None:
        with open_store(movie.root) as store:
            others.append(run(store.movie(movie.id), studio))

    def check(plan: ExecutionPlan) -> None:
        looks.append(plan.base_revision)
        if len(looks) == 1:
            thread = threading.Thread(target=resume_elsewhere)
            thread.start()
            thread.join()

    report = run(movie, studio, check=check)
    assert [(other.status, other.run) for other in others] == [("published", failed.run)]
    assert (report.status, report.revision, report.run) == ("unchanged", "rev-0001", None)
    assert looks == [None, "rev-0001"]
    assert studio.calls["film"] == 2
    assert all(count == 1 for job, count in studio.calls.items() if job != "film")


def test_an_unfinished_run_that_is_taken_up_under_our_eyes_is_left_to_its_holder(movie: Movie, studio: Studio) -> None:
    """It is being worked on: the second run is another one, ends well, and the first is not disturbed."""
    studio.broken = {"film"}
    failed = run(movie, studio)
    assert failed.run is not None
    studio.broken = set()
    tokens: list[LeaseToken] = []

    def check(plan: ExecutionPlan) -> None:
        if not tokens:
            tokens.append(movie.leases.take_over(failed.run or ""))

    report = run(movie, studio, check=check)
    assert (report.status, report.revision) == ("published", "rev-0001")
    assert report.run != failed.run
    movie.leases.check(tokens[0])
    assert [record.run for record in movie_status(movie).runs] == [failed.run]


def test_two_edits_one_after_the_other_are_no_conflict(movie: Movie, studio: Studio) -> None:
    """The second run took the later edit, which its author made knowing the earlier: the first run gives way."""
    run(movie, studio)
    set_inputs(movie, {"voice": "first"})
    overtaken = False

    def listen(event: RunProgress) -> None:
        nonlocal overtaken
        if event.job == "film" and event.event == "job-finished" and not overtaken:
            overtaken = True
            thread = threading.Thread(target=overtake)
            thread.start()
            thread.join()

    def overtake() -> None:
        with open_store(movie.root) as store:
            other = store.movie(movie.id)
            set_inputs(other, {"voice": "second"})
            # Choices of its own, so that it takes up no other run.
            asyncio.run(run_movie(other, produce=studio, choices=Choices(targets=["film"])))

    report = run(movie, studio, on_event=listen)
    assert (report.status, report.revision) == ("unchanged", "rev-0002")
    assert movie.manifests.load("latest").inputs["voice"].value == "second"


@pytest.mark.parametrize("how", ["an edit", "a run's own", "a rollback"])
def test_an_unfinished_run_does_not_overrule_what_was_published_since(movie: Movie, studio: Studio, how: str) -> None:
    """A plain run leaves it where it is and says why; with its inputs given once more it goes on, and pays once."""
    set_inputs(movie, {"voice": "it"})
    run(movie, studio)
    if how == "a rollback":
        run(movie, studio, inputs={"voice": "de"})
    studio.broken = {"film"}
    assert run(movie, studio, inputs={"voice": "fr"}).status == "failed"
    studio.broken = set()
    match how:
        case "an edit":
            set_inputs(movie, {"voice": "de"})
            run(movie, studio, inputs={"segments": SEGMENTS[:2]})
        case "a run's own":
            run(movie, studio, inputs={"voice": "de"})
        case _:
            rollback(movie, "1")
    there = "it" if how == "a rollback" else "de"
    (unfinished,) = movie_status(movie).runs
    warnings = plan_movie(movie).warnings
    assert any(f'voice is "{there}" there and "fr" in the run' in warning for warning in warnings), warnings
    assert run(movie, studio).status == "unchanged"
    assert movie.manifests.load("latest").inputs["voice"].value == there
    assert [record.run for record in movie_status(movie).runs] == [unfinished.run]
    studio.calls.clear()
    report = run(movie, studio, inputs={"voice": "fr"})
    assert (report.run, report.status, "film" in studio.calls) == (unfinished.run, "published", True)
    assert movie.manifests.load("latest").inputs["voice"].value == "fr"


def test_an_unfinished_run_goes_on_where_others_changed_something_else(movie: Movie, studio: Studio) -> None:
    """Or have the same value by now."""
    run(movie, studio)
    studio.broken = {"film"}
    first = run(movie, studio, inputs={"voice": "fr"})
    studio.broken = set()
    run(movie, studio, inputs={"segments": SEGMENTS[:2], "voice": "fr"})
    assert plan_movie(movie).run == first.run
    assert run(movie, studio).run == first.run


def test_a_damaged_archive_does_not_keep_the_next_run_from_beginning(movie: Movie, studio: Studio) -> None:
    """Which edits the unfinished run had seen cannot be read any more: it counts as overtaken, and a run goes on."""
    set_inputs(movie, {"voice": "it"})
    run(movie, studio)
    old = movie.manifests.load("latest").run
    run(movie, studio, inputs={"voice": "de"})
    studio.broken = {"film"}
    assert run(movie, studio, inputs={"voice": "fr"}).status == "failed"
    studio.broken = set()
    rollback(movie, "1")
    assert compact(movie).rows > 0
    archive = Path(movie.root, movie.id, archive_path(old))
    archive.write_bytes(archive.read_bytes()[:-1] + b"x")
    with pytest.raises(DamageError):
        list(movie.events.stream_inputs())
    assert any('voice is "it" there and "fr" in the run' in warning for warning in plan_movie(movie).warnings)
    assert run(movie, studio).status == "unchanged"
    assert movie.manifests.load("latest").inputs["voice"].value == "it"
