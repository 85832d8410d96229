"""Writes `schema/json/`: JSON Schemas (draft 2020-12) of the documents that others read, made from the records."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec.json import schema_components

from renku_store.records._base import Record
from renku_store.records.events import Event
from renku_store.records.graph import ProducerGraph
from renku_store.records.manifest import Expiry, Manifest, ManifestStub, Pointer, Tag
from renku_store.records.plan import ExecutionPlan

_REF: Final = "#/$defs/{name}"
_FOREIGN: Final[dict[Any, type[Record]]] = {ProducerGraph: ProducerGraph.written_as}
"""Classes that are no records, by how they are written."""
FOLDER: Final = Path(__file__).resolve().parent / "json"
DOCUMENTS: Final[dict[str, tuple[str, Any]]] = {
    "event": ("An event of a movie", Event),
    "expiry": ("When and why a revision expired", Expiry),
    "graph": ("The expanded graph of a movie", ProducerGraph.written_as),
    "manifest": ("A published revision", Manifest),
    "plan": ("What a run would do", ExecutionPlan),
    "pointer": ("current.json: the newest revision", Pointer),
    "stub": ("What stands in the place of an expired manifest", ManifestStub),
    "tag": ("A name for a revision", Tag),
}


def schema_texts() -> dict[str, str]:
    """Every schema file's text by its name."""
    return {
        f"{name}.schema.json": json.dumps(_schema(name, title, kind), indent=2, ensure_ascii=False) + "\n"
        for name, (title, kind) in DOCUMENTS.items()
    }


def _schema(name: str, title: str, kind: Any) -> dict[str, Any]:
    shown, definitions = _with_parts(kind)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:renku-store:schema:{name}:1",
        **shown,
        "title": title,
        "$defs": dict(sorted(definitions.items())),
    }


def _with_parts(kind: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The schema of a kind, and of those that it consists of."""
    (shown,), definitions = schema_components([kind], ref_template=_REF, schema_hook=_hook)
    for foreign, written in _FOREIGN.items():
        if _hook(foreign)["$ref"] in json.dumps([shown, definitions]):
            definitions[foreign.__name__], parts = _with_parts(written)
            definitions[foreign.__name__] |= {"title": foreign.__name__, "description": _told(foreign)}
            definitions |= parts
    records = {record.__name__: record for record in _records(Record)}
    for known in definitions.keys() & records.keys():
        _complete(definitions[known], records[known])
    own = shown.pop("$ref", "").removeprefix(_REF.format(name=""))
    return (definitions.pop(own) if own else shown), definitions


def _complete(definition: dict[str, Any], record: type[Record]) -> None:
    """Add what a class says beyond its types: defaults that are written, and fields of which there is one."""
    definition["description"] = _told(record)
    for field in msgspec.structs.fields(record):
        shown = definition["properties"][field.encode_name]
        if field.default_factory is not msgspec.NODEFAULT:
            shown["default"] = msgspec.to_builtins(field.default_factory())
    exactly_one: tuple[str, ...] = getattr(record, "exactly_one", ())
    if exactly_one:
        definition["oneOf"] = [{"required": [name]} for name in exactly_one]


def _told(kind: type) -> str:
    return inspect.cleandoc(kind.__doc__ or "")


def _hook(kind: type) -> dict[str, Any]:
    return {"$ref": _REF.format(name=kind.__name__)}


def _records(kind: type[Record]) -> Iterator[type[Record]]:
    for record in kind.__subclasses__():
        yield record
        yield from _records(record)


def main() -> None:
    """Write every schema file."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in schema_texts().items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
