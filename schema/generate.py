"""Writes `schema/json/`: JSON Schemas (draft 2020-12) of the documents that others read, made from the records."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter

from renku_store.records.events import Event
from renku_store.records.graph import ProducerGraph
from renku_store.records.manifest import Expiry, Manifest, ManifestStub, Pointer, Tag
from renku_store.records.plan import ExecutionPlan

FOLDER: Final = Path(__file__).resolve().parent / "json"
DOCUMENTS: Final[dict[str, tuple[str, TypeAdapter[Any]]]] = {
    "event": ("An event of a movie", TypeAdapter(Event)),
    "expiry": ("When and why a revision expired", TypeAdapter(Expiry)),
    "graph": ("The expanded graph of a movie", TypeAdapter(ProducerGraph)),
    "manifest": ("A published revision", TypeAdapter(Manifest)),
    "plan": ("What a run would do", TypeAdapter(ExecutionPlan)),
    "pointer": ("current.json: the newest revision", TypeAdapter(Pointer)),
    "stub": ("What stands in the place of an expired manifest", TypeAdapter(ManifestStub)),
    "tag": ("A name for a revision", TypeAdapter(Tag)),
}


def schema_texts() -> dict[str, str]:
    """Every schema file's text by its name."""
    return {
        f"{name}.schema.json": json.dumps(_schema(name, title, adapter), indent=2, ensure_ascii=False) + "\n"
        for name, (title, adapter) in DOCUMENTS.items()
    }


def _schema(name: str, title: str, adapter: TypeAdapter[Any]) -> dict[str, Any]:
    generated = adapter.json_schema(by_alias=True, mode="validation")
    definitions = generated.pop("$defs", {})
    for definition in (generated, *definitions.values()):
        _tidy(definition)
    generated.pop("title", None)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:renku-store:schema:{name}:1",
        "title": title,
        **generated,
        "$defs": dict(sorted(definitions.items())),
    }


def _tidy(definition: dict[str, Any]) -> None:
    """Drop titles that only repeat names, and require the constants by which records are told apart."""
    for name, field in definition.get("properties", {}).items():
        field.pop("title", None)
        if "const" in field:
            definition["required"] = sorted({*definition.get("required", ()), name})


def main() -> None:
    """Write every schema file."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in schema_texts().items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
