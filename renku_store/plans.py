"""Plans as objects: `runs/<run>-plan.json`, what a run set out to do."""

from __future__ import annotations

from pydantic import ValidationError

from renku_store.drivers.base import Driver
from renku_store.errors import BlobCorruptError, BlobMissingError, NotFoundError
from renku_store.hashing import canonical_document
from renku_store.records.ids import check_run_id
from renku_store.records.plan import ExecutionPlan


def plan_path(run: str) -> str:
    """The path of a run's plan relative to its movie."""
    return f"runs/{check_run_id(run)}-plan.json"


class PlanStore:
    """The plans of one movie."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def save(self, plan: ExecutionPlan) -> str:
        """Write the plan of `plan.run`, durably, and return its path; a run that is resumed replaces its plan."""
        if plan.run is None:
            raise NotFoundError("The plan names no run.", hint="Set `run` before saving: plan.model_copy(update=...).")
        path = plan_path(plan.run)
        self._driver.replace(path, canonical_document(plan.to_json()))
        return path

    def load(self, run: str) -> ExecutionPlan:
        """The plan of a run; `NotFoundError` where there is none, `BlobCorruptError` where it cannot be read."""
        try:
            return ExecutionPlan.model_validate_json(self._driver.read(plan_path(run)))
        except BlobMissingError as error:
            raise NotFoundError(
                f"There is no plan of run {run}.", hint="`renku-store status` lists the runs."
            ) from error
        except ValidationError as error:
            raise BlobCorruptError(
                f"The plan of run {run} cannot be read.", hint="Run again: it plans anew."
            ) from error
