"""The base of every JSON record: frozen, camelCase outside, snake_case inside, fields it does not know ignored."""

from __future__ import annotations

import os
import threading
from functools import cache, partial
from typing import TYPE_CHECKING, Annotated, Any, Final, Self, TypeAlias, TypeVar, dataclass_transform

import msgspec

if TYPE_CHECKING:
    Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"
    """Any JSON value, as Python holds it."""
else:
    Json = Any

Hash = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$", max_length=64)]
"""A BLAKE3 digest: 64 lower-case hex digits."""

ManyHash = Annotated[str, msgspec.Meta(min_length=64, max_length=64, extra_json_schema={"pattern": r"^[0-9a-f]{64}$"})]
"""A digest of which there are so many that they are looked at together (`check_hashes`): only its length is checked."""

Kind = TypeVar("Kind")


class RecordError(ValueError):
    """Something does not have the shape of a record; `place` says where it has not: `jobs.clip.layer`."""

    def __init__(self, message: str, place: str = "") -> None:
        super().__init__(f"{place}: {message}" if place else message)
        self.message = message
        self.place = place


class _RecordMeta(msgspec.StructMeta):
    """Of classes whose fields are given by name, those of their bases, too."""

    def __new__(mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **options: Any) -> _RecordMeta:
        return super().__new__(mcs, name, bases, namespace, **{"kw_only": True, **options})


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(msgspec.field,))
class Record(
    msgspec.Struct,
    metaclass=_RecordMeta,
    frozen=True,
    rename="camel",
    omit_defaults=True,  # None is the default that is left out; `written` says which others are not
    gc=False,  # a record holds no cycle
):
    """A frozen value with a JSON form; absent optional fields are left out of it, never written as null.

    What is read (`read`, `from_json`) is checked; what is called into being is not, and shares the lists it is given.
    """

    @classmethod
    def read(cls, data: bytes | str) -> Self:
        """The record that JSON text holds. Raises `RecordError`."""
        return read_as(cls, data)

    @classmethod
    def from_json(cls, document: object) -> Self:
        """The record that a JSON value stands for. Raises `RecordError`."""
        return made_of(cls, document)

    def to_json(self) -> dict[str, Any]:
        """The JSON form: camelCase keys, absent fields left out."""
        document: dict[str, Any] = to_builtins(self)
        return document

    def to_bytes(self) -> bytes:
        """The JSON form as text in UTF-8, its keys in the order of the fields."""
        return to_bytes(self)

    def replace(self, **changes: Any) -> Self:
        """The same with other values of some fields, which are not checked."""
        changed: Self = msgspec.structs.replace(self, **changes)
        return changed

    def values(self) -> dict[str, Any]:
        """The values by the names of the fields, as the class is called with them."""
        return msgspec.structs.asdict(self)


def written(default: Kind) -> Kind:
    """A default that is written like any other value; an empty list or dict is made anew for each record."""
    kind: Any = type(default) if isinstance(default, (list, dict)) else None
    make = (lambda: default) if kind is None else partial(kind, default)
    field: Kind = msgspec.field(default_factory=make)
    return field


def read_as(kind: type[Kind], data: bytes | str) -> Kind:
    """What JSON text holds, of any kind that consists of records. Raises `RecordError`."""
    try:
        hashable: Any = kind
        found: Kind = _decoder(hashable).decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _refused(error) from None
    return found


@cache
def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    """What reads a kind: to find out how takes several times as long as to read an event or the outputs of a trace."""
    with _finding_out:
        return msgspec.json.Decoder(kind, dec_hook=_from_json)


# What msgspec finds out of a class is kept with the class, and seen there by other threads before it is whole: one that
# reads by it then ends the process. So one thread at a time finds out, and nobody forks meanwhile.
_finding_out: Final = threading.RLock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_finding_out.acquire, after_in_parent=_finding_out.release, after_in_child=_finding_out.release
    )


def made_of(kind: type[Kind], document: object) -> Kind:
    """What a JSON value stands for, of any kind that consists of records. Raises `RecordError`."""
    hashable: Any = kind
    _decoder(hashable)  # finds out of the kind what is to be known before it is converted to
    try:
        made: Kind = msgspec.convert(document, kind, dec_hook=_from_json)
    except (msgspec.ValidationError, RecursionError) as error:
        raise _refused(error) from None
    return made


def to_builtins(value: object) -> Any:
    """The JSON value of records and of what holds them."""
    return msgspec.to_builtins(value, enc_hook=_to_json)


def to_bytes(value: object) -> bytes:
    """JSON text of records and of what holds them, keys in the order in which they are held."""
    return _ENCODER.encode(value)


def _from_json(kind: Any, document: object) -> object:
    return kind.from_json(document)


def _to_json(value: Any) -> object:
    return value.to_json()


_ENCODER: Final = msgspec.json.Encoder(enc_hook=_to_json)


_AT: Final = " - at `"


def _refused(error: Exception) -> RecordError:
    message, _, place = str(error).partition(_AT)
    return RecordError(message.replace("`", ""), place.removesuffix("`").removeprefix("$").lstrip("."))
