"""Bytes to digests, values to canonical JSON (RFC 8785), and what a result is known by: its signature.

Keeps invariant 1. Everything here is a function of its arguments alone.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

import orjson
from blake3 import blake3

from renku_store import bounds
from renku_store.errors import InvalidValueError
from renku_store.late import late_module
from renku_store.records._base import Json
from renku_store.records.graph import GraphNode, ProducerGraph
from renku_store.records.manifest import ArtefactValue, Manifest, ManifestArtefact, ManifestInput

if TYPE_CHECKING:
    import rfc8785
else:
    rfc8785 = late_module("rfc8785")

_LAST_BMP: Final = "\uffff"
_CONTAINERS: Final = frozenset({dict, list, tuple})
_SCALARS: Final = frozenset({str, int, bool, type(None)})
_SETTLED: Final = _SCALARS | _CONTAINERS | {float}
_ORJSON: Final = orjson.OPT_SORT_KEYS | orjson.OPT_STRICT_INTEGER
_LARGE_IN_TEXT: Final = re.compile(r"[0-9]{16}")
_LARGE_IN_BYTES: Final = re.compile(rb"[0-9]{16}")
"""So many digits has 2^53 - 1: without them there is no integer beyond it."""
_PLAIN_FLOAT_MIN: Final = 1e-4
"""From here up to 2^53 every float with a fraction looks the same in ECMAScript, in orjson and in `repr`."""


def hash_bytes(data: bytes | bytearray | memoryview) -> str:
    """The BLAKE3 digest of the bytes, 64 lower-case hex digits; on several threads where that pays."""
    if len(data) < bounds.HASH_THREADS_MIN_BYTES:
        return blake3(data).digest().hex()  # its own `hexdigest` takes a sixth longer, for 4 KiB
    return blake3(data, max_threads=_threads).hexdigest()


def _use_one_thread() -> None:
    # A fork copies the pool of hashing threads without its threads: a child that used it would wait for ever.
    global _threads  # noqa: PLW0603 (a fork is an event of the whole process)
    _threads = 1


_threads = blake3.AUTO
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_use_one_thread)


def canonical_json(value: Json, *, max_depth: int = bounds.VALUE_MAX_DEPTH) -> bytes:
    """The canonical JSON of a value per RFC 8785, as UTF-8; what `parse_json` reads from it has the same.

    Raises `InvalidValueError` for NaN, Infinity, integers beyond 2^53 - 1, text with lone surrogates, keys that are
    not text, lists and objects nested deeper than `max_depth`, and anything that is not JSON; the message names the
    place.
    """
    try:
        if type(value) is str:
            return orjson.dumps(value)
        (settled,) = _settle((value,), max_depth)
        return orjson.dumps(settled, option=_ORJSON)
    except _AstralKeyError:
        _refuse(value, max_depth)
        return rfc8785.dumps(value)
    except (_RefusedError, orjson.JSONEncodeError):
        _refuse(value, max_depth)
        raise


def canonical_objects(values: Sequence[dict[str, Json]]) -> list[str]:
    """`canonical_json` of many objects that hold the same keys."""
    if not values:
        return []
    _ = canonical_json(dict.fromkeys(values[0]))  # what is wrong with keys
    names = "".join(values[0])
    return [
        orjson.dumps(value, option=_ORJSON).decode()
        if names.isascii() and set(map(type, value.values())) <= _SCALARS
        else canonical_json(value).decode()
        for value in values
    ]


def canonical_document(document: Json) -> bytes:
    """`canonical_json` of a document of this project, which may hold values as deep as values may be."""
    return canonical_json(document, max_depth=bounds.DOCUMENT_MAX_DEPTH)


def parse_json(data: bytes | str) -> Json:
    """The value of a JSON text; raises `orjson.JSONDecodeError` (a `ValueError`) for anything else.

    Numbers without a fraction beyond 2^53 - 1 become floats, which is what they are everywhere but in Python: RFC
    8785 writes the float 1e20 as an integer.
    """
    value = orjson.loads(data)
    large = _LARGE_IN_TEXT if isinstance(data, str) else _LARGE_IN_BYTES
    try:
        return value if large.search(data) is None else exact_numbers(value)  # type: ignore[arg-type]
    except RecursionError as error:
        raise orjson.JSONDecodeError("nested too deeply", "", 0) from error


def exact_numbers(value: Json) -> Json:
    """A parsed value with integers beyond 2^53 - 1 as floats; lists and objects are copies."""
    if type(value) is int:
        return value if _is_safe(value) else float(value)
    if type(value) is list:
        return [exact_numbers(item) for item in value]
    if type(value) is dict:
        return {key: exact_numbers(item) for key, item in value.items()}
    return value


def hash_value(value: Json) -> str:
    """The BLAKE3 digest of the canonical JSON of a value."""
    return hash_bytes(canonical_json(value))


def hash_text(value: str) -> str:
    """`hash_value` of a short text; raises `orjson.JSONEncodeError` for one with lone surrogates."""
    return blake3(orjson.dumps(value)).digest().hex()


class _RefusedError(Exception):
    """Something in the value has no canonical JSON; `_refuse` finds out what and where."""


class _AstralKeyError(Exception):
    """A key goes beyond the basic plane: there alone the order of UTF-16 (RFC 8785) and UTF-8 (orjson) differ."""


def _settle(container: Any, depth: int) -> Any:
    """Return the container as orjson writes it canonically: itself, or a copy with some floats written by hand.

    A look at the set of types spares most containers a look at each item; orjson itself checks text and integers.
    """
    if depth < 0:
        raise _RefusedError
    is_object = type(container) is dict
    if is_object:
        _look_at_keys(container)
    kinds = set(map(type, container.values() if is_object else container))
    if kinds <= _SCALARS:
        return container
    if not kinds <= _SETTLED:
        raise _RefusedError
    if kinds == {dict} and depth and _settle_objects(container.values() if is_object else container):
        return container
    changed: Any = None
    for key, item in container.items() if is_object else enumerate(container):
        kind = type(item)
        if kind in _SCALARS:
            continue
        settled = _settle_float(item) if kind is float else _settle(item, depth - 1)
        if settled is not item:
            if changed is None:
                changed = dict(container) if is_object else list(container)
            changed[key] = settled
    return container if changed is None else changed


def _settle_objects(objects: Collection[dict[Any, Any]]) -> bool:
    """Whether nothing in some objects has to be changed or looked into; their keys are looked at together."""
    if not _SCALARS.issuperset(map(type, chain.from_iterable(map(dict.values, objects)))):
        return False
    _look_at_keys({*chain.from_iterable(objects)})
    return True


def _look_at_keys(container: Collection[Any]) -> None:
    try:
        keys = "".join(container)
    except TypeError:
        raise _RefusedError from None
    if not keys.isascii() and max(keys) > _LAST_BMP:
        raise _AstralKeyError


def _settle_float(number: float) -> float | int | orjson.Fragment:
    if number.is_integer() and _is_safe(number):
        return int(number)
    if _PLAIN_FLOAT_MIN <= abs(number) <= bounds.INTEGER_MAX:
        return number
    if not math.isfinite(number):
        raise _RefusedError
    return orjson.Fragment(rfc8785.dumps(number))


def _is_safe(number: float) -> bool:
    return -bounds.INTEGER_MAX <= number <= bounds.INTEGER_MAX


_NOT_PLAIN: Final = (_AstralKeyError, _RefusedError, orjson.JSONEncodeError)
"""What calls for the long way: it writes what the short one cannot, or says what is wrong."""


# What is refused, and where it is; walked only once something is


def _refuse(value: Any, max_depth: int) -> None:
    """Raise `InvalidValueError` for the first thing that has no canonical JSON, if there is one."""
    waiting: list[tuple[Any, tuple[str | int, ...]]] = [(value, ())]
    while waiting:
        item, path = waiting.pop()
        kind = type(item)
        if kind in _CONTAINERS:
            if len(path) >= max_depth:
                raise InvalidValueError(
                    f"The value at {_place(path[:3])} is nested more than {max_depth} levels deep.",
                    hint="Many JSON readers stop there; keep it flatter.",
                )
            if kind is dict:
                _refuse_keys(item, path)
            steps = item.items() if kind is dict else enumerate(item)
            waiting.extend(reversed([(below, (*path, step)) for step, below in steps]))
        elif kind is str:
            _refuse_text(item, path)
        elif kind is int or kind is float:
            _refuse_number(item, path)
        elif item is not None and kind is not bool:
            raise InvalidValueError(
                f"A {kind.__name__} at {_place(path)} is not JSON.",
                hint="Use text, numbers, lists, objects, true, false or null.",
            )


def _refuse_keys(container: dict[Any, Any], path: tuple[str | int, ...]) -> None:
    for key in container:
        if type(key) is not str:
            raise InvalidValueError(
                f"The key {_short(key)} at {_place(path)} is not text.", hint="Keys of JSON objects are text."
            )
        _refuse_text(key, path)


def _refuse_number(number: float, path: tuple[str | int, ...]) -> None:
    if isinstance(number, float) and not math.isfinite(number):
        name = "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"
        raise InvalidValueError(f"{name} at {_place(path)} is not JSON.", hint="Use null or leave the key out.")
    if isinstance(number, int) and not _is_safe(number):
        raise InvalidValueError(
            f"The integer {_short(number)} at {_place(path)} is beyond 2^53 - 1.",
            hint="Write it as text: not every JSON reader keeps such integers exactly.",
        )


def _refuse_text(text: str, path: tuple[str | int, ...]) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidValueError(
            f"The text at {_place(path)} has a lone surrogate.", hint="It is not valid Unicode."
        ) from None


def _place(path: tuple[str | int, ...]) -> str:
    if not path:
        return "the top"
    steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return ascii("".join(steps).removeprefix("."))[1:-1]


def _short(value: object) -> str:
    if isinstance(value, int) and abs(value) > 10**30:
        return "given"
    text = ascii(value)
    return text if len(text) <= 40 else text[:37] + "..."


# What a job's inputs come to, and the signature over them


def value_item(digest: str) -> dict[str, Json]:
    """The signed form of a reference to an input or into a JSON artefact: the hash of the selected value."""
    return {"kind": "value", "hash": digest}


def artefact_item(artefact: ArtefactValue) -> dict[str, Json]:
    """The signed form of a reference to a whole artefact: its content hash and MIME type."""
    return {"kind": "artefact", "hash": artefact.hash, "mimeType": artefact.mime_type}


def list_item(items: Iterable[dict[str, Json] | None]) -> dict[str, Json]:
    """The signed form of a fan-in, in loop order; null is a place without a job."""
    return {"kind": "list", "items": list(items)}


def signature(node: GraphNode, inputs: Mapping[str, dict[str, Json]]) -> str:
    """The identity of a job's result: BLAKE3 of canonical JSON of all that its producer sees.

    `inputs` maps each input name to `value_item`, `artefact_item` or `list_item`; a missing value is left out, which is
    not the same as null. Neither job id nor artefact ids are signed: two jobs that ask the same share a result.
    """
    outputs = {output.name: output.mime_type for output in node.produces}
    document: dict[str, Any] = {
        "format": bounds.FORMAT_VERSION,
        "producer": node.producer,
        "version": node.version,
        "provider": node.provider,
        "model": node.provider_model,
        "config": node.config,
        "context": node.context,
        "outputs": outputs,
        "inputs": inputs,
    }
    try:
        # All else is text below keys of this project, which orjson writes as it is to be.
        _look_at_keys(outputs)
        _look_at_keys(inputs)
        document["config"], document["context"] = _settle_beside((node.config, node.context))
        return hash_bytes(orjson.dumps(document, option=_ORJSON))
    except _NOT_PLAIN:
        return _hash_document({**document, "config": node.config, "context": node.context, "inputs": dict(inputs)})


def content_hash(
    inputs: Mapping[str, ManifestInput], artefacts: Mapping[str, ManifestArtefact], timeline: str | None
) -> str:
    """What a build comes to, whenever and wherever it was made: inputs, artefacts (hash, MIME type), timeline."""
    with suppress(
        _AstralKeyError, _RefusedError, orjson.JSONEncodeError, UnicodeEncodeError
    ):  # what calls for the long way
        return hash_bytes(_plain_content(inputs, artefacts, timeline))
    return _hash_document(
        {
            "inputs": {key: value.hash for key, value in inputs.items()},
            "artefacts": {key: [value.hash, value.mime_type] for key, value in artefacts.items()},
            "timeline": timeline,
        }
    )


def _settle_beside(parts: tuple[dict[str, Json], dict[str, Json]]) -> tuple[Json, Json]:
    """What people wrote, settled, as it lies in a document of this project: deep enough for any value."""
    first, second = (part if not part else _settle(part, bounds.VALUE_MAX_DEPTH) for part in parts)
    return first, second


def graph_bytes(graph: ProducerGraph) -> bytes:
    """The canonical JSON of an expanded graph: the blob that plans and manifests name by its hash.

    Without the prices: what a call is expected to cost is no property of what it makes, and changes nothing of it.
    Without the fingerprints of program files, too, which are noted where they made something.
    """
    document = graph.to_json()
    for node in document["nodes"]:
        node.pop("cost", None)
        node.pop("source", None)
    return canonical_document(document)


def manifest_content_hash(manifest: Manifest) -> str:
    """`content_hash` of a manifest's own parts: what its `contentHash` must say."""
    return content_hash(manifest.inputs, manifest.artefacts, manifest.timeline)


def _hash_document(document: Json) -> str:
    return hash_bytes(canonical_document(document))


def _plain_content(
    inputs: Mapping[str, ManifestInput], artefacts: Mapping[str, ManifestArtefact], timeline: str | None
) -> bytes:
    """The document of `content_hash` as text at once, where no id needs an escape.

    A list for each of 100,000 artefacts would have the interpreter look for cycles among them again and again.
    """
    given = {key: value.hash for key, value in inputs.items()}
    _look_at_keys(given)
    ids = sorted(artefacts)
    together = "".join(ids)
    if not together.isprintable() or '"' in together or "\\" in together:
        raise _RefusedError
    if not together.isascii() and max(together) > _LAST_BMP:
        raise _AstralKeyError
    quoted, entries = _Quoted(), map(artefacts.__getitem__, ids)
    body = ",".join(
        [f'"{key}":["{held.hash}",{quoted[held.mime_type]}]' for key, held in zip(ids, entries, strict=True)]
    )
    rest = orjson.dumps({"inputs": given, "timeline": timeline}, option=_ORJSON)
    return f'{{"artefacts":{{{body}}},'.encode() + rest[1:]


class _Quoted(dict[str, str]):
    """Texts as JSON, each made once."""

    def __missing__(self, text: str) -> str:
        self[text] = orjson.dumps(text).decode()
        return self[text]
