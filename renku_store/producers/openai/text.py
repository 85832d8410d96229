"""Text and structured JSON: one chat completion, streamed, so that a slow answer is told from a dead connection."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import orjson

from renku_store import bounds
from renku_store.calls import Job
from renku_store.errors import BadInputError, InvalidValueError, ProducerError
from renku_store.hashing import canonical_json, parse_json
from renku_store.producers.openai.asking import Asked
from renku_store.producers.openai.prices import Prices, Usage


@dataclass(slots=True)
class Answer:
    """What came so far: text, or the sentences of a refusal; `finish` once the model says why it has stopped."""

    request_id: str | None
    text: list[str] = field(default_factory=list[str])
    refusal: list[str] = field(default_factory=list[str])
    finish: str | None = None
    usage: Usage = field(default_factory=Usage)
    size: int = 0

    def take(self, chunk: Any, max_bytes: int) -> None:
        """Take one piece of the stream."""
        self.request_id = self.request_id or chunk.id or None
        if chunk.usage is not None:
            self.usage = _usage(chunk.usage)
        for choice in (chunk.choices or [])[:1]:
            delta = choice.delta
            if delta is not None and delta.content:
                self.text.append(delta.content)
                self.size += len(delta.content)
            if delta is not None and delta.refusal:
                self.refusal.append(delta.refusal)
            self.finish = choice.finish_reason or self.finish
        if self.size > max_bytes:
            raise ProducerError(f"The answer is longer than the {max_bytes:,} bytes that the job may write.")


async def complete(client: Any, job: Job, asked: Asked, prices: Prices) -> tuple[str, Answer]:
    """Ask for text or JSON; gives the text and what came with it. An answer that is none was paid for all the same."""
    stream = await client.chat.completions.create(
        model=job.model,
        messages=_messages(asked),
        stream=True,
        stream_options={"include_usage": True},
        extra_body=asked.extra or None,
        **asked.options,
        **({"response_format": _response_format(job, asked)} if asked.kind == "json" else {}),
    )
    async with stream:
        answer = Answer(stream.response.headers.get("x-request-id"))
        async for chunk in stream:
            answer.take(chunk, job.max_output_bytes)
    text = "".join(answer.text)
    cost = prices.cost(answer.usage)
    _check_end(job, answer, text, cost)
    if asked.kind == "json":
        _check_json(job, text, cost)
    return text, answer


def _messages(asked: Asked) -> list[dict[str, Any]]:
    content: Any = asked.prompt
    if asked.images:
        content = [
            {"type": "text", "text": asked.prompt},
            *({"type": "image_url", "image_url": {"url": url}} for url in asked.images),
        ]
    system = [{"role": "system", "content": asked.system}] if asked.system else []
    return [*system, {"role": "user", "content": content}]


def _response_format(job: Job, asked: Asked) -> dict[str, Any]:
    if asked.schema is None:
        return {"type": "json_object"}
    name = re.sub(r"[^A-Za-z0-9_-]", "_", job.producer)[:64]
    return {"type": "json_schema", "json_schema": {"name": name, "schema": asked.schema, "strict": asked.strict}}


def _check_end(job: Job, answer: Answer, text: str, cost: float) -> None:
    if answer.refusal:
        said = " ".join("".join(answer.refusal).split())[:500]
        raise BadInputError(f"{job.model} refuses: {said}", hint="Change the prompt.")
    match answer.finish:
        case "stop":
            if not text:
                raise ProducerError(f"{job.model} answered with nothing.", retryable=True, cost=cost)
        case "content_filter":
            raise BadInputError(f"{job.model}: a content filter has stopped the answer.", hint="Change the prompt.")
        case "length":
            raise ProducerError(
                f"{job.model} was cut off after {len(text):,} characters.",
                hint="Raise `maxTokens`, or ask for less.",
                cost=cost,
            )
        case None:
            raise ProducerError(f"The answer of {job.model} broke off.", diagnostics=_end(text), retryable=True)
        case other:
            raise ProducerError(
                f"{job.model} ended with {other!r} instead of an answer.", diagnostics=_end(text), cost=cost
            )


def _check_json(job: Job, text: str, cost: float) -> None:
    """Models do not keep to JSON every time: another attempt may."""
    try:
        canonical_json(parse_json(text.encode()))
    except (orjson.JSONDecodeError, InvalidValueError, UnicodeEncodeError) as error:
        raise ProducerError(
            f"{job.model} answered with something else than JSON: {error}",
            diagnostics=_end(text),
            retryable=True,
            cost=cost,
        ) from None


def _usage(counted: Any) -> Usage:
    details = getattr(counted, "prompt_tokens_details", None)
    return Usage(
        input=counted.prompt_tokens or 0,
        cached=(getattr(details, "cached_tokens", None) or 0) if details is not None else 0,
        output=counted.completion_tokens or 0,
    )


def _end(text: str) -> str:
    return text[-bounds.DIAGNOSTICS_MAX_BYTES // 4 :]
