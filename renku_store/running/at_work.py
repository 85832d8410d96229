"""Who works on which plan of a runner: its tasks are in one event loop; who executes all of it is alone with it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from renku_store.errors import InvalidValueError


@dataclass(slots=True)
class PlanAtWork:
    """A plan that is worked on: in which event loop, by how many tasks; who begins or expands it holds a lock of it."""

    loop: asyncio.AbstractEventLoop
    tasks: int = 0
    executed: bool = False
    opening: asyncio.Lock = field(default_factory=asyncio.Lock)
    expanding: asyncio.Lock = field(default_factory=asyncio.Lock)


class PlansAtWork:
    """The plans that are worked on, by their keys. Safe to use from many threads."""

    def __init__(self) -> None:
        self._plans: dict[str, PlanAtWork] = {}
        self._lock = threading.RLock()  # may be entered anew: a task that is collected as garbage leaves its plan

    @contextmanager
    def on(self, key: str, *, executes: bool = False) -> Iterator[PlanAtWork]:
        """Work on a plan for the length of a block, in the running event loop.

        Raises `InvalidValueError` where another loop works on it, and where somebody else does if either of the two
        `executes` all of it: who ends that lets go of the run, which others would still need.
        """
        plan = self._joined(key, executes=executes)
        try:
            yield plan
        finally:
            with self._lock:
                plan.tasks -= 1
                if not plan.tasks:
                    del self._plans[key]

    def _joined(self, key: str, *, executes: bool) -> PlanAtWork:
        loop = asyncio.get_running_loop()
        with self._lock:
            plan = self._plans.get(key)
            if plan is None:
                plan = self._plans[key] = PlanAtWork(loop)
            elif plan.executed and (executes or plan.loop is loop):
                raise InvalidValueError(
                    "This plan is being executed by this runner already.", hint="Wait for that, or plan again."
                )
            elif plan.loop.is_closed():
                raise InvalidValueError(
                    "Jobs of this plan were left behind in an event loop that is closed.",
                    hint="Plan again, and use a new runner.",
                )
            elif plan.loop is not loop or executes:
                where = "by this runner already" if plan.loop is loop else "in another event loop"
                raise InvalidValueError(
                    f"Jobs of this plan are being executed {where}.", hint="Let that end first, or plan again."
                )
            plan.tasks += 1
            plan.executed = executes
            return plan
