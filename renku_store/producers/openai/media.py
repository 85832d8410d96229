"""Images and speech: an image comes as base64 in one answer, speech as bytes that go to a file as they come."""

from __future__ import annotations

import binascii
from base64 import b64decode
from pathlib import Path
from typing import Any, Final

from renku_store.calls import Job
from renku_store.errors import ProducerError
from renku_store.producers.openai.asking import Asked
from renku_store.producers.openai.prices import Usage

IMAGE_SECONDS: Final = 600.0
"""An image comes whole: until then nothing is heard of it, for minutes where the quality is high."""

_SPEECH_FORMATS: Final = {
    "audio/mpeg": "mp3",
    "audio/mp3": "mp3",
    "audio/wav": "wav",
    "audio/x-wav": "wav",
    "audio/ogg": "opus",
    "audio/opus": "opus",
    "audio/flac": "flac",
    "audio/aac": "aac",
    "audio/pcm": "pcm",
}
_DEFAULT_VOICE: Final = "alloy"


async def draw(client: Any, job: Job, asked: Asked) -> tuple[bytes, str | None, Usage]:
    """Ask for an image; gives its bytes, the request id and what was used."""
    answer = await client.with_options(timeout=IMAGE_SECONDS).images.with_raw_response.generate(
        model=job.model,
        prompt=asked.prompt,
        n=1,
        extra_body=asked.extra or None,
        **_image_form(job, asked),
        **asked.options,
    )
    images = answer.parse()
    found = images.data[0] if images.data else None
    if found is None or not found.b64_json:
        raise ProducerError(
            f"{job.model} answered without the bytes of an image.",
            hint="The server must be able to answer with b64_json.",
        )
    try:
        data = b64decode(found.b64_json, validate=True)
    except (binascii.Error, ValueError):
        raise ProducerError(f"{job.model} answered with an image that is not base64.", retryable=True) from None
    usage = images.usage
    counted = Usage(input=usage.input_tokens or 0, output=usage.output_tokens or 0) if usage else Usage()
    return data, answer.headers.get("x-request-id"), Usage(input=counted.input, output=counted.output, images=1)


async def speak(client: Any, job: Job, asked: Asked, path: Path) -> tuple[str | None, Usage]:
    """Ask for speech, written to `path` as it comes; gives the request id and what was used."""
    if asked.mime_type not in _SPEECH_FORMATS:
        raise ProducerError(
            f"{job.producer}: openai speaks no {asked.mime_type}.",
            hint=f"Known are {', '.join(sorted(_SPEECH_FORMATS))}.",
        )
    size = 0
    speaking = client.audio.speech.with_streaming_response.create(
        model=job.model,
        input=asked.prompt,
        response_format=_SPEECH_FORMATS[asked.mime_type],
        extra_body=asked.extra or None,
        **{"voice": _DEFAULT_VOICE, **asked.options},
    )
    async with speaking as response:
        with path.open("wb") as file:
            async for piece in response.iter_bytes():
                size += len(piece)
                if size > job.max_output_bytes:
                    raise ProducerError(
                        f"The speech is longer than the {job.max_output_bytes:,} bytes that the job may write."
                    )
                file.write(piece)
        request_id = response.headers.get("x-request-id")
    if not size:
        raise ProducerError(f"{job.model} said nothing.", retryable=True)
    return request_id, Usage(characters=len(asked.prompt))


def _image_form(job: Job, asked: Asked) -> dict[str, str]:
    """How to ask for bytes: the newer models always give them, and are told the format; all others are asked."""
    if job.model.startswith(("gpt-image", "chatgpt-image")):
        return {"output_format": asked.mime_type.removeprefix("image/").removesuffix("+xml")}
    return {"response_format": "b64_json"}
