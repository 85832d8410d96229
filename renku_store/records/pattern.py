"""Many records that differ in some fields only: made from a pattern, unchecked, for what is known to be right.

Checking a record takes several times as long as making one, and one that is made field by field takes twice the room:
here all of a pattern share the names of their fields, and which of these were given. A pattern at the head of a module
is made by `model_construct`, which builds no class of records before one is used.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from itertools import repeat
from typing import Any, Final, TypeVar

from pydantic import BaseModel

from renku_store.records._base import Record

_Kind = TypeVar("_Kind", bound=Record)

_NEW: Final = object.__new__
_SET_VALUES: Final = BaseModel.__dict__["__dict__"].__set__
_SET_GIVEN: Final = BaseModel.__dict__["__pydantic_fields_set__"].__set__
_SET_EXTRA: Final = BaseModel.__dict__["__pydantic_extra__"].__set__
_SET_PRIVATE: Final = BaseModel.__dict__["__pydantic_private__"].__set__


def pattern(record: _Kind) -> Callable[..., _Kind]:
    """A function that makes records like this one, with other values of the fields that it is given.

    Nothing is checked or copied: the values must be what the record would hold, and nobody may change them.
    """
    kind, given = type(record), record.__pydantic_fields_set__
    shared = _with_shared_names(record)

    def make(**fields: Any) -> _Kind:
        made = _NEW(kind)
        values = shared.copy()
        values.update(fields)
        _SET_VALUES(made, values)
        _SET_GIVEN(made, given)
        _SET_EXTRA(made, None)
        _SET_PRIVATE(made, None)
        return made

    return make


def pattern_of_one(record: _Kind, field: str) -> Callable[[Any], _Kind]:
    """As `pattern`, for records that differ in one field."""
    kind, given = type(record), record.__pydantic_fields_set__
    shared = _with_shared_names(record)

    def make(value: Any) -> _Kind:
        made = _NEW(kind)
        values = shared.copy()
        values[field] = value
        _SET_VALUES(made, values)
        _SET_GIVEN(made, given)
        _SET_EXTRA(made, None)
        _SET_PRIVATE(made, None)
        return made

    return make


def pattern_of_two(record: _Kind, first: str, second: str) -> Callable[[Any, Any], _Kind]:
    """As `pattern`, for records that differ in two fields."""
    kind, given = type(record), record.__pydantic_fields_set__
    shared = _with_shared_names(record)

    def make(one: Any, other: Any) -> _Kind:
        made = _NEW(kind)
        values = shared.copy()
        values[first], values[second] = one, other
        _SET_VALUES(made, values)
        _SET_GIVEN(made, given)
        _SET_EXTRA(made, None)
        _SET_PRIVATE(made, None)
        return made

    return make


def drop_own_names(records: Iterable[Record], given: set[str]) -> None:
    """Let records share one set that says which fields they were given, instead of one each."""
    deque(map(_SET_GIVEN, records, repeat(given)), maxlen=0)


def _with_shared_names(record: Record) -> dict[str, Any]:
    """The values of a record in a dictionary whose copies share its keys (PEP 412)."""
    bare = object.__new__(type(record))
    for name, value in record.__dict__.items():
        object.__setattr__(bare, name, value)
    return vars(bare)
