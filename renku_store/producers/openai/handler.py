"""The handler of `openai/...`: the official SDK, loaded when it is first needed; one client for each address and key.

The SDK tries nothing again by itself: whoever wraps the handler sees every failure, and decides.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, Final

from renku_store.calls import Job, JobContext, Produced
from renku_store.errors import ProducerError
from renku_store.producers.clients import ClientCache
from renku_store.producers.openai.asking import Asked, address_of, read_job
from renku_store.producers.openai.failures import translated
from renku_store.producers.openai.media import draw, speak
from renku_store.producers.openai.prices import Prices, Usage, read_prices
from renku_store.producers.openai.text import complete
from renku_store.producers.warming import WarmStart
from renku_store.records._base import Json

CONNECT_SECONDS: Final = 10.0
IDLE_SECONDS: Final = 120.0
"""A stream from which nothing comes for this long is dead; a model that thinks says so, or begins within it."""

_NO_KEY: Final = "none"
"""What a server without keys is told: the SDK wants one."""


class OpenAIHandler:
    """Calls models. `prices` are tables by model, for what the config of a job gives no `prices`; else a call costs 0.

    `base_url` is used where the config of a job names none, before the environment's. `idle_seconds` is how long a
    stream may be silent. Raises `RateLimitedError`, `ProducerError` (retryable or not),
    and `BadInputError` where the provider will not answer the prompt.
    """

    def __init__(
        self,
        prices: Mapping[str, Json] | None = None,
        *,
        base_url: str | None = None,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        self._prices = {model: read_prices(table) for model, table in (prices or {}).items()}
        self._base_url = base_url
        self._idle_seconds = idle_seconds
        self._clients: ClientCache[Any] = ClientCache(_close)

    async def __call__(self, job: Job, context: JobContext) -> Produced:
        """Call the model that the job names."""
        asked, prices = await asyncio.to_thread(read_job, job), self._prices_of(job)
        sdk = await asyncio.to_thread(_sdk)
        client = self._client(sdk, job.producer, job.config, context.secret)
        with translated(sdk, job.model):
            output, request_id, usage = await self._ask(client, job, asked, prices, context)
        return Produced({asked.output: output}, cost=prices.cost(usage), request_id=request_id)

    async def warm_start(self, warm: WarmStart) -> None:
        """Load the SDK, which takes half a second, and make the clients."""
        sdk = await asyncio.to_thread(_sdk)
        for node in warm.nodes:
            self._client(sdk, node.producer, node.config, warm.secret)

    async def close(self) -> None:
        """Close the clients' connections."""
        await self._clients.close()

    async def _ask(
        self, client: Any, job: Job, asked: Asked, prices: Prices, context: JobContext
    ) -> tuple[Any, str | None, Usage]:
        match asked.kind:
            case "image":
                return await draw(client, job, asked)
            case "speech":
                path = context.directory / "speech"
                request_id, usage = await speak(client, job, asked, path)
                return path, request_id, usage
            case _:
                text, answer = await complete(client, job, asked, prices)
                return text, answer.request_id, answer.usage

    def _client(self, sdk: ModuleType, producer: str, config: Mapping[str, Json], secret: Callable[[str], str]) -> Any:
        address = address_of(producer, config)
        key = secret(address.secret) if address.secret else _NO_KEY
        base_url = address.base_url or self._base_url

        def make() -> Any:
            timeout = sdk.Timeout(self._idle_seconds, connect=CONNECT_SECONDS)
            return sdk.AsyncOpenAI(api_key=key, base_url=base_url, max_retries=0, timeout=timeout)

        return self._clients.get((base_url, key), make)

    def _prices_of(self, job: Job) -> Prices:
        return read_prices(job.config["prices"]) if "prices" in job.config else self._prices.get(job.model, Prices())


async def _close(client: Any) -> None:
    await client.close()


def _sdk() -> ModuleType:
    try:
        return importlib.import_module("openai")
    except ModuleNotFoundError as error:
        if error.name != "openai":
            raise
        raise ProducerError(
            "openai needs its SDK, which is not installed.", hint="pip install 'renku-store[openai]'"
        ) from error
