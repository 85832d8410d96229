"""Loops over lists that jobs make: deferred in the plan, expanded by the run, complete in the next plan."""

from __future__ import annotations

import asyncio
import json

import pytest

from renku_store import (
    Choices,
    InvalidValueError,
    Job,
    Movie,
    RunProgress,
    Store,
    abandon,
    edit_artefact,
    plan_movie,
    run_movie,
    set_inputs,
)
from tests.running.dynamic import BLUEPRINT, Writers, artefacts, deferred, run, segment, told, topic

TWO = topic(segment("a", "sun"), segment("bc"))


@pytest.fixture
def writers() -> Writers:
    return Writers()


@pytest.fixture
def movie(store: Store) -> Movie:
    movie = store.create_movie("dynamic")
    set_inputs(movie, {"@blueprint": BLUEPRINT, "topic": TWO})
    return movie


@pytest.fixture
def made(movie: Movie, writers: Writers) -> Movie:
    """The movie with its first revision."""
    assert run(movie, writers).status == "published"
    return movie


def test_what_depends_on_a_list_that_is_not_made_is_deferred(movie: Movie) -> None:
    """Placeholders say whose list they wait for; the document keeps its shape."""
    plan = plan_movie(movie)
    assert plan.layers == [["script"], ["say[*]", "board[*]", "draw[*][*]"], ["clip[*][*]"], ["film"]]
    assert {job: entry.state for job, entry in plan.jobs.items()} == {"script": "dirty"} | dict.fromkeys(
        ["say[*]", "board[*]", "clip[*][*]", "draw[*][*]", "film"], "deferred"
    )
    assert [(reason.kind, reason.subject) for reason in plan.jobs["say[*]"].reasons] == [("upstream", "script")]
    assert [(reason.kind, reason.subject) for reason in plan.jobs["film"].reasons] == [
        ("upstream", job) for job in ("say[*]", "clip[*][*]", "draw[*][*]", "board[*]")
    ]
    assert all(entry.signature is None for job, entry in plan.jobs.items() if job != "script")


def test_a_run_expands_what_it_makes_and_the_next_plan_is_complete(movie: Movie, writers: Writers) -> None:
    """Every job is called once, inner lists included; the manifest has the expanded graph; nothing is left to do."""
    events: list[RunProgress] = []
    report = run(movie, writers, on_event=events.append)
    jobs = ["script", "say[0]", "say[1]", "board[0]", "board[1]", "clip[0][0]", "clip[1][0]", "clip[1][1]"]
    assert dict(writers.calls) == dict.fromkeys([*jobs, "draw[0][0]", "film"], 1)
    assert (report.status, report.made, report.jobs.keys()) == ("published", 10, writers.calls.keys())
    graph = json.loads(movie.blobs.read(movie.manifests.load("latest").graph or ""))
    assert {node["jobId"] for node in graph["nodes"]} == writers.calls.keys()
    assert '"awaits"' not in json.dumps(graph)
    plan = plan_movie(movie)
    assert (plan.layers, plan.graph_hash) == ([], movie.manifests.load("latest").graph)
    assert run(movie, writers).status == "unchanged"
    extensions = told(events, "run-extended")
    assert sorted(extensions[0]["instead"]) == ["board[*]", "clip[*][*]", "draw[*][*]", "say[*]"]
    new = {job: layer for data in extensions for job, layer in data["jobs"].items() if "*" not in job}
    assert new == {job: entry.layer for job, entry in plan.jobs.items() if job not in {"script", "film"}}


def test_a_script_that_says_the_same_of_a_segment_stops_there(made: Movie, writers: Writers) -> None:
    """Early cutoff for each element; the plan tells how many jobs a placeholder stood for."""
    set_inputs(made, {"topic": topic(segment("a", "sun"), segment("xy"), title="new")})
    plan = plan_movie(made)
    assert {job: entry.jobs_before for job, entry in plan.jobs.items() if entry.jobs_before} == {
        "say[*]": 2,
        "board[*]": 2,
        "clip[*][*]": 3,
        "draw[*][*]": 1,
    }
    report = run(made, writers)
    assert writers.calls.keys() == {"script", "say[1]", "board[1]", "clip[1][0]", "clip[1][1]", "film"}
    assert report.jobs["say[0]"].status == report.jobs["clip[0][0]"].status == "clean"
    assert deferred(made) == []


def test_the_same_list_from_another_script_makes_nothing_else(made: Movie, writers: Writers) -> None:
    """The list is expanded, and every one of its jobs is clean."""
    set_inputs(made, {"topic": {**TWO, "title": "another"}})
    run(made, writers)
    assert dict(writers.calls) == {"script": 1}
    set_inputs(made, {"voice": "de"})
    assert deferred(made) == []
    run(made, writers)
    assert writers.calls.keys() == {"say[0]", "say[1]", "clip[0][0]", "clip[1][0]", "clip[1][1]", "film"}


def test_artefacts_of_elements_that_are_gone_leave_the_manifest(made: Movie, writers: Writers) -> None:
    """A shorter list; and what it had is there again at no cost when it comes back."""
    set_inputs(made, {"topic": topic(segment("a", "sun"))})
    run(made, writers)
    assert writers.calls.keys() == {"script", "film"}
    assert artefacts(made, "say") == ["say[0].audio"]
    assert artefacts(made, "clip") == ["clip[0][0].video"]
    set_inputs(made, {"topic": TWO})
    assert run(made, writers).status == "published"
    assert dict(writers.calls) == {}
    assert artefacts(made, "say") == ["say[0].audio", "say[1].audio"]


def test_an_empty_list_has_no_jobs(movie: Movie, writers: Writers) -> None:
    """What gathers them is made of nothing."""
    set_inputs(movie, {"topic": topic()})
    assert run(movie, writers).status == "published"
    assert writers.calls.keys() == {"script", "film"}
    assert deferred(movie) == []


def test_a_condition_and_overrides_are_decided_for_each_element(movie: Movie, writers: Writers) -> None:
    """By the element's own content, and by its place."""
    silent = topic(segment("a"), segment("bc", silent=True))
    text = BLUEPRINT + 'overrides: {"say[1]": {config: {speed: 2}}, "say[5]": {config: {speed: 3}}}\n'
    set_inputs(movie, {"@blueprint": text, "topic": silent})
    assert plan_movie(movie).warnings == []
    speeds: dict[str, object] = {}
    writers.during = lambda job: speeds.update({job.job_id: job.config.get("speed")})
    run(movie, writers)
    assert (speeds["say[0]"], speeds["say[1]"]) == (None, 2)
    assert [job for job in writers.calls if job.startswith(("board", "clip"))] == ["board[0]", "clip[0][0]"]
    assert plan_movie(movie).warnings == [
        "The blueprint overrides say[5], which is not there: Did you mean say[1], say[0]?"
    ]


def test_other_jobs_go_on_while_a_list_is_expanded(movie: Movie, writers: Writers) -> None:
    """One outer element's inner list is expanded and made while another's storyboard is still under way."""
    order: list[str] = []

    async def scenario() -> None:
        writers.holds = {"board[1]": asyncio.Event()}

        def during(job: Job) -> None:
            order.append(job.job_id)
            if job.job_id == "clip[0][0]":
                writers.holds["board[1]"].set()

        writers.during = during
        assert (await run_movie(movie, produce=writers)).status == "published"

    asyncio.run(asyncio.wait_for(scenario(), 30))
    assert order.index("clip[0][0]") < order.index("board[1]") < order.index("clip[1][0]")


def test_the_failure_of_a_maker_fails_what_waits_for_its_list(made: Movie, writers: Writers) -> None:
    """As upstream failed, and nobody else: of two storyboards the other one's shots are made."""
    writers.broken = {"script"}
    set_inputs(made, {"topic": topic(segment("new"))})
    report = run(made, writers)
    assert report.status == "failed"
    assert {job: result.status for job, result in report.jobs.items()} == {"script": "failed"} | dict.fromkeys(
        ["say[*]", "board[*]", "clip[*][*]", "draw[*][*]", "film"], "upstream failed"
    )
    writers.broken = {"board[0]"}
    set_inputs(made, {"topic": topic(segment("p"), segment("qr"))})
    report = run(made, writers)
    assert {job for job, result in report.jobs.items() if result.status == "upstream failed"} == {"clip[0][*]", "film"}
    assert report.jobs["clip[1][1]"].status == "made"
    writers.broken = set()
    assert run(made, writers).status == "published"
    assert writers.calls.keys() == {"board[0]", "clip[0][0]", "film"}


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        ('{"segments": 3}', "runs over script.out.segments, which must be a list, not the number 3."),
        ('{"chapters": []}', "which is not in script.out."),
    ],
)
def test_a_list_that_is_none_is_the_failure_of_what_waits_for_it(
    movie: Movie, writers: Writers, script: str, problem: str
) -> None:
    """Told in a sentence; the next plain run asks nobody anew, another take of the script mends it."""
    writers.script = script
    report = run(movie, writers)
    assert report.status == "failed"
    assert {job for job, result in report.jobs.items() if result.status == "failed"} == {
        "say[*]",
        "board[*]",
        "draw[*][*]",
    }
    error = report.jobs["say[*]"].error
    assert error is not None
    assert problem in error.message
    assert run(movie, writers).status == "failed"
    assert dict(writers.calls) == {}
    again = Choices(regen=["script"])
    assert run(movie, writers, choices=again).status == "failed"
    assert dict(writers.calls) == {"script": 1}
    writers.script = None
    assert run(movie, writers, choices=again).status == "published"
    assert writers.calls["script"] == 1
    assert deferred(movie) == []


def test_another_take_of_an_inner_list_that_is_none_is_made_again(made: Movie, writers: Writers) -> None:
    """Who asks for another storyboard is not given the one back of which nothing can be made."""
    again = Choices(regen=["board[0]"])
    writers.board = "no list"
    assert run(made, writers, choices=again).status == "failed"
    writers.board = '{"shots": ["x", "y"]}'
    assert run(made, writers, choices=again).status == "published"
    assert writers.calls.keys() == {"board[0]", "clip[0][0]", "clip[0][1]", "film"}


def test_a_choice_may_name_what_is_there_only_after_the_run_has_begun(made: Movie, writers: Writers) -> None:
    """Targets, another take, and what to keep."""
    set_inputs(made, {"topic": topic(segment("a", "sun"), segment("xy"))})
    one = Choices(targets=["clip[1][0].video"])
    assert deferred(made, one) == ["say[*]", "board[*]", "clip[*][*]"]
    report = run(made, writers, choices=one)
    assert writers.calls.keys() == {"script", "say[1]", "board[1]", "clip[1][0]"}
    assert (report.status, report.jobs["film"].status) == ("published", "skipped")
    assert run(made, writers).status == "published"
    assert writers.calls.keys() == {"clip[1][1]", "film"}
    set_inputs(made, {"topic": topic(segment("pq", "sun"), segment("rs"))})
    run(made, writers, choices=Choices(pin=["say[0]"], regen=["draw[0][0]"]))
    assert "say[0]" not in writers.calls
    assert (writers.calls["say[1]"], writers.calls["draw[0][0]"]) == (1, 1)
    assert made.artefact("say[0].audio").outdated


def test_a_choice_that_names_nothing_after_all_is_told_and_stops_nobody(made: Movie, writers: Writers) -> None:
    """A target makes nothing else, what is new cannot be kept; the next run is free."""
    set_inputs(made, {"topic": topic(segment("xy"))})
    run(made, writers, choices=Choices(targets=["say[7]"]))
    assert dict(writers.calls) == {"script": 1}
    set_inputs(made, {"topic": topic(segment("xy"), segment("z"), segment("n"))})
    events: list[RunProgress] = []
    report = run(made, writers, choices=Choices(pin=["say"]), on_event=events.append)
    assert report.status == "published"
    assert {job for job in writers.calls if job.startswith("say")} == {"say[1]", "say[2]"}
    warnings = [warning for data in told(events, "run-extended") for warning in data.get("warnings", [])]
    assert warnings == [f"say[{place}] cannot be kept as it is, for it is new; it is made." for place in (1, 2)]


def test_layers_end_where_they_would_have_been(made: Movie, writers: Writers) -> None:
    """The expansion counts, what is deeper keeps its older values, and what is gone is gone."""
    set_inputs(made, {"topic": topic(segment("xy"))})
    run(made, writers, choices=Choices(up_to_layer=0))
    assert dict(writers.calls) == {"script": 1}
    assert artefacts(made, "say") == ["say[0].audio"]
    assert made.artefact("say[0].audio").outdated
    run(made, writers, choices=Choices(up_to_layer=1))
    assert writers.calls.keys() == {"say[0]", "board[0]"}
    assert run(made, writers).status == "published"
    assert deferred(made) == []


def test_a_partial_revision_keeps_the_older_elements(made: Movie, writers: Writers) -> None:
    """The list could not be made anew: what it had stays, marked, and the next run makes all of it."""
    before = made.manifests.load("latest").artefacts
    set_inputs(made, {"topic": topic(segment("xy")), "voice": "de"})
    writers.broken = {"script"}
    run(made, writers, allow_partial=True)
    after = made.manifests.load("latest").artefacts
    assert {key: entry.hash for key, entry in after.items()} == {key: entry.hash for key, entry in before.items()}
    writers.broken = set()
    assert run(made, writers).status == "published"
    assert artefacts(made, "say") == ["say[0].audio"]
    assert not [key for key, entry in made.manifests.load("latest").artefacts.items() if entry.outdated]


def test_keys_keep_jobs_where_they_are(store: Store, writers: Writers) -> None:
    """An element that is inserted renames nobody: only it is made, and what gathers them all."""
    movie = store.create_movie("keyed")
    keyed = BLUEPRINT.replace("over: script.out.segments}", "over: script.out.segments, key: id}")
    elements = [segment("a", id="intro"), segment("bc", id="end")]
    set_inputs(movie, {"@blueprint": keyed, "topic": topic(*elements)})
    run(movie, writers)
    assert artefacts(movie, "say") == ["say[end].audio", "say[intro].audio"]
    set_inputs(movie, {"topic": topic(segment("new", id="first"), *elements)})
    run(movie, writers)
    shots = {f"clip[first][{shot}]" for shot in range(3)}
    assert writers.calls.keys() == {"script", "say[first]", "board[first]", *shots, "film"}


def test_a_list_may_come_from_a_job_of_another_list(store: Store, writers: Writers) -> None:
    """Dynamic loops one after the other, and `when` on an artefact between them."""
    movie = store.create_movie("chain")
    text = """
inputs: {topic: {required: true}}
loops: {one: {over: script.out.segments}, two: {over: "board[0].out.shots"}}
producers:
  script: {run: test/script, inputs: {topic: topic}, outputs: {out: {mimeType: application/json}}}
  board:
    for: one
    run: test/board
    inputs: {text: "script.out.segments[one].text"}
    outputs: {out: {mimeType: application/json}}
  last:
    for: two
    when: "'1' in board[0].out.shots[two]"
    run: test/last
    inputs: {shot: "board[0].out.shots[two]", all: "board[*].out"}
    outputs: {o: {mimeType: text/plain}}
"""
    set_inputs(movie, {"@blueprint": text, "topic": topic(segment("abc"), segment("d"))})
    assert run(movie, writers).status == "published"
    assert writers.calls.keys() == {"script", "board[0]", "board[1]", "last[1]"}
    assert deferred(movie) == []
    set_inputs(movie, {"topic": topic()})
    assert run(movie, writers).status == "failed"
    abandon(movie, plan_movie(movie).run or "")


def test_a_persons_version_of_the_list_counts_at_once(made: Movie, writers: Writers) -> None:
    """It is final before anything runs: the plan is complete though the script's inputs have changed."""
    content = json.dumps(topic(segment("mine")))
    set_inputs(made, {"topic": topic(segment("theirs"))})
    edit_artefact(made, "script.out", content.encode())
    assert deferred(made) == ["clip[0][*]", "film"]
    run(made, writers)
    assert "script" not in writers.calls
    assert artefacts(made, "say") == ["say[0].audio"]
    assert made.read(made.artefact("say[0].audio")).decode() == "audio of say(text=mine, voice=en)"


def test_a_persons_version_of_an_element_stands_whatever_the_list_says(made: Movie, writers: Writers) -> None:
    """It can be given for a job that a list asked for, and stays while that is deferred and made anew."""
    edit_artefact(made, "say[1].audio", b"RIFF\0\0\0\0WAVE, my own")
    set_inputs(made, {"topic": topic(segment("pq"), segment("rs"))})
    assert "say[*]" in deferred(made)
    run(made, writers)
    assert (writers.calls["say[0]"], writers.calls["say[1]"]) == (1, 0)
    assert made.read(made.artefact("say[1].audio")) == b"RIFF\0\0\0\0WAVE, my own"
    assert b"WAVE, my own" in made.read(made.artefact("clip[1][0].video"))


def test_a_persons_list_counts_though_its_job_runs_for_another_output(store: Store, writers: Writers) -> None:
    """What comes of it stays in the plan while lists of other jobs are expanded."""
    movie = store.create_movie("two-outputs")
    text = BLUEPRINT.replace(
        "inputs: {topic: topic}\n    outputs: {out:",
        "inputs: {topic: topic}\n    outputs: {log: {mimeType: text/plain}, out:",
    )
    set_inputs(movie, {"@blueprint": text, "topic": TWO})
    run(movie, writers)
    edit_artefact(movie, "script.out", json.dumps(topic(segment("mine"), segment("own"))).encode())
    set_inputs(movie, {"topic": topic(segment("theirs"))})
    assert run(movie, writers).status == "published"
    assert {"script", "say[0]", "say[1]", "clip[0][3]", "clip[1][2]"} <= writers.calls.keys()
    assert len(artefacts(movie, "clip")) == 7


def test_a_list_that_asks_for_what_cannot_be_does_not_lock_the_movie(store: Store, writers: Writers) -> None:
    """Published with its older parts: the plan says what is wrong, and another script mends it."""
    movie = store.create_movie("chain")
    text = """
inputs: {topic: {required: true}}
loops: {one: {over: script.out.segments}, two: {over: "board[0].out.shots"}}
producers:
  script: {run: test/script, inputs: {topic: topic}, outputs: {out: {mimeType: application/json}}}
  board:
    for: one
    run: test/board
    inputs: {text: "script.out.segments[one].text"}
    outputs: {out: {mimeType: application/json}}
  last: {for: two, run: test/last, inputs: {shot: "board[0].out.shots[two]"}, outputs: {o: {mimeType: text/plain}}}
"""
    set_inputs(movie, {"@blueprint": text, "topic": topic()})
    assert run(movie, writers, allow_partial=True).status == "partial"
    plan = plan_movie(movie)
    assert plan.jobs["script"].state == "clean"
    assert any("there is no job board[0]" in reason.detail for reason in plan.jobs["board[*]"].reasons)
    set_inputs(movie, {"topic": topic(segment("a"))})
    assert run(movie, writers).status == "published"
    assert artefacts(movie, "last") == ["last[0].o"]


def test_of_what_a_placeholder_stands_for_one_may_be_made_anew_and_another_kept(made: Movie, writers: Writers) -> None:
    """But not the same one twice, however it is named; the error has the name that was given."""
    set_inputs(made, {"topic": topic(segment("a", "sun"), segment("bc"), title="new")})
    both = Choices(regen=["say[0]", "draw"], pin=["say[1].audio"])
    assert "forced" in [reason.kind for reason in plan_movie(made, choices=both).jobs["say[*]"].reasons]
    assert run(made, writers, choices=both).status == "published"
    assert writers.calls.keys() == {"script", "say[0]", "draw[0][0]"}
    set_inputs(made, {"topic": topic(segment("a", "sun"), segment("bc"), title="newer")})
    for regen, pin, named in (
        ("say[1]", "say[1]", "say[1]"),
        ("say", "say[1].audio", "say[1].audio"),
        ("clip[1][0]", "clip", "clip[1][0]"),
        ("say[*]", "say[7]", "say[7]"),
    ):
        with pytest.raises(InvalidValueError) as caught:
            plan_movie(made, choices=Choices(regen=[regen], pin=[pin]))
        assert caught.value.message == f"{named} is to be made anew and kept as it is."


def test_another_take_of_what_a_persons_version_stands_for_is_a_warning_once_a_run_has_begun(
    made: Movie, writers: Writers
) -> None:
    """It was named when nobody knew whether it would be there; the rest is made."""
    edit_artefact(made, "board[0].out", b'{"shots": ["mine"]}')
    set_inputs(made, {"topic": topic(segment("a", "sun"), segment("xy"))})
    events: list[RunProgress] = []
    report = run(made, writers, choices=Choices(regen=["board[0]", "draw[0][0]"]), on_event=events.append)
    assert report.status == "published"
    assert ("board[0]" in writers.calls, writers.calls["draw[0][0]"], writers.calls["clip[0][0]"]) == (False, 1, 1)
    warnings = [warning for data in told(events, "run-extended") for warning in data.get("warnings", [])]
    assert "board[0] is not made anew: what it makes would lie under a person's version." in warnings
