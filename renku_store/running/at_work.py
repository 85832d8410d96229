"""Who works on which plan of a runner: what the tasks of one plan share is for one event loop, and one execution."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from renku_store.errors import InvalidValueError


@dataclass(slots=True)
class PlanAtWork:
    """A plan that is worked on: in which event loop, by how many tasks; `expanding` is held while it is expanded."""

    loop: asyncio.AbstractEventLoop
    tasks: int = 0
    executed: bool = False
    expanding: asyncio.Lock = field(default_factory=asyncio.Lock)


class PlansAtWork:
    """The plans that are worked on, by their keys. Safe to use from many threads."""

    def __init__(self) -> None:
        self._plans: dict[str, PlanAtWork] = {}
        self._lock = threading.RLock()  # may be entered anew: a task that is collected as garbage leaves its plan

    @contextmanager
    def on(self, key: str, *, executes: bool = False) -> Iterator[PlanAtWork]:
        """Work on a plan for the length of a block, in the running event loop.

        Raises `InvalidValueError` where another loop works on it, or, for who `executes` all of it, somebody else does.
        """
        plan = self._joined(key, executes=executes)
        try:
            yield plan
        finally:
            with self._lock:
                plan.tasks -= 1
                plan.executed = plan.executed and not executes
                if not plan.tasks:
                    del self._plans[key]

    def _joined(self, key: str, *, executes: bool) -> PlanAtWork:
        loop = asyncio.get_running_loop()
        with self._lock:
            plan = self._plans.setdefault(key, PlanAtWork(loop))
            if executes and plan.executed:
                raise InvalidValueError(
                    "This plan is being executed by this runner already.", hint="Wait for that, or plan again."
                )
            if plan.loop is not loop:
                raise InvalidValueError(
                    "Jobs of this plan are being executed in another event loop.",
                    hint="Let that end first, or plan again.",
                )
            plan.tasks += 1
            plan.executed = plan.executed or executes
            return plan
