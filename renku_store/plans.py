"""Plans as objects: `runs/<run>-plan.json`, what a run set out to do."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Final

from renku_store.drivers.base import Driver
from renku_store.errors import BlobCorruptError, BlobMissingError, NotFoundError
from renku_store.hashing import canonical_document
from renku_store.records._base import RecordError
from renku_store.records.graph import ProducerGraph
from renku_store.records.ids import check_run_id
from renku_store.records.plan import ExecutionPlan

_NO_JOBS: Final = ProducerGraph(nodes=[])


def plan_path(run: str) -> str:
    """The path of a run's plan relative to its movie."""
    return f"runs/{check_run_id(run)}-plan.json"


class PlanStore:
    """The plans of one movie."""

    def __init__(self, driver: Driver, new_id: Callable[[], str]) -> None:
        self._driver = driver
        self._new_id = new_id

    def save(
        self, plan: ExecutionPlan, guard: AbstractContextManager[None] | None = None, *, graph: bytes | None = None
    ) -> ExecutionPlan:
        """Write a plan, durably, and return it as it was written; a plan of no run is given the id of a new one.

        A run that is resumed replaces its plan. Nothing is written where the `guard`, entered for the writing, raises.
        `graph` is the canonical JSON of the plan's graph, from who can make it without a record of each job.
        """
        run = plan.run or self._new_id()
        saved = plan.replace(run=run)
        data = canonical_document(saved.to_json()) if graph is None else _around(graph, saved)
        with guard or nullcontext():
            self._driver.replace(plan_path(run), data)
        return saved

    def load(self, run: str) -> ExecutionPlan:
        """The plan of a run; `NotFoundError` where there is none, `BlobCorruptError` where it cannot be read."""
        try:
            return ExecutionPlan.read(self._driver.read(plan_path(run)))
        except BlobMissingError as error:
            raise NotFoundError(
                f"There is no plan of run {run}.", hint="`renku-store status` lists the runs."
            ) from error
        except RecordError as error:
            raise BlobCorruptError(
                f"The plan of run {run} cannot be read.", hint="Run again: it plans anew."
            ) from error


def _around(graph: bytes, plan: ExecutionPlan) -> bytes:
    """The canonical JSON of a plan, around that of its graph."""
    document = plan.replace(graph=_NO_JOBS).to_json()
    before = {key: value for key, value in document.items() if key < "graph"}
    after = {key: value for key, value in document.items() if key > "graph"}
    return canonical_document(before)[:-1] + b',"graph":' + graph + b"," + canonical_document(after)[1:]
