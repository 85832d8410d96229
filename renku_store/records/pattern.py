"""Many records that differ in some fields only: made from a pattern, unchecked, for what is known to be right.

Checking a record takes several times as long as making one, and one that is made field by field takes twice the room:
here all of a pattern share the names of their fields, and which of these were given.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

from pydantic import BaseModel

from renku_store.records._base import Record

_Kind = TypeVar("_Kind", bound=Record)

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
        made = object.__new__(kind)
        values = shared.copy()
        values.update(fields)
        _SET_VALUES(made, values)
        _SET_GIVEN(made, given)
        _SET_EXTRA(made, None)
        _SET_PRIVATE(made, None)
        return made

    return make


def share_given(records: list[_Kind]) -> list[_Kind]:
    """The same records, of one kind: which of its fields were given is noted once for all of them, where it is alike."""
    known: dict[frozenset[str], set[str]] = {}
    for record in records:
        given = record.__pydantic_fields_set__
        _SET_GIVEN(record, known.setdefault(frozenset(given), given))
    return records


def _with_shared_names(record: Record) -> dict[str, Any]:
    """The values of a record in a dictionary whose copies share its keys (PEP 412)."""
    bare = object.__new__(type(record))
    for name, value in record.__dict__.items():
        object.__setattr__(bare, name, value)
    return bare.__dict__
