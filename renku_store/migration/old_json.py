"""JSON as older systems wrote it: every digit of its numbers kept, and what is cut off told from what is wrong."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import Any, Final

import orjson

from renku_store import bounds
from renku_store.errors import InvalidValueError
from renku_store.hashing import canonical_json
from renku_store.records._base import Json

_LONG: Final = re.compile(rb"[0-9]{16}")
_SAFE: Final = 2**53 - 1
_DEPTH_MAX: Final = 300
"""Far more than a value may have that is kept, and no danger to recursion."""


class OldJsonError(ValueError):
    """A text is no JSON; `torn`: because its end is missing."""

    def __init__(self, why: str, *, torn: bool = False) -> None:
        super().__init__(why)
        self.why = why
        self.torn = torn


def parse_old_json(data: bytes) -> Any:
    """The value of a JSON text, integers exact, whatever their size; NaN and infinities are read, too.

    Raises `OldJsonError`.
    """
    with suppress(orjson.JSONDecodeError):
        if not _LONG.search(data):
            return _shallow(orjson.loads(data), data)
    try:
        value = _shallow(json.loads(data), data)
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeDecodeError as error:
        torn = _is_torn(data.decode(errors="replace"))
        raise OldJsonError("It has bytes that are no UTF-8.", torn=torn) from error
    except UnicodeEncodeError as error:
        raise OldJsonError("It has half of a character.") from error
    except RecursionError as error:
        raise OldJsonError("It nests too deeply.") from error
    except OldJsonError:
        raise
    except ValueError as error:
        raise OldJsonError("It is not JSON.", torn=_is_torn(data.decode(errors="replace"))) from error
    return value


def _shallow(value: Any, data: bytes) -> Any:
    """The value, unless it nests too deeply for what is done with it."""
    level = [value] if data.count(b"[") + data.count(b"{") > _DEPTH_MAX else []
    for _ in range(_DEPTH_MAX):
        level = [
            below
            for item in level
            for below in (item.values() if isinstance(item, dict) else item if isinstance(item, list) else ())
        ]
        if not level:
            return value
    raise OldJsonError("It nests too deeply.")


def _is_torn(text: str) -> bool:
    """Whether a text would be JSON if it went on."""
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        return error.pos >= len(text) or "Unterminated" in error.msg or not text.rstrip().endswith("}")
    except (ValueError, RecursionError):
        return False
    return False


def document_bytes(value: Json) -> bytes:
    """A JSON document as canonical JSON, but for integers beyond 2^53, which keep their digits.

    Raises `InvalidValueError` for whatever else canonical JSON refuses.
    """
    try:
        return canonical_json(value)
    except InvalidValueError:
        if not _has_large(value):
            raise
        canonical_json(_without_large(value))
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()


def is_canonical(value: Json) -> bool:
    """Whether canonical JSON can say a value."""
    try:
        canonical_json(value)
    except InvalidValueError:
        return False
    return True


def _has_large(value: Json) -> bool:
    """Whether some integer is too large, in a value that does not nest too deeply."""
    waiting: list[tuple[Json, int]] = [(value, 0)]
    found = False
    while waiting:
        item, depth = waiting.pop()
        if depth > bounds.VALUE_MAX_DEPTH:
            return False
        found = found or (isinstance(item, int) and abs(item) > _SAFE)
        inner = item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()
        waiting += [(below, depth + 1) for below in inner]
    return found


def _without_large(value: Json) -> Json:
    if isinstance(value, dict):
        return {key: _without_large(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_large(item) for item in value]
    return 0 if isinstance(value, int) and abs(value) > _SAFE else value
