"""What a scalar of YAML means, by the core schema of YAML 1.2 (10.3), less what JSON has not."""

from __future__ import annotations

import math
import re
from typing import Any, Final

from renku_store import bounds
from renku_store.blueprint.places import Place, shown
from renku_store.errors import BlueprintError

Scalar = str | int | float | bool | None

CORE: Final = "tag:yaml.org,2002:"
_NULL: Final = re.compile(r"null|Null|NULL|~|")
_BOOL: Final = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT: Final = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE: Final = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_INT_MAX_CHARS: Final = 40


def resolve(event: Any, place: Place) -> Scalar:
    """What a scalar means: by its tag if it has one, by its looks if it is plain, else text."""
    text: str = event.value
    if event.tag is None:
        return _plain(text, place) if event.implicit[0] else text
    if event.tag in {"!", f"{CORE}str"}:
        return text
    kinds: dict[str, tuple[type, ...]] = {
        "null": (type(None),),
        "bool": (bool,),
        "int": (int,),
        "float": (int, float),
    }
    kind = kinds.get(event.tag.removeprefix(CORE)) if event.tag.startswith(CORE) else None
    if kind is None:
        raise unknown_tag(event.tag, place)
    value = _plain(text, place)
    if not isinstance(value, kind) or (isinstance(value, bool) and bool not in kind):
        raise place.error(f"{shown(text)} is not what its tag says.", "Leave the tag out.")
    return value


def _plain(text: str, place: Place) -> Scalar:
    if _NULL.fullmatch(text):
        return None
    if _BOOL.fullmatch(text):
        return text[0] in "tT"
    if _INT.fullmatch(text):
        return _integer(text, place)
    if _NOT_FINITE.fullmatch(text):
        raise place.error(f"{text} is not a JSON value.", 'Use null, or a text in quotes: ".inf".')
    if _FLOAT.fullmatch(text):
        number = float(text)
        if not math.isfinite(number):
            raise place.error(f"The number {shown(text)} is too large.", "Write it as a text, in quotes.")
        return number
    return text


def _integer(text: str, place: Place) -> int:
    base = {"0o": 8, "0x": 16}.get(text[:2], 10)
    value = int(text, base) if len(text) <= _INT_MAX_CHARS else bounds.INTEGER_MAX + 1
    if abs(value) > bounds.INTEGER_MAX:
        raise place.error(
            f"The integer {shown(text)} is beyond 2^53 - 1.",
            "Write it as a text, in quotes: not every JSON reader keeps such integers exactly.",
        )
    return value


def unknown_tag(tag: str, place: Place) -> BlueprintError:
    """The error for a tag that is none of the core schema's, or not for this kind of node."""
    return place.error(f"The tag {shown(tag)} is not supported.", "Leave it out.")
