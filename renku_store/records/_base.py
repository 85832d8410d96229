"""The base of every JSON record: frozen, camelCase outside, snake_case inside, fields it does not know ignored."""

from __future__ import annotations

from typing import Annotated, Any, Final, TypeVar

from pydantic import BaseModel, ConfigDict, JsonValue, StringConstraints
from pydantic.alias_generators import to_camel

Json = JsonValue
"""Any JSON value, as Python holds it."""

Hash = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
"""A BLAKE3 digest: 64 lower-case hex digits."""


def exactly_one(*fields: str) -> dict[str, Any]:
    """What the JSON Schema of a record adds where exactly one of the fields (as written) must be there."""
    return {"oneOf": [{"required": [field]} for field in fields]}


class Record(BaseModel):
    """A frozen value with a JSON form; absent optional fields are left out of it, never written as null.

    How a class is checked and written is worked out when its first instance is: a command uses few of them. pydantic
    lets threads take turns at that.
    """

    model_config = ConfigDict(
        frozen=True,
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        extra="ignore",
        defer_build=True,
    )

    def to_json(self) -> dict[str, Any]:
        """The JSON form: camelCase keys, absent fields left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


R = TypeVar("R", bound=Record)
_set: Final = object.__setattr__  # a record's own refuses


def with_changed(record: R, field: str, value: object) -> R:
    """A record with another value, not checked, of one field: `model_copy`, which takes five times as long.

    For what is done to every event. Our records have neither extra fields nor private attributes.
    """
    copy: R = object.__new__(type(record))
    _set(copy, "__dict__", {**record.__dict__, field: value})
    _set(copy, "__pydantic_fields_set__", {*record.__pydantic_fields_set__, field})
    _set(copy, "__pydantic_extra__", None)
    _set(copy, "__pydantic_private__", None)
    return copy
