"""What a producer hands over that cannot be: its own job fails with a sentence, and nobody else pays for that."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from copy import deepcopy
from json import dumps
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from renku_store import (
    ArtefactEvent,
    ArtefactValue,
    Choices,
    ConcurrencyLimiter,
    InvalidValueError,
    Job,
    JobContext,
    Json,
    Movie,
    Produced,
    ProducerError,
    ProducerRegistry,
    RateLimitedError,
    RetryPolicy,
    RunProgress,
    RunReport,
    ValueItem,
    accept_results,
    default_registry,
    edit_artefact,
    hash_bytes,
    movie_status,
    open_store,
    plan_movie,
    run_movie,
    set_inputs,
    with_retry,
    with_timeout,
)
from renku_store.bounds import JSON_CHECK_HERE_MAX_BYTES
from renku_store.hashing import canonical_json, parse_json

_BLUEPRINT = """
producers:
  good: {run: test/good@1, outputs: {text: {mimeType: text/plain}}}
  bad: {run: test/bad@1, outputs: {text: {mimeType: text/plain}}}
  after: {run: test/after@1, inputs: {text: bad.text}, outputs: {text: {mimeType: text/plain}}}
"""
Handler = Callable[[Job, JobContext], Produced]


class _NoText:
    """A value of which not even the text can be had."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


_NASTY = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.just(10**400),
    st.floats(),
    st.just(1e308),
    st.text(),
    st.just("\ud800"),
    st.just("x" * 5_000),
    st.binary(),
    st.just(_NoText()),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.one_of(st.integers(), st.text()), st.one_of(st.integers(), st.text()), max_size=2),
    st.just(Path("/nowhere")),
)


@pytest.fixture
def movie() -> Iterator[Movie]:
    with open_store(f"memory://{uuid4().hex}") as store:
        movie = store.create_movie("film")
        set_inputs(movie, {"@blueprint": _BLUEPRINT})
        yield movie


def _run(movie: Movie, bad: Handler, calls: Counter[str] | None = None) -> RunReport:
    """A run in which the job `bad` is this handler, as a registry calls it."""
    registry = ProducerRegistry()
    counted = Counter[str]() if calls is None else calls

    async def handle(job: Job, context: JobContext) -> Produced:
        counted[job.producer] += 1
        return bad(job, context) if job.producer == "bad" else Produced({"text": job.producer}, cost=0.5)

    for name in ("good", "bad", "after"):
        registry.register(f"test/{name}@1", handle)
    return asyncio.run(run_movie(movie, produce=registry))


def _raising(error: BaseException) -> Handler:
    def handler(job: Job, context: JobContext) -> Produced:
        raise error

    return handler


def _failure(report: RunReport, job: str = "bad") -> str:
    error = report.jobs[job].error
    assert error is not None
    return error.message


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (Produced({"text": "x"}, request_id=17), "request id"),  # type: ignore[arg-type]
        (Produced({"text": "x"}, request_id="\ud800"), "lone surrogate"),
        (Produced({"text": "x"}, cost=1e308), "from 0 to 1,000,000,000"),
        (Produced({"text": "x"}, cost=10**400), "from 0 to 1,000,000,000"),
        (Produced({"text": "x"}, cost="1"), "type str"),  # type: ignore[arg-type]
        (Produced({"text": "x"}, mime_types={"text": 5}), "type int, not text"),  # type: ignore[dict-item]
        (Produced({5: "x"}), "a name of type int"),  # type: ignore[dict-item]
        (Produced([]), "not a mapping"),  # type: ignore[arg-type]
        ({"text": "x"}, "type dict"),
        ("x", "type str"),
        (None, "type NoneType"),
    ],
)
def test_a_wrong_answer_is_named_and_costs_nobody_else_anything(movie: Movie, answer: object, told: str) -> None:
    """Its job fails with a sentence, as does what waits for it; what stands beside it is kept and paid once."""
    calls: Counter[str] = Counter()
    report = _run(movie, lambda job, context: answer, calls)  # type: ignore[arg-type, return-value]
    assert {job: result.status for job, result in report.jobs.items()} == {
        "good": "made",
        "bad": "failed",
        "after": "upstream failed",
    }
    assert told in _failure(report)
    assert (report.status, report.cost) == ("failed", 0.5)
    ended = _run(movie, lambda job, context: Produced({"text": "y"}), calls)
    assert (ended.status, calls["good"]) == ("published", 1)


@pytest.mark.parametrize(
    "error",
    [
        ProducerError(5),  # type: ignore[arg-type]
        ProducerError("no", diagnostics=b"\xff"),  # type: ignore[arg-type]
        ProducerError("no", cost="1"),  # type: ignore[arg-type]
        ProducerError("\ud800"),
        RuntimeError(_NoText()),
        RateLimitedError("later", retry_after="soon"),  # type: ignore[arg-type]
        SystemExit(3),
    ],
    ids=["message", "diagnostics", "cost", "surrogate", "no text", "pause", "exit"],
)
def test_whatever_a_handler_raises_is_its_jobs_failure(movie: Movie, error: BaseException) -> None:
    """Be its message no text, or be it the wish to exit: the job beside it is kept."""
    report = _run(movie, _raising(error))
    assert (report.jobs["bad"].status, report.jobs["good"].status) == ("failed", "made")
    assert _failure(report)


@settings(deadline=None, max_examples=40)
@given(_NASTY, _NASTY, _NASTY, _NASTY, _NASTY)
def test_no_answer_ends_a_run(outputs: object, types: object, cost: object, request: object, said: object) -> None:
    """Whatever stands in whichever place of an answer: the run ends by itself, and others are paid for once."""
    answer = Produced(outputs, types, cost, request, said)  # type: ignore[arg-type]
    calls: Counter[str] = Counter()
    with open_store(f"memory://{uuid4().hex}") as store:
        movie = store.create_movie("film")
        set_inputs(movie, {"@blueprint": _BLUEPRINT})
        report = _run(movie, lambda job, context: answer, calls)
        assert report.jobs["good"].status == "made"
        assert report.jobs["bad"].status == "failed"
        assert _run(movie, _raising(ProducerError(said)), calls).jobs["bad"].status == "failed"  # type: ignore[arg-type]
        assert calls["good"] == 1
        assert movie_status(movie).runs


def test_a_file_that_goes_away_before_it_is_stored_is_its_jobs_failure(movie: Movie) -> None:
    """An answer that was right when it was looked at, and cannot be stored, ends no run."""

    class Going(str):
        __slots__ = ()

        def encode(self, *_: str) -> bytes:
            raise RuntimeError("gone")

    report = _run(movie, lambda job, context: Produced({"text": Going("x")}))
    assert (report.jobs["bad"].status, report.jobs["good"].status) == ("failed", "made")


def test_what_an_answer_took_that_cannot_be_stored_is_booked_once(movie: Movie) -> None:
    """With what the attempt before it took; not even the file that it names is there any more."""

    async def paid(job: Job, context: JobContext) -> Produced:
        if job.producer != "bad":
            return Produced({"text": "x"})
        if context.attempt == 1:
            raise ProducerError("not yet", retryable=True, cost=0.5)
        path = context.directory / "text"
        path.write_text("x")
        asyncio.get_running_loop().call_soon(path.unlink)  # it is there when the answer is looked at
        return Produced({"text": path}, cost=0.25)

    again = with_retry(paid, RetryPolicy(base_seconds=0.0))
    report = asyncio.run(run_movie(movie, produce=again, concurrency=1))
    assert "cannot be stored" in _failure(report)
    assert (report.cost, report.jobs["bad"].cost) == (0.75, 0.75)
    assert [event.cost for event in movie.events.stream_artefacts() if event.status == "failed"] == [0.75]


_NUMBERS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-9, 9)
    | st.sampled_from([-0.0, 1.0, 2.0**53, 1e20, 0.5, 1e-7, 2.0**53 - 1]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)


@settings(deadline=None, max_examples=20)
@given(value=_NUMBERS)
def test_a_handler_is_given_numbers_as_they_are_signed(value: Json) -> None:
    """Who is signed alike is asked the same: 1.0 is 1 in an input, in a document, in the config and in the context."""
    seen: dict[str, object] = {}

    async def noting(job: Job, context: JobContext) -> Produced:
        given = {name: item.value for name, item in job.inputs.items() if isinstance(item, ValueItem)}
        seen[job.job_id] = dumps([*given.values(), *job.config.values(), *job.context.values()], sort_keys=True)
        return Produced({"out": dumps({"part": value})})

    graph: Json = {
        "nodes": [
            {
                "jobId": job,
                "producer": job,
                "provider": "test",
                "providerModel": "any",
                "config": {"given": value},
                "context": {"given": value},
                "inputs": [{"name": "read", "ref": read}],
                "produces": [{"id": f"{job}.out", "name": "out", "mimeType": "application/json"}],
            }
            for job, read in (("first", "n"), ("second", "first.out.part"))
        ],
        "edges": [],
    }
    with open_store(f"memory://{uuid4().hex}") as store:
        movie = store.create_movie("film")
        report = asyncio.run(run_movie(movie, produce=noting, inputs={"@blueprint": graph, "n": value}))
        assert report.status == "published"
    signed = parse_json(canonical_json(value))
    assert seen == dict.fromkeys(["first", "second"], dumps([signed] * 3, sort_keys=True))


def test_what_a_handler_does_with_its_inputs_no_other_job_sees() -> None:
    """The request of a job is what its signature says, whatever those before it did to theirs."""
    blueprint = """
    inputs: {tone: {type: list}, of: {type: object}}
    producers:
      first: {run: test/any, inputs: {tone: tone, of: of}, outputs: {text: {mimeType: application/json}}}
      second: {run: test/any, inputs: {tone: tone, of: of, text: first.text}, outputs: {text: {mimeType: text/plain}}}
      third: {run: test/any, inputs: {made: "first.text.list"}, outputs: {text: {mimeType: text/plain}}}
      fourth:
        run: test/any
        inputs: {made: "first.text.list", text: third.text}
        outputs: {text: {mimeType: text/plain}}
    """
    seen: dict[str, object] = {}

    async def changing(job: Job, context: JobContext) -> Produced:
        values = {name: item.value for name, item in job.inputs.items() if isinstance(item, ValueItem)}
        seen[job.job_id] = deepcopy(values)
        for value in values.values():
            if isinstance(value, list):
                value.append("more")
            elif isinstance(value, dict):
                value["of"] = "more"
        return Produced({"text": '{"list": [1]}'})

    with open_store(f"memory://{uuid4().hex}") as store:
        movie = store.create_movie("film")
        set_inputs(movie, {"@blueprint": blueprint, "tone": ["warm"], "of": {"of": "film"}})
        assert asyncio.run(run_movie(movie, produce=changing)).status == "published"
    assert seen["first"] == seen["second"] == {"tone": ["warm"], "of": {"of": "film"}}
    assert seen["third"] == seen["fourth"] == {"made": [1]}


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError, StopIteration])
def test_a_function_in_a_thread_may_raise_what_it_likes(
    movie: Movie, kind: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`python:` functions run in threads, to which no interruption of the program comes: it is the function's own."""
    name = f"raising_{kind.__name__.lower()}"
    (tmp_path / f"{name}.py").write_text(
        f"import asyncio\nfrom asyncio import CancelledError\ndef work(request):\n    raise {kind.__name__}('own')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    text = (
        f"producers:\n  bad: {{run: 'python:{name}.work', version: 1, outputs: {{text: {{mimeType: text/plain}}}}}}\n"
    )
    set_inputs(movie, {"@blueprint": text})
    report = asyncio.run(asyncio.wait_for(run_movie(movie, produce=default_registry()), 60))
    assert report.jobs["bad"].status == "failed"
    assert kind.__name__ in _failure(report)


def test_a_listener_that_raises_costs_nothing(movie: Movie, caplog: pytest.LogCaptureFixture) -> None:
    """The run goes on and publishes; the fault is logged once."""
    heard: list[str] = []

    def listen(event: RunProgress) -> None:
        heard.append(event.event)
        raise RuntimeError("the progress bar broke")

    async def produce(job: Job, context: JobContext) -> Produced:
        return Produced({"text": "x"}, cost=1.0)

    with caplog.at_level(logging.WARNING, "renku_store"):
        report = asyncio.run(run_movie(movie, produce=produce, on_event=listen))
    assert (report.status, report.made) == ("published", 3)
    assert heard[-1] == "run-finished"
    assert [record.message.count("progress bar") for record in caplog.records] == [1]


def test_an_unknown_way_out_of_a_conflict_is_refused(movie: Movie) -> None:
    """Before anything is begun."""
    with pytest.raises(InvalidValueError, match="bogus"):
        asyncio.run(run_movie(movie, produce=ProducerRegistry(), on_conflict="bogus"))  # type: ignore[arg-type]


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), "x", True])
def test_a_time_that_is_none_is_refused(seconds: float) -> None:
    """For time-outs and retries alike."""
    with pytest.raises(InvalidValueError):
        with_timeout(ProducerRegistry(), seconds)


def test_a_retry_takes_no_time_that_is_none() -> None:
    """NaN is neither below nor above anything."""
    with pytest.raises(InvalidValueError):
        RetryPolicy(base_seconds=float("nan"))


@pytest.mark.parametrize("limit", [1.5, True, "3", 0])
def test_a_limit_that_is_no_whole_number_is_refused(limit: int) -> None:
    """Half a call cannot be."""
    with pytest.raises(InvalidValueError):
        ConcurrencyLimiter(limit)


_READERS = """
inputs: {n: {type: any, default: 1}}
producers:
  script: {run: test/script@1, outputs: {out: {mimeType: application/json}}}
  deep: {run: test/deep@%s, inputs: {part: script.out.deep}, outputs: {text: {mimeType: text/plain}}}
  flat: {run: test/flat@1, inputs: {part: script.out.flat, n: n}, outputs: {text: {mimeType: text/plain}}}
  after: {run: test/after@1, inputs: {text: deep.text}, outputs: {text: {mimeType: text/plain}}}
"""


def _script(depth: int) -> str:
    return '{"deep": ' + "[" * depth + "]" * depth + ', "flat": 1}'


async def _read(job: Job, context: JobContext) -> Produced:
    del context
    return Produced({name: _script(1) if job.producer == "script" else "x" for name in job.outputs}, cost=1.0)


def _as_an_older_store_had_it(movie: Movie, artefact: str, content: str) -> None:
    """Let content stand for an artefact that nobody would take any more."""
    data = content.encode()
    value = ArtefactValue(hash=hash_bytes(data), size=len(data), mime_type="application/json", inline=content)
    movie.events.append_artefact(
        ArtefactEvent(
            id=movie.events.new_id(),
            artefact=artefact,
            status="edited",
            output="out",
            value=value,
            edited_by="ann",
            created_at="2026-01-01T00:00:00.000Z",
        )
    )


def test_a_part_that_is_nested_too_deeply_concerns_those_alone_who_read_it(movie: Movie) -> None:
    """Where a store holds such a document, plans and all other jobs go on; the reader fails, and is named with it."""
    set_inputs(movie, {"@blueprint": _READERS % 1})
    assert asyncio.run(run_movie(movie, produce=_read)).status == "published"
    _as_an_older_store_had_it(movie, "script.out", _script(101))
    set_inputs(movie, {"n": 2})
    plan = plan_movie(movie)
    assert (sorted(plan.dirty), plan.jobs["deep"].signature) == (["after", "deep", "flat"], None)
    told = "deep reads script.out.deep, but that part of script.out cannot be used"
    assert [warning for warning in plan.warnings if told in warning] != []
    report = asyncio.run(run_movie(movie, produce=_read, keep_going=True))
    assert {job: result.status for job, result in report.jobs.items() if result.status != "clean"} == {
        "deep": "failed",
        "flat": "made",
        "after": "upstream failed",
    }
    assert told in _failure(report, "deep")
    assert report.cost == 1.0
    set_inputs(movie, {"@blueprint": _READERS % 2})
    with pytest.raises(InvalidValueError, match="There is nothing to accept of deep"):
        accept_results(movie, "deep")
    chosen = Choices(targets=["flat"])
    assert asyncio.run(run_movie(movie, produce=_read, choices=chosen)).status in {"published", "unchanged"}
    edit_artefact(movie, "script.out", _script(99).encode())
    assert asyncio.run(run_movie(movie, produce=_read)).status == "published"


_DEEP = "[" * 101 + "]" * 101


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ('{"deep": "once upon a ti', "in line 1, column"),
        ("", "in line 1, column"),
        ("\ufeff{}", "in line 1, column 1"),
        ('{"deep": 1e999}', "in line 1, column"),
        ('{"deep":\n "\\ud800"}', "in line 2, column"),
        (_DEEP, "nested more than 100 levels deep"),
        (f'{{"deep": 12345678901234567890, "flat": {"[" * 999}{"]" * 999}}}', "nested too deeply"),
        (b'{"deep": "' + b"x" * 70_000, "in line 1, column"),
        (b"\xff", "in line 1, column"),
    ],
)
@pytest.mark.parametrize("form", ["content", "file"])
def test_an_output_that_is_to_be_json_and_is_none_is_its_jobs_failure(
    movie: Movie, content: str | bytes, told: str, form: str
) -> None:
    """What it took is booked, nobody is called with its parts missing, and the next run calls it again."""
    set_inputs(movie, {"@blueprint": _READERS % 1})
    calls = Counter[str]()

    async def produce(job: Job, context: JobContext) -> Produced:
        calls[job.producer] += 1
        if job.producer != "script" or calls["script"] > 1:
            return await _read(job, context)
        if form == "content":
            return Produced({"out": content}, cost=2.0)
        path = context.directory / "answer"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return Produced({"out": path}, cost=2.0)

    report = asyncio.run(run_movie(movie, produce=produce))
    assert {job: result.status for job, result in report.jobs.items()} == {
        "script": "failed",
        "deep": "upstream failed",
        "flat": "upstream failed",
        "after": "upstream failed",
    }
    assert "script: The output 'out' is application/json, and cannot be read as such: " in _failure(report, "script")
    assert told in _failure(report, "script")
    assert (report.cost, dict(calls)) == (2.0, {"script": 1})
    assert asyncio.run(run_movie(movie, produce=produce)).status == "published"
    assert dict(calls) == {"script": 2, "deep": 1, "flat": 1, "after": 1}


def test_the_type_that_an_answer_names_says_whether_it_is_to_be_json(movie: Movie) -> None:
    """Of an output that is declared otherwise, too; and what names another type may be what it likes."""
    one = "producers: {one: {run: test/one@1, outputs: {out: {mimeType: %s}}}}"

    def made(declared: str, mime_types: dict[str, str]) -> str:
        set_inputs(movie, {"@blueprint": one % declared})

        async def produce(job: Job, context: JobContext) -> Produced:
            return Produced({"out": "no JSON"}, mime_types=mime_types)

        return asyncio.run(run_movie(movie, produce=produce)).jobs["one"].status

    assert made("text/plain", {"out": "application/ld+json; charset=utf-8"}) == "failed"
    assert made("application/json", {"out": "text/markdown"}) == "made"


def test_json_beyond_the_bound_is_taken_as_it_is(movie: Movie, monkeypatch: pytest.MonkeyPatch) -> None:
    """To parse it would take more memory than it is worth: nobody writes that by hand."""
    monkeypatch.setattr("renku_store.bounds.JSON_CHECK_MAX_BYTES", 7)
    set_inputs(
        movie, {"@blueprint": "producers: {one: {run: test/one@1, outputs: {out: {mimeType: application/json}}}}"}
    )
    answers = iter(["no JSON", "no JSON."])

    async def produce(job: Job, context: JobContext) -> Produced:
        return Produced({"out": next(answers)})

    statuses = [asyncio.run(run_movie(movie, produce=produce)).jobs["one"].status for _ in range(2)]
    assert statuses == ["failed", "made"]


def test_who_is_cancelled_while_an_answer_is_looked_into_has_it_stored(movie: Movie) -> None:
    """It was paid for: the next run takes it over."""
    set_inputs(
        movie, {"@blueprint": "producers: {one: {run: test/one@1, outputs: {out: {mimeType: application/json}}}}"}
    )
    calls, running = Counter[str](), list[asyncio.Future[RunReport]]()

    async def produce(job: Job, context: JobContext) -> Produced:
        calls[job.producer] += 1
        asyncio.get_running_loop().call_soon(running[0].cancel)
        return Produced({"out": "[" + "0," * JSON_CHECK_HERE_MAX_BYTES + "0]"}, cost=1.0)

    async def run() -> None:
        running.append(asyncio.ensure_future(run_movie(movie, produce=produce)))
        with pytest.raises(asyncio.CancelledError):
            await running[0]

    asyncio.run(run())
    assert asyncio.run(run_movie(movie, produce=produce)).status == "published"
    assert dict(calls) == {"one": 1}


def test_what_is_not_json_after_all_is_missing_for_the_run_and_for_the_plan(movie: Movie) -> None:
    """An answer that names another type than the blueprint: what reads into it is made once, and clean then."""
    set_inputs(movie, {"@blueprint": _READERS % 1})
    given = dict[str, set[str]]()

    async def produce(job: Job, context: JobContext) -> Produced:
        given[job.job_id] = set(job.inputs)
        made = await _read(job, context)
        return Produced(made.outputs, mime_types={"out": "text/plain"} if job.producer == "script" else {})

    assert asyncio.run(run_movie(movie, produce=produce)).status == "published"
    assert given == {"script": set(), "deep": set(), "flat": {"n"}, "after": {"text"}}
    assert plan_movie(movie).dirty == []
    assert asyncio.run(run_movie(movie, produce=produce)).status == "unchanged"


def test_a_list_in_what_is_not_json_is_no_list(movie: Movie) -> None:
    """As little as its elements can be read: the jobs of the loop wait for a document, and say so."""
    set_inputs(
        movie,
        {
            "@blueprint": """
loops: {item: {over: script.out}}
producers:
  script: {run: test/script@1, outputs: {out: {mimeType: application/json}}}
  each: {for: item, run: test/each@1, inputs: {it: "script.out[item]"}, outputs: {text: {mimeType: text/plain}}}
"""
        },
    )

    async def produce(job: Job, context: JobContext) -> Produced:
        return Produced({"out": "[1, 2]"}, mime_types={"out": "text/plain"})

    report = asyncio.run(run_movie(movie, produce=produce))
    assert "script.out is text/plain, and only JSON can be read into" in _failure(report, "each[*]")


def test_a_document_that_cannot_be_read_is_its_jobs_failure(movie: Movie, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fails after the answer is no end of the run, and what the call took is booked."""

    def failing(content: object) -> bytes:
        raise OSError("the disk is gone")

    monkeypatch.setattr("renku_store.answers._bytes", failing)
    set_inputs(movie, {"@blueprint": _READERS % 1})
    report = asyncio.run(run_movie(movie, produce=_read))
    assert "The output 'out' cannot be read: the disk is gone" in _failure(report, "script")
    assert report.cost == 1.0
