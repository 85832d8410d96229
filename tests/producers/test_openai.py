"""The `openai` handler, with the real SDK, against a server on the loopback that speaks the wire format."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renku_store import (
    BadInputError,
    Limits,
    Movie,
    OpenAIHandler,
    Produced,
    ProducerError,
    ProducerRegistry,
    RateLimitedError,
    RetryPolicy,
    Store,
    default_registry,
    open_store,
    run_movie,
    set_inputs,
    with_limits,
    with_retry,
)
from renku_store.producers.openai.failures import retry_after
from renku_store.testing.openai_server import OpenAIServer, Reply, png
from tests.producers.calling import Desk, File, data_of

KEY = "sk-test-0123456789abcdef"
TEXT = {"out": "text/plain"}
ANSWER = "Water rises, cools and falls."


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenAIServer]:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with OpenAIServer() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        yield server


def ask(desk: Desk, prompt: str = "Tell me of rain.", **about: Any) -> Produced:
    return desk.call("openai/gpt-4o@1", **{"outputs": TEXT, "inputs": {"prompt": prompt}, **about})


def registry_of(handler: OpenAIHandler) -> ProducerRegistry:
    registry = ProducerRegistry({})
    registry.register_provider("openai", handler)
    return registry


# What it makes


def test_text_is_streamed_and_its_request_named(desk: Desk, server: OpenAIServer) -> None:
    """A prompt becomes text, put together from the pieces of a stream, with the provider's name for the request."""
    made = ask(desk, config={"system": "Be brief.", "temperature": 0.5, "maxTokens": 50, "extra": {"top_k": 3}})
    assert (data_of(made).decode(), made.request_id, made.cost) == (ANSWER, "req-1", 0.0)
    [received] = server.received
    assert received.headers["authorization"] == f"Bearer {KEY}"
    expected = {
        "model": "gpt-4o",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Tell me of rain."}],
        "stream": True,
        "temperature": 0.5,
        "max_completion_tokens": 50,
        "top_k": 3,
    }
    assert received.body.items() >= expected.items()


def test_a_prompt_is_filled_with_inputs(desk: Desk, server: OpenAIServer) -> None:
    """`{NAME}` stands for an input: text as it is, other values as JSON, files by their text, a fan-in joined."""
    ask(
        desk,
        config={"prompt": "{topic} for {age} in {notes}, {parts}; {{topic}"},
        inputs={
            "topic": "rain",
            "age": [9, 12],
            "notes": File(b"short words", "text/plain"),
            "parts": [File(b"one", "text/plain"), None, File(b"two", "text/plain")],
        },
    )
    assert server.received[0].body["messages"][0]["content"] == "rain for [9,12] in short words, one\n\ntwo; {rain"


def test_pictures_are_shown_to_the_model(desk: Desk, server: OpenAIServer) -> None:
    """Images among the inputs of a text go with the prompt."""
    ask(desk, inputs={"prompt": "What is this?", "picture": File(png(), "image/png")})
    [text, picture] = server.received[0].body["messages"][0]["content"]
    assert text == {"type": "text", "text": "What is this?"}
    assert picture["image_url"]["url"].startswith("data:image/png;base64,iVBOR")


def test_structured_answers_follow_a_schema(desk: Desk, server: OpenAIServer) -> None:
    """An output of JSON is asked for by its schema, and checked to be JSON."""
    schema = {"type": "object", "properties": {"title": {"type": "string"}}}
    server.script(Reply('{"title": "Rain"}'))
    made = ask(desk, config={"schema": schema}, outputs={"out": "application/json"})
    assert json.loads(data_of(made)) == {"title": "Rain"}
    assert server.received[0].body["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "gpt-4o", "schema": schema, "strict": True},
    }


@pytest.mark.parametrize(
    ("model", "asked"), [("gpt-image-1", {"output_format": "png"}), ("sdxl", {"response_format": "b64_json"})]
)
def test_images_come_as_bytes(desk: Desk, server: OpenAIServer, model: str, asked: Mapping[str, str]) -> None:
    """An image is asked for in the way that its model understands, and decoded."""
    made = desk.call(
        f"openai/{model}@1", outputs={"out": "image/png"}, inputs={"prompt": "a pond"}, config={"size": "512x512"}
    )
    assert data_of(made) == png()
    assert server.received[0].body.items() >= {"prompt": "a pond", "size": "512x512", "n": 1, **asked}.items()


def test_speech_is_written_to_a_file_as_it_comes(desk: Desk, server: OpenAIServer) -> None:
    """Speech arrives in pieces, in the format that the output's type names."""
    made = desk.call(
        "openai/tts-1@1", outputs={"out": "audio/wav"}, inputs={"prompt": "Hello"}, config={"voice": "nova"}
    )
    assert data_of(made)[:4] == b"RIFF"
    assert len(data_of(made)) == 44 + 2 * 100 * len(ANSWER)
    assert isinstance(made.outputs["out"], Path)
    assert server.received[0].body.items() >= {"input": "Hello", "voice": "nova", "response_format": "wav"}.items()


@pytest.mark.parametrize(
    ("model", "mime_type", "prices", "cost"),
    [
        (
            "gpt-4o",
            "text/plain",
            {"input": 2.5, "cachedInput": 1.25, "output": 10},
            (600 * 2.5 + 400 * 1.25 + 29 * 10) / 1e6,
        ),
        ("gpt-image-1", "image/png", {"image": 0.04}, 0.04),
        ("tts-1", "audio/wav", {"characters": 15}, 16 * 15 / 1e6),
    ],
)
def test_costs_follow_from_use_and_prices(
    desk: Desk, server: OpenAIServer, model: str, mime_type: str, prices: dict[str, float], cost: float
) -> None:
    """What the provider counted, times the prices of the config, or of the handler for this model."""
    about: dict[str, Any] = {"outputs": {"out": mime_type}, "inputs": {"prompt": "Tell me of rain."}}
    made = desk.call(f"openai/{model}@1", config={"prices": prices}, **about)
    again = desk.call(f"openai/{model}@1", registry=registry_of(OpenAIHandler({model: prices})), **about)
    assert made.cost == again.cost == pytest.approx(cost)


def test_a_server_of_ones_own_needs_no_key(desk: Desk, server: OpenAIServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """`baseUrl` goes before the environment, and `secret: null` sends no key of ours."""
    monkeypatch.delenv("OPENAI_API_KEY")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    assert data_of(ask(desk, config={"baseUrl": server.base_url, "secret": None})).decode() == ANSWER
    assert KEY not in str(server.received)


# What goes wrong


@pytest.mark.parametrize(
    ("headers", "pause"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"retry-after-ms": "250", "Retry-After": "1"}, 0.25),
        ({"Retry-After": "Wed, 21 Oct 2026 07:28:30 GMT", "Date": "Wed, 21 Oct 2026 07:28:00 GMT"}, 30.0),
        ({"Retry-After": "soon"}, None),
        ({}, None),
    ],
)
def test_a_provider_that_asks_for_a_pause_gets_it(
    desk: Desk, server: OpenAIServer, headers: dict[str, str], pause: float | None
) -> None:
    """429 is a request to wait, in seconds, milliseconds, or until a date by the provider's own clock."""
    server.script(Reply("Slow down.", status=429, headers=headers))
    with pytest.raises(RateLimitedError, match=r"gpt-4o answered 429: Slow down\.") as caught:
        ask(desk)
    assert caught.value.retry_after == pause
    assert len(server.received) == 1, "the SDK has tried again by itself"


@given(seconds=st.integers(0, 10**6), skew=st.integers(-(10**6), 10**6))
def test_a_date_to_wait_for_means_the_same_by_any_clock(seconds: int, skew: int) -> None:
    """However wrong the clock of the provider is, the pause is what it meant."""
    theirs = datetime(2026, 5, 6, 7, 8, 9, tzinfo=UTC) + timedelta(seconds=skew)
    headers = {"retry-after": format_datetime(theirs + timedelta(seconds=seconds), usegmt=True)}
    assert retry_after({**headers, "date": format_datetime(theirs, usegmt=True)}) == seconds
    assert retry_after(headers, now=theirs) == seconds


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (Reply("It broke.", status=500), "answered 500: It broke."),
        (Reply("Not now.", status=503), "answered 503"),
        (Reply(pieces=3, ending="break"), "connection to gpt-4o failed"),
        (Reply(pieces=3, ending="stall"), "did not answer in time"),
        (Reply(pieces=3, ending="stop"), "broke off"),
        (Reply("", finish="stop"), "answered with nothing"),
    ],
)
def test_what_may_pass_may_be_tried_again(desk: Desk, server: OpenAIServer, reply: Reply, message: str) -> None:
    """Errors of the server, silence, and streams that end before the model has: none of them is an answer."""
    server.script(reply)
    with pytest.raises(ProducerError, match=message) as caught:
        ask(desk, registry=registry_of(OpenAIHandler(idle_seconds=0.5)))
    assert caught.value.retryable


def test_a_slow_stream_is_waited_for(desk: Desk, server: OpenAIServer) -> None:
    """Silence is measured between pieces: an answer may take far longer than a stream may be silent."""
    server.script(Reply("x" * 64, pause_seconds=0.1))
    assert data_of(ask(desk, registry=registry_of(OpenAIHandler(idle_seconds=1.0)))) == b"x" * 64


@pytest.mark.parametrize("ending", ["break", "stall"])
@pytest.mark.parametrize(("model", "mime_type"), [("gpt-image-1", "image/png"), ("tts-1", "audio/wav")])
def test_broken_media_are_no_media(
    desk: Desk, server: OpenAIServer, ending: Any, model: str, mime_type: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half an image, or half a speech, is a failure that may pass."""
    monkeypatch.setattr("renku_store.producers.openai.media.IMAGE_SECONDS", 0.5)
    server.script(Reply(pieces=2, ending=ending))
    with pytest.raises(ProducerError) as caught:
        desk.call(
            f"openai/{model}@1",
            outputs={"out": mime_type},
            inputs={"prompt": "a pond"},
            registry=registry_of(OpenAIHandler(idle_seconds=0.5)),
        )
    assert caught.value.retryable


@pytest.mark.parametrize("answer", ["Sure! {", '{"a": NaN}', '{"a": 1', '{"a": 1} and more'])
def test_json_that_is_none_may_be_tried_again(desk: Desk, server: OpenAIServer, answer: str) -> None:
    """A model that does not keep to JSON is asked again, its answer is in the diagnostics, and was paid for."""
    server.script(Reply(answer))
    with pytest.raises(ProducerError, match="something else than JSON") as caught:
        ask(desk, outputs={"out": "application/json"}, config={"prices": {"input": 1.0}})
    assert (caught.value.retryable, caught.value.diagnostics, caught.value.cost) == (True, answer, 0.001)


@pytest.mark.parametrize(
    "reply",
    [
        Reply("I will not.", refusal=True),
        Reply(finish="content_filter"),
        Reply("Not allowed.", status=400, code="content_policy_violation"),
    ],
)
def test_a_refusal_is_the_prompts_fault(desk: Desk, server: OpenAIServer, reply: Reply) -> None:
    """What the provider will not answer is told as bad input: trying again does not help, another prompt does."""
    server.script(reply)
    with pytest.raises(BadInputError) as caught:
        ask(desk)
    assert caught.value.hint == "Change the prompt."


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (Reply("Bad key.", status=401), "answered 401: Bad key."),
        (Reply("There is no such model.", status=404), "answered 404: There is no such model."),
        (Reply("No credit.", status=429, code="insufficient_quota"), "answered 429: No credit."),
        (Reply(finish="length"), "was cut off after 29 characters"),
    ],
)
def test_what_will_not_pass_is_not_tried_again(desk: Desk, server: OpenAIServer, reply: Reply, message: str) -> None:
    """Other refusals are told in the provider's own sentence."""
    server.script(reply)
    with pytest.raises(ProducerError, match=message) as caught:
        ask(desk)
    assert not caught.value.retryable
    assert caught.value.hint


def test_nobody_there_is_told_so(desk: Desk, server: OpenAIServer) -> None:
    """A server that cannot be reached is a failure that may pass."""
    with pytest.raises(ProducerError, match="The connection to gpt-4o failed") as caught:
        ask(desk, config={"baseUrl": "http://127.0.0.1:9/v1"})
    assert caught.value.retryable


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ({"config": {"temprature": 1}}, "has no 'temprature'"),
        ({"config": {"apiKey": "sk-1"}}, "A key does not belong into a blueprint"),
        ({"config": {"baseUrl": "https://me:secret@example.org/v1"}}, "baseUrl holds a password"),
        ({"config": {"baseUrl": "example.org"}}, "baseUrl is not a URL"),
        ({"config": {"prices": {"token": 1}}}, "The price 'token' is not known"),
        ({"config": {"prompt": "{topc}"}, "inputs": {"topic": "rain"}}, "The prompt names {topc}"),
        ({"inputs": {"prompt": "x", "voice": "y"}}, "The input 'voice' is not used"),
        ({"inputs": {}}, "There is no prompt"),
        ({"outputs": {"out": "video/mp4"}}, "makes nothing of the type video/mp4"),
        ({"outputs": {"a": "text/plain", "b": "text/plain"}}, "makes one output"),
        ({"config": {"secret": "NO_SUCH_KEY"}}, "The secret NO_SUCH_KEY is not set"),
    ],
)
def test_mistakes_are_found_before_anything_is_sent(
    desk: Desk, server: OpenAIServer, about: dict[str, Any], message: str
) -> None:
    """A config or inputs that cannot be meant so are refused by name, and nothing is paid for."""
    with pytest.raises(ProducerError, match=message):
        ask(desk, **about)
    assert not server.received


def test_the_sdk_is_loaded_when_it_is_called(checkout: Path) -> None:
    """Importing the package, listing producers and looking one up load no SDK; without it the error names the extra."""
    script = (
        "import asyncio, logging, pathlib, sys\n"
        "from renku_store import *\n"
        "import renku_store\n"
        "registry = renku_store.default_registry()\n"
        "registry.known(); handler = registry.resolve('openai', 'gpt-4o', '1')\n"
        "assert not {'openai', 'httpx2', 'httpx'} & set(sys.modules), sys.modules\n"
        "sys.modules['openai'] = None\n"
        "job = renku_store.Job('j', 'p', '1', 'openai', 'gpt-4o', {}, {}, {'prompt': renku_store.ValueItem('x')},"
        " {'out': renku_store.OutputSpec('text/plain')}, '0' * 64)\n"
        "context = renku_store.JobContext('j', 'r', 1, pathlib.Path('.'), logging.getLogger('x'))\n"
        "try:\n    asyncio.run(registry(job, context))\n"
        "except renku_store.ProducerError as error:\n    print(error.message, error.hint, error.retryable)\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], cwd=checkout, capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == (
        "openai needs its SDK, which is not installed. pip install 'renku-store[openai]' False"
    )


# In runs

BLUEPRINT = """
name: rain
inputs: {topics: {type: list, required: true}}
loops: {topic: {over: topics}}
producers:
  text:
    for: [topic]
    run: openai/gpt-4o@1
    inputs: {topic: "topics[topic]"}
    config: {prompt: "Tell me of {topic}.", prices: {output: 10}}
    outputs: {words: {mimeType: text/plain}}
"""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "builds") as store:
        yield store


def test_a_run_comes_through_whatever_the_provider_does(store: Store, server: OpenAIServer) -> None:
    """With retries and limits, every job has its answer, paid for once, after 429, 500, silence and broken streams."""
    movie = store.create_movie("rain")
    set_inputs(movie, {"@blueprint": BLUEPRINT, "topics": [f"topic {n}" for n in range(6)]})
    server.script(
        Reply("Slow down.", status=429, headers={"Retry-After": "0.01"}),
        Reply("It broke.", status=500),
        Reply(pieces=2, ending="break"),
        Reply(pieces=2, ending="stall"),
        Reply(pieces=2, ending="stop"),
    )
    report = asyncio.run(_run(movie, registry_of(OpenAIHandler(idle_seconds=0.5))))
    assert (report.status, report.made) == ("published", 6)
    assert report.cost == pytest.approx(6 * 29 * 10 / 1e6)
    assert len(server.received) == 11
    assert max(result.attempts for result in report.jobs.values()) >= 2
    events = [event for event in movie.events.stream_artefacts() if event.status == "succeeded"]
    assert all(event.request_id and event.request_id.startswith("req-") for event in events)


async def _run(movie: Movie, registry: ProducerRegistry) -> Any:
    async with registry:
        policy = RetryPolicy(attempts=8, base_seconds=0.01)
        limits = Limits({"openai": {"concurrency": 2}})
        return await run_movie(movie, produce=with_retry(with_limits(registry, limits), policy), concurrency=6)


def test_the_key_is_nowhere(
    store: Store, server: OpenAIServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A provider that repeats the key in its errors gives it to nobody: no event, log, plan, archive or database."""
    caplog.set_level("DEBUG")
    movie = store.create_movie("rain")
    set_inputs(movie, {"@blueprint": BLUEPRINT, "topics": ["one", "two"]})
    server.script(Reply(f"The key {KEY} is wrong.", status=401), Reply(f"The key is {KEY}."))
    report = asyncio.run(_run(movie, default_registry()))
    assert report.status == "failed"
    errors = {result.error.message for result in report.jobs.values() if result.error}
    assert any("The key [OPENAI_API_KEY] is wrong." in message for message in errors)
    assert any("The output 'words' holds the secret OPENAI_API_KEY." in message for message in errors)
    assert KEY not in caplog.text
    assert KEY not in str(report)
    with open_store(store.root) as again:
        said = "".join(str(event) for event in again.movie("rain").events.stream())
    assert "[OPENAI_API_KEY]" in said
    movie.close()
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 3
    assert not [path for path in files if KEY.encode() in path.read_bytes()]
