"""Files that a person names on the command line, read with errors that name them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import orjson

import renku_store
from renku_store import GraphError, InvalidValueError, Json, NotFoundError, StoreUnavailableError


def read_bytes(path: str) -> bytes:
    """A whole file; `-` is standard input. `NotFoundError` and `StoreUnavailableError` name the file."""
    if not path:
        raise InvalidValueError("No file is named: its name is empty.", hint="Name a file, or - for standard input.")
    if path == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(path).read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFoundError(f"There is no file {path}.", hint="Check the path.") from error
    except IsADirectoryError as error:
        raise InvalidValueError(f"{path} is a folder, not a file.", hint="Name a file.") from error
    except ValueError as error:
        raise InvalidValueError(f"{path!a} cannot be the name of a file.", hint="Name one that is there.") from error
    except OSError as error:
        raise StoreUnavailableError(
            f"The file {path} cannot be read: {error.strerror}.", hint="See whose it is, and who may read it."
        ) from error


def read_text(path: str) -> str:
    """A whole file as text in UTF-8; a byte order mark is dropped."""
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidValueError(
            f"{path} is not text in UTF-8: byte {error.start} cannot be.", hint="Save it as UTF-8."
        ) from error


def read_graph(path: str) -> Json:
    """A graph in a JSON file: what canonical JSON can say, no key twice; whether it is a graph is seen by others."""
    text = read_bytes(path)
    try:
        document: Json = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidValueError(
            f"{path} is not JSON: {error.msg} in line {error.lineno}, column {error.colno}.",
            hint="A graph is JSON; for a blueprint in YAML say --blueprint.",
        ) from error
    renku_store.canonical_json(document)
    refuse_doubled_keys(text, path)
    return document


def refuse_doubled_keys(text: bytes | str, what: str) -> None:
    """Raise `GraphError` where JSON text has a key twice: readers differ in which of the two counts."""
    doubled: list[tuple[dict[str, Any], str]] = []

    def settle(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs) and not doubled:
            names = [name for name, _ in pairs]
            doubled.append((found, next(name for name in names if names.count(name) > 1)))
        return found

    document = json.loads(text, object_pairs_hook=settle, parse_int=str, parse_float=str)
    for holder, key in doubled:
        job_id = _job_of(document, holder)
        raise GraphError(
            f"{what if job_id is None else f'The job {job_id}'} has the key {key!r} twice.",
            hint="Remove one of them: which one counts is not the same for all readers.",
        )


def _job_of(document: Any, holder: dict[str, Any]) -> str | None:
    """The id of the job in whose node an object is, if it is in one that has an id."""
    nodes = document.get("nodes") if isinstance(document, dict) else None
    for node in nodes if isinstance(nodes, list) else ():
        if isinstance(node, dict) and _holds(node, holder):
            job_id = node.get("jobId")
            return job_id if isinstance(job_id, str) else None
    return None


def _holds(value: Any, wanted: dict[str, Any]) -> bool:
    if value is wanted:
        return True
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(_holds(item, wanted) for item in inside)


def read_mapping(path: str) -> dict[str, Json]:
    """A YAML or JSON file that maps input ids to values, read by the rules of blueprints."""
    return renku_store.load_yaml_mapping(read_text(path), path)
