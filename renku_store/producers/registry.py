"""Finds the handler for `provider/model@version`: registered ones first, then those that installed packages offer.

A package offers handlers by an entry point in the group `renku_store.producers`: its name is the provider, its object a
function that is given the registry and registers them. It is loaded when the provider is first asked for.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Final

from renku_store.answers import check_answer
from renku_store.calls import Job, JobContext, Produce, Produced
from renku_store.errors import BadInputError, InvalidIdError, NotFoundError, ProducerError
from renku_store.producers.command import run_command
from renku_store.producers.demo.handlers import HANDLERS
from renku_store.producers.python import call_function
from renku_store.records.plan import ExecutionPlan

ENTRY_POINT_GROUP: Final = "renku_store.producers"

_DESCRIPTOR: Final = re.compile(r"(?P<provider>[^/@\s]+)/(?P<model>[^@\s]+)@(?P<version>[^@\s]+)")


class ProducerRegistry:
    """Handlers by provider, model and version. Calling it is a `Produce`: find the handler, call it, check its answer.

    `offered` are the entry points to look at, by provider; those of the installed packages unless given.
    """

    def __init__(self, offered: Mapping[str, EntryPoint] | None = None) -> None:
        self._handlers: dict[tuple[str, str, str], Produce] = {}
        self._providers: dict[str, Produce] = {}
        self._offered = dict(offered) if offered is not None else None

    def register(self, descriptor: str, handler: Produce) -> None:
        """Register a handler for `provider/model@version`; the last one registered wins.

        Raises `InvalidIdError` where the descriptor has another form.
        """
        match = _DESCRIPTOR.fullmatch(descriptor)
        if match is None:
            raise InvalidIdError(
                f"{descriptor!r} does not name a producer.", hint="Write provider/model@version, as in demo/narrate@1."
            )
        self._handlers[match["provider"], match["model"], match["version"]] = handler

    def register_provider(self, provider: str, handler: Produce) -> None:
        """Register one handler for all models and versions of a provider that are not registered one by one."""
        self._providers[provider] = handler

    def resolve(self, provider: str, model: str, version: str) -> Produce:
        """Return the handler; raises `NotFoundError` with the nearest name that is registered."""
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

    def known(self) -> list[str]:
        """Return what is registered, sorted: `provider/model@version`, or `provider` for a whole one."""
        return sorted(
            [f"{provider}/{model}@{version}" for provider, model, version in self._handlers] + list(self._providers)
        )

    async def __call__(self, job: Job, context: JobContext) -> Produced:
        """Call the job's handler; raises `NotFoundError`, or `ProducerError` for a failure or a wrong answer."""
        handler = self.resolve(job.provider, job.model, job.version)
        return check_answer(job, context.directory, await handler(job, context))

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


def default_registry() -> ProducerRegistry:
    """Return a new registry with `command`, `python` and the demo's producers, and what installed packages offer."""
    registry = ProducerRegistry()
    registry.register_provider("command", run_command)
    registry.register_provider("python", call_function)
    for descriptor, handler in HANDLERS.items():
        registry.register(descriptor, handler)
    return registry
