"""Finds the handler for `provider/model@version`: registered ones first, then those that installed packages offer.

A package offers handlers by an entry point in the group `renku_store.producers`: its name is the provider, its object a
function that is given the registry and registers them. It is loaded when the provider is first asked for.

A handler, or the object whose method it is, may have `async warm_start(warm)` and `async close()`. Handlers are given
secrets, and nothing of these leaves through here: see `secrets`.
"""

from __future__ import annotations

import difflib
import logging
import re
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import EntryPoint, entry_points
from typing import Final, Self, TypeAlias

from renku_store.answers import check_answer
from renku_store.calls import Job, JobContext, Produce, Produced
from renku_store.errors import (
    BadInputError,
    InvalidIdError,
    InvalidValueError,
    NotFoundError,
    ProducerError,
    StoreError,
)
from renku_store.producers.command import run_command
from renku_store.producers.demo.handlers import HANDLERS
from renku_store.producers.openai import OpenAIHandler
from renku_store.producers.python import call_function
from renku_store.producers.secrets import Discretion, SecretResolver, Secrets, from_environment
from renku_store.producers.warming import Warming
from renku_store.records._base import RecordError
from renku_store.records.graph import CostRule, GraphNode
from renku_store.records.plan import ExecutionPlan

Cost: TypeAlias = CostRule | float | Mapping[str, object]
"""What a call is expected to take, in US dollars."""

ENTRY_POINT_GROUP: Final = "renku_store.producers"

_DESCRIPTOR: Final = re.compile(r"(?P<provider>[^/@\s]+)/(?P<model>[^@\s]+)@(?P<version>[^@\s]+)")


class ProducerRegistry:
    """Handlers by provider, model and version. Calling it is a `Produce`: find the handler, call it, check its answer.

    `offered` are the entry points to look at, by provider; those of the installed packages unless given. `secrets`
    finds the value of a secret by its name, in the environment unless given. Have one registry in a process: what its
    handlers share is shared by all runs. `close` it, or use it as an async context manager, to let go of that.
    """

    def __init__(
        self,
        offered: Mapping[str, EntryPoint] | None = None,
        *,
        secrets: SecretResolver = from_environment,
        logger: logging.Logger | None = None,
    ) -> None:
        self._handlers: dict[tuple[str, str, str], Produce] = {}
        self._providers: dict[str, Produce] = {}
        self._costs: dict[tuple[str, str, str], CostRule | None] = {}
        self._offered = dict(offered) if offered is not None else None
        found = Secrets(secrets)
        self._discretion = Discretion(found)
        log = self._discretion.logger(logger or logging.getLogger(__name__.partition(".")[0]))
        self._warming = Warming(found.get, log, self._discretion.error)

    def register(self, descriptor: str, handler: Produce, *, cost: Cost | None = None) -> None:
        """Register a handler for `provider/model@version`; the last one registered wins.

        `cost` is what one call is expected to take, in US dollars: a number, or a `CostRule` (or what is one in JSON).
        A blueprint's own `cost` goes before it. Raises `InvalidIdError` where the descriptor has another form,
        `InvalidValueError` where the cost has.
        """
        known = _parts(descriptor)
        self._costs[known] = _rule(descriptor, cost)
        self._handlers[known] = handler

    def register_provider(self, provider: str, handler: Produce) -> None:
        """Register one handler for all models and versions of a provider that are not registered one by one."""
        self._providers[provider] = handler

    def price(self, node: GraphNode) -> CostRule | None:
        """What a call of a node is expected to take, by what it was registered with; None where that says nothing."""
        with suppress(StoreError):  # that a provider cannot be loaded is told where its handler is needed
            self._load_offered(node.provider)
        return self._costs.get((node.provider, node.provider_model, node.version))

    def resolve(self, provider: str, model: str | None = None, version: str | None = None) -> Produce:
        """Return the handler for a provider, a model and a version, or for the one text `provider/model@version`.

        Raises `NotFoundError` with the nearest name that is registered, `InvalidIdError` where a text alone has another
        form.
        """
        if model is None or version is None:
            provider, model, version = _parts(provider)
        self._load_offered(provider)
        handler = self._handlers.get((provider, model, version)) or self._providers.get(provider)
        if handler is None:
            asked = f"{provider}/{model}@{version}"
            raise NotFoundError(f"There is no producer {asked}.", hint=self._nearest(asked))
        return handler

    def check(self, plan: ExecutionPlan) -> None:
        """See that every job that is to run has a handler; `NotFoundError` names the first that has none."""
        dirty = set(plan.dirty)
        seen: set[tuple[str, str, str]] = set()
        for node in plan.graph.nodes:
            asked = (node.provider, node.provider_model, node.version)
            if node.job_id in dirty and asked not in seen:
                seen.add(asked)
                try:
                    self.resolve(*asked)
                except NotFoundError as error:
                    raise NotFoundError(f"{node.producer}: {error.message}", hint=error.hint) from None

    def warm_start(self, plan: ExecutionPlan) -> None:
        """Begin the warm start of every handler that the plan calls, once each; to be called in the event loop.

        It goes on beside other work, and a call waits for that of its handler. What it raises is the failure of the
        handler's jobs. A handler whose warm start was not begun so is warmed by its first call.
        """
        called = {job for job in plan.dirty if not plan.jobs[job].reuse}
        nodes: dict[tuple[str, str, str], list[GraphNode]] = {}
        for node in plan.graph.nodes:
            if node.job_id in called:
                nodes.setdefault((node.provider, node.provider_model, node.version), []).append(node)
        wanted: list[tuple[Produce, list[GraphNode]]] = []
        for asked, group in nodes.items():
            with suppress(StoreError):  # the job whose handler it is says so
                wanted.append((self.resolve(*asked), group))
        self._warming.begin_all(wanted)

    async def close(self) -> None:
        """Let handlers let go of what they share: clients, connections, loaded models. They can be used again."""
        await self._warming.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def known(self) -> list[str]:
        """Return what is registered, sorted: `provider/model@version`, or `provider` for a whole one."""
        return sorted(
            [f"{provider}/{model}@{version}" for provider, model, version in self._handlers] + list(self._providers)
        )

    async def __call__(self, job: Job, context: JobContext) -> Produced:
        """Call the job's handler; raises `NotFoundError`, or `ProducerError` for a failure or a wrong answer."""
        handler = self.resolve(job.provider, job.model, job.version)
        await self._warming.ready(handler)
        try:
            answer = await handler(job, self._discretion.context(context))
            produced = check_answer(job, lambda: context.directory, answer)
            return await self._discretion.answer(job, produced)
        except Exception as error:  # the boundary of a handler: whatever it raises may hold a secret
            cleaned = self._discretion.error(error)
            if cleaned is error:
                raise
            raise cleaned from None

    def _load_offered(self, provider: str) -> None:
        if self._offered is None:
            self._offered = {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}
        point = self._offered.get(provider)
        if point is None:
            return
        try:
            register = point.load()
            register(self)
        except BadInputError:
            raise
        except Exception as error:  # the code of another package, at a job's boundary
            raise ProducerError(
                f"The producers of {provider!r} cannot be loaded: {type(error).__name__}: {error}",
                hint=f"They are offered by the entry point {point.value!r}.",
            ) from error
        del self._offered[provider]

    def _nearest(self, asked: str) -> str:
        known = self.known()
        near = difflib.get_close_matches(asked, [*known, *(self._offered or {})], n=1)
        if near:
            return f"Did you mean {near[0]}?"
        return f"Known are {', '.join(known)}." if known else "Nothing is registered."


def _parts(descriptor: str) -> tuple[str, str, str]:
    """Provider, model and version."""
    match = _DESCRIPTOR.fullmatch(descriptor)
    if match is None:
        raise InvalidIdError(
            f"{descriptor!r} does not name a producer.", hint="Write provider/model@version, as in demo/narrate@1."
        )
    return match["provider"], match["model"], match["version"]


def _rule(descriptor: str, cost: Cost | None) -> CostRule | None:
    if cost is None:
        return None
    try:
        return CostRule.from_json(cost)
    except RecordError as error:
        raise InvalidValueError(
            f"The cost of {descriptor} is not understood: {error}.",
            hint='For example 0.04, or {"perCharacter": 0.00002, "of": "text"}.',
        ) from None


def default_registry(*, secrets: SecretResolver = from_environment) -> ProducerRegistry:
    """Return a new registry with what comes with the project, and what installed packages offer.

    That is `command`, `python`, `openai` and the demo's producers. `secrets` as for `ProducerRegistry`.
    """
    registry = ProducerRegistry(secrets=secrets)
    registry.register_provider("command", run_command)
    registry.register_provider("python", call_function)
    registry.register_provider("openai", OpenAIHandler())
    for descriptor, handler in HANDLERS.items():
        registry.register(descriptor, handler, cost=0.0)
    return registry
