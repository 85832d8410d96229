"""The base of every JSON record: frozen, camelCase outside, snake_case inside, fields it does not know ignored."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, JsonValue, StringConstraints
from pydantic.alias_generators import to_camel

Json = JsonValue
"""Any JSON value, as Python holds it."""

Hash = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
"""A BLAKE3 digest: 64 lower-case hex digits."""

_BUILDING = threading.RLock()


def exactly_one(*fields: str) -> dict[str, Any]:
    """What the JSON Schema of a record adds where exactly one of the fields (as written) must be there."""
    return {"oneOf": [{"required": [field]} for field in fields]}


class Record(BaseModel):
    """A frozen value with a JSON form; absent optional fields are left out of it, never written as null.

    How a class is checked and written is worked out when its first instance is: a command uses few of them.
    """

    model_config = ConfigDict(
        frozen=True,
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        extra="ignore",
        defer_build=True,
    )

    @classmethod
    def model_rebuild(
        cls,
        *,
        force: bool = False,
        raise_errors: bool = True,
        _parent_namespace_depth: int = 2,
        _types_namespace: Mapping[str, Any] | None = None,
    ) -> bool | None:
        """Work out how a class is checked and written; of threads that need it at once the others wait."""
        with _BUILDING:  # older versions of pydantic take no turns
            return super().model_rebuild(
                force=force,
                raise_errors=raise_errors,
                _parent_namespace_depth=_parent_namespace_depth + 1,
                _types_namespace=_types_namespace,
            )

    def to_json(self) -> dict[str, Any]:
        """The JSON form: camelCase keys, absent fields left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)
